"""Crawl a made-up site: front pages before articles before archives, with retries and a time limit.

A page found late but urgent overtakes all that wait. A busy server is asked again, later and later,
and no worker sleeps meanwhile. A server that hangs costs one job its time limit, not the crawl.

    python docs/examples/crawl_with_priorities.py
"""

from __future__ import annotations

import random
import time
from collections import Counter
from queue import SimpleQueue

from policies import ExponentialBackoff
from pools import ThreadPool
from scheduler import JobHandle, PoolGroup, Priority, RunTimeout, Scheduler, current_job

SECTIONS = 6
PRIORITIES = {"front": Priority.HIGH, "article": Priority.NORMAL, "archive": Priority.LOW}

Page = tuple[str, ...]  # a kind of page, and numbers that say which one


class Busy(Exception):
    """The server asks to come again later."""


def fetch(page: Page) -> list[Page]:
    """Return the pages that `page` links to, after the time a network would take."""
    if page == ("archive", "0", "0"):
        wait_for_an_answer_that_never_comes()
    time.sleep(0.002)
    dice = random.Random(f"{page} {current_job().attempt}")
    if dice.random() < 0.1:
        raise Busy("503 Service Unavailable")
    if page == ("home",):
        return [("front", str(section)) for section in range(SECTIONS)]
    if page[0] == "front":
        return [(kind, page[1], str(n)) for n in range(20) for kind in ("archive", "article")]
    return []


def wait_for_an_answer_that_never_comes() -> None:
    """Hang, but look up now and then: a thread cannot be killed, only asked."""
    job = current_job()
    while True:
        job.raise_if_interrupted()
        time.sleep(0.01)


def crawl(scheduler: Scheduler) -> tuple[list[Page], Counter[str]]:
    """Fetch every page that can be reached; return them in order of their arrival, and the failures."""
    submitters = {
        kind: scheduler.with_options(
            priority=priority,
            run_timeout=0.5,
            retry=ExponentialBackoff(initial=0.01, attempts_max=5, retry_on=Busy),
            name=f"fetch {kind}",
        )
        for kind, priority in {"home": Priority.CRITICAL, **PRIORITIES}.items()
    }
    fetched: list[Page] = []
    failures: Counter[str] = Counter()
    answers: SimpleQueue[tuple[Page, JobHandle[list[Page]]]] = SimpleQueue()

    def visit(page: Page) -> None:
        handle = submitters[page[0]].submit(fetch, page)
        handle.add_done_callback(lambda handle: answers.put((page, handle)))

    visit(("home",))
    awaited = 1
    while awaited:
        page, handle = answers.get()
        awaited -= 1
        try:
            links = handle.result()
        except (Busy, RunTimeout) as error:
            failures[type(error).__name__] += 1
            continue
        fetched.append(page)
        for link in links:
            visit(link)
        awaited += len(links)
    return fetched, failures


def main() -> None:
    """Crawl, and print who waited how long."""
    with Scheduler(PoolGroup("net", ThreadPool(slots=4))) as scheduler:
        fetched, failures = crawl(scheduler)
        ledger = scheduler.statistics()
    print(f"{len(fetched)} pages fetched, {ledger.retries} retries, given up: {dict(failures)}")
    for kind, priority in PRIORITIES.items():
        places = [place for place, page in enumerate(fetched, start=1) if page[0] == kind]
        wait = ledger.wait(priority=priority).quantile(0.5)
        middle = places[len(places) // 2]
        print(f"  {kind:8} {len(places):4} pages, median place {middle:4}, median wait {wait * 1e3:7.2f} ms")


if __name__ == "__main__":
    main()
