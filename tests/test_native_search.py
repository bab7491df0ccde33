"""search: the nearest rows with exact scores, as many as asked for, in every state a row can be in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elanus import Collection, DataType, Elanus, InvalidParameter, PartitionNotFound
from elanus.engine.jobs.board import run
from elanus.engine.jobs.cover import cover
from tests.native_case import BOOKS, DIM, STATES, book, books, bring_to, open_folder, vector, vectors


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def numbered(db: Elanus, count: int = 50) -> Collection:
    collection = db.create_collection("books", BOOKS)
    collection.insert([book(n, pages=n % 5, colour="red" if n % 2 else "blue") for n in range(count)])
    return collection


@pytest.mark.parametrize("state", STATES)
def test_the_nearest_come_first_with_exact_scores(db: Elanus, tmp_path: Path, state: str) -> None:
    db, collection = bring_to(state, db, numbered(db), tmp_path)
    results = collection.search(vectors([10, 30.4]), limit=3, metric="L2")
    assert [keys.tolist() for keys in results.keys] == [[10, 9, 11], [30, 31, 29]]
    assert results.scores[0].tolist() == [0, 1, 1]
    np.testing.assert_allclose(results.scores[1], [0.16, 0.36, 1.96], rtol=1e-4)
    assert results.scores[0].dtype == np.float32
    db.close()


@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
def test_scores_are_those_of_the_metric(db: Elanus, metric: str) -> None:
    generator = np.random.default_rng(1)
    rows, queries = generator.standard_normal((200, DIM), np.float32), generator.standard_normal((5, DIM), np.float32)
    rows[7] = 0
    collection = db.create_collection("plain", dimension=DIM, metric=metric)
    collection.insert({"id": np.arange(200), "vector": rows})
    if metric == "L2":
        exact = ((queries[:, None] - rows) ** 2).sum(axis=2)
    else:
        exact = queries @ rows.T
    if metric == "COSINE":
        lengths = np.linalg.norm(rows, axis=1)
        exact /= np.linalg.norm(queries, axis=1)[:, None] * np.where(lengths == 0, 1, lengths)
    results = collection.search(queries, limit=200)
    for query in range(5):
        np.testing.assert_allclose(results.scores[query], exact[query][results.keys[query]], rtol=1e-4, atol=1e-5)
        best_first = np.sort(exact[query]) if metric == "L2" else -np.sort(-exact[query])
        np.testing.assert_allclose(results.scores[query], best_first, rtol=1e-4, atol=1e-5)


def test_one_vector_is_one_query_in_any_dtype(db: Elanus) -> None:
    collection = numbered(db)
    for one in (
        vector(7),
        tuple(vector(7)),
        np.array(vector(7)),
        np.array(vector(7), np.float16),
        [vector(7)],
        [7, 1, 0, 0],
    ):
        results = collection.search(one, limit=1, metric="L2")
        assert len(results) == 1
        assert results[0].keys.tolist() == [7]


def test_hits_are_dicts_with_the_fields_asked_for(db: Elanus) -> None:
    collection = numbered(db)
    hits = collection.search(vector(3), limit=2, metric="L2", output_fields=["title", "colour"])[0]
    assert len(hits) == 2
    assert hits[0] == {"id": 3, "distance": 0.0, "entity": {"title": "book 3", "colour": "red"}}
    assert [hit["id"] for hit in hits] == hits.keys.tolist()
    assert hits[-1]["entity"]["title"] == f"book {hits.keys[-1]}"
    everything = collection.search(vector(3), limit=1, metric="L2", output_fields=["*"])[0][0]["entity"]
    assert everything["vector"] == vector(3)
    assert everything["colour"] == "red"
    assert collection.search(vector(3), limit=1)[0][0]["entity"] == {}


def test_results_are_a_table_when_asked(db: Elanus) -> None:
    collection = numbered(db)
    results = collection.search(vectors([3, 5]), limit=2, metric="L2", output_fields=["pages"])
    table = results.to_table()
    assert table.column_names == ["query", "id", "distance", "pages"]
    assert table.column("query").to_pylist() == [0, 0, 1, 1]
    assert table.column("pages").to_pylist() == [key % 5 for key in table.column("id").to_pylist()]
    assert results[1].to_table().column("id").to_pylist() == results[1].keys.tolist()


def test_the_key_may_be_asked_for_as_an_output_field(db: Elanus) -> None:
    results = numbered(db).search(vector(3), limit=1, metric="L2", output_fields=["id", "pages"])
    assert results[0][0]["entity"] == {"id": 3, "pages": 3}
    assert results.to_table().column_names == ["query", "id", "distance", "pages"]


@pytest.mark.parametrize("state", STATES)
def test_a_filter_leaves_as_many_as_match(db: Elanus, tmp_path: Path, state: str) -> None:
    db, collection = bring_to(state, db, numbered(db), tmp_path)
    for filter, allowed in (  # noqa: A001
        ("pages == 2", {n for n in range(50) if n % 5 == 2}),
        ('colour == "red" and id < 20', set(range(1, 20, 2))),
        ("id in [1, 40, 99]", {1, 40}),
        ("id > 100", set()),
    ):
        results = collection.search(vectors([0, 25]), limit=50, filter=filter, metric="L2")
        for keys, scores in zip(results.keys, results.scores, strict=True):
            assert set(keys.tolist()) == allowed
            assert scores.tolist() == sorted(scores.tolist())
    db.close()


def test_filter_templates(db: Elanus) -> None:
    results = numbered(db).search(
        vector(0), limit=50, filter="id in {keys}", filter_params={"keys": [4, 9]}, metric="L2"
    )
    assert results.keys[0].tolist() == [4, 9]


def test_offset_skips_the_nearest(db: Elanus) -> None:
    collection = numbered(db)
    whole = collection.search(vector(0), limit=10, metric="L2").keys[0].tolist()
    assert collection.search(vector(0), limit=4, offset=3, metric="L2").keys[0].tolist() == whole[3:7]
    assert collection.search(vector(0), limit=4, offset=100, metric="L2").keys[0].tolist() == []


def test_partitions_bind_a_search(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.create_partition("old")
    collection.insert(books(range(10)))
    collection.insert(books(range(10, 20)), partition="old")
    found = collection.search(vector(0), limit=20, partitions=["old"], metric="L2").keys[0].tolist()
    assert found == list(range(10, 20))
    with pytest.raises(PartitionNotFound):
        collection.search(vector(0), partitions=["new"])


def test_k_results_are_k_distinct_keys(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    for _ in range(3):
        collection.insert(books(range(20)))
        collection.flush()
    found = collection.search(vector(0), limit=15, metric="L2").keys[0].tolist()
    assert found == list(range(15))


def test_a_search_of_nothing_finds_nothing(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    results = collection.search(vectors([1, 2]), output_fields=["title"])
    assert len(results) == 2
    assert [list(hits) for hits in results] == [[], []]
    assert results.to_table().num_rows == 0


def test_varchar_keys(db: Elanus) -> None:
    collection = db.create_collection("text", dimension=DIM, metric="L2", key_type=DataType.VARCHAR)
    collection.insert({"id": [f"k{n}" for n in range(10)], "vector": vectors(range(10))})
    assert collection.search(vector(4), limit=2).keys[0].tolist() == ["k4", "k3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, r"topk \[0\] is invalid, it should be in range \[1, 16384\], but got 0"),
        ({"limit": 16_385}, "but got 16385"),
        ({"limit": "3"}, "topk"),
        ({"offset": -1}, r"offset \[-1\] is invalid"),
        ({"limit": 10, "offset": 16_380}, r"\(offset\+limit\) should be in range \[1, 16384\], but got 16390"),
        ({"vectors": np.zeros((0, DIM))}, r"nq \[0\] is invalid"),
        ({"vectors": np.zeros((16_385, DIM))}, r"nq \[16385\] is invalid"),
        ({"vectors": [1, 2, 3]}, r"expected vector size\(dim\) 4, actual 3"),
        ({"vectors": "text"}, "numbers of shape"),
        ({"vectors": [[1, 2], [3]]}, "numbers of shape"),
        ({"vectors": [1, 2, 3, float("nan")]}, "not a number"),
        ({"vectors": [1, 2, 3, float("inf")]}, "not a number"),
        ({"vectors": [1, 2, 3, 1e20]}, "longer than 3.16e[+]18"),
        ({"field": "title"}, "not of vector type"),
        ({"field": "nothing"}, "not found"),
        ({"metric": "HAMMING"}, "metric"),
        ({"filter": "pages >"}, "cannot parse expression"),
    ],
)
def test_what_a_search_may_not(db: Elanus, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        numbered(db).search(**{"vectors": vector(1), **arguments})


def test_the_metric_must_be_that_of_the_index(db: Elanus) -> None:
    collection = numbered(db)
    collection.create_index("vector", metric="L2")
    assert collection.search(vector(1), limit=1, metric="l2").keys[0].tolist() == [1]
    with pytest.raises(InvalidParameter, match=r"metric type not match: invalid parameter\[expected=L2\]\[actual=IP\]"):
        collection.search(vector(1), metric="IP")


def test_search_parameters_are_checked(db: Elanus, tmp_path: Path) -> None:
    _, collection = bring_to("indexed", db, numbered(db), tmp_path)
    assert collection.search(vector(1), limit=5, params={"ef": 50}).keys[0].tolist()[0] == 1
    with pytest.raises(InvalidParameter, match="ef"):
        collection.search(vector(1), limit=10, params={"ef": 5})
    for nested in ({"ef": {"ef": 50}}, {"ef": [50]}):
        with pytest.raises(InvalidParameter, match=r"'ef'.*should be an integer"):
            collection.search(vector(1), limit=10, params=nested)
    unread = collection.search(vector(1), limit=5, params={"other": {"ef": [1]}})
    assert unread.keys[0].tolist() == collection.search(vector(1), limit=5).keys[0].tolist()


def test_explain_says_how_each_part_is_answered(db: Elanus, tmp_path: Path) -> None:
    collection = numbered(db, count=300)
    collection.create_index("vector", "HNSW", metric="L2", params={"M": 4, "efConstruction": 16})
    collection.compact()
    collection.insert(books([1000]))
    plan = collection.explain(vector(1), limit=5, filter="id >= 0")
    assert len(plan.steps) == 2
    assert plan.steps[0].rows == 300
    text = str(plan)
    assert "segment" in text
    assert "growing" in text
    assert "id >= 0" in text


def test_a_row_is_found_as_soon_as_its_insert_returned(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    for number in range(30):
        collection.insert([book(number)])
        assert collection.search(vector(number), limit=1, metric="L2").keys[0].tolist() == [number]


def test_a_query_alone_finds_what_it_finds_among_others(db: Elanus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone it is one compiled call for all units, whose plan goes on from the one before; among others it is not.

    Where units are asked for their share, lists and graphs are searched less closely than among others.
    """
    monkeypatch.setattr("elanus.engine.search.SHARE_DEVIATIONS", 1e9)
    generator = np.random.default_rng(5)
    collection = db.create_collection("plain", dimension=16, metric="L2")

    def insert(first: int, count: int) -> None:
        rows = np.round(generator.standard_normal((count, 16), np.float32), 1)
        rows[1::2] = rows[: count // 2 * 2 : 2]  # equal ones, whose keys decide
        collection.insert({"id": np.arange(first, first + count), "vector": rows, "n": np.arange(count) % 10})

    insert(0, 3_000)
    collection.flush()
    collection.wait_for_indexes()
    insert(3_000, 6_000)
    run(cover(collection._instance.collection(collection._ctx, "plain")))
    shown = str(collection.explain(np.zeros(16, np.float32)))
    assert "interim lists" in shown
    assert "graph ef=" in shown
    for turn in range(12):
        insert(9_000 + 20 * turn, 20)
        if turn % 3 == 1:
            insert(100 * turn, 7)  # copies of keys that are there
        if turn % 3 == 2:
            collection.delete([*range(50 * turn, 50 * turn + 30), 9_000 + 20 * turn])
        queries = np.round(generator.standard_normal((3, 16), np.float32), 1)
        for limit, offset, condition in ((1, 0, ""), (10, 0, ""), (7, 5, ""), (10, 0, "n == 3"), (50, 3, "n < 9")):
            asked: dict[str, Any] = {"limit": limit, "offset": offset, "filter": condition, "params": {"ef": 100}}
            together = collection.search(queries, **asked)
            for query, keys, scores in zip(queries, together.keys, together.scores, strict=True):
                alone = collection.search(query, **asked)
                assert alone[0].keys.tolist() == keys.tolist()
                assert alone[0].scores.tolist() == scores.tolist()
