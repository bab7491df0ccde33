"""Batches of queries are cut for the cores that are free, and come back as if they had not been."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import elanus
from elanus import DataType, Field, Schema
from elanus.engine import batches
from elanus.engine.batches import Columns, Queries, in_parts

QUERIES = np.arange(20, dtype=np.float32).reshape(10, 2)


@pytest.fixture(autouse=True)
def helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two, whatever the machine has."""
    batches._pool.cache_clear()
    monkeypatch.setattr(batches, "HELPERS", 2)
    monkeypatch.setattr(batches, "_free", threading.Semaphore(2))
    yield
    batches._pool().shutdown()
    batches._pool.cache_clear()


class Work:
    """Answers with each query's numbers and remembers which threads had how many queries."""

    def __init__(self, until: threading.Barrier | None = None) -> None:
        self.seen: list[tuple[str, int]] = []
        self.until = until

    def __call__(self, queries: Queries) -> Columns:
        assert queries.flags.c_contiguous
        self.seen.append((threading.current_thread().name, len(queries)))
        if self.until is not None:
            self.until.wait(20)
        return queries, queries.astype(np.int64)


def check(found: Columns) -> None:
    assert np.array_equal(found[0], QUERIES)
    assert np.array_equal(found[1], QUERIES)


def test_a_long_batch_is_done_by_all_at_once() -> None:
    work = Work(threading.Barrier(3))
    check(in_parts(work, QUERIES, 1_000))
    assert sorted(count for _, count in work.seen) == [3, 3, 4]
    assert len({name for name, _ in work.seen}) == 3


@pytest.mark.parametrize(("microseconds", "parts"), [(10, 1), (199, 1), (200, 2), (1_000, 3)])
def test_a_part_is_worth_handing_over(microseconds: float, parts: int) -> None:
    work = Work()
    check(in_parts(work, QUERIES, microseconds))
    assert len(work.seen) == parts


def test_a_second_batch_finds_no_one_free_and_a_third_does() -> None:
    inner, after = Work(), Work()

    def outer(queries: Queries) -> Columns:
        if threading.current_thread() is threading.main_thread():
            check(in_parts(inner, QUERIES, 1_000))
        return queries, queries.astype(np.int64)

    check(in_parts(outer, QUERIES, 1_000))
    assert inner.seen == [(threading.main_thread().name, 10)]
    check(in_parts(after, QUERIES, 1_000))
    assert len(after.seen) == 3


@pytest.mark.parametrize("where", ["caller", "helper"])
def test_a_failure_anywhere_is_the_callers_and_frees_everyone(where: str) -> None:
    def fail(queries: Queries) -> Columns:
        if (threading.current_thread() is threading.main_thread()) == (where == "caller"):
            raise ValueError(where)
        return queries, queries.astype(np.int64)

    for _ in range(3):
        with pytest.raises(ValueError, match=where):
            in_parts(fail, QUERIES, 1_000)
    work = Work(threading.Barrier(3))
    check(in_parts(work, QUERIES, 1_000))


@pytest.mark.parametrize("kind", ["FLAT", "HNSW", "IVF_FLAT"])
def test_a_batch_finds_what_its_queries_find_one_by_one(tmp_path: Path, kind: str) -> None:
    schema = Schema((Field("id", DataType.INT64, is_primary=True), Field("vector", DataType.FLOAT_VECTOR, dim=8)))
    vectors = np.random.default_rng(1).random((6_000, 8), np.float32)
    with elanus.open(tmp_path) as db:
        collection = db.create_collection("c", schema)
        collection.create_index("vector", kind, metric="L2")
        collection.insert({"id": np.arange(4_000), "vector": vectors[:4_000]})
        collection.flush()
        collection.wait_for_indexes()
        collection.insert({"id": np.arange(4_000, 6_000), "vector": vectors[4_000:]})
        for condition in ("", "id % 3 == 0"):
            together = collection.search(vectors[:300], limit=7, filter=condition)
            for query, hits in zip(vectors[:300], together, strict=True):
                alone = collection.search(query, limit=7, filter=condition)[0]
                assert hits.keys.tolist() == alone.keys.tolist()
                assert hits.scores.tolist() == alone.scores.tolist()
