"""Loading, as Milvus clients rely on it: what is not loaded is not read."""

from __future__ import annotations

from typing import Any

from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2

from tests.wire_case import DIM, books, keys, make_books, refusal, refused, served, vector


def state(client: MilvusClient, partition: str = "") -> str:
    return str(client.get_load_state("books", partition)["state"].name)


def test_what_is_released_is_not_read_and_loaded_again_it_is(client: MilvusClient) -> None:
    make_books(client, rows=3)
    assert state(client) == "Loaded"
    client.release_collection("books")
    client.release_collection("books")
    assert state(client) == "NotLoad"
    for read in (
        lambda: client.query("books", "id >= 0"),
        lambda: client.query("books", output_fields=["count(*)"]),
        lambda: client.get("books", ids=[1]),
        lambda: client.search("books", [vector(1)]),
        lambda: client.delete("books", filter="id >= 0"),
        lambda: client.query_iterator("books"),
        lambda: client.search_iterator("books", [vector(1)]),
    ):
        with refused(101, "collection not loaded"):
            read()
    client.load_collection("books")
    client.load_collection("books")
    assert keys(client) == [0, 1, 2]
    client.refresh_load("books")


def test_what_is_released_is_written_all_the_same(client: MilvusClient) -> None:
    make_books(client, rows=3)
    client.release_collection("books")
    client.insert("books", books([7]))
    client.upsert("books", books([1]))
    assert client.delete("books", ids=[0])["delete_count"] == 1
    client.load_collection("books")
    assert keys(client) == [1, 2, 7]


def test_loading_needs_an_index_on_every_vector_field(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("other", DataType.FLOAT_VECTOR, dim=DIM)
    client.create_collection("books", schema=schema)
    with refused(700):
        client.load_collection("books")
    params = client.prepare_index_params()
    params.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_index("books", params, sync=False)
    with refused(1100, "other"):
        client.load_collection("books")
    assert state(client) == "NotLoad"


def test_partitions_are_loaded_and_released_one_by_one(client: MilvusClient) -> None:
    make_books(client, rows=2)
    client.create_partition("books", "new")
    client.insert("books", books([7]), partition_name="new")
    client.release_collection("books")
    client.load_partitions("books", ["new"])
    assert (state(client), state(client, "new"), state(client, "_default")) == ("Loaded", "Loaded", "NotLoad")
    assert keys(client) == [7]
    assert [hit["id"] for hit in client.search("books", [vector(0)])[0]] == [7]
    with refused(201):
        keys(client, partition_names=["_default"])
    client.load_partitions("books", ["_default"])
    assert keys(client) == [0, 1, 7]
    client.release_partitions("books", ["new"])
    assert keys(client) == [0, 1]
    with refused(200):
        client.load_partitions("books", ["absent"])
    with refused(200):
        client.release_partitions("books", ["absent"])


def test_a_partition_made_of_a_loaded_collection_is_loaded(client: MilvusClient) -> None:
    make_books(client)
    client.create_partition("books", "new")
    client.insert("books", books([7]), partition_name="new")
    assert keys(client) == keys(client, partition_names=["new"]) == [7]


def test_states_and_progress_are_told(client: MilvusClient, stub: Any) -> None:
    assert state(client) == "NotExist"
    make_books(client)
    asked = milvus_pb2.GetLoadingProgressRequest
    found = stub.GetLoadingProgress(asked(collection_name="books"))
    assert (found.progress, found.refresh_progress) == (100, 100)
    client.release_collection("books")
    assert refusal(stub.GetLoadingProgress(asked(collection_name="books")).status) == 101
    assert refusal(stub.GetLoadingProgress(asked(collection_name="absent")).status) == 100
    of_partition = milvus_pb2.GetLoadStateRequest(collection_name="books", partition_names=["absent"])
    assert refusal(stub.GetLoadState(of_partition).status) == 200


def test_what_loading_may_not(client: MilvusClient, stub: Any) -> None:
    make_books(client)
    client.release_collection("books")
    with refused(1100, "replica"):
        client.load_collection("books", replica_number=2)
    assert refusal(stub.LoadPartitions(milvus_pb2.LoadPartitionsRequest(collection_name="books"))) == 1100
    assert refusal(stub.ReleasePartitions(milvus_pb2.ReleasePartitionsRequest(collection_name="books"))) == 1100
    with refused(1100, "primary key"):
        client.load_collection("books", load_fields=["vector"])
    with refused(1100, "vector"):
        client.load_collection("books", load_fields=["id"])
    client.load_collection("books", load_fields=["id", "vector"], skip_load_dynamic_field=True)
    assert state(client) == "Loaded"


def test_what_is_loaded_is_loaded_after_a_restart(tmp_path: Any) -> None:
    for rows in ([], [0, 1]):
        with served(tmp_path) as server:
            client = MilvusClient(server.address, dedicated=True)
            if not rows:
                make_books(client, rows=2)
                make_books(client, "closed")
                client.release_collection("closed")
            assert keys(client) == [0, 1]
            assert client.get_load_state("closed")["state"].name == "NotLoad"
            client.close()
            server.process.terminate()
            assert server.end() == 0
