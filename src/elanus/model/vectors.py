"""Vectors that are not float32, as they are stored.

A half-width float is its 16 bits (uint16): of float16 those of IEEE 754, of bfloat16 the upper half of a float32. Bits
are eight a byte. A sparse vector is its pairs of an index (uint32, below 2^32 - 1) and a value (float32, not negative),
little-endian, by rising index, one behind the other; it may have none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.types import DataType

Floats = npt.NDArray[np.float32]

PAIR_BYTES = 8
MAX_INDEX = 2**32 - 2


def widened(dtype: DataType, stored: npt.NDArray[Any]) -> Floats:
    """Stored numbers as float32 of the same value."""
    if dtype is DataType.FLOAT16_VECTOR:
        return stored.view(np.float16).astype(np.float32)
    if dtype is DataType.BFLOAT16_VECTOR:
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored.astype(np.float32)


def narrowed(dtype: DataType, numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """The bits of the half-width floats nearest to `numbers`, of two the even one; what is too large is infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype is DataType.FLOAT16_VECTOR:
            return np.ascontiguousarray(numbers, np.float16).view(np.uint16)
        bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
        rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    # What is no number may be rounded to one: its upper half, made quiet, is none.
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    return np.where(nan, bits >> np.uint32(16) | np.uint32(0x40), rounded).astype(np.uint16)


def pairs_of(column: pa.Array) -> npt.NDArray[np.uint32]:
    """The pairs of all sparse vectors of a column, two words each: an index, and the bits of its value."""
    data = column.buffers()[2]
    return np.empty(0, np.uint32) if data is None else np.frombuffer(data, np.uint32, data.size // 4)


def pair_offsets(column: pa.Array) -> npt.NDArray[np.int64]:
    """Row i of a column of sparse vectors is bytes offsets[i]..offsets[i + 1] - 1 of the memory of `pairs_of`."""
    offsets = column.buffers()[1]
    count = len(column) + 1
    if offsets is None or offsets.size == 0:
        return np.zeros(count, np.int64)
    return np.frombuffer(offsets, np.int64, count, 8 * column.offset)


def pair_bounds(column: pa.Array) -> npt.NDArray[np.int64]:
    """Row i of a column of sparse vectors is pairs bounds[i]..bounds[i + 1] - 1 of `pairs_of`."""
    return pair_offsets(column) // PAIR_BYTES


def spans_of(column: pa.Array, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pairs of some `rows` (m,) of a column of sparse vectors: where each begins, and where it ends."""
    offsets = pair_offsets(column)
    return offsets[rows] // PAIR_BYTES, offsets[rows + 1] // PAIR_BYTES


def sparse_dim(column: pa.Array) -> int:
    """One more than the largest index in a column of sparse vectors; 0 where there is none."""
    bounds = pair_bounds(column)
    words = pairs_of(column)[2 * bounds[0] : 2 * bounds[-1] : 2]
    return int(words.max()) + 1 if len(words) else 0


def python_values(dtype: DataType, column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Stored vectors as Python has them: lists of numbers, bytes of bits, dicts from index to value; None for null."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # of no chunk at all
        return []
    valid = array.is_valid().to_pylist()
    if dtype is DataType.SPARSE_FLOAT_VECTOR:
        bounds, words = pair_bounds(array), pairs_of(array)
        indexes, values = words[::2].tolist(), words.view(np.float32)[1::2].tolist()
        spans = zip(bounds[:-1].tolist(), bounds[1:].tolist(), valid, strict=True)
        return [dict(zip(indexes[a:b], values[a:b], strict=True)) if there else None for a, b, there in spans]
    width = array.type.list_size
    stored = array.values.to_numpy()[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)
    rows: list[Any]
    if dtype is DataType.BINARY_VECTOR:
        rows = list(map(bytes, stored))
    else:
        rows = (stored if dtype is DataType.INT8_VECTOR else widened(dtype, stored)).tolist()
    return [row if there else None for row, there in zip(rows, valid, strict=True)]
