"""Aliases: second names of collections, pointed elsewhere at one stroke."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elanus import AliasExists, AliasNameTaken, AliasNotFound, CollectionNotFound, Elanus, InvalidParameter
from tests.native_case import BOOKS, books, keys_in, open_folder


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        opened.create_collection("blue", BOOKS).insert(books([1]))
        opened.create_collection("green", BOOKS).insert(books([2]))
        yield opened


def test_an_alias_works_in_place_of_a_name(db: Elanus, tmp_path: Path) -> None:
    db.create_alias("current", "blue")
    current = db.collection("current")
    current.insert(books([10]))
    assert keys_in(db.collection("blue")) == [1, 10]
    assert db.has_collection("current")
    assert db.list_collections() == ["blue", "green"]
    db.close()
    with open_folder(tmp_path) as again:
        assert keys_in(again.collection("current")) == [1, 10]


def test_an_altered_alias_takes_effect_at_once(db: Elanus) -> None:
    db.create_alias("current", "blue")
    current = db.collection("current")
    db.alter_alias("current", "green")
    assert keys_in(current) == [2]
    assert db.list_aliases() == {"current": "green"}
    assert db.list_aliases("blue") == {}
    db.drop_alias("current")
    with pytest.raises(CollectionNotFound):
        current.query()


def test_what_an_alias_may_not(db: Elanus) -> None:
    db.create_alias("current", "blue")
    db.create_alias("current", "blue")
    with pytest.raises(AliasExists):
        db.create_alias("current", "green")
    with pytest.raises(AliasNameTaken):
        db.create_alias("blue", "green")
    with pytest.raises(AliasNameTaken):
        db.create_collection("current", BOOKS)
    with pytest.raises(AliasNotFound):
        db.alter_alias("absent", "blue")
    with pytest.raises(AliasNotFound):
        db.drop_alias("absent")
    with pytest.raises(InvalidParameter, match="aliases"):
        db.drop_collection("blue")
    with pytest.raises(InvalidParameter, match="via alias"):
        db.drop_collection("current")
    with pytest.raises(InvalidParameter, match="Invalid collection alias"):
        db.create_alias("1", "blue")
    with pytest.raises(CollectionNotFound):
        db.list_aliases("absent")
