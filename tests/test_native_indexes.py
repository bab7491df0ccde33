"""Indexes: a right answer with each, without any, and while one is being built; parameters are honoured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elanus import Collection, Elanus, IndexNotFound, InvalidParameter
from tests.native_case import BOOKS, DIM, books, open_folder, vector

KINDS = [
    ("FLAT", {}, {}),
    ("IVF_FLAT", {"nlist": 4}, {"nprobe": 4}),
    ("HNSW", {"M": 8, "efConstruction": 64}, {"ef": 100}),
    ("AUTOINDEX", {}, {}),
]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def filled(db: Elanus) -> tuple[Collection, Any]:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((500, DIM), np.float32)
    schema = type(BOOKS)(BOOKS.fields[:2])
    collection = db.create_collection("plain", schema)
    collection.insert({"id": np.arange(500), "vector": rows})
    return collection, rows


@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
@pytest.mark.parametrize(("kind", "build", "search"), KINDS)
def test_every_kind_answers_in_every_metric(
    db: Elanus, tmp_path: Path, kind: str, build: dict[str, int], search: dict[str, int], metric: str
) -> None:
    collection, rows = filled(db)
    exact = collection.search(rows[:20], limit=10, metric=metric)
    collection.create_index("vector", kind, metric=metric, params=build)
    collection.compact()
    (info,) = collection.list_indexes()
    assert (info.kind, info.metric, dict(info.params), info.state) == (kind, metric, build, "Finished")
    assert (info.total_rows, info.indexed_rows) == (500, 500)
    found = collection.search(rows[:20], limit=10, params=search)
    shared = sum(len(np.intersect1d(a, b)) for a, b in zip(exact.keys, found.keys, strict=True))
    assert shared >= 0.95 * 200
    for query in range(20):
        for key, score in zip(found.keys[query], found.scores[query], strict=True):
            place = np.flatnonzero(exact.keys[query] == key)
            if len(place):
                np.testing.assert_allclose(score, exact.scores[query][place[0]], rtol=1e-4, atol=1e-5)
    db.close()
    with open_folder(tmp_path) as again:
        after = again.collection("plain").search(rows[:20], limit=10, params=search)
        assert [k.tolist() for k in after.keys] == [k.tolist() for k in found.keys]


def test_an_index_is_pending_until_it_is_built(db: Elanus) -> None:
    collection, rows = filled(db)
    collection.create_index("vector", "HNSW", metric="L2", params={"M": 4, "efConstruction": 16})
    assert collection.describe_index("vector").state == "Finished"  # nothing is sealed that could have one
    collection.flush()
    info = collection.describe_index("vector")
    assert (info.state, info.total_rows, info.indexed_rows) == ("InProgress", 500, 0)
    assert collection.search(rows[3], limit=1).keys[0].tolist() == [3]
    collection.wait_for_indexes()
    assert collection.describe_index("vector").state == "Finished"


def test_the_same_index_again_is_no_error_and_another_is(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.create_index("vector", "HNSW", metric="L2", params={"M": 8})
    collection.create_index("vector", "HNSW", metric="L2", params={"M": 8})
    with pytest.raises(InvalidParameter, match="at most one distinct index"):
        collection.create_index("vector", "HNSW", metric="L2", params={"M": 16})
    with pytest.raises(InvalidParameter, match="creating multiple indexes on same field"):
        collection.create_index("vector", "FLAT", metric="L2", name="other")


def test_a_dropped_index_is_gone_and_searches_go_on(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(20)))
    collection.create_index("vector", metric="L2", name="mine")
    collection.compact()
    collection.drop_index("mine")
    collection.drop_index("mine")
    assert collection.list_indexes() == []
    with pytest.raises(IndexNotFound):
        collection.describe_index("mine")
    assert collection.search(vector(7), limit=1, metric="IP").keys[0].tolist() == [19]
    collection.create_index("vector", "FLAT", metric="IP")
    assert collection.search(vector(7), limit=1).keys[0].tolist() == [19]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "HNSW"}, "metric type not set"),
        ({"kind": "ANNOY", "metric": "L2"}, "invalid index type: ANNOY"),
        ({"kind": "HNSW", "metric": "HAMMING"}, "metric type: HAMMING"),
        ({"kind": "HNSW", "metric": "L2", "params": {"M": 2049}}, r"param 'M' \(2049\) should be in range \[2, 2048\]"),
        ({"kind": "IVF_FLAT", "metric": "L2", "params": {"nlist": 0}}, r"param 'nlist' \(0\) should be in range"),
        ({"kind": "AUTOINDEX", "params": {"M": 8}}, "only metric type can be passed"),
        ({"field": "title", "kind": "HNSW", "metric": "L2"}, "only supports vector data type"),
        ({"field": "title", "kind": "NONE"}, "invalid index type: NONE"),
        ({"field": "id", "kind": "BITMAP"}, "bitmap index on primary key"),
        ({"field": "id", "kind": "Trie"}, "TRIE are only supported on varchar field"),
        ({"field": "absent"}, "json index must specify cast type"),
        ({"field": "about", "params": {"json_cast_type": "BOOL", "json_path": "/"}}, "mismatched input"),
        ({"field": "about", "params": {"json_cast_type": "DATE"}}, "json_cast_type DATE is not supported"),
        ({"name": "a b"}, "Invalid index name"),
    ],
)
def test_what_an_index_may_not(db: Elanus, arguments: dict[str, Any], message: str) -> None:
    collection = db.create_collection("books", BOOKS)
    with pytest.raises(InvalidParameter, match=message):
        collection.create_index(**{"field": "vector", **arguments})
    assert collection.list_indexes() == []


def test_an_index_of_a_scalar_field_is_described_and_changes_no_answer(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(3000)))
    before = collection.query("pages > 20", output_fields=["title"])
    collection.create_index("pages", "INVERTED")
    collection.create_index("title", "Trie", name="by_title")
    for name in ("a", "b"):
        params = {"json_path": f"about['{name}']", "json_cast_type": "double"}
        collection.create_index("about", "INVERTED", params=params)
    collection.create_index("shelf", "INVERTED", params={"json_cast_type": "VARCHAR"})
    collection.flush()
    collection.compact()
    assert [(i.name, i.field, i.kind, i.metric) for i in collection.list_indexes()] == [
        ("$meta/shelf", "shelf", "INVERTED", None),
        ("about/a", "about", "INVERTED", None),
        ("about/b", "about", "INVERTED", None),
        ("by_title", "title", "Trie", None),
        ("pages", "pages", "INVERTED", None),
    ]
    assert collection.query("pages > 20", output_fields=["title"]).equals(before)
