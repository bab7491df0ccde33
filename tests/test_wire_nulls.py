"""Null and default, of every scalar type, as clients write them: in rows, in columns of both forms, in upserts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymilvus import DataType
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from tests.wire_case import DIM, make, refused, vector

if TYPE_CHECKING:
    from pymilvus import MilvusClient

GIVEN: dict[str, tuple[DataType, Any, Any, str]] = {
    "bool": (DataType.BOOL, True, False, "bool_data"),
    "int8": (DataType.INT8, -7, 5, "int_data"),
    "int16": (DataType.INT16, 300, -5, "int_data"),
    "int32": (DataType.INT32, 70_000, 0, "int_data"),
    "int64": (DataType.INT64, 2**53 + 1, -(2**62), "long_data"),
    "float": (DataType.FLOAT, 0.5, -1.5, "float_data"),
    "double": (DataType.DOUBLE, 0.1, 0.0, "double_data"),
    "varchar": (DataType.VARCHAR, "ü", "", "string_data"),
}
"""By name: the type, a value, the default, the part of a ScalarField."""

NUMPY: dict[str, Any] = {"int8": np.int8, "int16": np.int16, "int32": np.int32, "float": np.float32}
"""The SDK takes a number for Int64 or Double unless numpy says what it is."""

KINDS = ("nullable", "default", "both")


@pytest.fixture
def books(client: MilvusClient) -> str:
    """A collection with a nullable field, one with a default, and one with both, of every type."""
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("json_nullable", DataType.JSON, nullable=True)
    for name, (dtype, _, default, _) in GIVEN.items():
        default = NUMPY.get(name, type(default))(default)
        more: dict[str, Any] = {"max_length": 8} if dtype is DataType.VARCHAR else {}
        schema.add_field(f"{name}_nullable", dtype, nullable=True, **more)
        schema.add_field(f"{name}_default", dtype, default_value=default, **more)
        schema.add_field(f"{name}_both", dtype, nullable=True, default_value=default, **more)
    make(client, "books", schema, {"vector": "FLAT"})
    return "books"


def expected(kind: str, name: str, value: Any) -> Any:
    """What a field holds where `value`, or None for nothing, was given."""
    return value if value is not None else None if kind == "nullable" else GIVEN[name][2]


def held(client: MilvusClient, key: int) -> dict[str, Any]:
    (row,) = client.query("books", ids=[key], output_fields=["*"])
    return {name: value for name, value in row.items() if name not in ("id", "vector", "json_nullable")}


def every(value_of: Any) -> dict[str, Any]:
    return {f"{name}_{kind}": value_of(kind, name) for name in GIVEN for kind in KINDS}


def test_what_is_missing_or_null_in_rows_is_null_or_the_default(client: MilvusClient, books: str) -> None:
    values = every(lambda _, name: GIVEN[name][1])
    nothing = every(lambda kind, name: expected(kind, name, None))
    client.insert(
        books,
        [
            {"id": 1, "vector": vector(1), **values},
            {"id": 2, "vector": vector(2), **dict.fromkeys(values), "json_nullable": None},
            {"id": 3, "vector": vector(3), **{n: v if "default" in n else None for n, v in values.items()}},
        ],
    )
    client.insert(books, [{"id": 4, "vector": vector(4)}])
    for _ in ("growing", "sealed"):
        assert held(client, 1) == pytest.approx(values)
        assert held(client, 2) == nothing
        assert held(client, 3) == pytest.approx({n: values[n] if "default" in n else v for n, v in nothing.items()})
        assert held(client, 4) == nothing
        for name, (_, value, default, _) in GIVEN.items():
            literal = f"'{value}'" if isinstance(value, str) else str(value).lower()
            other = f"'{default}'" if isinstance(default, str) else str(default).lower()
            for condition, keys in (
                (f"{name}_nullable is null", [2, 3, 4]),
                (f"{name}_nullable is not null", [1]),
                (f"{name}_both is null", []),
                (f"{name}_nullable == {literal}", [1]),
                (f"not ({name}_nullable == {literal})", []),
                (f"{name}_nullable != {other}", [1]),
                (f"{name}_both == {other}", [2, 3, 4]),
                (f"{name}_default == {other}", [2, 4]),
                (f"{name}_default in [{literal}]", [1, 3]),
            ):
                found = client.query(books, condition, output_fields=["id"])
                assert [row["id"] for row in found] == keys, condition
        client.flush(books)


def test_upserts_forget_and_partial_updates_keep(client: MilvusClient, books: str) -> None:
    values = every(lambda _, name: GIVEN[name][1])
    nothing = every(lambda kind, name: expected(kind, name, None))
    client.insert(books, [{"id": n, "vector": vector(n), **values} for n in (1, 2, 3)])
    client.flush(books)
    client.upsert(books, [{"id": 1, "vector": vector(1)}])
    client.upsert(
        books, [{"id": 2, "int8_nullable": None, "int16_both": None, "varchar_default": None}], partial_update=True
    )
    client.upsert(books, [{"id": 3, "vector": vector(9)}], partial_update=True)
    assert held(client, 1) == nothing
    assert held(client, 2) == pytest.approx({**values, "int8_nullable": None, "int16_both": -5, "varchar_default": ""})
    assert held(client, 3) == pytest.approx(values)


@pytest.mark.parametrize("form", ["one value a row", "the values that are there", "no column", "an empty column"])
def test_columns_say_which_values_are_there(stub: Any, client: MilvusClient, books: str, form: str) -> None:
    valid = [True, False, True]
    columns = [
        schema_pb2.FieldData(
            field_name="id",
            type=schema_pb2.Int64,
            scalars=schema_pb2.ScalarField(long_data=schema_pb2.LongArray(data=[1, 2, 3])),
        ),
        schema_pb2.FieldData(
            field_name="vector",
            type=schema_pb2.FloatVector,
            vectors=schema_pb2.VectorField(dim=DIM, float_vector=schema_pb2.FloatArray(data=[1.0] * 3 * DIM)),
        ),
    ]
    for name, (dtype, value, default, part) in GIVEN.items():
        for kind in KINDS:
            if form == "no column":
                continue
            data = schema_pb2.FieldData(field_name=f"{name}_{kind}", type=int(dtype))
            held_by = getattr(data.scalars, part).data
            if form == "an empty column":
                held_by.extend([])
                data.valid_data.extend([False] * 3)
            else:
                held_by.extend([value, default, value] if form == "one value a row" else [value, value])
                data.valid_data.extend(valid)
            columns.append(data)
    request = milvus_pb2.InsertRequest(collection_name=books, num_rows=3, fields_data=columns)
    answer = stub.Insert(request)
    assert answer.status.code == 0, answer.status.reason
    there = "row" in form or "there" in form
    for key, given in zip((1, 2, 3), valid, strict=True):
        wanted = every(lambda kind, name, g=given: expected(kind, name, GIVEN[name][1] if there and g else None))
        assert held(client, key) == pytest.approx(wanted)


def test_a_null_where_there_can_be_none_is_refused(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("size", DataType.INT32)
    make(client, "books", schema, {"vector": "FLAT"})
    for row in ({"id": 1, "vector": vector(1), "size": None}, {"id": None, "vector": vector(1), "size": 1}):
        with pytest.raises(Exception, match=r"size|id"):
            client.insert("books", [row])
    with refused(1, "missed"):
        client.insert("books", [{"id": 1, "vector": vector(1)}])
    assert client.query("books", "id >= 0") == []
