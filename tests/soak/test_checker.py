"""The checker catches what it is there for: histories are forged, each with one lie, and each lie is found out."""

import json

import checker
import pytest
from history import Record

#: Attempts told by a handle: number:started:ended:error.
ONCE = "1:1.0:2.0:"


class Forge:
    """Writes histories by hand; without further words, one of a job that was submitted, ran and succeeded."""

    def __init__(self):
        self.records = []

    def write(self, letter, whose, at, *rest):
        self.records.append(Record(letter, whose, float(at), tuple(map(str, rest))))
        return self

    def submitted(
        self, whose="a", at=0.9, *, group="io", priority=20, attempts=1, marks="-", deed="rest", job=None
    ):
        self.write("S", whose, at, group, priority, attempts, marks, deed)
        return self.write("A", whose, at + 0.01, job or whose)

    def ran(self, whose="a", begin=1.0, end=1.9, how="ok", run=None):
        self.write("B", whose, begin, run or f"{whose}@{begin}")
        if end is not None:
            self.write("E", whose, end, run or f"{whose}@{begin}", how)
        return self

    def ended(self, whose="a", at=2.0, state="succeeded", error="", attempts=ONCE, outcome=None, job=None):
        self.write("D", whose, at, job or whose, state, error, attempts)
        return self.write(
            "O", whose, at + 0.01, *(outcome or (("error", error) if error else ("value", whose)))
        )

    def whole(self, whose, submitted, begin, end, **options):
        """Write a job that waited from one moment to another, and ran to a third."""
        self.submitted(whose, submitted, **options).ran(whose, begin, end)
        return self.ended(whose, end + 0.001, attempts=f"1:{begin}:{end}:")

    def found(self):
        """Return the complaints, by rule, of a history that is otherwise finished."""
        self.write("M", "drained", 99, "True")
        if not any(record.whose == "closed" for record in self.records):
            self.closed()
        return checker.complaints(checker.History.of(self.records))

    def closed(self, **counts):
        jobs = checker.History.of(self.records).jobs()
        ends = [stories[0].end[1] for stories in jobs.values() if stories[0].ends]
        ledger = {state: ends.count(state) for state in checker._ENDED} | {"submitted": len(jobs)} | counts
        return self.write("M", "closed", 99, json.dumps(ledger))


@pytest.fixture
def forge():
    """An empty history."""
    return Forge()


def test_a_true_history_is_believed(forge):
    """A checker that always complains proves as little as one that never does."""
    forge.submitted().ran().ended()
    forge.submitted("b", attempts=3).ran("b", 1.0, 1.1, "Boom").ran("b", 1.5, 1.6)
    forge.ended("b", attempts="1:1.0:1.2:Boom,2:1.5:1.7:")
    forge.submitted("c", marks="queue_timeout=1.0")
    forge.ended("c", state="expired", error="QueueTimeout", attempts="")
    forge.submitted("e").ended("e", state="cancelled", error="JobInterrupted", attempts="")
    forge.write("F", "interrupt", 1.5, "e")
    forge.write("S", "d", 1, "io", 20, 1, "key=k", "rest").write("R", "d", 1, "DuplicateJob")

    assert {} == forge.found()


def lost(forge):
    forge.submitted().ran()


def two_ends(forge):
    forge.submitted().ran().ended().ended(at=3.0)


def submit_hangs(forge):
    forge.write("S", "a", 1, "io", 20, 1, "-", "rest")


def result_never_had(forge):
    forge.submitted().ran().write("D", "a", 2, "a", "succeeded", "", ONCE)


def refused_and_run(forge):
    forge.write("S", "a", 0.5, "io", 20, 1, "-", "rest").write("R", "a", 0.6, "QueueFull").ran()


@pytest.mark.parametrize("lie", [lost, two_ends, submit_hangs, result_never_had, refused_and_run])
def test_a_job_without_exactly_one_end_is_caught(forge, lie):
    """That no job is lost is the sentence for which all this is done."""
    lie(forge)

    assert "one_end_each" in forge.found()


def double_start(forge):
    forge.submitted(attempts=3).ran("a", 1.0, 1.5).ran("a", 1.2, 1.9).ended()


def retry_of_a_success(forge):
    forge.submitted(attempts=3).ran("a", 1.0, 1.1).ran("a", 1.5, 1.6).ended(attempts="1:1.0:1.2:,2:1.5:1.7:")


def beside_the_first(forge):
    forge.submitted(attempts=3).ran("a", 1.0, 1.5, "Boom").ran("a", 1.2, 1.6)
    forge.ended(attempts="1:1.0:1.5:Boom,2:1.2:1.7:")


def too_many_attempts(forge):
    forge.submitted(attempts=1).ran("a", 1.0, 1.1, "Boom").ran("a", 1.5, 1.6)
    forge.ended(attempts="1:1.0:1.2:Boom,2:1.5:1.7:")


def gap_in_the_numbers(forge):
    forge.submitted(attempts=3).ran().ended(attempts="2:1.0:2.0:")


def an_attempt_nobody_saw(forge):
    forge.submitted(attempts=3).ran("a", 1.5, 1.6).ended(attempts="1:1.0:1.2:Boom,2:1.5:1.7:")


def two_of_one_job(forge):
    forge.submitted("a", job="7", marks="key=k").ran("a").ended("a", job="7")
    forge.submitted("b", job="7", marks="key=k").ran("b").ended("b", job="7")


def begun_by_a_dead_worker(forge):
    forge.submitted(attempts=3).ran("a", 1.35, 1.5).ran("a", 1.36, 1.9)
    forge.ended(attempts="1:1.0:1.2:WorkerDied,2:1.3:2.0:")


@pytest.mark.parametrize(
    "lie",
    [
        double_start,
        begun_by_a_dead_worker,
        retry_of_a_success,
        beside_the_first,
        too_many_attempts,
        gap_in_the_numbers,
        an_attempt_nobody_saw,
        two_of_one_job,
    ],
)
def test_a_start_without_a_recorded_reason_is_caught(forge, lie):
    """A payment that is made twice is worse than one that is late."""
    lie(forge)

    assert "starts_have_reasons" in forge.found()


def after_success(forge):
    forge.submitted(attempts=3).ran().ran("a", 3.0, 3.1).ended(attempts="1:1.0:2.0:Boom,2:1.95:2.0:")


def after_a_queue_timeout(forge):
    forge.submitted().ended(state="expired", error="QueueTimeout", attempts="").ran("a", 3.0, 3.1)


def after_cancel(forge):
    forge.submitted().write("C", "a", 0.95).ran().ended()


def much_too_late(forge):
    forge.submitted().ended(state="expired", error="DeadlineExceeded", attempts="1:1.9:2.0:DeadlineExceeded")
    forge.ran("a", 2.0 + checker.LATE + 1, 9.0)


@pytest.mark.parametrize("lie", [after_success, after_a_queue_timeout, after_cancel, much_too_late])
def test_a_start_after_the_end_is_caught(forge, lie):
    """Whoever was told that it is over has begun to rely on it."""
    lie(forge)

    assert "nothing_starts_after_its_end" in forge.found()


def test_a_call_that_was_handed_over_before_its_deadline_may_begin_after_it(forge):
    """A thread that was given a call cannot be asked for it back; the page on proof says so, and it is counted."""
    forge.submitted(marks="deadline=1.0").ended(
        state="expired", error="DeadlineExceeded", attempts="1:1.9:2.0:DeadlineExceeded"
    )
    forge.ran("a", 2.1, 2.2)

    assert {} == forge.found()


def value_of_another(forge):
    forge.submitted().ran().ended(outcome=("value", "b"))


def success_without_a_run_that_returned(forge):
    forge.submitted().ran(end=None).ended()


def end_before_the_return(forge):
    forge.submitted().ran(end=2.5).ended(at=2.0)


def error_from_nowhere(forge):
    forge.submitted(deed="fail_sometimes").ran().ended(
        state="failed", error="Boom", attempts="1:1.0:2.0:Boom"
    )


def state_and_error_disagree(forge):
    forge.submitted().ran().ended(state="expired", error="Boom", attempts="1:1.0:2.0:Boom")


def result_disagrees(forge):
    forge.submitted().ended(state="expired", error="QueueTimeout", attempts="", outcome=("value", "a"))


@pytest.mark.parametrize(
    "lie",
    [
        value_of_another,
        success_without_a_run_that_returned,
        end_before_the_return,
        error_from_nowhere,
        state_and_error_disagree,
        result_disagrees,
    ],
)
def test_an_outcome_that_is_not_true_is_caught(forge, lie):
    """An answer to another question is worse than none."""
    lie(forge)

    assert "outcomes_are_true" in forge.found()


def before_its_delay(forge):
    forge.submitted(marks="delay=5.0").ran().ended()


def chosen_when_it_should_have_expired(forge):
    forge.submitted(marks="queue_timeout=0.1").ran("a", 9.0, 9.1).ended(at=9.2, attempts="1:9.0:9.2:")


def expired_without_a_limit(forge):
    forge.submitted().ended(state="expired", error="DeadlineExceeded", attempts="")


def expired_too_soon(forge):
    forge.submitted(marks="queue_timeout=5.0").ended(state="expired", error="QueueTimeout", attempts="")


def expired_in_the_queue_after_it_ran(forge):
    forge.submitted(marks="queue_timeout=0.1").ran().ended(
        state="expired", error="QueueTimeout", attempts="1:1.0:2.0:Boom"
    )


def stopped_too_soon(forge):
    forge.submitted(marks="run_timeout=3.0").ran(end=None)
    forge.ended(state="failed", error="RunTimeout", attempts="1:1.0:2.0:RunTimeout")


def cancelled_by_nobody(forge):
    forge.submitted().ended(state="cancelled", error="JobInterrupted", attempts="")


def failed_with_what_no_attempt_did(forge):
    forge.submitted().ran().ended(state="failed", error="WorkerDied", attempts=ONCE)


@pytest.mark.parametrize(
    "lie",
    [
        before_its_delay,
        chosen_when_it_should_have_expired,
        expired_without_a_limit,
        expired_too_soon,
        expired_in_the_queue_after_it_ran,
        stopped_too_soon,
        cancelled_by_nobody,
        failed_with_what_no_attempt_did,
    ],
)
def test_a_start_or_an_end_without_a_reason_is_caught(forge, lie):
    """A job that ends too soon is as wrong as one that never does, and nobody looks for it."""
    lie(forge)

    assert "there_was_a_reason" in forge.found()


def overtaken(forge, by):
    """Forge an urgent job that waits from 1 s to 5 s, and one that is not and starts so many seconds after it came."""
    forge.write("M", "far", 0, "io")
    forge.whole("urgent", 0.99, 5.0, 5.1, priority=0)
    forge.whole("bulk", 0.5, 1.0 + by, 5.0, priority=40)


def test_an_inversion_beyond_the_bound_is_caught(forge):
    """A priority that holds only sometimes is a hope."""
    overtaken(forge, by=2 * checker.BOUND)

    assert "priorities_hold" in forge.found()


def test_a_choice_against_priority_is_caught_however_short_it_was(forge):
    """By the handle's own account, the less urgent job was chosen while the other waited: that is no noise."""
    forge.submitted("urgent", 0.9, priority=0).ran("urgent", 1.1, 1.2)
    forge.ended("urgent", 1.3, attempts="1:1.1:1.2:")
    forge.submitted("bulk", 0.8, priority=40).ran("bulk", 1.0, 1.2)
    forge.ended("bulk", 1.3, attempts="1:1.0:1.2:")

    assert ["choices_are_exact"] == list(forge.found())


def test_a_job_that_began_before_it_was_chosen_is_caught(forge):
    """Else an account could be cooked: the order of choices is believed only as far as it was seen."""
    forge.submitted().ran("a", 1.0, 1.9).ended(attempts="1:1.5:2.0:")

    assert ["choices_are_exact"] == list(forge.found())


def test_a_job_whose_limit_has_passed_is_overtaken_by_right(forge):
    """Its callback tells later that it has expired, and until then it looks as if it waited."""
    forge.submitted("urgent", 0.9, priority=0, marks="queue_timeout=0.1")
    forge.ended("urgent", 5.0, state="expired", error="QueueTimeout", attempts="")
    forge.whole("bulk", 0.5, 3.0, 5.0, priority=40)

    assert {} == forge.found()


@pytest.mark.parametrize("marks", ["delay=1.0", "tenant=slow", "key=k"])
def test_a_job_that_may_not_start_yet_is_overtaken_by_right(forge, marks):
    """A delay, a limit or a key keeps a job from starting, and nobody else."""
    forge.whole("urgent", 0.99, 5.0, 5.1, priority=0, marks=marks)
    forge.whole("bulk", 0.5, 3.0, 5.0, priority=40)

    assert {} == forge.found()


def test_an_inversion_within_the_bound_is_measured(forge):
    """The number in the docs is the longest that was seen, and not the bound."""
    overtaken(forge, by=0.1)
    history = checker.History.of(forge.records)

    assert {} == forge.found()
    assert 0.1 == pytest.approx(checker.worst_inversion(history), abs=0.02)


def test_a_start_while_a_process_was_stopped_from_outside_is_not_judged(forge):
    """Who is stopped starts late what it was given in time; that is the nemesis's doing."""
    overtaken(forge, by=2.0)
    forge.write("F", "stop worker", 2.5, 1).write("F", "continue worker", 3.2, 1)

    assert {} == forge.found()


def test_two_jobs_of_a_key_at_once_are_caught(forge):
    """A key is a promise that the two never meet."""
    forge.whole("a", 0.5, 1.0, 3.0, marks="key=k").whole("b", 0.6, 2.0, 4.0, marks="key=k")

    assert "one_of_a_key" in forge.found()


def test_more_at_once_than_a_limit_allows_is_caught(forge):
    """What the limit protects breaks at the first one too many."""
    forge.write("M", "limit", 0, 2)
    for number in range(3):
        forge.whole(str(number), 0.5, 1.0 + number / 10, 3.0, marks="tenant=slow")

    assert "limits_hold" in forge.found()


@pytest.mark.parametrize(
    "ledger",
    [
        {"submitted": 2, "running": 1, "succeeded": 0},
        {"submitted": 2, "running": 2, "succeeded": 0},
        {"submitted": 1, "running": 1, "succeeded": 0},
    ],
    ids=["does not add up", "more than there were", "less has ended than was seen"],
)
def test_a_snapshot_that_cannot_be_true_is_caught(forge, ledger):
    """Whoever plans by the ledger must be able to believe every one of them."""
    forge.submitted().ran().ended()
    counts = dict.fromkeys((*checker._ALIVE, *checker._ENDED), 0) | ledger
    forge.write("L", "-", 3.1, "3.0", json.dumps(counts))

    assert "ledger_agrees" in forge.found()


@pytest.mark.parametrize("counts", [{"succeeded": 0, "failed": 1}, {"submitted": 2}])
def test_a_last_ledger_that_is_not_what_was_seen_is_caught(forge, counts):
    """The report of a closing is what remains."""
    forge.submitted().ran().ended().closed(**counts)

    assert "ledger_agrees" in forge.found()


def test_jobs_that_settle_only_because_the_scheduler_closes_are_caught(forge):
    """When the faults stop, everything must go on by itself: liveness, not only safety."""
    forge.write("M", "closed", 9, json.dumps(dict.fromkeys((*checker._ENDED, "submitted"), 0)))

    assert "it_came_to_rest" in checker.complaints(checker.History.of(forge.records))


def test_a_record_of_a_job_that_nobody_submitted_is_caught(forge):
    """A call that nobody asked for is no better for having gone well."""
    forge.ran("stranger")

    assert "strays" in forge.found()
