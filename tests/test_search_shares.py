"""A search of many units asks each for its share of the answer, and for more where that was too little."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elanus
from elanus import Collection, DataType, Elanus, Field, Schema, Settings
from elanus.engine import precedence
from elanus.engine import search as engine_search
from elanus.engine.precedence import IN_COMPILED_CODE

DIM = 8
SMALL, LARGE = 600, 6_000
SCHEMA = Schema((Field("id", DataType.INT64, is_primary=True), Field("vector", DataType.FLOAT_VECTOR, dim=DIM)))


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with elanus.open(tmp_path / "db", settings=Settings(background=False)) as db:
        yield db


def filled(db: Elanus, parts: list[np.ndarray[Any, Any]], index: str = "FLAT") -> Collection:
    """Each of `parts` in a sealed segment, but for the last, whose rows are growing."""
    collection = db.create_collection("rows", SCHEMA)
    collection.create_index("vector", index, metric="L2")
    first = 0
    for number, vectors in enumerate(parts):
        collection.insert({"id": np.arange(first, first + len(vectors)), "vector": vectors})
        first += len(vectors)
        if number < len(parts) - 1:
            collection.flush()
    collection.wait_for_indexes()
    return collection


def nearest(vectors: np.ndarray[Any, Any], query: np.ndarray[Any, Any], k: int) -> list[int]:
    """By exact distance, then key."""
    distances = ((vectors - query) ** 2).sum(axis=1)
    return np.lexsort((np.arange(len(vectors)), distances))[:k].tolist()


def tally_of(collection: Collection) -> engine_search._Tally:
    (tally,) = collection._instance.collection(collection._ctx, collection.name).snapshot().tallies.values()
    return tally


@pytest.mark.parametrize("k", [1, 3, 10, 100])
def test_rows_spread_by_chance_are_found_by_shares(db: Elanus, k: int) -> None:
    rng = np.random.default_rng(k)
    vectors = rng.standard_normal((LARGE + 3 * SMALL, DIM)).astype(np.float32)
    collection = filled(db, np.split(vectors, [LARGE, LARGE + SMALL, LARGE + 2 * SMALL]))
    for query in rng.standard_normal((200, DIM)).astype(np.float32):
        assert collection.search(query, limit=k)[0].keys.tolist() == nearest(vectors, query, k)
    tally = tally_of(collection)
    assert tally.queries == 200
    assert tally.misses <= 4


@pytest.mark.parametrize("index", ["FLAT", "HNSW"])
def test_rows_that_lie_together_are_found_all_the_same(db: Elanus, index: str) -> None:
    """All that is near lies in the smallest segment: shares are too little, and are soon given up for most searches,
    also where each asks for something else and rows come between them.
    """
    rng = np.random.default_rng(0)
    far = rng.standard_normal((LARGE + SMALL, DIM)).astype(np.float32) + 100
    near = rng.standard_normal((2 * SMALL, DIM)).astype(np.float32)
    vectors = np.concatenate((far[:LARGE], near, far[LARGE:]))
    collection = filled(db, [far[:LARGE], near, far[LARGE:]], index)
    for number, query in enumerate(rng.standard_normal((200, DIM)).astype(np.float32)):
        k = 10 + number % 3
        condition = f"id >= 0 and id != {10**6 + number // 2}"
        hits = collection.search(query, limit=k, filter=condition, params={"ef": 400} if index == "HNSW" else {})[0]
        assert hits.keys.tolist() == nearest(vectors, query, k)
        collection.insert({"id": [10**7 + number], "vector": far[:1] + 1})
    tally = tally_of(collection)
    assert tally.queries == 200
    assert 1 <= tally.misses <= 8


def test_equal_scores_go_by_key_across_units_that_were_asked_for_shares(db: Elanus) -> None:
    """The same vectors in every segment: of equal ones, those of the smallest keys."""
    rng = np.random.default_rng(1)
    some = rng.integers(0, 3, (SMALL, DIM)).astype(np.float32)
    parts = [np.concatenate([some] * 10), some, some, some[:200]]
    collection = filled(db, parts)
    vectors = np.concatenate(parts)
    for query in some[:60]:
        for offset in (0, 10):
            hits = collection.search(query, limit=10, offset=offset)[0]
            assert hits.keys.tolist() == nearest(vectors, query, 20)[offset : offset + 10]


def test_equal_scores_of_a_small_unit_go_on_behind_its_share(db: Elanus) -> None:
    """The first segment is small and holds each vector six times, under smaller keys than the others."""
    rng = np.random.default_rng(5)
    some = rng.standard_normal((100, DIM)).astype(np.float32)
    vectors = np.concatenate((np.repeat(some, 6, axis=0), *[some] * 90, some + 100))
    collection = filled(db, np.split(vectors, [SMALL, SMALL + 9_000]))
    for query in some:
        assert collection.search(query, limit=10)[0].keys.tolist() == nearest(vectors, query, 10)


def test_of_a_batch_only_the_queries_that_lack_something_are_asked_again(
    db: Elanus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers to a third of the queries are spread; a small segment holds those to another third; and the growing
    rows those to the last, each vector more often than it is asked for.
    """
    rng = np.random.default_rng(8)
    places = np.array((0, 50, 100)).reshape(3, 1, 1)
    spread, sealed, growing = (rng.standard_normal((3, 30, DIM)) + places).astype(np.float32)
    small = np.concatenate((rng.standard_normal((SMALL, DIM)), np.repeat(sealed, 20, axis=0)))
    large = rng.standard_normal((LARGE, DIM))
    parts = [part.astype(np.float32) for part in (small, large, np.repeat(growing, 20, axis=0))]
    vectors = np.concatenate(parts)
    collection = filled(db, parts)
    asked: dict[str, list[int]] = {"_search_parts": [], "_by_units": []}

    def counted(name: str, queries: Callable[..., Any]) -> None:
        real = getattr(engine_search, name)

        def count(*arguments: Any) -> Any:
            asked[name].append(len(queries(*arguments)))
            return real(*arguments)

        monkeypatch.setattr(engine_search, name, count)

    counted("_search_parts", lambda queries, *_: queries)
    counted("_by_units", lambda _, request, __: request.queries)
    queries = np.stack((spread, sealed, growing), axis=1).reshape(-1, DIM).astype(np.float32)
    for offset in (0, 3):
        for hits, query in zip(collection.search(queries, limit=10, offset=offset), queries, strict=True):
            assert hits.keys.tolist() == nearest(vectors, query, 10 + offset)[offset:]
    assert asked == {"_search_parts": [90, 60, 90], "_by_units": [30, 30]}


def test_a_filter_changes_the_shares(db: Elanus) -> None:
    """What passes lies in one small segment, which then holds all of the answer."""
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((LARGE + 2 * SMALL, DIM)).astype(np.float32)
    collection = filled(db, np.split(vectors, [LARGE, LARGE + SMALL]))
    passing = vectors[LARGE : LARGE + SMALL]
    for query in rng.standard_normal((20, DIM)).astype(np.float32):
        hits = collection.search(query, limit=10, filter=f"{LARGE} <= id < {LARGE + SMALL}")[0]
        assert hits.keys.tolist() == [LARGE + key for key in nearest(passing, query, 10)]
        near_both = collection.search(query, limit=10, filter=f"id < 5 or id >= {LARGE + SMALL}")[0]
        kept = np.concatenate((np.arange(5), np.arange(LARGE + SMALL, len(vectors))))
        assert near_both.keys.tolist() == kept[nearest(vectors[kept], query, 10)].tolist()


def test_rows_inserted_between_searches_are_found(db: Elanus) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((LARGE + SMALL, DIM)).astype(np.float32)
    collection = filled(db, np.split(vectors, [LARGE]))
    for n in range(60):
        more = rng.standard_normal((1 + n % 7, DIM)).astype(np.float32)
        collection.insert({"id": np.arange(len(vectors), len(vectors) + len(more)), "vector": more})
        vectors = np.concatenate((vectors, more))
        for query in (more[0], vectors[n]):
            assert collection.search(query, limit=10)[0].keys.tolist() == nearest(vectors, query, 10)


def test_a_search_says_that_it_is_in_compiled_code(db: Elanus) -> None:
    vectors = np.random.default_rng(4).standard_normal((200_000, DIM)).astype(np.float32)
    collection = filled(db, [vectors, vectors[:10]])
    seen: set[int] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.update(IN_COMPILED_CODE)
            time.sleep(1e-4)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for query in vectors[:200]:
        collection.search(query, limit=10)
    ended.set()
    watcher.join()
    assert seen == {threading.get_ident()}
    assert not IN_COMPILED_CODE


def test_a_write_gives_way_twice_while_there_are_searches(db: Elanus, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = filled(db, [np.ones((10, DIM), np.float32)])
    paused: list[float] = []
    monkeypatch.setattr("elanus.engine.precedence.time.sleep", paused.append)
    for searching, pauses in ((False, 0), (True, 2)):
        if searching:
            IN_COMPILED_CODE.add(0)
        try:
            collection.insert({"id": [100], "vector": np.ones((1, DIM), np.float32)})
        finally:
            IN_COMPILED_CODE.discard(0)
        assert paused.count(precedence.GIVE_WAY_S) == pauses
