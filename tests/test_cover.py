"""Interim lists over rows that have no graph yet: used, right, and never in the way of what changed since."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from elanus.engine.jobs.board import run
from elanus.engine.jobs.cover import COVER_ROWS, cover
from elanus.engine.manifest import IndexDefinition
from elanus.engine.planner import SearchRequest, plan
from elanus.engine.search import search
from elanus.engine.snapshot import Snapshot
from elanus.engine.writes import delete_keys, insert
from elanus.expr.compile import compile_filter
from elanus.model.canonical import Batch
from elanus.model.types import Metric
from elanus.vector.cost import Route
from tests.engine_case import EngineCase

ROWS = 6 * COVER_ROWS + 1_000


@pytest.fixture
def case(quick_path: Path) -> EngineCase:
    """Growing rows whose four-dimensional vectors lie in clusters; value = key % 10."""
    case = EngineCase(quick_path)
    case.create_index()
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((50, 4)).astype(np.float32)
    vectors = centres[rng.integers(0, 50, ROWS)] + rng.standard_normal((ROWS, 4)).astype(np.float32) / 20
    schema = case.collection.schema
    keys = np.arange(ROWS)
    ids = [f.id for f in schema.fields]
    insert(case.collection, Batch(dict(zip(ids, (keys, keys % 10, vectors), strict=True)), ROWS))
    case.vectors = vectors  # type: ignore[attr-defined]
    return case


def nearest(case: EngineCase, snapshot: Snapshot, query: npt.NDArray[np.float32], text: str = "") -> list[int]:
    schema = case.collection.schema
    condition = compile_filter(text, schema) if text else None
    request = SearchRequest(schema.vectors[0], query[None], limit=10, condition=condition, metric=Metric.L2)
    assert any(step.strategy.route is Route.INTERIM for step in plan(snapshot, request).steps)
    return search(snapshot, request).keys.tolist()


def exact(
    vectors: npt.NDArray[np.float32], query: npt.NDArray[np.float32], passing: npt.NDArray[np.bool_]
) -> list[int]:
    distances = np.where(passing, ((vectors - query) ** 2).sum(axis=1), np.inf)
    return np.argsort(distances)[:10].tolist()


@pytest.mark.parametrize("text", ["", "value < 5"])
def test_searches_of_covered_rows_find_nearly_all_that_a_scan_finds(case: EngineCase, text: str) -> None:
    run(cover(case.collection))
    vectors = case.vectors  # type: ignore[attr-defined]
    passing = np.arange(ROWS) % 10 < (5 if text else 10)
    hits = sum(
        len(set(nearest(case, case.collection.snapshot(), query, text)) & set(exact(vectors, query, passing)))
        for query in vectors[::500]
    )
    assert hits >= 0.95 * 10 * len(vectors[::500])


def test_a_row_deleted_after_it_was_covered_is_not_found(case: EngineCase) -> None:
    run(cover(case.collection))
    before = case.collection.snapshot()
    query = case.vectors[100]  # type: ignore[attr-defined]
    assert nearest(case, before, query)[0] == 100
    delete_keys(case.collection, pa.array([100]))
    assert 100 not in nearest(case, case.collection.snapshot(), query)
    assert nearest(case, before, query)[0] == 100


def test_sealed_rows_that_wait_for_their_index_are_covered_and_left_alone_once_they_have_it(case: EngineCase) -> None:
    case.collection.flush()
    run(cover(case.collection))
    query = case.vectors[77]  # type: ignore[attr-defined]
    assert nearest(case, case.collection.snapshot(), query)[0] == 77
    case.collection.wait_for_indexes()
    run(cover(case.collection))
    assert not case.collection.snapshot().interims


def test_interim_lists_leave_memory_with_their_rows(case: EngineCase) -> None:
    run(cover(case.collection))
    assert case.collection.snapshot().interims
    case.collection.flush()
    assert not case.collection.snapshot().interims


def test_lists_of_a_dropped_index_answer_no_search_for_another(case: EngineCase) -> None:
    """Also not those that a job publishes which began before the index was dropped."""
    job = cover(case.collection)
    assert next(job) == "covered"
    case.collection.drop_index("vector")
    run(job)
    query = case.vectors[100:101]  # type: ignore[attr-defined]
    field = case.collection.schema.vectors[0]

    def routes(metric: Metric) -> set[Route]:
        found = search(case.collection.snapshot(), SearchRequest(field, query, metric=metric))
        assert found.scores[0] == pytest.approx(0 if metric is Metric.L2 else 1, abs=1e-6)
        return {step.strategy.route for step in plan(case.collection.snapshot(), SearchRequest(field, query)).steps}

    assert routes(Metric.COSINE) == {Route.SCAN}
    assert routes(Metric.L2) == {Route.SCAN}
    case.collection.create_index(IndexDefinition("vector", field.id, "HNSW", Metric.COSINE, {}))
    assert routes(Metric.COSINE) == {Route.SCAN}
    run(cover(case.collection))
    assert Route.INTERIM in routes(Metric.COSINE)
