"""``python -m scheduler simulate --replay``: what it tells of a recording, and of its jobs elsewhere."""

import json

import pytest

from policies import FixedBackoff
from pools import AsyncioPool, InlinePool
from scheduler import PoolGroup, Scheduler, VirtualClock
from scheduler import __main__ as command
from scheduler._recorded import File
from scheduler._simulate.what_if import recorded_jobs, what_if
from scheduler.simulation import SimulatedFailure

OTHER = """
[scheduler]
retry = "no-retry"

[[groups]]
name = "other"
pool = {kind = "thread", slots = 1}
"""


@pytest.fixture
def simulate(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in a folder with a recording and another configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "other.toml").write_text(OTHER)

    def run(*words):
        status = command.main(["simulate", *map(str, words)])
        return status, *capsys.readouterr()

    return run


class Work:
    """Takes so many virtual seconds, and fails the first so many times."""

    def __init__(self, clock, seconds, failures=0):
        self.clock, self.seconds, self.failures = clock, seconds, failures

    def call(self):
        self.clock.advance(self.seconds)
        if self.failures:
            self.failures -= 1
            raise OSError("down")


def record(path="run.jsonl", *, jobs=8, failures=0, **settings):
    """Record jobs of 0.5 s that come one a second; return the clock."""
    clock = VirtualClock(100.0)
    retry = FixedBackoff(delay=0.25, retry_on=OSError)
    with Scheduler(InlinePool(), record=path, clock=clock, retry=retry, **settings) as scheduler:
        for _ in range(jobs):
            scheduler.submit(Work(clock, 0.5, failures).call)
            clock.advance(0.5)
    return clock


def test_a_replay_tells_what_was_recorded(simulate):
    """Whoever replays a recording wants to see first whether it is the same, and then what it was."""
    record()

    status, out, err = simulate("--replay", "run.jsonl")

    assert (0, "") == (status, err)
    assert max(map(len, out.splitlines())) <= 80
    said = " ".join(out.split())
    for words in (
        "the same decisions as recorded",
        "8 jobs",
        "as recorded",
        "NORMAL 20 8 0",
        "8 succeeded",
        "8 s of virtual time",
    ):
        assert words in said


def test_a_replay_that_differs_says_where_and_fails(simulate, tmp_path):
    """In a script, the exit status is all that is looked at."""
    record()
    file = tmp_path / "run.jsonl"
    file.write_text(file.read_text().replace('["start",5,"inline-1/0",1]', '["start",5,"inline-1/0",2]'))

    status, out, _ = simulate("--replay", "run.jsonl", "--config", "other.toml", "--json")

    report = json.loads(out)
    assert (status, report["diverged"], len(report["runs"])) == (1, True, 1)
    assert "NOT the same decisions" in report["found"]
    assert 'recorded ["start", 5, "inline-1/0", 2]; replayed ["start", 5, "inline-1/0", 1]' in report["found"]


def test_a_recording_that_ends_before_its_jobs_does_not_pretend_otherwise(simulate, tmp_path):
    """A process that was killed, or a full file, leaves jobs that never ended; their time is not all of it."""
    record()
    file = tmp_path / "run.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: next(n for n, line in enumerate(lines) if '["start",5,' in line) + 1]))

    status, out, _ = simulate("--replay", "run.jsonl")

    assert 0 == status
    assert "1 running" in out
    assert "to the end of the last job" not in out


def test_the_jobs_of_a_recording_run_elsewhere(simulate):
    """The question behind a recording is mostly what another configuration would have made of it."""
    record(jobs=400)

    status, out, _ = simulate("--replay", "run.jsonl", "--config", "other.toml", "--json")

    report = json.loads(out)
    first, second = report["runs"]
    assert (status, first["config"], second["config"]) == (0, "as recorded", "other.toml")
    assert first["jobs"]["succeeded"] == second["jobs"]["succeeded"] == 400
    assert second["slot_seconds"] == {"other": pytest.approx(399.5)}
    assert [each["difference"] for each in report["comparison"]["differences"]] == [0, 0, 0]


def test_attempts_run_and_fail_elsewhere_as_recorded(simulate):
    """A failure that was recorded belongs to the job, and what is made of it to the configuration."""
    record(failures=1)

    jobs = recorded_jobs(File("run.jsonl"))
    _, out, _ = simulate("--replay", "run.jsonl", "--config", "other.toml", "--json")

    assert [{number: seconds for number, (seconds, _) in job.tries.items()} for job in jobs] == [
        {1: 0.5, 2: 0.5}
    ] * 8
    assert [type(job.tries[1][1]) for job in jobs] == [OSError] * 8
    first, second = json.loads(out)["runs"]
    assert (first["jobs"]["succeeded"], first["jobs"]["retries"]) == (8, 8)
    assert (second["jobs"]["failed"], second["jobs"]["retries"]) == (8, 0)


def test_who_was_cancelled_is_cancelled_elsewhere(simulate):
    """A user who gave up after two seconds would have given up there too, unless the job had been done."""
    clock = VirtualClock()
    scheduler = Scheduler(InlinePool(), record="run.jsonl", clock=clock)
    scheduler.pause()
    scheduler.submit(Work(clock, 3.0).call)
    handles = [scheduler.submit(int) for _ in range(3)]
    clock.advance(2.0)
    handles[0].cancel()
    handles[1].interrupt()
    scheduler.shutdown()

    played, never_ran = what_if(File("run.jsonl"), "other.toml", name="other")

    assert [[kind for _, kind in job.acts] for job in recorded_jobs(File("run.jsonl"))] == [
        [],
        ["cancel"],
        ["interrupt"],
        [],
    ]
    assert (played.statistics.succeeded, played.statistics.cancelled, never_ran) == (2, 2, 2)


def test_coroutines_need_a_place_elsewhere(simulate):
    """A job that cannot run there at all must not be left out in silence."""

    async def nothing():
        pass

    with Scheduler(PoolGroup("co", AsyncioPool(slots=1)), record="run.jsonl") as scheduler:
        scheduler.submit(nothing).result()

    status, _, err = simulate("--replay", "run.jsonl", "--config", "other.toml")

    assert status == 2
    assert "other.toml has no pools for a job of run.jsonl" in err


class Secret:
    """An ordering that nobody can make again."""

    def __init__(self):
        self.state = {}

    def key(self, job):
        return job.priority


def test_what_cannot_be_replayed_can_be_run_elsewhere(simulate):
    """A policy that is lost must not take the arrivals with it."""
    record(ordering=Secret())

    assert simulate("--replay", "run.jsonl")[0] == 2
    status, out, _ = simulate("--replay", "run.jsonl", "--config", "other.toml")

    assert status == 0
    assert "not replayed" in out
    assert "8 succeeded" in out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "give a load and --config, or --replay"),
        (("--replay", "run.jsonl", "--fewest"), "has its own load"),
        (("poisson:rate=1,run_time=1", "--replay", "run.jsonl"), "has its own load"),
        (("--replay", "run.jsonl", "--config", "a", "--config", "b"), "give --config once"),
        (("--replay", "other.toml"), "other.toml, line 1 begins no recording"),
        (("--replay", "nothing.jsonl"), "nothing.jsonl: No such file"),
    ],
)
def test_what_cannot_be_played_is_said_with_the_remedy(simulate, words, why):
    """A command that is misused teaches its use."""
    status, _, err = simulate(*words)

    assert status == 2
    assert why in err


def test_errors_are_of_the_class_that_was_recorded_where_it_is_at_hand(simulate):
    """Policies ask for classes: an error of another would be decided on in another way."""

    class Unheard(ConnectionError):
        pass

    def fail(kind):
        raise kind("why")

    with Scheduler(InlinePool(), record="run.jsonl") as scheduler:
        for kind in (SimulatedFailure, Unheard, UnicodeDecodeError):
            scheduler.submit(fail, kind).exception()

    errors = [job.tries[1][1] for job in recorded_jobs(File("run.jsonl"))]

    assert [type(error).__name__ for error in errors] == ["SimulatedFailure", "Unheard", "TypeError"]
    assert isinstance(errors[0], SimulatedFailure)
    assert isinstance(errors[1], ConnectionError)
    assert str(errors[1]) == "why"
