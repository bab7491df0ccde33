"""How columns of texts and of bytes lie in memory, and the arithmetic of rows that lie end to end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


class Layout(NamedTuple):
    """The memory of a large_binary or large_string column: row i is `data[offsets[i]:offsets[i + 1]]`.

    Both are read-only, so that kernels are compiled for one type only.
    """

    data: Bytes
    offsets: Offsets


def layout(column: pa.Array) -> Layout:
    _, offset_buffer, data_buffer = column.buffers()
    if offset_buffer is None or not offset_buffer.size:
        offsets = np.zeros(1, np.int64)
    else:
        offsets = np.frombuffer(offset_buffer, np.int64, len(column) + 1, column.offset * 8)
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None and data_buffer.size else np.empty(0, "u1")
    for array in (data, offsets):
        array.flags.writeable = False
    return Layout(data, offsets)


class Items:
    """The rows of a large_binary or large_string column, bytes each, as `bisect` looks at them.

    Bytes of UTF-8 keep the order of code points.
    """

    __slots__ = ("_data", "_offsets")

    def __init__(self, column: pa.Array) -> None:
        data, offsets = layout(column)
        self._data, self._offsets = data.data, offsets.data

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> bytes:
        return self._data[self._offsets[row] : self._offsets[row + 1]].tobytes()


def offsets_of(lengths: npt.ArrayLike) -> Offsets:
    """Where rows of these lengths begin that lie end to end, and where the last one ends."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))


def places_among_equals(numbers: npt.NDArray[np.integer[Any]]) -> Offsets:
    """Of rising `numbers`, how many equal ones stand before each."""
    return np.arange(len(numbers)) - np.searchsorted(numbers, numbers)


def places(starts: Offsets, lengths: npt.NDArray[np.int64]) -> Offsets:
    """The indexes of `lengths[i]` places from `starts[i]` on, one run after the other."""
    return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
