"""Databases: namespaces of collections in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elanus import CollectionNotFound, DatabaseNotFound, Elanus, InvalidDatabaseName, InvalidParameter
from tests.native_case import BOOKS, books, keys_in, open_folder


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def test_one_name_in_two_databases_is_two_collections(db: Elanus, tmp_path: Path) -> None:
    other = db.create_database("other")
    db.create_collection("books", BOOKS).insert(books([1]))
    other.create_collection("books", BOOKS).insert(books([2]))
    db.close()
    with open_folder(tmp_path) as again:
        assert again.list_databases() == ["default", "other"]
        assert keys_in(again.collection("books")) == [1]
        assert keys_in(again.database("other").collection("books")) == [2]


def test_a_collection_moves_to_another_database(db: Elanus) -> None:
    db.create_database("other")
    db.create_collection("books", BOOKS).insert(books([1]))
    db.rename_collection("books", "novels", database="other")
    assert db.list_collections() == []
    assert keys_in(db.database("other").collection("novels")) == [1]


def test_database_properties(db: Elanus) -> None:
    db.create_database("other", {"timezone": "UTC"})
    db.alter_database("other", {"a": "1"})
    assert db.describe_database("other").properties == {"timezone": "UTC", "a": "1"}
    db.alter_database("other", drop=["a"])
    assert db.describe_database("other").properties == {"timezone": "UTC"}
    with pytest.raises(InvalidParameter, match="not both"):
        db.alter_database("other", {"a": "1"}, drop=["a"])
    with pytest.raises(InvalidParameter, match="not both"):
        db.alter_database("other")


def test_what_a_database_may_not(db: Elanus) -> None:
    other = db.create_database("other")
    other.create_collection("books", BOOKS)
    with pytest.raises(InvalidParameter, match="not empty"):
        db.drop_database("other")
    with pytest.raises(InvalidParameter, match="default"):
        db.drop_database("default")
    with pytest.raises(InvalidParameter, match="already exist"):
        db.create_database("other")
    with pytest.raises(InvalidDatabaseName):
        db.create_database("1")
    with pytest.raises(DatabaseNotFound):
        db.database("absent")
    other.drop_collection("books")
    db.drop_database("other")
    db.drop_database("other")
    with pytest.raises(DatabaseNotFound):
        other.list_collections()
    with pytest.raises(CollectionNotFound):
        db.collection("books")
