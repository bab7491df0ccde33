"""insert: what was acknowledged is there, wholly, at once, and after the folder was opened again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pytest

from elanus import (
    CollectionNotFound,
    DataType,
    DuplicateKey,
    Elanus,
    Field,
    PartitionNotFound,
    Schema,
    SchemaMismatch,
)
from tests.native_case import BOOKS, DIM, STATES, book, books, bring_to, keys_in, open_folder, vectors


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("state", STATES)
def test_a_row_comes_back_as_it_was_given(db: Elanus, tmp_path: Path, state: str) -> None:
    collection = db.create_collection("books", BOOKS)
    full = book(1, pages=300, price=1.5, sold=True, about={"tags": ["a", None], "n": 2**60}, colour="red", size=5)
    least = {"id": 2, "vector": [0.1, 0.2, 0.3, 0.4], "title": ""}
    result = collection.insert([full, least])
    assert (result.count, result.keys.to_pylist()) == (2, [1, 2])
    db, collection = bring_to(state, db, collection, tmp_path)
    assert collection.get([1, 2]) == [
        full,
        {
            **least,
            "vector": np.array(least["vector"], np.float32).tolist(),
            "pages": None,
            "price": 9.5,
            "sold": None,
            "about": None,
        },
    ]
    db.close()


def test_numpy_columns_and_arrow_tables_go_in(db: Elanus) -> None:
    collection = db.create_collection("quick", dimension=DIM)
    collection.insert({"id": np.arange(100), "vector": vectors(range(100)), "half": np.arange(100) / 2})
    table = collection.query(limit=3)
    assert table.column_names == ["id", "vector", "$meta"]
    other = db.create_collection("other", dimension=DIM)
    assert other.insert(table).count == 3
    assert other.get(1) == [{"id": 1, "vector": [1, 1, 0, 0], "half": 0.5}]


def test_an_array_may_be_changed_once_the_insert_returned(db: Elanus) -> None:
    collection = db.create_collection("quick", dimension=DIM)
    given = vectors([1])
    collection.insert({"id": [1], "vector": given})
    given[:] = 7
    assert collection.get(1)[0]["vector"] == [1, 1, 0, 0]


def test_a_wrong_row_refuses_the_whole_batch(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    with pytest.raises(SchemaMismatch, match=r"field \"pages\" holds Int32; got 'many' in row 1\. Send an integer"):
        collection.insert([book(1), book(2, pages="many")])
    assert collection.count() == 0


def test_nothing_is_inserted_by_an_empty_batch(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    assert collection.insert([]).count == 0
    assert collection.insert({"id": [], "vector": [], "title": []}).keys.type == pa.int64()


def test_autoid_makes_rising_keys_that_are_never_reused(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("auto", dimension=DIM, auto_id=True)
    first = collection.insert({"vector": vectors(range(5))}).keys.to_pylist()
    collection.delete(first)
    db.close()
    with open_folder(tmp_path) as again:
        collection = again.collection("auto")
        second = collection.insert([{"vector": v} for v in vectors(range(3))]).keys.to_pylist()
        assert first + second == sorted(set(first + second))
        assert keys_in(collection) == second
        with pytest.raises(SchemaMismatch, match="autoID"):
            collection.insert({"id": [1], "vector": vectors([1])})


def test_autoid_for_varchar_keys_is_decimal_text(db: Elanus) -> None:
    collection = db.create_collection("auto", dimension=DIM, auto_id=True, key_type=DataType.VARCHAR)
    keys = collection.insert({"vector": vectors(range(3))}).keys.to_pylist()
    assert keys_in(collection) == keys
    assert all(key.isdecimal() for key in keys)


def test_rows_go_into_the_partition_that_is_named(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.create_partition("old")
    collection.insert(books([1, 2]), partition="old")
    collection.insert(books([3]))
    assert keys_in(collection, partitions=["old"]) == [1, 2]
    with pytest.raises(PartitionNotFound):
        collection.insert(books([4]), partition="new")


def test_keep_accepts_a_key_twice(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert([book(1, pages=1)])
    collection.insert([book(1, pages=2), book(1, pages=3)])
    assert collection.count() == 3
    assert [row["pages"] for row in collection.get(1)] == [3]


@pytest.mark.parametrize("state", STATES)
def test_reject_refuses_a_key_that_exists(db: Elanus, tmp_path: Path, state: str) -> None:
    collection = db.create_collection("books", BOOKS, on_duplicate_key="reject")
    collection.insert(books(range(10)))
    db, collection = bring_to(state, db, collection, tmp_path)
    with pytest.raises(DuplicateKey, match="primary key 3 exists"):
        collection.insert(books([10, 3]))
    with pytest.raises(DuplicateKey):
        collection.insert(books([11, 11]))
    collection.delete([3])
    collection.insert(books([3]))
    assert keys_in(collection) == list(range(10))
    db.close()


@pytest.mark.parametrize("state", STATES)
def test_replace_puts_the_new_row_in_the_place_of_the_old(db: Elanus, tmp_path: Path, state: str) -> None:
    collection = db.create_collection("books", BOOKS, on_duplicate_key="replace")
    collection.insert(books(range(10), pages=1))
    db, collection = bring_to(state, db, collection, tmp_path)
    collection.insert([book(3, pages=2), book(3, pages=3), book(10, pages=1)])
    assert collection.count() == 11
    assert collection.get(3)[0]["pages"] == 3
    db.close()


def test_of_two_threads_that_insert_one_key_reject_lets_one_win(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS, on_duplicate_key="reject")
    outcomes: list[bool] = []

    def insert(pages: int) -> None:
        try:
            collection.insert([book(1, pages=pages)])
            outcomes.append(True)
        except DuplicateKey:
            outcomes.append(False)

    threads = [Thread(target=insert, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]
    assert collection.count() == 1


def test_an_absent_collection_is_named(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    db.drop_collection("books")
    with pytest.raises(CollectionNotFound, match=r"collection not found\[database=default\]\[collection=books\]"):
        collection.insert([book(1)])


def test_several_vector_fields(db: Elanus) -> None:
    schema = Schema(
        (
            Field("key", DataType.VARCHAR, is_primary=True, max_length=8),
            Field("small", DataType.FLOAT_VECTOR, dim=2),
            Field("large", DataType.FLOAT_VECTOR, dim=DIM),
        )
    )
    collection = db.create_collection("two", schema)
    collection.insert({"key": ["a", "b"], "small": [[1, 0], [0, 1]], "large": vectors([1, 2])})
    assert collection.search([0, 1], field="small", limit=1, metric="L2")[0].keys.tolist() == ["b"]
    assert collection.search(vectors([1]), field="large", limit=1, metric="L2")[0].keys.tolist() == ["a"]
