"""A bucket is the whole database: another machine opens it, and the one before writes no more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient

from elanus import Collection, Elanus
from elanus.catalog.catalog import Catalog
from elanus.engine.builders import InlineBuilders
from elanus.engine.jobs.collect import collect
from elanus.model.errors import InvalidParameter, StoreError, WriterStopped
from elanus.service import storage
from elanus.service.instance import Instance
from elanus.testing.bucket_proxy import Kind, Proxy
from tests.bucket_case import open_bucket, use
from tests.native_case import BOOKS, QUIET, book, books, keys_in, vectors
from tests.vector_case import check, rows, schema
from tests.wire_case import served

Opened = Callable[[], Elanus]


@pytest.fixture
def machine(tmp_path: Path, url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Opens the database as a machine does that has nothing of it on its disk."""
    use(monkeypatch, proxy.url, tmp_path)

    numbers = count()

    def fresh() -> Elanus:
        folder = tmp_path / f"machine-{next(numbers)}"
        settings = replace(QUIET, cache_folder=str(folder))
        return Elanus(Instance.open(url, settings, builders=InlineBuilders(), take_over=True))

    return fresh


def make(db: Elanus) -> Collection:
    collection = db.create_collection("books", BOOKS)
    collection.create_index("vector", "HNSW", metric="L2")
    return collection


def nearest(db: Elanus, numbers: list[float]) -> list[list[int]]:
    found = db.collection("books").search(vectors(numbers), limit=3)
    return [[hit["id"] for hit in hits] for hits in found]


def test_an_empty_machine_finds_everything_that_was_acknowledged(machine: Opened) -> None:
    db = machine()
    collection = make(db)
    collection.insert(books(range(40)))
    collection.flush()
    collection.insert(books(range(40, 50)))
    collection.delete([3, 45])
    collection.upsert([book(5, title="new"), book(46, title="newer")])
    expected = [n for n in range(50) if n not in (3, 45)]
    for _ in range(2):
        db.close()
        db = machine()
        collection = db.collection("books")
        assert sorted(keys_in(collection)) == expected
        assert collection.count() == 48
        assert nearest(db, [2.9, 44.8]) == [[2, 4, 1], [44, 46, 43]]
        assert collection.query("id in [5, 46]", output_fields=["title"]).column("title").to_pylist() == [
            "new",
            "newer",
        ]
        collection.flush()
    db.close()


def test_a_process_that_ends_without_closing_loses_nothing(machine: Opened) -> None:
    db = machine()
    db.create_collection("books", BOOKS).insert(books(range(5)))
    other = machine()
    assert keys_in(other.collection("books")) == list(range(5))
    other.close()


def test_who_opens_last_writes_and_who_was_before_is_told(machine: Opened) -> None:
    first = machine()
    first.create_collection("books", BOOKS).insert(books(range(3)))
    second = machine()
    second.collection("books").insert(books(range(3, 6)))
    for _ in range(2):
        with pytest.raises(WriterStopped, match="another process has taken over"):
            first.collection("books").insert(books([9]))
    with pytest.raises(WriterStopped):
        first.create_collection("others", BOOKS)
    assert keys_in(second.collection("books")) == list(range(6))
    second.create_collection("others", BOOKS)
    second.close()
    third = machine()
    assert keys_in(third.collection("books")) == list(range(6))
    assert sorted(third.list_collections()) == ["books", "others"]
    third.close()


def test_jobs_of_a_writer_that_was_replaced_change_nothing(machine: Opened) -> None:
    first = machine()
    collection = first.create_collection("books", BOOKS)
    collection.insert(books(range(30)))
    second = machine()
    assert second.collection("books").count() == 30
    with pytest.raises(WriterStopped, match="written by epoch 2 now, and this writer has epoch 1"):
        collection.flush()
    second.collection("books").flush()
    assert sorted(keys_in(second.collection("books"))) == list(range(30))
    third = machine()
    assert third.collection("books").count() == 30
    third.close()


def test_jobs_of_a_writer_before_it_was_noticed_count(machine: Opened) -> None:
    """What it had flushed before the new one looked at the collection is there once."""
    first = machine()
    collection = first.create_collection("books", BOOKS)
    collection.insert(books(range(30)))
    second = machine()
    with pytest.raises(WriterStopped, match="another process has taken over"):
        collection.flush()  # committed, when it finds that it cannot tell of it
    assert second.collection("books").count() == 30
    assert sorted(keys_in(second.collection("books"))) == list(range(30))
    second.close()


def test_garbage_of_a_later_writer_is_left_to_it(machine: Opened) -> None:
    first = machine()
    collection = first.create_collection("books", BOOKS)
    opened = first._instance.engine.collection(first._instance.catalog.resolve("default", "books").id)
    prefix = f"collections/{opened.id}/segments"
    for epoch in (1, 2):
        opened.store.put(f"{prefix}/{epoch}-77/1", b"not named by anything")
    for _ in collect(opened):
        pass
    opened.store.put(f"{prefix}/1-77/2-5.deletes", b"of a later writer, for a segment of an earlier one")
    for _ in collect(opened):
        pass
    assert opened.store.keys(f"{prefix}/") == [f"{prefix}/1-77/2-5.deletes", f"{prefix}/2-77/1"]
    assert collection.count() == 0
    first.close()


def test_an_idle_writer_whose_successor_cut_the_log_acknowledges_nothing(machine: Opened) -> None:
    first = machine()
    first.create_collection("books", BOOKS).insert([book(1)])
    second = machine()
    second.collection("books").insert(books([2, 3]))
    second.collection("books").flush()
    second._instance.engine.cut_log()
    with pytest.raises(WriterStopped, match="another process has taken over"):
        first.collection("books").insert([book(99)])
    assert sorted(keys_in(second.collection("books"))) == [1, 2, 3]
    third = machine()
    assert sorted(keys_in(third.collection("books"))) == [1, 2, 3]
    third.close()


def test_an_opening_that_another_overtakes_says_so(machine: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that anything is damaged."""
    machine().close()
    opened = Catalog.open
    others = []

    def overtaken(*given: Any) -> Catalog:
        if not others:
            others.append(None)
            others.append(machine())
        return opened(*given)

    monkeypatch.setattr(Catalog, "open", overtaken)
    with pytest.raises(WriterStopped, match="another process has taken over"):
        machine()
    others[1].create_collection("books", BOOKS).insert(books([1]))
    others[1].close()


def test_a_creation_in_doubt_leaves_nothing_half_made(machine: Opened, url: str, proxy: Proxy) -> None:
    first = machine()
    store: Any = first._instance.catalog._versions._store
    store._bucket = open_bucket(f"{url}/store", proxy, patience_s=0.3)
    proxy.fail(Kind.UNANSWERED, "PUT", "*/catalog/*")
    proxy.fail(Kind.LOST, "HEAD", "*/catalog/*")
    with pytest.raises(StoreError, match="try again"):
        first.create_collection("books", BOOKS)
    proxy.heal()
    first.create_collection("others", BOOKS)
    first.collection("books").insert(books([1]))
    assert keys_in(first.collection("books")) == [1]
    first.close()


def test_a_network_that_fails_now_and_then_is_not_noticed(machine: Opened, proxy: Proxy) -> None:
    rng = np.random.default_rng(4)
    kinds = [Kind.UNANSWERED, Kind.LOST, Kind.BUSY, Kind.TORN]
    db = machine()
    collection = make(db)
    for step in range(12):
        proxy.fail(kinds[rng.integers(4)], ["PUT", "GET", "*"][rng.integers(3)], times=2)
        collection.insert(books(range(10 * step, 10 * step + 10)))
        if step % 4 == 3:
            collection.flush()
    db.close()
    proxy.fail(Kind.TORN, "GET", times=3)
    db = machine()
    assert sorted(keys_in(db.collection("books"))) == list(range(120))
    assert nearest(db, [60]) == [[60, 59, 61]]
    db.close()


def test_the_log_is_cut_and_what_it_alone_held_stays(machine: Opened) -> None:
    db = machine()
    collection = db.create_collection("books", BOOKS)
    for number in range(20):
        collection.insert([book(number)])
    engine = db._instance.engine
    before = engine._log_file.byte_size
    engine.cut_log()
    assert engine._log_file.byte_size < before
    collection.insert([book(20)])
    db.close()
    db = machine()
    assert sorted(keys_in(db.collection("books"))) == list(range(21))
    db.close()


def test_a_store_that_cannot_exclude_is_not_opened(machine: Opened, proxy: Proxy) -> None:
    proxy.fail(Kind.CARELESS, "PUT")
    with pytest.raises(StoreError, match="cannot hold a database"):
        machine()
    with pytest.raises(InvalidParameter, match="names no bucket"):
        Instance.open("http://127.0.0.1/x")


def test_a_store_that_does_not_answer_is_said_to(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PROBE_PATIENCE_S", 0.3)
    use(monkeypatch, "http://127.0.0.1:1", tmp_path)
    with pytest.raises(StoreError, match=r"cannot \w+ .*s3://elanus/.*error sending request.*: try again"):
        Instance.open(url)


def test_milvus_clients_use_a_server_over_a_bucket(
    url: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, proxy.url, tmp_path)
    with served(url) as server:
        client = MilvusClient(server.address, dedicated=True)
        client.create_collection("quick", dimension=4)
        client.insert("quick", [{"id": n, "vector": [float(n), 1, 0, 0]} for n in range(10)])
        client.flush("quick")
        client.insert("quick", [{"id": n, "vector": [float(n), 1, 0, 0]} for n in range(10, 15)])
        client.close()
        server.process.kill()
    shutil.rmtree(tmp_path)
    with served(url) as server:
        client = MilvusClient(server.address, dedicated=True)
        assert client.query("quick", "", output_fields=["count(*)"]) == [{"count(*)": 15}]
        client.close()


def test_vectors_of_every_type_come_from_the_bucket_as_they_went(machine: Opened) -> None:
    rng = np.random.default_rng(3)
    db = machine()
    collection = db.create_collection("all", schema(nullable=True))
    held = {row["id"]: row for row in rows(range(40), rng, 0.3)}
    collection.insert(list(held.values()))
    collection.flush()
    late = {row["id"]: row for row in rows(range(40, 50), rng, 0.3)}
    collection.insert(list(late.values()))
    db.close()
    db = machine()
    check(db.collection("all"), held | late, 1)
    db.close()
