"""Processes that only read: they see what was acknowledged before, whatever the writer does, and change nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient, MilvusException

import elanus
from elanus import Collection, CollectionNotFound, Elanus
from elanus.engine.builders import InlineBuilders
from elanus.engine.collection import Collection as EngineCollection
from elanus.log import acknowledged
from elanus.log.acknowledged import Acknowledged, AcknowledgedView
from elanus.log.object_reader import TRUSTED_S, ObjectLogReader
from elanus.log.position import Position
from elanus.model.errors import CorruptData, ReadOnly, StoreError, WriterStopped
from elanus.model.types import Consistency
from elanus.service.instance import Instance
from elanus.store import holder
from elanus.store.bucket import Bucket
from elanus.store.disk import LocalDisk
from elanus.store.versioned import VersionedState
from elanus.testing.bucket_proxy import Kind, Proxy
from elanus.testing.faulty import FaultyDisk
from tests.bucket_case import use
from tests.native_case import BOOKS, QUIET, book, books, keys_in, open_folder, vectors
from tests.wire_case import served

READS = """
import sys, elanus
with elanus.open(sys.argv[1], read_only=True) as db:
    for line in sys.stdin:
        table = db.collection("books").query(line.strip(), output_fields=["id"])
        print(sorted(table.column("id").to_pylist()), flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "db"


@pytest.fixture
def writer(folder: Path) -> Iterator[Elanus]:
    with open_folder(folder) as db:
        db.create_collection("books", BOOKS).create_index("vector", "HNSW", metric="L2")
        yield db


@pytest.fixture
def reader(folder: Path, writer: Elanus) -> Iterator[Elanus]:
    with read(folder) as db:
        yield db


def read(place: Path | str, **changes: Any) -> Elanus:
    return Elanus(Instance.open(place, replace(QUIET, **changes), read_only=True))


def kept(db: Elanus) -> list[int]:
    keys = keys_in(db.collection("books"))
    assert db.collection("books").count() == len(keys)
    return sorted(keys)


# --- in a folder -----------------------------------------------------------------------------------------------------


def test_a_reader_sees_each_write_as_soon_as_it_is_acknowledged(writer: Elanus, reader: Elanus) -> None:
    there, here = writer.collection("books"), reader.collection("books")
    for number in range(50):
        there.insert([book(number)])
        assert here.count() == number + 1
        assert here.search(vectors([number]), limit=1)[0][0]["id"] == number
    there.upsert([book(7, title="new")])
    assert here.get(7)[0]["title"] == "new"
    there.delete([7])
    assert here.get(7) == []
    there.delete(filter="id < 40")
    assert kept(reader) == list(range(40, 50))


def test_it_sees_changes_of_definitions_as_soon_as_they_are_acknowledged(writer: Elanus, reader: Elanus) -> None:
    there, here = writer.collection("books"), reader.collection("books")
    there.insert(books(range(20)))
    there.create_partition("old")
    there.insert(books(range(20, 30)), partition="old")
    assert sorted(here.query(partitions=["old"], output_fields=["id"]).column("id").to_pylist()) == list(range(20, 30))
    there.drop_partition("old")
    assert kept(reader) == list(range(20))
    there.truncate()
    assert kept(reader) == []
    writer.create_alias("shelf", "books")
    assert reader.list_aliases() == {"shelf": "books"}
    writer.create_collection("more", dimension=4).insert({"id": [1], "vector": vectors([1])})
    assert reader.list_collections() == ["books", "more"]
    assert reader.collection("more").count() == 1
    writer.rename_collection("more", "less")
    assert not reader.has_collection("more")
    assert reader.collection("less").count() == 1
    writer.drop_collection("less", purge=True)
    assert reader.list_collections() == ["books"]
    assert writer.create_database("other").create_collection("books", dimension=4).count() == 0
    assert reader.database("other").collection("books").count() == 0


def test_it_sees_the_same_while_rows_are_sealed_indexed_and_merged(writer: Elanus, reader: Elanus) -> None:
    there = writer.collection("books")
    expected: list[int] = []
    for number in range(6):
        begin = 100 * number
        there.insert(books(range(begin, begin + 60)))
        expected = [*expected, *range(begin, begin + 60)]
        assert kept(reader) == expected
        there.delete([begin + 1])
        there.flush()
        expected.remove(begin + 1)
        assert kept(reader) == expected
        there.delete([begin + 2])
        expected.remove(begin + 2)
        there.wait_for_indexes()
        assert kept(reader) == expected
    there.compact()
    assert kept(reader) == expected
    manifest = reader._instance.collection(reader._ctx, "books").manifest
    assert len(manifest.segments) == 1
    assert all(entry.indexes for entry in manifest.segments.values())
    assert [h["id"] for h in reader.collection("books").search(vectors([503]), limit=3)[0]] == [503, 504, 505]


def test_rows_that_are_sealed_while_others_come_leave_the_readers_memory(writer: Elanus, reader: Elanus) -> None:
    there, here = writer.collection("books"), reader.collection("books")
    there.insert(books(range(3000)))
    assert here.count() == 3000
    inner = writer._instance.collection(writer._ctx, "books")
    from elanus.engine.jobs.seal import seal

    steps = seal(inner)
    assert next(steps) == "frozen"
    there.insert(books(range(3000, 3100)))
    there.delete([5, 3005])
    assert here.count() == 3098
    for _ in steps:
        assert here.count() == 3098
    follower = reader._instance.collection(reader._ctx, "books").follower
    assert here.count() == 3098
    assert follower.growing_rows == 100
    assert kept(reader) == [n for n in range(3100) if n not in (5, 3005)]
    assert here.get([5, 3005]) == []


def test_one_that_was_away_while_the_log_was_cut_finds_everything(writer: Elanus, reader: Elanus) -> None:
    there = writer.collection("books")
    writer.create_collection("small", dimension=4).insert({"id": [1], "vector": vectors([1])})
    there.insert(books(range(10)))
    assert kept(reader) == list(range(10))
    held = reader._instance.collection(reader._ctx, "books").snapshot()
    for number in range(3):
        there.insert(books(range(100 * number + 10, 100 * number + 20)))
        there.delete([number])
        there.flush()
        writer._instance.engine.cut_log()  # type: ignore[union-attr]
    assert kept(reader) == [*range(3, 20), *range(110, 120), *range(210, 220)]
    assert reader.collection("small").count() == 1
    assert sum(unit.view.rows for unit in held.units) == 10


def test_it_follows_one_writer_after_the_other(folder: Path, writer: Elanus, reader: Elanus) -> None:
    writer.collection("books").insert(books(range(10)))
    assert kept(reader) == list(range(10))
    writer.close()
    assert kept(reader) == list(range(10))
    for number in range(3):
        with open_folder(folder) as later:
            assert kept(reader) == list(range(10 + number))
            later.collection("books").insert([book(10 + number)])
            assert kept(reader) == list(range(11 + number))
    later = open_folder(folder)
    later.collection("books").delete([0])
    later.collection("books").flush()
    assert kept(reader) == list(range(1, 13))
    later.close()
    with read(folder) as fresh:
        assert kept(fresh) == list(range(1, 13))


def test_what_was_not_acknowledged_is_not_seen(folder: Path, writer: Elanus, reader: Elanus) -> None:
    """The writer dies between its log and telling of it: the next one finds the row, until then nobody sees it."""
    writer.collection("books").insert(books(range(3)))
    assert kept(reader) == [0, 1, 2]
    log = writer._instance.engine._log_file  # type: ignore[union-attr]
    end = log.end
    log._acknowledged = None  # type: ignore[attr-defined]
    writer.collection("books").insert([book(3)])
    assert log.end > end
    assert kept(reader) == [0, 1, 2]
    with read(folder) as another:
        assert kept(another) == [0, 1, 2]
        writer.close()
        with open_folder(folder):
            assert kept(reader) == kept(another) == [0, 1, 2, 3]


def test_after_a_boot_what_the_log_holds_counts(folder: Path, writer: Elanus) -> None:
    """What was acknowledged last may not have reached the file that says so when the power failed."""
    old = (folder / "acknowledged").read_bytes()
    writer.collection("books").insert(books(range(5)))
    writer.close()
    for left in (old[:8] + os.urandom(16) + old[24:], b"", old[:20]):
        (folder / "acknowledged").write_bytes(left)
        with read(folder) as reader:
            assert kept(reader) == list(range(5))
            with open_folder(folder) as again:
                again.collection("books").upsert([book(1)])
                again.collection("books").delete([4])
                assert kept(reader) == list(range(4))
                again.collection("books").insert([book(4)])


def test_where_acknowledged_begins_anew_readers_that_were_there_go_on(tmp_path: Path) -> None:
    view = AcknowledgedView(tmp_path)
    assert view.word() is None
    first = Acknowledged(tmp_path, Position(3, 64))
    word = view.word()
    assert word is not None
    assert view.position_of(word) == Position(3, 64)
    second = Acknowledged(tmp_path, Position(4, 128))
    second.put(Position(4, 4096))
    word = view.word()
    assert word is not None
    assert view.position_of(word) == Position(4, 4096)
    first.close()
    second.close()


def test_a_reader_changes_nothing_and_says_so(folder: Path, writer: Elanus, reader: Elanus) -> None:
    there, here = writer.collection("books"), reader.collection("books")
    there.insert(books(range(5)))
    assert here.count() == 5
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    calls: list[Callable[[], object]] = [
        lambda: here.insert([book(9)]),
        lambda: here.upsert([book(1)]),
        lambda: here.delete([1]),
        lambda: here.delete(filter="pages > 3 or id >= 0"),
        lambda: here.create_partition("p"),
        lambda: here.drop_index("vector"),
        lambda: here.create_index("title", "INVERTED"),
        here.truncate,
        here.flush,
        here.compact,
        here.wait_for_indexes,
        lambda: reader.create_collection("x", dimension=4),
        lambda: reader.drop_collection("books"),
        lambda: reader.rename_collection("books", "films"),
        lambda: reader.create_alias("a", "books"),
        lambda: reader.create_database("d"),
    ]
    for call in calls:
        with pytest.raises(ReadOnly):
            call()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert kept(reader) == list(range(5))


def test_a_place_without_a_database_is_said(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreError, match="is no database"):
            elanus.open(place, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_log_is_said_and_not_read_past(folder: Path, writer: Elanus) -> None:
    writer.collection("books").insert(books(range(5)))
    writer.collection("books").insert(books(range(5, 9)))
    (file,) = (folder / "log").iterdir()
    data = file.read_bytes()
    at = data.index(b"book 7")
    file.write_bytes(data[:at] + b"B" + data[at + 1 :])
    with pytest.raises(CorruptData, match=file.name):
        read(folder)


def test_many_processes_read_beside_the_writer(folder: Path, writer: Elanus) -> None:
    there = writer.collection("books")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", READS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        for number in range(30):
            there.insert([book(number)])
            if number % 7 == 6:
                there.flush()
            for process in processes:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"id > {number - 3}\n")
                process.stdin.flush()
                assert json.loads(process.stdout.readline()) == [n for n in range(number - 2, number + 1) if n >= 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_threads_that_read_while_a_reader_catches_up_see_all_of_it(writer: Elanus, reader: Elanus) -> None:
    there, here = writer.collection("books"), reader.collection("books")
    acknowledged = 0
    stop = threading.Event()
    wrong: list[tuple[int, int]] = []

    def look() -> None:
        while not stop.is_set():
            least = acknowledged
            seen = here.count()
            if seen < least or seen % 10:
                wrong.append((least, seen))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(30):
        there.insert(books(range(10 * number, 10 * number + 10)))
        acknowledged += 10
        if number % 10 == 9:
            there.flush()
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_server_that_only_reads_answers_and_refuses(folder: Path, writer: Elanus) -> None:
    there = writer.collection("books")
    there.insert(books(range(30)))
    with served(folder, "--read-only") as server:
        client = MilvusClient(server.address, dedicated=True)
        with pytest.raises(MilvusException, match="not loaded"):
            client.query("books", filter="id < 5", output_fields=["id"])
        from elanus.service import loading

        loading.load(writer._ctx, writer._instance, "books")
        assert len(client.query("books", filter="id < 5", output_fields=["id"])) == 5
        there.insert([book(100)])
        assert [hit["id"] for hit in client.search("books", vectors([100]), limit=1)[0]] == [100]
        assert client.query("books", output_fields=["count(*)"])[0]["count(*)"] == 31
        client.load_collection("books")
        with pytest.raises(MilvusException, match="reading only") as refused:
            client.insert("books", [book(1)])
        assert refused.value.code == ReadOnly.code
        with pytest.raises(MilvusException, match="reading only"):
            client.drop_collection("books")
        client.close()
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something done once, when a reader has just read the manifest of a collection."""

    def arrange(do: Callable[[], object]) -> None:
        load = VersionedState.load
        due = [do]

        def loaded(self: Any) -> Any:
            state = load(self)
            if due and not self._epoch and "collections" in self._prefix:
                due.pop()()
            return state

        monkeypatch.setattr(VersionedState, "load", loaded)

    return arrange


def test_rows_that_are_sealed_and_leave_the_log_while_a_collection_is_opened_are_seen(
    writer: Elanus, reader: Elanus, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    there = writer.collection("books")
    writer.create_collection("others", BOOKS)
    there.insert(books(range(100)))
    assert reader.has_collection("books")

    def cut() -> None:
        there.flush()
        writer._instance.engine.cut_log()  # type: ignore[union-attr]
        writer.collection("others").insert(books(range(3)))

    meanwhile(cut)
    assert kept(reader) == list(range(100))
    there.insert(books(range(100, 110)))
    assert kept(reader) == list(range(110))


def test_a_collection_that_is_dropped_while_it_is_opened_is_not_there(
    writer: Elanus, reader: Elanus, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    there = writer.collection("books")
    there.insert(books(range(60)))
    there.flush()
    there.insert(books(range(60, 100)))
    here = reader.collection("books")
    meanwhile(lambda: writer.drop_collection("books"))
    with pytest.raises(CollectionNotFound):
        here.count()
    assert reader._instance.reader is not None
    assert not reader._instance.reader._collections


def test_what_is_committed_and_not_told_of_is_not_seen_by_anybody_first(
    folder: Path, writer: Elanus, reader: Elanus, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = writer.collection("books")
    there.insert(books(range(10)))
    there.create_partition("told")
    seen: list[int] = []
    tell = EngineCollection._tell

    def looked_at(self: Any) -> None:
        with read(folder) as fresh:
            seen.extend([fresh.collection("books").count(), reader.collection("books").count(), there.count()])
        tell(self)

    monkeypatch.setattr(EngineCollection, "_tell", looked_at)
    there.truncate()
    assert seen == [10, 10, 10]
    assert kept(reader) == kept(writer) == []


def test_a_change_that_could_not_be_told_of_is_told_before_anything_follows_from_it(folder: Path) -> None:
    disk = FaultyDisk(LocalDisk(folder))
    with Elanus(Instance.open(folder, QUIET, builders=InlineBuilders(), disk=disk)) as db, read_later(folder) as reader:
        there = db.create_collection("books", BOOKS)
        there.create_partition("old")
        there.insert(books(range(10)))
        there.insert(books(range(10, 20)), partition="old")
        here = reader().collection("books")
        assert here.count() == 20

        def refused(change: Callable[[], object]) -> None:
            disk.fail("write", "log/*", errno.ENOSPC, times=1)
            with pytest.raises(StoreError):
                change()
            disk.heal()

        refused(lambda: there.drop_partition("old"))
        there.drop_partition("old")
        assert here.count() == there.count() == 10
        refused(lambda: there.create_partition("new"))
        there.insert([book(100)], partition="new")
        assert here.count() == there.count() == 11
        refused(there.truncate)
        there.insert([book(200)])
        assert kept(reader()) == kept(db) == [200]
        refused(lambda: db.create_collection("more", BOOKS))
        db.create_collection("more", BOOKS).insert(books(range(5)))
        assert reader().list_collections() == ["books", "more"]
        assert reader().collection("more").count() == 5


@contextmanager
def read_later(folder: Path) -> Iterator[Callable[[], Elanus]]:
    """A reader that is opened when it is first called for."""
    opened: list[Elanus] = []

    def one() -> Elanus:
        if not opened:
            opened.append(read(folder))
        return opened[0]

    yield one
    for db in opened:
        db.close()


def test_a_log_that_rotates_between_telling_and_showing_takes_nothing_back(
    writer: Elanus, reader: Elanus, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = writer.collection("books"), reader.collection("books")
    there.insert(books(range(10)))
    log: Any = writer._instance.engine._log_file  # type: ignore[union-attr]
    publish, seen = log.publish, []

    def published() -> None:
        seen.append(there.count())
        publish()
        seen.extend([there.count(), here.count()])
        log.rotate()
        seen.extend([there.count(), here.count()])

    monkeypatch.setattr(log, "publish", published)
    there.insert([book(10)])
    assert seen == [10, 11, 11, 11, 11]


def test_a_log_that_lacks_what_was_acknowledged_is_said(folder: Path, writer: Elanus, tmp_path: Path) -> None:
    """A backup of log and store, without what says how far they are."""
    there = writer.collection("books")
    there.insert(books(range(10)))
    for name in ("log", "store"):
        shutil.copytree(folder / name, tmp_path / name)
    for number in range(3):
        writer._instance.engine._log_file.rotate()  # type: ignore[union-attr]
        there.insert([book(100 + number)])
    writer.close()
    for name in ("log", "store"):
        shutil.rmtree(folder / name)
        shutil.copytree(tmp_path / name, folder / name)
    with pytest.raises(CorruptData, match="ends before what was acknowledged"):
        read(folder)
    with open_folder(folder) as again:
        assert kept(again) == list(range(10))
        with read(folder) as reader:
            assert kept(reader) == list(range(10))


def test_where_somebody_removes_the_file_that_says_how_far_the_log_is_readers_go_on(
    folder: Path, writer: Elanus, reader: Elanus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledged, "CHECK_S", 0.0)
    writer.collection("books").insert(books(range(10)))
    assert kept(reader) == list(range(10))
    writer.close()
    (folder / "acknowledged").unlink()
    with open_folder(folder) as later:
        later.collection("books").insert([book(10)])
        assert kept(reader) == list(range(11))


# --- in a bucket -----------------------------------------------------------------------------------------------------


@pytest.fixture
def in_bucket(url: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elanus]:
    """The writer of a bucket."""
    use(monkeypatch, proxy.url, tmp_path)
    settings = replace(QUIET, cache_folder=str(tmp_path / "writer"), log_kept_s=0.0)
    with Elanus(Instance.open(url, settings, builders=InlineBuilders())) as db:
        db.create_collection("books", BOOKS).create_index("vector", "HNSW", metric="L2")
        yield db


@pytest.fixture
def of_bucket(url: str, in_bucket: Elanus, tmp_path: Path) -> Iterator[Elanus]:
    """A reader of it, on another machine."""
    with read(url, cache_folder=str(tmp_path / "reader")) as db:
        yield db


def test_a_reader_of_a_bucket_sees_exactly_what_was_acknowledged_when_it_asks(
    in_bucket: Elanus, of_bucket: Elanus
) -> None:
    there = in_bucket.collection("books")
    expected: list[int] = []
    for number in range(5):
        there.insert(books(range(100 * number, 100 * number + 20)))
        expected = [*expected, *range(100 * number, 100 * number + 20)]
        of_bucket.refresh()
        assert kept(of_bucket) == expected
        if number % 2:
            there.flush()
            there.delete([100 * number])
            expected.remove(100 * number)
            of_bucket.refresh()
            assert kept(of_bucket) == expected
    in_bucket.rename_collection("books", "films")
    of_bucket.refresh()
    assert of_bucket.list_collections() == ["films"]


def test_without_asking_it_sees_it_soon(
    in_bucket: Elanus, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ObjectLogReader, "look_s", 0.2)
    with read(url, cache_folder=str(tmp_path / "reader")) as db:
        there = in_bucket.collection("books")
        there.insert(books(range(5)))
        for _ in range(100):
            if kept(db) == list(range(5)):
                break
            threading.Event().wait(0.1)
        assert kept(db) == list(range(5))


def test_a_read_that_has_to_be_current_makes_a_server_of_a_bucket_look(in_bucket: Elanus, url: str) -> None:
    from elanus.service import loading

    there = in_bucket.collection("books")
    loading.load(in_bucket._ctx, in_bucket._instance, "books")
    there.insert(books(range(10)))
    with served(url, "--read-only") as server:
        client = MilvusClient(server.address, dedicated=True)
        for number in range(10, 20):
            there.insert([book(number)])
            found = client.query("books", filter="id >= 0", output_fields=["id"], consistency_level="Strong")
            assert len(found) == number + 1
            stale = client.search("books", vectors([number]), limit=1, consistency_level="Eventually")
            assert stale[0][0]["id"] <= number
        timestamp = in_bucket._instance.engine.oracle.last
        there.insert([book(99)])
        found = client.query(
            "books",
            filter="id == 99",
            output_fields=["id"],
            consistency_level="Customized",
            guarantee_timestamp=timestamp + 1,
        )
        assert [row["id"] for row in found] == [99]
        client.close()


def test_a_reader_of_a_bucket_that_was_away_begins_anew(in_bucket: Elanus, of_bucket: Elanus) -> None:
    there = in_bucket.collection("books")
    there.insert(books(range(10)))
    of_bucket.refresh()
    assert kept(of_bucket) == list(range(10))
    for number in range(3):
        there.insert(books(range(100 * number + 10, 100 * number + 20)))
        there.flush()
        in_bucket._instance.engine.cut_log()  # type: ignore[union-attr]
        in_bucket._instance.engine._written_since_cut = True  # type: ignore[union-attr]
    log = of_bucket._instance.engine._log
    assert isinstance(log, ObjectLogReader)
    log._looked_s -= TRUSTED_S
    of_bucket.refresh()
    assert kept(of_bucket) == [*range(20), *range(110, 120), *range(210, 220)]


def test_a_bucket_that_does_not_answer_is_said_and_what_was_seen_stays(
    in_bucket: Elanus, of_bucket: Elanus, proxy: Proxy
) -> None:
    there = in_bucket.collection("books")
    there.insert(books(range(10)))
    of_bucket.refresh()
    assert kept(of_bucket) == list(range(10))
    reader: Collection = of_bucket.collection("books")
    there.insert(books(range(10, 12)))
    proxy.fail(Kind.BUSY, "GET")
    log = of_bucket._instance.engine._log
    assert isinstance(log, ObjectLogReader)
    log._bucket = Bucket(log._bucket.url, patience_s=0.5)
    with pytest.raises(StoreError):
        of_bucket.refresh()
    assert reader.count() == 10
    proxy.heal()
    of_bucket.refresh()
    assert reader.count() == 12


def test_it_follows_writers_that_take_over_from_each_other(
    in_bucket: Elanus, of_bucket: Elanus, url: str, tmp_path: Path
) -> None:
    in_bucket.collection("books").insert(books(range(10)))
    of_bucket.refresh()
    assert kept(of_bucket) == list(range(10))
    settings = replace(QUIET, cache_folder=str(tmp_path / "second"))
    with Elanus(Instance.open(url, settings, builders=InlineBuilders(), take_over=True)) as second:
        second.collection("books").insert([book(10)])
        of_bucket.refresh()
        assert kept(of_bucket) == list(range(11))
    assert np.all(np.diff(kept(of_bucket)) == 1)


def test_a_strong_read_after_a_take_over_is_of_the_new_writer(
    in_bucket: Elanus, of_bucket: Elanus, url: str, tmp_path: Path
) -> None:
    in_bucket.collection("books").insert(books(range(10)))
    in_bucket._instance.collection(in_bucket._ctx, "books").set_consistency(Consistency.STRONG)
    assert kept(of_bucket) == list(range(10))
    settings = replace(QUIET, cache_folder=str(tmp_path / "second"))
    with Elanus(Instance.open(url, settings, builders=InlineBuilders(), take_over=True)) as second:
        second.collection("books").insert(books(range(10, 20)))
        assert of_bucket.collection("books").count() == 20


def test_a_writer_that_was_replaced_answers_no_reads_when_it_knows(
    in_bucket: Elanus, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder, "BEAT_S", 0.2)
    settings = replace(QUIET, cache_folder=str(tmp_path / "first"))
    first = Elanus(Instance.open(url, settings, builders=InlineBuilders(), take_over=True))
    first.collection("books").insert(books(range(10)))
    second = replace(QUIET, cache_folder=str(tmp_path / "second"))
    with Elanus(Instance.open(url, second, builders=InlineBuilders(), take_over=True)) as db:
        db.collection("books").insert([book(10)])
        for _ in range(100):
            try:
                assert first.collection("books").count() == 10
            except WriterStopped:
                break
            threading.Event().wait(0.05)
        with pytest.raises(WriterStopped, match="is of the past"):
            first.collection("books").count()
    first.close()
