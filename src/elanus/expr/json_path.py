"""Values at a path of a JSON column, as typed columns; and the check of JSON texts when they come in.

A path is a tuple of steps, str for an object's key and int for an array's index; the empty path is the whole document.
A step that does not fit (a key of an array, an index out of range, anything of a scalar) makes the value missing.
Integers are exact over all of int64; those beyond it are doubles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.layout import layout, offsets_of

Path = tuple[str | int, ...]


class Kind(IntEnum):
    """What a row holds at a path. MISSING is also a document that is null as a whole."""

    MISSING = 0
    NULL = 1
    BOOL = 2
    INT = 3
    DOUBLE = 4
    STRING = 5
    ARRAY = 6
    OBJECT = 7


@dataclass(frozen=True)
class Extraction:
    """A path's value in each row: in `ints` for INT, and BOOL as 0 and 1; in `doubles` for DOUBLE; in `strings`."""

    kinds: npt.NDArray[np.uint8]
    ints: npt.NDArray[np.int64]
    doubles: npt.NDArray[np.float64]
    _data: npt.NDArray[np.uint8]
    _starts: npt.NDArray[np.int64]
    _ends: npt.NDArray[np.int64]

    @cached_property
    def strings(self) -> pa.LargeStringArray:
        """The strings, escapes read; null in rows of other kinds."""
        return _spans(self._data, self.kinds, Kind.STRING, self._starts, self._ends)

    def documents(self, chosen: npt.NDArray[np.int64]) -> Documents:
        """The texts of the arrays and objects with the numbers `chosen`; of elements, which `elements_at` has read."""
        return Documents(self._data, _words(self._data), self._starts[chosen], self._ends[chosen])


@dataclass(frozen=True, slots=True)
class Documents:
    """JSON texts in one memory: number i is `data[starts[i]:ends[i]]`. `words` are `data` as words of eight bytes."""

    data: npt.NDArray[np.uint8]
    words: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def rows(self, chosen: slice) -> Documents:
        return Documents(self.data, self.words, self.starts[chosen], self.ends[chosen])


def extracted(kinds: Any, ints: Any, doubles: Any, strings: pa.LargeStringArray) -> Extraction:
    """An extraction of values that are there already."""
    none = np.empty(0, np.int64)
    found = Extraction(kinds, ints, doubles, none.view(np.uint8), none, none)
    found.__dict__["strings"] = strings  # where `cached_property` keeps what it made
    return found


def taken(found: Extraction, rows: npt.NDArray[np.int64]) -> Extraction:
    """What the rows with these numbers hold."""
    strings = found.strings.take(pa.array(rows))
    return extracted(found.kinds[rows], found.ints[rows], found.doubles[rows], strings)


def extract(column: pa.LargeBinaryArray, path: Path) -> Extraction:
    """The values at `path` of a large_binary column of valid JSON texts. Runs outside the GIL."""
    from elanus.expr import json_kernel  # numba takes 0.35 s and 120 MB to load

    rows = len(column)
    data, words, offsets = _layout(column)
    kinds = np.empty(rows, np.uint8)
    ints, starts, ends = (np.empty(rows, np.int64) for _ in range(3))
    doubles = np.empty(rows, np.float64)
    json_kernel.extract(data, words, offsets, *kernel_steps(path), kinds, ints, doubles, starts, ends)
    if column.null_count:
        kinds[column.is_null().to_numpy(zero_copy_only=False)] = Kind.MISSING
    _read_doubles(data, kinds, doubles, starts, ends)
    return Extraction(kinds, ints, doubles, data, starts, ends)


def documents(column: pa.LargeBinaryArray) -> Documents:
    """The texts of a large_binary column; those of null rows are anything."""
    data, words, offsets = _layout(column)
    return Documents(data, words, offsets[:-1].copy(), offsets[1:].copy())


def lengths_at(texts: Documents, path: Path) -> npt.NDArray[np.int64]:
    """How many elements the array at `path` of each text has; -1 where there is no array."""
    return _counted(texts, path)[1]


def elements_at(texts: Documents, path: Path) -> tuple[npt.NDArray[np.int64], Extraction, npt.NDArray[np.bool_]]:
    """The elements of the arrays at `path`, all in one: (offsets, elements, which texts have an array there).

    Those of text i are from `offsets[i]` to `offsets[i + 1]`.
    """
    places, counts = _counted(texts, path)
    offsets = offsets_of(np.maximum(counts, 0))
    return offsets, _elements(texts, places, offsets), counts >= 0


def values_at(texts: Documents) -> Extraction:
    """The values that the texts begin with, and behind which they go on; arrays and objects with their spans."""
    return _elements(texts, texts.starts, np.arange(len(texts.starts) + 1))


def _elements(texts: Documents, places: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> Extraction:
    """The elements, the first of which begin at `places`: those of text i are from `offsets[i]` to `offsets[i + 1]`."""
    from elanus.expr import json_kernel  # numba takes 0.35 s and 120 MB to load

    total = int(offsets[-1])
    kinds, doubles = np.empty(total, np.uint8), np.empty(total, np.float64)
    ints, starts, ends = (np.empty(total, np.int64) for _ in range(3))
    json_kernel.read_elements(texts.data, texts.words, texts.ends, places, offsets, kinds, ints, doubles, starts, ends)
    _read_doubles(texts.data, kinds, doubles, starts, ends)
    return Extraction(kinds, ints, doubles, texts.data, starts, ends)


def _counted(texts: Documents, path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(where the first element of each array is, how many there are)."""
    from elanus.expr import json_kernel  # numba takes 0.35 s and 120 MB to load

    places, counts = np.zeros(len(texts.starts), np.int64), np.empty(len(texts.starts), np.int64)
    json_kernel.count_elements(texts.data, texts.words, texts.starts, texts.ends, *kernel_steps(path), places, counts)
    return places, counts


def _read_doubles(data: Any, kinds: Any, doubles: Any, starts: Any, ends: Any) -> None:
    """The doubles that the kernel has left unread."""
    from elanus.expr import json_kernel

    unread = kinds == json_kernel.UNREAD_DOUBLE
    if unread.any():
        texts = _spans(data, kinds, json_kernel.UNREAD_DOUBLE, starts, ends).filter(pa.array(unread))
        doubles[unread] = _doubles(texts)
        kinds[unread] = Kind.DOUBLE


def prepare() -> None:
    """Load the kernels, and compile them where no earlier process has: some seconds, which a first reader is spared."""
    column = pa.array([b'{"a": ["b"]}'], pa.large_binary())
    _ = extract(column, ("a", 0)).strings
    validate(column)


def validate(column: pa.LargeBinaryArray, *, require_object: bool = False) -> int:
    """The index of the first row that is not valid JSON text in UTF-8, -1 when all are; nulls are.

    With `require_object` a document that is not an object counts as invalid: the rule of `$meta`. So does one nested
    deeper than `json_check.MAX_NESTING`, and an escape of half a surrogate pair, which no string can hold.
    """
    from elanus.expr import json_check  # numba takes 0.35 s and 120 MB to load

    data, words, offsets = _layout(column)
    if column.null_count:
        known = column.is_valid().to_numpy(zero_copy_only=False)
    else:
        known = np.ones(len(column), np.bool_)
    return int(json_check.first_invalid(data, words, offsets, known, require_object))


def _layout(
    column: pa.LargeBinaryArray,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """(data, data as words, offsets) of the column, read-only.

    There are no words where the data is not aligned, as a foreign buffer may be; that only costs speed.
    """
    data, offsets = layout(column)
    return data, _words(data), offsets


def _words(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """`data` as words; none where it is not aligned."""
    words = (data[: len(data) & -8] if data.ctypes.data % 8 == 0 else data[:0].copy()).view(np.uint64)
    words.flags.writeable = False
    return words


@lru_cache(maxsize=256)
def kernel_steps(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """`path` for the kernel: key bytes end to end, their offsets, and the indexes with -1 for a key."""
    keys = [step.encode() if isinstance(step, str) else b"" for step in path]
    joined = np.frombuffer(b"".join(keys), np.uint8).copy()
    offsets = np.cumsum([0, *map(len, keys)], dtype=np.int64)
    indexes = np.array([-1 if isinstance(step, str) else step for step in path], np.int64)
    for array in (joined, offsets, indexes):
        array.flags.writeable = False
    return joined, offsets, indexes


def _spans(data: Any, kinds: Any, kind: int, starts: Any, ends: Any) -> pa.LargeStringArray:
    from elanus.expr import json_kernel  # loaded already by whoever made the spans

    chosen = kinds == kind
    offsets = np.empty(len(kinds) + 1, np.int64)
    out = np.empty(int((ends - starts)[chosen].sum()), np.uint8)
    json_kernel.copy_spans(data, kinds, int(kind), starts, ends, offsets, out)
    validity = pa.py_buffer(np.packbits(chosen, bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(out[: offsets[-1]])]
    return pa.Array.from_buffers(pa.large_string(), len(kinds), buffers)


def _doubles(texts: pa.LargeStringArray) -> Sequence[float] | npt.NDArray[np.float64]:
    try:
        return pc.cast(texts, pa.float64()).to_numpy()  # type: ignore[no-any-return]
    except pa.ArrowInvalid:
        # Older Arrow refuses what is beyond the largest double, where Python gives an infinity.
        return [float(text) for text in texts.to_pylist()]
