"""Profiles: a read, and what happened in it; what they say is true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus import Collection, DataType, Elanus, Field, InvalidParameter, Schema
from tests.native_case import open_folder, until
from tests.wire_case import books, make_books, refused

if TYPE_CHECKING:
    from pymilvus import MilvusClient

DIM, SEALED, GROWING = 8, 3_000, 50
SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("value", DataType.INT64),
        Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
    )
)
VECTORS = np.random.default_rng(1).standard_normal((SEALED + GROWING, DIM)).astype(np.float32)
VALUES = np.arange(SEALED + GROWING) % 100


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elanus]:
    with open_folder(tmp_path_factory.mktemp("db")) as db:
        collection = db.create_collection("rows", SCHEMA)
        collection.create_index("vector", "HNSW", metric="L2", params={"M": 8, "efConstruction": 32})
        keys = np.arange(SEALED + GROWING)
        collection.insert({"id": keys[:SEALED], "value": VALUES[:SEALED], "vector": VECTORS[:SEALED]})
        collection.flush()
        collection.wait_for_indexes()
        collection.insert({"id": keys[SEALED:], "value": VALUES[SEALED:], "vector": VECTORS[SEALED:]})
        collection.delete(list(range(0, 300, 3)))
        yield db


@pytest.fixture
def collection(db: Elanus) -> Collection:
    return db.collection("rows")


def alive() -> Any:
    there = np.ones(SEALED + GROWING, np.bool_)
    there[0:300:3] = False
    return there


def test_a_profile_counts_what_passes_and_what_is_found(collection: Collection) -> None:
    queries, asked = VECTORS[:4], {"limit": 20, "filter": "value < 40", "output_fields": ["value"]}
    profile = collection.profile(queries, **asked)
    passing = alive() & (VALUES < 40)
    sealed, growing = profile.segments
    assert (sealed.rows, growing.rows) == (SEALED, GROWING)
    assert (sealed.passing, growing.passing) == (passing[:SEALED].sum(), passing[SEALED:].sum())
    assert sealed.selectivity == sealed.passing / SEALED
    assert sealed.estimated == pytest.approx(0.4, abs=0.02)
    assert growing.estimated is None
    keys = np.concatenate(collection.search(queries, **asked).keys)
    assert (sealed.hits, growing.hits) == ((keys < SEALED).sum(), (keys >= SEALED).sum())
    assert profile.hits == len(keys) == 80
    assert set(profile.stages) == {"plan", "search", "fetch"}
    assert all(us > 0 for us in profile.stages.values())
    assert all(unit.filter_us > 0 and unit.search_us > 0 for unit in profile.segments)


def test_a_profile_says_how_each_segment_was_searched(collection: Collection) -> None:
    graph, scan = collection.profile(VECTORS[0], params={"ef": 70}).segments
    assert graph.route == "graph"  # and a little wider than asked, for what is deleted
    assert 70 <= graph.width == graph.candidates <= 75
    assert (scan.route, scan.width, scan.candidates) == ("scan", 0, GROWING)
    few, _ = collection.profile(VECTORS[0], filter="value == 1").segments
    assert (few.route, few.candidates) == ("scan", few.passing)
    exact, _ = collection.profile(VECTORS[0], params={"target_recall": 1}).segments
    assert (exact.route, exact.candidates) == ("scan", SEALED - 100)


def test_what_statistics_leave_out_is_named(collection: Collection) -> None:
    profile = collection.profile(VECTORS[0], filter="id >= 3000")
    assert [unit.source for unit in profile.segments] == ["growing chunk 1"]
    assert len(profile.left_out) == 1
    assert "left out, by its statistics" in str(profile)
    sealed, _ = collection.explain_query("id >= 3000").segments
    assert (sealed.matching, sealed.way) == (0, "left out, by its statistics")


@pytest.mark.parametrize(
    ("text", "way", "matches"),
    [
        ("", "all rows that are there", np.ones(SEALED + GROWING, np.bool_)),
        ("value < 30", "reading columns", VALUES < 30),
        ("id in [1, 2, 5, 3001]", "keys looked up", np.isin(np.arange(SEALED + GROWING), [1, 2, 5, 3001])),
        ("value >= 0", "all rows, by its statistics", VALUES >= 0),
    ],
)
def test_a_query_and_a_count_are_explained_and_profiled(
    collection: Collection, text: str, way: str, matches: Any
) -> None:
    matching = alive() & matches
    plan = collection.explain_query(text)
    assert plan.segments[0].way == way
    assert [unit.matching for unit in plan.segments] == [matching[:SEALED].sum(), matching[SEALED:].sum()]
    assert plan.stages == {}
    counted = collection.profile_count(text)
    assert counted.found == collection.count(text) == matching.sum()
    profile = collection.profile_query(text, limit=7, offset=1)
    assert profile.found == min(7, max(0, matching.sum() - 1))
    assert set(profile.stages) == {"filter", "order", "fetch"}
    assert profile.segments[0].way == way
    assert "rows match" in str(profile)


def test_scalar_indexes_that_answer_are_named(tmp_path: Path) -> None:
    with open_folder(tmp_path / "db") as db:
        collection = db.create_collection("rows", SCHEMA)
        collection.create_index("value", "STL_SORT")
        collection.insert({"id": np.arange(500), "value": np.arange(500), "vector": VECTORS[:500]})
        collection.flush()
        collection.wait_for_indexes()
        assert collection.profile_query("value < 40").segments[0].way == "asking value"
        assert collection.profile(VECTORS[0], filter="value < 40").indexes == ("value",)


def test_a_profile_of_what_cannot_be_is_refused(collection: Collection) -> None:
    with pytest.raises(InvalidParameter, match="ef"):
        collection.profile(VECTORS[0], params={"ef": 1})
    with pytest.raises(InvalidParameter):
        collection.profile_query("value <")


# --- Milvus clients ------------------------------------------------------------------------------------------------


def test_pymilvus_shows_the_profile_of_a_search(client: MilvusClient) -> None:
    make_books(client, rows=20)
    asked: dict[str, Any] = {"limit": 3, "filter": "id < 7", "output_fields": ["title"]}
    queries = [books([3])[0]["vector"], books([4])[0]["vector"]]
    plain = client.search("books", queries, **asked)
    told = client.search("books", queries, search_params={"params": {"profile": True}}, **asked)
    profile = told[0][0]["entity"]["$profile"]
    assert (profile["segments"][0]["rows"], profile["segments"][0]["passing"], profile["queries"]) == (20, 7, 2)
    assert (profile["hits"], profile["filter"]) == (6, "id < 7")
    assert [[hit["id"] for hit in hits] for hits in told] == [[hit["id"] for hit in hits] for hits in plain]
    assert told[1][2]["entity"]["$profile"] is None
    assert told[1][2]["entity"]["title"] == plain[1][2]["entity"]["title"]
    assert "$profile" not in plain[0][0]["entity"]
    with refused(1100, "leave out `profile`"):
        client.search("books", queries[:1], limit=3, search_params={"params": {"profile": True, "radius": 9.0}})


def test_pymilvus_shows_the_profile_of_a_query_and_a_count(client: MilvusClient) -> None:
    make_books(client, rows=20)
    rows = client.query("books", "id < 7", output_fields=["title", "$profile"])
    assert [row["title"] for row in rows] == [f"book {number}" for number in range(7)]
    assert (rows[0]["$profile"]["found"], rows[0]["$profile"]["segments"][0]["matching"]) == (7, 7)
    assert rows[1]["$profile"] is None
    (counted,) = client.query("books", "id < 7", output_fields=["count(*)", "$profile"])
    assert (counted["count(*)"], counted["$profile"]["kind"]) == (7, "count")
    assert client.query("books", "id < 0", output_fields=["$profile"]) == []


def test_the_status_has_the_profile_where_nothing_is_found(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=20)
    pair = common_pb2.KeyValuePair(key="profile", value="true")
    limit = common_pb2.KeyValuePair(key="limit", value="5")
    answer = stub.Query(
        milvus_pb2.QueryRequest(
            collection_name="books", expr="id < 0", output_fields=["id"], query_params=[pair, limit]
        )
    )
    assert answer.status.code == 0
    assert orjson.loads(answer.status.extra_info["profile"])["found"] == 0


def test_the_recall_of_searches_is_among_the_metrics(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=20)

    def gauges() -> list[dict[str, Any]]:
        client.search("books", [books([3])[0]["vector"]], limit=3)
        answer = stub.GetMetrics(milvus_pb2.GetMetricsRequest(request='{"metric_type": "recall"}'))
        found: list[dict[str, Any]] = orjson.loads(answer.response)
        return found

    until(lambda: bool(gauges()), 30)
    assert {gauge["name"]: gauge["value"] for gauge in gauges()}["elanus_recall"] == 1
    client.drop_collection("books")
    answer = stub.GetMetrics(milvus_pb2.GetMetricsRequest(request='{"metric_type": "recall"}'))
    assert orjson.loads(answer.response) == []


def test_clients_want_a_recall(client: MilvusClient) -> None:
    make_books(client, rows=20)
    for params in ({"target_recall": 1}, {"target_recall": 0.9}, {"target_recall": "0.95"}):
        (hits,) = client.search("books", [books([3])[0]["vector"]], limit=3, search_params={"params": params})
        assert hits[0]["id"] == 3
    for wrong in (0, 1.5, "high"):
        with refused(1100, "target_recall"):
            client.search(
                "books", [books([3])[0]["vector"]], limit=3, search_params={"params": {"target_recall": wrong}}
            )
