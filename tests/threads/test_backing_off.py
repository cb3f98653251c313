"""What a retry costs while it waits: nothing that another job could use."""

from policies import FixedBackoff

JOBS = 10_000


def fails_as_often(left):
    if left:
        left.pop()
        raise OSError


def test_ten_thousand_jobs_that_back_off_hold_no_slot(open_scheduler, clock, eventually):
    """A retry that sleeps in its worker is what makes a pool stand still while a service is down."""
    s = open_scheduler(2, clock=clock, retry=FixedBackoff(delay=60.0, attempts_max=3))
    handles = [s.submit(fails_as_often, [None, None]) for _ in range(JOBS)]

    for _ in range(2):
        eventually(lambda: s.statistics().backing_off == JOBS, "the backoff of all")
        now = s.statistics()
        assert (0, 0) == (now.running, sum(pool.in_use for pool in now.pools))
        assert 7 == s.submit(int, 7).result(20)  # and nobody stands before it
        clock.advance(60.0)

    assert [None] * JOBS == [handle.exception(60) for handle in handles]
    assert {3} == {len(handle.attempts) for handle in handles}
