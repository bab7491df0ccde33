"""The log, as those see it who write to it and recover from it: records in order, durable when `append` returns.

There are two: local files (`file`) and objects in a bucket (`objects`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from elanus.log.carry import CarryRecord, carry_of
from elanus.log.position import Position
from elanus.log.record import ChangeRecord, EncodedRecord, FenceRecord, RawRecord, RecordKind, change_of, fence_of
from elanus.model.errors import Closed, CorruptData, WriterStopped

LogRecord = RawRecord | CarryRecord | FenceRecord | ChangeRecord


class Log(Protocol):
    """The log of one writer, open for writing and fenced. Safe to use from any thread."""

    epoch: int
    """This opening's, one above those of all before."""

    excludes: bool
    """Whether no other process can write what belongs to this log while it is open."""

    @property
    def replaced(self) -> bool:
        """Whether this log knows that another process has taken over."""
        ...

    @property
    def end(self) -> Position:
        """After the last durable record."""
        ...

    @property
    def byte_size(self) -> int:
        """How much there is to read at an opening."""
        ...

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest record was written, in milliseconds since 1970; None when there is none but fences."""
        ...

    def append(self, records: Sequence[tuple[EncodedRecord, int]]) -> list[Position]:
        """Make `records`, each with its timestamp, durable, all or none, and return where they lie.

        Raises `StoreError` where they surely were not written, `WriterStopped` where that is in doubt.
        """
        ...

    def publish(self) -> None:
        """Let those who follow the log see what was appended. Raises `WriterStopped` where that is in doubt."""
        ...

    def is_published(self) -> bool:
        """Whether they may see all that was appended."""
        ...

    def rotate(self) -> int:
        """A sequence below which everything lies that was written before, and nothing that is written later."""
        ...

    def drop_before(self, sequence: int) -> None:
        """Give up what lies below `sequence`."""
        ...

    def read(self, start: Position = ...) -> Iterator[tuple[Position, LogRecord]]:
        """The records at `start` and after it, as far as they are durable now, checked. Raises `CorruptData`."""
        ...

    def check_writer(self) -> None:
        """Raise `WriterStopped` where another process has taken over."""
        ...

    def begin_close(self) -> None:
        """Whoever appends or waits may be refused from now on, where it would take long."""
        ...

    def close(self) -> None:
        """Later calls raise `Closed`."""
        ...


class LogGap(Exception):
    """What comes next in the log has been given up: everything that it said is in segments, or was carried forward."""


class LogReader(Protocol):
    """Follows a log that another process writes. Not for two threads at once, but for `is_behind`."""

    look_s: float | None
    """How often somebody has to read so that reads in between need not; None where they always find out themselves."""

    oldest: int
    """The sequence below which nothing is needed, as far as is known."""

    def is_behind(self, as_of_s: float | None) -> bool:
        """Whether to `read` before somebody looks: as of this time of `now_s`, or as of lately where it is None."""
        ...

    def read(self) -> Iterator[tuple[Position, LogRecord]]:
        """The records after those that were read before, as far as they were acknowledged when this was called.

        Raises `LogGap`, `CorruptData`, `StoreError`; what was yielded before has been read all the same.
        """
        ...

    def done(self) -> None:
        """What the last `read` yielded, to its end, is seen: only now nobody is behind any more."""
        ...

    def restart(self) -> None:
        """Begin anew with the oldest that is needed."""
        ...

    def close(self) -> None: ...


def now_s() -> float:
    """Seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if _COUNTS_SLEEP else time.monotonic()


_COUNTS_SLEEP = hasattr(time, "CLOCK_BOOTTIME")


def check_open(closed: bool) -> None:
    """Raise `Closed` where a log was closed."""
    if closed:
        raise Closed("the log was closed: open the database again")


def check_usable(closed: bool, failure: str | None, advice: str) -> None:
    """Raise `Closed` or `WriterStopped` where a log takes nothing more; `advice` says what to do in the second case."""
    check_open(closed)
    if failure is not None:
        raise WriterStopped(
            f"nothing more is acknowledged, because {failure}. What was acknowledged before is safe; {advice}"
        )


def typed(raw: RawRecord) -> LogRecord:
    """A record as what it is. Raises `CorruptData` for a kind that this Elanus does not know."""
    match raw.header.kind:
        case RecordKind.WRITE:
            return raw
        case RecordKind.CARRY:
            return carry_of(raw)
        case RecordKind.FENCE:
            return fence_of(raw)
        case RecordKind.CHANGE:
            return change_of(raw)
        case kind:
            raise CorruptData(
                f"the log holds a record of kind {kind}, which this Elanus does not know: use a newer one"
            )
