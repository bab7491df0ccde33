"""Searches of some thousand rows, through real indexes as the planner chooses them, give what the oracle gives.

`test_oracle_states` reaches every mixture of states with a handful of rows; here are enough for graphs and lists to
be the quicker way, and the cases that its runs have found.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from elanus import Collection, DataType, Elanus, Field, Metric, OnDuplicateKey, Schema, Settings
from elanus.engine.builders import InlineBuilders
from elanus.model.types import METRICS_OF
from elanus.service.instance import Instance
from elanus.vector.cost import Route
from tests.oracle import rounding, scores

DIM, ROWS, DELETED = 12, 6_000, 600

TINY = Schema((Field("id", DataType.INT64, is_primary=True), Field("vector", DataType.FLOAT_VECTOR, dim=2)))
LARGE = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
        Field("tenth", DataType.INT8),
    )
)


@pytest.fixture
def db(quick_path: Path) -> Iterator[Elanus]:
    settings = Settings(background=False, index_min_rows=500)
    with Elanus(Instance.open(quick_path / "db", settings, builders=InlineBuilders())) as opened:
        yield opened


class Rows:
    """Keys, vectors and a number from 0 to 9, and how near they are to a query."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        middles = random.normal(size=(20, DIM))
        near = middles[random.integers(0, 20, ROWS)] + 0.4 * random.normal(size=(ROWS, DIM))
        self.vectors = near.astype(np.float32)
        self.keys = random.permutation(ROWS)
        self.tenth = self.keys % 10
        self.alive = np.ones(ROWS, np.bool_)
        self.queries = (self.vectors[random.integers(0, ROWS, 20)] + 0.1).astype(np.float32)

    def columns(self, part: slice) -> dict[str, Any]:
        return {"id": self.keys[part], "vector": self.vectors[part], "tenth": self.tenth[part].astype(np.int8)}

    def nearest(
        self, metric: Metric, query: npt.NDArray[np.float32], k: int, tenths: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], float]:
        """The keys of the k nearest whose tenth is below `tenths`, their scores, and how much those may differ."""
        taking = np.flatnonzero(self.alive & (self.tenth < tenths))
        vectors = self.vectors[taking].astype(np.float64)
        exact = scores(metric, query, vectors)
        order = np.argsort(-exact if metric.larger_is_nearer else exact, kind="stable")[:k]
        return self.keys[taking[order]], exact[order], float(rounding(metric, query, vectors).max())


@pytest.mark.parametrize("metric", METRICS_OF[DataType.FLOAT_VECTOR])
@pytest.mark.parametrize(
    ("kind", "params", "search_params", "least_recall"),
    [
        ("FLAT", {}, {}, 1.0),
        ("IVF_FLAT", {"nlist": 64}, {"nprobe": 64}, 1.0),
        ("IVF_FLAT", {"nlist": 64}, {"nprobe": 16}, 0.9),
        ("HNSW", {"M": 16, "efConstruction": 200}, {"ef": 100}, 0.95),
        ("AUTOINDEX", {}, {"ef": 100}, 0.95),
    ],
    ids=["flat", "all lists", "some lists", "graph", "auto"],
)
def test_searches_find_what_an_exact_scan_finds(
    db: Elanus, seed: int, metric: Metric, kind: str, params: Any, search_params: Any, least_recall: float
) -> None:
    """Sealed and indexed, then with growing rows and deletes beside it, then merged."""
    if metric is Metric.IP and least_recall == 0.95:
        least_recall = 0.9  # of such rows a new graph of faiss's own finds 94 to 98 %, by seed
    rows = Rows(seed)
    collection = db.create_collection("large", LARGE)
    collection.create_index("vector", kind, metric=metric, params=params)
    collection.insert(rows.columns(slice(0, 4_000)))
    rows.alive[4_000:] = False
    collection.compact()
    compare(collection, rows, metric, search_params, least_recall)

    collection.insert(rows.columns(slice(4_000, ROWS)))
    rows.alive[4_000:] = True
    rows.alive[::10] = False
    assert collection.delete(rows.keys[::10]) == DELETED
    compare(collection, rows, metric, search_params, least_recall)

    collection.compact()
    compare(collection, rows, metric, search_params, least_recall)
    if kind in ("HNSW", "AUTOINDEX"):
        routes = {step.strategy.route for step in collection.explain(rows.queries, params=search_params).steps}
        assert routes == {Route.GRAPH}, "the graph was not searched at all"


def compare(collection: Collection, rows: Rows, metric: Metric, params: Any, least_recall: float) -> None:
    for tenths, condition in ((10, ""), (5, "tenth < 5"), (1, "tenth < 1")):
        found = wanted = 0
        results = collection.search(rows.queries, limit=20, filter=condition, params=params)
        for query, hits in zip(rows.queries, results, strict=True):
            keys, exact, slack = rows.nearest(metric, query, 20, tenths)
            assert len(set(hits.keys)) == len(hits) == 20
            costs = -hits.scores if metric.larger_is_nearer else hits.scores
            assert (np.diff(costs) >= 0).all()
            every, scored, _ = rows.nearest(metric, query, ROWS, tenths)
            score_of = dict(zip(every.tolist(), scored.tolist(), strict=True))
            for key, score in zip(hits.keys.tolist(), hits.scores.tolist(), strict=True):
                assert abs(score_of[key] - score) <= slack
            if least_recall == 1:
                assert np.abs(hits.scores - exact).max() <= slack
            wanted += 20
            found += len(set(hits.keys.tolist()) & set(keys.tolist()))
        assert found >= least_recall * wanted, f"recall {found / wanted:.3f} with {condition!r}"


# --- what the oracle has found ---------------------------------------------------------------------------------------


def test_copies_of_near_keys_hide_no_other_rows_of_their_segment(db: Elanus) -> None:
    """The copies fill what their segment is first asked for; the far rows of another must not take the places left."""
    collection = db.create_collection("copies", TINY)
    collection.insert({"id": [1] * 10 + [2, 3], "vector": np.array([[0, 0]] * 10 + [[1, 0], [2, 0]], np.float32)})
    collection.flush()
    far = np.arange(10, 30)
    collection.insert({"id": far, "vector": np.stack([far, far], axis=1).astype(np.float32)})
    hits = collection.search([0, 0], limit=10, metric="L2")[0]
    assert hits.keys.tolist() == [1, 2, 3, 10, 11, 12, 13, 14, 15, 16]


@pytest.mark.parametrize("on_duplicate_key", list(OnDuplicateKey))
@pytest.mark.parametrize("state", ["growing", "sealed"])
def test_of_equal_scores_the_smallest_keys_come_first_also_over_pages(
    db: Elanus, on_duplicate_key: OnDuplicateKey, state: str
) -> None:
    collection = db.create_collection("equal", TINY, on_duplicate_key=on_duplicate_key)
    collection.create_partition("other")
    for start, partition in ((20, "_default"), (0, "other"), (40, "_default")):
        keys = np.arange(start, start + 20)[::-1]
        collection.insert({"id": keys, "vector": np.ones((20, 2), np.float32)}, partition=partition)
    if state == "sealed":
        collection.flush()
    for metric in METRICS_OF[DataType.FLOAT_VECTOR]:
        pages = [collection.search([1, 1], limit=7, offset=offset, metric=metric)[0] for offset in range(0, 60, 7)]
        assert [key for page in pages for key in page.keys] == list(range(60))


def test_probing_all_lists_is_exact(db: Elanus, seed: int) -> None:
    rows = Rows(seed)
    collection = db.create_collection("lists", LARGE)
    collection.create_index("vector", "IVF_FLAT", metric="L2", params={"nlist": 8})
    collection.insert(rows.columns(slice(None)))
    collection.compact()
    routes = {p: collection.explain(rows.queries, params={"nprobe": p}).steps[0].strategy.route for p in (1, 8, 16)}
    assert routes == {1: Route.LISTS, 8: Route.SCAN, 16: Route.SCAN}
