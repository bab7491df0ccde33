"""upsert: the new row stands in the place of the old one, at one moment, in every state the old one can be in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elanus import Elanus, InvalidParameter, SchemaMismatch
from tests.native_case import BOOKS, DIM, STATES, book, books, bring_to, keys_in, open_folder, vectors


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("state", STATES)
def test_upsert_replaces_rows_and_inserts_new_ones(db: Elanus, tmp_path: Path, state: str) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(20), pages=1, colour="red"))
    db, collection = bring_to(state, db, collection, tmp_path)
    result = collection.upsert([book(5, pages=2), book(20, pages=2)])
    assert (result.count, result.keys.to_pylist()) == (2, [5, 20])
    assert collection.count() == 21
    assert collection.get(5) == [
        {**book(5), "vector": [5, 1, 0, 0], "pages": 2, "price": 9.5, "sold": None, "about": None}
    ]
    assert keys_in(collection, "pages == 2") == [5, 20]
    assert 5 not in keys_in(collection, 'colour == "red"')
    db, collection = bring_to("reopened", db, collection, tmp_path)
    assert keys_in(collection, "pages == 2") == [5, 20]
    db.close()


@pytest.mark.parametrize("state", STATES)
def test_upsert_removes_all_copies_of_a_key(db: Elanus, tmp_path: Path, state: str) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books([1, 1, *range(2, 10)], pages=1))
    db, collection = bring_to(state, db, collection, tmp_path)
    collection.insert([book(1, pages=2)])
    collection.upsert([book(1, pages=3)])
    assert collection.count() == 9
    assert collection.count("id == 1") == 1
    assert collection.get(1)[0]["pages"] == 3
    db.close()


def test_a_search_finds_the_new_vector_and_not_the_old(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(10)))
    collection.upsert([{**book(3), "vector": [100.0, 1, 0, 0]}])
    assert collection.search([3.0, 1, 0, 0], limit=1, metric="L2").keys[0].tolist() != [3]
    assert collection.search([100.0, 1, 0, 0], limit=1, metric="L2").keys[0].tolist() == [3]


def test_a_key_twice_in_one_batch_is_refused(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    with pytest.raises(InvalidParameter, match="duplicate primary keys are not allowed in the same batch"):
        collection.upsert(books([1, 1]))
    assert collection.count() == 0


def test_upsert_needs_all_fields_that_an_insert_needs(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert([book(1)])
    with pytest.raises(SchemaMismatch, match='missed a field "title"'):
        collection.upsert([{"id": 1, "vector": [1, 2, 3, 4]}])


def test_under_autoid_a_replaced_row_gets_a_new_key(db: Elanus) -> None:
    collection = db.create_collection("auto", dimension=DIM, auto_id=True)
    old = collection.insert({"vector": vectors([1, 2])}).keys.to_pylist()
    new = collection.upsert({"id": [old[0]], "vector": vectors([9])}).keys.to_pylist()
    assert new[0] > old[1]
    assert keys_in(collection) == [old[1], new[0]]
    with pytest.raises(SchemaMismatch, match='missed a field "id"'):
        collection.upsert({"vector": vectors([9])})


def test_an_upserted_row_moves_to_the_partition_that_is_named(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.create_partition("old")
    collection.insert(books([1, 2]))
    collection.upsert(books([2]), partition="old")
    assert keys_in(collection, partitions=["_default"]) == [1]
    assert keys_in(collection, partitions=["old"]) == [2]


def test_an_empty_upsert_does_nothing(db: Elanus) -> None:
    assert db.create_collection("books", BOOKS).upsert([]).count == 0
