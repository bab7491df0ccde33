"""Columns of arrays: a message for each row, which nobody wants to touch one by one.

A column is serialized as a whole and read from its bytes by a compiled kernel, and written as bytes that the message
merges into itself. That is 100,000 arrays of five integers in some 30 ms either way, where row by row takes seconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pymilvus.grpc_gen import schema_pb2

from elanus.model.arrays import listed
from elanus.model.errors import SchemaMismatch
from elanus.model.layout import layout, offsets_of
from elanus.model.schema import Field
from elanus.model.types import INTEGERS, NUMPY_OF, TYPE_NAMES, DataType

_SCALAR = schema_pb2.ScalarField

_PART_OF: dict[DataType, int] = {
    DataType.BOOL: _SCALAR.BOOL_DATA_FIELD_NUMBER,
    DataType.INT8: _SCALAR.INT_DATA_FIELD_NUMBER,
    DataType.INT16: _SCALAR.INT_DATA_FIELD_NUMBER,
    DataType.INT32: _SCALAR.INT_DATA_FIELD_NUMBER,
    DataType.INT64: _SCALAR.LONG_DATA_FIELD_NUMBER,
    DataType.FLOAT: _SCALAR.FLOAT_DATA_FIELD_NUMBER,
    DataType.DOUBLE: _SCALAR.DOUBLE_DATA_FIELD_NUMBER,
    DataType.VARCHAR: _SCALAR.STRING_DATA_FIELD_NUMBER,
}
"""The part of a ScalarField that holds the elements of each type."""

_NAMES = {
    DataType.BOOL: "bool", **dict.fromkeys(INTEGERS, "int"), DataType.INT64: "int64", DataType.FLOAT: "float",
    DataType.DOUBLE: "double", DataType.VARCHAR: "string",
}  # fmt: skip
"""How Milvus calls arrays of each type in its refusals."""

_VARINTS = frozenset({DataType.BOOL, *INTEGERS})


def read_arrays(message: schema_pb2.ArrayArray, field: Field) -> pa.LargeListArray:
    """The arrays of a request, one a row. An array of no part is an empty one, as clients send it.

    Raises `SchemaMismatch` where one has elements of another type than the field's.
    """
    from elanus.wire.grpc import array_kernels  # numba takes 0.35 s and 120 MB to load

    element = field.element
    if element is None:
        raise SchemaMismatch(f"column {field.name} holds arrays; its field holds {TYPE_NAMES[field.dtype]}")
    if message.element_type not in (0, element):
        raise SchemaMismatch(
            f"field {field.name} expects element type {TYPE_NAMES[element]} but request provides "
            f"{_type_name(message.element_type)}"
        )
    rows = len(message.data)
    data = np.frombuffer(message.SerializeToString(), np.uint8)
    parts = np.zeros(rows, np.int64)
    spans = np.zeros((rows, 2), np.int64)
    array_kernels.find_rows(data, parts, spans)
    wrong = (parts != 0) & (parts != _PART_OF[element])
    if wrong.any():
        row = int(np.argmax(wrong))
        sent = _SCALAR.DESCRIPTOR.fields_by_number.get(int(parts[row]))
        part = "nil" if sent is None else sent.name
        raise SchemaMismatch(
            f"insert data does not match: field {field.name}, row {row}"
            f"[expected={_NAMES[element]} array][actual={part} array]"
        )
    counts, sizes = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    width = 0 if element is DataType.VARCHAR or element in _VARINTS else NUMPY_OF[element].itemsize
    array_kernels.measure(data, spans, width, element is DataType.VARCHAR, counts, sizes)
    offsets = offsets_of(counts)
    total = int(offsets[-1])
    if element is DataType.VARCHAR:
        ends, texts = np.zeros(total + 1, np.int64), np.empty(int(sizes.sum()), np.uint8)
        array_kernels.read_strings(data, spans, ends, texts)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(texts)]
        return listed(offsets, pa.Array.from_buffers(pa.large_string(), total, buffers), None)
    if width:
        out = np.empty(total * width, np.uint8)
        array_kernels.read_fixed(data, spans, out)
        return listed(offsets, pa.array(out.view(NUMPY_OF[element])), None)
    numbers = np.empty(total, np.int64)
    array_kernels.read_varints(data, spans, numbers)
    return listed(offsets, pa.array(numbers != 0 if element is DataType.BOOL else numbers), None)


def write_arrays(lists: pa.LargeListArray, element: DataType, out: schema_pb2.ArrayArray) -> None:
    """Write the arrays of a column into `out`, one a row; an empty message where there is none."""
    from elanus.wire.grpc import array_kernels

    out.element_type = schema_pb2.DataType.ValueType(int(element))
    known = lists.is_valid().to_numpy(zero_copy_only=False)
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = offsets_of(lengths)
    elements = lists.flatten()
    part, rows, total = _PART_OF[element], len(lists), len(elements)
    if element is DataType.VARCHAR:
        texts = layout(elements)
        buffer = np.empty(24 * rows + 6 * total + int(texts.offsets[-1] - texts.offsets[0]), np.uint8)
        end = array_kernels.write_strings(offsets, known, texts.data, texts.offsets, part, buffer)
    elif element in _VARINTS:
        numbers = elements.to_numpy(zero_copy_only=False).astype(np.int64)
        buffer = np.empty(24 * rows + 10 * total, np.uint8)
        end = array_kernels.write_varints(offsets, known, numbers, part, buffer)
    else:
        raw: npt.NDArray[Any] = np.ascontiguousarray(elements.to_numpy(zero_copy_only=False)).view(np.uint8)
        raw.flags.writeable = False
        width = NUMPY_OF[element].itemsize
        buffer = np.empty(24 * rows + len(raw), np.uint8)
        end = array_kernels.write_fixed(offsets, known, raw, width, part, buffer)
    out.MergeFromString(buffer[:end].data)


def _type_name(code: int) -> str:
    try:
        return str(schema_pb2.DataType.Name(schema_pb2.DataType.ValueType(code)))
    except ValueError:
        return str(code)
