"""Partial updates: what a row does not name stays as it is, in whatever state the row is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import elanus
from elanus import DataType, Field, InvalidParameter, Schema, SchemaMismatch
from tests.native_case import BOOKS, STATES, book, books, bring_to, keys_in, open_folder, vector, vectors


@pytest.mark.parametrize("state", STATES)
def test_what_is_not_named_stays(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "db"
    db = open_folder(folder)
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(10), pages=7, about={"a": 1}, color="red"))
    db, collection = bring_to(state, db, collection, folder)
    before = collection.get(list(range(10)))
    result = collection.upsert([{"id": 3, "title": "new"}, {"id": 5, "title": "newer"}], partial=True)
    assert (result.keys.to_pylist(), result.count) == ([3, 5], 2)
    collection.upsert({"id": [4, 3], "pages": [None, 9], "price": [1.5, 2.5]}, partial=True)
    collection.upsert({"id": 6, "vector": vector(60)}, partial=True)
    collection.upsert({"id": 7, "about": {"b": 2}}, partial=True)
    collection.upsert({"id": 8, "color": "blue", "size": 2}, partial=True)
    expected = {row["id"]: dict(row) for row in before}
    expected[3] |= {"title": "new", "pages": 9, "price": 2.5}
    expected[5] |= {"title": "newer"}
    expected[4] |= {"pages": None, "price": 1.5}
    expected[6] |= {"vector": vector(60)}
    expected[7] |= {"about": {"b": 2}}
    expected[8] |= {"color": "blue", "size": 2}
    db, collection = bring_to(state, db, collection, folder)
    found = {row["id"]: row for row in collection.get(list(range(10)))}
    assert found == expected
    (hits,) = collection.search(vectors([59.9]), limit=1, metric="L2")
    assert hits[0]["id"] == 6
    assert collection.count() == 10
    db.close()


def test_keys_that_are_new_need_what_an_insert_needs(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("books", BOOKS)
    collection.insert(books([1]))
    with pytest.raises(SchemaMismatch, match=r"fieldSchema\(vector\) has no .*: the key in row 1 is new"):
        collection.upsert([{"id": 1, "title": "one"}, {"id": 2, "title": "two"}], partial=True)
    assert collection.get([1])[0]["title"] == "book 1"
    collection.upsert([{"id": n, "vector": vector(n), "title": f"t{n}", "tag": n} for n in (1, 2)], partial=True)
    assert collection.query("id > 0", output_fields=["title", "price", "pages"]).to_pylist() == [
        {"id": 1, "title": "t1", "price": 9.5, "pages": None},
        {"id": 2, "title": "t2", "price": 9.5, "pages": None},
    ]
    assert keys_in(collection, "tag == 2") == [2]
    db.close()


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("books", BOOKS)
    collection.insert(books([1, 2]))
    for rows, reason in (
        ([{"title": "x"}], 'send the field "id"'),
        ([{"id": 1, "title": "x"}, {"id": 2, "pages": 3}], "name different fields"),
        ([{"id": 1, "title": "x" * 65}], "exceeds max length"),
        ([{"id": 1, "title": None}], "not nullable"),
        ([{"id": 1, "pages": "many"}], "holds Int32"),
    ):
        with pytest.raises(SchemaMismatch, match=reason):
            collection.upsert(rows, partial=True)
    with pytest.raises(InvalidParameter, match="duplicate primary keys"):
        collection.upsert([{"id": 1, "pages": 1}, {"id": 1, "pages": 2}], partial=True)
    assert collection.upsert([], partial=True).count == 0
    assert collection.query(output_fields=["title", "pages"]).column("pages").to_pylist() == [None, None]
    db.close()


def test_made_keys_are_made_anew_and_tenants_stay_theirs(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection = db.create_collection(
        "c",
        Schema(
            (
                Field("id", DataType.INT64, is_primary=True, auto_id=True),
                Field("vector", DataType.FLOAT_VECTOR, dim=4),
                Field("tenant", DataType.VARCHAR, max_length=8, is_partition_key=True),
                Field("size", DataType.INT32),
            )
        ),
    )
    keys = collection.insert([{"vector": vector(n), "tenant": f"t{n}", "size": n} for n in range(4)]).keys.to_pylist()
    (new,) = collection.upsert([{"id": keys[2], "size": 20}], partial=True).keys.to_pylist()
    assert new not in keys
    assert collection.query("tenant == 't2'", output_fields=["size"]).to_pylist() == [{"id": new, "size": 20}]
    (moved,) = collection.upsert([{"id": new, "tenant": "t9"}], partial=True).keys.to_pylist()
    assert keys_in(collection, "tenant == 't2'") == []
    assert keys_in(collection, "tenant == 't9' and size == 20") == [moved]
    db.close()


def test_of_updates_at_once_none_is_lost(tmp_path: Path) -> None:
    with elanus.open(tmp_path / "db") as db:
        collection = db.create_collection("books", BOOKS)
        collection.insert([book(1, pages=0, about={"n": 0})])

        def update(thread: int) -> None:
            for n in range(30):
                collection.upsert([{"id": 1, f"key_{thread}": n}], partial=True)

        threads = [threading.Thread(target=update, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (row,) = collection.get([1])
        assert {name: value for name, value in row.items() if name.startswith("key_")} == dict.fromkeys(
            (f"key_{n}" for n in range(4)), 29
        )
