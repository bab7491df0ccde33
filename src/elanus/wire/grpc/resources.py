"""Resource groups and replicas, as they are on a single node: one group, one node, one replica of what is loaded."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus.model.errors import InvalidParameter, NotSupported, ResourceGroupNotFound
from elanus.service import collections, loading
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.collections import virtual_channels
from elanus.wire.grpc.system import NODE_ID

DEFAULT_GROUP = "__default_resource_group"
_ONE_NODE = "a server of one node has one resource group, " + DEFAULT_GROUP


def list_groups(_call: Call, _request: Any) -> milvus_pb2.ListResourceGroupsResponse:
    return milvus_pb2.ListResourceGroupsResponse(resource_groups=[DEFAULT_GROUP])


def describe_group(
    call: Call, request: milvus_pb2.DescribeResourceGroupRequest
) -> milvus_pb2.DescribeResourceGroupResponse:
    """Raises `ResourceGroupNotFound` for any but the default one."""
    if request.resource_group != DEFAULT_GROUP:
        raise ResourceGroupNotFound(f"resource group not found[rg={request.resource_group}]: {_ONE_NODE}")
    loaded = [
        entry.name
        for entry in collections.list_all(call.ctx, call.instance)
        if loading.info(call.ctx, call.instance, entry.name) is not None
    ]
    return milvus_pb2.DescribeResourceGroupResponse(
        resource_group=milvus_pb2.ResourceGroup(
            name=DEFAULT_GROUP,
            capacity=1,
            num_available_node=1,
            num_loaded_replica=dict.fromkeys(loaded, 1),
            nodes=[common_pb2.NodeInfo(node_id=NODE_ID, hostname="localhost")],
        )
    )


def refuse(_call: Call, _request: Any) -> common_pb2.Status:
    raise NotSupported(f"{_ONE_NODE}, and it cannot be changed")


def replicas(call: Call, request: milvus_pb2.GetReplicasRequest) -> milvus_pb2.GetReplicasResponse:
    """The one replica of a loaded collection, none of another. Raises `CollectionNotFound`."""
    name = collections.named(call.ctx, call.instance, request.collection_name, request.collectionID)
    if not name:
        raise InvalidParameter("a collection is named by its name or its id: send one of them")
    info = collections.describe(call.ctx, call.instance, name)
    loaded = loading.info(call.ctx, call.instance, name)
    if loaded is None:
        return milvus_pb2.GetReplicasResponse()
    shards = [
        milvus_pb2.ShardReplica(
            leaderID=NODE_ID,
            leader_addr="localhost",
            dm_channel_name=channel,
            node_ids=[NODE_ID] if request.with_shard_nodes else [],
        )
        for channel in virtual_channels(info)
    ]
    return milvus_pb2.GetReplicasResponse(
        replicas=[
            milvus_pb2.ReplicaInfo(
                replicaID=info.id,
                collectionID=info.id,
                partition_ids=sorted(loaded.partition_ids),
                shard_replicas=shards,
                node_ids=[NODE_ID],
                resource_group_name=DEFAULT_GROUP,
            )
        ]
    )


METHODS = {
    "ListResourceGroups": list_groups,
    "DescribeResourceGroup": describe_group,
    "CreateResourceGroup": refuse,
    "DropResourceGroup": refuse,
    "UpdateResourceGroups": refuse,
    "TransferNode": refuse,
    "TransferReplica": refuse,
    "GetReplicas": replicas,
}
