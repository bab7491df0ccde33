"""query, get and count: exactly the rows that match, in key order, in every state a row can be in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import elanus
from elanus import Collection, DataType, Elanus, InvalidParameter, PartitionNotFound, SchemaMismatch
from tests.native_case import BOOKS, DIM, STATES, book, books, bring_to, keys_in, open_folder, vectors


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def filled(db: Elanus) -> Collection:
    """Twelve books: pages n, null for every third; sold where even; a dynamic colour and a JSON value for some."""
    collection = db.create_collection("books", BOOKS)
    collection.insert(
        [
            book(
                n,
                pages=n if n % 3 else None,
                sold=n % 2 == 0,
                about={"year": 1990 + n, "tags": ["x", n]} if n < 8 else None,
                **({"colour": "red" if n < 5 else "blue"} if n % 4 else {}),
            )
            for n in reversed(range(12))
        ]
    )
    return collection


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("", range(12)),
        ("id >= 9", [9, 10, 11]),
        ("id in [3, 1, 77]", [1, 3]),
        ("id not in [3, 1]", [0, 2, *range(4, 12)]),
        ("pages > 7", [8, 10, 11]),
        ("not (pages > 7)", [1, 2, 4, 5, 7]),
        ("pages is null", [0, 3, 6, 9]),
        ("pages is not null and sold == true", [2, 4, 8, 10]),
        ("pages * 2 + 1 == 5", [2]),
        ('title like "book 1%"', [1, 10, 11]),
        ('about["year"] >= 1996', [6, 7]),
        ('about["tags"][1] == 5', [5]),
        ('exists about["year"] and id < 2', [0, 1]),
        ('colour == "red"', [1, 2, 3]),
        ('colour != "red"', [5, 6, 7, 9, 10, 11]),
        ("price == 9.5 or id == 0", range(12)),
        ("pages > 1000", []),
    ],
)
def test_a_filter_finds_its_rows(
    db: Elanus,
    tmp_path: Path,
    state: str,
    condition: str,
    expected: Any,
) -> None:
    db, collection = bring_to(state, db, filled(db), tmp_path)
    assert keys_in(collection, condition) == list(expected)
    assert collection.count(condition) == len(expected)
    db.close()


def test_templates_fill_in_values(db: Elanus) -> None:
    collection = filled(db)
    assert keys_in(collection, "pages > {least} and id in {keys}", filter_params={"least": 4, "keys": [4, 5, 7]}) == [
        5,
        7,
    ]


def test_limit_and_offset_page_through_key_order(db: Elanus) -> None:
    collection = filled(db)
    collection.flush()
    collection.insert(books([100, 50, -1]))
    assert keys_in(collection, limit=3) == [-1, 0, 1]
    assert keys_in(collection, limit=3, offset=11) == [10, 11, 50]
    assert keys_in(collection, limit=3, offset=14) == [100]
    assert keys_in(collection, offset=13) == [50, 100]
    assert keys_in(collection, offset=99) == []


def test_output_fields_choose_the_columns(db: Elanus) -> None:
    collection = filled(db)
    assert collection.query(output_fields=["pages", "title"]).column_names == ["id", "pages", "title"]
    assert collection.query(output_fields=[]).column_names == ["id"]
    everything = collection.query("id == 1")
    assert everything.column_names == ["id", "vector", "title", "pages", "price", "sold", "about", "$meta"]
    assert everything.schema.field("vector").type.list_size == DIM
    assert everything.schema.field("about").type == pa.large_binary()


def test_dynamic_keys_stand_beside_the_fields_in_rows(db: Elanus) -> None:
    collection = filled(db)
    table = collection.query("id in [4, 5]", output_fields=["pages", "colour", "size"])
    assert table.column_names == ["id", "pages", "$meta"]
    assert elanus.to_rows(table) == [{"id": 4, "pages": 4}, {"id": 5, "pages": 5, "colour": "blue"}]
    collection.insert([book(20, colour="green", size=3)])
    for name in ("colour", '$meta["colour"]', "$meta['colour']"):
        assert collection.get(20, output_fields=[name]) == [{"id": 20, "colour": "green"}]
    assert collection.get(20, output_fields=["$meta"]) == [{"id": 20, "colour": "green", "size": 3}]


def test_an_unknown_output_field_is_refused_without_a_dynamic_field(db: Elanus) -> None:
    schema = elanus.Schema(BOOKS.fields)
    collection = db.create_collection("static", schema)
    for name in ("colour", "$meta"):
        with pytest.raises(InvalidParameter, match="not exist"):
            collection.query(output_fields=[name])


def test_get_leaves_out_keys_that_are_not_there(db: Elanus) -> None:
    collection = filled(db)
    assert [row["id"] for row in collection.get([7, 99, 2])] == [2, 7]
    assert [row["id"] for row in collection.get(np.array([7, 7]))] == [7]
    assert collection.get([]) == []
    with pytest.raises(SchemaMismatch):
        collection.get(["7"])


def test_varchar_keys_come_in_byte_order(db: Elanus) -> None:
    collection = db.create_collection("text", dimension=DIM, key_type=DataType.VARCHAR)
    keys = ["b", "ä", "a", "", "B", "aa", 'it\'s "quoted" {x}']
    collection.insert({"id": keys, "vector": vectors(range(len(keys)))})
    in_order = sorted(keys, key=str.encode)
    assert keys_in(collection) == in_order
    collection.flush()
    assert keys_in(collection) == in_order
    for key in keys:
        assert [row["id"] for row in collection.get(key)] == [key]


def test_partitions_bind_a_query(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.create_partition("old")
    collection.insert(books([1, 2]))
    collection.insert(books([3, 4]), partition="old")
    assert keys_in(collection, partitions=["old"]) == [3, 4]
    assert keys_in(collection, partitions=["old", "_default"]) == [1, 2, 3, 4]
    assert collection.count("id > 3", partitions=["old"]) == 1
    with pytest.raises(PartitionNotFound, match="partition not found"):
        collection.query(partitions=["new"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit .0. is invalid"),
        ({"limit": -1}, "should be greater than 0"),
        ({"limit": 1.5}, "limit"),
        ({"offset": -1, "limit": 1}, "offset"),
        ({"limit": 16_385}, r"\(offset\+limit\) should be in range \[1, 16384\], but got 16385"),
        ({"limit": 16_000, "offset": 385}, r"but got 16385"),
        ({"filter": "pages >"}, "cannot parse expression"),
        ({"filter": "pagse > 1 and title == 1"}, "cannot parse expression"),
        ({"output_fields": [5]}, "output field"),
    ],
)
def test_what_a_query_may_not(db: Elanus, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        filled(db).query(**arguments)


def test_a_count_and_a_query_of_nothing(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    assert collection.count() == collection.count() == 0
    empty = collection.query()
    assert empty.num_rows == 0
    assert empty.column_names[0] == "id"
