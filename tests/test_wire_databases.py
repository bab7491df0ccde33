"""Databases, as Milvus clients make and leave them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2

from tests.wire_case import Served, Wire, books, keys, make_books, refusal, refused, vector


def test_a_database_is_made_listed_described_and_dropped(client: MilvusClient) -> None:
    client.create_database("shop", properties={"database.max.collections": 10})
    assert client.list_databases() == ["default", "shop"]
    found = client.describe_database("shop")
    assert found["name"] == "shop"
    assert found["database.max.collections"] == "10"
    client.drop_database("shop")
    client.drop_database("shop")
    assert client.list_databases() == ["default"]


def test_collections_of_two_databases_do_not_meet(client: MilvusClient) -> None:
    client.create_database("shop")
    make_books(client, rows=3)
    client.use_database("shop")
    assert client.list_collections() == []
    make_books(client, rows=5)
    assert client.query("books", output_fields=["count(*)"])[0]["count(*)"] == 5
    assert client.describe_collection("books")["collection_name"] == "books"
    client.use_database("default")
    assert client.query("books", output_fields=["count(*)"])[0]["count(*)"] == 3


def test_a_request_names_its_database_or_its_headers_do(stub: Any, client: MilvusClient) -> None:
    client.create_database("shop")
    client.use_database("shop")
    make_books(client)
    client.use_database("default")
    listed = milvus_pb2.ShowCollectionsRequest
    assert list(stub.ShowCollections(listed()).collection_names) == []
    assert list(stub.ShowCollections(listed(db_name="shop")).collection_names) == ["books"]
    headers = (("dbname", "shop"),)
    assert list(stub.ShowCollections(listed(), metadata=headers).collection_names) == ["books"]
    assert list(stub.ShowCollections(listed(db_name="default"), metadata=headers).collection_names) == []
    assert refusal(stub.ShowCollections(listed(db_name="absent")).status) == 800


def test_what_a_database_may_not(client: MilvusClient) -> None:
    client.create_database("shop")
    with refused(1100, "already exist"):
        client.create_database("shop")
    with refused(802):
        client.create_database("1shop")
    with refused(1100):
        client.drop_database("default")
    client.use_database("shop")
    make_books(client)
    client.use_database("default")
    with refused(1100, "not empty"):
        client.drop_database("shop")
    with refused(800):
        client.describe_database("absent")
    with refused(800):
        client.use_database("absent")


def test_there_are_at_most_64_databases(client: MilvusClient) -> None:
    for number in range(63):
        client.create_database(f"shop_{number}")
    with refused(801):
        client.create_database("one_more")


def test_properties_are_set_and_taken_away_one_at_a_time(client: MilvusClient, stub: Any) -> None:
    client.create_database("shop")
    client.alter_database_properties("shop", {"timezone": "UTC", "database.max.collections": "7"})
    assert client.describe_database("shop")["timezone"] == "UTC"
    client.drop_database_properties("shop", ["timezone"])
    found = client.describe_database("shop")
    assert "timezone" not in found
    assert found["database.max.collections"] == "7"
    assert refusal(stub.AlterDatabase(milvus_pb2.AlterDatabaseRequest(db_name="shop"))) == 1100


def test_listing_says_when_each_was_made(stub: Any, client: MilvusClient) -> None:
    client.create_database("shop")
    listed = stub.ListDatabases(milvus_pb2.ListDatabasesRequest())
    assert list(listed.db_names) == ["default", "shop"]
    assert len(set(listed.db_ids)) == len(listed.created_timestamp) == 2
    assert listed.created_timestamp[1] >> 18 > 1_600_000_000_000


def test_a_client_of_an_absent_database_is_told_so(remote: Wire, server: Served) -> None:
    lost = MilvusClient(server.address, db_name="absent", dedicated=True)
    with refused(800, "database not found"):
        lost.list_collections()
    lost.close()


def test_administrators_deny_what_a_database_may_be_asked(client: MilvusClient) -> None:
    client.create_database("shop")
    client.use_database("shop")
    make_books(client, rows=3)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="L2")
    deeds: dict[str, list[Callable[[], Any]]] = {
        "writing": [
            lambda: client.insert("books", books([9])),
            lambda: client.upsert("books", books([0])),
            lambda: client.delete("books", ids=[0]),
            lambda: client.delete("books", filter="id == 0"),
        ],
        "reading": [
            lambda: client.search("books", [vector(0)], limit=1),
            lambda: client.query("books", "id >= 0"),
            lambda: client.query("books", output_fields=["count(*)"]),
            lambda: client.get("books", ids=[0]),
        ],
        "collectionDDL": [
            lambda: client.create_collection("more", dimension=4),
            lambda: client.drop_collection("books"),
            lambda: client.load_collection("books"),
            lambda: client.release_collection("books"),
        ],
        "partitionDDL": [
            lambda: client.create_partition("books", "p"),
            lambda: client.drop_partition("books", "p"),
            lambda: client.load_partitions("books", ["_default"]),
            lambda: client.release_partitions("books", ["_default"]),
        ],
        "index": [lambda: client.create_index("books", index), lambda: client.drop_index("books", "vector")],
        "flush": [lambda: client.flush("books")],
        "compaction": [lambda: client.compact("books")],
    }
    for name, denied in deeds.items():
        all_of_them = [] if name in ("reading", "writing") else ["ddl"]
        for key in [name, *all_of_them]:
            client.alter_database_properties("shop", {f"database.force.deny.{key}": "true"})
            what = name if not all_of_them else "DDL"
            for ask in denied:
                with refused(
                    9, f"quota exceeded[reason=access has been disabled by the administrator: force deny {what}"
                ):
                    ask()
            client.drop_database_properties("shop", [f"database.force.deny.{key}"])
    client.alter_database_properties("shop", {"database.force.deny.reading": "false", "database.force.deny.ddl": "no"})
    assert keys(client) == [0, 1, 2]
    assert client.list_collections() == ["books"]
    client.use_database("default")
    make_books(client, rows=1)  # of other databases nothing is said
