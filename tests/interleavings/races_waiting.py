"""Races of jobs that come, settle and are waited for, cancelled and interrupted."""

import concurrent.futures
import contextlib

import strands
from staging import DRIVER, HANDLES, THREADS, finished, scenario, together

from policies import Reject
from scheduler import Scheduler, current_job
from scheduler.testing import RecordedEvents


@scenario(THREADS)
def a_job_comes_as_the_worker_parks():
    s = Scheduler(1)
    values = together(lambda: s.submit(int, 1).result(), lambda: s.submit(int, 2).result())
    assert [1, 2] == values
    assert 2 == finished(s).succeeded


@scenario(THREADS)
def two_workers_and_two_submitters():
    s = Scheduler(2, check_invariants=True)
    values = together(
        *(lambda n=n: [h.result() for h in [s.submit(int, n), s.submit(int, n)]] for n in (1, 2))
    )
    assert [[1, 1], [2, 2]] == values
    assert 4 == finished(s).succeeded


@scenario(HANDLES)
def two_wait_as_the_job_settles():
    s = Scheduler(1)
    handle = s.submit(int, 7)
    assert [7, 7] == together(handle.result, handle.result)
    finished(s)


@scenario(HANDLES, horizon=0.5)
def a_waiter_gives_up_as_the_job_settles():
    s = Scheduler(1)
    handle = s.submit(strands.sleep, 0.01)

    def wait():
        with contextlib.suppress(TimeoutError):
            assert handle.result(0.01) is None
            assert handle.done()

    together(wait, wait)
    finished(s, handle)


@scenario(HANDLES)
def the_standard_library_waits_as_jobs_settle():
    s = Scheduler(2)
    handles = [s.submit(int, n) for n in (1, 2)]

    def gather():
        return sorted(handle.result() for handle in concurrent.futures.as_completed(handles))

    done, gathered = together(lambda: concurrent.futures.wait(handles).done, gather)
    assert set(handles) == done
    assert [1, 2] == gathered
    finished(s)


@scenario(("scheduler._lock", *HANDLES))
def two_wait_for_jobs_of_two_schedulers_in_either_order():
    a, b = Scheduler(1), Scheduler(1)
    # Submitted in turns, so that their ids take turns, too.
    handles = sorted([x.submit(int, n) for n in range(6) for x in (a, b)], key=id)
    # `wait` takes conditions by the ids of their futures: first that of one scheduler, or first the other's.
    ours = [
        next(h for h in handles if h.driver is a._driver),
        [h for h in handles if h.driver is b._driver][-1],
    ]
    others = [
        next(h for h in handles if h.driver is b._driver),
        [h for h in handles if h.driver is a._driver][-1],
    ]
    together(lambda: concurrent.futures.wait(ours), lambda: concurrent.futures.wait(others))
    finished(a)
    finished(b)


@scenario(HANDLES)
def a_callback_is_added_as_the_job_settles():
    s = Scheduler(1)
    handle, calls = s.submit(int, 1), []
    together(*(lambda n=n: handle.add_done_callback(lambda _: calls.append(n)) for n in (1, 2)))
    finished(s)
    assert [1, 2] == sorted(calls)


@scenario(HANDLES)
def observers_hear_of_things_in_order_whoever_tells():
    s = Scheduler(2)
    s.subscribe(recorded := RecordedEvents())
    handles = together(*(lambda: s.submit(int) for _ in range(2)))
    finished(s)
    for handle in handles:
        heard = [
            type(event).__name__ for event in recorded.events if getattr(event, "job_id", None) == handle.id
        ]
        assert ["JobSubmitted", "JobStarted", "JobSettled"] == heard


@scenario(DRIVER)
def submitters_at_the_door_are_let_in():
    s = Scheduler(1, capacity=1, check_invariants=True)
    handles = together(*(lambda: [s.submit(int, n) for n in range(3)] for _ in range(2)))
    assert [[0, 1, 2]] * 2 == [[handle.result() for handle in some] for some in handles]
    assert 6 == finished(s).succeeded


@scenario(DRIVER)
def a_job_is_cancelled_as_it_starts():
    s = Scheduler(1, admission=Reject())
    first, ran = s.submit(int), []
    second = s.submit(ran.append, 1)
    _, cancelled = together(first.result, second.cancel)
    concurrent.futures.wait([second])
    assert cancelled == second.cancelled()
    finished(s)
    assert cancelled != bool(ran)


@scenario(THREADS)
def a_job_is_interrupted_as_it_returns():
    s = Scheduler(1)
    handle = s.submit(lambda: current_job().interrupted)
    other = s.submit(lambda: current_job().interrupted)
    together(
        handle.interrupt, handle.exception_or_none if hasattr(handle, "exception_or_none") else handle.done
    )
    concurrent.futures.wait([handle])
    assert other.result() is False, "the next job in the slot was told to stop"
    finished(s)


@scenario(THREADS)
def jobs_are_paused_and_resumed_as_they_come():
    s = Scheduler(1)

    def pause():
        s.pause()
        s.resume()

    _, handles = together(pause, lambda: [s.submit(int, n) for n in range(3)])
    assert [0, 1, 2] == [handle.result() for handle in handles]
    finished(s)


@scenario(("scheduler._keyed", *DRIVER))
def jobs_of_one_key_join_as_the_first_settles():
    s, ran = Scheduler(1), []
    keyed = s.with_options(key="k", on_conflict="join")
    handles = together(*(lambda: keyed.submit(ran.append, 1) for _ in range(3)))
    for handle in handles:
        assert handle.result() is None
    assert len(ran) == len(set(handles))
    finished(s)
