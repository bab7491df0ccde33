"""Resource groups and replicas: those of one node."""

from __future__ import annotations

from typing import Any

from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2

from tests.wire_case import make_books, refusal, refused

GROUP = "__default_resource_group"


def test_there_is_one_group_with_one_node(client: MilvusClient) -> None:
    make_books(client)
    assert client.list_resource_groups() == [GROUP]
    found = client.describe_resource_group(GROUP)
    assert (found.name, found.capacity, found.num_available_node) == (GROUP, 1, 1)
    assert found.num_loaded_replica == {"books": 1}
    assert len(found.nodes) == 1
    with refused(300, "absent"):
        client.describe_resource_group("absent")


def test_groups_cannot_be_changed(client: MilvusClient) -> None:
    with refused(10, "one node"):
        client.create_resource_group("more")
    with refused(10, "one node"):
        client.drop_resource_group("more")
    with refused(10, "one node"):
        client.transfer_replica(GROUP, "more", "books", 1)


def test_what_is_loaded_has_one_replica(client: MilvusClient, stub: Any) -> None:
    make_books(client, num_shards=2)
    client.create_partition("books", "new")
    (replica,) = client.describe_replica("books")
    assert (replica.resource_group, len(replica.group_nodes), len(replica.shards)) == (GROUP, 1, 2)
    number = client.describe_collection("books")["collection_id"]
    (found,) = stub.GetReplicas(milvus_pb2.GetReplicasRequest(collectionID=number, with_shard_nodes=True)).replicas
    assert found.collectionID == number
    assert len(found.partition_ids) == 2
    assert [list(shard.node_ids) for shard in found.shard_replicas] == [[1], [1]]
    client.release_collection("books")
    assert client.describe_replica("books") == []
    with refused(100):
        client.describe_replica("absent")
    assert refusal(stub.GetReplicas(milvus_pb2.GetReplicasRequest()).status) == 1100
