"""A scheduler from a file: what each key means, and what is said of one that is wrong."""

import inspect
import json
import os
import textwrap

import pytest

from policies import (
    Affinity,
    Aging,
    Block,
    CoDel,
    ExponentialBackoff,
    FixedBackoff,
    NoRetry,
    PeakEwma,
    QueueDelay,
)
from pools import InlinePool, ProcessPool, Recycle, ThreadPool
from scheduler import ConfigError, Limit, PoolGroup, Priority, Scheduler, VirtualClock
from scheduler.simulation import _ONLY_REAL, Simulator

FILE = """
    [scheduler]
    name = "crawler"
    capacity = 500
    seed = 7
    ordering = {kind = "aging", seconds_per_level = 2}
    admission = {policy = "co-del", target = 0.5, otherwise = {policy = "block", timeout = 3}}
    retry = {kind = "exponential-backoff", attempts_max = 5, retry_on = ["ConnectionError", "json:JSONDecodeError"]}

    [[groups]]
    name = "io"
    pool = {kind = "thread", slots = 8, initializer = "os:getcwd"}
    max_pools = 4
    scaling = {kind = "queue-delay", target = 0.2}
    routing = {kind = "affinity", otherwise = "peak-ewma"}
    tags = ["net", "disk"]

    [[groups]]
    name = "urgent"
    pool = "inline"
    reserve_for = "HIGH"
    tags = "quick"

    [[limits]]
    tenant = "*"
    concurrency = 4

    [[limits]]
    tag = "net"
    rate = 2.5
"""
GROUPS = (
    PoolGroup(
        "io",
        ThreadPool(slots=8, initializer=os.getcwd),
        max_pools=4,
        scaling=QueueDelay(target=0.2),
        routing=Affinity(otherwise=PeakEwma()),
        tags={"net", "disk"},
    ),
    PoolGroup("urgent", InlinePool(), reserve_for=Priority.HIGH, tags="quick"),
)
LIMITS = (Limit(tenant="*", concurrency=4), Limit(tag="net", rate=2.5))
HERE = {"groups": [{"name": "here", "pool": "inline"}]}

#: A distribution with policies that take others, errors and numbers.
WRAPPERS = """
    import attrs
    from policies import RetryPolicy

    @attrs.frozen
    class Budget:
        ratio: float = 0.2

    @attrs.frozen
    class Budgeted:
        policy: RetryPolicy
        budget: Budget

        def retry_after(self, failure, uniform):
            return self.policy.retry_after(failure, uniform)

    @attrs.frozen
    class FirstOf:
        rules: tuple[tuple[type[BaseException], RetryPolicy], ...] = attrs.field(
            converter=lambda rules: tuple(rules.items())
        )
        otherwise: RetryPolicy | None = None
        delays: tuple[float, ...] = ()

        def retry_after(self, failure, uniform):
            return None

    def odd(point: tuple[float, type], table: dict[str, int] = {}, more: "NoSuchName" = None):
        return Plain([(point, table, more)])

    def pointed(point: tuple[float, type[BaseException]], table=None):
        return Plain([(point, table)])

    class Plain:
        def __init__(self, policies: list[RetryPolicy], **more: RetryPolicy) -> None:
            self.policies, self.more = policies, more

        def retry_after(self, failure, uniform):
            return None
"""
OFFERS_WRAPPERS = """
    [two_tier_scheduler.retry]
    budgeted = MODULE:Budgeted
    first-of = MODULE:FirstOf
    plain = MODULE:Plain
    odd = MODULE:odd
    pointed = MODULE:pointed
"""


def made(**settings):
    """Return a scheduler with one inline pool, and with these settings from a mapping."""
    return Scheduler.from_config({"scheduler": settings, **HERE})


def refused(config, make=Scheduler):
    """Return the error of a configuration that makes no scheduler."""
    with pytest.raises(ConfigError) as caught:
        make.from_config(config)
    return caught.value


@pytest.fixture
def file(tmp_path):
    """Write a file; return its path."""

    def write(text):
        path = tmp_path / "service.toml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def test_a_file_builds_what_one_would_write_by_hand(file):
    """Whoever moves settings into a file must get the scheduler they had."""
    with Scheduler.from_config(file(FILE)) as scheduler:
        core = scheduler._driver.core

        assert scheduler.groups == GROUPS
        assert scheduler.name == "crawler"
        assert scheduler._options.retry == ExponentialBackoff(
            attempts_max=5, retry_on=(ConnectionError, json.JSONDecodeError)
        )
        assert core.queue.capacity == 500
        assert core.ordering == Aging(seconds_per_level=2)
        assert core.gate.policy == CoDel(target=0.5, otherwise=Block(timeout=3))
        assert tuple(core.lots.limits) == LIMITS
        assert 3 == scheduler.submit(len, "abc").result()


def test_the_path_may_be_a_string_and_the_mapping_may_hold_values(file):
    """A program that reads its own file, or none, has values in hand already."""
    with Scheduler.from_config(str(file("[[groups]]\nname = 'a'\npool = 'inline'"))) as scheduler:
        assert scheduler.groups == (PoolGroup("a", InlinePool()),)
    config = {"scheduler": {"retry": FixedBackoff(delay=0)}, "groups": GROUPS[1:], "limits": LIMITS[:1]}
    with Scheduler.from_config(config) as scheduler:
        assert scheduler.groups == GROUPS[1:]
        assert scheduler._options.retry == FixedBackoff(delay=0)


def test_an_empty_configuration_is_a_scheduler_with_every_default():
    """What is not said is as when it is not said in code."""
    with Scheduler.from_config({}) as scheduler, Scheduler() as by_hand:
        assert scheduler.groups == by_hand.groups


def test_overrides_hold_instead_of_what_the_file_says(file):
    """A test wants its own clock and its own seed, not a second file; what they replace is not even read."""
    path = file(
        "[scheduler]\nretry = 'no-such-policy'\ncapacity = 5\nlimits = 3\n[[groups]]\nname='a'\npool='inline'"
    )

    with Scheduler.from_config(
        path, retry=NoRetry(), capacity=7, limits=(), clock=VirtualClock()
    ) as scheduler:
        assert scheduler._driver.core.queue.capacity == 7
    with pytest.raises(TypeError, match="capacty"):
        Scheduler.from_config({}, capacty=7)
    with pytest.raises(ValueError, match=r"^capacity= must be at least 1") as caught:
        Scheduler.from_config({}, capacity=0)
    assert not isinstance(caught.value, ConfigError)  # the mistake is in the program, not in the file


def test_a_new_argument_is_a_key_without_a_second_list():
    """What a schema of its own would forget is found by users."""

    class Sharded(Scheduler):
        def __init__(self, *groups, shards: int = 1, fallback: Priority = Priority.LOW) -> None:
            super().__init__(*groups)
            self.shards, self.fallback = shards, fallback

    with Sharded.from_config({"scheduler": {"shards": 3, "fallback": "bulk"}}) as scheduler:
        assert (3, Priority.BULK) == (scheduler.shards, scheduler.fallback)
    assert "known are fallback, shards" in str(refused({"scheduler": {"capacity": 3}}, Sharded))


def test_policies_wrap_others_and_take_what_their_annotations_say(shelf):
    """A policy that is made of others is no less a setting; nothing of it is known to us beforehand."""
    shelf.install("wrappers", OFFERS_WRAPPERS, WRAPPERS)

    with made(
        retry={
            "kind": "budgeted",
            "policy": {"policy": "fixed-backoff", "delay": 2},
            "budget": {"ratio": 0.5},
        }
    ) as scheduler:
        retry = scheduler._options.retry
        assert (FixedBackoff(delay=2), 0.5) == (retry.policy, retry.budget.ratio)
    with made(
        retry={
            "kind": "first-of",
            "rules": {"ConnectionError": "fixed-backoff", "json:JSONDecodeError": "no-retry"},
            "delays": [1, 5, 30],
        }
    ) as scheduler:
        retry = scheduler._options.retry
        assert ((ConnectionError, FixedBackoff()), (json.JSONDecodeError, NoRetry())) == retry.rules
        assert hash(retry.delays) == hash((1, 5, 30))
    with made(retry={"kind": "plain", "policies": ["no-retry"], "whatever": 3}) as scheduler:
        assert [NoRetry()] == scheduler._options.retry.policies
    with made(retry={"kind": "pointed", "point": [1.5, "OSError"], "table": {"a": 1}}) as scheduler:
        assert [((1.5, OSError), {"a": 1})] == scheduler._options.retry.policies


def test_what_has_no_annotation_that_can_be_read_is_handed_on_as_it_is(shelf):
    """A plug-in may say nothing of its settings, or say it of names that are gone; it checks them itself."""
    shelf.install("wrappers", OFFERS_WRAPPERS, WRAPPERS)

    with made(retry={"kind": "odd", "point": [1, "OSError"], "table": {"a": 1}, "more": "x"}) as scheduler:
        assert [([1, "OSError"], {"a": 1}, "x")] == scheduler._options.retry.policies


def test_a_mistake_deep_in_a_policy_of_policies_has_its_whole_key(shelf):
    """The deeper it lies, the longer it is looked for."""
    shelf.install("wrappers", OFFERS_WRAPPERS, WRAPPERS)

    error = refused(
        {
            "scheduler": {
                "retry": {
                    "kind": "first-of",
                    "rules": {"Connection": "no-retry", "OSError": {"kind": "fixed-backoff", "delay": -1}},
                    "otherwise": {"kind": "plain", "policies": ["no-retry", "never-retry"]},
                }
            }
        }
    )

    assert [
        "scheduler.retry.rules.Connection",
        "scheduler.retry.rules.OSError.delay",
        "scheduler.retry.otherwise.policies[1]",
    ] == [key for key, _ in error.problems]


WRONG = [
    ({"scheduler": {"capacity": 0}}, "scheduler.capacity: must be at least 1, not 0"),
    ({"scheduler": {"capacity": "5"}}, "scheduler.capacity: must be an integer, not '5'"),
    (
        {"scheduler": {"capcity": 5}},
        "scheduler.capcity: there is no such key; did you mean 'capacity'? known are",
    ),
    ({"scheduler": {"name": 3}}, "scheduler.name: must be a string or None, not 3"),
    ({"scheduler": 3}, "scheduler: must be a table, not 3"),
    ({"scheduler": {"limits": []}}, "scheduler.limits: stands in the wrong place: write [[limits]]"),
    (
        {"scheduler": {"clock": "no_such_module:clock"}},
        "scheduler.clock: 'no_such_module:clock' cannot be imported: Mod",
    ),
    ({"scheduler": {"clock": "system"}}, "scheduler.clock: must be written as 'module:name', not 'system'"),
    ({"schedule": {}}, "schedule: there is no such key; did you mean 'scheduler'?"),
    (
        {"scheduler": {"retry": "fixed-backof"}},
        "scheduler.retry: there is no retry policy 'fixed-backof'; did you mean",
    ),
    (
        {"scheduler": {"retry": "aging"}},
        "scheduler.retry: there is no retry policy 'aging', but it is the name of an ord",
    ),
    ({"scheduler": {"retry": {"delay": 3}}}, "scheduler.retry: needs the key 'kind'; known are "),
    ({"scheduler": {"retry": {"policy": {}}}}, "scheduler.retry: needs the key 'kind'; known are "),
    (
        {"scheduler": {"retry": {"kind": 3}}},
        "scheduler.retry.kind: the name of a plug-in must be a string, not 3",
    ),
    ({"scheduler": {"retry": {"policy": "fix"}}}, "scheduler.retry.policy: there is no retry policy 'fix'"),
    (
        {"scheduler": {"retry": {"kind": "fixed-backoff", "delays": 3}}},
        "scheduler.retry.delays: there is no such key; did you mean 'delay'? known are attempts_max, ",
    ),
    (
        {"scheduler": {"retry": {"kind": "fixed-backoff", "delay": -1}}},
        "scheduler.retry.delay: must be at least 0, not -1",
    ),
    (
        {"scheduler": {"retry": {"kind": "fixed-backoff", "retry_on": ["OSError", "print"]}}},
        "scheduler.retry.retry_on[1]: must be written as 'module:name', not 'print'",
    ),
    (
        {"scheduler": {"ordering": {"kind": "fair-share", "weights": {"gold": 0}}}},
        "scheduler.ordering.weights: of tenant 'gold' must be finite and more than 0, not 0",
    ),
    (
        {"scheduler": {"admission": {"kind": "co-del", "otherwise": {"kind": "block", "timeout": "long"}}}},
        "scheduler.admission.otherwise.timeout: must be a number, not 'long'",
    ),
    ({"groups": {"name": "a"}}, "groups: must be a list of tables: write [[groups]], not {'name': 'a'}"),
    ({"groups": ["io"]}, "groups[0]: must be a table, not 'io'"),
    ({"groups": [{"name": "a"}]}, "groups[0]: needs the key 'pool'; known are name, pool, min_pools, "),
    ({"groups": [{"pool": "inline"}]}, "groups[0]: needs the key 'name'; known are name, pool, min_pools, "),
    (
        {"groups": [{"name": "a/b", "pool": "inline"}]},
        "groups[0].name: must be a non-empty string without '/'",
    ),
    (
        {"groups": [{"name": "a", "pool": 8}]},
        "groups[0].pool: must be a pool recipe such as ThreadPool(slots=8), not 8",
    ),
    (
        {"groups": [{"name": "a", "pool": "treads"}]},
        "groups[0].pool: there is no pool 'treads'; did you mean 'thread'?",
    ),
    (
        {"groups": [{"name": "a", "pool": "thread"}]},
        "groups[0].pool: needs the key 'slots'; known are slots, ",
    ),
    (
        {"groups": [{"name": "a", "pool": {"slots": 8}}]},
        "groups[0].pool: needs the key 'kind'; known are asyncio, ",
    ),
    (
        {"groups": [{"name": "a", "pool": "inline"}, {"name": "b", "pool": {"kind": "thread", "slots": 0}}]},
        "groups[1].pool.slots: must be at least 1, not 0",
    ),
    (
        {"groups": [{"name": "a", "pool": {"kind": "process", "slots": 1, "recycle": {"jobs": 0}}}]},
        "groups[0].pool.recycle.jobs: must be a positive integer, not 0",
    ),
    (
        {"groups": [{"name": "a", "pool": {"kind": "process", "slots": 1, "start_method": "teleport"}}]},
        "groups[0].pool.start_method: must be one of ",
    ),
    ({"groups": [{"name": "a", "pool": "inline", "tags": [3]}]}, "groups[0].tags: must be strings, not 3"),
    (
        {"groups": [{"name": "a", "pool": "inline", "stuck_share": 2}]},
        "groups[0].stuck_share: must be at most 1, not 2",
    ),
    (
        {"groups": [{"name": "a", "pool": "inline", "min_pools": 0}]},
        "groups[0].min_pools: must be at least 1, not 0",
    ),
    (
        {"groups": [{"name": "a", "pool": "inline", "min_pools": 3, "max_pools": 2}]},
        "groups[0]: PoolGroup('a') has min_pools=3 and max_pools=2; the maximum must not be below",
    ),
    (
        {"groups": [{"name": "a", "pool": "inline", "reserve_for": "hi"}]},
        "groups[0].reserve_for: must be one of CRITICAL, HIGH, NORMAL, LOW, BULK or a number, not 'hi'",
    ),
    (
        {"groups": [{"name": "a", "pool": "inline", "reserve_for": 1.5}]},
        "groups[0].reserve_for: must be an integer",
    ),
    ({"groups": [{"name": "a", "pool": "inline"}] * 2}, "groups: two groups are called 'a'; give each"),
    ({"breakers": [{"group": "a"}]}, "breakers: names the group 'a', and there is none"),
    (
        {"breakers": [{"tag": "a", "probe": 1}]},
        "breakers[0].probe: there is no such key; did you mean 'probes'?",
    ),
    ({"limits": {"tag": "a"}}, "limits: must be a list of tables: write [[limits]]"),
    ({"limits": [{"tenant": "*"}]}, "limits[0]: Limit(tenant='*') limits nothing; give concurrency="),
    (
        {"limits": [{"tag": "a", "rate": 1}, {"tag": "", "rate": 1}]},
        "limits[1].tag: must be a non-empty string, not ''",
    ),
    ({"limits": [{"tag": "a", "rte": 1}]}, "limits[0].rte: there is no such key; did you mean 'rate'?"),
]


@pytest.mark.parametrize(("config", "said"), WRONG, ids=[said.partition(" ")[0] for _, said in WRONG])
def test_a_mistake_is_told_with_its_key(config, said):
    """A service that does not start at night must say which line to mend."""
    error = refused(config)

    assert str(error).startswith(said)
    assert error.key == said.partition(":")[0]
    assert isinstance(error, ValueError)


def test_the_file_is_named_and_its_mistakes_are_told_together(file):
    """Who mends one line, starts again and finds the next loses patience."""
    path = file("""
        [scheduler]
        capcity = 3
        retry = "fixed-backof"
        [[groups]]
        name = "a"
        pool = {kind = "thread", slots = 0, slotz = 3}
        [[groups]]
        name = "a"
        [[limits]]
        tag = "x"
    """)

    error = refused(path)

    keys = [
        "scheduler.capcity",
        "scheduler.retry",
        "groups[0].pool.slotz",
        "groups[0].pool.slots",
        "groups[1]",
        "limits[0]",
    ]
    assert keys == [key for key, _ in error.problems]
    first, *lines = str(error).splitlines()
    assert first == f"{path}: 6 keys are wrong"
    assert [f"  {key}: {text}" for key, text in error.problems] == lines


def test_a_file_that_cannot_be_read_is_said_to_be_just_that(file, tmp_path):
    """A comma too many must not look like a bug of the scheduler."""
    error = refused(file("[scheduler\n"))

    assert "service.toml: is no TOML: " in str(error)
    assert "line 1" in str(error)
    assert error.key == ""
    with pytest.raises(FileNotFoundError):
        Scheduler.from_config(tmp_path / "nowhere.toml")
    with pytest.raises(TypeError, match="a mapping or the path of a TOML file, not 3"):
        Scheduler.from_config(3)


def test_a_wrapped_policy_that_takes_the_name_away_is_told_how_to_say_it(shelf):
    """Two things cannot have the key `policy`, and TOML's own words would not say what to do."""
    shelf.install("wrappers", OFFERS_WRAPPERS, WRAPPERS)

    error = refused({"scheduler": {"retry": {"policy": "budgeted", "budget": {}}}})

    assert "scheduler.retry.policy: is what 'budgeted' wraps: write kind = 'budgeted' beside it" == str(error)


def test_a_broken_plug_in_stops_the_scheduler_that_names_it_and_says_where(shelf):
    """Its error must lead to the key and to the distribution at once."""
    shelf.install(
        "broken-retries", "[two_tier_scheduler.retry]\nbroken = MODULE:x", "import no_such_module_anywhere"
    )

    error = refused({"scheduler": {"retry": {"kind": "broken"}}})

    assert str(error).startswith("scheduler.retry.kind: plug-in 'broken' of broken-retries 1.0 ")
    assert "broken-retries" == error.__cause__.distribution


def test_a_pool_of_another_distribution_is_made_by_its_kind(shelf):
    """Pools are plug-ins too, though programs have no function to load one."""
    shelf.install(
        "slow-pools",
        "[two_tier_scheduler.pools]\nslow = MODULE:Slow",
        "from pools import InlinePool\nclass Slow(InlinePool): pass",
    )

    with Scheduler.from_config(
        {"groups": [{"name": "a", "pool": {"kind": "slow", "slots": 2}}]}
    ) as scheduler:
        assert "Slow" == type(scheduler.groups[0].pool).__name__


def test_the_simulator_takes_the_same_file(file):
    """What is planned in virtual time must be what is deployed, to the letter."""
    simulator = Simulator.from_config(file(FILE), check_every=1)
    simulator.submit(1.0, tags={"net"})

    assert 1 == simulator.run().succeeded
    assert {"io", "urgent"} == set(simulator.core.pools.groups)
    assert simulator.core.ordering == Aging(seconds_per_level=2)
    assert "scheduler.capacity" == refused({"scheduler": {"capacity": 0}}, Simulator).key


def test_the_simulator_knows_every_key_of_the_scheduler():
    """A key that only one of them knew would need two files."""
    real, simulated = (
        {p.name for p in inspect.signature(kind).parameters.values() if p.kind is p.KEYWORD_ONLY}
        for kind in (Scheduler, Simulator)
    )

    assert set(_ONLY_REAL) == real - simulated


def test_settings_of_processes_are_tables_in_tables():
    """The recipe with the most settings is the one that most needs a file."""
    config = {
        "groups": [
            {
                "name": "cpu",
                "pool": {"kind": "process", "slots": 2, "recycle": {"jobs": 100}, "prefetch": 0},
                "dedicated": False,
            }
        ]
    }

    simulator = Simulator.from_config(config)

    assert 0 == simulator.core.pools.groups["cpu"].prefetch
    assert not simulator.core.pools.groups["cpu"].dedicated
    assert 100 == ProcessPool(slots=2, recycle=Recycle(jobs=100)).recycle.jobs
