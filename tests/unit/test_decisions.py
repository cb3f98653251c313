"""What the autoscaler says of itself, in plain words."""

import pytest

from scheduler._core.decisions import SHOWN, Decision, Explanation


def a_decision(action="add", **settings):
    known = {"time": 3.0, "group": "io", "pools": ("io-2",), "before": 1, "wanted": 2, "reason": "jobs wait"}
    return Decision(action=action, **known | settings)


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("add", "it opened io-2: jobs wait"),
        ("take back", "it took back io-2, which was draining: jobs wait"),
        ("drain", "it drains io-2: jobs wait"),
        ("replace", "it opened io-2 in place of a quarantined pool: jobs wait"),
        ("hold", "it changed nothing: jobs wait"),
    ],
)
def test_every_action_has_words(action, told):
    """An operator reads this at night."""
    assert f"at 3.00 s, with 1 pool, {told}\n    wanted: 2 pools" == str(a_decision(action))


def test_only_what_is_known_is_told():
    """Empty lines make the full ones hard to find."""
    assert "at 3.00 s, with 2 pools, it drains io-2: jobs wait" == str(a_decision("drain", before=2))


def test_formula_limit_candidates_and_effect_are_told():
    """The numbers are for whoever does not believe the words."""
    decision = a_decision(
        formula="slots = 3", limited_by="max_pools=2", candidates=(("io-1", 2, 0.0), ("io-2", 0, 1.5))
    ).measured("2.00 × the throughput")

    assert [
        "computed: slots = 3",
        "wanted: 2 pools",
        "limited: max_pools=2",
        "candidates: io-1 2 in use, idle 0.00 s; io-2 0 in use, idle 1.50 s",
        "effect: 2.00 × the throughput",
    ] == [line.strip() for line in str(decision).splitlines()[1:]]


def test_many_candidates_are_counted_and_not_listed():
    """Fifty pools in one line are read by nobody."""
    many = tuple((f"io-{number}", 0, 1.0) for number in range(SHOWN + 3))

    assert str(a_decision("drain", candidates=many)).endswith("; and 3 more")


def test_several_pools_are_named():
    """Each has a log of its own."""
    assert "opened io-2, io-3" in str(a_decision(pools=("io-2", "io-3")))


def test_an_explanation_tells_how_things_stand_and_what_was_decided_when():
    """How long ago is what one wants to know; the clock's seconds mean nothing to anybody."""
    told = str(
        Explanation(time=10.0, group="io", decisions=(a_decision(), a_decision("hold")), now="2 pools")
    )

    assert told.startswith("group 'io': 2 pools\n  7.00 s ago, with 1 pool, it opened io-2")
    assert 2 == told.count("7.00 s ago")


def test_an_explanation_of_nothing_says_so():
    """Silence could also mean that it is broken."""
    told = str(Explanation(time=10.0, group="io", decisions=(), now="1 pool"))

    assert "group 'io': 1 pool; nothing has been decided yet" == told


def test_a_group_that_does_not_scale_is_explained_too(by_hand, group):
    """Whoever asks wonders why nothing happens."""
    hand = by_hand(group("io", slots=2))
    hand.submit("a")
    told = str(hand.core.explain(hand.core.pools.groups["io"], 0.0))

    assert (
        "group 'io': 1 pools (at least 1, no maximum), 1 of 2 slots in use, scaled by hand alone; "
        "nothing has been decided yet"
    ) == told
