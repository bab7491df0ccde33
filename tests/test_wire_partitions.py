"""Partitions, as Milvus clients use them."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2

from tests.wire_case import books, keys, make_books, refusal, refused, vector


@pytest.fixture(autouse=True)
def collection(client: MilvusClient) -> None:
    make_books(client)
    client.create_partition("books", "new")


def test_partitions_are_made_listed_and_dropped(client: MilvusClient) -> None:
    client.create_partition("books", "new")
    client.create_partition("books", "1-old")
    assert client.list_partitions("books") == ["_default", "new", "1-old"]
    assert client.has_partition("books", "new")
    assert not client.has_partition("books", "absent")
    assert client.describe_collection("books")["num_partitions"] == 3
    client.release_partitions("books", ["new"])
    client.drop_partition("books", "new")
    client.drop_partition("books", "new")
    assert client.list_partitions("books") == ["_default", "1-old"]


def test_rows_go_to_their_partition_and_reads_may_be_bound_to_it(client: MilvusClient) -> None:
    client.insert("books", books([1, 2]))
    client.insert("books", books([3, 4]), partition_name="new")
    assert keys(client) == [1, 2, 3, 4]
    assert keys(client, partition_names=["new"]) == [3, 4]
    hits = client.search("books", [vector(1)], partition_names=["new"], limit=10)[0]
    assert [hit["id"] for hit in hits] == [3, 4]
    assert client.get_partition_stats("books", "new") == {"row_count": 2}
    client.upsert("books", books([4, 5]), partition_name="new")
    assert client.delete("books", filter="id > 0", partition_name="new")["delete_count"] == 3
    assert keys(client) == [1, 2]


def test_a_loaded_partition_is_released_before_it_is_dropped(client: MilvusClient) -> None:
    client.insert("books", books([1]), partition_name="new")
    with refused(1100, "release"):
        client.drop_partition("books", "new")
    client.release_partitions("books", ["new"])
    client.drop_partition("books", "new")
    assert keys(client) == []


def test_what_a_partition_may_not(client: MilvusClient, stub: Any) -> None:
    with refused(1100):
        client.drop_partition("books", "_default")
    with refused(1100):
        client.create_partition("books", "no spaces")
    with refused(100):
        client.create_partition("absent", "new")
    with refused(200):
        client.insert("books", books([1]), partition_name="absent")
    with refused(200):
        client.get_partition_stats("books", "absent")
    with refused(200):
        keys(client, partition_names=["absent"])
    with refused(200):
        client.search("books", [vector(1)], partition_names=["absent"])
    with refused(100):
        client.has_partition("absent", "new")
    named = milvus_pb2.ShowPartitionsRequest(collection_name="books", partition_names=["absent"])
    assert refusal(stub.ShowPartitions(named).status) == 200


def test_listing_says_what_is_loaded(stub: Any, client: MilvusClient) -> None:
    client.release_partitions("books", ["new"])
    shown = stub.ShowPartitions(milvus_pb2.ShowPartitionsRequest(collection_name="books"))
    assert list(shown.partition_names) == ["_default", "new"]
    assert list(shown.inMemory_percentages) == [100, 0]
    assert len(shown.partitionIDs) == len(shown.created_timestamps) == len(shown.created_utc_timestamps) == 2


def test_a_name_that_no_partition_can_have(client: MilvusClient) -> None:
    make_books(client)
    with refused(1100, "Invalid partition name: . Partition name should not be empty."):
        client.insert("books", books([1]), partition_name="  ")
    for name in ("12 s", "(mn)", "中文"):
        with refused(200, f"partition not found[partition={name}]"):
            client.load_partitions("books", name)
