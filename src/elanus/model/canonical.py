"""Canonical batches: rows as they go from a request to the log and into memory.

A batch has one column for each field, by field id, in the order of the schema; with the partition ids as column "2"
behind them once it is known where the rows go. Its columns are `Values`:

- dense vectors of which none is null: numpy (rows, width), C-contiguous, of exactly the field's dtype;
- numbers and booleans of which none is null: numpy (rows,), C-contiguous, of exactly the field's dtype, or Arrow;
- everything else: an Arrow array of `Field.arrow_type`.

Numpy where it can be, because Arrow's functions let go of the interpreter and are large: a thread that inserts a few
rows between two pauses spent most of its time on getting back the one and on finding the other in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.schema import Field
from elanus.model.types import NUMPY_OF, list_type

Values = Any
"""A column, numpy or Arrow; see the module."""


class Batch:
    """`num_rows` rows, in columns by field id. Whoever holds one does not change it."""

    __slots__ = ("columns", "num_rows")

    def __init__(self, columns: dict[int, Values], num_rows: int) -> None:
        self.columns = columns
        self.num_rows = num_rows

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Batch:
        """Views of an Arrow batch whose columns are named by field id."""
        named = zip(batch.schema.names, batch.columns, strict=True)
        return cls({int(name): _held(column) for name, column in named}, batch.num_rows)

    def arrow(self, field_id: int) -> pa.Array:
        return arrow_of(self.columns[field_id])

    def with_column(self, field_id: int, values: Values) -> Batch:
        """This batch with other values for a field, or with one field more."""
        return Batch({**self.columns, field_id: values}, self.num_rows)

    def without(self, field_id: int) -> Batch:
        return Batch({i: values for i, values in self.columns.items() if i != field_id}, self.num_rows)

    def take(self, rows: npt.NDArray[np.int64]) -> Batch:
        return Batch({i: taken(values, rows) for i, values in self.columns.items()}, len(rows))


def arrow_of(values: Values) -> pa.Array:
    """`values` as an Arrow array that shares their memory, but for booleans."""
    if not isinstance(values, np.ndarray):
        return values
    if values.ndim == 1:
        return pa.array(values)
    return vector_array(values)


def vector_array(vectors: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """`vectors` (rows, width) as an Arrow array over the same memory; null where not `valid`."""
    bits = None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.Array.from_buffers(list_type(vectors.dtype, vectors.shape[1]), len(vectors), [bits], children=[flat])


def null_vectors(field: Field, rows: int) -> pa.Array:
    """`rows` values of a field of dense vectors, all null. Zeros that nobody has touched take no memory."""
    return vector_array(np.zeros((rows, field.width), NUMPY_OF[field.dtype]), np.zeros(rows, np.bool_))


def held_vectors(vectors: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Values:
    """`vectors` (rows, width) as a batch holds them, null where not `valid`; what stands there becomes zero."""
    if valid.all():
        return vectors
    return vector_array(np.where(valid[:, None], vectors, vectors.dtype.type(0)), valid)


def sliced(values: Values, begin: int, count: int) -> Values:
    """`count` of the values, from `begin` on; a view."""
    return values[begin : begin + count] if isinstance(values, np.ndarray) else values.slice(begin, count)


def vectors_of(array: pa.Array) -> npt.NDArray[Any]:
    """A column of dense vectors as (rows, width), such as (rows, dim) float32, over the same memory; null ones too."""
    dim = array.type.list_size
    flat: npt.NDArray[Any] = array.values.to_numpy(zero_copy_only=True)
    return flat[array.offset * dim : (array.offset + len(array)) * dim].reshape(len(array), dim)


def numbers_of(values: Values, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Numbers of `dtype` as numpy, where they lie; what stands for null is anything."""
    if isinstance(values, np.ndarray):
        return values
    count = len(values)
    if count == 0:
        return np.empty(0, dtype)
    return np.frombuffer(values.buffers()[1], dtype, count, values.offset * np.dtype(dtype).itemsize)


def taken(values: Values, rows: npt.NDArray[np.int64]) -> Values:
    """The values of `rows`, in their order."""
    if isinstance(values, np.ndarray):
        return values[rows]
    if not pa.types.is_fixed_size_list(values.type):
        return values.take(pa.array(rows))
    valid = values.is_valid().to_numpy(zero_copy_only=False)[rows] if values.null_count else None
    return vector_array(vectors_of(values)[rows], valid)


def _held(column: pa.Array) -> Values:
    return vectors_of(column) if pa.types.is_fixed_size_list(column.type) and not column.null_count else column
