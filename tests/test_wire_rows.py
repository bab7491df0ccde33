"""Rows, as Milvus clients insert, replace and delete them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from tests.wire_case import DIM, Wire, book, books, keys, make, make_books, refusal, refused, vector

SCALARS: dict[str, Any] = {
    "flag": DataType.BOOL,
    "i8": DataType.INT8,
    "i16": DataType.INT16,
    "i32": DataType.INT32,
    "i64": DataType.INT64,
    "f": DataType.FLOAT,
    "d": DataType.DOUBLE,
    "text": DataType.VARCHAR,
    "about": DataType.JSON,
}

VALUES: dict[str, Any] = {
    "flag": True,
    "i8": -128,
    "i16": 32_767,
    "i32": -(2**31),
    "i64": 2**63 - 1,
    "f": 0.1,
    "d": 0.1,
    "text": "ä" * 10,
    "about": {"a": [1, 2.5, None], "b": {"c": "d"}, "big": 2**60},
}


def found(client: MilvusClient, *fields: str) -> list[dict[str, Any]]:
    """All rows with these fields, as plain dicts: those of the SDK read their dynamic keys when they are looked at."""
    return [dict(row) for row in client.query("books", "id > 0", output_fields=list(fields))]


def make_wide(client: MilvusClient, **more: Any) -> None:
    """A collection with a field of every type."""
    schema = client.create_schema(enable_dynamic_field=more.pop("dynamic", False))
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    for name, dtype in SCALARS.items():
        schema.add_field(name, dtype, max_length=20, **more)
    make(client, "books", schema, {"vector": "FLAT"})


def test_every_type_comes_back_as_it_went_in(client: MilvusClient) -> None:
    make_wide(client)
    given = {"id": 1, "vector": [0.1, -2.5, 1e-30, 4], **VALUES}
    assert client.insert("books", given)["insert_count"] == 1
    for _ in ("growing", "sealed"):
        (row,) = found(client, "*")
        assert row.pop("vector") == [np.float32(value) for value in given["vector"]]
        assert row.pop("f") == pytest.approx(0.1, abs=1e-8)
        assert row == {key: value for key, value in given.items() if key not in ("vector", "f")}
        client.flush("books")


def test_rows_may_come_as_numpy(client: MilvusClient) -> None:
    make_wide(client)
    row = {name: np.array(value).ravel()[0] for name, value in VALUES.items() if name not in ("about", "text")}
    client.insert("books", [{"id": 1, "vector": np.ones(DIM, np.float32), **row, "text": "t", "about": {"a": 1}}])
    (kept,) = found(client, "flag", "i64", "vector")
    assert (kept["flag"], kept["i64"], kept["vector"]) == (True, 2**63 - 1, [1, 1, 1, 1])


def test_the_answer_to_an_insert_names_its_rows_and_its_moment(client: MilvusClient, stub: Any) -> None:
    make_books(client)
    told = client.insert("books", books([5, 3, 4]))
    assert (told["insert_count"], list(told["ids"])) == (3, [5, 3, 4])
    answer = stub.Insert(request([1, 2]))
    assert (answer.insert_cnt, list(answer.IDs.int_id.data), list(answer.succ_index)) == (2, [1, 2], [0, 1])
    assert answer.acknowledged
    later = stub.Insert(request([3]))
    assert later.timestamp > answer.timestamp > 1_600_000_000_000 << 18


def test_dynamic_keys_are_of_their_rows_alone(client: MilvusClient) -> None:
    make_books(client)
    rows = [book(1, pages=7), book(2, pages="many", tags=["a", "b"]), {"id": 3, "vector": vector(3)}]
    client.insert("books", rows)
    assert found(client, "*") == rows
    assert found(client, "pages") == [{"id": 1, "pages": 7}, {"id": 2, "pages": "many"}, {"id": 3}]
    assert keys(client, filter="pages == 7") == [1]
    assert keys(client, filter="tags[1] == 'b'") == [2]


def test_a_collection_without_dynamic_field_takes_no_other_keys(client: MilvusClient) -> None:
    make_wide(client)
    with pytest.raises(Exception, match="more"):
        client.insert("books", {"id": 1, "vector": vector(1), **VALUES, "more": 1})


def test_null_and_missing_are_null_where_a_field_allows_it(client: MilvusClient) -> None:
    make_wide(client, nullable=True)
    rows = [
        {"id": 1, "vector": vector(1)},
        {"id": 2, "vector": vector(2), **dict.fromkeys(SCALARS)},
        {"id": 3, "vector": vector(3), **VALUES},
    ]
    for row in rows:
        client.insert("books", row)
    client.upsert("books", [{**row, "id": row["id"] + 10} for row in rows[1:]])
    for _ in ("growing", "sealed"):
        for row in found(client, *SCALARS):
            if row["id"] % 10 == 3:
                assert row["about"] == VALUES["about"]
                assert row["i8"] == -128
            else:
                assert [row[name] for name in SCALARS] == [None] * len(SCALARS)
        assert keys(client, filter="i8 is null") == [1, 2, 12]
        assert keys(client, filter="text is not null") == [3, 13]
        client.flush("books")


def test_null_and_missing_are_the_default_where_a_field_has_one(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("pages", DataType.INT64, default_value=100)
    schema.add_field("title", DataType.VARCHAR, max_length=20, default_value="none", nullable=True)
    make(client, "books", schema, {"vector": "FLAT"})
    client.insert("books", {"id": 1, "vector": vector(1)})
    client.insert("books", {"id": 2, "vector": vector(2), "pages": None, "title": None})
    both = {"id": 3, "vector": vector(3), "pages": 7, "title": "a"}
    client.insert("books", [both, {**both, "id": 4, "pages": None, "title": None}])
    rows = found(client, "pages", "title")
    assert [(row["pages"], row["title"]) for row in rows] == [(100, "none"), (100, "none"), (7, "a"), (100, "none")]


def test_automatic_keys_rise_and_may_not_be_given(client: MilvusClient) -> None:
    schema = client.create_schema(auto_id=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    make(client, "books", schema, {"vector": "FLAT"})
    made = client.insert("books", [{"vector": vector(n)} for n in range(5)])["ids"]
    assert list(made) == sorted(set(made))
    with pytest.raises(Exception, match="id"):
        client.insert("books", [{"id": 1, "vector": vector(1)}])
    replaced = client.upsert("books", [{"id": made[0], "vector": vector(9)}])
    assert replaced["upsert_count"] == 1
    assert keys(client) == [*made[1:], *replaced["ids"]]


def test_automatic_keys_may_be_text(client: MilvusClient) -> None:
    schema = client.create_schema(auto_id=True)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    make(client, "books", schema, {"vector": "FLAT"})
    made = list(client.insert("books", [{"vector": vector(n)} for n in range(3)])["ids"])
    assert len(set(made)) == 3
    assert all(isinstance(key, str) for key in made)
    assert client.get("books", ids=made[0])[0]["id"] == made[0]


def test_an_upsert_replaces_rows_whole(client: MilvusClient) -> None:
    make_books(client)
    client.insert("books", [book(1, pages=7), book(1, pages=8), book(2)])
    answer = client.upsert("books", [book(1, title="new"), book(3)])
    assert (answer["upsert_count"], list(answer["ids"])) == (2, [1, 3])
    assert found(client, "title", "pages") == [
        {"id": 1, "title": "new"},
        {"id": 2, "title": "book 2"},
        {"id": 3, "title": "book 3"},
    ]
    with refused(1100, "duplicate"):
        client.upsert("books", books([4, 4]))
    assert keys(client) == [1, 2, 3]


def test_operations_on_arrays_need_an_array(stub: Any, client: MilvusClient) -> None:
    make_books(client, rows=1)
    request = milvus_pb2.UpsertRequest(collection_name="books", num_rows=1)
    request.field_ops.add(field_name="title", op=schema_pb2.FieldPartialUpdateOp.ARRAY_APPEND)
    assert refusal(stub.Upsert(request).status) == 1100


def test_rows_are_deleted_by_key_or_filter(client: MilvusClient) -> None:
    make_books(client, rows=10)
    assert client.delete("books", ids=[1, 2, 99])["delete_count"] == 3
    assert client.delete("books", ids=3)["delete_count"] == 1
    assert client.delete("books", filter="id in [4, 98]")["delete_count"] == 2
    assert client.delete("books", filter="id >= 8 and title like 'book%'")["delete_count"] == 2
    assert client.delete("books", filter="title == 'absent'")["delete_count"] == 0
    named = client.delete("books", filter="id in {ids}", filter_params={"ids": [5]})
    assert named["delete_count"] == 1
    assert keys(client) == [0, 6, 7]
    for always in ("id == id or true", "true"):
        with refused(1100):
            client.delete("books", filter=always)
    with refused(1100, "absent"):
        client.delete("books", filter="$meta2 > absent + ")


def test_a_delete_without_filter_is_refused(stub: Any, client: MilvusClient) -> None:
    make_books(client, rows=1)
    for text in ("", "  "):
        answer = stub.Delete(milvus_pb2.DeleteRequest(collection_name="books", expr=text))
        assert refusal(answer.status) == 1100
    assert keys(client) == [0]


def test_keys_of_text_are_found_and_deleted(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=10)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    make(client, "books", schema, {"vector": "FLAT"})
    given = ["a", "it's", 'say "x"', "ü", "\\", ""]
    told = client.insert("books", [{"id": key, "vector": vector(n)} for n, key in enumerate(given)])
    assert list(told["ids"]) == given
    assert keys(client, filter="id >= ''") == sorted(given, key=str.encode)
    # The SDK puts keys into filters as they are, so those with quotes have to come as values.
    assert [row["id"] for row in client.get("books", ids=["ü", "a", "absent"])] == ["a", "ü"]
    assert keys(client, filter="id in {ids}", filter_params={"ids": given}) == sorted(given, key=str.encode)
    deleted = client.delete("books", filter="id in {ids}", filter_params={"ids": given[1:4]})
    assert deleted["delete_count"] == 3
    assert client.delete("books", ids=[""])["delete_count"] == 1
    assert keys(client, filter="id >= ''") == ["\\", "a"]
    with refused(1100, "10"):
        client.insert("books", [{"id": "ü" * 6, "vector": vector(1)}])


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"vector": [1.0, 2.0]}, "dim"),
        ({"vector": [math.nan, 0, 0, 0]}, "not a number or infinity"),
        ({"vector": [math.inf, 0, 0, 0]}, "not a number or infinity"),
        ({"i8": 128}, "128"),
        ({"i16": -40_000}, "-40000"),
        ({"f": math.nan}, "f"),
        ({"d": math.inf}, "d"),
        ({"text": "ä" * 11}, "20"),
        ({"about": {"a": "x" * 65_536}}, "65536"),
        ({"i32": None}, "i32"),
        ({"text": None}, "text"),
    ],
)
def test_a_wrong_row_refuses_its_whole_batch(client: MilvusClient, wrong: dict[str, Any], why: str) -> None:
    make_wide(client)
    right = {"id": 1, "vector": vector(1), **VALUES}
    with pytest.raises(Exception, match=why):
        client.insert("books", [right, {**right, "id": 2, **wrong}])
    with pytest.raises(Exception, match=why):
        client.upsert("books", [right, {**right, "id": 2, **wrong}])
    assert client.get_collection_stats("books")["row_count"] == 0


def request(numbers: list[int], **more: Any) -> milvus_pb2.InsertRequest:
    """The bare request that inserts books with these numbers."""
    ids = schema_pb2.FieldData(type=schema_pb2.Int64, field_name="id")
    ids.scalars.long_data.data.extend(numbers)
    vectors = schema_pb2.FieldData(type=schema_pb2.FloatVector, field_name="vector")
    vectors.vectors.dim = DIM
    vectors.vectors.float_vector.data.extend(value for number in numbers for value in vector(number))
    given = {"collection_name": "books", "num_rows": len(numbers), "fields_data": [ids, vectors], **more}
    return milvus_pb2.InsertRequest(**given)


def test_requests_that_do_not_fit_are_refused_with_their_reason(client: MilvusClient, stub: Any) -> None:
    make_books(client)
    ids, vectors = request([1, 2]).fields_data
    flat = schema_pb2.FieldData(type=schema_pb2.FloatVector, field_name="vector")
    flat.vectors.float_vector.data.extend([1.0] * 8)
    short = schema_pb2.FieldData(type=schema_pb2.Int64, field_name="id")
    short.scalars.long_data.data.append(1)
    text = schema_pb2.FieldData(type=schema_pb2.VarChar, field_name="id")
    text.scalars.string_data.data.extend(["a", "b"])
    sparse = schema_pb2.FieldData(type=schema_pb2.SparseFloatVector, field_name="vector")
    sparse.vectors.sparse_float_vector.contents.extend([b"12345678"] * 2)
    nothing = schema_pb2.FieldData(type=schema_pb2.Int64, field_name="id")
    array = schema_pb2.FieldData(type=schema_pb2.JSON, field_name="$meta", is_dynamic=True)
    array.scalars.json_data.data.extend([b"[1]", b"{}"])
    garbled = schema_pb2.FieldData(type=schema_pb2.JSON, field_name="$meta", is_dynamic=True)
    garbled.scalars.json_data.data.extend([b"{", b"{}"])
    for fields, code, why in (
        ([], 1100, ""),
        ([ids], 1100, "vector"),
        ([vectors], 1100, "id"),
        ([ids, ids, vectors], 1100, "id"),
        ([short, vectors], 1100, "id"),
        ([text, vectors], 1100, "id"),
        ([nothing, vectors], 1100, "id"),
        ([ids, flat], 1100, "vector"),
        ([ids, sparse], 1100, "vector"),
        ([ids, vectors, array], 1100, "$meta"),
        ([ids, vectors, garbled], 1100, "$meta"),
    ):
        for send in (stub.Insert, stub.Upsert):
            kind = milvus_pb2.InsertRequest if send is stub.Insert else milvus_pb2.UpsertRequest
            answer = send(kind(collection_name="books", num_rows=2, fields_data=fields))
            assert refusal(answer.status) == code, answer.status.reason
            assert why in answer.status.reason
    assert refusal(stub.Insert(request([1, 2], num_rows=0)).status) == 1100
    assert refusal(stub.Insert(request([1, 2], num_rows=3)).status) == 1100
    assert keys(client) == []


def test_a_client_with_an_old_schema_asks_again_and_goes_on(remote: Wire) -> None:
    assert remote.another is not None
    make_books(remote.client, rows=2)
    other = remote.another()
    other.drop_collection("books")
    schema = other.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("pages", DataType.INT64)
    make(other, "books", schema, {"vector": "FLAT"})
    remote.client.insert("books", {"id": 7, "vector": vector(7), "pages": 3})
    assert found(other, "pages") == [{"id": 7, "pages": 3}]
    other.drop_collection("books")
    make_books(other)
    remote.client.upsert("books", {"id": 8, "vector": vector(8), "more": "dynamic"})
    assert found(other, "more") == [{"id": 8, "more": "dynamic"}]
    other.close()


def test_an_old_schema_is_told_from_the_one_in_force(client: MilvusClient, stub: Any) -> None:
    make_books(client)
    told = stub.DescribeCollection(milvus_pb2.DescribeCollectionRequest(collection_name="books")).update_timestamp
    answer = stub.Insert(request([1], schema_timestamp=told - 1))
    assert refusal(answer.status) == 109
    assert answer.status.error_code == common_pb2.SchemaMismatch
    assert stub.Insert(request([1], schema_timestamp=told)).status.code == 0
    assert stub.Insert(request([2])).status.code == 0
    assert keys(client) == [1, 2]


def test_large_batches_cross(client: MilvusClient) -> None:
    make_books(client)
    count = 20_000
    told = client.insert("books", [{"id": n, "vector": vector(n)} for n in range(count)])
    assert told["insert_count"] == count
    assert told["ids"][-1] == count - 1
    assert len(client.query("books", "id >= 0", output_fields=["id", "vector"])) == count


def test_an_empty_batch_is_no_call(client: MilvusClient) -> None:
    make_books(client)
    assert client.insert("books", [])["insert_count"] == 0
    assert client.upsert("books", [])["upsert_count"] == 0


@pytest.mark.parametrize(
    ("rows", "why"), [(1, "of float data should divide the dim(4)"), (4, "not equal to schema dim")]
)
def test_vectors_of_another_dim_are_refused(client: MilvusClient, rows: int, why: str) -> None:
    make_books(client)
    wrong = [book(number, vector=[1.0] * (DIM + 1)) for number in range(rows)]
    with refused(1100, why):
        client.insert("books", wrong)


def test_a_partial_update_leaves_what_it_does_not_name(client: MilvusClient) -> None:
    make_books(client)
    client.insert("books", [book(1, color="red", size=1), book(2)])
    answer = client.upsert("books", [{"id": 1, "size": 7}], partial_update=True)
    assert answer["upsert_count"] == 1
    assert list(client.query("books", "id == 1", output_fields=["title", "color", "size"])) == [
        {"id": 1, "title": "book 1", "color": "red", "size": 7}
    ]
    with refused(1100, "fieldSchema(vector) has no corresponding fieldData pass in: invalid parameter"):
        client.upsert("books", [{"id": 3, "size": 7}], partial_update=True)
    client.release_collection("books")
    with refused(101):
        client.upsert("books", [{"id": 1, "size": 8}], partial_update=True)
