"""Connections, versions, health, timestamps: what a client asks before it asks for anything else."""

from __future__ import annotations

from typing import Any

import orjson
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus.model.errors import InvalidParameter
from elanus.service import databases, recall, system
from elanus.version import __version__
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.pairs import json_object

MILVUS_VERSION = "2.6.6"
"""The release of Milvus whose protocol is spoken: clients turn features on and off by it."""

NODE_ID = 1
"""The only node there is."""

DEPLOY_MODE = "STANDALONE"

SYSTEM_INFO = "system_info"
"""The kind of metrics that says what the nodes are."""

RECALL = "recall"
"""The kind that says what searches have found (see `service.recall`)."""


def connect(call: Call, _request: milvus_pb2.ConnectRequest) -> milvus_pb2.ConnectResponse:
    """The identifier names the connection; clients send it back in a header. Raises `DatabaseNotFound`."""
    databases.describe(call.ctx, call.instance, call.ctx.database)
    return milvus_pb2.ConnectResponse(
        server_info=common_pb2.ServerInfo(
            build_tags=MILVUS_VERSION, git_commit=f"elanus-{__version__}", deploy_mode=DEPLOY_MODE
        ),
        identifier=system.timestamp(call.ctx, call.instance),
    )


def get_version(_call: Call, _request: Any) -> milvus_pb2.GetVersionResponse:
    return milvus_pb2.GetVersionResponse(version=f"{MILVUS_VERSION}-elanus-{__version__}")


def check_health(call: Call, _request: Any) -> milvus_pb2.CheckHealthResponse:
    reason = system.unhealthy(call.ctx, call.instance)
    return milvus_pb2.CheckHealthResponse(isHealthy=not reason, reasons=[reason] if reason else [])


def get_component_states(call: Call, _request: Any) -> milvus_pb2.ComponentStates:
    code = common_pb2.StateCode.Abnormal if system.unhealthy(call.ctx, call.instance) else common_pb2.StateCode.Healthy
    return milvus_pb2.ComponentStates(
        state=milvus_pb2.ComponentInfo(nodeID=NODE_ID, role="standalone", state_code=code)
    )


def get_metrics(call: Call, request: milvus_pb2.GetMetricsRequest) -> milvus_pb2.GetMetricsResponse:
    """What the one node is, as JSON, which is what clients ask for; or the recall of searches, a list of gauges.

    Raises `InvalidParameter` for a request that is no JSON object or names another kind.
    """
    kind = json_object("metrics request", request.request).get("metric_type")
    name = f"standalone{NODE_ID}"
    if kind == RECALL:
        gauges = [gauge._asdict() for gauge in recall.metrics(call.ctx, call.instance)]
        return milvus_pb2.GetMetricsResponse(response=orjson.dumps(gauges).decode(), component_name=name)
    if kind != SYSTEM_INFO:
        raise InvalidParameter(f"metric_type {kind!r} is not supported: ask for {SYSTEM_INFO} or {RECALL}")
    infos = {
        "has_error": False,
        "error_reason": "",
        "name": name,
        "hardware_infos": system.hardware(),
        "system_infos": {
            "system_version": f"elanus-{__version__}",
            "deploy_mode": DEPLOY_MODE,
            "build_version": MILVUS_VERSION,
        },
        "type": "standalone",
        "id": NODE_ID,
    }
    text = orjson.dumps({"nodes_info": [{"connected": [], "identifier": NODE_ID, "infos": infos}]}).decode()
    return milvus_pb2.GetMetricsResponse(response=text, component_name=name)


def alloc_timestamp(call: Call, _request: Any) -> milvus_pb2.AllocTimestampResponse:
    return milvus_pb2.AllocTimestampResponse(timestamp=system.timestamp(call.ctx, call.instance))


METHODS = {
    "Connect": connect,
    "GetVersion": get_version,
    "CheckHealth": check_health,
    "GetMetrics": get_metrics,
    "GetComponentStates": get_component_states,
    "AllocTimestamp": alloc_timestamp,
}
