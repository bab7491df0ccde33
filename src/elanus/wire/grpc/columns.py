"""Columns: from the protocol's FieldData to what `model.batch` takes, and from Arrow to FieldData.

Numbers cross as buffers: a repeated field of numbers is an array for numpy, and a float column is written as the
packed bytes that the protocol has on the wire, which is a hundred times faster than number by number.

Nulls: FieldData says with `valid_data` which rows have a value. Its data hold either one entry a row or only those that
are there; both are read, the first is written, but for vectors (`vectors`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pymilvus.grpc_gen import schema_pb2

from elanus.model.columns import Column
from elanus.model.errors import NotSupported, SchemaMismatch
from elanus.model.schema import DYNAMIC_FIELD, Field, Schema
from elanus.model.types import FLOATS, INTEGERS, DataType
from elanus.wire.grpc import moments, vectors
from elanus.wire.grpc.arrays import read_arrays, write_arrays
from elanus.wire.grpc.mismatch import mismatch
from elanus.wire.grpc.packing import FEW, floats, varints

# --- reading ---------------------------------------------------------------------------------------------------------


def columns_of(fields: Sequence[schema_pb2.FieldData], rows: int, schema: Schema) -> dict[str, Column]:
    """The columns of a request by field name, `rows` long each; the dynamic one under `$meta`.

    Raises `SchemaMismatch` for a column that comes twice, has another length or another type than its field.
    """
    columns: dict[str, Column] = {}
    for data in fields:
        name = DYNAMIC_FIELD if data.is_dynamic else data.field_name
        if name in columns:
            raise SchemaMismatch(f"duplicated field name {name}: send each column once")
        column = _column(data, name, rows, schema.get(name))
        if column is not None:
            columns[name] = column
    return columns


def _column(data: schema_pb2.FieldData, name: str, rows: int, field: Field | None) -> Column | None:
    """One column; None where its field has a default or is nullable and no value was sent at all."""
    part = data.WhichOneof("field")
    if part == "vectors":
        column: Any = vectors.column_of(data.vectors, name, field)
    elif part == "scalars":
        column = _scalars(data.scalars, name, field)
    elif part is None:
        column = ()
    else:
        raise NotSupported(f"column {name}: struct arrays are not supported by this version of Elanus")
    valid = data.valid_data
    if len(valid):
        return _with_nulls(column, np.array(valid, np.bool_), name, rows, field)
    if len(column) == 0 and rows and field is not None and (field.nullable or field.default is not None):
        return None
    if len(column) == 0 and rows and field is not None:
        raise mismatch(name, field)
    _check_length(name, len(column), rows)
    return column


def _scalars(scalars: schema_pb2.ScalarField, name: str, field: Field | None) -> Column:
    part = scalars.WhichOneof("data")
    if part is None:
        return ()
    wanted = PART_OF.get(field.dtype) if field is not None else None
    if wanted is not None and part != wanted:
        assert field is not None
        if field.dtype is DataType.TIMESTAMPTZ:
            raise SchemaMismatch(f"timestamptz field data must be a string array: column {name} is {part}")
        raise mismatch(name, field, part)
    if field is not None and field.is_vector:
        raise mismatch(name, field, part)
    if part == "array_data" and field is not None:
        return read_arrays(scalars.array_data, field)
    values = getattr(scalars, part).data
    dtype = _NUMPY_OF_PART.get(part)
    if dtype is not None:
        return np.array(values, dtype)
    if part not in ("string_data", "json_data", "bytes_data", "geometry_wkt_data"):
        raise NotSupported(f"column {name}: {part} is not supported by this version of Elanus")
    return list(values)


def _with_nulls(
    column: Any, valid: np.ndarray[Any, np.dtype[np.bool_]], name: str, rows: int, field: Field | None
) -> Column:
    _check_length(name, len(valid), rows)
    there = int(valid.sum())
    if len(column) == there == rows:
        return column
    if len(column) not in (there, rows):
        raise SchemaMismatch(f"column {name} holds {len(column)} values; its validity says {there} of {rows} rows")
    if field is not None and field.is_vector:
        return vectors.with_nulls(column, valid, name, field)
    given = column if isinstance(column, pa.Array) else pa.array(column)
    places = np.cumsum(valid) - 1 if len(column) == there else np.arange(rows)
    return given.take(pa.array(places, mask=~valid))


def _check_length(name: str, length: int, rows: int) -> None:
    if length != rows:
        raise SchemaMismatch(
            f"the num_rows ({length}) of field ({name}) is not equal to passed num_rows ({rows}): "
            "send one value per row in each column"
        )


PART_OF: dict[DataType, str] = {
    DataType.BOOL: "bool_data",
    DataType.INT8: "int_data",
    DataType.INT16: "int_data",
    DataType.INT32: "int_data",
    DataType.INT64: "long_data",
    DataType.FLOAT: "float_data",
    DataType.DOUBLE: "double_data",
    DataType.VARCHAR: "string_data",
    DataType.TEXT: "string_data",
    DataType.JSON: "json_data",
    DataType.TIMESTAMPTZ: "string_data",
    DataType.ARRAY: "array_data",
    DataType.GEOMETRY: "geometry_wkt_data",
}
"""The part of a ScalarField that holds the values of each type."""

_NUMPY_OF_PART = {
    "bool_data": np.bool_,
    "int_data": np.int32,
    "long_data": np.int64,
    "float_data": np.float32,
    "double_data": np.float64,
}


# --- writing ---------------------------------------------------------------------------------------------------------


def field_data(
    field: Field, column: pa.Array | pa.ChunkedArray, out: schema_pb2.FieldData, time_fields: tuple[str, ...] = ()
) -> None:
    """Write `column`, the values of `field`, into `out`; see `moments` for `time_fields`."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    out.type = schema_pb2.DataType.ValueType(int(field.dtype))
    out.field_name = field.name
    out.field_id = field.id
    out.is_dynamic = field.is_dynamic
    if field.is_vector:
        vectors.write(field, array, out)
        return
    if field.nullable:
        out.valid_data.extend(array.is_valid().to_pylist())
    if field.dtype is DataType.TIMESTAMPTZ:
        moments.write(array, time_fields, out)
        return
    if field.element is not None:
        write_arrays(array, field.element, out.scalars.array_data)
        return
    if field.nullable and array.null_count:
        array = array.fill_null(_FILLER[field.dtype])
    _WRITERS[field.dtype](out.scalars, array)


def ids(field: Field, keys: Any, out: schema_pb2.IDs) -> None:
    """Write keys, numpy or Arrow, into `out`."""
    values = keys.to_numpy(zero_copy_only=False) if isinstance(keys, (pa.Array, pa.ChunkedArray)) else keys
    if field.dtype is DataType.INT64:
        _integers(out.int_id, values)
    else:
        out.str_id.data.extend(values.tolist())


def _writer(part: str) -> Callable[[schema_pb2.ScalarField, pa.Array], None]:
    def write(scalars: schema_pb2.ScalarField, array: pa.Array) -> None:
        message = getattr(scalars, part)
        message.SetInParent()
        message.data.extend(array.to_pylist())

    return write


def _integers(message: Any, values: np.ndarray[Any, Any]) -> None:
    if len(values) <= FEW:
        message.data.extend(values.tolist())
    else:
        message.MergeFromString(varints(1, values))


def _whole(part: str) -> Callable[[schema_pb2.ScalarField, pa.Array], None]:
    def write(scalars: schema_pb2.ScalarField, array: pa.Array) -> None:
        message = getattr(scalars, part)
        message.SetInParent()
        _integers(message, array.to_numpy(zero_copy_only=False))

    return write


def _packed(part: str) -> Callable[[schema_pb2.ScalarField, pa.Array], None]:
    def write(scalars: schema_pb2.ScalarField, array: pa.Array) -> None:
        message = getattr(scalars, part)
        message.SetInParent()
        message.MergeFromString(floats(1, array.to_numpy(zero_copy_only=False)))

    return write


_WRITERS: dict[DataType, Callable[[schema_pb2.ScalarField, pa.Array], None]] = {
    dtype: (_packed if dtype in FLOATS else _whole if dtype in INTEGERS else _writer)(part)
    for dtype, part in PART_OF.items()
    if dtype is not DataType.ARRAY
}

_FILLER: dict[DataType, Any] = {
    DataType.BOOL: False,
    DataType.VARCHAR: "",
    DataType.TEXT: "",
    DataType.JSON: b"",
    DataType.GEOMETRY: "",
    **dict.fromkeys(INTEGERS, 0),
    **dict.fromkeys(FLOATS, 0.0),
}
"""What stands where there is no value."""
