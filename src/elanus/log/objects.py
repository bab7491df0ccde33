"""The log in a bucket: one object for each group commit, and one sequence of them for all writers there ever are.

    <sequence, 20 digits>.log     a file header (see `tail`) and one frame (see `frame`) from byte 64 on

An object is whole or not there, so there are no torn tails. Of the header, the field that says in a local file where
the one before ends says here which sequence is the oldest that is needed; what lies below is garbage, also where only
some of it has been deleted.

Objects are put if absent, under the number after the last. So a writer that has been replaced finds its number taken
and stops: a new writer reads to the end and puts a fence there, with an epoch one above every epoch before it. What the
old one puts later has no place; what it put before the fence is read by the new one, and was acknowledged or may be.

That holds as long as its number stays taken. So the fences that openings put are never deleted, for one of them lies
where the writer before goes on; they are known by their length, which no other object has. And an opener that stood
still between its look at the end and its fence may find a number that has been freed, so it looks again afterwards.

What an error leaves behind: a put that is neither known to be done nor known to be refused stops the writer
(`WriterStopped`), for this call and all later ones. The bucket asks for long before it comes to that.

Invariant: `_end` is the end of the last record that is known to be there. It moves under `_mutex` alone, and may be
read without it.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count, takewhile
from typing import NoReturn

from elanus.log.acknowledged import Acknowledged
from elanus.log.base import LogRecord, check_usable, now_s
from elanus.log.carry import CarryRecord
from elanus.log.file import EndedFile
from elanus.log.frame import FRAME_HEADER_BYTES, build_frame
from elanus.log.object_reader import KEPT_S, SAYS_NOTHING, get_all, last_said, lengths, records_of
from elanus.log.position import Position
from elanus.log.record import EncodedRecord, FenceRecord
from elanus.log.tail import FIRST_FRAME, LogFileHeader, name_of
from elanus.model.errors import CorruptData, KeyExists, KeyNotFound, StoreError
from elanus.model.timestamps import milliseconds_of
from elanus.store.bucket import Bucket
from elanus.store.reasons import reason

LEAST_BYTES = 256 << 10
"""A shorter object takes as long to read as so many bytes in a row, and counts as such."""

FENCE_BYTES = FIRST_FRAME + FRAME_HEADER_BYTES + FenceRecord(0).encode().byte_size
"""The length of an object that holds a fence and nothing else."""

EMPTY_BYTES = FIRST_FRAME + FRAME_HEADER_BYTES + CarryRecord({}).encode().byte_size
"""Of one that says what may go, and nothing else."""

NOTHING = (CarryRecord({}).encode(), 0)
"""A record, with its timestamp, for an object that is there for what its header says."""

ATTEMPTS = 3
STEPS = 4
"""An opener that meets a writer tries so often to be faster, and looks so far past what it was listed."""


class ObjectLog:
    """The log of one writer; made by `open`. Safe to use from any thread."""

    excludes = False

    def __init__(self, bucket: Bucket, kept_s: float) -> None:
        self._bucket = bucket
        self._mutex = threading.Lock()
        self._sizes: dict[int, int] = {}
        """By sequence, the lengths of the objects that are needed."""
        self._kept_s = kept_s
        self._left: deque[tuple[float, int]] = deque()
        """Since when, by `now_s`, what lies below the oldest that is needed and has not been deleted yet."""
        self._first_timestamps: dict[int, int] = {}
        """Of those that have been read or written."""
        self._oldest = 1
        self._end = Position(0, 0)
        self._acknowledged: Acknowledged | None = None
        self._appended = self._end
        """The end after the last append that others are told of."""
        self.failure: str | None = None
        """Why nothing more is appended; None while it is."""
        self._closed = False
        self.replaced = False
        self.epoch = 1
        """This opening's, one above those of all before."""

    @classmethod
    def open(cls, bucket: Bucket, kept_s: float = KEPT_S) -> ObjectLog:
        """Open for write: find the end and fence. What is dropped stays for `kept_s`, for those who follow.

        Raises `CorruptData` where an object is missing.
        """
        log = cls(bucket, kept_s)
        log._recover()
        return log

    # --- what there is ---------------------------------------------------------------------------------------------

    @property
    def end(self) -> Position:
        """After the last durable record."""
        return self._end

    @property
    def byte_size(self) -> int:
        """How long it takes to read all objects, as the length of a file that takes as long."""
        return sum(max(size, LEAST_BYTES) for size in list(self._sizes.values()))

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest record was written, in milliseconds since 1970; None when there is none but fences."""
        times = (self._first_timestamps.get(sequence, 0) for sequence in sorted(self._sizes))
        first = next((timestamp for timestamp in times if timestamp), None)
        return None if first is None else milliseconds_of(first)

    # --- writing ---------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[tuple[EncodedRecord, int]]) -> list[Position]:
        """Put `records`, each with its timestamp, as one object, and return where they lie."""
        with self._mutex:
            positions = self._append(records)
            self._appended = self._end
            return positions

    def put_file(self, file: EndedFile) -> None:
        """Put a local file that follows the last object, as `append` puts records."""
        with self._mutex:
            self._check_usable()
            assert file.header.sequence == self._end.sequence + 1, "files go up in order"
            self._put_next(relabelled(file, self._oldest), file.first_timestamp)

    def _append(self, records: Sequence[tuple[EncodedRecord, int]]) -> list[Position]:
        self._check_usable()
        sequence = self._end.sequence + 1
        data, offsets = self._lay_out(sequence, records)
        self._put_next(data, records[0][1])
        return [Position(sequence, at) for at in offsets]

    def _put_next(self, data: bytes, first_timestamp: int) -> None:
        sequence = self._end.sequence + 1
        try:
            self._put(sequence, data, first_timestamp)
        except KeyExists:
            self._stop_replaced(sequence)
        except StoreError as error:
            self._stop(f"it is in doubt whether {self._bucket.url}/{name_of(sequence)} was written ({error})")

    def rotate(self) -> int:
        """The sequence after the last: everything written before lies below it."""
        with self._mutex:
            self._check_usable()
            return self._end.sequence + 1

    def drop_before(self, sequence: int) -> None:
        """Put an object that says that those below `sequence` may go, and delete those that were given up before."""
        with self._mutex:
            self._check_usable()
            if not self._give_up(sequence):
                return
            self._append([NOTHING])
        self.delete_dropped()

    def give_up(self, sequence: int) -> bool:
        """Have the next object say that those below `sequence` may go; whether that is anything new."""
        with self._mutex:
            return self._give_up(sequence)

    def _give_up(self, sequence: int) -> bool:
        if sequence <= self._oldest:
            return False
        self._oldest = min(sequence, self._end.sequence + 1)
        return True

    def delete_dropped(self) -> None:
        """Delete what was given up `kept_s` ago; that it was is known from an object."""
        for number in [number for number in list(self._sizes) if number < self._oldest]:
            if self._sizes.pop(number) != FENCE_BYTES:
                self._left.append((now_s(), number))
            self._first_timestamps.pop(number, None)
        old = takewhile(lambda left: left[0] <= now_s() - self._kept_s, list(self._left))
        numbers = [number for _, number in old]
        self._bucket.delete(map(name_of, numbers))
        for _ in numbers:
            self._left.popleft()

    def publish_to(self, acknowledged: Acknowledged) -> None:
        """Tell other processes of this machine here; it says where the log ends now."""
        self._acknowledged = acknowledged

    def publish(self) -> None:
        """What is in a bucket everybody can read; here is said that it is worth looking."""
        if self._acknowledged is not None:
            try:
                self._acknowledged.put(self._appended)
            except OSError as error:
                with self._mutex:
                    self._stop(f"telling readers what is acknowledged failed: {reason(error)}")

    def is_published(self) -> bool:
        return self._acknowledged is None or self._acknowledged.is_at(self._appended)

    def check_writer(self) -> None:
        """Raise `WriterStopped` where another process has taken over."""
        with self._mutex, suppress(KeyNotFound):
            following = self._end.sequence + 1
            self._bucket.size(name_of(following))
            self._stop_replaced(following)

    def begin_close(self) -> None:
        """What is under way has to come to an end: it is in doubt otherwise."""

    def close(self) -> None:
        """Later calls raise `Closed`. What `append` returned for is durable already."""
        with self._mutex:
            self._closed = True

    # --- reading ---------------------------------------------------------------------------------------------------

    def read(self, start: Position = Position(0, 0)) -> Iterator[tuple[Position, LogRecord]]:
        """The records at `start` and after it, as far as they are durable now, checked.

        Raises `CorruptData` that names the object and what is lost, and `StoreError` for one dropped meanwhile.
        """
        sequences = range(max(start.sequence, self._oldest), self._end.sequence + 1)
        sequence = sequences.start
        try:
            for sequence, data in get_all(self._bucket, sequences):
                for position, record in records_of(self._bucket, sequence, data):
                    self._first_timestamps.setdefault(sequence, record.timestamp)
                    if position >= start:
                        yield position, record
                sequence += 1
        except KeyNotFound:
            raise self._missing(sequence) from None

    def _missing(self, sequence: int) -> CorruptData:
        return CorruptData(
            f"{self._bucket.url}/{name_of(sequence)} is missing, though it is needed and later ones are there: the "
            "writes in it are lost. Restore it from a backup or a copy."
        )

    # --- opening ---------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Put a fence at the end. Where that is taken again and again, a writer goes on: it is halted."""
        for attempt in count(1):
            try:
                if self._fence():
                    return
            except KeyNotFound:  # the writer before has dropped it, having gone on
                pass
            if attempt % ATTEMPTS == 0:
                self._halt()

    def _fence(self) -> bool:
        """Put a fence at what seems to be the end; False where it is not."""
        found = lengths(self._bucket)
        last = self._follow(max(found, default=0), found)
        for number in range(self._oldest, last + 1):
            if number not in found:
                try:
                    found[number] = self._bucket.size(name_of(number))  # only the listing was old
                except KeyNotFound:
                    raise self._missing(number) from None
        while found.get(self._oldest) in (FENCE_BYTES, EMPTY_BYTES):
            self._oldest += 1
        self._sizes = {number: size for number, size in found.items() if number >= self._oldest}
        garbage = [n for n, size in found.items() if n < self._oldest and size != FENCE_BYTES]
        self._left = deque((now_s(), number) for number in garbage)
        try:
            self._put_fence(last + 1)
        except KeyExists:  # the writer before, which still writes, or another that opens
            return False
        return max(lengths(self._bucket)) <= last + 1

    def _follow(self, last: int, found: dict[int, int]) -> int:
        """Go on from the object `last`, where there is one, for a few steps, and take over what the last one says."""
        for _ in range(STEPS):
            try:
                found[last + 1] = self._bucket.size(name_of(last + 1))
            except KeyNotFound:
                break
            last += 1
        if last:
            # An opener that died while it halted a writer may have left numbers free.
            self._oldest, epoch = last_said(self._bucket, last, fill=self._block)
            self.epoch = epoch + 1
        return last

    def _halt(self) -> None:
        """Take numbers ahead of a writer that goes on, which finds one of them taken, and all up to there."""
        last, ahead = max(lengths(self._bucket), default=0), 1
        while not self._block(last + ahead):
            ahead *= 2
        for number in range(last + 1, last + ahead):
            self._block(number)

    def _block(self, number: int) -> bool:
        """Whether this number has been free, which nobody can go on at any more."""
        oldest, self._oldest = self._oldest, SAYS_NOTHING
        try:
            self._put_fence(number)
        except KeyExists:
            return False
        finally:
            self._oldest = oldest
        return True

    # --- steps, all under `_mutex` or while opening -------------------------------------------------------------------

    def _put_fence(self, sequence: int) -> None:
        data, _ = self._lay_out(sequence, [(FenceRecord(self.epoch).encode(), 0)])
        self._put(sequence, data, 0)

    def _lay_out(self, sequence: int, records: Sequence[tuple[EncodedRecord, int]]) -> tuple[bytes, list[int]]:
        """The object that holds `records`, and where in it they lie."""
        header = LogFileHeader(sequence, secrets.randbits(64), self._oldest, self.epoch)
        pieces, offsets = build_frame(header.place, FIRST_FRAME, self.epoch, records)
        return b"".join((header.pack(), *pieces)), offsets

    def _put(self, sequence: int, data: bytes, first_timestamp: int) -> None:
        self._bucket.put(name_of(sequence), data)
        self._sizes[sequence] = len(data)
        self._first_timestamps[sequence] = first_timestamp
        self._end = Position(sequence, len(data))

    def _stop_replaced(self, sequence: int) -> NoReturn:
        self.replaced = True
        self._stop(f"another process has taken over the log at {self._bucket.url}/{name_of(sequence)}")

    def _stop(self, why: str) -> NoReturn:
        self.failure = why
        self._check_usable()
        raise AssertionError("a log that failed is not usable")

    def _check_usable(self) -> None:
        check_usable(self._closed, self.failure, "open the database again.")


def relabelled(file: EndedFile, oldest: int) -> bytes:
    """A local file as the object that holds the same frames, and says that `oldest` is the oldest that is needed."""
    return file.header._replace(previous_end=oldest).pack() + file.data[FIRST_FRAME:]
