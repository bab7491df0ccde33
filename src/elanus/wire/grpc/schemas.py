"""Schemas: from the protocol's messages to ours and back.

Type parameters arrive as text. `dim` and `max_length` become numbers; what else a client declares (`mmap.enabled`,
`warmup`, …) is kept as it came and told again. What Elanus does not have yet is refused by name, never left out.
"""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import schema_pb2

from elanus.model.errors import InvalidParameter, NotSupported
from elanus.model.schema import Field, Schema
from elanus.model.types import ELEMENTS, TYPE_NAMES, DataType
from elanus.wire.grpc import functions
from elanus.wire.grpc.columns import PART_OF
from elanus.wire.grpc.functions import function_of
from elanus.wire.grpc.pairs import from_pairs, to_pairs

_PARTS = {
    "bool_data": "Bool",
    "int_data": "Int32",
    "long_data": "Int64",
    "float_data": "Float",
    "double_data": "Double",
    "string_data": "VarChar",
    "timestamptz_data": "Timestamptz",
    "bytes_data": "JSON",
}
"""The parts of a ValueField, and the types that they are of."""

_WITHOUT_DEFAULT = (DataType.JSON, DataType.TEXT, DataType.ARRAY)

_DEFAULT_OF: dict[DataType, str] = {dtype: part for dtype, part in PART_OF.items() if dtype not in _WITHOUT_DEFAULT}
_DEFAULT_OF[DataType.TIMESTAMPTZ] = "timestamptz_data"
_DEFAULT_OF[DataType.GEOMETRY] = "string_data"
"""The part of a ValueField that holds a default of each type."""


def schema_of(message: schema_pb2.CollectionSchema) -> Schema:
    """The schema that `message` describes, unchecked but for what has no form here.

    Raises `InvalidParameter` for a type that does not exist or a parameter that is no number, `NotSupported`.
    """
    if message.struct_array_fields:
        raise NotSupported("struct array fields are not supported by this version of Elanus")
    if message.external_source:
        raise NotSupported("external collections are not supported by this version of Elanus")
    fields = tuple(field_of(f) for f in message.fields if not f.is_dynamic)
    made_by = tuple(map(function_of, message.functions))
    return Schema(fields, message.enable_dynamic_field, message.description, functions=made_by)


def field_of(message: schema_pb2.FieldSchema) -> Field:
    """Raises `InvalidParameter` and `NotSupported` as `schema_of` does."""
    params = from_pairs(message.type_params)
    dim, max_length = params.pop("dim", None), params.pop("max_length", None)
    capacity = params.pop("max_capacity", None)
    dtype = _type_of(message)
    element = _element_of(message) if dtype is DataType.ARRAY else None
    return Field(
        name=message.name,
        dtype=dtype,
        is_primary=message.is_primary_key,
        is_partition_key=message.is_partition_key,
        is_clustering_key=message.is_clustering_key,
        auto_id=message.autoID,
        nullable=message.nullable,
        default=_default_of(message, dtype),
        dim=_whole(message.name, "dim", dim),
        max_length=_whole(message.name, "max_length", max_length)
        if DataType.VARCHAR in (dtype, element) or dtype is DataType.TEXT
        else None,
        element=element,
        max_capacity=_capacity(message.name, capacity) if element is not None else None,
        description=message.description,
        params=params,
    )


def to_message(name: str, schema: Schema) -> schema_pb2.CollectionSchema:
    """The schema as a client is told it; the dynamic field is not shown, but that there is one."""
    return schema_pb2.CollectionSchema(
        name=name,
        description=schema.description,
        autoID=schema.primary.auto_id,
        fields=[_field_message(f, f.id in schema.outputs) for f in schema.fields if not f.is_dynamic],
        functions=[functions.to_message(f, schema) for f in schema.functions],
        enable_dynamic_field=schema.enable_dynamic_field,
        version=schema.version - 1,
    )


def _field_message(field: Field, is_function_output: bool) -> schema_pb2.FieldSchema:
    params: dict[str, Any] = dict(field.params)
    if field.dim is not None:
        params["dim"] = field.dim
    if field.max_length is not None:
        params["max_length"] = field.max_length
    if field.max_capacity is not None:
        params["max_capacity"] = field.max_capacity
    message = schema_pb2.FieldSchema(
        fieldID=field.id,
        name=field.name,
        is_primary_key=field.is_primary,
        description=field.description,
        data_type=schema_pb2.DataType.ValueType(int(field.dtype)),
        element_type=schema_pb2.DataType.ValueType(int(field.element or 0)),
        type_params=to_pairs(params),
        autoID=field.auto_id,
        is_partition_key=field.is_partition_key,
        is_clustering_key=field.is_clustering_key,
        state=schema_pb2.FieldCreated,
        nullable=field.nullable,
        is_function_output=is_function_output,
    )
    if field.default is not None:
        setattr(message.default_value, _DEFAULT_OF[field.dtype], field.default)
    return message


def _type_of(message: schema_pb2.FieldSchema) -> DataType:
    try:
        return DataType(message.data_type)
    except ValueError:
        pass
    if message.data_type == schema_pb2.String:
        raise InvalidParameter("string data type not supported yet, please use VarChar type instead")
    if message.data_type == schema_pb2.DataType.Value("None"):
        raise InvalidParameter(f"data type None of field {message.name} is not valid")
    raise NotSupported(
        f"field {message.name}: the type {_type_name(message.data_type)} is not supported by this version of Elanus"
    )


def _element_of(message: schema_pb2.FieldSchema) -> DataType:
    code = message.element_type
    if code == schema_pb2.String:
        raise InvalidParameter("string data type not supported yet, please use VarChar type instead")
    if code == schema_pb2.DataType.Value("None"):
        raise InvalidParameter(f"element data type None is not valid: say of what type the array {message.name} is")
    if code not in set(ELEMENTS):
        raise InvalidParameter(f"element type {_type_name(code)} is not supported: array field {message.name}")
    return DataType(code)


def _capacity(field: str, text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        raise InvalidParameter(
            f"the value for max_capacity of field {field} must be an integer: got {text!r}"
        ) from None


def _type_name(code: int) -> str:
    try:
        return str(schema_pb2.DataType.Name(schema_pb2.DataType.ValueType(code)))
    except ValueError:
        return str(code)


def _default_of(message: schema_pb2.FieldSchema, dtype: DataType) -> Any:
    if not message.HasField("default_value"):
        return None
    value = message.default_value
    part = next((name for name in _PARTS if value.HasField(name)), None)
    if part is None:
        return None
    wanted = _DEFAULT_OF.get(dtype)
    if wanted is None:
        raise InvalidParameter(f"type not support default_value, type:{TYPE_NAMES[dtype]}, name:{message.name}")
    if dtype is DataType.TIMESTAMPTZ and part == "string_data":
        return value.string_data  # a text, which is read where the time zone is known
    if part != wanted:
        raise InvalidParameter(
            f"type ({TYPE_NAMES[dtype]}) of field ({message.name}) is not equal to the type(DataType_{_PARTS[part]}) "
            "of default_value"
        )
    return getattr(value, part)


def _whole(field: str, name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidParameter(f"invalid {name} of field {field}: {text!r} is no whole number") from None
