"""The recall of searches: measured beside an exact scan, reported, and reached where a search wants one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import elanus
from elanus import Collection, CollectionNotFound, DataType, Elanus, Field, InvalidParameter, OnDuplicateKey, Schema
from elanus.engine.trust.evidence import FilterClass
from elanus.engine.trust.sampler import Sampler
from elanus.engine.trust.watch import Watch
from tests.native_case import open_folder, until

DIM, ROWS, K = 24, 5_000, 10
SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("value", DataType.INT64),
        Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
    )
)
RNG = np.random.default_rng(6)
CENTRES = RNG.standard_normal((40, DIM)).astype(np.float32)

Vectors = npt.NDArray[np.float32]


def like_rows(number: int) -> Vectors:
    """Near to the centres of the rows."""
    return (CENTRES[RNG.integers(0, 40, number)] + RNG.standard_normal((number, DIM))).astype(np.float32)


def unlike_rows(number: int) -> Vectors:
    """From another distribution: they lie between the centres, far from most rows."""
    return (1.5 * RNG.standard_normal((number, DIM))).astype(np.float32)


VECTORS = like_rows(ROWS)
WEAK = {"HNSW": {"M": 8, "efConstruction": 16}, "IVF_FLAT": {"nlist": 64}}
"""Indexes that miss much where they are not searched closely."""


def fill(collection: Collection, kind: str = "HNSW", rows: int = ROWS) -> Collection:
    if kind:
        collection.create_index("vector", kind, metric="L2", params=WEAK.get(kind))
    keys = np.arange(rows)
    collection.insert({"id": keys, "value": keys % 1_000, "vector": VECTORS[:rows]})
    collection.flush()
    collection.wait_for_indexes()
    return collection


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Elanus]:
    """For tests that write."""
    with open_folder(tmp_path / "db") as db:
        yield db


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elanus]:
    with open_folder(tmp_path_factory.mktemp("db")) as db:
        for kind in WEAK:
            fill(db.create_collection(kind, SCHEMA), kind)
        yield db


@pytest.fixture
def db(shared: Elanus) -> Elanus:
    """For tests that search `WEAK` collections; nothing is known of their recall."""
    for kind in WEAK:
        watch_of(shared.collection(kind)).cases = {}
    return shared


@pytest.fixture
def collection(db: Elanus) -> Collection:
    return db.collection("HNSW")


def watch_of(collection: Collection) -> Watch:
    return collection._instance.collection(collection._ctx, collection.name).watch


def sampler(db: Elanus) -> Sampler:
    """What measures searches; it does so by itself where there is a thread for it."""
    return db._instance.engine._jobs.sampler


def nearest(query: Vectors, passing: npt.NDArray[np.bool_] | None = None, k: int = K) -> set[int]:
    distances = ((VECTORS - query) ** 2).sum(axis=1)
    if passing is not None:
        distances[~passing] = np.inf
    return set(np.argsort(distances, kind="stable")[:k].tolist())


def recall(collection: Collection, queries: Vectors, passing: Any = None, **asked: Any) -> float:
    """That of one search of all `queries`."""
    found = collection.search(queries, limit=K, **asked).keys
    return float(np.mean([len(nearest(q, passing) & set(f.tolist())) / K for q, f in zip(queries, found, strict=True)]))


def searched(db: Elanus, collection: Collection, queries: Vectors, **asked: Any) -> float:
    """One search for each query, each of them measured; returns the true recall."""
    recalls = []
    for query in queries:
        recalls.append(recall(collection, query[None], **asked))
        sampler(db).run()
    return float(np.mean(recalls))


def learn(db: Elanus, collection: Collection, *kinds: Vectors, **asked: Any) -> None:
    """Live queries of these kinds, mixed."""
    searched(db, collection, np.concatenate(kinds)[RNG.permutation(sum(map(len, kinds)))], **asked)


# --- the report ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "params"), [("HNSW", {"ef": 10}), ("IVF_FLAT", {"nprobe": 1})])
def test_reported_is_the_recall_of_live_queries(db: Elanus, kind: str, params: dict[str, int]) -> None:
    collection = db.collection(kind)
    true = searched(db, collection, np.concatenate((like_rows(40), unlike_rows(40))), params=params)
    (entry,) = collection.recall_report().entries
    assert true < 0.95
    assert entry.recall == pytest.approx(true)
    assert (entry.samples, entry.filters, entry.k, entry.kind) == (80, FilterClass.NONE, K, kind)
    assert (entry.parameter, entry.asked) == (next(iter(params)), (params.get("ef", 1), params.get("ef", 1)))
    assert f"raise {entry.parameter} to {entry.advised} from {entry.asked[0]}" in str(collection.recall_report())


def test_of_some_queries_the_recall_is_known_within_the_error_that_is_told(db: Elanus, collection: Collection) -> None:
    queries = np.concatenate((like_rows(300), unlike_rows(300)))
    true = recall(collection, queries, params={"ef": 16})
    sampler(db).run()
    for query in queries[::6]:
        collection.search(query, limit=K, params={"ef": 16})
        sampler(db).run()
    (entry,) = collection.recall_report().entries
    assert 0 < entry.error < 0.1
    assert abs(entry.recall - true) < 2 * entry.error


def test_what_is_advised_reaches_the_recall_that_is_wanted(db: Elanus, collection: Collection) -> None:
    learn(db, collection, like_rows(40), unlike_rows(40), params={"ef": 16})
    for wanted in (0.9, 0.99):
        (entry,) = collection.recall_report(wanted).entries
        assert entry.advised is not None
        ef = {"ef": entry.advised}
        assert recall(collection, like_rows(200), params=ef) >= wanted
        assert recall(collection, unlike_rows(200), params=ef) >= wanted - 0.01
    assert collection.recall_report(0.9).entries[0].advised < collection.recall_report(0.99).entries[0].advised


def test_filters_of_each_class_are_told_apart(db: Elanus, collection: Collection) -> None:
    queries = unlike_rows(12)
    searched(db, collection, queries, params={"ef": 10})
    for below in (600, 60, 5):
        passing = np.arange(ROWS) % 1_000 < below
        true = searched(db, collection, queries, passing=passing, filter=f"value < {below}", params={"ef": 10})
        assert collection.recall_report().entries[-1].recall == pytest.approx(true)
    report = collection.recall_report()
    assert [entry.filters for entry in report.entries] == list(FilterClass)
    assert {entry.samples for entry in report.entries} == {12}
    very = report.entries[-1]  # so few rows are scanned
    assert (very.recall, very.parameter, very.advice) == (1, "", "every search is exact")


def test_growing_rows_deletes_and_upserts_count(own: Elanus) -> None:
    collection = fill(own.create_collection("rows", SCHEMA), rows=ROWS)
    gone = np.arange(0, ROWS, 3)
    collection.delete(gone)
    collection.upsert({"id": [1, 2], "value": [1, 2], "vector": VECTORS[[1, 2]]})
    collection.insert({"id": [ROWS], "value": [0], "vector": unlike_rows(1)})
    passing = ~np.isin(np.arange(ROWS), gone)
    true = searched(own, collection, like_rows(20), passing=passing, params={"ef": 10})
    assert collection.recall_report().entries[0].recall == pytest.approx(true, abs=0.01)


def test_copies_of_a_key_are_one_neighbour(own: Elanus) -> None:
    collection = own.create_collection("copies", SCHEMA, on_duplicate_key=OnDuplicateKey.KEEP)
    fill(fill(collection, rows=2_000), "", rows=2_000)
    for query in VECTORS[:10]:
        collection.search(query, limit=K, params={"ef": 512})
        sampler(own).run()
    (entry,) = collection.recall_report().entries
    assert entry.recall > 0.97


def test_what_is_scanned_is_exact(own: Elanus) -> None:
    collection = fill(own.create_collection("flat", SCHEMA), "FLAT", 1_000)
    assert str(collection.recall_report()) == "no search has been measured yet"
    collection.search(VECTORS[:3], limit=K)
    sampler(own).run()
    (entry,) = collection.recall_report().entries
    assert (entry.recall, entry.samples, entry.advice) == (1, 1, "every search is exact")


def test_sparse_searches_that_leave_something_out_are_measured(own: Elanus) -> None:
    key, vector = Field("id", DataType.INT64, is_primary=True), Field("vector", DataType.SPARSE_FLOAT_VECTOR)
    collection = own.create_collection("sparse", Schema((key, vector)))
    collection.create_index("vector", "SPARSE_INVERTED_INDEX", metric="IP")
    rows = [
        {int(i): float(v) for i, v in zip(RNG.choice(200, 12, False), RNG.random(12), strict=True)}
        for _ in range(3_000)
    ]
    collection.insert([{"id": number, "vector": row} for number, row in enumerate(rows)])
    collection.flush()
    collection.wait_for_indexes()
    found = [
        collection.search([rows[0]], limit=K, params=params).keys[0] for params in ({}, {"drop_ratio_search": 0.6})
    ]
    true = len(set(found[0].tolist()) & set(found[1].tolist())) / K
    sampler(own).run()
    assert collection.recall_report().entries[0].recall == 1
    watch_of(collection).cases = {}
    assert true < 1
    collection.search([rows[0]], limit=K, params={"drop_ratio_search": 0.6})
    sampler(own).run()
    (entry,) = collection.recall_report().entries
    assert (entry.recall, entry.advice) == (pytest.approx(true), "lower drop_ratio_search")
    wanted = collection.search([rows[0]], limit=K, params={"drop_ratio_search": 0.6, "target_recall": 0.95}).keys[0]
    assert wanted.tolist() == found[0].tolist()


def test_nothing_is_reported_of_what_was_dropped(own: Elanus) -> None:
    collection = fill(own.create_collection("rows", SCHEMA), rows=ROWS)
    collection.search(VECTORS[0], limit=K)
    own.drop_collection("rows")
    assert not sampler(own)._waiting
    with pytest.raises(CollectionNotFound):
        collection.recall_report()
    fill(own.create_collection("rows", SCHEMA), rows=2_000)
    assert collection.recall_report().entries == ()
    collection.search(VECTORS[0], limit=K)
    sampler(own).run()
    collection.drop_index("vector")
    collection.create_index("vector", "HNSW", metric="L2", params={"M": 8, "efConstruction": 12})
    assert collection.recall_report().entries == ()


def test_what_is_reported_is_a_metric(db: Elanus, collection: Collection) -> None:
    true = searched(db, collection, unlike_rows(10), params={"ef": 10})
    recall_, error, queries = db.metrics()
    assert (recall_.name, error.name, queries.name) == ("elanus_recall", "elanus_recall_error", "elanus_recall_queries")
    assert (recall_.value, queries.value) == (pytest.approx(true, abs=0.01), 10)
    assert {"database": "default", "collection": "HNSW", "field": "vector", "k": "10"}.items() <= recall_.labels.items()
    assert db._instance.engine.opened(1) is None


def test_a_search_of_what_has_changed_since_is_left_out(own: Elanus) -> None:
    collection = fill(own.create_collection("rows", SCHEMA), rows=ROWS)
    collection.create_partition("some")
    collection.search(VECTORS[0], limit=K, partitions=["some"])
    collection.drop_partition("some")
    sampler(own).run()
    collection.search(VECTORS[0], limit=K, filter="value < 900")
    collection.drop_field("value")
    sampler(own).run()
    assert collection.recall_report().entries == ()
    collection.search(VECTORS[0], limit=K)
    sampler(own).run()
    assert collection.recall_report().entries[0].samples == 1


def test_a_reader_measures_its_own_searches(own: Elanus, tmp_path: Path) -> None:
    collection = fill(own.create_collection("rows", SCHEMA))
    with elanus.open(tmp_path / "db", read_only=True) as reader:
        rows = reader.collection("rows")
        until(lambda: rows.search(VECTORS[0], limit=K) and bool(rows.recall_report().entries), 30)
        assert rows.recall_report().entries[0].samples >= 1
        assert rows.calibrate(like_rows(64)).entries[0].calibrated >= 64
        assert recall(rows, like_rows(100), params={"target_recall": 0.95}) >= 0.95
    assert collection.recall_report().entries == ()


# --- a recall that is wanted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["HNSW", "IVF_FLAT"])
def test_a_wanted_recall_is_reached_by_queries_like_the_rows_and_unlike_them(db: Elanus, kind: str) -> None:
    collection = db.collection(kind)
    wanted = {"target_recall": 0.95}
    assert recall(collection, unlike_rows(100), params=wanted) >= 0.95  # nothing is known yet
    sampler(db).run()
    learn(db, collection, like_rows(80), params=wanted)
    assert "scan" not in str(collection.explain(VECTORS[0], params=wanted))
    assert recall(collection, like_rows(200), params=wanted) >= 0.95
    assert recall(collection, 2 * unlike_rows(50), params=wanted) >= 0.95  # never seen so far, and far away
    learn(db, collection, like_rows(60), unlike_rows(60), params=wanted)
    assert recall(collection, like_rows(200), params=wanted) >= 0.95
    assert recall(collection, unlike_rows(200), params=wanted) >= 0.95


def test_calibrated_searches_look_no_closer_than_they_have_to(db: Elanus, collection: Collection) -> None:
    widths = []
    collection.calibrate(like_rows(256))
    for wanted in (0.8, 0.9, 0.98):
        plan = collection.explain(VECTORS[0], params={"target_recall": wanted})
        assert recall(collection, like_rows(300), params={"target_recall": wanted}) >= wanted
        widths.append(plan.params.ef)
    assert 0 < widths[0] < widths[1] < widths[2] < 512


def test_a_filter_with_a_wanted_recall(db: Elanus, collection: Collection) -> None:
    passing = np.arange(ROWS) % 1_000 < 300
    asked: dict[str, Any] = {"filter": "value < 300"}
    collection.calibrate(np.concatenate((like_rows(100), unlike_rows(100))), **asked)
    for queries in (like_rows(100), unlike_rows(100)):
        assert recall(collection, queries, passing, params={"target_recall": 0.95}, **asked) >= 0.95


@pytest.mark.parametrize("kind", ["IVF_PQ", "HNSW_PQ", "DISKANN"])
def test_indexes_of_coarse_codes_reach_a_wanted_recall(own: Elanus, kind: str) -> None:
    """Of coarse codes more rows have to be scored, not only found."""
    collection = own.create_collection("rows", SCHEMA)
    params = {"IVF_PQ": {"nlist": 32, "m": 4}, "HNSW_PQ": {"M": 8, "efConstruction": 16, "m": 4}}
    collection.create_index("vector", kind, metric="L2", params=params.get(kind))
    fill(collection, "")
    queries = np.concatenate((like_rows(64), unlike_rows(64)))
    (entry,) = collection.calibrate(queries).entries
    assert entry.parameter == {"IVF_PQ": "nprobe", "HNSW_PQ": "ef", "DISKANN": "search_list"}[kind]
    assert recall(collection, queries, params={"target_recall": 0.95}) >= 0.95
    assert entry.refine_k is not None or entry.advised == 0
    if entry.advised:
        advised = {entry.parameter: entry.advised, "refine_k": entry.refine_k}
        assert recall(collection, queries, params=advised) >= 0.95


def test_a_recall_of_one_is_an_exact_scan(collection: Collection) -> None:
    queries = unlike_rows(50)
    assert recall(collection, queries, params={"ef": 10}) < 1
    assert recall(collection, queries, params={"target_recall": 1}) == 1
    assert "scan" in str(collection.explain(queries, params={"target_recall": 1}))


def test_answers_with_a_wanted_recall_are_those_of_a_search(collection: Collection) -> None:
    """Also where some queries of a batch are searched again: in order, with exact scores and the right fields."""
    collection.calibrate(like_rows(128))
    queries = np.concatenate((like_rows(5), unlike_rows(5), like_rows(5)))
    found = collection.search(queries, limit=K, output_fields=["value"], params={"target_recall": 0.9})
    assert len(found) == 15
    for query, hits in zip(queries, found, strict=True):
        keys = hits.keys
        assert len(set(keys.tolist())) == K
        exact = ((VECTORS[keys] - query) ** 2).sum(axis=1)
        np.testing.assert_allclose(hits.scores, exact, rtol=1e-4)
        assert (np.diff(hits.scores) >= 0).all()
        assert [hit["entity"]["value"] for hit in hits] == (keys % 1_000).tolist()


@pytest.mark.parametrize("wrong", [0, -0.5, 1.01, "much", True, float("nan"), None])
def test_a_recall_that_is_none_is_refused(collection: Collection, wrong: Any) -> None:
    if wrong is not None:
        for ask in (collection.search, collection.explain):
            with pytest.raises(InvalidParameter, match="target_recall") as caught:
                ask(VECTORS[0], params={"target_recall": wrong})
            assert caught.value.code == 1100
    else:
        with pytest.raises(InvalidParameter, match="one of the two"):
            collection.search(VECTORS[0], params={"target_recall": 0.9, "ef": 64})


# --- the budget ----------------------------------------------------------------------------------------------------


def test_measuring_keeps_to_its_budget(tmp_path: Path) -> None:
    share_ms = 40.0
    with open_folder(tmp_path / "db", background=True, recall_cpu_ms=share_ms) as db:
        collection = fill(db.create_collection("rows", SCHEMA))
        thread = sampler(db)._thread
        assert thread is not None
        stat = Path(f"/proc/self/task/{thread.native_id}/schedstat")

        def spent_s() -> float:
            return int(stat.read_text().split()[0]) / 1e9

        recall(collection, VECTORS[:1])
        until(lambda: bool(collection.recall_report().entries))  # what is loaded and compiled once
        begun, began = spent_s(), time.monotonic()
        while time.monotonic() - began < 1.5:
            collection.search(unlike_rows(1), limit=K, params={"ef": 64})
        rate_ms = 1000 * (spent_s() - begun) / (time.monotonic() - began)
        assert sum(entry.samples for entry in collection.recall_report().entries) > 1
        assert rate_ms < 1.3 * share_ms


def test_without_a_budget_nothing_is_measured(tmp_path: Path) -> None:
    with open_folder(tmp_path / "db", recall_cpu_ms=0.0) as db:
        collection = fill(db.create_collection("rows", SCHEMA), rows=1_000)
        collection.search(VECTORS[0], limit=K)
        sampler(db).run()
        assert collection.recall_report().entries == ()
        assert recall(collection, like_rows(3), np.arange(ROWS) < 1_000, params={"target_recall": 0.95}) >= 0.95
