"""Fields that are added and dropped: old rows answer at once, in every state, and no row is rewritten."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import elanus
from elanus import Collection, DataType, Elanus, Field, InvalidParameter, SchemaMismatch, Settings
from tests.native_case import BOOKS, STATES, book, books, bring_to, keys_in, open_folder, vectors

RANK = Field("rank", DataType.INT64, nullable=True)
GENRE = Field("genre", DataType.VARCHAR, max_length=16, nullable=True, default="none")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "db"


def made(folder: Path) -> tuple[Elanus, Collection]:
    db = open_folder(folder)
    return db, db.create_collection("books", elanus.Schema(BOOKS.fields))


def values(collection: Collection, *fields: str) -> dict[int, tuple[Any, ...]]:
    """By key, what the rows hold for some fields."""
    table = collection.query(output_fields=["id", *fields])
    columns = [table.column(name).to_pylist() for name in fields]
    return dict(zip(table.column("id").to_pylist(), zip(*columns, strict=True), strict=True))


@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
def test_rows_before_a_field_hold_its_default_or_null_and_rows_after_it_their_values(
    folder: Path, before: str, after: str
) -> None:
    db, collection = made(folder)
    collection.insert(books(range(10)))
    db, collection = bring_to(before, db, collection, folder)
    collection.add_field(RANK)
    collection.add_field(GENRE)
    assert values(collection, "rank", "genre") == dict.fromkeys(range(10), (None, "none"))
    assert keys_in(collection, "rank is null") == list(range(10))
    assert keys_in(collection, "genre == 'none' and id < 3") == [0, 1, 2]
    assert keys_in(collection, "rank > 0") == []
    collection.insert([book(n, rank=n, genre=f"g{n % 2}") for n in range(10, 20)])
    collection.insert(books([20]))
    collection.upsert([book(3, rank=33)])
    expected = dict.fromkeys((*range(10), 20), (None, "none")) | {n: (n, f"g{n % 2}") for n in range(10, 20)}
    expected[3] = (33, "none")
    db, collection = bring_to(after, db, collection, folder)
    assert values(collection, "rank", "genre") == expected
    assert keys_in(collection, "rank >= 15") == [3, 15, 16, 17, 18, 19]
    assert keys_in(collection, "genre == 'g1'") == [11, 13, 15, 17, 19]
    assert collection.count("rank is not null") == 11
    hits = collection.search(vectors([12.0]), limit=2, filter="rank > 12", output_fields=["rank", "genre"])[0]
    assert [hit["entity"] for hit in hits] == [{"rank": 13, "genre": "g1"}, {"rank": 14, "genre": "g0"}]
    assert collection.delete(filter="genre == 'none'") == 11
    assert keys_in(collection) == list(range(10, 20))
    db.close()


@pytest.mark.parametrize("state", STATES)
def test_a_dropped_field_is_gone_and_one_of_its_name_is_another(folder: Path, state: str) -> None:
    db, collection = made(folder)
    collection.insert(books(range(10), pages=7, sold=True))
    db, collection = bring_to(state, db, collection, folder)
    old_id = collection.schema.field("pages").id
    collection.drop_field("pages")
    for refused in (
        lambda: collection.query(output_fields=["pages"], filter="pages > 1"),
        lambda: collection.drop_field("pages"),
    ):
        with pytest.raises(InvalidParameter):
            refused()
    assert collection.query("id == 1", output_fields=["*"]).column("sold").to_pylist() == [True]
    collection.insert(books([10], sold=False))
    collection.add_field(Field("pages", DataType.VARCHAR, max_length=8, nullable=True))
    assert collection.schema.field("pages").id > old_id
    collection.insert(books([11], pages="many"))
    db, collection = bring_to(state, db, collection, folder)
    collection.compact()
    assert values(collection, "pages", "sold") == {
        **dict.fromkeys(range(10), (None, True)),
        10: (None, False),
        11: ("many", None),
    }
    db.close()


def test_what_cannot_be_added_or_dropped_is_refused(folder: Path) -> None:
    db, collection = made(folder)
    schema = collection.schema
    for field, reason in (
        (Field("rank", DataType.INT64), "added field must be nullable, please check it, field name = rank"),
        (Field("title", DataType.INT64, nullable=True), "duplicated field name title"),
        (Field("key", DataType.INT64, is_primary=True), "not support to add pk field, field name = key"),
        (Field("key", DataType.INT64, auto_id=True), "only primary field can"),
        (Field("$meta", DataType.JSON, nullable=True), "not support to add system field"),
        (Field("1st", DataType.INT64, nullable=True), "Invalid field name"),
        (Field("text", DataType.VARCHAR, nullable=True), "max_length"),
    ):
        with pytest.raises(InvalidParameter, match=reason.replace("$", r"\$")):
            collection.add_field(field)
    for name, reason in {
        "id": "cannot drop primary key field: id",
        "vector": "cannot drop the last vector field: vector",
        "$meta": r"field not found: \$meta",
        "none": "field not found: none",
    }.items():
        with pytest.raises(InvalidParameter, match=reason):
            collection.drop_field(name)
    assert collection.schema == schema
    db.close()


def test_no_more_fields_than_a_collection_may_have(folder: Path) -> None:
    db, collection = made(folder)
    for number in range(256 - len(BOOKS.fields)):
        collection.add_field(Field(f"more_{number}", DataType.BOOL, nullable=True))
    with pytest.raises(InvalidParameter, match="The number of fields has reached the maximum value 256"):
        collection.add_field(RANK)
    collection.insert([book(1, more_7=True)])
    assert keys_in(collection, "more_7 == true and more_8 is null") == [1]
    db.close()


@pytest.mark.parametrize("state", STATES)
def test_keys_that_are_no_fields_can_be_allowed_later_and_forbidden(folder: Path, state: str) -> None:
    db = open_folder(folder)
    collection = db.create_collection("plain", elanus.Schema(BOOKS.fields[:3]))
    collection.insert(books(range(5)))
    with pytest.raises(SchemaMismatch, match="without enabling dynamic field"):
        collection.insert([book(5, color="red")])
    db, collection = bring_to(state, db, collection, folder)
    collection.set_properties({"dynamicfield.enabled": "true"})
    collection.insert([book(5, color="red"), book(6)])
    db, collection = bring_to(state, db, collection, folder)
    assert keys_in(collection, "color == 'red'") == [5]
    assert keys_in(collection, "exists color") == [5]
    assert collection.get([1, 5], output_fields=["title", "color"]) == [
        {"id": 1, "title": "book 1"},
        {"id": 5, "title": "book 5", "color": "red"},
    ]
    collection.set_properties({"dynamicfield.enabled": "false"})
    with pytest.raises(InvalidParameter, match="color"):
        keys_in(collection, "color == 'red'")
    with pytest.raises(SchemaMismatch, match="without enabling dynamic field"):
        collection.insert([book(7, color="red")])
    collection.set_properties({"dynamicfield.enabled": "true"})
    assert keys_in(collection, "exists color") == []
    with pytest.raises(InvalidParameter, match="true or false"):
        collection.set_properties({"dynamicfield.enabled": "perhaps"})
    db.close()


def test_fields_come_and_go_while_threads_write_and_read(folder: Path) -> None:
    """Rows of the schema before and of the one after go into one log, and both are read back."""
    settings = Settings(seal_rows=400, seal_burst_s=0.0, index_min_rows=64, merge_fan_in=2)
    with elanus.open(folder, settings=settings) as db:
        collection = db.create_collection("books", BOOKS)
        done = threading.Event()
        failures: list[BaseException] = []
        written = [0] * 3

        def write(thread: int) -> None:
            try:
                while not done.is_set():
                    key = thread * 1_000_000 + written[thread]
                    collection.insert(books(range(key, key + 7)))
                    written[thread] += 7
            except BaseException as error:
                failures.append(error)
                raise

        def read() -> None:
            try:
                while not done.is_set():
                    collection.search(vectors([3.0]), limit=3, output_fields=["*"])
                    collection.query("pages is null", output_fields=["*"], limit=5)
                    collection.delete(filter="title == 'nothing'")
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=write, args=(n,)) for n in range(3)] + [threading.Thread(target=read)]
        for thread in threads:
            thread.start()
        for turn in range(12):
            collection.add_field(Field(f"extra_{turn}", DataType.INT32, nullable=True, default=turn))
            time.sleep(0.05)
            if turn % 3 == 2:
                collection.drop_field(f"extra_{turn - 1}")
                collection.flush()
        done.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert collection.count() == sum(written)
        assert collection.count("extra_0 == 0 and extra_11 == 11") == sum(written)
    with elanus.open(folder, settings=settings) as db:
        collection = db.collection("books")
        assert collection.count("extra_0 == 0 and extra_11 == 11") == sum(written)
        assert len(keys_in(collection)) == sum(written)


def test_who_only_reads_follows(folder: Path) -> None:
    db, collection = made(folder)
    collection.insert(books(range(5)))
    with elanus.open(folder, read_only=True) as reader:
        seen = reader.collection("books")
        assert keys_in(seen) == list(range(5))
        collection.add_field(RANK)
        assert keys_in(seen, "rank is null") == list(range(5))
        collection.insert([book(5, rank=5)])
        assert keys_in(seen, "rank == 5") == [5]
        collection.drop_field("pages")
        collection.insert([book(6, rank=6)])
        collection.flush()
        assert values(seen, "rank")[6] == (6,)
        with pytest.raises(InvalidParameter):
            keys_in(seen, "pages > 1 or rank > 1 or title.x > 3")
        with pytest.raises(elanus.ReadOnly):
            seen.add_field(GENRE)
    db.close()


def test_an_added_field_may_be_declared_again_with_the_others(folder: Path) -> None:
    """Who makes a collection that is there, as it now is, gets it."""
    db, collection = made(folder)
    collection.add_field(RANK)
    again = db.create_collection("books", elanus.Schema((*BOOKS.fields, RANK)))
    assert again.schema == collection.schema
    with pytest.raises(InvalidParameter, match="different parameters"):
        db.create_collection("books", elanus.Schema(BOOKS.fields))
    db.close()
