"""Queries, as Milvus clients ask them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from tests.wire_case import DIM, book, keys, make, refusal, refused, vector


@pytest.fixture(autouse=True)
def collection(client: MilvusClient) -> None:
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("title", DataType.VARCHAR, max_length=100)
    schema.add_field("pages", DataType.INT32, nullable=True)
    make(client, "books", schema, {"vector": "FLAT"})
    client.insert("books", [book(n, pages=n * 100, tag=f"t{n}") for n in (3, 1, 4, 2, 0)])


def rows(client: MilvusClient, text: str = "", **more: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in client.query("books", text, **more)]


def test_rows_come_in_rising_order_of_their_keys(client: MilvusClient) -> None:
    assert keys(client) == [0, 1, 2, 3, 4]
    client.flush("books")
    client.insert("books", [book(-1), book(7)])
    assert keys(client, filter="id > -9") == [-1, 0, 1, 2, 3, 4, 7]


def test_pages_are_cut_by_limit_and_offset(client: MilvusClient) -> None:
    assert keys(client, limit=2) == [0, 1]
    assert keys(client, limit=2, offset=3) == [3, 4]
    assert keys(client, limit=2, offset=9) == []
    assert keys(client, filter="", limit=3) == [0, 1, 2]
    assert keys(client, limit=16_384) == [0, 1, 2, 3, 4]
    for wrong in ({"limit": 16_385}, {"limit": 1, "offset": 16_384}, {"limit": 0}, {"limit": 1, "offset": -1}):
        with refused(1100):
            keys(client, **wrong)
    with refused(1100, "empty expression should be used with limit"):
        rows(client)


def test_rows_are_got_by_their_keys(client: MilvusClient) -> None:
    assert [row["id"] for row in client.get("books", ids=[4, 99, 1])] == [1, 4]
    assert [row["id"] for row in client.get("books", ids=3)] == [3]
    assert client.get("books", ids=[]) == []
    assert client.get("books", ids=[99]) == []
    assert [row["id"] for row in client.query("books", ids=[2, 0])] == [0, 2]


def test_counts_are_exact(client: MilvusClient) -> None:
    count = {"output_fields": ["count(*)"]}
    assert rows(client, **count) == [{"count(*)": 5}]
    assert rows(client, "id > 2", **count) == [{"count(*)": 2}]
    assert rows(client, "id > 99", **count) == [{"count(*)": 0}]
    client.insert("books", book(1))
    assert rows(client, "id == 1", **count) == [{"count(*)": 2}]
    client.delete("books", ids=[1])
    assert rows(client, "id == 1", **count) == [{"count(*)": 0}]
    with refused(1100, "pagination"):
        rows(client, limit=3, **count)
    with refused(1100, "count"):
        rows(client, "id > 0", output_fields=["count(*)", "title"])


@pytest.mark.parametrize("fields", [["title"], ["count(*)"]], ids=["rows", "count"])
def test_a_query_waits_for_the_moment_it_has_to_see(stub: Any, fields: list[str]) -> None:
    soon = (int(time.time() * 1000) + 400) << 18
    asked = milvus_pb2.QueryRequest(
        collection_name="books", expr="id >= 0", output_fields=fields, guarantee_timestamp=soon
    )
    began = time.monotonic()
    answer = stub.Query(asked)
    assert 0.2 < time.monotonic() - began < 5
    assert answer.status.code == 0
    assert answer.session_ts > 0
    asked.guarantee_timestamp = (1 << 63) - 1
    assert refusal(stub.Query(asked).status) == 1100


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        (["id"], ["id"]),
        (["title"], ["id", "title"]),
        (["pages", "vector"], ["id", "pages", "vector"]),
        (["*"], ["id", "vector", "title", "pages", "tag"]),
        (["tag"], ["id", "tag"]),
        (["title", "tag"], ["id", "title", "tag"]),
        (["$meta"], ["id", "tag"]),
        (['$meta["tag"]'], ["id", "tag"]),
        (["$meta['tag']"], ["id", "tag"]),
        (["absent"], ["id"]),
        (["*", "absent"], ["id", "vector", "title", "pages", "tag"]),
        (["id", "id", "title", "title"], ["id", "title"]),
    ],
)
def test_output_fields_are_those_asked_for_and_the_key(
    client: MilvusClient, fields: list[str], names: list[str]
) -> None:
    for _ in ("growing", "sealed"):
        (row,) = rows(client, "id == 3", output_fields=fields)
        values = {"id": 3, "vector": vector(3), "title": "book 3", "pages": 300, "tag": "t3"}
        assert row == {name: values[name] for name in names}
        client.flush("books")


@pytest.mark.parametrize("name", ["sum(pages)", "title[0]", '$meta["tag"]["x"]', "$meta[tag]", "two words", "1st"])
def test_what_names_no_field_and_no_key_is_refused(client: MilvusClient, name: str) -> None:
    with refused(1100, "output field"):
        rows(client, "id == 3", output_fields=[name])
    with refused(1100, "output field"):
        client.search("books", [vector(1)], output_fields=[name])


def test_without_output_fields_all_but_the_vectors_come(client: MilvusClient) -> None:
    (row,) = rows(client, "id == 3")
    assert {"id", "title", "pages"} <= set(row)


def test_an_unknown_output_field_is_refused_where_there_is_no_dynamic_one(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    make(client, "plain", schema, {"vector": "FLAT"})
    with refused(1100, "absent"):
        client.query("plain", "id > 0", output_fields=["absent"])
    assert client.query("plain", "id > 0", output_fields=["*"]) == []


def test_filters_take_values_by_name(client: MilvusClient) -> None:
    for text, values, found in (
        ("id == {n}", {"n": 3}, [3]),
        ("id in {ns}", {"ns": [1, 4, 9]}, [1, 4]),
        ("id in {ns}", {"ns": []}, []),
        ("title == {t}", {"t": "book 2"}, [2]),
        ("title in {ts}", {"ts": ["book 2", 'it\'s "x"']}, [2]),
        ("pages > {low} and pages < {high}", {"low": 100, "high": 300.5}, [2, 3]),
        ("tag == {t}", {"t": "t4"}, [4]),
        ("{yes}", {"yes": True}, [0, 1, 2, 3, 4]),
    ):
        assert keys(client, filter=text, filter_params=values) == found, text
    with refused(1100, "n"):
        keys(client, filter="id == {n}", filter_params={"m": 3})
    with refused(1100):
        keys(client, filter="id == {n}", filter_params={"n": "three"})


def test_an_empty_value_of_a_template_is_refused(stub: Any) -> None:
    asked = milvus_pb2.QueryRequest(
        collection_name="books", expr="id == {n}", expr_template_values={"n": schema_pb2.TemplateValue()}
    )
    assert refusal(stub.Query(asked).status) == 1100
    array = schema_pb2.TemplateArrayValue(json_data=schema_pb2.JSONArray(data=[b"{"]))
    asked = milvus_pb2.QueryRequest(
        collection_name="books", expr="id in {n}", expr_template_values={"n": schema_pb2.TemplateValue(array_val=array)}
    )
    assert refusal(stub.Query(asked).status) == 1100


@pytest.mark.parametrize(
    "text", ["id ==", "id === 1", "absent_function(id)", "id in 3", "title > 3", "id == '1'", "((id"]
)
def test_a_filter_that_cannot_be_read_is_refused(client: MilvusClient, text: str) -> None:
    with refused(1100, "cannot parse expression"):
        keys(client, filter=text)


@pytest.mark.parametrize("name", ["group_by_fields"])
def test_what_a_query_cannot_do_yet_is_not_supported(client: MilvusClient, name: str) -> None:
    with refused(10, name):
        client.query("books", "id > 0", limit=3, **{name: ["pages"]})


def test_a_query_sees_what_was_written_before_whatever_its_consistency(client: MilvusClient) -> None:
    for number, level in enumerate(("Strong", "Session", "Bounded", "Eventually"), start=100):
        client.insert("books", book(number))
        assert keys(client, filter=f"id == {number}", consistency_level=level) == [number]


def test_the_answer_names_its_fields_and_its_moment(stub: Any) -> None:
    asked = milvus_pb2.QueryRequest(collection_name="books", expr="id >= 3", output_fields=["title", "tag"])
    answer = stub.Query(asked)
    assert answer.collection_name == "books"
    assert answer.primary_field_name == "id"
    assert list(answer.output_fields) == ["title", "tag"]
    assert [(f.field_name, f.is_dynamic) for f in answer.fields_data] == [
        ("id", False), ("title", False), ("$meta", True),
    ]  # fmt: skip
    assert list(answer.fields_data[0].scalars.long_data.data) == [3, 4]
    assert list(answer.fields_data[2].scalars.json_data.data) == [b'{"tag":"t3"}', b'{"tag":"t4"}']
    assert answer.session_ts >> 18 > 1_600_000_000_000


@pytest.mark.parametrize("pair", [("limit", "many"), ("offset", "x"), ("limit", "1.5"), ("limit", "-7")])
def test_wrong_parameters_are_refused(stub: Any, pair: tuple[str, str]) -> None:
    asked = milvus_pb2.QueryRequest(
        collection_name="books",
        expr="id >= 0",
        query_params=[common_pb2.KeyValuePair(key=pair[0], value=pair[1])],
    )
    assert refusal(stub.Query(asked).status) == 1100
