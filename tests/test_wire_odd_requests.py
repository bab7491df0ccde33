"""Requests that no client sends, as `tests.fuzz` found them: each is answered, and told what is wrong with it."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from elanus.wire.grpc.dispatch import Pool
from elanus.wire.grpc.server import THREADS
from tests.wire_case import Served, Wire, books, make_books, refusal


def test_bytes_that_are_no_message(server: Served) -> None:
    """A client of the SDK does not try again what is answered so."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for name in ("Search", "Insert", "GetVersion"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(f"/milvus.proto.milvus.MilvusService/{name}")(b"\xff")
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.details() == f"the request cannot be read: it is no {name}Request"


def test_query_vectors_that_cannot_be_read(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=1)
    request = milvus_pb2.SearchRequest(collection_name="books", placeholder_group=b"\xff")
    request.search_params.add(key="topk", value="1")
    assert refusal(stub.Search(request).status) == 1100


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"tru"])
def test_values_of_filters_that_are_no_json(client: MilvusClient, stub: Any, text: bytes) -> None:
    make_books(client, rows=1)
    values = schema_pb2.TemplateArrayValue(json_data=schema_pb2.JSONArray(data=[text]))
    given = {"keys": schema_pb2.TemplateValue(array_val=values)}
    request = milvus_pb2.DeleteRequest(collection_name="books", expr="id in {keys}", expr_template_values=given)
    assert refusal(stub.Delete(request).status) == 1100


def test_reads_of_a_time_to_come_keep_no_other_waiting(remote: Wire) -> None:
    make_books(remote.client, rows=1)
    calls = [remote.stub.Query.future(_read(ahead_ms=3_600_000)) for _ in range(2 * THREADS[Pool.WAIT])]
    assert remote.stub.Query(_read(), timeout=20).status.code == 0
    assert remote.client.insert("books", books(range(1, 2)))["insert_count"] == 1
    with pytest.raises(grpc.RpcError) as caught:  # those before it hold all that may wait
        remote.stub.Query(_read(ahead_ms=1), timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for call in calls:
        call.cancel()
    assert remote.stub.Query(_read(ahead_ms=100), timeout=20).status.code == 0  # their callers have gone


def _read(ahead_ms: int | None = None) -> milvus_pb2.QueryRequest:
    guarantee = 0 if ahead_ms is None else (int(time.time() * 1000) + ahead_ms) << 18
    return milvus_pb2.QueryRequest(
        collection_name="books", expr="id >= 0", output_fields=["id"], guarantee_timestamp=guarantee
    )
