"""What clients ask of the server itself: who it is, whether it is well, what it can do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from pymilvus import MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from tests.wire_case import Served, refusal

SERVICE = "milvus.proto.milvus.MilvusService"


@pytest.fixture
def channel(server: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened


def test_a_client_is_told_a_version_that_it_understands(client: MilvusClient, stub: Any) -> None:
    assert client.get_server_version().startswith("2.6.")
    assert client.get_server_version(detail=True)["version"].startswith("2.6.")
    answer = stub.Connect(milvus_pb2.ConnectRequest(client_info=common_pb2.ClientInfo(sdk_type="Test")))
    assert answer.server_info.build_tags.startswith("2.6.")
    assert answer.identifier > 0
    assert stub.Connect(milvus_pb2.ConnectRequest()).identifier != answer.identifier


def test_connecting_to_an_absent_database_is_refused(stub: Any) -> None:
    answer = stub.Connect(milvus_pb2.ConnectRequest(), metadata=(("dbname", "absent"),))
    assert refusal(answer.status) == 800


def test_any_token_is_taken(remote: Any, server: Served) -> None:
    for options in ({"token": "root:Milvus"}, {"user": "root", "password": "Milvus"}):
        client = MilvusClient(server.address, dedicated=True, **options)
        assert client.list_collections() == []
        client.close()


def test_the_server_is_healthy(stub: Any) -> None:
    answer = stub.CheckHealth(milvus_pb2.CheckHealthRequest())
    assert answer.isHealthy
    assert list(answer.reasons) == []
    states = stub.GetComponentStates(milvus_pb2.GetComponentStatesRequest())
    assert states.state.state_code == common_pb2.StateCode.Healthy


def test_timestamps_rise_with_the_clock(stub: Any) -> None:
    first, second = (stub.AllocTimestamp(milvus_pb2.AllocTimestampRequest()).timestamp for _ in range(2))
    assert first < second
    assert abs((second >> 18) / 1000 - time.time()) < 60


def test_health_is_told_in_the_way_of_grpc(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="absent"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_what_there_is_can_be_read_by_reflection(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    described = DescriptorPool(database).FindServiceByName(SERVICE)
    known = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
    assert {m.name for m in described.methods} == {m.name for m in known.methods}


def test_a_method_that_does_not_exist_is_unimplemented(channel: grpc.Channel, in_process: Any) -> None:
    for way in (channel, in_process.client._handler._channel):
        call = way.unary_unary(f"/{SERVICE}/Absent", lambda _: b"", lambda data: data)
        with pytest.raises(grpc.RpcError) as caught:
            call(None, timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_metrics_say_what_the_one_node_is(stub: Any) -> None:
    answer = stub.GetMetrics(milvus_pb2.GetMetricsRequest(request='{"metric_type": "system_info"}'))
    assert (answer.status.code, answer.component_name) == (0, "standalone1")
    (node,) = json.loads(answer.response)["nodes_info"]
    assert node["infos"]["type"] == "standalone"
    assert node["infos"]["hardware_infos"]["cpu_core_count"] >= 1
    assert node["infos"]["hardware_infos"]["memory"] > 1 << 20


@pytest.mark.parametrize("asked", ["", "{}", "[]", "no json", '{"metric_type": "rows"}'])
def test_metrics_of_another_kind_are_refused(stub: Any, asked: str) -> None:
    assert refusal(stub.GetMetrics(milvus_pb2.GetMetricsRequest(request=asked)).status) == 1100
