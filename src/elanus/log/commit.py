"""Group commit: many threads append, one of them at a time writes and syncs for all that have arrived.

`enqueue` gives a record its timestamp and its place in the order, under one lock, so log order is timestamp order.
`Ticket.wait` returns when the record is durable and applied. The first to wait becomes the leader: it takes what is
queued, has the log write and sync it as one frame, and applies it; then it hands the lead to the first of those who
wait for what has been queued meanwhile, and wakes those it worked for. Who does not want to wait is told
(`Ticket.then`); where nobody waits a standby thread leads.

Python interrupts a program (Ctrl-C) by raising `KeyboardInterrupt` in its main thread, between any two steps. A
leader that is interrupted between log and memory would leave them different, so the main thread never leads: a
standby thread does it in its stead. What the main thread does itself is ordered so that it may stop after any step.
An interrupted `wait` leaves the record where it is: it may or may not be committed, as with any lost reply.

Invariants:

* one leader at a time (`_leading`); the leader alone writes to the log and calls `apply`, in log order;
* a ticket is in `_queue`, or in the group of the leader, or done; it is done exactly once;
* `_queued_bytes` counts the records of the queue and of the leader's group; above its bound `enqueue` waits;
* when `_failure` is set it stays set: everything queued has failed and everything later does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue

from elanus.log.base import Log
from elanus.log.carry import CarryRecord
from elanus.log.position import Position
from elanus.log.record import ChangeRecord, EncodedRecord, FenceRecord, WriteRecord
from elanus.model.errors import Closed, StoreError, WriterStopped
from elanus.model.timestamps import TimestampOracle

_log = logging.getLogger("elanus.log")

QUEUE_BYTES = 256 << 20
"""What may wait to be written: about as much as a disk takes in a second, and a bound for memory."""

GROUP_BYTES = 32 << 20
"""What one frame takes, unless a single record is longer: all in a group wait for all of it."""

GATHER_S = 0.002
"""Where the last group was larger than what has come since and nobody waits, the others are given so long: each group
costs a sync. With 8 clients of single rows groups grew from 2.2 records to 5.4, and a write took 540 µs of
CPU instead of 690."""

Record = WriteRecord | CarryRecord | FenceRecord | ChangeRecord
Apply = Callable[[list[tuple[Position, Record]]], None]
Told = Callable[[StoreError | None], object]


class Ticket:
    """A record's place in the order. `timestamp` is known at once; `wait` returns its position when it is committed."""

    __slots__ = ("_commit", "_encoded", "_error", "_may_lead", "_position", "_record", "_tell", "_wake", "timestamp")

    def __init__(self, commit: GroupCommit, record: Record | None, encoded: EncodedRecord | None) -> None:
        self.timestamp = record.timestamp if record is not None else 0
        self._commit = commit
        self._record = record
        self._encoded = encoded
        self._position: Position | None = None
        self._error: StoreError | None = None
        self._wake: threading.Lock | None = None
        """Locked while a thread waits for the ticket; released when it is done, or to hand that thread the lead."""
        self._may_lead = False
        self._tell: Told | None = None

    def wait(self) -> Position:
        """Return when the record is durable and applied; for one thread at a time.

        Raises `StoreError` when it could not be written (a later append may succeed), and `WriterStopped` when it
        is in doubt whether it was.
        """
        return self._commit._wait(self)

    def then(self, tell: Told) -> None:
        """Have `tell` called, instead of a `wait`, when that would return: with the error that it would raise, or None.

        It is called in whatever thread has led, which has more to do.
        """
        self._commit._then(self, tell)

    @property
    def _byte_size(self) -> int:
        return self._encoded.byte_size if self._encoded is not None else 0

    @property
    def _done(self) -> bool:
        return self._position is not None or self._error is not None


class GroupCommit:
    """Appends to `log` from any thread. `apply` gets the records of a group, in order, when they are durable.

    Nobody else may append to the log meanwhile. An `apply` that raises stops the writer: the log is ahead of the
    memory then, and only opening again brings them together.
    """

    def __init__(
        self,
        log: Log,
        oracle: TimestampOracle,
        apply: Apply,
        queue_bytes: int = QUEUE_BYTES,
        group_bytes: int = GROUP_BYTES,
    ) -> None:
        self._log = log
        self._oracle = oracle
        self._apply = apply
        self._max_queued_bytes = queue_bytes
        self._max_group_bytes = group_bytes
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._queue: deque[Ticket] = deque()
        self._queued_bytes = 0
        self._leading = False
        self._failure: str | None = None
        self._closing = False
        self._closed = False
        self._changes = 0
        """How many are between a change of something else and the record that tells of it."""
        self._gathered = 0
        """How many records had come when the standby thread last led."""
        self._standby_calls: SimpleQueue[bool] = SimpleQueue()
        """True: lead if nobody does. False: end. A put is one step, which an interrupt cannot halve."""
        self._standby = threading.Thread(target=self._stand_by, name="elanus-commit", daemon=True)
        self._standby.start()

    @property
    def failure(self) -> str | None:
        """Why nothing is acknowledged any more; None while the writer is well."""
        return self._failure

    def is_published(self) -> bool:
        """Whether those who follow the log may see all that was written."""
        return self._log.is_published()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Inside, something else is changed, and a record appended that tells of it: `close` waits for that.

        Raises `Closed` and `WriterStopped`.
        """
        with self._lock:
            self._check_open()
            if self._closing:
                raise _closed()
            self._changes += 1
        try:
            yield
        finally:
            with self._lock:
                self._changes -= 1
                self._room.notify_all()

    def append(self, record: Record) -> Position:
        """Enqueue and wait."""
        return self.enqueue(record).wait()

    def enqueue(self, record: Record) -> Ticket:
        """Give `record` its timestamp and its place behind all enqueued before; waits while the queue is full.

        Raises `Closed` and `WriterStopped`.
        """
        encoded = record.encode()
        size = encoded.byte_size
        while True:
            with self._lock:
                self._check_open()
                if not self._queued_bytes or self._queued_bytes + size <= self._max_queued_bytes:
                    ticket = Ticket(self, record.at(self._oracle.next()), encoded)
                    self._queue.append(ticket)
                    self._queued_bytes += size
                    return ticket
                leads = self._take_lead()
                if not leads:
                    self._room.wait()
            if leads:
                self._lead()

    def barrier(self) -> Position:
        """Return when everything enqueued before is durable and applied, with the position after it."""
        with self._lock:
            self._check_open()
            ticket = Ticket(self, None, None)
            self._queue.append(ticket)
        return ticket.wait()

    def close(self) -> None:
        """Refuse new records, and return when those enqueued before are done. The log stays open."""
        if not self._standby.is_alive():
            return
        with self._lock:
            self._closing = True
            self._room.wait_for(lambda: not self._changes)
            self._closed = True
            self._room.notify_all()
            last = Ticket(self, None, None)
            self._queue.append(last)
        with suppress(WriterStopped):  # those who enqueued have been told
            last.wait()
        self._standby_calls.put(False)
        self._standby.join()

    # --- the lead --------------------------------------------------------------------------------------------------

    def _wait(self, ticket: Ticket) -> Position:
        with self._lock:
            if not ticket._done:
                wake = threading.Lock()
                wake.acquire()
                ticket._may_lead = not _on_main_thread()
                ticket._wake = wake
                if self._take_lead():
                    wake.release()
        while not ticket._done:
            wake.acquire()
            if not ticket._done:
                self._lead()
        if ticket._error is not None:
            raise type(ticket._error)(str(ticket._error)) from ticket._error.__cause__
        assert ticket._position is not None
        return ticket._position

    def _then(self, ticket: Ticket, tell: Told) -> None:
        with self._lock:
            if not ticket._done:
                ticket._tell = tell
                if not self._leading:
                    self._standby_calls.put(True)
                return
        tell(ticket._error)

    def _take_lead(self) -> bool:
        """Whether the caller, who holds `_lock`, leads now; where nobody does and it must not, standby is called."""
        if self._leading:
            return False
        if _on_main_thread():
            self._standby_calls.put(True)
            return False
        self._leading = True
        return True

    def _lead(self) -> None:
        """Commit one group, then hand on the lead. The caller has it."""
        with self._lock:
            group = self._take_group()
        try:
            self._commit_group(group)
        finally:
            with self._lock:
                taken = sum(ticket._byte_size for ticket in group)
                # An interrupted enqueue may not have counted its record, so an empty queue counts anew.
                self._queued_bytes = self._queued_bytes - taken if self._queue else 0
                self._room.notify_all()
                self._hand_on()
            for ticket in group:
                if ticket._wake is not None:
                    ticket._wake.release()
            for ticket in group:
                if ticket._tell is not None:
                    _tell(ticket._tell, ticket._error)

    def _take_group(self) -> list[Ticket]:
        group: list[Ticket] = []
        size = 0
        while self._queue and (not group or size + self._queue[0]._byte_size <= self._max_group_bytes):
            ticket = self._queue.popleft()
            group.append(ticket)
            size += ticket._byte_size
        return group

    def _commit_group(self, group: list[Ticket]) -> None:
        """Write, sync and apply `group`, and set its tickets done, whatever happens."""
        if self._failure is not None:
            self._fail(group, WriterStopped(self._failure))
            return
        records = [ticket for ticket in group if ticket._encoded is not None]
        positions: list[Position] = []
        doing = "writing the log"
        try:
            if records:
                positions = self._log.append([(t._encoded, t.timestamp) for t in records if t._encoded is not None])
                doing = "applying a durable record"
                self._apply([(p, t._record) for p, t in zip(positions, records, strict=True) if t._record is not None])
            self._succeed(group, positions)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it must reach all who wait
            if isinstance(error, StoreError) and not isinstance(error, WriterStopped) and not positions:
                self._fail(group, error)
            else:
                self._stop(group, doing, error)

    def _succeed(self, group: list[Ticket], positions: list[Position]) -> None:
        end = self._log.end
        placed = iter(positions)
        for ticket in group:
            ticket._position = end if ticket._encoded is None else next(placed)

    def _fail(self, group: list[Ticket], error: StoreError) -> None:
        """Tell all in the group. A barrier fails with the writer only: those before it are told themselves."""
        end = self._log.end
        for ticket in group:
            if ticket._encoded is None and not isinstance(error, WriterStopped):
                ticket._position = end
            else:
                ticket._error = error

    def _stop(self, group: list[Ticket], doing: str, cause: BaseException) -> None:
        if isinstance(cause, WriterStopped):
            self._failure = str(cause)
        else:
            self._failure = (
                f"nothing more is acknowledged, because {doing} failed: {type(cause).__name__}: {cause}. "
                "Open the database again: it applies the log anew."
            )
        stopped = WriterStopped(self._failure)
        stopped.__cause__ = cause
        self._fail(group, stopped)

    def _hand_on(self) -> None:
        """Give the lead to the first in the queue whom somebody waits for; `_lock` is held.

        Nobody: the next to wait takes it.
        """
        heir = next((t for t in self._queue if t._wake is not None or t._tell is not None), None)
        if heir is not None and heir._may_lead:
            assert heir._wake is not None
            heir._wake.release()
            return
        self._leading = False
        if heir is not None:
            self._standby_calls.put(True)

    def _stand_by(self) -> None:
        while self._standby_calls.get():
            with self._lock:
                leads = bool(self._queue) and self._take_lead()
                gathers = len(self._queue) < self._gathered and all(t._wake is None for t in self._queue)
            if leads:
                if gathers:
                    time.sleep(GATHER_S)
                self._gathered = len(self._queue)
                self._lead()

    def _check_open(self) -> None:
        if self._failure is not None:
            raise WriterStopped(self._failure)
        if self._closed:
            raise _closed()


def _closed() -> Closed:
    return Closed("the writer was closed: open the database again")


def _tell(tell: Told, error: StoreError | None) -> None:
    try:
        tell(error)
    except Exception:  # noqa: BLE001 - whoever is told badly must not keep others from being told
        _log.exception("a write is done, and telling so failed")


def _on_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident
