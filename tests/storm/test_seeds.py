"""The storm in the suite: some thousand seeds, the proof that equal seeds are equal runs, and that it holds fish."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import attrs
import pytest
from storm.bugs import BUGS, put_back
from storm.play import play
from storm.run import storm
from storm.shrink import shrunk, story
from storm.weather import weather

pytestmark = pytest.mark.usefixtures("untraced")

#: How many seeds `make test` plays, in blocks that several processes may share: some thirty seconds of one core.
SEEDS, BLOCK = 3000, 500
BLOCKS = [range(first, first + BLOCK) for first in range(0, SEEDS, BLOCK)]

#: How many of them are recorded, and played again from that.
RECORDED = 200

#: Bugs, the law that tells of each, and which seeds must catch it; those that take many begin where one of the first is.
CAUGHT_BY = {
    "a_retry_keeps_its_slot": ("nothing is left behind", range(50)),
    "a_cancelled_job_stays_in_line": ("I1", range(50)),
    "a_drain_forgets_what_lies_ahead": ("nothing starts in a pool that is shut", range(145, 245)),
    "a_loan_has_no_meters": ("no AttributeError", range(30, 130)),
    "a_deadline_is_looked_at_late": ("nothing starts after its deadline", range(305, 405)),
    "timers_outlive_their_job": ("I1", range(20)),
    "a_loser_is_forgotten": ("I2", range(145, 245)),
    "a_recall_costs_an_attempt": ("attempts add up", range(50)),
    "free_slots_are_counted_twice": ("I3", range(20)),
    "a_torn_submit_stays": ("nobody unknown", range(50)),
    "a_turn_outlives_its_reason": ("I8", range(1040, 1060)),
}

DIGESTS = "from storm.play import play; print([play(seed).digest for seed in range(7000, 7008)])"


@pytest.fixture(scope="session")
def reached(tmp_path_factory):
    """A folder of this run of the tests, the same in all of its processes: what marks each block has reached."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "storm"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.timeout(1200)  # seconds of a machine on which much else runs
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"from-{block.start}")
def test_no_seed_breaks_a_law_and_every_mark_is_reached(block, reached):
    """What no example foresaw (a drain, a retry and a full queue at one moment) loses jobs at night.

    Marks are those of all blocks together, and asked for by whichever is the last to end.
    """
    done = storm(block)
    mine = reached / f"{block.start}.being-written"
    mine.write_text("\n".join(sentence for sentence, count in done.marks.counts.items() if count))
    mine.rename(mine.with_suffix(".txt"))

    assert [] == [f"make storm SEED={seed}: {caught}" for seed, caught in done.failures]
    files = list(reached.glob("*.txt"))
    if len(files) == len(BLOCKS):
        found = {sentence for file in files for sentence in file.read_text().splitlines()}
        assert [] == sorted(done.marks.counts.keys() - found)


def test_one_seed_is_one_run_in_every_process():
    """A failure that cannot be played again is only a rumour."""
    digests = set()
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-c", DIGESTS]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.add(answer.stdout)

    assert len(digests) == 1


def test_observers_that_raise_change_nothing():
    """I14: whoever listens badly must not cost anybody a job, nor anything else."""
    for seed in range(8000, 8012):
        air = attrs.evolve(weather(seed), raising=False)

        assert play(air).digest == play(attrs.evolve(air, raising=True)).digest


def test_what_a_storm_records_replays_to_the_same_decisions(tmp_path):
    """A surprise in production becomes a test only if nothing that happens there is too odd to be played again."""
    ended = Counter()
    for seed in range(RECORDED):
        played = play(seed, record=tmp_path / "run.jsonl")
        assert (played.caught, played.replayed.divergence) == (None, None), f"seed {seed}"
        ended[played.replayed.ended] += 1

    assert {"closed", "interrupt"} == set(ended)  # the latter where a turn was torn
    assert min(ended.values()) > RECORDED / 4


def test_to_be_recorded_changes_nothing(tmp_path):
    """What is looked at must be what would have happened."""
    for seed in range(20):
        assert play(seed).digest == play(seed, record=tmp_path / "run.jsonl").digest


@pytest.mark.parametrize("name", list(BUGS))
def test_a_known_bug_is_caught(name):
    """A net without fish in it may be a net with a hole."""
    law, seeds = CAUGHT_BY[name]
    with put_back(name):
        caught = next((caught for seed in seeds if (caught := play(seed).caught)), None)

    assert caught is not None, BUGS[name][0]
    assert law == caught.law


def test_a_failure_is_told_as_a_short_story():
    """Fifty jobs in fifty places are nobody's explanation; the two that matter are."""
    with put_back("timers_outlive_their_job"):
        seed = next(seed for seed in range(100) if play(seed).caught)
        small = shrunk(seed)
        told = story(small)

    assert len(small.stimuli) <= 3
    assert told.startswith(("I1: job", "I1: settled job"))
    assert "JobSubmitted" in told
