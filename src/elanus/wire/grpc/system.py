"""Connections, versions, health, timestamps: what a client asks before it asks for anything else."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus.service import databases, system
from elanus.version import __version__
from elanus.wire.grpc.call import Call

MILVUS_VERSION = "2.6.6"
"""The release of Milvus whose protocol is spoken: clients turn features on and off by it."""

NODE_ID = 1
"""The only node there is."""


def connect(call: Call, _request: milvus_pb2.ConnectRequest) -> milvus_pb2.ConnectResponse:
    """The identifier names the connection; clients send it back in a header. Raises `DatabaseNotFound`."""
    databases.describe(call.ctx, call.instance, call.ctx.database)
    return milvus_pb2.ConnectResponse(
        server_info=common_pb2.ServerInfo(
            build_tags=MILVUS_VERSION, git_commit=f"elanus-{__version__}", deploy_mode="STANDALONE"
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


def alloc_timestamp(call: Call, _request: Any) -> milvus_pb2.AllocTimestampResponse:
    return milvus_pb2.AllocTimestampResponse(timestamp=system.timestamp(call.ctx, call.instance))


METHODS = {
    "Connect": connect,
    "GetVersion": get_version,
    "CheckHealth": check_health,
    "GetComponentStates": get_component_states,
    "AllocTimestamp": alloc_timestamp,
}
