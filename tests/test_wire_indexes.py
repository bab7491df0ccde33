"""Indexes, as Milvus clients define, watch and drop them."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from tests.wire_case import DIM, books, refusal, refused, vector


@pytest.fixture(autouse=True)
def collection(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("title", DataType.VARCHAR, max_length=100)
    client.create_collection("books", schema=schema)


def index(client: MilvusClient, field: str = "vector", name: str = "", **index: Any) -> None:
    params = client.prepare_index_params()
    params.add_index(field, index_name=name, **index)
    client.create_index("books", params, sync=False)


@pytest.mark.parametrize(
    ("kind", "params", "search"),
    [
        ("FLAT", {}, {}),
        ("IVF_FLAT", {"nlist": 16}, {"nprobe": 16}),
        ("HNSW", {"M": 8, "efConstruction": 64}, {"ef": 64}),
        ("AUTOINDEX", {}, {"level": 2}),
    ],
)
@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
def test_an_index_is_described_as_it_was_asked_for_and_searched(
    client: MilvusClient, kind: str, params: dict[str, int], search: dict[str, int], metric: str
) -> None:
    index(client, index_type=kind, metric_type=metric, params=params)
    client.load_collection("books")
    client.insert("books", books(range(20)))
    found = client.describe_index("books", "vector")
    assert found.items() >= {"index_type": kind, "metric_type": metric, "field_name": "vector"}.items()
    assert found.items() >= {key: str(value) for key, value in params.items()}.items()
    assert (found["index_name"], found["state"], found["pending_index_rows"]) == ("vector", "Finished", 0)
    assert found["total_rows"] == found["indexed_rows"] == 20
    hits = client.search("books", [vector(3)], limit=3, search_params={"metric_type": metric, "params": search})[0]
    assert len(hits) == 3
    assert hits[0]["distance"] == pytest.approx({"L2": 0, "IP": 58, "COSINE": 1}[metric], abs=1e-5)


def test_an_index_may_have_a_name_of_its_own(client: MilvusClient) -> None:
    index(client, name="nearest", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 64})
    assert client.list_indexes("books") == ["nearest"]
    assert client.list_indexes("books", field_name="vector") == ["nearest"]
    assert client.list_indexes("books", field_name="title") == []
    assert client.describe_index("books", "nearest")["field_name"] == "vector"
    client.drop_index("books", "nearest")
    assert client.list_indexes("books") == []
    client.drop_index("books", "nearest")


def test_the_same_index_again_is_no_error_and_another_is(client: MilvusClient) -> None:
    asked = {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8, "efConstruction": 64}}
    index(client, **asked)
    index(client, **asked)
    with refused(1100, "at most one distinct index"):
        index(client, index_type="FLAT", metric_type="L2")
    with refused(1100):
        index(client, name="second", **asked)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"index_type": "HNSW"}, "metric type not set"),
        ({"index_type": "HNSW", "metric_type": "HAMMING"}, "HAMMING"),
        ({"index_type": "HNSW", "metric_type": "L2", "params": {"M": 1}}, "M"),
        ({"index_type": "HNSW", "metric_type": "L2", "params": {"M": 3000}}, "M"),
        ({"index_type": "HNSW", "metric_type": "L2", "params": {"M": "many"}}, "M"),
        ({"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 0}}, "nlist"),
        ({"index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 65_537}}, "nlist"),
        ({"index_type": "NONSENSE", "metric_type": "L2"}, "NONSENSE"),
        ({"index_type": "HNSW", "metric_type": "L2", "field": "absent"}, "absent"),
        ({"index_type": "HNSW", "metric_type": "L2", "field": "title"}, "vector"),
        ({"index_type": "HNSW", "metric_type": "L2", "name": "no spaces"}, "no spaces"),
        ({"index_type": "HNSW", "metric_type": "L2", "params": {"M": "x" * (101 << 10)}}, "too long"),
    ],
)
def test_a_wrong_index_is_refused_with_its_reason(client: MilvusClient, asked: dict[str, Any], why: str) -> None:
    with refused(1100, why):
        index(client, **asked)
    assert client.list_indexes("books") == []


def test_an_index_that_needs_a_gpu_is_not_supported(client: MilvusClient) -> None:
    with refused(10, "GPU_CAGRA needs a GPU"):
        index(client, index_type="GPU_CAGRA", metric_type="L2")


@pytest.mark.parametrize(
    ("kind", "params", "asked"),
    [
        ("IVF_PQ", {"nlist": 8, "m": "1"}, {"nprobe": 4}),
        ("IVF_RABITQ", {"nlist": 8, "refine": True, "refine_type": "SQ8"}, {"nprobe": 4, "refine_k": 2}),
        ("SCANN", {"nlist": 8, "with_raw_data": True}, {"nprobe": 4, "reorder_k": 20}),
        ("HNSW_PRQ", {"M": 8, "m": 1, "nrq": 2}, {"ef": 40}),
        ("DISKANN", {}, {"search_list": 40}),
    ],
)
def test_kinds_of_smaller_codes_are_described_and_searched(
    client: MilvusClient, kind: str, params: dict[str, Any], asked: dict[str, Any]
) -> None:
    index(client, index_type=kind, metric_type="L2", params=params)
    client.insert("books", books(range(20)))
    described = client.describe_index("books", "vector")
    assert described["index_type"] == kind
    assert all(described[name] == str(value) for name, value in params.items())
    client.load_collection("books")
    (hits,) = client.search("books", [books([7])[0]["vector"]], limit=3, search_params={"params": asked})
    assert hits[0]["id"] == 7
    for name in asked:
        with refused(65535, name):
            client.search("books", [books([7])[0]["vector"]], limit=3, search_params={"params": {**asked, name: "x"}})


@pytest.mark.parametrize("kind", ["", "INVERTED", "STL_SORT", "Trie"])
def test_an_index_of_a_scalar_field_is_described_and_may_go_while_loaded(client: MilvusClient, kind: str) -> None:
    index(client, "title", index_type=kind)
    described = client.describe_index("books", "title")
    assert (described["index_type"], described["state"]) == (kind or "AUTOINDEX", "Finished")
    client.drop_index("books", "title")
    assert client.describe_index("books", "title") is None


def test_what_has_no_index_is_not_found(client: MilvusClient, stub: Any) -> None:
    assert client.describe_index("books", "absent") is None
    named = {"collection_name": "books", "index_name": "absent"}
    assert refusal(stub.DescribeIndex(milvus_pb2.DescribeIndexRequest(**named)).status) == 700
    assert refusal(stub.GetIndexState(milvus_pb2.GetIndexStateRequest(**named)).status) == 700
    assert refusal(stub.GetIndexBuildProgress(milvus_pb2.GetIndexBuildProgressRequest(**named)).status) == 700
    assert refusal(stub.GetIndexStatistics(milvus_pb2.GetIndexStatisticsRequest(**named)).status) == 700


def test_state_and_progress_are_told(client: MilvusClient, stub: Any) -> None:
    index(client, index_type="FLAT", metric_type="L2")
    client.insert("books", books(range(5)))
    named = {"collection_name": "books", "index_name": "vector"}
    assert stub.GetIndexState(milvus_pb2.GetIndexStateRequest(**named)).state == common_pb2.IndexState.Finished
    progress = stub.GetIndexBuildProgress(milvus_pb2.GetIndexBuildProgressRequest(**named))
    assert (progress.indexed_rows, progress.total_rows) == (5, 5)
    (found,) = stub.GetIndexStatistics(milvus_pb2.GetIndexStatisticsRequest(**named)).index_descriptions
    assert (found.index_name, found.total_rows) == ("vector", 5)


def test_an_index_is_dropped_and_altered_when_released_only(client: MilvusClient) -> None:
    index(client, index_type="FLAT", metric_type="L2")
    client.load_collection("books")
    with refused(1100, "release"):
        client.drop_index("books", "vector")
    with refused(104, "release"):
        client.alter_index_properties("books", "vector", {"mmap.enabled": True})
    client.release_collection("books")
    client.alter_index_properties("books", "vector", {"mmap.enabled": True})
    assert client.describe_index("books", "vector")["mmap.enabled"] == "True"
    client.drop_index_properties("books", "vector", ["mmap.enabled"])
    assert "mmap.enabled" not in client.describe_index("books", "vector")
    with refused(1100, "nlist"):
        client.alter_index_properties("books", "vector", {"nlist": 5})
    with refused(700):
        client.alter_index_properties("books", "absent", {"mmap.enabled": True})
    client.drop_index("books", "vector")
    assert client.list_indexes("books") == []


def test_parameters_are_told_as_they_came_and_are_the_same_in_either_form(client: MilvusClient, stub: Any) -> None:
    names = {"collection_name": "books", "field_name": "vector"}
    flat = pairs(index_type="HNSW", metric_type="L2", M="8", efConstruction="64")
    nested = pairs(index_type="HNSW", metric_type="L2", params='{"M": 8, "efConstruction": 64}')
    for one, other in ((flat, nested), (nested, flat)):
        assert stub.CreateIndex(milvus_pb2.CreateIndexRequest(**names, extra_params=one)).code == 0
        assert stub.CreateIndex(milvus_pb2.CreateIndexRequest(**names, extra_params=other)).code == 0
        found = client.describe_index("books", "vector")
        told = found["params"] if one is nested else found
        assert (str(told["M"]), str(told["efConstruction"])) == ("8", "64")
        client.drop_index("books", "vector")
    garbled = milvus_pb2.CreateIndexRequest(**names, extra_params=pairs(params="[1"))
    assert refusal(stub.CreateIndex(garbled)) == 1100


def pairs(**values: str) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=value) for key, value in values.items()]
