"""Vectors: from the protocol's messages to columns and queries, and from Arrow to messages.

Float vectors are repeated numbers; half-width floats, int8 and bits are the bytes of all rows one behind the other, and
a sparse vector is the bytes of its pairs, a row each. Rows without a vector take no place: `valid_data` says which have
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pymilvus.grpc_gen import common_pb2, schema_pb2

from elanus.model.canonical import held_vectors, vectors_of
from elanus.model.columns import Column
from elanus.model.errors import InvalidParameter, NotSupported, SchemaMismatch
from elanus.model.schema import Field
from elanus.model.types import NUMPY_OF, VECTORS, DataType
from elanus.model.vectors import sparse_dim
from elanus.service.search import EncodedQueries
from elanus.wire.grpc.mismatch import mismatch
from elanus.wire.grpc.packing import floats

PART_OF: dict[DataType, str] = {
    DataType.BINARY_VECTOR: "binary_vector",
    DataType.FLOAT_VECTOR: "float_vector",
    DataType.FLOAT16_VECTOR: "float16_vector",
    DataType.BFLOAT16_VECTOR: "bfloat16_vector",
    DataType.SPARSE_FLOAT_VECTOR: "sparse_float_vector",
    DataType.INT8_VECTOR: "int8_vector",
}
"""The part of a VectorField that holds the values of each type."""

_TYPE_OF = {part: dtype for dtype, part in PART_OF.items()}

_FLOAT_VECTOR = common_pb2.PlaceholderType.FloatVector
_PLACEHOLDERS = {int(dtype): dtype for dtype in (*VECTORS, DataType.VARCHAR)}
"""Types of placeholders have the codes of the types of fields."""


# --- columns ---------------------------------------------------------------------------------------------------------


def column_of(vectors: schema_pb2.VectorField, name: str, field: Field | None) -> Column:
    """The vectors that are there: a matrix, of sparse ones a list of bytes. Raises `SchemaMismatch`, `NotSupported`."""
    part = vectors.WhichOneof("data")
    if part is None:
        return np.empty((0, 1), np.float32)
    dtype = _TYPE_OF.get(part)
    if dtype is None:
        raise NotSupported(f"column {name}: {part} is not supported by this version of Elanus")
    if field is not None and field.dtype is not dtype:
        raise mismatch(name, field, part)
    if dtype is DataType.SPARSE_FLOAT_VECTOR:
        return list(vectors.sparse_float_vector.contents)
    if dtype is DataType.FLOAT_VECTOR:
        flat: npt.NDArray[Any] = np.array(vectors.float_vector.data, np.float32)
    else:
        data = getattr(vectors, part)
        if len(data) % NUMPY_OF[dtype].itemsize:
            raise SchemaMismatch(f"column {name} holds {len(data)} bytes: send two for each number")
        flat = np.frombuffer(data, NUMPY_OF[dtype])
    dim = field.dim or 0 if field is not None else vectors.dim
    width = dim // 8 if dtype is DataType.BINARY_VECTOR else dim
    if width <= 0 or len(flat) % width:
        raise SchemaMismatch(_no_multiple(dtype, name, len(flat), dim, vectors.dim))
    if vectors.dim != dim:
        raise SchemaMismatch(f"the dim ({vectors.dim}) of field data({name}) is not equal to schema dim ({dim})")
    return flat.reshape(-1, width)


def _no_multiple(dtype: DataType, name: str, length: int, dim: int, sent: int) -> str:
    if dtype is DataType.BINARY_VECTOR:
        said = f"the num({8 * length}) of all bits should divide the dim({dim})"
    elif dtype is DataType.FLOAT_VECTOR:
        said = f"the length({length}) of float data should divide the dim({dim})"
    else:
        kind = PART_OF[dtype].removesuffix("_vector").replace("bfloat16", "bfloat")
        row_bytes = dim * NUMPY_OF[dtype].itemsize
        said = (
            f"the length({length * NUMPY_OF[dtype].itemsize}) of {kind} data should divide the row width({row_bytes})"
        )
    return f"{said}: column {name} was sent with dim {sent}; send {dim} numbers a row"


def with_nulls(column: Any, valid: npt.NDArray[np.bool_], name: str, field: Field | None) -> Column:
    """The column of all rows, of the vectors of those that are `valid`, or of all rows."""
    if field is None or not field.nullable:
        row = int(np.argmin(valid))
        raise SchemaMismatch(f"the field {name} of row {row} has no vector, and is not nullable: send one in every row")
    there = np.flatnonzero(valid)
    if isinstance(column, np.ndarray) and field.is_dense:
        whole = np.zeros((len(valid), field.width), NUMPY_OF[field.dtype])
        if len(there):
            whole[there] = column if len(column) == len(there) else column[there]
        return held_vectors(whole, valid)
    places = np.cumsum(valid) - 1 if len(column) == len(there) else np.arange(len(valid))
    return pa.array(list(column), pa.large_binary()).take(pa.array(places, mask=~valid))


def write(field: Field, array: pa.Array, out: schema_pb2.FieldData) -> None:
    """Write the values of a vector field into `out`."""
    if field.nullable:
        out.valid_data.extend(array.is_valid().to_pylist())
        if array.null_count:
            array = array.filter(array.is_valid()) if not field.is_dense else array
    part = PART_OF[field.dtype]
    if field.dtype is DataType.SPARSE_FLOAT_VECTOR:
        rows = out.vectors.sparse_float_vector
        rows.dim = out.vectors.dim = sparse_dim(array)
        rows.contents.extend(array.to_pylist())
        return
    vectors = vectors_of(array)
    if array.null_count:
        vectors = vectors[array.is_valid().to_numpy(zero_copy_only=False)]
    out.vectors.dim = field.dim or 0
    if field.dtype is DataType.FLOAT_VECTOR:
        out.vectors.float_vector.SetInParent()
        out.vectors.float_vector.MergeFromString(floats(1, vectors.reshape(-1)))
    else:
        setattr(out.vectors, part, vectors.tobytes())


# --- queries ---------------------------------------------------------------------------------------------------------


def queries_of(placeholder: common_pb2.PlaceholderValue) -> npt.NDArray[np.float32] | EncodedQueries:
    """The query vectors of a placeholder: (nq, dim) float32, others as they came. Raises `InvalidParameter`."""
    values: Sequence[bytes] = placeholder.values
    if placeholder.type != _FLOAT_VECTOR:
        dtype = _PLACEHOLDERS.get(placeholder.type)
        if dtype is None:
            raise InvalidParameter(
                f"vector type must be the same, queries are {_name(placeholder.type)}: send vectors of the field's type"
            )
        return EncodedQueries(dtype, tuple(values))
    data = values[0] if len(values) == 1 else b"".join(values)
    length = len(values[0])
    if not length or length % 4 or len(data) != length * len(values):
        raise InvalidParameter("query vectors differ in their dimension, or are no float32: send equally long ones")
    return np.frombuffer(data, "<f4").reshape(len(values), length // 4)


def _name(code: int) -> str:
    try:
        return str(common_pb2.PlaceholderType.Name(common_pb2.PlaceholderType.ValueType(code)))
    except ValueError:
        return str(code)
