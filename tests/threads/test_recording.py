"""What a living scheduler records of itself: that it replays, where it ends, and that no job pays for it."""

import json
import logging
import threading
from pathlib import Path

import pytest

from policies import ExponentialBackoff, FixedBackoff, Hedge, Reject, RetryBudget
from pools import AsyncioPool, InlinePool, ProcessPool, ThreadPool
from scheduler import Limit, PoolGroup, RecordingError, Scheduler, SchedulerError, VirtualClock, current_job
from scheduler._core.core import Core
from scheduler.testing import replay


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run.jsonl"


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def kinds_of(file):
    """Return which stimuli a recording holds, and which decisions."""
    stimuli = [
        line for line in lines_of(file) if isinstance(line[-1], list) and line[0] not in ("class", "end")
    ]
    return {line[0] for line in stimuli}, {effect[0] for line in stimuli for effect in line[-1]}


class Flaky:
    """Fails every third time, from any thread."""

    def __init__(self):
        self.calls = 0
        self.lock = threading.Lock()

    def call(self):
        with self.lock:
            self.calls += 1
            if self.calls % 3 == 0:
                raise OSError("down")


async def flaky(state):
    state.call()


def test_a_threaded_run_replays_to_the_same_decisions(file, gate, in_thread):
    """Threads interleave as they like; what they did is in the order of turns, and that order is recorded."""
    state = Flaky()
    hedge = Hedge(budget=RetryBudget(name="hedges"), quantile=0.5, samples_min=5)
    scheduler = Scheduler(
        PoolGroup("io", ThreadPool(slots=2), max_pools=3),
        PoolGroup("co", AsyncioPool(slots=2)),
        PoolGroup("cpu", ProcessPool(slots=1)),
        capacity=30,
        limits=[Limit(tenant="few", concurrency=1)],
        retry=ExponentialBackoff(initial=0.0005),
        record=file,
    )

    def submit_some(number):
        kinds = (
            ({"priority": 0}, state.call, ()),
            (
                {"tenant": "few", "retry": FixedBackoff(delay=0.0, retry_on=lambda _error: True)},
                state.call,
                (),
            ),
            ({"hedge": hedge, "run_timeout": 5.0}, state.call, ()),
            ({"key": "one", "on_conflict": "replace", "deadline": 5.0}, state.call, ()),
            ({"tags": "cpu"}, abs, (-number,)),
            ({"delay": 0.001, "queue_timeout": 5.0}, flaky, (state,)),
        )
        for _ in range(8):
            for options, function, arguments in kinds:
                handle = scheduler.with_options(**options).submit(function, *arguments)
            handle.cancel()

    submitters = [in_thread(submit_some, number) for number in range(2)]
    for submitter in submitters:
        submitter.result()
    stuck = scheduler.submit(gate.stop_here)
    gate.await_arrival()
    stuck.interrupt("enough")
    scheduler.drain_pool(scheduler.add_pool("co"))
    threading.Thread(target=gate.open).start()
    scheduler.close()

    played = replay(file)

    assert played.divergence is None
    assert (played.ended, played.jobs) == ("closed", 97)
    stimuli, decisions = kinds_of(file)
    assert {"submit", "submit_keyed", "finish", "refill", "outcome", "fill", "ready", "advance"} <= stimuli
    assert {
        "cancel",
        "interrupt",
        "make_pool",
        "drain",
        "stop_scaling",
        "drain_for_good",
        "pool_up",
    } <= stimuli
    assert {"start", "retry", "answer", "settle", "dice"} <= decisions


def test_a_scheduler_that_does_not_record_has_a_plain_core():
    """Whoever records nothing must not pay for it: not with one test on the hot path."""
    with Scheduler(InlinePool()) as scheduler:
        assert type(scheduler._driver.core) is Core


def test_what_was_tampered_with_is_said_with_its_line(file):
    """A replay that cannot tell a difference proves nothing."""
    with Scheduler(InlinePool(), record=file) as scheduler:
        for _ in range(3):
            scheduler.submit(int)
    lines = file.read_text().splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines) if '"start",2,' in line)
    lines[number] = lines[number].replace('"start",2,"inline-1/0"', '"start",2,"inline-1/7"')
    file.write_text("".join(lines))

    divergence = replay(file).divergence

    assert divergence.line == number + 1
    assert divergence.stimulus.startswith("submit(2, ")
    assert '["start", 2, "inline-1/7", 1]' in divergence.recorded
    assert '["start", 2, "inline-1/0", 1]' in divergence.replayed
    assert "recorded" in str(divergence)


def test_a_stimulus_that_fits_nothing_is_a_divergence_too(file):
    """A recording whose lines were lost must end in a sentence, not in a traceback."""
    with Scheduler(InlinePool(), record=file) as scheduler:
        scheduler.submit(int)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(
        "".join(line.replace("-1/0", "-9/0") if line.startswith('["finish"') else line for line in lines)
    )

    assert "there is no pool inline-9" in str(replay(file).divergence)


def test_options_that_are_made_anew_for_each_job_are_written_once(file):
    """That is how most programs give a priority; a recording that said all of them anew would be full in a third of the time."""
    with Scheduler(InlinePool(), retry=ExponentialBackoff(), record=file) as scheduler:
        for number in range(40):
            scheduler.with_options(priority=number % 2, tags=["inline"]).submit(abs, number).result()

    assert 2 == sum(line[0] == "options" and "tags" in line[2] for line in lines_of(file))
    assert replay(file).divergence is None


def test_a_recording_ends_at_its_bound_and_says_so(file, caplog):
    """A recording that is forgotten must not fill the disk, and its beginning is what a replay needs."""
    with Scheduler(InlinePool(), record=file, record_bytes_max=65536, name="much") as scheduler:
        jobs = [scheduler.submit(int) for _ in range(1000)]

    assert all(job.result() == 0 for job in jobs)
    assert 60_000 < file.stat().st_size <= 65536
    assert lines_of(file)[-1][2] == "bound"
    assert [r.message for r in caplog.records if "record_bytes_max=65536" in r.message] == [
        f"the recording {file} has ended: it is full (record_bytes_max=65536); the scheduler goes on"
    ]
    played = replay(file)
    assert (played.divergence, played.ended) == (None, "bound")
    assert 100 < played.jobs < 1000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_ends_the_recording_and_harms_no_job(caplog):
    """A debugging aid that loses jobs is worse than none."""
    with Scheduler(InlinePool(), record="/dev/full") as scheduler:
        jobs = [scheduler.submit(int) for _ in range(1000)]

    assert all(job.result() == 0 for job in jobs)
    said = [r for r in caplog.records if "the recording /dev/full has ended" in r.message]
    assert [(r.levelno, "No space left" in r.message) for r in said] == [(logging.WARNING, True)]


def test_a_bug_in_the_recorder_harms_no_job(file, caplog, monkeypatch):
    """What is recorded may one day be something that nobody thought of."""
    with Scheduler(InlinePool(), record=file) as scheduler:
        monkeypatch.setattr(scheduler._driver.core.notes, "options", lambda _options: 1 / 0)
        assert scheduler.submit(int).result() == 0
        assert scheduler.submit(int).result() == 0

    assert "ZeroDivisionError was raised in it" in caplog.text
    assert lines_of(file)[-1][2] == "bug"


def test_a_torn_last_line_is_left_out(file):
    """Whoever is killed leaves half a line, and that recording is the one that is needed."""
    with Scheduler(InlinePool(), record=file) as scheduler:
        scheduler.submit(int)
        scheduler.submit(int)
    text = file.read_text()
    file.write_text(text[: text.rindex("refill") + 3])

    played = replay(file)

    assert (played.divergence, played.ended, played.torn) == (None, "", True)
    assert played.jobs == 2


def test_a_torn_line_in_the_middle_is_an_error(file):
    """What comes behind a hole is an answer to other questions."""
    with Scheduler(InlinePool(), record=file) as scheduler:
        scheduler.submit(int)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:4], '["sub\n', *lines[4:]]))

    with pytest.raises(RecordingError, match="line 5 is no line of a recording"):
        replay(file)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins no recording"),
        ('{"a": 1}\n', "begins no recording"),
        ('["recording", 99, {}]\n', "of format 99"),
    ],
)
def test_what_is_no_recording_is_refused(file, text, why):
    """A log that is taken for a recording must not end in a traceback."""
    file.write_text(text)

    with pytest.raises(RecordingError, match=why):
        replay(file)


def test_an_interrupt_that_tears_a_turn_ends_the_recording(file, caplog):
    """What is mended after an interrupt depends on where it struck, which nobody recorded."""
    with Scheduler(InlinePool(), record=file) as scheduler:
        scheduler.submit(int)
        scheduler._driver.turn(lambda _now: scheduler._driver.core.mend())
        scheduler.submit(int)

    assert "an interrupt tore a turn" in caplog.text
    played = replay(file)
    assert (played.divergence, played.ended, played.jobs) == (None, "interrupt", 1)


@pytest.mark.parametrize("step", ["_start", "back_off"])
def test_a_turn_that_is_torn_is_not_told_as_a_difference(file, monkeypatch, step):
    """Its line is the last that was written, and what an interrupt left undone a replay does."""

    def fails_once():
        if current_job().attempt == 1:
            raise OSError

    def strike(*_args, **_named):
        raise KeyboardInterrupt

    with Scheduler(
        InlinePool(), record=file, clock=VirtualClock(), retry=FixedBackoff(delay=0.0)
    ) as scheduler:
        scheduler.submit(int)
        with monkeypatch.context() as patch:
            patch.setattr(f"scheduler._noting.NotingCore.{step}", strike)
            with pytest.raises(KeyboardInterrupt):
                scheduler.submit(fails_once)
        scheduler.submit(int)

    played = replay(file)
    assert (played.divergence, played.ended) == (None, "interrupt")
    assert played.jobs in (1, 2)


def test_the_recording_before_is_kept(file):
    """A service that restarts by itself must not write over the recording of its crash."""
    for number in range(3):
        with Scheduler(InlinePool(), record=file, name=f"run {number}"):
            pass

    names = [lines_of(path)[0][2]["scheduler"] for path in (file, file.with_name("run.jsonl.old"))]
    assert names == ["run 2", "run 1"]


def test_no_argument_and_no_value_is_written(file):
    """Recordings leave the machine they were made on; what jobs are given and return must not."""
    with Scheduler(InlinePool(), record=file) as scheduler:
        assert scheduler.submit("".join, ["sec", "ret"]).result() == "secret"
        assert scheduler.submit(str.upper, "hidden").result() == "HIDDEN"

    assert not any(word in file.read_text().lower() for word in ("secret", "hidden"))


class Meddlesome(Exception):
    """An error that does not want to be looked at."""

    def __str__(self):
        raise AssertionError("somebody's code was called under the lock")

    __repr__ = __str__


def test_no_code_of_an_error_runs_under_the_lock(file):
    """What is recorded is recorded under the lock, where nobody's code is called but policies."""

    def fail():
        raise Meddlesome(Meddlesome())

    with Scheduler(InlinePool(), record=file) as scheduler:
        assert isinstance(scheduler.submit(fail).exception(), Meddlesome)

    assert replay(file).divergence is None


class Whimsical:
    """An ordering that nobody can make again."""

    def __init__(self, scale):
        self.scale = scale

    def key(self, job):
        return job.priority * self.scale


def test_a_policy_that_cannot_be_made_again_is_named(file):
    """Without its policies a replay would be another scheduler's."""
    with Scheduler(InlinePool(), record=file, ordering=Whimsical(2.0)) as scheduler:
        scheduler.submit(int)

    with pytest.raises(RecordingError, match=r"recorded with ordering= .*Whimsical.*--config"):
        replay(file)


def test_what_retry_policies_saw_of_errors_need_not_be_known(file):
    """A policy that looks into errors is answered for: of an error, only its class and text are written."""
    clock = VirtualClock()
    retry = FixedBackoff(delay=1.5, attempts_max=9, retry_on=lambda error: error.args[1] > 3)
    left = iter([5, 4, 3])

    def fail():
        raise ValueError("so many", next(left))

    with Scheduler(InlinePool(), record=file, retry=retry, clock=clock) as scheduler:
        job = scheduler.submit(fail)
        clock.advance(10.0)

    assert (type(job.exception()), len(job.attempts)) == (ValueError, 3)
    assert replay(file).divergence is None


def test_rejections_and_the_door_are_recorded(file):
    """Who is turned away has no job, and must be turned away again."""
    with Scheduler(InlinePool(), record=file, capacity=1, admission=Reject()) as scheduler:
        scheduler.pause()
        scheduler.submit(int)
        for _ in range(2):
            with pytest.raises(SchedulerError, match="capacity=1"):
                scheduler.submit(int)
        scheduler.resume()

    assert kinds_of(file)[1] >= {"reject", "raise"}
    assert replay(file).divergence is None


@pytest.mark.parametrize(
    ("settings", "error", "why"),
    [
        ({"record": 3}, TypeError, "record=.*must be a path or None, not 3"),
        ({"record": "no/such/folder/file"}, OSError, "no/such/folder"),
        ({"record": "file", "record_bytes_max": 10}, ValueError, "record_bytes_max=. must be at least 65536"),
    ],
)
def test_bad_settings_are_refused_at_once(settings, error, why, tmp_path, monkeypatch):
    """A recording that cannot begin is found out when the service starts, not when it is needed."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(error, match=why):
        Scheduler(InlinePool(), **settings)
