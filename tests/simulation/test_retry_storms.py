"""A metastable failure in virtual time: a burst ends, the storm of retries that it began does not; a budget ends it.

(Bronson et al., "Metastable Failures in Distributed Systems", HotOS 2021: a trigger, and a work amplification
that keeps the system down when the trigger is gone.)
"""

import pytest

from policies import Budgeted, ExponentialBackoff, RetryBudget
from pools import ThreadPool
from scheduler.simulation import Simulator

#: Jobs a second that come all the time, and how many more while the burst lasts.
RATE, BURST = 70, 500
BURST_FROM, BURST_TO, END = 10, 14, 70


class Server:
    """Answers 100 calls a second in order; a caller waits half a second, and the answer comes all the same.

    At most 300 calls wait for it, three seconds of work; what comes then is refused at once, and costs nothing.
    """

    def __init__(self):
        self.backlog, self.seen_at = 0.0, 0.0

    def fails(self, now):
        """Take a call that comes now; return whether its caller has gone when the answer comes."""
        self.backlog = max(0.0, self.backlog - 100 * (now - self.seen_at))
        self.seen_at = now
        if self.backlog >= 300:
            return True
        self.backlog += 1
        return self.backlog > 50


def goodput(retry):
    """Return the jobs a second that succeed, in the ten seconds before the burst and in the last twenty, and the statistics."""
    simulator, server = Simulator(ThreadPool(slots=200), retry=retry, seed=4), Server()
    moments = [
        second + number / rate
        for second in range(END)
        for rate in (RATE + (BURST if BURST_FROM <= second < BURST_TO else 0),)
        for number in range(rate)
    ]
    jobs = [simulator.submit(0.01, at=at, fails=lambda _: server.fails(simulator.now)) for at in moments]
    now = simulator.run()

    def succeeded(since, until):
        good = [job for job in jobs if job.outcome is None and since <= job.submitted_at < until]
        return len(good) / (until - since)

    return succeeded(0, 10), succeeded(END - 20, END), now


@pytest.mark.usefixtures("untraced")
def test_a_budget_ends_a_storm_of_retries_that_never_ends_by_itself(record_property):
    """Retries that help one job a little can keep everybody down for good, long after what began it has gone."""
    patient = ExponentialBackoff(initial=0.5, ceiling=2.0, attempts_max=5)
    before, after, storm = goodput(patient)
    budget = RetryBudget(name="server", ratio=0.1, reserve_per_second=1.0)
    calm, healed, budgeted = goodput(Budgeted(patient, budget))
    numbers = {
        "before": (before, calm),
        "long after": (after, healed),
        "retries": (storm.retries, budgeted.retries),
    }
    print({what: f"{alone:g} alone, {paid:g} with a budget" for what, (alone, paid) in numbers.items()})
    record_property("goodput", numbers)

    assert (RATE, RATE) == (before, calm), "nothing fails before the burst"
    assert after < 0.05 * RATE, "the storm goes on for good"
    assert healed == RATE, "the budget has ended it"
    paid = budgeted.budgets[0]
    assert paid.withdrawn == budgeted.retries <= 0.1 * paid.deposited + END * 1.0
    assert paid.refused > 0
