"""Requests that no client sends, as `tests.fuzz` found them: each is answered, and told what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from tests.wire_case import make_books, refusal


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
