"""The Store's promises: one winner, durable when returned, wholly or not at all; the same for every Store."""

import errno
import threading

import pytest

from elanus.model.errors import InvalidParameter, KeyExists, KeyNotFound, ReadOnly, StoreError, WriterStopped
from elanus.store.cache import Cache
from elanus.store.disk import LocalDisk
from elanus.store.local import LocalStore
from elanus.store.memory import MemoryStore
from elanus.store.remote import RemoteStore
from elanus.testing.faulty import FaultyDisk, no_more_files
from elanus.testing.recording import RecordingDisk, SyncedFolder
from tests.bucket_case import open_bucket


@pytest.fixture(params=["local", "memory", "remote"])
def store(request, tmp_path):
    if request.param == "local":
        yield LocalStore(LocalDisk(tmp_path))
    elif request.param == "remote":
        bucket = open_bucket(request.getfixturevalue("url"), request.getfixturevalue("proxy"))
        cache = Cache(tmp_path, 1 << 30)
        yield RemoteStore(bucket, cache)
        cache.close()
    else:
        made = MemoryStore()
        yield made
        made.close()


def test_what_was_put_is_got(store):
    store.put("a/b/c.delta", b"hello")
    assert store.get("a/b/c.delta") == b"hello"
    assert store.size("a/b/c.delta") == 5
    assert store.local_path("a/b/c.delta").read_bytes() == b"hello"
    assert store.get("a/b/c.delta") == b"hello"


def test_an_object_is_put_once(store):
    store.put("a", b"first")
    with pytest.raises(KeyExists, match="a exists"):
        store.put("a", b"second")
    assert store.get("a") == b"first"


def test_an_absent_object_is_named(store):
    for call in (store.get, store.size, store.local_path):
        with pytest.raises(KeyNotFound, match="no object a/b"):
            call("a/b")


def test_keys_are_listed_by_prefix_and_sorted(store):
    for key in ("c/10/a", "c/1/b", "c/1/a", "c/1.x", "d", "c/2/deep/er/x"):
        store.put(key, b"")
    assert store.keys("") == ["c/1.x", "c/1/a", "c/1/b", "c/10/a", "c/2/deep/er/x", "d"]
    assert store.keys("c/1/") == ["c/1/a", "c/1/b"]
    assert store.keys("c/1") == ["c/1.x", "c/1/a", "c/1/b", "c/10/a"]
    assert store.keys("c/2/d") == ["c/2/deep/er/x"]
    assert store.keys("nothing/") == []


def test_deleting_what_is_absent_is_no_error(store):
    store.put("a/b", b"")
    store.delete(["a/b", "a/c", "x/y"])
    assert store.keys("") == []
    store.put("a/b", b"again")
    assert store.get("a/b") == b"again"


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/./b", ".hidden", "a b", "a\n"])
def test_what_cannot_be_a_key_is_refused(store, key):
    with pytest.raises(InvalidParameter, match="cannot be a key"):
        store.put(key, b"")


def test_files_written_in_scratch_are_published(store):
    folder = store.scratch()
    assert list(folder.iterdir()) == []
    assert store.scratch() != folder
    (folder / "one").write_bytes(b"1")
    (folder / "two").write_bytes(b"22")
    store.publish({"s/7/one": folder / "one", "s/7/two": folder / "two"})
    assert store.get("s/7/one") == b"1"
    assert store.local_path("s/7/two").read_bytes() == b"22"
    assert store.size("s/7/two") == 2
    assert not (folder / "one").exists()


def test_files_are_published_all_or_none(store):
    store.put("s/two", b"taken")
    folder = store.scratch()
    for name in ("one", "two", "three"):
        (folder / name).write_bytes(name.encode())
    with pytest.raises(KeyExists, match="s/two exists"):
        store.publish({f"s/{name}": folder / name for name in ("one", "two", "three")})
    assert store.keys("") == ["s/two"]


def test_of_many_that_put_a_key_one_wins(store):
    outcomes = []
    start = threading.Barrier(8)

    def put(number):
        for key in range(20):
            start.wait()
            try:
                store.put(f"k/{key}", bytes([number]))
                outcomes.append((key, number))
            except KeyExists:
                pass

    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for key, _ in outcomes) == list(range(20))
    assert all(store.get(f"k/{key}") == bytes([number]) for key, number in outcomes)


def test_folders_emptied_while_others_put_lose_nothing(store):
    def churn(number):
        for turn in range(40):
            store.put(f"a/b/{number}-{turn}", b"x")
            store.delete([f"a/b/{number}-{turn}"])
            store.put(f"a/b/{number}-{turn}.kept", b"x")
            if turn:
                store.delete([f"a/b/{number}-{turn - 1}.kept"])

    threads = [threading.Thread(target=churn, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.keys("") == [f"a/b/{n}-39.kept" for n in range(4)]


# --- the local Store --------------------------------------------------------------------------------------------------


def test_objects_are_there_in_the_next_process(tmp_path):
    LocalStore(LocalDisk(tmp_path)).put("a/b", b"x")
    assert LocalStore(LocalDisk(tmp_path), writable=False).get("a/b") == b"x"


def test_leftover_scratch_goes_at_the_next_opening_for_writing(tmp_path):
    store = LocalStore(LocalDisk(tmp_path))
    folder = store.scratch()
    (folder / "deep").mkdir()
    (folder / "deep" / "f").write_bytes(b"x")
    LocalStore(LocalDisk(tmp_path), writable=False)
    assert folder.exists()
    LocalStore(LocalDisk(tmp_path))
    assert not folder.exists()


def test_a_store_opened_for_reading_changes_nothing(tmp_path):
    store = LocalStore(LocalDisk(tmp_path / "new"), writable=False)
    assert store.keys("") == []
    assert not (tmp_path / "new").exists()
    for call in (lambda: store.put("a", b""), lambda: store.delete(["a"]), store.scratch, lambda: store.publish({})):
        with pytest.raises(ReadOnly):
            call()


def test_a_published_file_has_to_come_from_scratch(tmp_path):
    store = LocalStore(LocalDisk(tmp_path / "db"))
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(InvalidParameter, match="scratch"):
        store.publish({"a": tmp_path / "f"})


def test_publishing_syncs_each_folder_once(tmp_path):
    disk = RecordingDisk(LocalDisk(tmp_path))
    store = LocalStore(disk)
    store.put("a/first", b"")
    store.put("b/first", b"")
    folder = store.scratch()
    for name in ("1", "2", "3"):
        (folder / name).write_bytes(b"x")
    before = len(disk.recording.operations)
    store.publish({"a/1": folder / "1", "a/2": folder / "2", "b/3": folder / "3"})
    synced = [op.name for op in disk.recording.operations[before:] if isinstance(op, SyncedFolder)]
    assert synced == ["store/a", "store/b"]
    assert not folder.exists()


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path):
    disk = FaultyDisk(LocalDisk(tmp_path))
    store = LocalStore(disk)
    disk.fail("write", "scratch/*", errno.ENOSPC, written=2, times=1)
    with pytest.raises(StoreError, match=r"cannot write a/b: No space left on device \(ENOSPC\)\. .*free space"):
        store.put("a/b", b"hello")
    assert store.keys("") == []
    assert disk.names("scratch") == []
    store.put("a/b", b"hello")
    assert store.get("a/b") == b"hello"


def test_a_failed_sync_of_the_file_leaves_no_object(tmp_path):
    disk = FaultyDisk(LocalDisk(tmp_path))
    store = LocalStore(disk)
    disk.fail("sync", "scratch/*", times=1)
    with pytest.raises(StoreError, match="EIO"):
        store.put("a", b"hello")
    assert store.keys("") == []
    store.put("a", b"hello")


@pytest.mark.parametrize("folder", ["store/a", "store"])
def test_after_a_failed_sync_of_a_folder_nothing_more_is_written(tmp_path, folder):
    disk = FaultyDisk(LocalDisk(tmp_path))
    store = LocalStore(disk)
    disk.fail("sync_folder", folder, times=1)
    for _ in range(2):
        with pytest.raises(WriterStopped, match=f"syncing the folder {folder} failed: .*EIO"):
            store.put("a/b", b"hello")
    LocalStore(disk).put("a/c", b"hello")


def test_too_many_open_files_is_said_and_passes(tmp_path):
    store = LocalStore(LocalDisk(tmp_path))
    store.put("a/b", b"x")
    with no_more_files():
        with pytest.raises(StoreError, match=r"too many files open: raise the limit \(ulimit -n\)"):
            store.put("a/c", b"x")
        with pytest.raises(StoreError, match="EMFILE"):
            store.get("a/b")
    store.put("a/c", b"x")


def test_a_folder_sync_that_found_no_descriptor_takes_the_object_back(tmp_path):
    disk = FaultyDisk(LocalDisk(tmp_path))
    store = LocalStore(disk)
    store.put("a/b", b"x")
    disk.fail("sync_folder", "store/a", errno.EMFILE, times=1)
    with pytest.raises(StoreError, match="EMFILE"):
        store.put("a/c", b"x")
    assert store.keys("") == ["a/b"]
    store.put("a/c", b"y")
