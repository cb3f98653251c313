"""What threads do to a scheduler at the same time, under many schedules; its small parts under every one."""

import pytest
from components import ALARM, LOOP, POOL, RELAY, RELIEF
from exploring import explore, explore_all, seeds
from races import SCENARIOS, at_locks

#: For each scenario, in every run of the tests.
SCHEDULES = 40


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_whoever_comes_first(scenario):
    """Races that cannot be provoked by waiting are met by choosing who runs at every line."""
    explore(scenario, seeds(SCHEDULES))


@pytest.mark.parametrize(
    ("scenario", "preemptions"),
    [(RELAY, 2), (RELIEF, 1), (ALARM, 1), (POOL, 2), (LOOP, 1)],
    ids=["relay", "relief", "alarm", "thread pool", "event loop"],
)
def test_every_schedule_of_a_small_part(scenario, preemptions):
    """Where there are few ways, none is left to chance."""
    assert explore_all(scenario, preemptions=preemptions).schedules > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "preemptions"),
    [(RELAY, 4), (RELIEF, 2), (at_locks(ALARM), 2), (POOL, 3), (LOOP, 2)],
    ids=["relay", "relief", "alarm at its locks", "thread pool", "event loop"],
)
def test_every_schedule_of_a_small_part_with_more_preemptions(scenario, preemptions):
    """Most races need two preemptions; here are those that need more."""
    explore_all(scenario, preemptions=preemptions)
