"""What users hold to look at jobs that have failed, and to give them another chance."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Unpack

from ._driver import Driver
from ._errors import SchedulerError
from ._handle import JobHandle
from ._letters import DeadLetter
from ._options import Options
from ._shown import shown
from ._submitter import Submitter


class DeadLetters:
    """The newest jobs that ended FAILED, at most as many as ``Scheduler(dead_letters=)`` says; else none.

    Made by ``Scheduler.dead_letters``. Iterates over letters, the newest last; ``letters[job_id]`` is one of
    them. Who was cancelled, expired, was shed or was rejected has no letter: that was somebody's decision,
    and somebody was told. Readable after the scheduler has closed. Threads: every method, from any thread.
    """

    def __init__(self, submitter: Submitter, driver: Driver) -> None:
        self._submitter = submitter
        self._driver = driver
        self._letters = driver.letters

    # Looking

    @property
    def bound(self) -> int:
        """How many letters are kept at most."""
        return self._letters.bound

    @property
    def dropped(self) -> int:
        """How many letters the bound has pushed out so far, the oldest first."""
        return self._letters.dropped

    def __len__(self) -> int:
        return len(self._letters.kept)

    def __iter__(self) -> Iterator[DeadLetter]:
        """Iterate over those there are now, the newest last."""
        with self._driver.lock:
            letters = tuple(self._letters.kept.values())
        return iter(letters)

    def __contains__(self, job_id: object) -> bool:
        with self._driver.lock:
            return job_id in self._letters.kept

    def __getitem__(self, job_id: int) -> DeadLetter:
        """Return the letter of a job; raise KeyError if it has none, or not any more."""
        with self._driver.lock:
            letter = self._letters.kept.get(job_id)
        if letter is None:
            raise KeyError(
                f"there is no dead letter of job {job_id}; of {self.bound} that are kept there are "
                f"{len(self)}, and {self.dropped} were dropped"
            )
        return letter

    # Another chance

    def resubmit(
        self, job_id: int, *, to: Submitter | None = None, **options: Unpack[Options]
    ) -> JobHandle[Any]:
        """Submit the call of a letter again, with its options and these on top; return the new job's handle.

        `to` is another scheduler that is to take it. The letter goes when the job has been admitted (or
        has joined a living one of its ``key``); a refusal (QueueFull, SchedulerClosed, bad options) leaves it
        where it was and is raised. Raises KeyError if there is no such letter, or if another thread is at it.
        """
        with self._driver.lock:
            letter = self._letters.claim(job_id)
        try:
            submitter = (to or self._submitter).with_options(**{**letter.options, **options})
            handle: JobHandle[Any] = submitter.submit(letter.function, *letter.args, **letter.kwargs)
        except BaseException:
            with self._driver.lock:
                self._letters.keep(job_id)
            raise
        with self._driver.lock:
            self._letters.remove(job_id)
        return handle

    def resubmit_all(
        self, *, to: Submitter | None = None, **options: Unpack[Options]
    ) -> list[JobHandle[Any]]:
        """Submit every letter again as `resubmit` does, the oldest first; return the new jobs' handles.

        The first refusal ends it: it is raised if it was the first letter, or else what is left stays, to be
        seen by ``len``. So no handle of a job that was admitted is lost.
        """
        handles: list[JobHandle[Any]] = []
        for letter in self:
            try:
                handles.append(self.resubmit(letter.job_id, to=to, **options))
            except KeyError:  # somebody else was faster
                continue
            except SchedulerError:
                if not handles:
                    raise
                break
        return handles

    # Letting go

    def discard(self, job_id: int) -> None:
        """Forget the letter of a job, if there is one."""
        with self._driver.lock:
            letter = self._letters.remove(job_id)
        del letter  # outside the lock: what it refers to may have finalisers

    def clear(self) -> None:
        """Forget every letter there is now."""
        with self._driver.lock:
            letters = [self._letters.remove(job_id) for job_id in tuple(self._letters.kept)]
        letters.clear()

    def export(self, file: str | os.PathLike[str] | IO[str]) -> int:
        """Write every letter as one line of JSON, the newest last; return how many there were.

        `file` is a path, which is written anew, or an open text file. A line has the job's id, name and
        function, its arguments and errors as bounded text, its attempts and its options: to be read, not to be
        run again. A ``repr`` that raises is told as that.
        """
        if not isinstance(file, str | os.PathLike):
            return self._write(file)
        with Path(file).open("w", encoding="utf-8") as opened:
            return self._write(opened)

    def _write(self, file: IO[str]) -> int:
        lines = [json.dumps(shown(letter)) + "\n" for letter in self]
        for line in lines:
            file.write(line)
        return len(lines)

    def __repr__(self) -> str:
        return f"<DeadLetters {len(self)} of at most {self.bound}, {self.dropped} dropped>"
