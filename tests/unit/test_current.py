"""What a running job can know of itself."""

import logging
import threading

import pytest

from scheduler._core.job import Job, JobOptions
from scheduler._core.pool_table import Slot
from scheduler._current import CurrentJob, JobLogFilter, current_job, current_slot, local, slot_here
from scheduler._current import inside as mark
from scheduler._errors import JobInterrupted, SchedulerError


class Reporter:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def progressed(self, job, attempt, done, total):
        self.told.append((job.id, attempt, done, total))

    def seconds_left(self, job, slot):
        return 4.5


class Reported(Job):
    """A job that somebody is told about, as a handle is."""

    __slots__ = ("driver",)


class Pool:
    """As much of a pool as a slot needs."""

    pool_id = "io-2"


@pytest.fixture
def inside():
    """Run the test as the job 7, second attempt, in io-2/3."""
    job = Reported(JobOptions(), None)
    job.id, job.attempt, job.driver = 7, 2, Reporter()
    slot = Slot(pool=Pool(), index=2, worker="io-2/3", job=job, attempt=2, begun=2)
    job.slot = slot
    local.slot = slot
    yield slot
    local.slot = None


def a_record():
    return logging.LogRecord("name", logging.INFO, "path", 1, "text", None, None)


def test_outside_a_job_the_answer_is_a_sentence():
    """Who calls it in a thread of their own must learn what to do instead."""
    with pytest.raises(SchedulerError, match="outside a job"):
        current_job()


def test_inside_a_job_it_knows_who_and_where_it_is(inside):
    """These four are what every log line wants."""
    current = current_job()

    assert (7, 2, "io-2", "io-2/3") == (current.id, current.attempt, current.pool, current.worker)


def test_another_thread_is_outside(inside):
    """A thread that a job starts is no worker: hand it the object."""
    seen = []
    other = threading.Thread(target=lambda: seen.append(current_slot()))
    other.start()
    other.join()

    assert [None] == seen


def test_a_slot_whose_job_is_gone_is_outside(inside):
    """Between two jobs a worker runs callbacks, which belong to none."""
    inside.job = None

    assert current_slot() is None


def test_the_token_is_seen_as_soon_as_it_is_set(inside):
    """A loop that polls it must end at its next turn."""
    current = current_job()
    before = current.interrupted
    inside.interrupted = "enough"

    assert (False, True) == (before, current.interrupted)


def test_raise_if_interrupted_gives_the_reason(inside):
    """Who asked is the first question."""
    current = current_job()
    current.raise_if_interrupted()
    inside.interrupted = "the scheduler closes"

    with pytest.raises(JobInterrupted, match="the scheduler closes"):
        current.raise_if_interrupted()


def test_an_empty_reason_interrupts_too(inside):
    """What counts is that somebody asked."""
    inside.interrupted = ""

    assert current_job().interrupted


def test_progress_reaches_whoever_wants_to_hear(inside):
    """A bar that moves is why a user believes that something happens."""
    current_job().progress(3, 10)
    current_job().progress(4)

    assert [(7, 2, 3, 10), (7, 2, 4, None)] == inside.job.driver.told


def test_remaining_is_what_the_scheduler_says(inside):
    """The job's own clock may be another one."""
    assert 4.5 == current_job().remaining()


def test_the_object_may_be_handed_to_another_thread(inside):
    """A job that starts helpers must be able to stop them."""
    current, seen = current_job(), []
    inside.interrupted = "enough"
    other = threading.Thread(target=lambda: seen.append((current.id, current.interrupted)))
    other.start()
    other.join()

    assert [(7, True)] == seen


def test_its_repr_says_who_it_is(inside):
    """It will stand in somebody's debugger."""
    assert "<CurrentJob 7 attempt 2 in io-2/3>" == repr(current_job())


def test_a_call_that_outlived_its_attempt_keeps_its_own_number(inside):
    """The job may be at its third attempt while the second one's call still runs."""
    inside.job.attempt = 3

    assert 2 == CurrentJob(inside.job, inside).attempt


def test_the_log_filter_names_the_job(inside):
    """One line of a log must lead to the job that wrote it."""
    record = a_record()
    passed = JobLogFilter().filter(record)

    assert (True, 7, 2, "io-2/3") == (passed, record.job_id, record.attempt, record.worker)


def test_the_log_filter_lets_records_from_outside_pass():
    """A format that names job_id must not fail for everybody else's records."""
    record = a_record()
    passed = JobLogFilter().filter(record)

    assert (True, "-", "-", "-") == (passed, record.job_id, record.attempt, record.worker)


def test_what_a_helper_thread_was_handed_does_not_speak_for_the_next_job(inside):
    """A slot is used again at once; its next job's interruption is not this one's."""
    job = current_job()
    assert not job.interrupted
    other = Reported(JobOptions(), None)
    other.id, other.attempt, other.driver = 8, 1, Reporter()
    inside.job, inside.attempt, inside.begun = other, 1, 0

    with pytest.raises(SchedulerError):
        current_job()
    inside.begun = 1
    assert 8 == current_job().id
    assert job.interrupted
    with pytest.raises(JobInterrupted, match="attempt 2 is over"):
        job.raise_if_interrupted()
    assert not current_job().interrupted


@pytest.fixture
def inside_a_coroutine(inside):
    """Run the test as the same job, but as a coroutine: known by its context, not by its thread."""
    local.slot = None
    token = mark.set((inside, 7, 2))
    yield inside
    mark.reset(token)


def test_a_coroutine_is_known_by_its_context(inside_a_coroutine):
    """Many share one thread, so the thread cannot tell."""
    assert inside_a_coroutine is current_slot()
    assert 7 == current_job().id
    assert inside_a_coroutine is slot_here()


def test_the_threads_own_job_comes_first(inside_a_coroutine):
    """A coroutine that submits hands its context on to a job in a thread."""
    slot = Slot(pool=Pool(), index=0, worker="io-2/1", job=Job(JobOptions(), None))
    local.slot = slot

    assert slot is current_slot()
    assert slot is slot_here()


@pytest.mark.parametrize("change", ["another job", "another attempt", "no job"])
def test_a_context_that_outlives_its_job_is_in_no_job(inside_a_coroutine, change):
    """The slot has moved on, and its next job is not the caller's."""
    slot = inside_a_coroutine
    if change == "another job":
        slot.job = Job(JobOptions(), None)
    elif change == "another attempt":
        slot.attempt = 3
    else:
        slot.job = None

    assert current_slot() is None
    assert slot_here() is None


def test_a_done_callback_of_a_coroutine_still_holds_its_slot(inside_a_coroutine):
    """It is no job any more, but whoever closes there must not be waited for."""
    inside_a_coroutine.job, inside_a_coroutine.held = None, True

    assert current_slot() is None
    assert inside_a_coroutine is slot_here()
