"""Indexes."""

from __future__ import annotations

from typing import Any

import orjson
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus.model.errors import IndexNotFound, InvalidParameter
from elanus.service import indexes
from elanus.service.indexes import IndexInfo, IndexRequest, IndexState
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.pairs import from_pairs, json_object, to_pairs

MAX_PARAMS_BYTES = 100 << 10

_STATES = {
    IndexState.IN_PROGRESS: common_pb2.IndexState.InProgress,
    IndexState.FINISHED: common_pb2.IndexState.Finished,
}


def create(call: Call, request: milvus_pb2.CreateIndexRequest) -> common_pb2.Status:
    """Parameters come as pairs, and as JSON text in a pair `params`; both are taken."""
    asked = asked_index(request.field_name, from_pairs(request.extra_params), request.index_name)
    indexes.create(call.ctx, call.instance, request.collection_name, asked)
    return common_pb2.Status()


def asked_index(field: str, given: dict[str, str], name: str) -> IndexRequest:
    """The index that the pairs `given` ask for. Raises `InvalidParameter` where they are too long."""
    if sum(len(key) + len(value) for key, value in given.items()) > MAX_PARAMS_BYTES:
        raise InvalidParameter(f"index params are too long: at most {MAX_PARAMS_BYTES} bytes are taken")
    params = _expanded(given)
    kind = str(params.pop("index_type", "") or "AUTOINDEX")
    metric = params.pop("metric_type", None)
    return IndexRequest(field, kind, metric or None, params, name)


def describe(call: Call, request: milvus_pb2.DescribeIndexRequest) -> milvus_pb2.DescribeIndexResponse:
    """The index of a name or a field, or all of a collection. Raises `IndexNotFound` where there is none."""
    found = _found(call, request.collection_name, request.index_name, request.field_name)
    return milvus_pb2.DescribeIndexResponse(index_descriptions=[_description(info) for info in found])


def statistics(call: Call, request: milvus_pb2.GetIndexStatisticsRequest) -> milvus_pb2.GetIndexStatisticsResponse:
    found = _found(call, request.collection_name, request.index_name, "")
    return milvus_pb2.GetIndexStatisticsResponse(index_descriptions=[_description(info) for info in found])


def drop(call: Call, request: milvus_pb2.DropIndexRequest) -> common_pb2.Status:
    """By the name of the index, or of its field; an absent one is no error."""
    for info in indexes.list_all(call.ctx, call.instance, request.collection_name):
        if request.index_name == info.name or (not request.index_name and request.field_name == info.field):
            indexes.check_droppable(call.ctx, call.instance, request.collection_name, info)
            indexes.drop(call.ctx, call.instance, request.collection_name, info.name)
    return common_pb2.Status()


def alter(call: Call, request: milvus_pb2.AlterIndexRequest) -> common_pb2.Status:
    indexes.alter(
        call.ctx,
        call.instance,
        request.collection_name,
        request.index_name,
        _expanded(from_pairs(request.extra_params)),
        list(request.delete_keys),
    )
    return common_pb2.Status()


def state(call: Call, request: milvus_pb2.GetIndexStateRequest) -> milvus_pb2.GetIndexStateResponse:
    (info, *_) = _found(call, request.collection_name, request.index_name, request.field_name)
    return milvus_pb2.GetIndexStateResponse(state=_STATES[info.state])


def progress(call: Call, request: milvus_pb2.GetIndexBuildProgressRequest) -> milvus_pb2.GetIndexBuildProgressResponse:
    (info, *_) = _found(call, request.collection_name, request.index_name, request.field_name)
    return milvus_pb2.GetIndexBuildProgressResponse(indexed_rows=info.indexed_rows, total_rows=info.total_rows)


def _found(call: Call, collection: str, index: str, field: str) -> list[IndexInfo]:
    found = [
        info
        for info in indexes.list_all(call.ctx, call.instance, collection)
        if (not index or info.name == index) and (not field or info.field == field or info.name == field)
    ]
    if not found:
        what = f"[indexName={index}]" if index else ""
        raise IndexNotFound(f"index not found{what}[collection={collection}]")
    return found


def _description(info: IndexInfo) -> milvus_pb2.IndexDescription:
    params: dict[str, Any] = {"index_type": info.kind}
    if info.metric is not None:
        params["metric_type"] = info.metric.value
    # As they came: those that came as pairs are text, those of a JSON object are numbers.
    params |= {key: value for key, value in info.params.items() if isinstance(value, str)}
    own = {key: value for key, value in info.params.items() if not isinstance(value, str)}
    if own:
        params["params"] = orjson.dumps(own).decode()
    return milvus_pb2.IndexDescription(
        index_name=info.name,
        indexID=info.id,
        params=to_pairs(params),
        field_name=info.field,
        indexed_rows=info.indexed_rows,
        total_rows=info.total_rows,
        pending_index_rows=info.total_rows - info.indexed_rows,
        state=_STATES[info.state],
    )


def _expanded(given: dict[str, str]) -> dict[str, Any]:
    """The pairs, with the JSON object of `params` spread out among them."""
    inner = json_object("index params", given.pop("params", ""))
    return {**given, **inner}


METHODS = {
    "CreateIndex": create,
    "DescribeIndex": describe,
    "DropIndex": drop,
    "AlterIndex": alter,
    "GetIndexState": state,
    "GetIndexBuildProgress": progress,
    "GetIndexStatistics": statistics,
}
