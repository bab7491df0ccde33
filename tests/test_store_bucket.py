"""The Store in a bucket, before a network and a store that fail: each put is done once, and known to be done."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from elanus.model.errors import InvalidParameter, KeyExists, KeyNotFound, ReadOnly, StoreError
from elanus.store import bucket as buckets
from elanus.store.bucket import Bucket
from elanus.store.cache import Cache
from elanus.store.header import FileKind
from elanus.store.remote import RemoteStore
from elanus.store.versioned import VersionedState
from elanus.testing.bucket_proxy import Kind, Proxy
from tests.bucket_case import open_bucket
from tests.test_crash_disk import CounterRules


@pytest.fixture
def bucket(url: str, proxy: Proxy) -> Bucket:
    return open_bucket(url, proxy)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    cache = Cache(tmp_path / "cache", 1 << 30)
    yield cache
    cache.close()


@pytest.fixture
def store(bucket: Bucket, cache: Cache) -> RemoteStore:
    return RemoteStore(bucket, cache)


# --- puts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.UNANSWERED, Kind.LOST, Kind.BUSY])
@pytest.mark.parametrize("times", [1, 3])
def test_a_put_whose_answer_was_lost_is_done_once(bucket: Bucket, proxy: Proxy, kind: Kind, times: int) -> None:
    proxy.fail(kind, "PUT", "*/a?*", times=times)
    proxy.fail(kind, "PUT", "*/a", times=times)
    bucket.put("a", b"ours")
    assert bucket.get("a") == b"ours"
    with pytest.raises(KeyExists, match="a exists"):
        bucket.put("a", b"others")


@pytest.mark.parametrize("kind", [Kind.UNANSWERED, Kind.LOST, Kind.BUSY])
def test_a_put_that_another_was_faster_with_says_so_even_where_the_answer_is_lost(
    bucket: Bucket, proxy: Proxy, kind: Kind
) -> None:
    bucket.put("a", b"same")
    proxy.fail(kind, "PUT", times=2)
    with pytest.raises(KeyExists, match="a exists"):
        bucket.put("a", b"same")


@pytest.mark.parametrize("kind", [Kind.UNANSWERED, Kind.LOST, Kind.BUSY])
def test_a_store_that_is_away_is_waited_for_and_then_said_to_be(url: str, proxy: Proxy, kind: Kind) -> None:
    bucket = open_bucket(url, proxy, patience_s=0.5)
    proxy.fail(kind)
    for call in (
        lambda: bucket.put("a", b"x"),
        lambda: bucket.get("a"),
        lambda: bucket.keys("a"),
        lambda: bucket.size("a"),
        lambda: bucket.delete(["a"]),
    ):
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"cannot \w+.* s3://elanus/.*try again"):
            call()
        assert time.monotonic() - began < 10
    proxy.heal()
    assert kind is Kind.UNANSWERED or bucket.keys("") == []


def test_a_store_that_comes_back_in_time_was_never_away(bucket: Bucket, proxy: Proxy) -> None:
    proxy.fail(Kind.BUSY)
    threading.Timer(0.6, proxy.heal).start()
    bucket.put("a", b"x")
    assert bucket.get("a") == b"x"


def test_of_many_writers_that_lose_answers_one_wins(url: str, proxy: Proxy) -> None:
    rng = np.random.default_rng(3)
    won: list[tuple[int, int]] = []

    def put(number: int) -> None:
        bucket = open_bucket(url, proxy)
        for key in range(12):
            try:
                bucket.put(f"k/{key}", b"%d" % number)
                won.append((key, number))
            except KeyExists:
                pass

    for key in range(12):
        kind = [Kind.UNANSWERED, Kind.LOST, Kind.BUSY][rng.integers(3)]
        proxy.fail(kind, "PUT", f"*/k/{key}*", times=int(rng.integers(1, 4)))
    threads = [threading.Thread(target=put, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for key, _ in won) == list(range(12))
    found = open_bucket(url, proxy)
    assert all(found.get(f"k/{key}") == b"%d" % number for key, number in won)


# --- what a store has to be able to do --------------------------------------------------------------------------------


def test_a_store_whose_puts_exclude_passes_the_probe_and_keeps_nothing_of_it(bucket: Bucket) -> None:
    bucket.probe()
    assert bucket.keys("") == []


def test_a_store_whose_puts_do_not_exclude_is_refused(bucket: Bucket, proxy: Proxy) -> None:
    proxy.fail(Kind.CARELESS, "PUT")
    with pytest.raises(StoreError, match=r"cannot hold a database: .*let 5 win"):
        bucket.probe()


@pytest.mark.parametrize("url", ["s3://", "s3:///path", "ftp://elanus/db", "folder", "http://127.0.0.1/elanus"])
def test_what_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(InvalidParameter, match="names no bucket: write s3://"):
        Bucket(url)


def test_a_bucket_that_is_not_there_is_said_to_be(proxy: Proxy) -> None:
    with pytest.raises(StoreError, match="is there such a bucket"):
        open_bucket("s3://nowhere/db", proxy).put("a", b"x")


def test_an_option_that_there_is_none_of_is_refused(url: str) -> None:
    with pytest.raises((InvalidParameter, TypeError)):
        Bucket(url, {"no_such_option": 1})


# --- reads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.TORN, Kind.LOST, Kind.UNANSWERED, Kind.BUSY])
def test_what_is_read_is_whole(store: RemoteStore, bucket: Bucket, proxy: Proxy, kind: Kind) -> None:
    data = np.random.default_rng(1).bytes(200_000)
    bucket.put("a", data)
    proxy.fail(kind, "GET", times=2)
    assert store.get("a") == data
    proxy.fail(kind, "GET", times=2)
    assert store.local_path("a").read_bytes() == data


def test_ranges(bucket: Bucket) -> None:
    bucket.put("a", bytes(range(100)))
    assert bucket.get_range("a", 10, 5) == bytes(range(10, 15))
    for begin, length in ((90, 11), (100, 1), (300, 5)):
        with pytest.raises(StoreError, match="cannot read"):
            bucket.get_range("a", begin, length)
    with pytest.raises(KeyNotFound):
        bucket.get_range("b", 0, 1)


def test_long_files_go_up_and_come_down_in_parts(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PART_BYTES", 5 << 20)  # the least that S3 takes
    data = np.random.default_rng(2).bytes((12 << 20) + 7)
    (tmp_path / "up").write_bytes(data)
    proxy.fail(Kind.BUSY, "PUT", times=2)
    bucket.upload("long", tmp_path / "up")
    assert sum(method == "PUT" for method, _ in proxy.requests) >= 3
    proxy.fail(Kind.TORN, "GET", times=2)
    assert bucket.download("long", tmp_path / "down") == len(data)
    assert (tmp_path / "down").read_bytes() == data
    with pytest.raises(KeyExists):
        bucket.upload("long", tmp_path / "up")


def test_a_stale_listing_loses_no_version(bucket: Bucket, cache: Cache, proxy: Proxy) -> None:
    """Who has seen an old listing meets the versions after it when it commits."""
    first = VersionedState(RemoteStore(bucket, cache), "v", CounterRules(), FileKind.MANIFEST, epoch=1)
    for number in range(3):
        first.commit([number])
    first.load()
    proxy.fail(Kind.STALE, "GET", "*list-type=2*")
    for number in range(3, 6):
        first.commit([number])
    second = VersionedState(RemoteStore(bucket, cache), "v", CounterRules(), FileKind.MANIFEST, epoch=1)
    second.load()
    second.commit([6])
    assert second.state == (0, 1, 2, 3, 4, 5, 6)
    assert first.refresh() == second.state


# --- the cache --------------------------------------------------------------------------------------------------------


def gets(proxy: Proxy) -> int:
    return sum(method == "GET" for method, _ in proxy.requests)


def test_a_file_is_fetched_once_and_one_that_was_published_never(
    store: RemoteStore, bucket: Bucket, proxy: Proxy, tmp_path: Path
) -> None:
    file = store.scratch() / "f"
    file.write_bytes(b"published")
    store.publish({"s/f": file})
    assert store.local_path("s/f").read_bytes() == b"published"
    assert gets(proxy) == 0
    other = RemoteStore(bucket, Cache(tmp_path / "other", 1 << 30))
    threads = [threading.Thread(target=other.local_path, args=("s/f",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gets(proxy) == 1
    beside = RemoteStore(bucket, Cache(tmp_path / "other", 1 << 30), writable=False)
    assert beside.local_path("s/f").read_bytes() == b"published"
    assert gets(proxy) == 1
    with pytest.raises(ReadOnly):
        beside.put("a", b"")


def test_the_longest_unused_files_go_first(bucket: Bucket, tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1_000)
    store = RemoteStore(bucket, cache)
    for name in "abcd":
        bucket.put(name, b"x" * 300)
    paths = {name: store.local_path(name) for name in "abc"}
    for age, name in enumerate("bac"):
        os.utime(paths[name], (time.time() - 1_000 + age,) * 2)
    mapped = np.memmap(paths["b"], np.uint8, "r")
    store.local_path("d")
    assert {name for name in "abcd" if cache.find(name)} == {"a", "c", "d"}
    assert bytes(mapped) == b"x" * 300
    assert store.local_path("b").read_bytes() == b"x" * 300


def test_what_was_just_asked_for_stays_although_it_is_too_much(bucket: Bucket, tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100)
    store = RemoteStore(bucket, cache)
    for name in "abc":
        bucket.put(name, b"x" * 300)
        store.local_path(name)
    assert all(cache.find(name) for name in "abc")


def test_what_a_dead_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    living = Cache(tmp_path, 1 << 20)
    kept = living.scratch()
    code = "import sys, os; from pathlib import Path; from elanus.store.cache import Cache\n"
    code += "print(Cache(Path(sys.argv[1]), 1).scratch(), flush=True); os._exit(9)"
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    left = Path(run.stdout.strip())
    assert left.is_dir()
    other = Cache(tmp_path, 1 << 20)
    assert not left.exists()
    assert kept.is_dir()
    assert sorted(path.suffix for path in (tmp_path / "scratch").iterdir()) == ["", "", ".lock", ".lock"]
    other.close()
    living.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_cache_on_a_full_or_missing_disk_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot open the cache"):
        Cache(tmp_path / "file", 1)
