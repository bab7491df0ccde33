"""A search request cut in two says what it says as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen import milvus_pb2

from elanus.wire.grpc.asked import LONGEST_KEPT, Asked, SearchCall, _kept

texts = st.text(max_size=200)
requests = st.builds(
    milvus_pb2.SearchRequest,
    db_name=texts,
    collection_name=texts,
    partition_names=st.lists(texts, max_size=3),
    dsl=st.one_of(texts, st.integers(0, 5_000).map(lambda n: "x" * n)),
    placeholder_group=st.one_of(
        st.binary(max_size=300), st.sampled_from([b"v" * n for n in (16_000, 20_000, 3_000_000)])
    ),
    output_fields=st.lists(texts, max_size=3),
    guarantee_timestamp=st.integers(0, 2**63),
    nq=st.integers(-1, 100),
)


def said(asked: Asked) -> milvus_pb2.SearchRequest:
    message = milvus_pb2.SearchRequest()
    message.CopyFrom(asked._message)
    message.ClearField("placeholder_group")
    return message


def read(data: bytes) -> Any:
    """What `data` says, by parts: None where it is no request."""
    try:
        call = SearchCall.from_bytes(data)
    except DecodeError:
        return None
    return call.db_name, call.guarantee_timestamp, call.nq, said(call.asked), call.placeholder_group


def read_whole(data: bytes) -> Any:
    try:
        message = milvus_pb2.SearchRequest.FromString(data)
    except DecodeError:
        return None
    rest = said(Asked(message))
    return message.db_name, message.guarantee_timestamp, message.nq, rest, message.placeholder_group


@given(requests)
def test_a_request_says_the_same_by_parts(request: milvus_pb2.SearchRequest) -> None:
    data = request.SerializeToString()
    assert read(data) == read_whole(data) is not None


@given(
    st.lists(requests, min_size=1, max_size=2),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    st.integers(0, 400),
)
def test_so_do_bytes_that_are_hardly_a_request(
    parts: list[milvus_pb2.SearchRequest], changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(b"".join(part.SerializeToString() for part in parts))
    for at, byte in changes:
        if at < len(data):
            data[at] = byte
    for some in (bytes(data), bytes(data[:cut])):
        assert read(some) == read_whole(some)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x32",
        b"\x32\x80",
        b"\x32\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
        b"\x32\xff\xff\xff\xff\x0f",
        b"\x32\x02ab\x32\x01c",
        b"\x12\x01d\x32\x02ab\x12\x01e",
        b"\x50\x05\x32\x02ab",
        b"\x22\x00" * 100_000 + b"\x32\x02ab",
        milvus_pb2.SearchRequest(placeholder_group=b"v").SerializeToString() + b"\xb2\x01\x00",
    ],
    ids=["empty", "tag", "length", "long-length", "beyond", "twice", "again", "number-first", "many", "ids"],
)  # fmt: skip
def test_so_do_odd_bytes(data: bytes) -> None:
    assert read(data) == read_whole(data)


def test_what_differs_in_nothing_but_vectors_is_read_once() -> None:
    request = milvus_pb2.SearchRequest(collection_name="books", dsl="a > 1", output_fields=["a"], nq=1)
    request.search_params.add(key="topk", value="7")
    asked = set()
    for vectors in (b"some", b"others", b"long" * 5_000):
        request.placeholder_group = vectors
        call = SearchCall.from_bytes(request.SerializeToString())
        assert call.placeholder_group == vectors
        asked.add(call.asked)
    (one,) = asked
    assert one.read()[0].limit == 7
    request.nq = 2
    assert SearchCall.from_bytes(request.SerializeToString()).asked is not one


def test_long_requests_are_not_kept() -> None:
    before = _kept.cache_info().misses
    for filler in ("x" * LONGEST_KEPT, "x" * 1_000_000):
        data = milvus_pb2.SearchRequest(dsl=filler, placeholder_group=b"vectors").SerializeToString()
        call = SearchCall.from_bytes(data)
        assert (call.placeholder_group, call.asked._message.dsl) == (b"vectors", filler)
    assert _kept.cache_info().misses == before
