"""The log in local files that go up to a bucket behind the writes: what it loses, and what it does not."""

from __future__ import annotations

import errno
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pymilvus import MilvusClient

import elanus
from elanus import Elanus, InvalidParameter, Settings
from elanus.engine.builders import InlineBuilders
from elanus.log import uploaded
from elanus.log.object_reader import header_of, lengths
from elanus.log.objects import ObjectLog
from elanus.log.uploaded import UploadedLog
from elanus.model.errors import Closed, CorruptData, StoreError, WriterStopped
from elanus.service.instance import Instance
from elanus.store import disk as elanus_disk
from elanus.store.bucket import Bucket
from elanus.store.disk import LocalDisk
from elanus.testing.bucket_proxy import Kind, Proxy
from elanus.testing.faulty import FaultyDisk
from tests.bucket_case import open_bucket, use
from tests.native_case import BOOKS, QUIET, books, keys_in, until
from tests.test_log_file import append, keys_of
from tests.test_serve import failure, one_sentence
from tests.wire_case import served

BEHIND_S = 5.0


@pytest.fixture
def bucket(url: str, proxy: Proxy) -> Bucket:
    return open_bucket(url, proxy, patience_s=60.0)


@pytest.fixture
def disk(tmp_path: Path) -> FaultyDisk:
    (tmp_path / "local").mkdir()
    return FaultyDisk(LocalDisk(tmp_path / "local"))


def open_log(disk: FaultyDisk | Path, bucket: Bucket, behind_s: float = BEHIND_S) -> UploadedLog:
    return UploadedLog.open(LocalDisk(disk) if isinstance(disk, Path) else disk, bucket, 0.0, behind_s)


@pytest.fixture
def log(disk: FaultyDisk, bucket: Bucket, proxy: Proxy) -> Iterator[UploadedLog]:
    made = open_log(disk, bucket)
    made.settle()
    yield made
    proxy.heal()
    made.close()


def files_in(folder: Path) -> list[Path]:
    """The log files that are to be put."""
    return sorted(folder.glob("log-*/*.log"))


def cut_off(proxy: Proxy) -> None:
    """The log cannot be written to the bucket."""
    proxy.fail(Kind.BUSY, "PUT", "*.log*")


def as_killed(disk: FaultyDisk, copy: Path) -> Path:
    """What a process that is killed now leaves on its disk."""
    shutil.copytree(disk.path(""), copy)
    return copy


def in_bucket(bucket: Bucket) -> list[int]:
    """The keys that the log in the bucket has, to whoever opens it after us."""
    log = ObjectLog.open(bucket)
    keys = keys_of(log)
    log.close()
    return keys


def test_what_was_appended_is_in_the_bucket_soon_and_in_order(log: UploadedLog, bucket: Bucket) -> None:
    positions = [*append(log, 1, 2, 3), *append(log, 4)]
    assert positions == sorted(positions)
    assert keys_of(log) == [1, 2, 3, 4]
    assert keys_of(log, positions[2]) == [3, 4]
    assert not log.has_left
    log.close()
    with pytest.raises(Closed):
        append(log, 5)
    assert in_bucket(bucket) == [1, 2, 3, 4]


def test_a_write_does_not_wait_for_the_bucket_and_many_go_up_as_one(
    log: UploadedLog, bucket: Bucket, proxy: Proxy
) -> None:
    before = len(lengths(bucket))
    proxy.fail(Kind.SLOW, "PUT", "*.log*", times=1, seconds=0.5)
    began = time.monotonic()
    for key in range(50):
        append(log, key)
    assert time.monotonic() - began < 0.4
    log.settle()
    assert len(lengths(bucket)) <= before + 3
    assert keys_of(log) == list(range(50))


def test_what_a_killed_process_left_is_put_by_the_next(
    log: UploadedLog, disk: FaultyDisk, bucket: Bucket, proxy: Proxy, tmp_path: Path
) -> None:
    append(log, 1)
    log.settle()
    cut_off(proxy)
    for key in range(2, 6):
        append(log, key)
    killed = as_killed(disk, tmp_path / "killed")
    proxy.heal()
    again = open_log(killed, bucket)
    append(again, 6)
    assert keys_of(again) == [1, 2, 3, 4, 5, 6]
    assert again.epoch == log.epoch + 1
    again.close()
    assert in_bucket(bucket) == [1, 2, 3, 4, 5, 6]


def test_what_had_gone_up_when_it_was_killed_is_there_once(
    log: UploadedLog, disk: FaultyDisk, bucket: Bucket, tmp_path: Path
) -> None:
    disk.fail("unlink", "log-*/*")
    append(log, 1)
    log.settle()
    append(log, 2)
    log.settle()
    killed = as_killed(disk, tmp_path / "killed")
    assert len(files_in(killed)) > 2
    again = open_log(killed, bucket)
    assert keys_of(again) == [1, 2]
    again.close()
    disk.heal()
    append(log, 3)
    with pytest.raises(WriterStopped, match="another process has taken over"):
        log.settle()


@pytest.mark.parametrize("step", range(6))
def test_an_opening_that_is_killed_while_it_puts_what_was_left_loses_nothing(
    log: UploadedLog, disk: FaultyDisk, bucket: Bucket, proxy: Proxy, tmp_path: Path, step: int
) -> None:
    cut_off(proxy)
    append(log, 1)
    until(lambda: len(files_in(disk.path(""))) > 1)  # the first has ended, and is being put
    append(log, 2)
    killed = FaultyDisk(LocalDisk(as_killed(disk, tmp_path / "killed")))
    proxy.heal()
    killed.fail("unlink", "log-*/*", skip=step)
    try:
        again = open_log(killed, bucket)
    except StoreError:
        killed.heal()
        again = open_log(killed, bucket)
    assert keys_of(again) == [1, 2]
    killed.heal()
    again.close()


def test_with_the_disk_is_lost_what_had_not_gone_up_and_nothing_before_it(
    log: UploadedLog, bucket: Bucket, proxy: Proxy, tmp_path: Path
) -> None:
    append(log, 1, 2)
    log.settle()
    cut_off(proxy)
    append(log, 3)
    time.sleep(0.1)
    append(log, 4)
    proxy.heal()
    elsewhere = ObjectLog.open(bucket)
    found = keys_of(elsewhere)
    assert found == [1, 2, 3, 4][: len(found)]
    assert len(found) >= 2


def test_a_writer_that_was_replaced_says_what_is_lost_and_the_next_opening_sets_it_aside(
    log: UploadedLog, disk: FaultyDisk, bucket: Bucket, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    append(log, 1)
    log.settle()
    held = threading.Event()
    put = bucket.put

    def slow(key: str, data: bytes) -> None:
        held.wait()
        put(key, data)

    bucket.put = slow  # type: ignore[method-assign]
    append(log, 2)
    append(log, 3)
    url_bucket = open_bucket(bucket.url, proxy)
    other = ObjectLog.open(url_bucket)
    append(other, 9)
    held.set()
    until(lambda: log.replaced)
    with pytest.raises(WriterStopped, match="another process has taken over"):
        append(log, 4)
    with pytest.raises(WriterStopped):
        log.settle()
    until(lambda: "Lost are 2 writes acknowledged between" in caplog.text)
    until(lambda: "sets them aside" in caplog.text)
    log.close()
    caplog.clear()
    again = open_log(disk, url_bucket)
    assert "lost are 2 writes" in caplog.text
    assert keys_of(again) == [1, 9]
    again.close()
    assert [name for name in disk.folders("") if name.startswith("lost-")]


def test_a_write_waits_while_the_bucket_is_too_far_behind(disk: FaultyDisk, bucket: Bucket, proxy: Proxy) -> None:
    log = open_log(disk, bucket, behind_s=0.4)
    log.settle()
    cut_off(proxy)
    acknowledged: list[int] = []

    def work() -> None:
        for key in range(100):
            append(log, key)
            acknowledged.append(key)
            time.sleep(0.02)

    thread = threading.Thread(target=work)
    began = time.monotonic()
    thread.start()
    time.sleep(1.5)
    assert 2 <= len(acknowledged) <= 0.4 / 0.02 + 2
    proxy.heal()
    thread.join()
    assert time.monotonic() - began > 1.5
    assert keys_of(log) == acknowledged == list(range(100))
    log.close()


def test_a_bucket_that_never_answers_stops_the_writer_and_the_next_opening_has_it_all(
    disk: FaultyDisk, url: str, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    log = open_log(disk, open_bucket(url, proxy, patience_s=0.5))
    append(log, 1)
    log.settle()
    cut_off(proxy)
    append(log, 2)
    append(log, 3)
    with pytest.raises(WriterStopped, match="it is in doubt whether"):
        log.settle()
    until(lambda: "2 writes acknowledged between" in caplog.text)
    with pytest.raises(WriterStopped, match="the next opening with this folder puts them there"):
        append(log, 4)
    log.close()
    proxy.heal()
    again = open_log(disk, open_bucket(url, proxy))
    assert keys_of(again) == [1, 2, 3]
    again.close()


def test_closing_puts_what_there_is_or_says_that_it_is_left(
    log: UploadedLog,
    disk: FaultyDisk,
    bucket: Bucket,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy.fail(Kind.SLOW, "PUT", "*.log*", times=2, seconds=0.2)
    append(log, 1)
    log.close()
    again = open_log(disk, bucket)
    assert keys_of(again) == [1]
    monkeypatch.setattr(uploaded, "CLOSE_S", 0.3)
    cut_off(proxy)
    append(again, 2)
    again.close()
    assert again.has_left
    assert "are 1 write acknowledged between" in caplog.text
    proxy.heal()
    third = open_log(disk, bucket)
    assert keys_of(third) == [1, 2]
    third.close()


def test_a_full_disk_refuses_a_write_and_nothing_else(log: UploadedLog, disk: FaultyDisk) -> None:
    append(log, 1)
    disk.fail(("write", "create"), "log-*/*", errno.ENOSPC)
    with pytest.raises(StoreError, match="ENOSPC"):
        append(log, 2)
    disk.heal()
    append(log, 3)
    assert keys_of(log) == [1, 3]


def test_a_disk_that_lets_nothing_go_up_refuses_writes_in_the_end(
    disk: FaultyDisk, bucket: Bucket, proxy: Proxy
) -> None:
    log = open_log(disk, bucket, behind_s=0.3)
    log.settle()
    disk.fail("create", "log-*/*", errno.ENOSPC)
    append(log, 1)
    time.sleep(0.5)
    with pytest.raises(StoreError, match="ENOSPC"):
        append(log, 2)
    with pytest.raises(StoreError, match="ENOSPC"):
        log.settle()
    disk.heal()
    until(lambda: not log.has_left)
    append(log, 3)
    assert keys_of(log) == [1, 3]
    log.close()


def test_a_failed_sync_stops_the_writer(log: UploadedLog, disk: FaultyDisk) -> None:
    append(log, 1)
    log.settle()
    disk.fail("sync", "log-*/*", times=1)
    with pytest.raises(WriterStopped, match="syncing"):
        append(log, 2)
    with pytest.raises(WriterStopped):
        append(log, 3)


def test_damage_to_what_was_left_stops_the_opening(
    log: UploadedLog, disk: FaultyDisk, bucket: Bucket, proxy: Proxy, tmp_path: Path
) -> None:
    cut_off(proxy)
    append(log, 1)
    until(lambda: len(files_in(disk.path(""))) > 1)
    append(log, 2)
    killed = as_killed(disk, tmp_path / "killed")
    proxy.heal()
    first = files_in(killed)[0]
    data = bytearray(first.read_bytes())
    data[200] ^= 1
    first.write_bytes(data)
    with pytest.raises(CorruptData, match="damaged at offset"):
        open_log(killed, bucket)


def test_what_is_dropped_goes_when_the_bucket_knows_it(log: UploadedLog, bucket: Bucket) -> None:
    for key in range(3):
        append(log, key)
        log.settle()
    cut = log.rotate()
    append(log, 3)
    log.drop_before(cut)
    append(log, 4)
    assert keys_of(log) == [3, 4]
    log.close()
    assert in_bucket(bucket) == [3, 4]


def test_an_opening_that_writes_nothing_leaves_one_object(disk: FaultyDisk, bucket: Bucket) -> None:
    for openings in range(1, 4):
        open_log(disk, bucket).close()
        assert len(lengths(bucket)) == openings


def test_an_opening_that_was_killed_before_its_first_file_was_made_leaves_no_trace(
    disk: FaultyDisk, bucket: Bucket
) -> None:
    for _ in range(3):
        log = open_log(disk, bucket)
        append(log, log.epoch)
        log.close()
    objects = ObjectLog.open(bucket)
    folder = disk.path(f"log-{objects.end.sequence}-{header_of(bucket, objects.end.sequence).salt:016x}")
    folder.mkdir()
    (folder / f"{objects.end.sequence + 1:020d}.log").touch()
    again = open_log(disk, bucket)
    assert again.epoch == objects.epoch + 1 == 5
    assert keys_of(again) == [1, 2, 3]
    again.close()


def test_a_full_disk_is_freed_by_what_goes_up(
    disk: FaultyDisk, bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploaded, "FILE_BYTES", 4096)
    log = open_log(disk, bucket)
    cut_off(proxy)
    for key in range(100):
        append(log, key)
    assert len(files_in(disk.path(""))) > 3
    disk.fail(("create", "preallocate"), "log-*/*", errno.ENOSPC)
    proxy.heal()
    until(lambda: len(files_in(disk.path(""))) == 1)
    monkeypatch.setattr(uploaded, "CLOSE_S", 0.3)
    log.close()
    disk.heal()
    again = open_log(disk, bucket)
    assert keys_of(again) == list(range(100))
    again.close()


def test_a_file_that_could_not_be_deleted_stops_nothing(log: UploadedLog, disk: FaultyDisk) -> None:
    append(log, 1)
    log.settle()
    until(lambda: len(files_in(disk.path(""))) == 1)
    for skip in range(4):  # when a file is made, or when one has been deleted
        disk.fail("sync_folder", "log-*", errno.EMFILE, skip=skip, times=1)
        for key in range(4):
            append(log, 4 * skip + key + 2)
            until(lambda: not log.has_left)
        disk.heal()
    assert keys_of(log) == list(range(1, 18))


def test_whatever_befalls_the_thread_that_puts_writers_are_told(
    log: UploadedLog, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append(log, 1)
    log.settle()

    def fail(key: str, data: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(bucket, "put", fail)
    append(log, 2)
    with pytest.raises(WriterStopped, match="putting it into the bucket failed"):
        log.settle()
    with pytest.raises(WriterStopped):
        append(log, 3)
    until(lambda: "Only in" in caplog.text)


def test_what_was_put_and_given_up_keeps_nothing_behind_it_from_being_put(
    log: UploadedLog, disk: FaultyDisk, bucket: Bucket, proxy: Proxy, tmp_path: Path
) -> None:
    for key in (1, 2):
        append(log, key)
        log.settle()
    disk.fail("unlink", "log-*/*")
    for key in (3, 4):
        append(log, key)
        log.settle()
    log.drop_before(log.rotate())
    append(log, 5)
    log.settle()
    cut_off(proxy)
    append(log, 6)
    until(lambda: log.has_left)
    time.sleep(0.3)
    killed = as_killed(disk, tmp_path / "killed")
    disk.heal()
    proxy.heal()
    again = open_log(killed, bucket)
    assert keys_of(again) == [5, 6]
    again.close()


def test_what_belongs_to_another_database_is_not_put(
    log: UploadedLog, disk: FaultyDisk, url: str, proxy: Proxy, tmp_path: Path
) -> None:
    cut_off(proxy)
    append(log, 1)
    killed = as_killed(disk, tmp_path / "killed")
    proxy.heal()
    other = open_bucket(f"{url}-other", proxy)
    objects = ObjectLog.open(other)
    with pytest.raises(StoreError, match="holds writes to another database"):
        open_log(killed, other)
    assert keys_of(objects) == []
    assert files_in(killed)


def test_a_log_that_was_closed_in_the_middle_of_a_put_ends_its_thread(
    log: UploadedLog, disk: FaultyDisk, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploaded, "CLOSE_S", 0.2)
    cut_off(proxy)
    append(log, 1)
    until(lambda: len(files_in(disk.path(""))) > 1)
    append(log, 2)
    log.close()
    assert log._thread.is_alive()
    proxy.heal()
    log._thread.join(20)
    assert not log._thread.is_alive()


def test_a_writer_that_knows_that_it_was_replaced_acknowledges_nothing(log: UploadedLog, bucket: Bucket) -> None:
    append(log, 1)
    log.settle()
    ObjectLog.open(bucket)
    with pytest.raises(WriterStopped):
        log.check_writer()
    with pytest.raises(WriterStopped, match="another process has taken over"):
        append(log, 2)


# --- a database over it ----------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Settings:
    use(monkeypatch, proxy.url, tmp_path)
    return replace(QUIET, local_log=str(tmp_path / "local"))


def open_database(url: str, settings: Settings, *, take_over: bool = False) -> Elanus:
    return Elanus(Instance.open(url, settings, builders=InlineBuilders(), take_over=take_over))


def test_no_manifest_is_put_before_the_log_that_it_rests_on(url: str, settings: Settings, proxy: Proxy) -> None:
    with open_database(url, settings) as db:
        collection = db.create_collection("books", BOOKS)
        collection.insert(books(range(10)))
        cut_off(proxy)
        collection.insert(books(range(10, 20)))
        proxy.requests.clear()
        thread = threading.Thread(target=collection.flush)
        thread.start()
        until(lambda: any("segments" in path for method, path in proxy.requests if method in ("PUT", "POST")))
        time.sleep(0.5)
        assert not [path for method, path in proxy.requests if method == "PUT" and "manifest" in path]
        assert thread.is_alive()
        proxy.heal()
        thread.join()
        assert [path for method, path in proxy.requests if method == "PUT" and "manifest" in path]
        assert keys_in(collection) == list(range(20))
    with open_database(url, replace(settings, local_log="")) as db:
        assert keys_in(db.collection("books")) == list(range(20))


WRITE = """
import sys, time, elanus
db = elanus.open(sys.argv[1], settings=elanus.Settings(local_log=sys.argv[2], local_log_s=float(sys.argv[3])))
rows = db.create_collection("rows", dimension=2)
print("open", flush=True)
for key in range(1_000_000):
    rows.insert({"id": [key], "vector": [[1.0, 2.0]]})
    print(key, time.monotonic(), flush=True)
"""


@contextmanager
def killed_writer(url: str, settings: Settings, behind_s: float, proxy: Proxy) -> Iterator[tuple[list[int], list[int]]]:
    """After a process was killed that wrote to a slow bucket: the keys it had acknowledged `behind_s` before it came to
    its last one, and those since.
    """
    command = [sys.executable, "-c", WRITE, url, settings.local_log, str(behind_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            proxy.fail(Kind.SLOW, "PUT", "*/log/*", seconds=0.3)
            said = [process.stdout.readline() for _ in range(400)]
            process.kill()
            said += [line for line in process.stdout if line.endswith("\n")]
        finally:
            process.kill()
            process.wait()
    proxy.heal()
    times = {int(key): float(at) for key, at in (line.split() for line in said)}
    last_s = max(times.values()) - behind_s
    yield [key for key, at in times.items() if at < last_s], [key for key, at in times.items() if at >= last_s]


def test_a_killed_server_that_starts_again_has_all_that_it_acknowledged(
    url: str, settings: Settings, proxy: Proxy
) -> None:
    with killed_writer(url, settings, BEHIND_S, proxy) as (early, late), open_database(url, settings) as db:
        found = keys_in(db.collection("rows"))
        assert set(early + late) <= set(found)
        assert len(found) <= len(early) + len(late) + 1


def test_another_machine_has_all_but_the_last_seconds_and_says_so(
    url: str, settings: Settings, proxy: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    behind_s = 1.0
    elsewhere = replace(settings, local_log="")
    with killed_writer(url, settings, behind_s, proxy) as (early, late):
        with pytest.raises(StoreError, match=f"may be only in {settings.local_log} on .*--take-over"):
            open_database(url, elsewhere)
        db = open_database(url, elsewhere, take_over=True)
        assert "is given up" in caplog.text
        found = sorted(keys_in(db.collection("rows")))
        assert found == list(range(len(found)))  # what there is, is all that came before it
        assert set(early) <= set(found)
        assert len(found) < len(early) + len(late), "nothing was lost: the test shows nothing"
        db.collection("rows").insert({"id": [-1], "vector": [[0.0, 0.0]]})
        db.close()
    caplog.clear()
    with open_database(url, settings) as db:
        assert "set aside" in caplog.text
        assert sorted(keys_in(db.collection("rows"))) == [-1, *found]


def test_after_a_close_nothing_is_left_and_nobody_is_warned(
    url: str, settings: Settings, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    with open_database(url, settings) as db:
        collection = db.create_collection("books", BOOKS)
        proxy.fail(Kind.SLOW, "PUT", "*/log/*", times=4, seconds=0.2)
        collection.insert(books(range(10)))
    with caplog.at_level(logging.WARNING), open_database(url, replace(settings, local_log="")) as db:
        assert keys_in(db.collection("books")) == list(range(10))
    assert not caplog.records


def test_closing_does_not_wait_for_jobs_that_wait_for_the_bucket(
    url: str, settings: Settings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploaded, "CLOSE_S", 0.5)
    db = open_database(url, replace(settings, background=True, seal_rows=8, seal_burst_s=0.0))
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(4)))
    cut_off(proxy)
    collection.insert(books(range(4, 40)))
    time.sleep(1.0)
    began = time.monotonic()
    db.close()
    assert time.monotonic() - began < 10
    proxy.heal()
    with open_database(url, settings) as db:
        assert keys_in(db.collection("books")) == list(range(40))


def test_the_folder_is_made_durable(
    url: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    sync = elanus_disk._sync_path
    monkeypatch.setattr(elanus_disk, "_sync_path", lambda path: (synced.append(Path(path)), sync(path)))
    open_database(url, replace(settings, local_log=str(tmp_path / "x" / "y"))).close()
    assert {tmp_path, tmp_path / "x", tmp_path / "x" / "y"} <= set(synced)


def test_a_server_keeps_its_log_there_and_one_process_has_it(url: str, settings: Settings, proxy: Proxy) -> None:
    local = settings.local_log
    with served(url, "--local-log", local) as server:
        one_sentence(failure(url, "--port", "0", "--local-log", local), "is open for writing in process")
        client = MilvusClient(server.address, dedicated=True)
        client.create_collection("c", dimension=4)
        proxy.fail(Kind.SLOW, "PUT", "*/log/*", seconds=0.3)
        began = time.monotonic()
        for key in range(20):
            client.insert("c", [{"id": key, "vector": [1.0] * 4}])
        assert time.monotonic() - began < 20 * 0.3
        client.close()
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0
    with elanus.open(url) as db:
        assert db.collection("c").count() == 20


def test_it_is_refused_where_it_makes_no_sense(tmp_path: Path, url: str, settings: Settings) -> None:
    with pytest.raises(InvalidParameter, match="a local log is for a database in a bucket"):
        elanus.open(tmp_path / "db", settings=settings)
    with pytest.raises(InvalidParameter, match="who only reads has none"):
        elanus.open(url, settings=settings, read_only=True)
    with pytest.raises(InvalidParameter, match="local_log_s is a time in seconds"):
        elanus.open(url, settings=replace(settings, local_log_s=0))
    one_sentence(failure(url, "--port", "0", "--workers", "2", "--local-log", settings.local_log), "one worker")
