"""Properties of a collection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elanus import Elanus, InvalidParameter
from tests.native_case import BOOKS, open_folder


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def test_properties_are_set_and_taken_away(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("books", BOOKS, properties={"a": "1", "b": "2"})
    collection.set_properties({"b": "3", "c": "4"})
    collection.drop_properties(["a", "absent"])
    assert collection.properties == {"b": "3", "c": "4"}
    db.close()
    with open_folder(tmp_path) as again:
        assert again.collection("books").properties == {"b": "3", "c": "4"}


def test_what_properties_may_not(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    for wrong in ({"a": 1}, {1: "a"}, {"on_duplicate_key": "replace"}, {}):
        with pytest.raises(InvalidParameter):
            collection.set_properties(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter):
        collection.drop_properties([])
    assert collection.properties == {}
