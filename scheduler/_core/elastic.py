"""Opens and drains whole pools by what the autoscaler decides, and keeps the record of why.

An evaluation is one look at a group. Looks come by time, a few in each panic window, and only while there
is something to see: with every group at its ``min_pools`` and no job waiting or running, the core dozes
and needs no timer, until the next job comes.
"""

from __future__ import annotations

import math

from policies.contracts import Load

from . import events
from .autoscaler import Order, Scaled
from .decisions import Decision, Explanation
from .flow import usage
from .job import Line
from .lulls import UNKNOWN
from .pool_table import GroupRecord, PoolRecord
from .quarantine import Quarantine
from .states import PoolState

#: Stable windows without any job after which a group that keeps more than its minimum is left alone.
QUIET = 3.0

_ACCEPTING, _STARTING, _DRAINING = PoolState.ACCEPTING, PoolState.STARTING, PoolState.DRAINING
_QUARANTINED = PoolState.QUARANTINED


class Elastic(Quarantine):
    """Evaluates the groups that scale, and does what was decided."""

    def wake(self, now: float) -> None:
        """Begin to look again, because a job has come; not while the scheduler is paused."""
        if self.scaling_rests and not self.paused:
            self.look_anew(now)
        self.doze_if_all_rest()

    def look_anew(self, now: float) -> None:
        """Look at every group as if for the first time."""
        self.scaling_rests = False
        for scaled in self.scaled.values():
            scaled.begin_anew()
            self._look(scaled, [], now)
            scaled.due = now + scaled.flow.tick
        self.doze_if_all_rest()
        self.dirty = True

    def doze_if_all_rest(self) -> None:
        """Have `wake` called when a job comes, if anybody rests."""
        self.dozing = self.scaling_rests

    def resume(self, now: float) -> None:
        """Dispatch again after a pause, and look again: what the pause did must not be taken for the load."""
        super().resume(now)
        if self.scaled:
            self.look_anew(now)

    def next_look(self) -> float:
        """Return when `scale` is needed next, infinity while there is nothing to look at."""
        if self.scaling_rests or not self.scaled:
            return math.inf
        return min((scaled.due for scaled in self.scaled.values()), default=math.inf)

    def stop_scaling(self) -> None:
        """Open and drain nothing any more by itself, but in place of what is quarantined: the scheduler closes."""
        self.scaled.clear()
        for pool in list(self.pools):
            self.keep_no_longer(pool, self.now)
        self.scaling_rests = False
        self.doze_if_all_rest()

    def stop_if_empty(self, pool: PoolRecord, now: float) -> None:
        """Let a pool go that has run its last job, unless it is kept to be taken back: `autoscaler`, rule 6."""
        if not (pool.released and now < pool.kept_until):
            super().stop_if_empty(pool, now)

    def keep_no_longer(self, pool: PoolRecord, now: float) -> None:
        """Keep a pool no longer that goes by itself: somebody wants it gone."""
        if pool.released:
            pool.released = False
            self.stop_if_empty(pool, now)

    def scale(self, now: float) -> None:
        """Evaluate every group that is due. Cost: O(lines), and O(pools + priorities) a group."""
        if self.paused:  # until `resume`
            self.scaling_rests = True
            self.doze_if_all_rest()
            return
        lines = self._lines()
        busy = False
        for scaled in self.scaled.values():
            if scaled.due <= now:
                scaled.due = now + scaled.flow.tick
                self._evaluate(scaled, lines.get(scaled.group.name, []), now)
                if not scaled.group.pools:  # there is nothing to see until another may be opened
                    scaled.due = max(scaled.due, scaled.not_before)
            busy = not self._at_rest(scaled, now) or busy
        self.scaling_rests = not busy and not lines
        self.doze_if_all_rest()

    def _at_rest(self, scaled: Scaled, now: float) -> bool:
        """Whether nothing will change in a group until a job comes; a policy that drains late is given its time."""
        group = scaled.group
        if group.capacity_pools() < group.min_pools or any(map(_moves, group.pools)):
            scaled.quiet_since = math.inf
            return False
        scaled.quiet_since = min(scaled.quiet_since, now)
        few = group.capacity_pools() <= group.min_pools
        patience = 0.0 if few else (UNKNOWN + QUIET) * scaled.flow.stable_length
        if scaled.kept:
            return False
        return now - max(scaled.quiet_since, scaled.changed_at) >= patience

    def _lines(self) -> dict[str, list[Line]]:
        """Return the lines in which jobs wait, each under the group whose growth would help it.

        That is the first of its groups that may still grow, or does, so that two groups do not grow for the same jobs.
        """
        lines: dict[str, list[Line]] = {}
        for line in self.queue.lines.values():
            if line.best is not None:
                able = [group for group in line.groups if group.name in self.scaled]
                if able:
                    grows = (group for group in able if not group.full or any(map(_starts, group.pools)))
                    lines.setdefault(next(grows, able[0]).name, []).append(line)
        return lines

    def _look(self, scaled: Scaled, lines: list[Line], now: float) -> tuple[dict[int, int], float]:
        """Look at a group; return what waits for it by priority, and since when the oldest does."""
        waiting: dict[int, int] = {}
        oldest = now
        for line in lines:
            for priority, count, since in line.levels():
                waiting[priority] = waiting.get(priority, 0) + count
                if since is not None:
                    oldest = min(oldest, since)
        scaled.flow.look(scaled.group, now, sum(waiting.values()), now - oldest)
        return waiting, oldest

    def _evaluate(self, scaled: Scaled, lines: list[Line], now: float) -> None:
        for pool in list(scaled.group.pools):
            if pool.released:
                self.stop_if_empty(pool, now)
        waiting, oldest = self._look(scaled, lines, now)
        load = self._load(scaled, waiting, oldest, now)
        effect = scaled.ceiling.measure(
            load, kills=scaled.group.kills, leaving=scaled.leaving, failing=scaled.failures > 0
        )
        if effect is not None:
            self._measured(scaled, effect, now)
        scaled.leaving = any(pool.released and pool.in_use > pool.stuck for pool in scaled.group.pools)
        order = self.slowness.time("scaling", scaled.policy, scaled.decide, load, self.policy_failed)
        if order.add:
            scaled.ceiling.grow_from(load)
            scaled.lulls.want(load.pools + order.add, now, scaled.flow.stable_length)
            taken_back, opened = self._grow(scaled.group, order.add, now)
            scaled.changed(now, order.add)
            scaled.told = (True, order.rule)
            if taken_back:
                self._decided(scaled, "take back", taken_back, order, load)
            if opened:
                self._decided(scaled, "add", opened, order, load)
        elif order.drain:
            candidates = [pool for pool in scaled.group.pools if pool.state is PoolState.ACCEPTING]
            pool = min(reversed(candidates), key=lambda pool: _keep(pool, order.pool))
            seen = tuple((pool.pool_id, pool.in_use, now - pool.idle_since) for pool in candidates)
            scaled.changed(now)
            self._decided(scaled, "drain", [pool], order, load, seen)
            pool.kept_until = now + scaled.flow.stable_length
            self.drain(pool, now, released=not pool.stuck)
        else:
            self._held(scaled, order, load)

    def _held(self, scaled: Scaled, order: Order, load: Load) -> None:
        """Write down once that a rule keeps something from happening."""
        told = (order.advice.pools > load.pools, order.rule)
        if order.rule is None or told == scaled.told:
            return
        scaled.told = told
        self._decided(scaled, "hold", [], order, load)

    def _load(self, scaled: Scaled, waiting: dict[int, int], oldest: float, now: float) -> Load:
        group, flow = scaled.group, scaled.flow
        starting = draining = quarantined = 0
        idle: list[tuple[str, float]] = []
        for pool in group.pools:
            state = pool.state
            if state is _ACCEPTING:
                if pool.touched or len(pool.free) + pool.down < pool.slots:
                    pool.touched = False
                    pool.idle_since = now
                idle.append((pool.pool_id, now - pool.idle_since))
            elif state is _STARTING:
                starting += 1
            elif state is _DRAINING:
                draining += pool.released and not (pool.stuck and pool.stuck == pool.in_use)
            elif state is _QUARANTINED:
                quarantined += 1
        stable = flow.stable()
        return Load(
            group=group.name,
            time=now,
            pool_slots=group.slots,
            pools=group.capacity_pools(),
            starting=starting,
            draining=draining,
            quarantined=quarantined,
            min_pools=group.min_pools,
            max_pools=group.max_pools,
            slots=flow.slots,
            in_use=flow.in_use,
            waiting=sum(waiting.values()),
            waiting_by_priority=tuple(sorted(waiting.items())),
            oldest_wait=now - oldest,
            idle=tuple(idle),
            stable=stable,
            panic=flow.panic(),
            run_time=flow.run_time,
            deviation=flow.deviation,
            start_up=flow.start_up,
            since_change=now - scaled.changed_at,
            panicking=now < scaled.panic_until,
        )

    def _grow(self, group: GroupRecord, count: int, now: float) -> tuple[list[PoolRecord], list[PoolRecord]]:
        """Take back pools that drain, then open new ones, `count` in all; return both."""
        draining = [pool for pool in group.pools if pool.state is PoolState.DRAINING and pool.released]
        back = draining[::-1][:count]
        for pool in back:
            self.pool_up(pool, now)
        return back, [self.open_pool(group, now) for _ in range(count - len(back))]

    def _decided(
        self,
        scaled: Scaled,
        action: str,
        pools: list[PoolRecord],
        order: Order,
        load: Load,
        candidates: tuple[tuple[str, int, float], ...] = (),
    ) -> None:
        names = tuple(pool.pool_id for pool in pools)
        decision = Decision(
            time=load.time,
            group=load.group,
            action=action,
            pools=names,
            before=load.pools,
            wanted=order.advice.pools,
            reason=order.advice.reason,
            formula=order.advice.formula,
            limited_by=order.limited_by,
            candidates=candidates,
            load=load,
        )
        scaled.group.decisions.append(decision)
        if self.observed:
            self.emit(
                events.ScalingDecided(
                    time=load.time,
                    group=load.group,
                    action=action,
                    pools=names,
                    before=load.pools,
                    wanted=order.advice.pools,
                    reason=order.advice.reason,
                    limited_by=order.limited_by,
                    formula=order.advice.formula,
                    candidates=candidates,
                    load=load,
                )
            )

    def _measured(self, scaled: Scaled, effect: str, now: float) -> None:
        """Write what an addition did beside the decision to make it."""
        decisions = scaled.group.decisions
        for place in range(len(decisions) - 1, -1, -1):
            if decisions[place].action in ("add", "take back"):
                decisions[place] = decisions[place].measured(effect)
                break
        if self.observed:
            self.emit(events.ScalingMeasured(time=now, group=scaled.group.name, effect=effect))

    def explain(self, group: GroupRecord, now: float) -> Explanation:
        """Return the last decisions about a group, and how it stands. Cost: O(pools)."""
        in_use, slots = usage(group)
        most = "no maximum" if group.max_pools is None else f"at most {group.max_pools}"
        scales = "by hand alone" if group.scaling is None else f"by {group.scaling!r}"
        standing = (
            f"{group.capacity_pools()} pools (at least {group.min_pools}, {most}), "
            f"{in_use} of {slots} slots in use, scaled {scales}"
        )
        for record in self.lots.breakers_at(group):
            standing += f"; {record.says(now)}" if record.says(now) else ""
        return Explanation(time=now, group=group.name, decisions=tuple(group.decisions), now=standing)


def _starts(pool: PoolRecord) -> bool:
    return pool.state is _STARTING


def _moves(pool: PoolRecord) -> bool:
    """Whether a pool starts, runs something or is about to go; what is stuck there may stay for ever."""
    return pool.state is PoolState.STARTING or pool.released or bool(pool.in_use and pool.in_use > pool.stuck)


def _keep(pool: PoolRecord, wanted: str | None) -> tuple[bool, int]:
    """Return what is least for the pool that had best go: the one named, else the one with least to do."""
    return pool.pool_id != wanted, pool.in_use
