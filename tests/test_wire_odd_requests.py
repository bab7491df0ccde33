"""Requests that no client sends, as `tests.fuzz` found them: each is answered, and told what is wrong with it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from pymilvus.grpc_gen import milvus_pb2


def test_an_rpc_of_which_no_response_can_say_no_is_unimplemented(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetReplicateInfo(milvus_pb2.GetReplicateInfoRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_dummy_rpc_answers_as_milvus_does(stub: Any) -> None:
    assert stub.Dummy(milvus_pb2.DummyRequest(request_type="x")).response == '{"status": "fail"}'
