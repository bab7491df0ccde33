"""Partitions."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus.model.timestamps import milliseconds_of
from elanus.service import collections, loading, partitions
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.pairs import to_pairs


def create(call: Call, request: milvus_pb2.CreatePartitionRequest) -> common_pb2.Status:
    partitions.create(call.ctx, call.instance, request.collection_name, request.partition_name)
    return common_pb2.Status()


def drop(call: Call, request: milvus_pb2.DropPartitionRequest) -> common_pb2.Status:
    loading.check_droppable(call.ctx, call.instance, request.collection_name, request.partition_name)
    partitions.drop(call.ctx, call.instance, request.collection_name, request.partition_name)
    return common_pb2.Status()


def has(call: Call, request: milvus_pb2.HasPartitionRequest) -> milvus_pb2.BoolResponse:
    found = partitions.has(call.ctx, call.instance, request.collection_name, request.partition_name)
    return milvus_pb2.BoolResponse(value=found)


def show(call: Call, request: milvus_pb2.ShowPartitionsRequest) -> milvus_pb2.ShowPartitionsResponse:
    """All partitions or those named, with how much of each is loaded."""
    found = partitions.list_all(call.ctx, call.instance, request.collection_name)
    if request.partition_names:
        partitions.check_named(call.ctx, call.instance, request.collection_name, request.partition_names)
        found = [p for p in found if p.name in set(request.partition_names)]
    created = collections.describe(call.ctx, call.instance, request.collection_name).created
    loaded = loading.info(call.ctx, call.instance, request.collection_name)
    names = frozenset(loaded.partitions) if loaded is not None else frozenset()
    return milvus_pb2.ShowPartitionsResponse(
        partition_names=[p.name for p in found],
        partitionIDs=[p.id for p in found],
        created_timestamps=[created] * len(found),
        created_utc_timestamps=[milliseconds_of(created)] * len(found),
        inMemory_percentages=[100 if p.name in names else 0 for p in found],
    )


def statistics(
    call: Call, request: milvus_pb2.GetPartitionStatisticsRequest
) -> milvus_pb2.GetPartitionStatisticsResponse:
    count = partitions.row_count(call.ctx, call.instance, request.collection_name, request.partition_name)
    return milvus_pb2.GetPartitionStatisticsResponse(stats=to_pairs({"row_count": count}))


METHODS = {
    "CreatePartition": create,
    "DropPartition": drop,
    "HasPartition": has,
    "ShowPartitions": show,
    "GetPartitionStatistics": statistics,
}
