"""Collections: created, described, listed, renamed, dropped, and still there after the folder was opened again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from threading import Thread, active_count
from typing import Any

import pytest

import elanus
from elanus import (
    AliasNameTaken,
    AlreadyOpen,
    Closed,
    CollectionNotFound,
    DataType,
    Elanus,
    Field,
    InvalidParameter,
    OnDuplicateKey,
    Schema,
)
from elanus.vector.cost import Route
from tests.native_case import BOOKS, DIM, book, books, keys_in, open_folder, vector


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def test_a_collection_is_described_as_it_was_made(db: Elanus, tmp_path: Path) -> None:
    db.create_collection("books", BOOKS, on_duplicate_key="reject", properties={"owner": "me"})
    db.create_alias("current", "books")
    db.close()
    with open_folder(tmp_path) as again:
        info = again.collection("current").describe()
        assert (info.name, info.database) == ("books", "default")
        assert [f.name for f in info.schema.fields] == [*(f.name for f in BOOKS.fields), "$meta"]
        assert info.on_duplicate_key is OnDuplicateKey.REJECT
        assert info.properties == {"owner": "me"}
        assert info.partitions == ("_default",)
        assert info.aliases == ("current",)
        assert info.created > 1_600_000_000_000 << 18


def test_the_quick_form_is_ready_to_use(db: Elanus) -> None:
    docs = db.create_collection("docs", dimension=DIM)
    docs.insert([{"id": 1, "vector": vector(1), "title": "one"}])
    assert docs.search(vector(1), limit=1, output_fields=["title"])[0][0]["entity"] == {"title": "one"}
    (index,) = docs.list_indexes()
    assert (index.field, index.kind, index.metric) == ("vector", "AUTOINDEX", "COSINE")
    assert (
        db.create_collection("text", dimension=DIM, key_type=DataType.VARCHAR, metric="L2").schema.primary.max_length
        == 512
    )


def test_the_same_again_is_no_error_and_another_is(db: Elanus) -> None:
    first = db.create_collection("books", BOOKS)
    first.insert([book(1)])
    assert db.create_collection("books", BOOKS).count() == 1
    with pytest.raises(
        InvalidParameter, match="create duplicate collection with different parameters, collection: books"
    ):
        db.create_collection("books", dimension=DIM)
    with pytest.raises(InvalidParameter, match="different parameters"):
        db.create_collection("books", BOOKS, on_duplicate_key="replace")
    db.create_collection("quick", dimension=DIM)
    db.create_collection("quick", dimension=DIM)
    with pytest.raises(InvalidParameter, match="different parameters"):
        db.create_collection("quick", dimension=DIM, metric="L2")
    assert first.count() == 1


KEY = Field("id", DataType.INT64, is_primary=True)
VECTOR = Field("vector", DataType.FLOAT_VECTOR, dim=DIM)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a schema or a dimension"),
        ({"schema": BOOKS, "dimension": 4}, "a schema or a dimension"),
        ({"schema": BOOKS, "auto_id": True}, "go with dimension"),
        ({"dimension": 1}, "invalid dimension"),
        ({"dimension": 4, "metric": "HAMMING"}, "metric"),
        ({"dimension": 4, "key_type": DataType.FLOAT}, "primary key"),
        ({"dimension": 4, "on_duplicate_key": "drop"}, "keep, reject, replace"),
        ({"dimension": 4, "properties": {"a": 1}}, "text by name"),
        ({"schema": Schema((KEY,))}, "vector field"),
        ({"schema": Schema((VECTOR,))}, "primary key is not specified"),
        ({"schema": Schema((KEY, VECTOR, VECTOR))}, "duplicated field name"),
    ],
)
def test_what_a_collection_may_not_be(db: Elanus, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        db.create_collection("wrong", **arguments)
    assert db.list_collections() == []


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "$a", "ä", "a" * 256])
def test_a_bad_name_is_refused(db: Elanus, name: str) -> None:
    with pytest.raises(InvalidParameter, match="ollection name"):
        db.create_collection(name, dimension=DIM)


def test_collections_are_listed_by_name(db: Elanus) -> None:
    for name in ("b", "a", "_c"):
        db.create_collection(name, dimension=DIM)
    assert db.list_collections() == ["_c", "a", "b"]
    assert db.has_collection("a")
    assert not db.has_collection("d")
    with pytest.raises(CollectionNotFound, match=r"\[collection=d\]"):
        db.collection("d")


def test_a_dropped_collection_is_gone_and_its_name_is_free(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(10)))
    collection.flush()
    first = collection.describe().id
    db.drop_collection("books")
    db.drop_collection("books")
    with pytest.raises(CollectionNotFound):
        collection.query()
    collection = db.create_collection("books", dimension=DIM)
    assert collection.count() == 0
    assert collection.describe().id > first
    db.close()
    with open_folder(tmp_path) as again:
        assert again.collection("books").count() == 0


def files_of(folder: Path, collection_id: int) -> list[Path]:
    return [path for path in (folder / "store" / "collections").glob(f"{collection_id}/**/*") if path.is_file()]


def test_a_purged_collection_leaves_no_file(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(10)))
    collection.flush()
    number = collection.describe().id
    assert files_of(tmp_path, number)
    db.drop_collection("books", purge=True)
    assert files_of(tmp_path, number) == []


def test_a_dropped_collection_is_deleted_when_its_retention_is_over(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        number = db.create_collection("books", BOOKS).describe().id
        db.drop_collection("books")
        assert files_of(tmp_path, number)
    with open_folder(tmp_path):
        assert files_of(tmp_path, number)
    with open_folder(tmp_path, retention_s=0.0):
        assert files_of(tmp_path, number) == []


def test_a_renamed_collection_keeps_its_rows(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books([1]))
    db.create_alias("current", "books")
    db.rename_collection("books", "novels")
    with pytest.raises(CollectionNotFound):
        collection.query()
    assert keys_in(db.collection("novels")) == keys_in(db.collection("current")) == [1]
    with pytest.raises(InvalidParameter):
        db.rename_collection("novels", "novels")
    with pytest.raises(AliasNameTaken):
        db.rename_collection("current", "x")
    db.close()
    with open_folder(tmp_path) as again:
        assert again.list_collections() == ["novels"]
        assert keys_in(again.collection("novels")) == [1]


def test_threads_that_create_one_collection_all_get_it(db: Elanus, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def create(number: int) -> None:
        try:
            db.create_collection("books", BOOKS).insert([book(number)])
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert keys_in(db.collection("books")) == list(range(8))
    assert len(list((tmp_path / "store" / "collections").iterdir())) == 1


def test_a_folder_is_open_for_writing_once(db: Elanus, tmp_path: Path) -> None:
    with pytest.raises(AlreadyOpen, match="open for writing"):
        open_folder(tmp_path)


def test_a_closed_database_refuses_everything(tmp_path: Path) -> None:
    db = open_folder(tmp_path)
    collection = db.create_collection("books", BOOKS)
    db.close()
    db.close()
    for use in (
        db.list_collections,
        lambda: db.create_alias("a", "books"),
        lambda: db.drop_collection("books"),
        lambda: collection.insert([book(1)]),
        collection.query,
    ):
        with pytest.raises(Closed):
            use()
    open_folder(tmp_path).close()


def descriptors() -> int:
    gc.collect()  # what tests before this one left would go at any moment
    return len(list(Path("/dev/fd").iterdir()))


def test_closing_gives_back_threads_and_files(tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        with open_folder(tmp_path) as db:
            collection = db.create_collection("books", BOOKS)
            collection.insert(books(range(20)))
            assert len(collection.search(vector(1), limit=3)[0]) == 3
            db.drop_collection("books")
        return active_count(), descriptors()

    held()
    assert held() == held()


def test_what_is_mapped_needs_no_descriptor(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        collection = db.create_collection("books", BOOKS)
        collection.create_index("vector", "HNSW", metric="L2")
        collection.insert(books(range(3_000)))
        collection.flush()
        collection.wait_for_indexes()
    with open_folder(tmp_path) as db:
        before = descriptors()
        collection = db.collection("books")
        assert [step.strategy.route for step in collection.explain(vector(1), limit=3).steps] == [Route.GRAPH]
        assert len(collection.search(vector(1), limit=3, output_fields=["*"])[0]) == 3
        assert descriptors() == before


@pytest.mark.parametrize("url", ["http://bucket/key", "s3://", "file:///tmp/db"])
def test_a_url_that_names_no_bucket_is_no_folder_either(url: str) -> None:
    with pytest.raises(InvalidParameter, match="names no bucket"):
        elanus.open(url)


def test_flush_and_compact_change_nothing_that_is_read(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    for start in range(0, 40, 10):
        collection.insert(books(range(start, start + 10)))
        collection.flush()
    collection.delete([5])
    collection.compact()
    assert keys_in(collection) == [n for n in range(40) if n != 5]


def test_the_rows_of_a_dropped_collection_are_let_go_at_once(tmp_path: Path) -> None:
    """All but the one that each of the two threads of jobs has looked at last."""
    dropped = []
    with open_folder(tmp_path, background=True) as db:
        for number in range(6):
            docs = db.create_collection(f"docs_{number}", BOOKS)
            docs.insert(books(range(3)))
            dropped.append(weakref.ref(db._instance.collection(db._ctx, docs.name)))
            db.drop_collection(docs.name)
        gc.collect()
        assert sum(found() is not None for found in dropped) <= 2
