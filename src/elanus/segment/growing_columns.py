"""The columns of one chunk of a growing segment: preallocated memory that is filled from the front.

`append` is called by one thread only and writes behind every row that a reader may look at. `array(rows)` may be
called by any thread for a number of rows that were there when the reader's view was taken; what it returns is a
view of the column's memory and never changes, since rows are written once.

Memory from `np.empty` that nobody has touched costs address space only, so a chunk's capacity is free until used.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.canonical import Values, numbers_of, vectors_of
from elanus.model.schema import Field
from elanus.model.types import NUMPY_OF, DataType
from elanus.segment.view import Vectors

HUGE_BYTES = 4 << 20

EXPECTED_BYTES = 256 << 10
"""What is to come has its memory made ready from so many bytes on."""

_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE of Linux 5.14: have the pages there, as if they had been written to, with what is in them."""

_BYTES_A_ROW = 16
"""The first guess at the length of a VarChar or JSON value; the buffer doubles where it is too small."""


class Column(Protocol):
    def append(self, values: Values, at: int) -> int:
        """Write `values`, at least one, at row `at` and following; returns their size in bytes."""
        ...

    def array(self, rows: int) -> pa.Array:
        """The first `rows` values."""
        ...


def new_column(field: Field, capacity: int) -> Column:
    """An empty column for the values of `field`."""
    if field.is_dense:
        return VectorColumn(field, capacity)
    if field.dtype is DataType.BOOL:
        return BoolColumn(field, capacity)
    if field.dtype in NUMPY_OF:
        return FixedColumn(field, capacity)
    return TextColumn(field, capacity)


class _Validity:
    """Which values are not null; nothing at all until the first null comes.

    A reader that finds no `_valid` has a view without nulls, because `_valid` is set, filled for all rows so far,
    before a view with a null in it is taken.
    """

    __slots__ = ("_capacity", "_valid")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._valid: npt.NDArray[np.bool_] | None = None

    def append(self, values: Values, at: int) -> None:
        if not isinstance(values, np.ndarray) and values.null_count:
            if self._valid is None:
                valid = np.empty(self._capacity, np.bool_)
                valid[:at] = True
                self._valid = valid
            self._valid[at : at + len(values)] = values.is_valid().to_numpy(zero_copy_only=False)
        elif self._valid is not None:
            self._valid[at : at + len(values)] = True

    def buffer(self, rows: int) -> pa.Buffer | None:
        return None if self._valid is None else _packed(self._valid[:rows])


class FixedColumn:
    """Numbers."""

    __slots__ = ("_data", "_size", "_type", "_validity")

    def __init__(self, field: Field, capacity: int) -> None:
        self._type = field.arrow_type
        self._data = np.empty(capacity, NUMPY_OF[field.dtype])
        self._size = self._data.itemsize
        self._validity = _Validity(capacity)

    def append(self, values: Values, at: int) -> int:
        count, data = len(values), self._data
        data[at : at + count] = numbers_of(values, data.dtype)
        self._validity.append(values, at)
        return count * self._size

    def array(self, rows: int) -> pa.Array:
        return pa.Array.from_buffers(self._type, rows, [self._validity.buffer(rows), pa.py_buffer(self._data[:rows])])

    def numbers(self, rows: int) -> npt.NDArray[Any]:
        """As they lie; what stands for null is anything."""
        return self._data[:rows]


class BoolColumn:
    """Booleans, a byte each: bits could not be written behind a reader who looks at the same byte."""

    __slots__ = ("_data", "_validity")

    def __init__(self, field: Field, capacity: int) -> None:
        self._data = np.empty(capacity, np.bool_)
        self._validity = _Validity(capacity)

    def append(self, values: Values, at: int) -> int:
        count = len(values)
        self._data[at : at + count] = values if isinstance(values, np.ndarray) else _unpacked(values)
        self._validity.append(values, at)
        return count

    def array(self, rows: int) -> pa.Array:
        return pa.Array.from_buffers(pa.bool_(), rows, [self._validity.buffer(rows), _packed(self._data[:rows])])


class VectorColumn:
    """Dense vectors, (capacity, width); zeros where one is null."""

    __slots__ = ("_data", "_row_bytes", "_type", "_validity")

    def __init__(self, field: Field, capacity: int) -> None:
        self._type = field.arrow_type
        self._data = _small_pages(capacity, field.width, NUMPY_OF[field.dtype])
        self._row_bytes = field.width * self._data.itemsize
        self._validity = _Validity(capacity)

    def append(self, values: Values, at: int) -> int:
        count = len(values)
        self._data[at : at + count] = values if isinstance(values, np.ndarray) else vectors_of(values)
        self._validity.append(values, at)
        return count * self._row_bytes

    def expect(self, at: int, count: int) -> None:
        """Have memory behind the rows from `at` on that will be appended; any thread may call this at any time.

        For the system to find and clear 2.5 MB of it page by page takes 1 ms of the 10 of an insert of so much, which
        `append` would wait for after the sync of the log. Another core can do it meanwhile, all pages at once.
        """
        size = self._row_bytes * count
        if _madvise is None or size < EXPECTED_BYTES:
            return
        begin = self._data.ctypes.data + self._row_bytes * at
        page = begin - begin % mmap.PAGESIZE
        _madvise(page, begin + size - page, _POPULATE_WRITE)  # where it fails, `append` does it

    def array(self, rows: int) -> pa.Array:
        data = self._data[:rows]
        flat = pa.Array.from_buffers(self._type.value_type, data.size, [None, pa.py_buffer(data)])
        return pa.Array.from_buffers(self._type, rows, [self._validity.buffer(rows)], children=[flat])

    def vectors(self, rows: int) -> Vectors:
        vectors = self._data[:rows]
        vectors.flags.writeable = False
        return vectors


def _madvise_of_linux() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    function = ctypes.CDLL(None).madvise  # lets go of the interpreter, as mmap's own does not
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function


_madvise = _madvise_of_linux()


def _small_pages(rows: int, width: int, dtype: np.dtype[Any]) -> Vectors:
    """Untouched memory that comes page by page as it is written.

    From 4 MiB on numpy asks for huge pages, and a write that touches a new one waits until 2 MiB are zeroed: on a
    virtual machine whose host had no memory behind them yet 5 ms, where an insert of 5,000 × 128 floats takes 7 in all.
    """
    size = dtype.itemsize * rows * width
    if size < HUGE_BYTES:
        return np.empty((rows, width), dtype)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    return np.frombuffer(mmap.mmap(-1, size, **private), dtype).reshape(rows, width)


class TextColumn:
    """VarChar, JSON and sparse vectors: offsets and bytes, as Arrow lays them out.

    A full byte buffer is replaced by one twice as long that begins with the same bytes; readers go on with the one
    they have.
    """

    __slots__ = ("_bytes", "_offsets", "_type", "_validity")

    def __init__(self, field: Field, capacity: int) -> None:
        self._type = field.arrow_type
        self._offsets = np.empty(capacity + 1, np.int64)
        self._offsets[0] = 0
        self._bytes = np.empty(capacity * _BYTES_A_ROW, np.uint8)
        self._validity = _Validity(capacity)

    def append(self, values: Values, at: int) -> int:
        count = len(values)
        _, offset_buffer, data = values.buffers()
        offsets = np.frombuffer(offset_buffer, np.int64, count + 1, values.offset * 8)
        first, used = int(offsets[0]), int(self._offsets[at])
        size = int(offsets[count]) - first
        if size:
            self._make_room(used, used + size)
            self._bytes[used : used + size] = np.frombuffer(data, np.uint8, size, first)
        np.add(offsets[1:], used - first, out=self._offsets[at + 1 : at + 1 + count])
        self._validity.append(values, at)
        return size + 8 * count

    def array(self, rows: int) -> pa.Array:
        end = int(self._offsets[rows])
        return pa.Array.from_buffers(
            self._type,
            rows,
            [
                self._validity.buffer(rows),
                pa.py_buffer(self._offsets[: rows + 1]),
                pa.py_buffer(self._bytes[:end]),
            ],
        )

    def _make_room(self, used: int, needed: int) -> None:
        if needed > len(self._bytes):
            larger = np.empty(max(2 * len(self._bytes), needed), np.uint8)
            larger[:used] = self._bytes[:used]
            self._bytes = larger


def _unpacked(values: pa.Array) -> npt.NDArray[np.bool_]:
    """What stands for null is anything."""
    count, skipped = len(values), values.offset % 8
    packed = np.frombuffer(values.buffers()[1], np.uint8, (skipped + count + 7) // 8, values.offset // 8)
    return np.unpackbits(packed, count=skipped + count, bitorder="little")[skipped:].view(np.bool_)


def _packed(truth: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(truth, bitorder="little"))
