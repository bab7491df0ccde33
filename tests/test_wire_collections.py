"""Collections, as Milvus clients make, describe and change them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from tests.wire_case import DIM, Wire, books, keys, make_books, refusal, refused, vector


def test_the_quick_form_makes_indexes_and_loads(client: MilvusClient) -> None:
    client.create_collection("books", DIM)
    found = client.describe_collection("books")
    assert found["auto_id"] is False
    assert found["enable_dynamic_field"] is True
    assert found["consistency_level_name"] == "Bounded"
    assert found["num_shards"] == found["num_partitions"] == 1
    key, vectors = found["fields"]
    assert (key["name"], key["type"], key["is_primary"]) == ("id", DataType.INT64, True)
    assert (vectors["name"], vectors["type"], vectors["params"]) == ("vector", DataType.FLOAT_VECTOR, {"dim": DIM})
    (index,) = client.list_indexes("books")
    assert client.describe_index("books", index)["index_type"] == "AUTOINDEX"
    assert client.describe_index("books", index)["metric_type"] == "COSINE"
    assert client.get_load_state("books")["state"].name == "Loaded"


def test_the_quick_form_makes_keys_of_text_and_automatic_ones(client: MilvusClient) -> None:
    client.create_collection("named", DIM, id_type="string", max_length=8, primary_field_name="isbn", auto_id=False)
    client.insert("named", [{"isbn": "a-1", "vector": vector(1)}])
    assert client.get("named", ids="a-1", output_fields=["isbn"]) == [{"isbn": "a-1"}]
    client.create_collection("counted", DIM, auto_id=True)
    made = client.insert("counted", [{"vector": vector(1)}, {"vector": vector(2)}])["ids"]
    assert list(made) == sorted(set(made))
    assert keys(client, "counted") == list(made)


def test_a_schema_is_described_as_it_was_given(client: MilvusClient) -> None:
    schema = client.create_schema(description="what there is", enable_dynamic_field=False)
    schema.add_field("isbn", DataType.VARCHAR, is_primary=True, max_length=20, description="the key")
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=8, mmap_enabled=True)
    schema.add_field("other", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("flag", DataType.BOOL, nullable=True)
    schema.add_field("i8", DataType.INT8, default_value=np.int8(-7))
    schema.add_field("i16", DataType.INT16, default_value=np.int16(-7))
    schema.add_field("i32", DataType.INT32, default_value=np.int32(-7))
    schema.add_field("i64", DataType.INT64, default_value=1 << 40)
    schema.add_field("f", DataType.FLOAT, default_value=0.5, nullable=True)
    schema.add_field("d", DataType.DOUBLE, default_value=0.25)
    schema.add_field("text", DataType.VARCHAR, max_length=65_535, default_value="none")
    schema.add_field("about", DataType.JSON, nullable=True)
    client.create_collection("books", schema=schema, consistency_level="Strong", num_shards=2)
    found = client.describe_collection("books")
    assert found["description"] == "what there is"
    assert found["enable_dynamic_field"] is False
    assert found["consistency_level_name"] == "Strong"
    assert found["num_shards"] == 2
    fields = {field["name"]: field for field in found["fields"]}
    assert list(fields) == ["isbn", "dense", "other", "flag", "i8", "i16", "i32", "i64", "f", "d", "text", "about"]
    assert [field["field_id"] for field in found["fields"]] == list(range(100, 112))
    assert fields["isbn"]["description"] == "the key"
    assert fields["isbn"]["params"] == {"max_length": 20}
    assert fields["dense"]["params"]["dim"] == 8
    assert fields["flag"]["nullable"] is True
    assert fields["i8"]["default_value"].int_data == -7
    assert fields["i64"]["default_value"].long_data == 1 << 40
    assert fields["f"]["default_value"].float_data == 0.5
    assert fields["d"]["default_value"].double_data == 0.25
    assert fields["text"]["default_value"].string_data == "none"
    assert client.get_load_state("books")["state"].name == "NotLoad"


def test_making_the_same_again_is_no_error_and_another_is(client: MilvusClient) -> None:
    make_books(client, rows=2)
    make_books(client)
    assert keys(client) == [0, 1]
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM + 1)
    with refused(1100, "duplicate collection with different parameters"):
        client.create_collection("books", schema=schema)


def test_reads_of_absent_collections_say_so(client: MilvusClient, stub: Any) -> None:
    assert not client.has_collection("absent")
    assert client.list_collections() == []
    client.drop_collection("absent")
    for read in (
        lambda: client.describe_collection("absent"),
        lambda: client.query("absent", "id > 0"),
        lambda: client.search("absent", [vector(1)]),
        lambda: client.insert("absent", books([1])),
        lambda: client.delete("absent", ids=[1]),
        lambda: client.get_collection_stats("absent"),
        lambda: client.load_collection("absent"),
        lambda: client.release_collection("absent"),
        lambda: client.flush("absent"),
        lambda: client.list_indexes("absent"),
        lambda: client.list_partitions("absent"),
        lambda: client.truncate_collection("absent"),
        lambda: client.rename_collection("absent", "other"),
        lambda: client.alter_collection_properties("absent", {"a": "b"}),
    ):
        with refused(100, "collection not found"):
            read()
    described = stub.DescribeCollection(milvus_pb2.DescribeCollectionRequest(collection_name="absent"))
    assert refusal(described.status) == 100
    assert described.status.error_code == common_pb2.CollectionNotExists
    assert described.status.extra_info["is_input_error"] == "true"
    assert "[database=default][collection=absent]" in described.status.reason


def test_a_renamed_collection_keeps_its_rows(client: MilvusClient) -> None:
    make_books(client, rows=3)
    client.create_alias("books", "current")
    client.rename_collection("books", "tomes")
    assert client.list_collections() == ["tomes"]
    assert keys(client, "tomes") == keys(client, "current") == [0, 1, 2]
    make_books(client)
    with refused(1100):
        client.rename_collection("tomes", "books")
    with refused(1100):
        client.rename_collection("tomes", "tomes")
    with refused(1100):
        client.rename_collection("tomes", "no spaces")
    client.drop_alias("current")
    client.create_database("attic")
    client.rename_collection("tomes", "tomes", target_db="attic")
    client.use_database("attic")
    assert keys(client, "tomes") == [0, 1, 2]


def test_properties_are_altered_and_described(client: MilvusClient) -> None:
    make_books(client)
    client.alter_collection_properties("books", {"collection.ttl.seconds": 0, "mine": "yes"})
    assert client.describe_collection("books")["properties"]["mine"] == "yes"
    client.drop_collection_properties("books", ["mine"])
    assert "mine" not in client.describe_collection("books")["properties"]
    client.alter_collection_properties("books", {"consistency_level": "Strong"})
    found = client.describe_collection("books")
    assert found["consistency_level_name"] == "Strong"
    assert "consistency_level" not in found["properties"]


def test_properties_to_set_and_to_delete_come_one_at_a_time(stub: Any, client: MilvusClient) -> None:
    make_books(client)
    pair = common_pb2.KeyValuePair(key="mine", value="yes")
    asked = milvus_pb2.AlterCollectionRequest
    assert refusal(stub.AlterCollection(asked(collection_name="books"))) == 1100
    both = asked(collection_name="books", properties=[pair], delete_keys=["other"])
    assert refusal(stub.AlterCollection(both)) == 1100


def test_row_counts_are_those_of_this_moment(client: MilvusClient) -> None:
    make_books(client, rows=5)
    assert client.get_collection_stats("books") == {"row_count": 5}
    client.delete("books", ids=[1, 2])
    assert client.get_collection_stats("books") == {"row_count": 3}
    client.flush("books")
    assert client.get_collection_stats("books") == {"row_count": 3}


def test_truncating_drops_the_rows_and_nothing_else(client: MilvusClient) -> None:
    make_books(client, rows=5)
    client.flush("books")
    client.create_partition("books", "new")
    client.insert("books", books([7]), partition_name="new")
    client.truncate_collection("books")
    assert keys(client) == []
    assert client.list_partitions("books") == ["_default", "new"]
    assert client.list_indexes("books") == ["vector"]
    client.insert("books", books([1]))
    assert keys(client) == [1]


def test_many_are_described_at_once_each_with_its_own_error(stub: Any, client: MilvusClient) -> None:
    make_books(client, "one")
    make_books(client, "two")
    number = client.describe_collection("two")["collection_id"]
    asked = milvus_pb2.BatchDescribeCollectionRequest(collection_name=["one", "absent"], collectionID=[number])
    one, absent, two = stub.BatchDescribeCollection(asked).responses
    assert (one.collection_name, two.collection_name) == ("one", "two")
    assert one.schema.fields[0].name == "id"
    assert one.HasField("status")
    assert refusal(absent.status) == 100
    asked.db_name = "absent"
    nowhere = stub.BatchDescribeCollection(asked)
    assert refusal(nowhere.status) == 800
    assert not nowhere.responses  # told once: a long name would come back as often as there are collections


def test_a_collection_is_described_by_id_too(stub: Any, client: MilvusClient) -> None:
    make_books(client)
    number = client.describe_collection("books")["collection_id"]
    found = stub.DescribeCollection(milvus_pb2.DescribeCollectionRequest(collectionID=number))
    assert found.collection_name == found.schema.name == "books"
    assert found.db_name == "default"
    assert len(found.virtual_channel_names) == len(found.physical_channel_names) == 1
    assert abs(found.created_utc_timestamp / 1000 - time.time()) < 600
    assert found.created_timestamp >> 18 == found.created_utc_timestamp
    assert found.update_timestamp >= found.created_timestamp
    assert refusal(stub.DescribeCollection(milvus_pb2.DescribeCollectionRequest(collectionID=1)).status) == 100
    assert refusal(stub.DescribeCollection(milvus_pb2.DescribeCollectionRequest()).status) == 1100


def test_all_collections_are_shown_or_those_that_are_loaded(stub: Any, client: MilvusClient) -> None:
    make_books(client, "one")
    make_books(client, "two")
    client.release_collection("two")
    asked = milvus_pb2.ShowCollectionsRequest
    shown = stub.ShowCollections(asked())
    assert list(shown.collection_names) == ["one", "two"]
    assert len(shown.collection_ids) == len(shown.created_timestamps) == len(shown.created_utc_timestamps) == 2
    loaded = stub.ShowCollections(asked(type=milvus_pb2.ShowType.InMemory))
    assert list(loaded.collection_names) == ["one"]
    assert list(loaded.inMemory_percentages) == [100]
    assert list(loaded.query_service_available) == [True]
    assert list(stub.ShowCollections(asked(collection_names=["two"])).collection_names) == ["two"]
    assert refusal(stub.ShowCollections(asked(collection_names=["absent"])).status) == 100


def field(name: str, dtype: int, **more: Any) -> schema_pb2.FieldSchema:
    given = [(key, str(more.pop(key))) for key in ("dim", "max_length") if key in more]
    params = [common_pb2.KeyValuePair(key=key, value=value) for key, value in given]
    return schema_pb2.FieldSchema(name=name, data_type=dtype, type_params=params, **more)


KEY = field("id", schema_pb2.Int64, is_primary_key=True)
VECTOR = field("vector", schema_pb2.FloatVector, dim=4)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([VECTOR], "primary"),
        ([KEY], "vector"),
        ([KEY, field("key", schema_pb2.Int64, is_primary_key=True), VECTOR], "primary"),
        ([field("id", schema_pb2.Float, is_primary_key=True), VECTOR], "primary"),
        ([KEY, VECTOR, VECTOR], "vector"),
        ([KEY, field("vector", schema_pb2.FloatVector)], "dim"),
        ([KEY, field("vector", schema_pb2.FloatVector, dim=1)], "dim"),
        ([KEY, field("vector", schema_pb2.FloatVector, dim=32_769)], "dim"),
        ([KEY, field("vector", schema_pb2.FloatVector, dim="many")], "dim"),
        ([KEY, VECTOR, field("text", schema_pb2.VarChar)], "max_length"),
        ([KEY, VECTOR, field("text", schema_pb2.VarChar, max_length=65_536)], "65535"),
        ([KEY, VECTOR, field("$meta", schema_pb2.JSON)], "$meta"),
        ([KEY, VECTOR, field("text", schema_pb2.String)], "VarChar"),
        ([KEY, VECTOR, field("nothing", 0)], "nothing"),
        ([KEY, VECTOR, field("n", schema_pb2.Int64, autoID=True)], "auto"),
        ([field("id", schema_pb2.Int64, is_primary_key=True, nullable=True), VECTOR], "null"),
        ([KEY, VECTOR, field("n", schema_pb2.Int8, default_value=schema_pb2.ValueField(int_data=300))], "300"),
        ([KEY, VECTOR, field("n", schema_pb2.Int8, default_value=schema_pb2.ValueField(long_data=3))], "default"),
        ([KEY, VECTOR, field("j", schema_pb2.JSON, default_value=schema_pb2.ValueField(bytes_data=b"{}"))], "default"),
        ([KEY, VECTOR, *(field(f"f{n}", schema_pb2.Int64) for n in range(255))], "256"),
        ([KEY, *(field(f"v{n}", schema_pb2.FloatVector, dim=4) for n in range(11))], "10"),
    ],
)
def test_a_wrong_schema_is_refused_with_its_reason(stub: Any, fields: list[Any], why: str) -> None:
    answer = create(stub, fields)
    assert refusal(answer) == 1100
    assert why in answer.reason


KEYWORDS_OF_MILVUS = (
    "like",
    "in",
    "True",
    "nULL",
    "JSON_CONTAINS_ALL",
    "array_length",
    "random_sample",
    "PHRASE_MATCH",
)


@pytest.mark.parametrize(
    ("name", "why"),
    [("no spaces", "no spaces"), ("n" * 256, "255"), *((name, "is keyword in milvus") for name in KEYWORDS_OF_MILVUS)],
)
def test_a_wrong_name_of_a_field_is_refused_with_its_reason(stub: Any, name: str, why: str) -> None:
    answer = create(stub, [KEY, VECTOR, field(name, schema_pb2.Int64)])
    assert refusal(answer) == 1701
    assert why in answer.reason


def test_what_a_schema_cannot_have_yet_is_not_supported(stub: Any) -> None:
    answer = create(stub, [KEY, VECTOR, field("parts", schema_pb2.ArrayOfStruct)])
    assert refusal(answer) == 10
    assert "not supported" in answer.reason


def test_a_clustering_key_is_told_as_it_was_declared(stub: Any, client: MilvusClient) -> None:
    key = field("when", schema_pb2.Double, is_clustering_key=True, nullable=True)
    assert create(stub, [KEY, VECTOR, key]).code == 0
    assert create(stub, [KEY, VECTOR, key]).code == 0  # the same again
    shown = {f["name"]: f for f in client.describe_collection("books")["fields"]}
    assert shown["when"]["is_clustering_key"]
    assert not shown["id"].get("is_clustering_key")
    two = create(stub, [KEY, VECTOR, key, field("too", schema_pb2.Int8, is_clustering_key=True)])
    assert (two.code, two.extra_info["is_input_error"]) == (105, "true")


def create(stub: Any, fields: list[Any], **more: Any) -> Any:
    schema = schema_pb2.CollectionSchema(name="books", fields=fields)
    return stub.CreateCollection(
        milvus_pb2.CreateCollectionRequest(collection_name="books", schema=schema.SerializeToString(), **more)
    )


def test_a_wrong_request_makes_nothing(stub: Any, client: MilvusClient) -> None:
    assert refusal(create(stub, [KEY, VECTOR], shards_num=17)) == 1100
    assert refusal(create(stub, [KEY, VECTOR], consistency_level=9)) == 1100
    assert refusal(create(stub, [KEY, VECTOR], num_partitions=16)) == 1100
    named = milvus_pb2.CreateCollectionRequest(collection_name="1st", schema=b"")
    assert refusal(stub.CreateCollection(named)) == 1100
    garbled = milvus_pb2.CreateCollectionRequest(collection_name="books", schema=b"\xff\xff\xff")
    assert refusal(stub.CreateCollection(garbled)) == 1100
    assert client.list_collections() == []


def test_what_one_client_makes_another_sees_at_once(remote: Wire) -> None:
    assert remote.another is not None
    other = remote.another()
    make_books(remote.client, rows=2)
    assert keys(other) == [0, 1]
    other.drop_collection("books")
    with pytest.raises(MilvusException, match="collection not found"):
        remote.client.query("books", "id >= 0")
    other.close()
