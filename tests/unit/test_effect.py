"""Did it help? What the measuring after an addition says, and what it refuses to say."""

import math

import attrs
import pytest

from policies.contracts import Load, Window
from scheduler._core.effect import COMPLETIONS_MIN, KNOWN_MIN, WINDOWS_MAX, Effect, before, measured

PANIC, STABLE = 1.0, 10.0


def a_load(slots=8, *, at=10.0, **known):
    settings = {"group": "io", "time": at, "pool_slots": 2, "pools": slots // 2, "slots": slots}
    return Load(**settings | {"waiting": 9, "in_use": slots, "run_time": 0.1, "deviation": 0.0} | known)


def an_effect(**known):
    """Four slots that ended 40 jobs a second, known well; the new slots fill at 0 s."""
    settings = {"pools": 2, "slots": 4, "rate": 40.0, "known": 10_000, "square": 0.0}
    effect = Effect(**settings | known)
    assert effect.look(a_load(at=0.0), 0, PANIC, STABLE) is None
    return effect


def look(effect, ended, *, at=10.0, slots=8, **known):
    return effect.look(a_load(slots, at=at, **known), ended, PANIC, STABLE)


def verdict(ended, *, effect=None, **known):
    found = look(effect or an_effect(), ended, **known)
    return found if found is None else found.helped


def busy(seconds=10.0, completions=400, *, saturated=True, deviation=0.0, in_use=8.0, run_time=0.1):
    known = {"saturated": saturated, "deviation": deviation, "in_use": in_use, "run_time": run_time}
    return Window(seconds=seconds, completions=completions, **known)


# The verdict


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
    assert verdict(460, deviation=0.1) is None
    effect = an_effect()
    late = look(effect, 1840, at=WINDOWS_MAX * STABLE, deviation=0.1, waiting=0)

    assert (None, "unclear", False) == (late.helped, late.text.split(":")[0], late.untold)


def test_few_run_times_before_do_not_hide_how_far_they_lie_apart():
    """Ten short jobs ended before the addition, and none of the long ones that came with them."""
    few = {"known": 10, "square": 0.0}

    assert [False, None] == [
        verdict(400, effect=an_effect(**few, slots=1), deviation=deviation) for deviation in (0.0, 0.2)
    ]


def test_slots_in_use_are_what_counts_and_not_slots_there_are():
    """Jobs that hold each other up fill every slot, so none waits; yet the slots gain nothing."""
    half = an_effect()
    assert look(half, 40, at=0.9, in_use=5) is None

    assert (True, False) == (verdict(530, effect=half), verdict(400, waiting=0))


def test_a_rough_rate_does_not_condemn_one_pool_among_many():
    """Reckoned from run times it may be wrong by more than a small gain."""
    small = {"slots": 5, "in_use": 5}

    assert [None, False] == [
        verdict(4000, effect=an_effect(rough=True), at=100.0, **kind) for kind in (small, {})
    ]


# When it is too early, or too late


def test_it_is_too_early_before_a_panic_window_is_over():
    """The first moments are those in which the new pool's caches are cold."""
    assert verdict(800, at=PANIC - 0.01) is None


def test_it_is_too_early_before_enough_jobs_have_ended():
    """A throughput of five jobs is chance."""
    assert look(an_effect(), COMPLETIONS_MIN - 1, at=5.0) is None


def test_it_is_too_early_before_the_first_jobs_in_the_new_slots_could_end():
    """A job that runs for ten seconds has gained nothing in the first nine."""
    assert verdict(400, run_time=10.0) is None


def test_it_is_too_early_while_the_long_jobs_still_run():
    """Of jobs that are short or very long only the short ones have ended, and the slots are full of the others."""
    assert look(an_effect(known=10), 25, run_time=0.001) is None


def test_it_is_given_up_when_too_few_jobs_end():
    """Jobs of an hour cannot be compared within a few windows, and the growth must not stay open for ever."""
    late = look(an_effect(), COMPLETIONS_MIN - 1, at=WINDOWS_MAX * STABLE)

    assert (None, "unclear: only 19 jobs ended within 40.00 s") == (late.helped, late.text)


def test_new_slots_that_nobody_uses_are_not_judged():
    """With nobody waiting, the throughput is what comes in, however many pools there are."""
    effect = Effect(2, 4, 40.0, 10_000)
    assert look(effect, 0, at=0.0, in_use=4) is None
    assert look(effect, 400, at=10.0, in_use=4) is None
    late = look(effect, 1600, at=WINDOWS_MAX * STABLE, in_use=4)

    assert (None, True) == (late.helped, "worked off" in late.text)


def test_slots_that_ran_out_of_jobs_are_not_blamed_but_measured_when_they_are_full_again():
    """At the end of a batch the throughput falls to nothing, and no pool can help it; the next batch tells."""
    effect = an_effect()
    assert look(effect, 100, at=10.0, in_use=4) is None
    assert math.inf == effect.since
    assert look(effect, 110, at=11.0) is None
    found = look(effect, 310, at=16.0)

    assert (False, "1.00 × the throughput") == (found.helped, found.text[:21])
    assert "measured over 5.00 s" in found.text


def test_slots_that_are_gone_again_are_not_judged():
    """A pool that failed to start has not shown anything."""
    found = look(an_effect(), 400, slots=4)

    assert (None, True) == (found.helped, "gone again" in found.text)


def test_few_more_slots_may_still_become_more():
    """Five slots instead of four tell nothing, and the next pool does."""
    effect = Effect(4, 8, 80.0, 10_000)
    assert look(effect, 0, at=0.0, slots=9) is None
    assert look(effect, 800, at=10.0, slots=9) is None
    effect.grow()
    assert look(effect, 800, at=10.0, slots=16) is None

    assert look(effect, 1600, at=20.0, slots=16).helped is False


def test_few_more_slots_are_given_up_after_a_while():
    """The growth must not stay open for ever, and that it was too small to tell is worth saying."""
    effect = Effect(4, 8, 80.0, 10_000)
    assert look(effect, 0, at=0.0, slots=9) is None
    late = look(effect, 3200, at=WINDOWS_MAX * STABLE, slots=9)

    assert (None, "unclear: 1.12 × the slots in use are too few to tell") == (late.helped, late.text)


# What may be worth a trial


def test_jobs_that_have_waited_for_a_stable_window_are_worth_a_trial_where_nothing_was_known():
    """Else nobody could ever say that these pools gain nothing."""
    effect = an_effect(rate=math.nan, known=0)
    soon, then = look(effect, 300, at=STABLE - 0.1), look(effect, 400, at=STABLE)

    assert (None, True) == (soon, then.untold)
    assert "too few jobs had ended before" in then.text


def test_slots_that_are_full_with_nobody_waiting_are_not_worth_a_trial():
    """As many slots as are needed: nothing could be gained, and to take some away would make jobs wait."""
    effect = an_effect(rate=math.nan, known=0)
    assert look(effect, 300, at=STABLE - 0.1, waiting=0) is None

    assert look(effect, 400, at=STABLE) is None


@pytest.mark.parametrize(("ended", "untold"), [(1600, True), (2600, False)])
def test_what_seems_to_have_helped_is_not_worth_a_trial(ended, untold):
    """A trial costs capacity: it takes a suspicion, if anything was known before."""
    effect = an_effect(known=20, slots=5)
    assert look(effect, 10, at=1.0) is None
    late = look(effect, ended, at=WINDOWS_MAX * STABLE, deviation=0.1)

    assert (None, untold) == (late.helped, late.untold)


def test_pools_that_served_the_load_are_not_doubted_when_jobs_wait_much_later():
    """Nothing was known before them, but they worked off what waited: it is another load that they meet now."""
    effect = an_effect(rate=math.nan, known=0)
    assert look(effect, 100, at=STABLE, waiting=0) is None
    late = look(effect, 400, at=WINDOWS_MAX * STABLE, waiting=0)

    assert (None, False, True) == (late.helped, late.untold, "worked off" in late.text)


def test_jobs_that_begin_to_wait_late_are_given_their_stable_window():
    """The growth is not forgotten while it is being asked."""
    effect = an_effect(rate=math.nan, known=0)
    assert look(effect, 100, at=WINDOWS_MAX * STABLE - 1, waiting=0) is None
    start = WINDOWS_MAX * STABLE - 0.5
    assert [None, None] == [look(effect, 400, at=at) for at in (start, start + STABLE - 0.1)]

    assert look(effect, 500, at=start + STABLE).untold


# What was before


def test_before_takes_the_longest_window_in_which_these_slots_were_in_use():
    """The more jobs have ended, the surer; but a throughput of other slots says nothing of these."""
    steady = before(a_load(panic=busy(1.0, 100), stable=busy()))
    changed = before(a_load(panic=busy(1.0, 100), stable=busy(in_use=5.2)))
    sudden = before(a_load(panic=busy(1.0, 100), stable=busy(saturated=False)))

    assert [(40.0, 400, False), (100.0, 100, False), (100.0, 100, False)] == [
        (each.rate, each.known, each.rough) for each in (steady, changed, sudden)
    ]


def test_before_reckons_from_run_times_where_slots_were_never_all_in_use():
    """The first burst after a quiet day has nothing to be compared with but this."""
    reckoned = before(a_load(stable=busy(saturated=False, in_use=2.0)))

    assert (80.0, 400, True) == (reckoned.rate, reckoned.known, reckoned.rough)


def test_before_counts_what_still_runs():
    """Twelve short jobs of 10 ms ended in a second of four full slots: the others are long."""
    reckoned = before(a_load(4, panic=busy(1.0, 12, in_use=4.0, run_time=0.01)))

    assert (12.0, 12, True) == (reckoned.rate, reckoned.known, reckoned.rough)


@pytest.mark.parametrize(
    "load",
    [
        a_load(stable=busy(completions=KNOWN_MIN - 1)),
        a_load(stable=busy(saturated=False, run_time=0.0)),
        a_load(stable=busy(saturated=False, completions=0)),
    ],
)
def test_before_says_when_nothing_is_known(load):
    """A guess would open or close pools for no reason."""
    assert (0, 8) == (before(load).known, before(load).slots)


def test_a_group_whose_pools_are_all_cordoned_is_not_measured():
    """It has no slots, and the alarm's thread once died of a division by that."""
    assert before(a_load(slots=0, panic=busy(), stable=busy())) is None


def test_what_a_trial_measured_is_compared_like_any_other():
    """Fewer pools were tried, and now it is known what they end."""
    found = measured(a_load(4, deviation=0.1), 100, 2.5)

    assert (2, 4, 40.0, 100, False) == (found.pools, found.slots, found.rate, found.known, found.rough)
    assert 1.0 == pytest.approx(found.square)
    assert attrs.evolve(found).since == math.inf
