"""Scaling policies as functions of a load, and the rules that no policy can talk the autoscaler out of."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from policies import QueueDelay, SquareRootStaffing, TargetUtilization
from policies.contracts import Advice, Load, Window
from scheduler._core.autoscaler import Scaled
from scheduler._core.pool_table import GroupRecord

SLOTS = 4
policies = st.sampled_from([QueueDelay(), TargetUtilization(), SquareRootStaffing()])
counts = st.integers(0, 5000)


def load_of(arrivals, waiting, *, pools=3, run_time=0.1, wait=0.3, starting=0):
    """Return a load with so many arrivals in the stable window and so many jobs that wait."""

    def window(seconds):
        came = int(arrivals * seconds / 5.0)
        return Window(
            seconds=seconds,
            arrivals=came,
            starts=came,
            completions=came,
            run_time=run_time,
            deviation=run_time,
            least_wait=wait,
            in_use=0.0,
        )

    return Load(
        group="group",
        time=100.0,
        pool_slots=SLOTS,
        pools=pools,
        starting=starting,
        max_pools=None,
        slots=SLOTS * (pools - starting),
        waiting=waiting,
        idle=tuple((f"group-{n}", 10.0) for n in range(pools - starting)),
        stable=window(5.0),
        panic=window(0.2),
        run_time=run_time,
        deviation=run_time,
        start_up=0.5,
        since_change=60.0,
    )


@given(policy=policies, fewer=counts, more=counts, waiting=st.integers(0, 500), pools=st.integers(1, 40))
def test_more_arrivals_never_ask_for_fewer_pools(policy, fewer, more, waiting, pools):
    """A policy that shrinks as the load grows falls over exactly when it is needed."""
    fewer, more = sorted((fewer, more))
    calm = policy.scale(load_of(fewer, waiting, pools=pools))
    busy = policy.scale(load_of(more, waiting, pools=pools))

    assert calm.pools <= busy.pools


@given(policy=policies, arrivals=counts, fewer=counts, more=counts, pools=st.integers(1, 40))
def test_a_longer_backlog_never_asks_for_fewer_pools(policy, arrivals, fewer, more, pools):
    """What waits has to be worked off on top of what comes."""
    fewer, more = sorted((fewer, more))
    short = policy.scale(load_of(arrivals, fewer, pools=pools))
    long = policy.scale(load_of(arrivals, more, pools=pools))

    assert short.pools <= long.pools


@attrs.define(eq=False)
class Whimsical:
    """Answers what it is told to, or raises it."""

    answer: object = None

    def scale(self, load):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


answers = st.one_of(
    st.integers(-(10**9), 10**9).map(
        lambda pools: Advice(pools=pools, reason="a whim", panic=pools % 3 == 0)
    ),
    st.sampled_from(
        [
            None,
            7,
            "more",
            Advice(pools=2.5),
            ValueError("no"),
            ZeroDivisionError(),
            SystemExit(1),
            Advice(pools=None),
        ]
    ),
)
steps = st.tuples(answers, st.floats(0.01, 20.0), st.booleans())


@given(
    steps=st.lists(steps, min_size=1, max_size=60),
    least=st.integers(1, 4),
    room=st.none() | st.integers(0, 8),
)
def test_no_answer_leads_out_of_the_limits_or_past_the_rules(steps, least, room):
    """A plug-in with a mistake in it may be useless, but it must not eat the machine or kill the group."""
    most = None if room is None else least + room
    group = GroupRecord("group", 0, SLOTS, min_pools=least, max_pools=most)
    policy, failures = Whimsical(), []
    scaled = Scaled(group=group, policy=policy)
    pools, starting, now = least, 0, 0.0
    for answer, seconds, come_up in steps:
        now += seconds
        if come_up:
            starting = 0
        policy.answer = answer
        load = attrs.evolve(
            load_of(10, 0, pools=pools, starting=starting), time=now, min_pools=least, max_pools=most
        )
        panicking = now < scaled.panic_until
        order = scaled.decide(load, lambda *failure: failures.append(failure))

        assert not (order.add and order.drain)
        if order.drain:
            assert pools > least
            assert not starting
            assert not panicking
            pools -= 1
            scaled.changed(now)
        elif order.add:
            pools, starting = pools + order.add, starting + order.add
            assert most is None or pools <= most
            scaled.changed(now, order.add)
        assert pools >= least
    wrong = [
        answer for answer, _, _ in steps if not (isinstance(answer, Advice) and type(answer.pools) is int)
    ]
    assert len(failures) == len(wrong)
