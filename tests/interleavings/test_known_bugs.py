"""A net must be seen to hold fish: bugs that were mended are put back, and each is found."""

import pytest
from components import COMPONENTS
from exploring import Found, explore, explore_all
from known_bugs import BUGS
from races import SCENARIOS, at_locks

BY_NAME = {scenario.name: scenario for scenario in (*SCENARIOS, *COMPONENTS)}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_known_bug_is_found(bug, record_property):
    """A search that finds nothing proves something only if it would have found this."""
    scenario = BY_NAME[bug.scenario]
    scenario = at_locks(scenario) if bug.at_locks else scenario
    with bug.put_back(), pytest.raises(Found) as found:
        _explore(scenario, bug.schedules)

    record_property("schedules", found.value.number)
    print(f"| {bug.name} | {found.value.number} | {bug.why} |")


def _explore(scenario, schedules):
    if scenario in COMPONENTS:
        explore_all(scenario, preemptions=1)
        explore_all(scenario, preemptions=2)
    else:
        explore(scenario, range(1, schedules + 1))
