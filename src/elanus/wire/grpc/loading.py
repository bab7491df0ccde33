"""Load and release."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus.service import loading
from elanus.wire.grpc.call import Call


def load_collection(call: Call, request: milvus_pb2.LoadCollectionRequest) -> common_pb2.Status:
    loading.load(
        call.ctx, call.instance, request.collection_name, None, request.replica_number, list(request.load_fields)
    )
    return common_pb2.Status()


def release_collection(call: Call, request: milvus_pb2.ReleaseCollectionRequest) -> common_pb2.Status:
    loading.release(call.ctx, call.instance, request.collection_name)
    return common_pb2.Status()


def load_partitions(call: Call, request: milvus_pb2.LoadPartitionsRequest) -> common_pb2.Status:
    loading.load(
        call.ctx,
        call.instance,
        request.collection_name,
        list(request.partition_names),
        request.replica_number,
        list(request.load_fields),
    )
    return common_pb2.Status()


def release_partitions(call: Call, request: milvus_pb2.ReleasePartitionsRequest) -> common_pb2.Status:
    loading.release(call.ctx, call.instance, request.collection_name, list(request.partition_names))
    return common_pb2.Status()


def get_load_state(call: Call, request: milvus_pb2.GetLoadStateRequest) -> milvus_pb2.GetLoadStateResponse:
    found = loading.state(call.ctx, call.instance, request.collection_name, list(request.partition_names))
    return milvus_pb2.GetLoadStateResponse(state=common_pb2.LoadState.ValueType(int(found)))


def get_loading_progress(
    call: Call, request: milvus_pb2.GetLoadingProgressRequest
) -> milvus_pb2.GetLoadingProgressResponse:
    percent = loading.progress(call.ctx, call.instance, request.collection_name, list(request.partition_names))
    return milvus_pb2.GetLoadingProgressResponse(progress=percent, refresh_progress=percent)


METHODS = {
    "LoadCollection": load_collection,
    "ReleaseCollection": release_collection,
    "LoadPartitions": load_partitions,
    "ReleasePartitions": release_partitions,
    "GetLoadState": get_load_state,
    "GetLoadingProgress": get_loading_progress,
}
