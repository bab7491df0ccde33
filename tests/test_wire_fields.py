"""Fields of a collection that is there, as Milvus clients alter them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from tests.wire_case import DIM, Served, Wire, make, refusal, refused, served, vector


def make_named(client: MilvusClient) -> None:
    """A collection, not loaded, with a title of at most 8 bytes."""
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("title", DataType.VARCHAR, max_length=8)
    make(client, "named", schema, {"vector": "AUTOINDEX"})
    client.release_collection("named")


def row(number: int, title: str) -> dict[str, Any]:
    return {"id": number, "vector": vector(number), "title": title}


def title_of(client: MilvusClient) -> dict[str, Any]:
    found: dict[str, Any] = client.describe_collection("named")["fields"][2]
    return found


def test_a_length_holds_for_rows_to_come(client: MilvusClient) -> None:
    make_named(client)
    client.insert("named", [row(1, "12345678")])
    client.alter_collection_field("named", "title", {"max_length": 4})
    assert title_of(client)["params"]["max_length"] == 4
    with refused(1100, "exceeds max length"):
        client.insert("named", [row(2, "12345")])
    client.load_collection("named")
    client.alter_collection_field("named", "title", {"max_length": 16})
    client.insert("named", [row(3, "0123456789abcdef")])
    found = client.query("named", "id > 0", output_fields=["title"])
    assert [hit["title"] for hit in found] == ["12345678", "0123456789abcdef"]


def test_descriptions_and_ways_of_loading_are_kept(client: MilvusClient, stub: Any) -> None:
    make_named(client)
    client.alter_collection_field("named", "title", {"field.description": "on its back", "mmap.enabled": True})
    assert title_of(client)["description"] == "on its back"
    assert title_of(client)["params"]["mmap_enabled"] is True
    request = milvus_pb2.AlterCollectionFieldRequest(collection_name="named", field_name="title")
    request.delete_keys.append("mmap.enabled")
    assert stub.AlterCollectionField(request).code == 0
    assert "mmap_enabled" not in title_of(client)["params"]


@pytest.mark.parametrize(
    ("field", "params", "code", "why"),
    [
        ("absent", {"max_length": 4}, 1100, "does not exist in collection"),
        ("$meta", {"mmap.enabled": True}, 1100, "does not exist in collection"),
        ("vector", {"max_length": 4}, 1100, "can not modify the maxlength for non-string types"),
        ("title", {"max_length": 0}, 1100, "the maximum length specified"),
        ("title", {"max_length": "many"}, 1100, "should be an integer"),
        ("title", {"element_type": 5}, 1100, "element_type does not allow update in collection field param"),
    ],
)
def test_what_of_a_field_stays(client: MilvusClient, field: str, params: dict[str, Any], code: int, why: str) -> None:
    make_named(client)
    before = client.describe_collection("named")
    with refused(code, why):
        client.alter_collection_field("named", field, params)
    assert client.describe_collection("named") == before


def test_how_a_field_is_loaded_is_altered_before_it_is(client: MilvusClient, stub: Any) -> None:
    make_named(client)
    client.load_collection("named")
    with refused(104, "can not alter collection field properties if collection loaded"):
        client.alter_collection_field("named", "title", {"mmap.enabled": True})
    with refused(100):
        client.alter_collection_field("absent", "title", {"max_length": 4})
    request = milvus_pb2.AlterCollectionFieldRequest(
        collection_name="named", field_name="title", delete_keys=["max_length"]
    )
    assert refusal(stub.AlterCollectionField(request)) == 1100


def test_what_was_altered_is_so_after_a_restart(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        client = MilvusClient(server.address, dedicated=True)
        make_named(client)
        client.insert("named", [row(1, "12345678")])
        client.alter_collection_field("named", "title", {"max_length": 4, "warmup": "sync"})
        client.close()
        server.process.kill()
        server.end()
    with served(tmp_path) as server:
        client = MilvusClient(server.address, dedicated=True)
        assert title_of(client)["params"]["max_length"] == 4
        client.load_collection("named")
        assert client.query("named", "id == 1", output_fields=["title"]) == [{"id": 1, "title": "12345678"}]
        client.close()


def test_how_texts_are_cut_is_altered_where_nothing_was_made_of_their_words(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("title", DataType.VARCHAR, max_length=80)
    schema.add_field("matched", DataType.VARCHAR, max_length=80, enable_analyzer=True, enable_match=True)
    schema.add_field("scored", DataType.VARCHAR, max_length=80, enable_analyzer=True)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["scored"], ["sparse"]))
    client.create_collection("named", schema=schema)

    def cut(text: str) -> list[str]:
        return list(client.run_analyzer(text, collection_name="named", field_name="title").tokens)

    with refused(1100, "has no analyzer"):
        cut("Running dogs")
    client.alter_collection_field("named", "title", {"enable_analyzer": True, "analyzer_params": '{"type": "english"}'})
    assert cut("Running dogs") == ["run", "dog"]
    before = client.describe_collection("named")
    with refused(1100, "validate analyzer failed for field: title"):
        client.alter_collection_field("named", "title", {"analyzer_params": '{"type": "klingon"}'})
    with refused(1100, "enable_analyzer should be a boolean, but got perhaps"):
        client.alter_collection_field("named", "title", {"enable_analyzer": "perhaps"})
    for field in ("matched", "scored"):
        with refused(1100, f"can not alter analyzer params for field {field} after text match is enabled"):
            client.alter_collection_field("named", field, {"analyzer_params": "{}"})
    with refused(1100, "can not alter analyzer params for non-string field vector"):
        client.alter_collection_field("named", "vector", {"enable_analyzer": True})
    with refused(1100, "enable_match does not allow update"):
        client.alter_collection_field("named", "title", {"enable_match": True})
    assert client.describe_collection("named") == before


# --- added and dropped -----------------------------------------------------------------------------------------------


def test_a_field_is_added_and_old_rows_answer_at_once(client: MilvusClient) -> None:
    make_named(client)
    client.insert("named", [row(1, "one")])
    client.load_collection("named")
    before = client.describe_collection("named")
    client.add_collection_field("named", "rank", DataType.INT64, nullable=True, default_value=7)
    client.add_collection_field("named", "note", DataType.VARCHAR, max_length=8, nullable=True)
    described = client.describe_collection("named")
    assert [field["name"] for field in described["fields"]] == ["id", "vector", "title", "rank", "note"]
    assert described["fields"][3]["nullable"]
    assert described["update_timestamp"] > before["update_timestamp"]
    assert list(client.query("named", "rank == 7", output_fields=["rank", "note"])) == [
        {"id": 1, "rank": 7, "note": None}
    ]
    client.insert("named", [{**row(2, "two"), "rank": 2, "note": "n"}, {**row(3, "three"), "dynamic": 1}])
    found = list(client.query("named", "id > 0", output_fields=["rank", "note", "dynamic"]))
    assert found == [
        {"id": 1, "rank": 7, "note": None},
        {"id": 2, "rank": 2, "note": "n"},
        {"id": 3, "rank": 7, "note": None, "dynamic": 1},
    ]
    hits = client.search("named", [vector(2)], limit=1, filter="note == 'n'", output_fields=["rank"])
    assert hits[0][0]["entity"] == {"rank": 2}


def test_a_client_that_does_not_know_of_a_field_goes_on(remote: Wire) -> None:
    """Its rows are refused once, with the code by which the SDK asks for the schema again."""
    assert remote.another is not None
    client, other = remote.client, remote.another()
    make_named(client)
    client.load_collection("named")
    other.insert("named", [row(1, "one")])
    client.add_collection_field("named", "rank", DataType.INT64, nullable=True)
    other.insert("named", [{**row(2, "two"), "rank": 2}])
    client.drop_collection_field("named", "rank")
    other.insert("named", [row(3, "three")])
    assert len(client.query("named", "id > 0")) == 3
    other.close()


def test_so_does_one_that_awaits_its_answers(remote: Wire, server: Served) -> None:
    import asyncio

    from pymilvus import AsyncMilvusClient

    client = remote.client
    make_named(client)
    client.load_collection("named")

    async def write() -> None:
        other = AsyncMilvusClient(server.address)
        await other.insert("named", [row(1, "one")])
        client.add_collection_field("named", "rank", DataType.INT64, nullable=True)
        await other.insert("named", [{**row(2, "two"), "rank": 2}])
        client.drop_collection_field("named", "rank")
        await other.upsert("named", [row(3, "three")])
        await other.close()

    asyncio.run(write())
    assert len(client.query("named", "id > 0")) == 3


def test_a_dropped_field_is_gone_with_its_index(client: MilvusClient) -> None:
    make_named(client)
    client.add_collection_field("named", "rank", DataType.INT64, nullable=True)
    params = client.prepare_index_params()
    params.add_index("rank", index_type="INVERTED", index_name="by_rank")
    client.create_index("named", params)
    client.load_collection("named")
    client.insert("named", [{**row(1, "one"), "rank": 1}])
    client.drop_collection_field("named", "rank")
    assert client.list_indexes("named") == ["vector"]
    assert "rank" not in [field["name"] for field in client.describe_collection("named")["fields"]]
    assert client.query("named", "id == 1", output_fields=["*"])[0].keys() == {"id", "vector", "title"}
    with refused(1100, "cannot drop primary key field: id"):
        client.drop_collection_field("named", "id")
    with refused(1100, "field not found: rank"):
        client.drop_collection_field("named", "rank")
    with refused(1100, "cannot drop the last vector field: vector"):
        client.drop_collection_field("named", "vector")


def test_what_cannot_be_added_is_refused_in_words_that_clients_know(client: MilvusClient) -> None:
    make_named(client)
    with refused(1100, "added field must be nullable, please check it, field name = rank"):
        client.add_collection_field("named", "rank", DataType.INT64)
    with refused(1100, "duplicated field name title"):
        client.add_collection_field("named", "title", DataType.INT64, nullable=True)
    with refused(1100, "not support to add partition key field, field name  = rank"):
        client.add_collection_field("named", "rank", DataType.INT64, nullable=True, is_partition_key=True)
    with refused(1100, "type param(max_length) should be specified"):
        client.add_collection_field("named", "rank", DataType.VARCHAR, nullable=True)


def test_a_schema_is_altered_by_one_request_of_one_kind(wire: Wire) -> None:
    make_named(wire.client)
    field = schema_pb2.FieldSchema(name="rank", data_type=schema_pb2.Int64, nullable=True)
    request = milvus_pb2.AlterCollectionSchemaRequest(collection_name="named")
    assert wire.stub.AlterCollectionSchema(request).alter_status.code == 1100
    request.action.add_request.field_infos.add(field_schema=field)
    assert wire.stub.AlterCollectionSchema(request).alter_status.code == 0
    request = milvus_pb2.AlterCollectionSchemaRequest(collection_name="named")
    request.action.drop_request.field_id = next(
        f["field_id"] for f in wire.client.describe_collection("named")["fields"] if f["name"] == "rank"
    )
    assert wire.stub.AlterCollectionSchema(request).alter_status.code == 0
    answer = wire.stub.AlterCollectionSchema(request).alter_status
    assert (answer.code, "field not found with id" in answer.reason) == (1100, True)
    request.action.drop_request.SetInParent()
    request.action.drop_request.field_name = ""
    assert wire.stub.AlterCollectionSchema(request).alter_status.code == 1101
    added = milvus_pb2.AddCollectionFieldRequest(collection_name="named", schema=field.SerializeToString())
    assert wire.stub.AddCollectionField(added).code == 0
    assert refusal(wire.stub.AddCollectionField(added)) == 1100
    added.schema = b"no field"
    assert refusal(wire.stub.AddCollectionField(added)) == 1100


def test_dynamic_keys_are_allowed_later(client: MilvusClient) -> None:
    schema = client.create_schema(enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    make(client, "plain", schema, {"vector": "AUTOINDEX"})
    client.insert("plain", [{"id": 1, "vector": vector(1)}])
    client.alter_collection_properties("plain", {"dynamicfield.enabled": True})
    assert client.describe_collection("plain")["enable_dynamic_field"]
    client.insert("plain", [{"id": 2, "vector": vector(2), "color": "red"}])
    assert list(client.query("plain", "color == 'red'", output_fields=["*"])) == [
        {"id": 2, "vector": vector(2), "color": "red"}
    ]
    assert list(client.query("plain", "id == 1", output_fields=["*"])) == [{"id": 1, "vector": vector(1)}]
