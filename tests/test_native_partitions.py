"""Partitions: named parts of a collection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elanus import Elanus, InvalidParameter, PartitionNotFound
from tests.native_case import BOOKS, books, keys_in, open_folder


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def test_partitions_are_made_and_listed(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("books", BOOKS)
    for name in ("old", "2024-new", "old"):
        collection.create_partition(name)
    assert collection.list_partitions() == ["_default", "old", "2024-new"]
    assert collection.has_partition("old")
    assert not collection.has_partition("other")
    db.close()
    with open_folder(tmp_path) as again:
        assert again.collection("books").list_partitions() == ["_default", "old", "2024-new"]


def test_a_dropped_partition_takes_its_rows_along(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.create_partition("old")
    collection.insert(books([1, 2]))
    collection.insert(books([3, 4]), partition="old")
    collection.flush()
    collection.insert(books([5]), partition="old")
    collection.drop_partition("old")
    collection.drop_partition("old")
    assert keys_in(collection) == [1, 2]
    collection.create_partition("old")
    assert keys_in(collection, partitions=["old"]) == []
    db.close()
    with open_folder(tmp_path) as again:
        assert keys_in(again.collection("books")) == [1, 2]


def test_what_a_partition_may_not(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    for name in ("", "a b", "$a", "a" * 256):
        with pytest.raises(InvalidParameter):
            collection.create_partition(name)
    with pytest.raises(InvalidParameter, match="default"):
        collection.drop_partition("_default")
    with pytest.raises(PartitionNotFound):
        collection.insert(books([1]), partition="absent")
