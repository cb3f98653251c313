"""The front queue: jobs leave by key, then by arrival, whatever happened to their neighbours."""

from types import SimpleNamespace

import pytest

from scheduler._core.fair_line import FairLine
from scheduler._core.front_queue import FrontQueue
from scheduler._core.job import Job, JobOptions
from scheduler._core.lines import IDLE_RUNS_MAX, KeyLine, LevelLine
from scheduler._core.parking import Lots
from scheduler._core.shares import Shares
from scheduler._core.states import CANCELLED, RUNNING


def a_flow(groups):
    """Return the line of one tenant's jobs, which is as good as any other."""
    turn = SimpleNamespace(now=0.0, dirty=False, running=lambda: iter(()))
    return FairLine(groups, Lots((), turn), Shares(turn, lambda _: 1.0)).line((), "a")


LINES = pytest.mark.parametrize("line_type", [LevelLine, KeyLine, a_flow])


def a_job(key, arrival):
    job = Job(JobOptions(name=f"{key}/{arrival}"), None)
    job.key, job.arrival = key, arrival
    return job


def filled(line_type, *places):
    line = line_type(())
    jobs = [a_job(key, arrival) for key, arrival in places]
    for job in jobs:
        line.push(job)
    return line, jobs


def leave(line, job):
    job.state = CANCELLED
    line.discard(job)


def drained(line):
    left = []
    while (job := line.pop()) is not None:
        job.state = RUNNING
        left.append((job.key, job.arrival))
    return left


@LINES
def test_jobs_leave_by_key(line_type):
    """Priorities that do not hold until the start are no priorities."""
    line, _ = filled(line_type, (20, 1), (0, 2), (40, 3), (10, 4))

    assert [(0, 2), (10, 4), (20, 1), (40, 3)] == drained(line)


@LINES
def test_equal_keys_leave_in_order_of_arrival(line_type):
    """First in, first out among equals is what nobody has to be told."""
    line, _ = filled(line_type, (20, 1), (20, 2), (10, 3), (20, 4), (10, 5))

    assert [(10, 3), (10, 5), (20, 1), (20, 2), (20, 4)] == drained(line)


@LINES
def test_an_empty_line_answers_none(line_type):
    """A worker that asks an empty line parks, and must not be given an error."""
    line = line_type(())

    assert [None, None, None, None, 0] == [line.pop(), line.peek(), line.worst(), line.best, len(line)]


@LINES
def test_best_is_none_exactly_when_nobody_waits(line_type):
    """The hot path asks only `best` before it hands a job past the queue."""
    line, jobs = filled(line_type, (20, 1), (10, 2))
    seen = [line.best is None]
    line.pop()
    seen.append(line.best is None)
    leave(line, jobs[0])
    seen.append(line.best is None)

    assert [False, False, True] == seen


@LINES
def test_a_job_that_leaves_from_the_middle_does_not_start(line_type):
    """A cancelled job that starts anyway has lied to its caller."""
    line, jobs = filled(line_type, (20, 1), (20, 2), (20, 3), (20, 4))
    leave(line, jobs[2])

    assert (3, [(20, 1), (20, 2), (20, 4)]) == (len(line), drained(line))


@LINES
def test_a_job_that_leaves_from_the_head_uncovers_the_next(line_type):
    """The dispatcher compares heads, so a dead head would decide for the wrong line."""
    line, jobs = filled(line_type, (20, 1), (20, 2), (30, 3))
    leave(line, jobs[0])
    leave(line, jobs[1])

    assert line.peek() is jobs[2]


@LINES
def test_when_all_leave_from_the_middle_the_line_is_empty(line_type):
    """A crowd that gives up together must leave nothing that counts."""
    line, jobs = filled(line_type, *((20, arrival) for arrival in range(1, 101)))
    for job in jobs[50:] + jobs[:50]:
        leave(line, job)

    assert (0, None, [], None) == (len(line), line.best, list(line), line.worst())


def test_tombstones_never_make_up_more_than_half_of_a_run():
    """A million jobs that expire behind one that does not must give their memory back."""
    line, jobs = filled(LevelLine, *((20, arrival) for arrival in range(1, 1001)))
    for job in jobs[1:]:
        leave(line, job)

    assert (1, True) == (len(line), len(line._runs[20]) <= 2)


@LINES
def test_a_job_that_comes_back_stands_where_it_stood(line_type):
    """A retry that goes to the end of the queue makes one failure cost the whole wait again."""
    line, jobs = filled(line_type, (20, 1), (20, 2), (20, 3))
    line.pop()
    line.push_back(jobs[0])

    assert [(20, 1), (20, 2), (20, 3)] == drained(line)


@LINES
def test_jobs_that_come_back_in_any_order_stand_by_arrival(line_type):
    """Backoffs end in the order of their jitter, which is nobody's order."""
    line, jobs = filled(line_type, *((20, arrival) for arrival in range(1, 7)))
    for _ in range(5):
        line.pop()
    for index in (3, 0, 4, 1):
        line.push_back(jobs[index])

    assert [(20, 1), (20, 2), (20, 4), (20, 5), (20, 6)] == drained(line)


@LINES
def test_a_job_that_comes_back_with_a_lower_key_is_next(line_type):
    """An urgent retry must not wait behind what was less urgent all along."""
    line, jobs = filled(line_type, (10, 1), (20, 2))
    line.pop()
    line.push_back(jobs[0])

    assert line.peek() is jobs[0]


@LINES
def test_a_job_that_comes_back_to_an_empty_line_is_next(line_type):
    """The level it stood on may be gone by then."""
    line, jobs = filled(line_type, (10, 1))
    line.pop()
    line.push_back(jobs[0])

    assert (jobs[0], 1, [jobs[0]]) == (line.peek(), len(line), list(line))


@LINES
def test_a_job_that_came_back_can_leave_again(line_type):
    """A deadline may pass while a retried job waits."""
    line, jobs = filled(line_type, (20, 1), (20, 2))
    line.pop()
    line.push_back(jobs[0])
    leave(line, jobs[0])

    assert [(20, 2)] == drained(line)


@LINES
def test_walking_shows_jobs_in_starting_order(line_type):
    """Whoever reports what waits should report it as it will happen."""
    line, jobs = filled(line_type, (20, 1), (10, 2), (20, 3), (10, 4))
    leave(line, jobs[1])
    first = line.pop()
    line.push_back(first)

    assert [(10, 4), (20, 1), (20, 3)] == [(job.key, job.arrival) for job in line]


@LINES
def test_the_worst_would_start_last(line_type):
    """Shedding anybody else breaks the promise that priorities make."""
    line, jobs = filled(line_type, (20, 1), (30, 2), (30, 3), (10, 4))

    assert line.worst() is jobs[2]


@LINES
def test_the_worst_is_found_behind_those_who_left(line_type):
    """A tombstone that is shed would be settled twice."""
    line, jobs = filled(line_type, (20, 1), (30, 2), (30, 3), (30, 4))
    leave(line, jobs[3])
    first, second = line.worst(), jobs[2]
    leave(line, jobs[2])

    assert (second, jobs[1]) == (first, line.worst())


@LINES
def test_the_worst_may_be_one_that_came_back(line_type):
    """A retried job keeps its place, the last one too."""
    line, jobs = filled(line_type, (20, 1), (30, 2))
    assert [jobs[0], jobs[1]] == [line.pop(), line.pop()]
    line.push_back(jobs[1])
    line.push(a_job(20, 3))

    assert line.worst() is jobs[1]


@LINES
def test_many_distinct_priorities_leave_in_order(line_type):
    """Any integer is a priority, and some programs use a timestamp."""
    line, _ = filled(line_type, *((key * 7919 % 1000, key) for key in range(1, 1001)))

    assert sorted((key * 7919 % 1000, key) for key in range(1, 1001)) == drained(line)


def test_levels_that_empty_are_kept_only_up_to_a_bound():
    """A program that never uses a priority twice must not grow for ever."""
    line = LevelLine(())
    for arrival in range(1, 1001):
        line.push(a_job(arrival, arrival))
        line.pop()

    assert len(line._runs) <= IDLE_RUNS_MAX + 1


@LINES
def test_a_lower_key_that_joins_later_is_next(line_type):
    """The urgent job that arrives behind ten thousand others is why this library exists."""
    line, _ = filled(line_type, (20, 1), (30, 2))
    line.push(a_job(-5, 3))

    assert (-5, 3) == drained(line)[0]


def test_groups_in_the_same_order_share_one_line(group):
    """Two lines for one eligibility class would be two queues that overtake each other."""
    queue = FrontQueue(10, few_keys=True, lots=Lots((), None))
    io = group("io")

    assert queue.line((io,)) is queue.line((io,))


def test_a_group_knows_every_line_it_may_take_from(group):
    """A free slot that does not look into a line lets it starve."""
    queue = FrontQueue(10, few_keys=True, lots=Lots((), None))
    io, cpu = group("io"), group("cpu")
    cpu.index = 1
    both, one = queue.line((io, cpu)), queue.line((io,))

    assert ([both, one], [both]) == (io.lines, cpu.lines)


def test_the_kind_of_line_follows_the_ordering(group):
    """With a key of its own for every job, a run of equals would be a run of one."""
    lines = [FrontQueue(10, few_keys=few, lots=Lots((), None)).line((group("io"),)) for few in (True, False)]

    assert [LevelLine, KeyLine] == [type(line) for line in lines]


def test_the_worst_of_all_lines_is_the_worst_of_the_queue(group):
    """The bound is over all lines together, and so is the choice of whom to shed."""
    queue = FrontQueue(10, few_keys=True, lots=Lots((), None))
    io, cpu = group("io"), group("cpu")
    cpu.index = 1
    jobs = [a_job(20, 1), a_job(30, 2), a_job(30, 3)]
    for job, groups in zip(jobs, ((io,), (cpu,), (io,)), strict=True):
        queue.line(groups).push(job)

    assert (queue.worst(), 3, set(jobs)) == (jobs[2], len(queue), set(queue))


def test_a_line_laid_anew_holds_everybody_but_the_torn_job(group):
    """After an interrupt in the middle of a submit, that one job never was, and every other still is."""
    queue = FrontQueue(10, few_keys=True, lots=Lots((), None))
    line = queue.line((group("io"),))
    jobs = [a_job(20, 1), a_job(10, 2), a_job(20, 3)]
    for job in jobs:
        line.push(job)
    queue.mend(jobs[1])

    assert [(20, 1), (20, 3)] == drained(line)
