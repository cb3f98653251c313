"""The calls of one slot: what its worker has, and what it is to be given; in order, each once.

The lock here is held for a few instructions and for system calls that never block, so `recall` may be
asked under the scheduler's own lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

from ._process_ahead import Estimate
from ._process_line import Line, pieces
from ._process_wire import MESSAGE_MAX, Buffers, Caller, Frame, remark
from .contract import Call

#: Seconds after which what lies ahead of a call that runs longer than expected is taken back.
OVERRUN = 0.005
#: Calls that make a message of several worth its second system call, and bytes that one may have.
BATCH_MIN, BATCH_BYTES = 3, 8 * 1024


class Entry:
    """A call that the worker has, or is to have."""

    __slots__ = ("body", "buffers", "call", "error", "name", "number", "ready", "sent", "with_caller")

    def __init__(self, call: Call, *, with_caller: bool = False) -> None:
        self.call = call
        #: Of the slot's calls, from 1.
        self.number = 0
        #: As it travels, see `Caller.dumps`.
        self.name = self.body = b""
        self.buffers: Buffers = []
        #: It is pickled, or cannot be.
        self.ready = False
        #: Why it cannot be sent.
        self.error: BaseException | None = None
        self.sent = False
        #: Whoever submitted it is about to send it.
        self.with_caller = with_caller

    @property
    def large(self) -> bool:
        """Whether it is too large for a message, and goes by the stream."""
        return bool(self.buffers) or len(self.name) + len(self.body) > MESSAGE_MAX

    def pickle(self, caller: Caller, worker: str) -> None:
        """Make it ready to be sent, or keep the error of that."""
        call = self.call
        try:
            self.name, self.body, self.buffers = caller.dumps(call.function, call.args, call.kwargs)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # it is not the call's
            remark(error, f"raised while pickling the call for worker {worker}")
            self.error = error
        self.ready = True


class Calls:
    """What lies in one slot. Threads: `give`, `holds` and `recall` from any, the rest from the shepherd's alone."""

    def __init__(self, worker: str, ahead_max: int) -> None:
        self._worker = worker
        self._caller = Caller()
        self._lock = threading.Lock()
        #: What the worker has or is to have, in the order in which it will run.
        self._entries: deque[Entry] = deque()
        #: Those that have been answered, until their outcome is delivered.
        self._answered: list[Entry] = []
        #: The last of them, which have not been sent.
        self._unsent: deque[Entry] = deque()
        self._numbers = 0
        #: Where they are sent; None while there is no worker, and then nothing can be taken back.
        self._line: Line | None = None
        self._closed = False
        self.estimate = Estimate(ahead_max)
        #: When the first became the first, and whether what lay ahead of it has been taken back.
        self._first_since = 0.0
        self._overran = False

    def __len__(self) -> int:
        return len(self._entries)

    # From any thread

    def give(self, call: Call) -> bool | None:
        """Add the first call and send it if it is small and there is a worker; return whether it is sent.

        None: it was not even added, because nobody looks after this slot any more. Interrupted (Ctrl-C)
        anywhere here, the call is not held or the shepherd sends it: what may have been sent twice has the
        same number, and a worker runs no number again.
        """
        entry = Entry(call, with_caller=True)
        if not self._append((entry,)):
            return None
        try:
            entry.pickle(self._caller, self._worker)
            with self._lock:
                line = self._line
                if line is not None and entry.error is None and not entry.large and line.send(entry):
                    self._sent(entry)
        finally:
            entry.with_caller = False
        return entry.sent

    def holds(self, call: Call) -> bool:
        """Whether `call` was given and has not been delivered."""
        with self._lock:
            held = [entry for entry in (*self._entries, *self._answered) if entry.call is call]
            # Whoever asks was interrupted, perhaps between the two.
            self._unsent = deque(entry for entry in self._entries if not entry.sent)
        for entry in held:
            entry.with_caller = False
        return bool(held)

    def recall(self) -> list[Call]:
        """Take out and return what lies ahead and has not started, in order. Never blocks."""
        with self._lock:
            line, entries = self._line, self._entries
            if line is None or len(entries) < 2:
                return []
            try:
                return self._take_back(line, entries[0])
            except BaseException:  # an interrupt: all is sent again, and a worker runs no number twice
                for entry in entries:
                    entry.sent = False
                self._unsent = deque(entries)
                raise

    def _take_back(self, line: Line, first: Entry) -> list[Call]:
        unread = set(line.recall(first.number))
        if first.number in unread:  # its ticket was taken, not its message: no message is left behind it now
            line.send(first)
            unread.discard(first.number)
        entries = self._entries
        kept = [e for e in entries if e is first or (e.sent and e.number not in unread)]
        calls = [e.call for e in entries if e not in kept]
        self._unsent = deque(e for e in kept if not e.sent)
        self._entries = deque(kept)
        return calls

    # From the shepherd

    def connect(self, line: Line | None) -> None:
        """Send what comes to this worker from now on, or keep it."""
        with self._lock:
            self._line = line

    def add(self, calls: Iterable[Call]) -> None:
        """Put calls behind those that the worker has."""
        self._append([Entry(call) for call in calls])

    def send(self, line: Line, pushing: list[memoryview]) -> BaseException | None:
        """Send what has not been sent, in order, as far as there is room.

        `pushing` is what goes down the stream, and nothing goes before it has gone. Returns the error of the
        first call when that cannot be sent; the call is taken out.
        """
        line.push(pushing)
        while not pushing:
            entry, together = self._next_unsent(line)
            if entry is None:
                return None
            with self._lock:
                if not self._unsent or self._unsent[0] is not entry:  # taken back meanwhile
                    continue
                first = self._entries[0] is entry
                if not first and (entry.large or entry.error is not None):
                    return None  # its turn has not come: it would fill the stream while the worker answers
                if entry.error is not None:
                    self._unsent.popleft()
                    self._entries.popleft()
                    return entry.error
                together = together[: len(self._unsent)]
                if len(together) >= BATCH_MIN:
                    sent = line.send_together(together)
                else:
                    together = [entry]
                    sent = line.announce(entry) if entry.large else line.send(entry)
                if not sent:
                    return None
                for each in together:
                    self._sent(each)
            if entry.large:
                pushing += pieces(entry.body, entry.buffers)
                line.push(pushing)
        return None

    def _next_unsent(self, line: Line) -> tuple[Entry | None, list[Entry]]:
        """Return what is to be sent next, pickled, and all small calls that may go in one message with it."""
        with self._lock:
            line.flush()
            unsent = list(self._unsent)
        if not unsent or unsent[0].with_caller:
            return None, []
        small, size = 0, 0
        for entry in unsent:
            if not entry.ready:
                entry.pickle(self._caller, self._worker)
            size += len(entry.name) + len(entry.body)
            if size > BATCH_BYTES or entry.buffers or entry.error is not None:
                break
            small += 1
        return unsent[0], unsent[:small]

    def answered(self, frames: Sequence[Frame]) -> None:
        """Take out the calls that were answered, and learn from how long they took."""
        now = time.monotonic()
        runs = [frame[2] for frame in frames]
        with self._lock:
            entries = self._entries
            alone = len(entries) == 1
            for frame in frames:
                entry = entries.popleft()
                if entry.number != frame[1]:
                    raise AssertionError(
                        f"worker {self._worker} answered call {frame[1]}, not {entry.number}"
                    )
                self._answered.append(entry)
                if self._unsent and self._unsent[0] is entry:
                    self._unsent.popleft()  # whoever sent it was interrupted before saying so
            first_since = self._first_since
            self._first_since, self._overran = now, False
        self.estimate.ran(runs)
        if alone:  # nothing lay ahead: all that was not the run was the message
            self.estimate.travelled(now - first_since - runs[0])

    def delivered(self) -> None:
        """Forget what was answered: whoever asks for it finds its outcome delivered."""
        self._answered.clear()

    @property
    def want(self) -> int:
        """How many more calls the worker may be given."""
        held = len(self._entries)
        return max(1 + self.estimate.depth - held, 0 if held else 1)

    def until_overrun(self, now: float) -> float | None:
        """Return the seconds until something ahead has waited too long, None while nothing can."""
        if len(self._entries) < 2 or self._overran:
            return None
        return max(0.0, self._first_since + OVERRUN - now)

    def overran(self) -> None:
        """Take note that what lay ahead has been taken back; what the worker has read stays there."""
        self._overran = True

    def take_out(self, line: Line) -> tuple[Call | None, list[Call]]:
        """Return the call that an ended worker had begun, if any, and those that it had not."""
        with self._lock:
            unread = set(line.recall())
            begun: Entry | None = None
            if not line.between_calls:
                read = (e for e in self._entries if e.sent and e.number not in unread)
                begun = next(read, None)
            unstarted = [e.call for e in self._entries if e is not begun]
            self._answered += self._entries
            self._entries.clear()
            self._unsent.clear()
        return None if begun is None else begun.call, unstarted

    def close(self) -> list[Call]:
        """Take no more calls; return those that are left."""
        with self._lock:
            self._closed = True
            calls = [entry.call for entry in self._entries]
            self._entries.clear()
            self._unsent.clear()
        return calls

    def _append(self, entries: Iterable[Entry]) -> bool:
        with self._lock:
            for entry in () if self._closed else entries:
                self._numbers += 1
                entry.number = self._numbers
                self._entries.append(entry)
                self._unsent.append(entry)
            return not self._closed

    def _sent(self, entry: Entry) -> None:
        """Take note that the first unsent call has been sent; under the lock."""
        entry.sent = True
        self._unsent.popleft()
        if self._entries[0] is entry:
            self._first_since, self._overran = time.monotonic(), False
