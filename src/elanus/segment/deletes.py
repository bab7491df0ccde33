"""Which rows of one sealed segment are deleted, and since when.

A `Deletes` never changes; adding to it makes another one that shares what it can. A row's delete timestamp D hides it
from every read at D or later, so an old value answers old reads for as long as someone holds it.

Invariants:

- a row is in at most one run, with the timestamp of its first delete; a later delete of the same row changes nothing;
- within a run rows rise; runs are merged so that each is more than twice as long as the next, so there are O(log n);
- `_latest` is the mask of rows never deleted, None while `count` is 0.

The file (kind DELETES, written whole, its checksum checked at every read), little-endian:

    u64 rows of the segment | u64 n | i64 row × n, rising | u64 delete timestamp × n
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from elanus.model.errors import CorruptData
from elanus.segment.view import Mask, Rows, Timestamps
from elanus.store.header import FileKind, pack_small, unpack_small

_COUNTS: Final = struct.Struct("<QQ")
_ONE = np.uint8(1)


@dataclass(frozen=True, slots=True)
class _Run:
    rows: Rows
    timestamps: Timestamps


@dataclass(frozen=True, slots=True)
class Deletes:
    """The deletes of a segment of `segment_rows` rows: `count` of them are deleted, the newest at `last_timestamp`."""

    segment_rows: int
    count: int = 0
    last_timestamp: int = 0
    _runs: tuple[_Run, ...] = ()
    _latest: Mask | None = None

    @staticmethod
    def none(segment_rows: int) -> Deletes:
        """No row of `segment_rows` is deleted."""
        return Deletes(segment_rows)

    @staticmethod
    def of(segment_rows: int, rows: Rows, timestamps: Timestamps) -> Deletes:
        """`rows` deleted at `timestamps`."""
        return Deletes(segment_rows).with_deleted(rows, timestamps)

    def with_deleted(self, rows: Rows, timestamp: int | Timestamps) -> Deletes:
        """These and `rows`, deleted at `timestamp` (one for all, or one a row); itself when it holds them all.

        A row that is deleted already keeps its timestamp; of a row given twice the earlier timestamp counts.
        """
        rows, timestamps = _in_order(np.asarray(rows, np.int64), timestamp)
        if len(rows) and not 0 <= rows[0] <= rows[-1] < self.segment_rows:
            raise IndexError(f"rows {rows[0]} to {rows[-1]} are not all of a segment of {self.segment_rows} rows")
        if self._latest is not None:
            new = _bits(self._latest, rows)
            if not new.all():
                rows, timestamps = rows[new], timestamps[new]
        if not len(rows):
            return self
        latest = _all_ones(self.segment_rows) if self._latest is None else self._latest.copy()
        np.bitwise_and.at(latest, rows >> 3, ~(_ONE << (rows & 7).astype(np.uint8)))
        return Deletes(
            self.segment_rows,
            self.count + len(rows),
            max(self.last_timestamp, int(timestamps.max())),
            _merged((*self._runs, _Run(rows, timestamps))),
            latest,
        )

    @property
    def alive(self) -> Mask | None:
        """The rows never deleted; None when that is all of them."""
        return self._latest

    def alive_at(self, timestamp: int) -> Mask | None:
        """The rows not deleted at `timestamp` or before; None when that is all of them."""
        if timestamp >= self.last_timestamp or self._latest is None:
            return self._latest
        mask = self._latest.copy()
        for run in self._runs:
            later = run.rows[run.timestamps > timestamp]
            np.bitwise_or.at(mask, later >> 3, _ONE << (later & 7).astype(np.uint8))
        return mask

    def entries(self, after: int = 0, up_to: int | None = None) -> tuple[Rows, Timestamps]:
        """(rows, rising; their delete timestamps) of the deletes later than `after` and not later than `up_to`."""
        rows = np.concatenate([run.rows for run in self._runs]) if self._runs else np.empty(0, np.int64)
        timestamps = np.concatenate([run.timestamps for run in self._runs]) if self._runs else np.empty(0, np.uint64)
        if after or (up_to is not None and up_to < self.last_timestamp):
            wanted = timestamps > after
            if up_to is not None:
                wanted &= timestamps <= up_to
            rows, timestamps = rows[wanted], timestamps[wanted]
        order = np.argsort(rows)
        return rows[order], timestamps[order]

    def to_bytes(self) -> bytes:
        """The delete file."""
        rows, timestamps = self.entries()
        counts = _COUNTS.pack(self.segment_rows, self.count)
        payload = b"".join((counts, rows.astype("<i8").tobytes(), timestamps.astype("<u8").tobytes()))
        return pack_small(FileKind.DELETES, payload)

    @staticmethod
    def from_bytes(data: bytes, name: str) -> Deletes:
        """Read a delete file called `name`. Raises `CorruptData` or `FormatTooNew`."""
        payload = unpack_small(FileKind.DELETES, data, name)
        segment_rows, count = _COUNTS.unpack_from(payload) if len(payload) >= _COUNTS.size else (0, -1)
        if len(payload) != _COUNTS.size + 16 * count:
            raise CorruptData(f"delete file {name}: {len(payload)} bytes do not hold the {count} deletes it names")
        rows = np.frombuffer(payload, "<i8", count, _COUNTS.size).astype(np.int64)
        timestamps = np.frombuffer(payload, "<u8", count, _COUNTS.size + 8 * count).astype(np.uint64)
        if count and not (rows[0] >= 0 and rows[-1] < segment_rows and (rows[1:] > rows[:-1]).all()):
            raise CorruptData(f"delete file {name}: its rows do not rise within the segment's {segment_rows} rows")
        return Deletes.of(segment_rows, rows, timestamps)


def _in_order(rows: Rows, timestamp: int | Timestamps) -> tuple[Rows, Timestamps]:
    """`rows` rising and each once, with their timestamps."""
    timestamps = np.broadcast_to(np.asarray(timestamp, np.uint64), rows.shape)
    if len(rows) > 1 and not (rows[1:] > rows[:-1]).all():
        order = np.lexsort((timestamps, rows))
        rows, timestamps = rows[order], timestamps[order]
        first = np.ones(len(rows), np.bool_)
        np.not_equal(rows[1:], rows[:-1], out=first[1:])
        rows, timestamps = rows[first], timestamps[first]
    return rows, timestamps


def _merged(runs: tuple[_Run, ...]) -> tuple[_Run, ...]:
    """`runs` with the last ones joined until each is more than twice as long as the next."""
    kept = len(runs)
    size = len(runs[-1].rows)
    while kept > 1 and len(runs[kept - 2].rows) <= 2 * size:
        kept -= 1
        size += len(runs[kept - 1].rows)
    if kept == len(runs):
        return runs
    rows = np.concatenate([run.rows for run in runs[kept - 1 :]])
    timestamps = np.concatenate([run.timestamps for run in runs[kept - 1 :]])
    order = np.argsort(rows, kind="stable")
    return (*runs[: kept - 1], _Run(rows[order], timestamps[order]))


def _bits(mask: Mask, rows: Rows) -> npt.NDArray[np.bool_]:
    """The bit of each of `rows`."""
    bits: npt.NDArray[np.bool_] = (mask[rows >> 3] >> (rows & 7).astype(np.uint8) & _ONE).view(np.bool_)
    return bits


def _all_ones(rows: int) -> Mask:
    return np.packbits(np.ones(rows, np.bool_), bitorder="little")
