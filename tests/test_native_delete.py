"""delete: by keys and by filter, in every state a row can be in; deleted is gone, and stays so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from elanus import DataType, Elanus, InvalidParameter, PartitionNotFound, SchemaMismatch
from tests.native_case import BOOKS, DIM, STATES, book, books, bring_to, keys_in, open_folder, vectors


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("state", STATES)
def test_deleted_keys_are_gone_from_every_read(db: Elanus, tmp_path: Path, state: str) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(20)))
    db, collection = bring_to(state, db, collection, tmp_path)
    assert collection.delete([3, 4, 99]) == 3
    left = [n for n in range(20) if n not in (3, 4)]
    assert keys_in(collection) == left
    assert collection.count() == 18
    assert collection.get([3, 4]) == []
    found = collection.search([3.0, 1, 0, 0], limit=20, metric=None if state == "indexed" else "L2").keys[0]
    assert sorted(found.tolist()) == left
    db, collection = bring_to("reopened", db, collection, tmp_path)
    assert keys_in(collection) == left
    db.close()


@pytest.mark.parametrize("state", STATES)
def test_a_filter_deletes_what_it_matches_and_says_how_many(db: Elanus, tmp_path: Path, state: str) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert([book(n, pages=n % 3 or None) for n in range(12)])
    db, collection = bring_to(state, db, collection, tmp_path)
    assert collection.delete(filter="pages == 1") == 4
    assert collection.delete(filter="pages == {n} and id < 6", filter_params={"n": 2}) == 2
    assert collection.delete(filter="pages > 100") == 0
    assert keys_in(collection) == [0, 3, 6, 8, 9, 11]
    db.close()


@pytest.mark.parametrize("keys", [5, [5], (5,), np.array([5]), pa.array([5]), {5}], ids=lambda k: type(k).__name__)
def test_keys_come_in_many_shapes(db: Elanus, keys: object) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(10)))
    assert collection.delete(keys) == 1
    assert 5 not in keys_in(collection)


def test_varchar_keys(db: Elanus) -> None:
    collection = db.create_collection("text", dimension=DIM, key_type=DataType.VARCHAR)
    collection.insert({"id": ["a", "b", "ü"], "vector": vectors(range(3))})
    assert collection.delete("ü") == 1
    assert collection.delete(["b", "x" * 1000]) == 2
    assert keys_in(collection) == ["a"]
    with pytest.raises(SchemaMismatch):
        collection.delete([1])


def test_a_filter_that_names_keys_counts_the_keys(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(3)))
    assert collection.delete(filter="id in [1, 7, 8]") == 3
    assert keys_in(collection) == [0, 2]


def test_a_delete_hits_all_copies_of_a_key(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books([1, 1, 2]))
    collection.flush()
    collection.insert(books([1]))
    collection.delete([1])
    assert collection.count() == 1


def test_a_deleted_key_may_come_again(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    for pages in range(3):
        collection.insert([book(1, pages=pages)])
        assert collection.get(1)[0]["pages"] == pages
        collection.delete([1])
        assert collection.get(1) == []


def test_a_delete_may_be_bound_to_partitions(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.create_partition("old")
    collection.insert(books([1, 2]))
    collection.insert(books([1, 3]), partition="old")
    collection.delete([1], partitions=["old"])
    assert collection.delete(filter="id >= 0", partitions=["old"]) == 1
    assert keys_in(collection) == [1, 2]
    with pytest.raises(PartitionNotFound):
        collection.delete([1], partitions=["new"])


@pytest.mark.parametrize("filter", ["", "  ", "1 == 1", "id in [1] or true"])
def test_an_empty_or_always_true_filter_is_refused(db: Elanus, filter: str) -> None:  # noqa: A002
    collection = db.create_collection("books", BOOKS)
    collection.insert(books([1]))
    with pytest.raises(InvalidParameter):
        collection.delete(filter=filter)
    assert collection.count() == 1


def test_keys_or_a_filter_never_both_and_never_neither(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    with pytest.raises(InvalidParameter, match="one of them"):
        collection.delete()
    with pytest.raises(InvalidParameter, match="one of them"):
        collection.delete([1], filter="id == 1")
    assert collection.delete([]) == 0


def test_truncate_leaves_the_collection_empty_and_usable(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.create_partition("old")
    collection.create_index("vector")
    collection.insert(books(range(10)))
    collection.flush()
    collection.insert(books(range(10, 20)), partition="old")
    collection.truncate()
    assert collection.count() == 0
    collection.insert(books([5]))
    db, collection = bring_to("reopened", db, collection, tmp_path)
    assert keys_in(collection) == [5]
    assert collection.list_partitions() == ["_default", "old"]
    assert [index.name for index in collection.list_indexes()] == ["vector"]
    db.close()
