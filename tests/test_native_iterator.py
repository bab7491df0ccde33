"""query_iterator: every row that matched when it was made, once, in key order, whatever is written meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import elanus
from elanus import Elanus, InvalidParameter, PartitionNotFound
from tests.native_case import BOOKS, STATES, book, books, bring_to, open_folder


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("state", STATES)
def test_pages_hold_every_row_once_in_key_order(db: Elanus, tmp_path: Path, state: str) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(reversed(range(25)), pages=1))
    db, collection = bring_to(state, db, collection, tmp_path)
    pages = list(collection.query_iterator(batch_size=10, output_fields=["title"]))
    assert [page.num_rows for page in pages] == [10, 10, 5]
    assert [key for page in pages for key in page.column("id").to_pylist()] == list(range(25))
    assert pages[0].column_names == ["id", "title"]
    db.close()


def test_an_iterator_shows_the_rows_as_they_were_when_it_was_made(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(20), pages=1))
    pages = collection.query_iterator(batch_size=5)
    seen = elanus.to_rows(next(pages))
    collection.delete([7, 8])
    collection.upsert([book(12, pages=2)])
    collection.insert(books([100]))
    collection.flush()
    collection.compact()
    collection.truncate()
    for page in pages:
        seen += elanus.to_rows(page)
    assert [row["id"] for row in seen] == list(range(20))
    assert {row["pages"] for row in seen} == {1}
    assert collection.count() == 0


def test_filters_limits_and_partitions_bind_an_iterator(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.create_partition("old")
    collection.insert(books(range(20)))
    collection.insert(books(range(20, 40)), partition="old")
    found = [
        key
        for page in collection.query_iterator("id % 2 == 0", batch_size=4, limit=6, partitions=["old"])
        for key in page.column("id").to_pylist()
    ]
    assert found == [20, 22, 24, 26, 28, 30]
    assert list(collection.query_iterator("id < 0")) == []


@pytest.mark.parametrize(
    "arguments", [{"batch_size": 0}, {"batch_size": 16_385}, {"limit": 0}, {"filter": "id >"}], ids=str
)
def test_a_wrong_iterator_is_refused_when_it_is_made(db: Elanus, arguments: dict[str, object]) -> None:
    collection = db.create_collection("books", BOOKS)
    with pytest.raises(InvalidParameter):
        collection.query_iterator(**arguments)  # type: ignore[arg-type]
    with pytest.raises(PartitionNotFound):
        collection.query_iterator(partitions=["new"])
