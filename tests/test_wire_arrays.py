"""Arrays over the wire, with the SDK."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from tests.array_case import CAPACITY, ELEMENTS, row, rows
from tests.wire_case import DIM, Wire, make, refusal, refused


def make_arrays(client: MilvusClient) -> None:
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    for name, element in ELEMENTS.items():
        limits = {"max_length": 64} if name == "texts" else {}
        schema.add_field(
            name, DataType.ARRAY, element_type=DataType(int(element)), max_capacity=CAPACITY, nullable=True, **limits
        )
    make(client, "arrays", schema, {"vector": "FLAT"})


def test_arrays_come_back_as_they_were(client: MilvusClient) -> None:
    make_arrays(client)
    client.insert("arrays", rows(range(300)))
    client.upsert("arrays", [row(1, longs=[9])])
    client.flush("arrays")
    client.insert("arrays", rows(range(300, 310)))
    found = {each["id"]: each for each in client.query("arrays", "id >= 0", output_fields=["*"])}
    assert found == {n: row(n, **({"longs": [9]} if n == 1 else {})) for n in range(310)}
    (hits,) = client.search("arrays", [[7.0, 1.0, 0.0, 0.0]], limit=1, output_fields=["texts", "flags"])
    assert hits[0]["entity"] == {name: row(7)[name] for name in ("texts", "flags")}


def test_a_field_of_arrays_is_described_as_it_was_made(client: MilvusClient) -> None:
    make_arrays(client)
    fields = {f["name"]: f for f in client.describe_collection("arrays")["fields"]}
    texts = fields["texts"]
    assert (texts["type"], texts["element_type"], texts["nullable"]) == (DataType.ARRAY, DataType.VARCHAR, True)
    assert {name: int(value) for name, value in texts["params"].items()} == {"max_capacity": CAPACITY, "max_length": 64}
    client.add_collection_field(
        "arrays", "more", DataType.ARRAY, nullable=True, element_type=DataType.INT8, max_capacity=3
    )
    client.insert("arrays", [row(1, more=[1, 2, 3]), row(2)])
    assert [each["more"] for each in client.query("arrays", "id > 0", output_fields=["more"])] == [[1, 2, 3], None]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"longs": [0] * (CAPACITY + 1)}, "the length (9) of 1th array exceeds max capacity (8)"),
        ({"texts": ["", "a" * 65]}, 'length of Array array field "texts" exceeds max length, row number: 1'),
        ({"bytes8": [300]}, "out of range"),
        ({"singles": [float("nan")]}, "not a number"),
    ],
)
def test_what_does_not_fit_is_refused_whole(client: MilvusClient, values: dict[str, Any], match: str) -> None:
    make_arrays(client)
    with refused(1100, match):
        client.insert("arrays", [row(1), row(2, **values)])
    assert client.query("arrays", "", output_fields=["count(*)"])[0]["count(*)"] == 0


def test_arrays_of_another_type_are_refused(wire: Wire) -> None:
    make_arrays(wire.client)
    key = schema_pb2.FieldData(field_name="id", type=schema_pb2.Int64)
    key.scalars.long_data.data.append(1)
    vector = schema_pb2.FieldData(field_name="vector", type=schema_pb2.FloatVector)
    vector.vectors.dim = DIM
    vector.vectors.float_vector.data.extend([0.0] * DIM)
    wrong = schema_pb2.FieldData(field_name="longs", type=schema_pb2.Array)
    wrong.scalars.array_data.data.add().string_data.data.append("a")
    request = milvus_pb2.InsertRequest(collection_name="arrays", num_rows=1, fields_data=[key, vector, wrong])
    answer = wire.stub.Insert(request)
    assert refusal(answer.status) == 1100
    assert "insert data does not match" in answer.status.reason
    wrong.scalars.array_data.data[0].ParseFromString(b"\xfa\x01\x00")  # a part that nobody knows
    unknown = wire.stub.Insert(
        milvus_pb2.InsertRequest(collection_name="arrays", num_rows=1, fields_data=[key, vector, wrong])
    )
    assert refusal(unknown.status) == 1100
    assert "[expected=int64 array][actual=nil array]" in unknown.status.reason
    wrong.scalars.array_data.data[0].ParseFromString(b"")
    wrong.scalars.array_data.data[0].long_data.data.append(7)
    wrong.scalars.array_data.element_type = schema_pb2.VarChar
    assert "expects element type Int64" in wire.stub.Insert(request.__class__(
        collection_name="arrays", num_rows=1, fields_data=[key, vector, wrong]
    )).status.reason  # fmt: skip
    wrong.scalars.array_data.element_type = schema_pb2.Int64
    right = milvus_pb2.InsertRequest(collection_name="arrays", num_rows=1, fields_data=[key, vector, wrong])
    assert wire.stub.Insert(right).insert_cnt == 1


@pytest.mark.parametrize(
    ("options", "code", "match"),
    [
        ({"element_type": DataType.INT64}, 1101, "type param(max_capacity) should be specified for array field"),
        ({"element_type": DataType.INT64, "max_capacity": 5000}, 1100, "the maximum capacity specified for a Array"),
        ({"element_type": DataType.INT64, "max_capacity": 0}, 1100, "should be in (0, 4096]"),
        ({"element_type": DataType.JSON, "max_capacity": 4}, 1100, "element type JSON is not supported"),
        ({"element_type": DataType.VARCHAR, "max_capacity": 4}, 1100, "type param(max_length) should be specified"),
    ],
)
def test_schemas_that_do_not_hold_are_refused(wire: Wire, options: dict[str, Any], code: int, match: str) -> None:
    capacity = options.get("max_capacity")
    schema = schema_pb2.CollectionSchema(
        name="arrays",
        fields=[
            schema_pb2.FieldSchema(name="id", data_type=schema_pb2.Int64, is_primary_key=True),
            schema_pb2.FieldSchema(
                name="vector", data_type=schema_pb2.FloatVector, type_params=[{"key": "dim", "value": "4"}]
            ),
            schema_pb2.FieldSchema(
                name="tags",
                data_type=schema_pb2.Array,
                element_type=schema_pb2.DataType.ValueType(int(options["element_type"])),
                type_params=[] if capacity is None else [{"key": "max_capacity", "value": str(capacity)}],
            ),
        ],
    )
    request = milvus_pb2.CreateCollectionRequest(collection_name="arrays", schema=schema.SerializeToString())
    answer = wire.stub.CreateCollection(request)
    assert (refusal(answer), match in answer.reason) == (code, True), answer.reason


def test_elements_are_appended_and_removed(client: MilvusClient) -> None:
    make_arrays(client)
    client.insert("arrays", rows(range(5), longs=[1, 2, 1], texts=["a"]))
    client.flush("arrays")
    client.upsert(
        "arrays",
        [{"id": 1, "longs": [1], "texts": ["b"]}],
        field_ops={"longs": "ARRAY_REMOVE", "texts": "ARRAY_APPEND"},
    )
    (found,) = client.query("arrays", "array_contains(texts, 'b')", output_fields=["*"])
    assert found == row(1, longs=[2], texts=["a", "b"])


def test_filters_of_arrays_take_templates_of_lists(client: MilvusClient) -> None:
    make_arrays(client)
    client.insert("arrays", rows(range(5), longs=[1, 2], texts=["a"], doc={"a": [[1, 2], 3, "x"]}))
    client.upsert("arrays", [row(1, longs=[3], texts=[], doc={"a": [[1], 3.0]})])

    def keys(text: str, **params: Any) -> list[int]:
        return [each["id"] for each in client.query("arrays", text, filter_params=params, output_fields=["id"])]

    assert keys("array_contains_any(longs, {l})", l=[3, 4]) == [1]
    assert keys("longs == {l}", l=[1, 2]) == [0, 2, 3, 4]
    assert keys("array_length(texts) == {n}", n=0) == [1]
    assert keys("json_contains(doc['a'], {l})", l=[1, 2]) == [0, 2, 3, 4]
    assert keys("json_contains_any(doc['a'], {l})", l=[[1], [2]]) == [1]
    assert keys("JSON_CONTAINS_ALL(doc['a'], {l})", l=["x"]) == [0, 2, 3, 4]
    assert keys("longs[0] in {l}", l=[3]) == [1]
    with refused(1100, "ContainsAll operation element must be an array"):
        keys("array_contains_all(longs, {l})", l=3)
    with refused(1100, "cannot cast value to Int64"):
        keys("array_contains(longs, {l})", l="a")
