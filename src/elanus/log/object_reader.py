"""Reads the log in a bucket: names, objects, many at a time; and follows it while another process writes.

To follow is to ask for the object after the last one. That it is not there means that nothing more has been written:
what a writer drops stays for `KEPT_S`, so whoever has asked within `TRUSTED_S` cannot have missed it. Who has not
lists what there is, and begins anew where too much has gone.

Where the writer is a process of the same machine it says how far it has come (see `acknowledged`), and nobody need ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from elanus.log.acknowledged import AcknowledgedView
from elanus.log.base import LogGap, LogRecord, now_s, typed
from elanus.log.position import Position
from elanus.log.tail import FIRST_FRAME, LogFileHeader, name_of, read_frames, sequence_of
from elanus.model.errors import KeyNotFound, StoreError
from elanus.store.bucket import Bucket

KEPT_S = 60.0
"""What the log has dropped is deleted so much later."""

TRUSTED_S = 30.0
"""How long after a look the next one may take what is not there for not written."""

LIST_S = 60.0
"""So often it lists all the same: of a machine that was stopped as a whole the clock stood still, too."""

LOOK_S = 6.0
"""How often who follows looks: ten requests a minute, and the listing."""

SAYS_NOTHING = 0
"""Stands for the oldest that is needed in an object that was put ahead of others, to halt a writer. Its epoch says
nothing either."""

READ_AT_ONCE = 8
"""Objects that are fetched at a time where many are read."""


def lengths(bucket: Bucket) -> dict[int, int]:
    """The lengths of the objects that there are, by sequence."""
    return {n: size for key, size in bucket.sizes("").items() if (n := sequence_of(key)) is not None}


def header_of(bucket: Bucket, sequence: int) -> LogFileHeader:
    data = bucket.get_range(name_of(sequence), 0, FIRST_FRAME)
    return LogFileHeader.unpack(data, sequence, f"{bucket.url}/{name_of(sequence)}")


def last_said(bucket: Bucket, last: int, fill: Callable[[int], object] = lambda number: None) -> tuple[int, int]:
    """The oldest sequence that is needed and the newest epoch, as the object `last` says or one before it does.

    `fill` is called with each number before one that says nothing, which may have been left free.
    """
    while (header := header_of(bucket, last)).previous_end == SAYS_NOTHING:
        last -= 1
        fill(last)
    return header.previous_end, header.epoch


def get_all(bucket: Bucket, sequences: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """The objects `sequences`, in that order. Raises `KeyNotFound` at the first that is not there."""
    left = iter(sequences)
    with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="elanus-log") as pool:
        coming: deque[tuple[int, Future[bytes]]] = deque()
        try:
            while True:
                for sequence in islice(left, READ_AT_ONCE - len(coming)):
                    coming.append((sequence, pool.submit(bucket.get, name_of(sequence))))
                if not coming:
                    return
                sequence, data = coming.popleft()
                yield sequence, data.result()
        finally:
            for _, unread in coming:
                unread.cancel()


def records_of(bucket: Bucket, sequence: int, data: bytes) -> Iterator[tuple[Position, LogRecord]]:
    """The records of the object `sequence`, whose bytes are `data`, checked. Raises `CorruptData`."""
    name = f"{bucket.url}/{name_of(sequence)}"
    view = memoryview(data)
    for frame in read_frames(data, LogFileHeader.unpack(data, sequence, name), name, len(data)):
        for offset, raw in frame.raw(view):
            yield Position(sequence, offset), typed(raw)


class ObjectLogReader:
    """A `LogReader` over a bucket."""

    look_s: float | None = LOOK_S

    def __init__(self, bucket: Bucket, acknowledged: AcknowledgedView | None = None) -> None:
        self._bucket = bucket
        self._acknowledged = acknowledged
        self._read_to: int | None = None
        """The word up to which was read, where the writer says one."""
        if acknowledged is not None:
            self.look_s = None
        self._last = 0
        """The sequence of the last object that was read; 0 is none."""
        self._looked_s = -TRUSTED_S
        """When it was last known that there were no more, and that is seen."""
        self._asked_s = -TRUSTED_S
        self._listed_s = -LIST_S
        self._word: int | None = None
        self.oldest = 0

    def is_behind(self, as_of_s: float | None) -> bool:
        word = self._told()
        if word is not None:
            return word != self._read_to
        return self._looked_s < (now_s() - 2 * LOOK_S if as_of_s is None else as_of_s)

    def read(self) -> Iterator[tuple[Position, LogRecord]]:
        self._word = word = self._told()
        if word is None:
            yield from self._read_all()
            return
        if not self._last:
            yield from self._read_listed()
        while self._last < AcknowledgedView.position_of(word).sequence:
            try:
                data = self._bucket.get(name_of(self._last + 1))
            except KeyNotFound:
                raise LogGap from None
            yield from self._read_object(self._last + 1, data)

    def done(self) -> None:
        self._read_to, self._looked_s = self._word, self._asked_s

    def _read_all(self) -> Iterator[tuple[Position, LogRecord]]:
        since_s = self._looked_s
        while True:
            asked_s = now_s()
            if not self._last or asked_s - since_s >= TRUSTED_S or asked_s - self._listed_s >= LIST_S:
                since_s = self._listed_s = asked_s
                yield from self._read_listed()
                continue
            try:
                data = self._bucket.get(name_of(self._last + 1))
            except KeyNotFound:
                if now_s() - since_s < TRUSTED_S:
                    self._asked_s = asked_s
                    return
            else:
                yield from self._read_object(self._last + 1, data)

    def _told(self) -> int | None:
        """How far the writer says that it is; None where none says so."""
        return self._acknowledged.word() if self._acknowledged is not None else None

    def restart(self) -> None:
        self._last = 0
        self._read_to = None
        self.oldest = 0

    def close(self) -> None:
        """Nothing is held."""

    def _read_listed(self) -> Iterator[tuple[Position, LogRecord]]:
        """What a listing shows, which may be old: there may be more behind it."""
        newest = max(lengths(self._bucket), default=0)
        if not newest:
            raise StoreError(f"there is no database at {self._bucket.url}: open it for writing once.")
        if newest <= self._last:
            return
        try:
            oldest, _ = last_said(self._bucket, newest)
            if self._last and oldest > self._last + 1:
                raise LogGap
            for sequence, data in get_all(self._bucket, range(max(self._last + 1, oldest), newest + 1)):
                yield from self._read_object(sequence, data)
        except KeyNotFound:  # dropped and deleted meanwhile, or long ago
            raise LogGap from None

    def _read_object(self, sequence: int, data: bytes) -> Iterator[tuple[Position, LogRecord]]:
        yield from records_of(self._bucket, sequence, data)
        self._last = sequence
        self.oldest = max(self.oldest, LogFileHeader.unpack(data, sequence, name_of(sequence)).previous_end)
