"""Did it help? What the measuring after an addition says, and what it refuses to say."""

import attrs
import pytest

from policies.contracts import Load, Window
from scheduler._core.effect import COMPLETIONS_MIN, WINDOWS_MAX, Effect, before, judge

PANIC, STABLE = 1.0, 10.0


def a_load(slots=8, *, at=10.0, **known):
    settings = {"group": "io", "time": at, "pool_slots": 2, "pools": slots // 2, "slots": slots}
    return Load(**settings | {"waiting": 9, "run_time": 0.1, "deviation": 0.0} | known)


def an_effect(**known):
    """Four slots that ended 40 jobs a second, measured exactly; the measuring begins at 0 s."""
    settings = {
        "pools": 2,
        "slots": 4,
        "rate": 40.0,
        "noise": 0.0,
        "rough": False,
        "since": 0.0,
        "used": 8,
        "looks": 1,
    }
    return Effect(**settings | known)


def verdict(ended, *, at=10.0, effect=None, **known):
    found = judge(effect or an_effect(), a_load(at=at, **known), ended, PANIC, STABLE)
    return found if found is None else found.helped


def busy(seconds=10.0, completions=400, *, saturated=True, deviation=0.0, in_use=0.0):
    known = {"saturated": saturated, "deviation": deviation, "in_use": in_use}
    return Window(seconds=seconds, completions=completions, run_time=0.1, **known)


def test_twice_the_throughput_for_twice_the_slots_helped():
    """That is what pools are opened for."""
    assert verdict(800) is True


def test_jobs_that_took_no_time_at_all_are_judged_too():
    """A clock may stand still between two readings, and dividing by that would end the turn."""
    assert verdict(800, run_time=0.0) is True


def test_the_same_throughput_for_twice_the_slots_did_not_help():
    """Work that holds the interpreter's lock looks like this."""
    assert verdict(400) is False


def test_less_throughput_did_not_help():
    """Threads that fight for a lock can be worse than fewer threads."""
    assert verdict(300) is False


def test_what_lies_within_the_noise_is_unclear_and_then_given_up():
    """A pool that was opened in need must not go because of a few long jobs."""
    assert [None] == [verdict(460, deviation=0.1)]
    late = judge(an_effect(), a_load(at=WINDOWS_MAX * STABLE, deviation=0.1), 1840, PANIC, STABLE)

    assert (None, "unclear") == (late.helped, late.text.split(":")[0])


def test_it_is_too_early_before_a_panic_window_is_over():
    """The first moments are those in which the new pool's caches are cold."""
    assert verdict(800, at=PANIC - 0.01) is None


def test_it_is_too_early_before_enough_jobs_have_ended():
    """A throughput of five jobs is chance."""
    few = judge(an_effect(), a_load(at=5.0), COMPLETIONS_MIN - 1, PANIC, STABLE)

    assert few is None


def test_it_is_given_up_when_too_few_jobs_end():
    """Jobs of an hour cannot be compared within a few windows, and the growth must not stay open for ever."""
    late = judge(an_effect(), a_load(at=WINDOWS_MAX * STABLE), COMPLETIONS_MIN - 1, PANIC, STABLE)

    assert (None, "unclear: only 19 jobs ended within 40.00 s") == (late.helped, late.text)


def test_new_slots_that_nobody_uses_are_not_judged():
    """With nobody waiting, the throughput is what comes in, however many pools there are."""
    found = judge(an_effect(used=4), a_load(), 400, PANIC, STABLE)

    assert (None, True) == (found.helped, "worked off" in found.text)


def test_slots_in_use_are_what_counts_and_not_slots_there_are():
    """Jobs that hold each other up fill every slot, so none waits; yet the slots gain nothing."""
    half = judge(an_effect(used=12, looks=2), a_load(), 600, PANIC, STABLE)
    idle = judge(an_effect(used=16, looks=2), a_load(waiting=0), 400, PANIC, STABLE)

    assert [True, False] == [half.helped, idle.helped]


def test_slots_that_ran_out_of_jobs_are_not_blamed():
    """At the end of a batch the throughput falls to nothing, and no pool can help it."""
    found = judge(an_effect(used=12, looks=2, least=4), a_load(), 300, PANIC, STABLE)

    assert (None, True) == (found.helped, "worked off" in found.text)


def test_it_is_too_early_before_the_first_jobs_in_the_new_slots_could_end():
    """A job that runs for ten seconds has gained nothing in the first nine."""
    assert judge(an_effect(), a_load(run_time=10.0), 400, PANIC, STABLE) is None


def test_what_it_saw_is_averaged_over_the_looks():
    """One look at a lucky moment proves nothing."""
    effect = an_effect()
    effect.begin(5.0, 100)
    for in_use in (2, 4):
        effect.saw(a_load(in_use=in_use))

    assert (5.0, 100, 6, 2, 2) == (effect.since, effect.ended, effect.used, effect.looks, effect.least)


def test_slots_that_are_gone_again_are_not_judged():
    """A pool that failed to start has not shown anything."""
    found = judge(an_effect(), a_load(slots=4), 400, PANIC, STABLE)

    assert (None, True) == (found.helped, "gone again" in found.text)


def test_a_rough_rate_does_not_condemn_one_pool_among_many():
    """Reckoned from run times it may be wrong by more than a small gain."""
    rough = attrs.evolve(an_effect(), rough=True)

    small = attrs.evolve(rough, used=5)

    assert [None, False] == [verdict(400, effect=small, slots=5), verdict(400, effect=rough, slots=8)]


def test_before_takes_the_longest_window_in_which_these_slots_were_in_use():
    """The more jobs have ended, the surer; but a throughput of other slots says nothing of these."""
    steady = before(a_load(in_use=8, panic=busy(1.0, 100), stable=busy(in_use=8.0)))
    changed = before(a_load(in_use=8, panic=busy(1.0, 100), stable=busy(in_use=5.2)))
    sudden = before(a_load(in_use=8, panic=busy(1.0, 100), stable=busy(saturated=False)))

    assert [(40.0, False), (100.0, False), (100.0, False)] == [
        (each.rate, each.rough) for each in (steady, changed, sudden)
    ]


def test_before_reckons_from_run_times_where_slots_were_never_all_in_use():
    """The first burst after a quiet day has nothing to be compared with but this."""
    reckoned = before(a_load(stable=busy(saturated=False)))

    assert (80.0, True) == (reckoned.rate, reckoned.rough)


@pytest.mark.parametrize(
    "load",
    [
        a_load(stable=busy(completions=COMPLETIONS_MIN - 1)),
        a_load(stable=busy(saturated=False), run_time=0.0),
        a_load(stable=busy(saturated=False, completions=0)),
    ],
)
def test_before_says_nothing_where_nothing_is_known(load):
    """A guess would open or close pools for no reason."""
    assert before(load) is None


def test_a_group_whose_pools_are_all_cordoned_is_not_measured():
    """It has no slots, and the alarm's thread once died of a division by that."""
    assert before(a_load(slots=0, panic=busy(), stable=busy())) is None


def test_the_noise_is_that_of_the_run_times():
    """Run times that vary need more of them for the same certainty."""
    even, uneven = (before(a_load(panic=busy(deviation=d))).noise for d in (0.0, 0.1))

    assert (1 / 400, 2 / 400) == (even, uneven)
