"""The error for a column that came without values of its field's type, in the words that Milvus has for each type."""

from __future__ import annotations

from elanus.model.errors import SchemaMismatch
from elanus.model.schema import Field
from elanus.model.types import INTEGERS, TYPE_NAMES, DataType

_CALLED = {
    DataType.FLOAT_VECTOR: "float vector",
    DataType.FLOAT16_VECTOR: "float16 vector",
    DataType.BFLOAT16_VECTOR: "bfloat16 vector",
    DataType.BINARY_VECTOR: "binary vector",
    DataType.SPARSE_FLOAT_VECTOR: "sparse float vector",
    DataType.INT8_VECTOR: "int8 vector",
    DataType.VARCHAR: "varchar",
    DataType.TEXT: "text",
    DataType.JSON: "json",
    DataType.GEOMETRY: "geometry",
    DataType.ARRAY: "array",
}
_NEEDED = {
    **dict.fromkeys(INTEGERS, "int array"),
    DataType.INT64: "long int array",
    DataType.FLOAT: "float32 array",
    DataType.DOUBLE: "float64(double) array",
    DataType.BOOL: "bool array",
    DataType.VARCHAR: "string array",
    DataType.ARRAY: "array",
}


def mismatch(name: str, field: Field, sent: str = "") -> SchemaMismatch:
    """`sent` is the part of the message that came instead, if any."""
    called = _CALLED.get(field.dtype, "")
    needed = _NEEDED.get(field.dtype, called if field.is_vector else f"{called or field.dtype.name.lower()} array")
    return SchemaMismatch(
        f"{called and called + ' '}field '{name}' is illegal, array type mismatch: invalid parameter[expected=need "
        f"{needed}][actual=got nil]: it holds {TYPE_NAMES[field.dtype]}, and {sent or 'nothing'} came. Send a value "
        "for each row."
    )
