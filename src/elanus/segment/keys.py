"""The key index of a sealed segment: from many keys at once to all rows that hold them.

The file has the form of `blocks.py` with kind KEYS and the key field's id. Its payload, little-endian, n the rows of
the segment:

    0    8    n
    8    8    bytes of a row number: 4, or 8 from 2^32 rows on
    16   8    flags: 1 no two rows have the same key, 2 no two rows have the same probe
    24   8    w, words of the Bloom filter
    32   32   zero
    64   8·w  Bloom filter (`bloom.py`)
    …    8·n  the rows' probes (`probe.py`), rising
    …    4·n  (or 8·n) the row of each probe

A lookup costs nothing for keys outside the range of probes; the Bloom filter drops most of the other absent ones with
one touch of memory each; the rest are searched, all at once. Where probes are hashes the real keys decide.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.errors import CorruptData
from elanus.segment import bloom
from elanus.segment.blocks import BlockWriter, map_payload
from elanus.segment.matches import Places, matches, same_keys
from elanus.segment.probe import Probes, is_exact, probe
from elanus.segment.view import Rows
from elanus.store.header import FileKind

_COUNTS = struct.Struct("<QQQQ32x")
_UNIQUE_KEYS = 1
_UNIQUE_PROBES = 2


@dataclass(frozen=True, slots=True)
class WrittenKeys:
    """A key index file's length, and whether no two rows of the segment have the same key."""

    bytes: int
    unique: bool


def write_keys(path: Path, field_id: int, keys: pa.Array) -> WrittenKeys:
    """Write the index of `keys`, the key column of a segment, at least one. Raises `StoreError`."""
    probes = probe(keys)
    row_type = np.dtype("<u4") if len(keys) < 1 << 32 else np.dtype("<u8")
    if (probes[1:] >= probes[:-1]).all():
        rows = np.arange(len(probes), dtype=row_type)
    else:
        order = np.argsort(probes)
        probes, rows = probes[order], order.astype(row_type)
    shared = _shared(probes)
    unique = not len(shared) or (not is_exact(keys.type) and _all_differ(keys, rows[shared]))
    flags = _UNIQUE_KEYS * unique | _UNIQUE_PROBES * (not len(shared))
    words = bloom.build(probes)
    with BlockWriter(path, FileKind.KEYS, field_id) as out:
        out.write(_COUNTS.pack(len(probes), row_type.itemsize, flags, len(words)))
        for part in (words, probes, rows):
            out.write(part)
    return WrittenKeys(out.file_bytes, unique)


class KeyIndex:
    """A key index over its mapped file. `unique`: no two rows of the segment have the same key."""

    def __init__(
        self, words: Probes, probes: Probes, rows: npt.NDArray[Any], flags: int, keys_column: pa.Array | None
    ) -> None:
        self._words = words
        self._probes = probes
        self._rows = rows
        self._distinct = bool(flags & _UNIQUE_PROBES)
        self._keys_column = keys_column
        self._lowest = int(probes[0])
        self._highest = int(probes[-1])
        self.unique = bool(flags & _UNIQUE_KEYS)

    @staticmethod
    def open(path: Path, keys_column: pa.Array | None) -> KeyIndex:
        """Map the index at `path`. `keys_column` holds the segment's keys; Int64 keys do without (None).

        Raises `CorruptData`, `FormatTooNew` and `StoreError`.
        """
        payload = map_payload(path, FileKind.KEYS)
        count, width, flags, size = _COUNTS.unpack_from(payload) if payload.size >= _COUNTS.size else (0, 4, 0, 0)
        expected = _COUNTS.size + 8 * size + (8 + width) * count
        if width not in (4, 8) or not size or not count or payload.size != expected:
            raise CorruptData(f"{path}: {payload.size} bytes do not hold its {count} keys. Restore it from a copy.")
        words = np.frombuffer(payload, "<u8", size, _COUNTS.size)
        probes = np.frombuffer(payload, "<u8", count, _COUNTS.size + 8 * size)
        rows = np.frombuffer(payload, f"<u{width}", count, _COUNTS.size + 8 * (size + count))
        return KeyIndex(words, probes, rows, flags, keys_column)

    def find(self, keys: pa.Array) -> Rows:
        """Every row that holds one of `keys`, rising; all copies of a key."""
        _, rows = self.find_pairs(keys)
        return np.unique(rows) if len(rows) > 1 else rows

    def find_pairs(self, keys: pa.Array) -> tuple[Places, Rows]:
        """(index into `keys`, row) of every pair of a key and a row that holds it, in no order."""
        wanted = probe(keys)
        here = self._possible(wanted)
        if not len(here):
            return here, here
        wanted = wanted[here]
        if len(here) > 1:
            order = np.argsort(wanted)
            wanted, here = wanted[order], here[order]
        which, places = matches(self._probes, wanted, self._distinct)
        which, rows = here[which], self._rows[places].astype(np.int64)
        if len(rows) and not is_exact(keys.type):
            assert self._keys_column is not None, "VarChar keys are compared with the key column"
            same = same_keys(keys, which, self._keys_column, rows)
            which, rows = which[same], rows[same]
        return which, rows

    def _possible(self, wanted: Probes) -> Places:
        """The places in `wanted` of probes that may be here."""
        if len(wanted) == 1:
            one = int(wanted[0])
            passed = self._lowest <= one <= self._highest and bloom.may_hold_one(self._words, one)
            return np.zeros(int(passed), np.int64)
        here = np.flatnonzero((wanted >= self._lowest) & (wanted <= self._highest))
        return here[bloom.may_hold(self._words, wanted[here])] if len(here) else here


def _shared(probes: Probes) -> Places:
    """Places in rising `probes` whose probe is there more than once."""
    equal = probes[1:] == probes[:-1]
    if not equal.any():
        return np.empty(0, np.int64)
    shared = np.zeros(len(probes), np.bool_)
    shared[1:] |= equal
    shared[:-1] |= equal
    return np.flatnonzero(shared)


def _all_differ(keys: pa.Array, rows: npt.NDArray[Any]) -> bool:
    return bool(pc.count_distinct(keys.take(pa.array(rows))).as_py() == len(rows))
