"""Every RPC of the protocol answers, whatever it is sent."""

from __future__ import annotations

import random
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from pymilvus.grpc_gen import milvus_pb2

from tests.fuzz_corpus import is_repeated
from tests.wire_case import Served, Wire, make_books

SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
UNARY = [m for m in SERVICE.methods if not m.client_streaming and not m.server_streaming]
STREAMING = [m for m in SERVICE.methods if m.client_streaming or m.server_streaming]

SUPPORTED = {
    "AddCollectionField", "AddCollectionFunction", "AllocTimestamp", "AlterAlias", "AlterCollection",
    "AlterCollectionField", "AlterCollectionFunction", "AlterCollectionSchema", "AlterDatabase", "AlterIndex",
    "BatchDescribeCollection", "CheckHealth", "Connect", "CreateAlias", "CreateCollection", "CreateDatabase",
    "CreateIndex", "CreatePartition", "Delete", "DescribeAlias", "DescribeCollection", "DescribeDatabase",
    "DescribeIndex", "DescribeResourceGroup", "DropAlias", "DropCollection", "DropCollectionFunction", "DropDatabase",
    "DropIndex", "DropPartition", "Flush", "FlushAll", "GetCollectionStatistics", "GetCompactionState",
    "GetCompactionStateWithPlans", "GetComponentStates", "GetFlushAllState", "GetFlushState", "GetIndexBuildProgress",
    "GetIndexState", "GetIndexStatistics", "GetLoadState", "GetLoadingProgress", "GetMetrics",
    "GetPartitionStatistics", "GetPersistentSegmentInfo", "GetQuerySegmentInfo", "GetReplicas", "GetVersion",
    "HasCollection", "HasPartition", "Insert", "ListAliases", "ListDatabases", "ListResourceGroups", "LoadCollection",
    "LoadPartitions", "ManualCompaction", "Query", "ReleaseCollection", "ReleasePartitions", "RenameCollection",
    "RunAnalyzer", "Search", "ShowCollections", "ShowPartitions", "TruncateCollection", "Upsert",
}  # fmt: skip
"""What Elanus has; every other RPC says by its name that it is not supported."""

NODE_ONLY = {"CreateResourceGroup", "DropResourceGroup", "UpdateResourceGroups", "TransferNode", "TransferReplica"}
"""Not supported on one node, which they say."""


STATUSLESS = {"Dummy", "GetReplicateInfo"}
"""Their answers have no place for a refusal, so it is gRPC's own."""


def status_of(answer: Any) -> Any:
    """It is there also where all is well: clients in JavaScript do not ask whether it is."""
    for name in ("status", "alter_status"):
        if name in answer.DESCRIPTOR.fields_by_name:
            assert answer.HasField(name)
            return getattr(answer, name)
    return answer


def call(wire: Wire, method: Any, message: Any) -> Any:
    return getattr(wire.stub, method.name)(message, timeout=30)


def check(method: Any, answer: Any) -> None:
    assert answer.DESCRIPTOR.full_name == method.output_type.full_name
    status = status_of(answer)
    if method.name not in SUPPORTED:
        assert status.code == 10
        assert status.error_code != 0
        assert (
            "one node" in status.reason
            if method.name in NODE_ONLY
            else (f"{method.name} is not supported" in status.reason)
        )
    for word in ("Traceback", "internal error", "Error:", ".py"):
        assert word not in status.reason, status.reason
    assert bool(status.code) == bool(status.reason)


@pytest.mark.parametrize("method", UNARY, ids=[m.name for m in UNARY])
def test_an_empty_request_is_answered(wire: Wire, method: Any) -> None:
    if method.name in STATUSLESS:
        with pytest.raises(grpc.RpcError) as caught:
            call(wire, method, GetMessageClass(method.input_type)())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        return
    check(method, call(wire, method, GetMessageClass(method.input_type)()))


@pytest.mark.parametrize("method", [m for m in UNARY if m.name in SUPPORTED], ids=sorted(SUPPORTED))
def test_a_request_full_of_nonsense_is_answered(wire: Wire, method: Any, seed: int) -> None:
    make_books(wire.client, rows=3)
    draw = random.Random(seed)
    for _ in range(20):
        check(method, call(wire, method, nonsense(GetMessageClass(method.input_type)(), draw, 0)))


def nonsense(message: Any, draw: random.Random, depth: int) -> Any:
    """`message` with some of its fields set to what nobody would send."""
    for field in message.DESCRIPTOR.fields:
        if draw.random() < 0.3 or (depth > 3 and field.message_type) or field.name == "guarantee_timestamp":
            continue
        many = draw.randrange(3) if is_repeated(field) else 1
        if field.message_type and field.message_type.GetOptions().map_entry:
            continue
        for _ in range(many):
            if field.message_type:
                part = getattr(message, field.name)
                nonsense(part.add() if is_repeated(field) else part, draw, depth + 1)
                if not is_repeated(field):
                    part.SetInParent()
                continue
            value = _value(field, draw)
            if is_repeated(field):
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    return message


def _value(field: Any, draw: random.Random) -> Any:
    texts = [
        "",
        "books",
        "vector",
        "id",
        "_default",
        "id > 0",
        "ß" * 9,
        "\0",
        "-1",
        "1e400",
        "{}",
        "[",
        "$meta",
        "default",
    ]
    by_kind: dict[Any, list[Any]] = {
        field.CPPTYPE_STRING: [text.encode() for text in texts] if field.type == field.TYPE_BYTES else texts,
        field.CPPTYPE_BOOL: [True, False],
        field.CPPTYPE_FLOAT: [0.0, -1.5, float("nan"), float("inf")],
        field.CPPTYPE_DOUBLE: [0.0, -1.5, float("nan"), float("inf")],
        field.CPPTYPE_INT32: [0, 1, -1, 2**31 - 1, -(2**31)],
        field.CPPTYPE_INT64: [0, 1, -1, 2**63 - 1, -(2**63)],
        field.CPPTYPE_UINT32: [0, 1, 2**32 - 1],
        field.CPPTYPE_UINT64: [0, 1, 2**40],
    }
    if field.enum_type:
        return draw.choice([value.number for value in field.enum_type.values] + [12_345])
    return draw.choice(by_kind[field.cpp_type])


@pytest.fixture
def channel(server: Served) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened


def test_garbage_is_refused_by_every_rpc_and_the_server_lives(channel: Any, over_socket: Wire, server: Served) -> None:
    for method in UNARY:
        send = channel.unary_unary(f"/{SERVICE.full_name}/{method.name}", lambda data: data, lambda data: data)
        for data in (b"\xff" * 9, b"\x0a\xff", b"garbage", b"\x07"):
            with pytest.raises(grpc.RpcError) as caught:
                send(data, timeout=30)
            refused = grpc.StatusCode.UNIMPLEMENTED if method.name in STATUSLESS else grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.code() is refused
            assert "Traceback" not in caught.value.details()
    assert over_socket.client.list_databases() == ["default"]
    assert server.process.poll() is None


def test_streams_are_not_implemented(channel: Any, in_process: Wire) -> None:
    for way in (channel, in_process.client._handler._channel):
        for method in STREAMING:
            path = f"/{SERVICE.full_name}/{method.name}"
            kind = way.stream_stream if method.client_streaming else way.unary_stream
            send = kind(path, lambda _: b"", lambda data: data)
            with pytest.raises(grpc.RpcError) as caught:
                list(send(iter([None]) if method.client_streaming else None, timeout=30))
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
