"""Fields of a collection that is there, as Milvus clients alter them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2

from tests.wire_case import DIM, make, refusal, refused, served, vector


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
