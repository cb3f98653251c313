"""The pool table: slots, load, ids, and who may take what."""

import pytest

from scheduler._core.pool_table import GroupRecord, PoolTable
from scheduler._core.states import PoolState


def a_table(*groups):
    table = PoolTable()
    for group in groups:
        table.groups[group.name] = group
    return table


def opened(table, group, now=0.0):
    """Make a pool and put it on the table."""
    pool = table.make(group, now)
    table.add(pool)
    return pool


@pytest.fixture
def io(group):
    return group("io", slots=2)


def test_a_new_pool_starts_with_all_its_slots_free(io):
    """A slot that is lost at birth is lost for ever: a pool is never resized."""
    pool = opened(a_table(io), io, 3.0)

    assert ("io-1", 2, 0, 0.0, PoolState.STARTING, 3.0) == (
        pool.pool_id,
        pool.slots,
        pool.in_use,
        pool.load,
        pool.state,
        pool.started_at,
    )


def test_workers_are_named_by_pool_and_slot(io):
    """The id is in every log line, event and attempt."""
    pool = opened(a_table(io), io, 0.0)

    assert ["io-1/1", "io-1/2"] == [slot.worker for slot in pool.all_slots]


def test_the_first_slot_is_used_first(io):
    """A scheduler that is hardly used should need few threads."""
    pool = opened(a_table(io), io, 0.0)

    assert "io-1/1" == pool.free[-1].worker


def test_ids_are_never_reused(io):
    """Two pools of one name in one log cannot be told apart."""
    table = a_table(io)
    first = opened(table, io, 0.0)
    table.forget(first)

    assert "io-2" == opened(table, io, 0.0).pool_id


def test_only_accepting_pools_count_as_free(io):
    """A submit that believes in a cordoned pool's slot would strand its job there."""
    table = a_table(io)
    pool = opened(table, io, 0.0)
    seen = [io.free]
    for state in (PoolState.ACCEPTING, PoolState.CORDONED, PoolState.ACCEPTING, PoolState.DRAINING):
        table.move(pool, state)
        seen.append(io.free)

    assert [0, 2, 0, 2, 0] == seen


def test_the_load_of_a_pool_is_the_share_of_its_slots_that_is_in_use(io):
    """Routing policies compare pools by it; a number of jobs would make every large pool look busy."""
    table = a_table(io)
    pool = opened(table, io, 0.0)
    loads = [pool.load]
    while pool.free:
        pool.free.pop()
        loads.append(pool.load)

    assert [0.0, 0.5, 1.0] == loads


def test_a_move_that_the_table_lacks_is_refused(io):
    """A stopped pool that accepts again would lose its jobs."""
    table = a_table(io)
    pool = opened(table, io, 0.0)
    table.move(pool, PoolState.DRAINING)
    table.move(pool, PoolState.STOPPED)

    with pytest.raises(AssertionError, match="STOPPED → ACCEPTING is no legal move"):
        table.move(pool, PoolState.ACCEPTING)


def test_pools_are_found_by_id_and_not_after_they_are_gone(io):
    """An operator's command must reach the pool it names, or say that it is gone."""
    table = a_table(io)
    pool = opened(table, io, 0.0)
    seen = [table.find("io-1"), table.find("io-2")]
    table.forget(pool)
    seen.append(table.find("io-1"))

    assert [pool, None, None] == seen


def test_pools_are_listed_by_group_and_age(group):
    """The order of a report is the order of the declaration."""
    io, cpu = group("io"), group("cpu")
    table = a_table(io, cpu)
    for each in (cpu, io, cpu):
        opened(table, each, 0.0)

    assert ["io-1", "cpu-1", "cpu-2"] == [pool.pool_id for pool in table]


def test_what_drains_does_not_count_against_the_limits(io):
    """A pool that goes makes room for the one that replaces it."""
    table = a_table(io)
    pools = [opened(table, io, 0.0) for _ in range(4)]
    table.move(pools[1], PoolState.ACCEPTING)
    table.move(pools[2], PoolState.ACCEPTING)
    table.move(pools[2], PoolState.CORDONED)
    table.move(pools[3], PoolState.DRAINING)

    assert 3 == io.capacity_pools()


@pytest.mark.parametrize(
    ("settings", "job", "takes"),
    [
        ({}, (20, set(), False), True),
        ({}, (20, {"io"}, False), True),
        ({}, (20, {"cpu"}, False), False),
        ({"tags": {"io", "ssd"}}, (20, {"io", "ssd"}, False), True),
        ({"tags": {"io"}}, (20, {"io", "ssd"}, False), False),
        ({"reserve_for": 10}, (10, set(), False), True),
        ({"reserve_for": 10}, (11, set(), False), False),
        ({"reserve_for": 10}, (11, {"io"}, False), False),
        ({"dedicated": True}, (20, set(), False), False),
        ({"dedicated": True}, (20, {"io"}, False), True),
        ({}, (20, set(), True), False),
        ({"coroutines": True}, (20, set(), True), True),
        ({"coroutines": True}, (20, set(), False), False),
    ],
)
def test_a_group_takes_what_its_tags_its_reservation_and_its_kind_allow(settings, job, takes):
    """One wrong row sends a coroutine to a thread, or a batch job to the urgent pool."""
    priority, tags, coroutine = job
    tagged = frozenset(settings.pop("tags", {"io"}))
    group = GroupRecord(name="io", index=0, slots=1, tags=tagged, **settings)

    assert takes == group.takes(priority, frozenset(tags), coroutine=coroutine)


def test_an_overdue_worker_still_holds_its_slot(by_hand):
    """A thread cannot be killed, so its slot is not free however long ago the limit was."""
    hand = by_hand()
    hand.submit("a", run_timeout=1.0)
    hand.advance(1.0)
    pool = hand.pool("io-1")

    assert (1, True, []) == (pool.in_use, pool.all_slots[0].overdue, list(pool.running()))
