"""Searches, as Milvus clients ask them."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
import pytest
from pymilvus import AnnSearchRequest, DataType, MilvusClient, RRFRanker
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from tests.wire_case import DIM, book, make, refusal, refused, vector


@pytest.fixture(autouse=True)
def collection(client: MilvusClient) -> None:
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("title", DataType.VARCHAR, max_length=100)
    schema.add_field("pages", DataType.INT32, nullable=True)
    make(client, "books", schema, {"vector": "HNSW"})
    client.create_partition("books", "new")
    client.insert("books", [book(n, pages=n * 10, tag=f"t{n}") for n in range(10)])


def found(client: MilvusClient, *numbers: float, **more: Any) -> Any:
    """The keys that are nearest to the books with `numbers`: a list for each of them."""
    hits = client.search("books", [[float(n), 1.0, 0.0, 0.0] for n in numbers], **more)
    assert len(hits) == len(numbers)
    return [[hit["id"] for hit in one] for one in hits]


def test_the_nearest_come_first_for_each_query(client: MilvusClient) -> None:
    assert found(client, 2.1, 7.1, limit=3) == [[2, 3, 1], [7, 8, 6]]
    client.flush("books")
    assert found(client, 2.1, 7.1, limit=3) == [[2, 3, 1], [7, 8, 6]]
    (hits,) = client.search("books", [vector(2)], limit=2)
    assert [(hit["id"], hit["distance"], hit["entity"]) for hit in hits] == [(2, 0.0, {}), (1, 1.0, {})]
    assert len(found(client, 0.0)[0]) == 10


def test_output_fields_are_those_asked_for(client: MilvusClient) -> None:
    values = {"id": 3, "vector": vector(3), "title": "book 3", "pages": 30, "tag": "t3"}
    for _ in ("growing", "sealed"):
        for fields, names in (
            (["title"], ["title"]),
            (["title", "tag"], ["title", "tag"]),
            (["vector"], ["vector"]),
            (["*"], ["id", "vector", "title", "pages", "tag"]),
            (["$meta"], ["tag"]),
            (["id"], ["id"]),
            (["absent"], []),
        ):
            ((hit,),) = client.search("books", [vector(3)], limit=1, output_fields=fields)
            assert hit["id"] == 3
            assert dict(hit["entity"]) == {name: values[name] for name in names}, fields
        client.flush("books")


def test_filters_partitions_and_offsets_cut_what_is_found(client: MilvusClient) -> None:
    client.insert("books", [book(20), book(21)], partition_name="new")
    assert found(client, 3, limit=3, filter="pages >= 50") == [[5, 6, 7]]
    assert found(client, 3, limit=3, filter="id in {ns}", filter_params={"ns": [1, 9]}) == [[1, 9]]
    assert found(client, 3, limit=3, filter="id == 99") == [[]]
    assert found(client, 3, limit=3, partition_names=["new"]) == [[20, 21]]
    assert found(client, 3, limit=3, partition_names=["new", "_default"]) == [[3, 2, 4]]
    assert found(client, 0.4, limit=3, offset=2) == [[2, 3, 4]]
    assert found(client, 0.4, limit=3, search_params={"params": {}}, offset=11) == [[21]]
    assert found(client, 0.4, limit=3, offset=99) == [[]]


def test_an_empty_collection_is_searched_too(client: MilvusClient) -> None:
    client.truncate_collection("books")
    assert found(client, 1, 2) == [[], []]


def test_scores_are_rounded_when_told_and_order_is_not(client: MilvusClient) -> None:
    def scores(digits: int) -> list[float]:
        (hits,) = client.search("books", [vector(0.123456)], limit=2, round_decimal=digits)  # type: ignore[arg-type]
        assert [hit["id"] for hit in hits] == [0, 1]
        return [hit["distance"] for hit in hits]

    assert scores(-1) == pytest.approx([0.123456**2, 0.876544**2], rel=1e-5)
    assert scores(2) == pytest.approx([0.02, 0.77], abs=1e-7)
    assert scores(0) == [0, 1]


@pytest.mark.parametrize("digits", [7, -2])
def test_scores_have_at_most_six_digits(client: MilvusClient, digits: int) -> None:
    with pytest.raises(Exception, match="round_decimal"):
        client.search("books", [vector(0)], round_decimal=digits)


def test_a_range_bounds_the_scores(client: MilvusClient) -> None:
    def within(**bounds: float) -> Any:
        return found(client, 5, limit=10, search_params={"params": bounds})[0]

    for _ in ("growing", "sealed"):
        assert within(radius=4.0) == [5, 4, 6]
        assert within(radius=4.1) == [5, 4, 6, 3, 7]
        assert within(radius=4.1, range_filter=1.0) == [4, 6, 3, 7]
        assert within(radius=0.0) == []
        assert found(client, 5, limit=2, search_params={"params": {"radius": 100.0}}) == [[5, 4]]
        assert found(client, 5, limit=2, offset=1, search_params={"params": {"radius": 100.0}}) == [[4, 6]]
        client.flush("books")
    for wrong in ({"range_filter": 1.0}, {"radius": 1.0, "range_filter": 4.0}, {"radius": "far"}):
        with refused(1100):
            within(**wrong)


def test_a_range_of_similarities_bounds_them_from_below(client: MilvusClient) -> None:
    client.drop_collection("books")
    client.create_collection("books", DIM, metric_type="IP")
    client.insert("books", [{"id": n, "vector": vector(n)} for n in range(10)])
    hits = client.search(
        "books", [[1.0, 0, 0, 0]], limit=10, search_params={"params": {"radius": 6, "range_filter": 8}}
    )
    assert [(hit["id"], hit["distance"]) for hit in hits[0]] == [(8, 8.0), (7, 7.0)]


@pytest.mark.parametrize("level", ["Strong", "Session", "Bounded", "Eventually"])
def test_a_search_sees_what_was_written_before_whatever_its_consistency(client: MilvusClient, level: str) -> None:
    client.insert("books", book(50))
    assert found(client, 50, limit=1, consistency_level=level) == [[50]]
    client.delete("books", ids=[50])
    assert found(client, 50, limit=1, consistency_level=level) == [[9]]


def pairs(**values: Any) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in values.items()]


def request(queries: Any = None, kind: int = common_pb2.PlaceholderType.FloatVector, **more: Any) -> Any:
    """The bare request that searches for the book 3."""
    values = [np.array(vector(3), np.float32).tobytes()] if queries is None else queries
    group = common_pb2.PlaceholderGroup(
        placeholders=[common_pb2.PlaceholderValue(tag="$0", type=kind, values=values)]  # type: ignore[arg-type]
    )
    given = {
        "collection_name": "books",
        "placeholder_group": group.SerializeToString(),
        "search_params": pairs(topk=3, anns_field="vector"),
        "nq": 1,
        **more,
    }
    return milvus_pb2.SearchRequest(**given)


def test_a_search_waits_for_the_moment_it_has_to_see(stub: Any) -> None:
    soon = (int(time.time() * 1000) + 400) << 18
    began = time.monotonic()
    answer = stub.Search(request(guarantee_timestamp=soon))
    assert 0.2 < time.monotonic() - began < 5
    assert list(answer.results.ids.int_id.data) == [3, 2, 4]
    assert refusal(stub.Search(request(guarantee_timestamp=(1 << 63) - 1)).status) == 1100
    for name in (0, 1, 2, soon - (10_000 << 18)):
        began = time.monotonic()
        assert stub.Search(request(guarantee_timestamp=name)).status.code == 0
        assert time.monotonic() - began < 5


def test_a_search_that_waits_longer_than_its_deadline_fails(stub: Any) -> None:
    later = (int(time.time() * 1000) + 60_000) << 18
    began = time.monotonic()
    try:
        code = refusal(stub.Search(request(guarantee_timestamp=later), timeout=0.3).status)
    except grpc.RpcError as error:  # the client of a socket does not wait for the answer
        code = {grpc.StatusCode.DEADLINE_EXCEEDED: 10_001}[error.code()]
    assert code == 10_001
    assert time.monotonic() - began < 5


def test_the_answer_has_the_shape_that_clients_read(stub: Any) -> None:
    answer = stub.Search(request(output_fields=["title", "tag"]))
    results = answer.results
    assert answer.collection_name == "books"
    assert (results.num_queries, results.top_k, list(results.topks)) == (1, 3, [3])
    assert list(results.ids.int_id.data) == [3, 2, 4]
    assert list(results.scores) == [0, 1, 1]
    assert list(results.output_fields) == ["title", "tag"]
    assert [f.field_name for f in results.fields_data] == ["title", "$meta"]
    assert results.primary_field_name == "id"
    assert answer.session_ts >> 18 > 1_600_000_000_000


def floats(*values: float) -> bytes:
    return np.array(values, np.float32).tobytes()


@pytest.mark.parametrize(
    ("asked", "code", "why"),
    [
        ({"queries": [floats(1, 2, 3)]}, 1100, "dimension"),
        ({"queries": [floats(1, 2, 3, 4), floats(1)]}, 1100, "dimension"),
        ({"queries": [b"123"]}, 1100, "float32"),
        ({"queries": []}, 1100, "nq"),
        ({"queries": [floats(np.nan, 0, 0, 0)]}, 1100, "not a number"),
        ({"queries": [floats(1, 2, 3, 4)] * 16_385}, 1100, "nq"),
        ({"kind": common_pb2.PlaceholderType.BinaryVector}, 1100, "BinaryVector"),
        ({"kind": common_pb2.PlaceholderType.SparseFloatVector}, 1100, "SparseFloatVector"),
        ({"kind": 77}, 1100, "77"),
        ({"placeholder_group": b"\xff\xff"}, 1100, "query vectors"),
        ({"placeholder_group": b""}, 1100, "nq"),
        ({"search_params": pairs(anns_field="vector")}, 1101, "topk"),
        ({"search_params": pairs(topk=0)}, 1100, "topk"),
        ({"search_params": pairs(topk=-1)}, 1100, "topk"),
        ({"search_params": pairs(topk=16_385)}, 1100, "topk"),
        ({"search_params": pairs(topk="many")}, 1100, "topk"),
        ({"search_params": pairs(topk=3, offset=-1)}, 1100, "offset"),
        ({"search_params": pairs(topk=3, offset=16_382)}, 1100, "offset"),
        ({"search_params": pairs(topk=3, anns_field="absent")}, 1100, "absent"),
        ({"search_params": pairs(topk=3, anns_field="title")}, 1100, "title"),
        ({"search_params": pairs(topk=3, metric_type="IP")}, 1100, "metric type not match"),
        ({"search_params": pairs(topk=3, metric_type="NONSENSE")}, 1100, "NONSENSE"),
        ({"search_params": pairs(topk=3, params="{")}, 1100, "JSON"),
        ({"search_params": pairs(topk=3, params="[]")}, 1100, "JSON"),
        ({"search_params": pairs(topk=3, params='{"ef": 2}')}, 65_535, "ef"),
        ({"search_params": pairs(topk=3, params='{"ef": "many"}')}, 65_535, "ef"),
        ({"search_params": pairs(topk=3, round_decimal=9)}, 1100, "round_decimal"),
        ({"search_params": pairs(topk=3, group_by_field="vector")}, 1100, "group by operator"),
        ({"search_params": pairs(topk=3, group_by_field="pages", group_size="two")}, 1100, "group_size"),
        ({"search_params": pairs(topk=3, ignore_growing="perhaps")}, 1100, "parse ignore growing field failed"),
        ({"search_params": pairs(topk=3, hints="nonsense")}, 1100, "hints: nonsense not supported"),
        ({"search_params": pairs(topk=3, order_by_fields="vector")}, 1100, "which is not sortable"),
        ({"dsl": "pages >"}, 1100, "cannot parse expression"),
        ({"partition_names": ["absent"]}, 200, "partition name absent not found"),
        ({"partition_names": ["par*"]}, 200, "partition name par* not found"),
        ({"partition_names": [""]}, 1100, "Invalid partition name"),
        ({"output_fields": [""]}, 1100, "output field"),
        ({"collection_name": "absent"}, 100, "absent"),
    ],
)
def test_a_wrong_search_is_refused_with_its_reason(stub: Any, asked: dict[str, Any], code: int, why: str) -> None:
    answer = stub.Search(request(**asked))
    assert refusal(answer.status) == code, answer.status.reason
    assert why in answer.status.reason


def test_a_search_names_its_field_where_there_are_several(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("one", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("two", DataType.FLOAT_VECTOR, dim=3)
    make(client, "pairs", schema, {"one": "FLAT", "two": "HNSW"})
    client.insert("pairs", [{"id": 1, "one": [1, 0], "two": [0, 0, 1]}, {"id": 2, "one": [0, 1], "two": [1, 0, 0]}])
    assert client.search("pairs", [[1.0, 0]], anns_field="one", limit=1)[0][0]["id"] == 1
    assert client.search("pairs", [[1.0, 0, 0]], anns_field="two", limit=1)[0][0]["id"] == 2
    with refused(1100, "multiple anns_fields exist, please specify a anns_field in search_params"):
        client.search("pairs", [[1.0, 0]], limit=1)
    requests = [AnnSearchRequest([[1.0, 0]], "one", {}, 2), AnnSearchRequest([[1.0, 0, 0]], "two", {}, 2)]
    with refused(10, "HybridSearch"):
        client.hybrid_search("pairs", requests, RRFRanker(), limit=2)


def test_growing_rows_are_left_out_where_that_is_asked_for(client: MilvusClient) -> None:
    client.flush("books")
    client.insert("books", [book(n) for n in range(10, 13)])
    client.delete("books", ids=[1])
    sealed = [0, *range(2, 10)]
    assert found(client, 0, limit=20) == [[*sealed, 10, 11, 12]]
    assert found(client, 0, limit=20, ignore_growing=True) == [sealed]
    assert found(client, 12, limit=2, search_params={"ignore_growing": True}) == [[9, 8]]
    within = {"params": {"radius": 9.5}}
    assert found(client, 12, search_params=within) == [[12, 11, 10, 9]]
    assert found(client, 12, search_params=within, ignore_growing=True) == [[9]]
    assert found(client, 12, limit=2, group_by_field="title", ignore_growing=True) == [[9, 8]]
    assert [row["id"] for row in client.query("books", "id >= 8", ignore_growing=True)] == [8, 9]
    assert client.query("books", output_fields=["count(*)"], ignore_growing=True)[0]["count(*)"] == len(sealed)
    iterator = client.search_iterator("books", [vector(0)], batch_size=20, ignore_growing=True)
    assert [row["id"] for row in iterator.next()] == sealed


def test_how_a_filter_is_to_be_applied_changes_no_answer(client: MilvusClient) -> None:
    for more in ({"hints": "iterative_filter"}, {"hints": "disable"}, {"params": {"hints": "iterative_filter"}}):
        assert found(client, 0, limit=3, filter="id % 2 == 1", search_params=more) == [[1, 3, 5]]


def test_queries_may_come_as_numpy(client: MilvusClient) -> None:
    hits = client.search("books", np.array([vector(2), vector(4)], np.float32), limit=1)
    assert [one[0]["id"] for one in hits] == [2, 4]


def test_many_queries_are_answered_in_their_order(client: MilvusClient) -> None:
    numbers = [n % 10 for n in range(500)]
    assert found(client, *numbers, limit=1) == [[n] for n in numbers]
