"""The log in a bucket: one sequence for all writers, of which the last one writes, whatever the network does."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from elanus.log import objects
from elanus.log.base import LogGap
from elanus.log.commit import GroupCommit
from elanus.log.object_reader import SAYS_NOTHING, ObjectLogReader, header_of, lengths
from elanus.log.objects import ObjectLog
from elanus.log.position import Position
from elanus.log.record import FenceRecord, RawRecord
from elanus.model.errors import Closed, CorruptData, WriterStopped
from elanus.model.timestamps import SystemClock, TimestampOracle, compose
from elanus.store.bucket import Bucket
from elanus.testing.bucket_proxy import Kind, Proxy
from tests.bucket_case import open_bucket
from tests.test_log_file import append, keys_of, write


@pytest.fixture
def bucket(url: str, proxy: Proxy) -> Bucket:
    return open_bucket(url, proxy)


@pytest.fixture
def log(bucket: Bucket) -> ObjectLog:
    return ObjectLog.open(bucket, kept_s=0.0)


def names(bucket: Bucket) -> list[int]:
    return [int(key.removesuffix(".log")) for key in bucket.keys("")]


def test_what_was_appended_is_read_in_order_by_this_writer_and_the_next(log: ObjectLog, bucket: Bucket) -> None:
    positions = [*append(log, 1, 2, 3), *append(log, 4)]
    assert positions == sorted(positions)
    assert keys_of(log) == [1, 2, 3, 4]
    assert keys_of(log, positions[2]) == [3, 4]
    assert [position for position, record in log.read() if isinstance(record, RawRecord)] == positions
    assert keys_of(log, log.end) == []
    again = ObjectLog.open(bucket)
    append(again, 5)
    assert keys_of(again) == [1, 2, 3, 4, 5]
    assert [record.epoch for _, record in again.read() if isinstance(record, FenceRecord)] == [2]


def test_many_objects_are_read_at_once_and_in_order(log: ObjectLog, bucket: Bucket, proxy: Proxy) -> None:
    for key in range(60):
        append(log, key)
    proxy.fail(Kind.SLOW, "GET", seconds=0.05)
    again = ObjectLog.open(bucket)
    assert keys_of(again) == list(range(60))
    reading = again.read()
    next(reading)
    reading.close()


def test_a_group_is_one_object(log: ObjectLog, bucket: Bucket) -> None:
    before = len(names(bucket))
    append(log, *range(100))
    assert len(names(bucket)) == before + 1


def test_a_writer_that_was_replaced_acknowledges_nothing_more(log: ObjectLog, bucket: Bucket) -> None:
    append(log, 1)
    second = ObjectLog.open(bucket)
    assert second.epoch == log.epoch + 1
    for _ in range(2):
        with pytest.raises(WriterStopped, match="another process has taken over"):
            append(log, 2)
    append(second, 3)
    assert keys_of(second) == [1, 3]
    assert keys_of(ObjectLog.open(bucket)) == [1, 3]


def test_a_late_put_of_a_writer_that_was_replaced_finds_no_place(log: ObjectLog, bucket: Bucket, proxy: Proxy) -> None:
    proxy.fail(Kind.SLOW, "PUT", "*00002.log*", times=1, seconds=0.8)
    outcome: list[type[Exception]] = []

    def late() -> None:
        try:
            append(log, 1)
        except WriterStopped as error:
            outcome.append(type(error))

    thread = threading.Thread(target=late)
    thread.start()
    while not any(method == "PUT" and "00002.log" in path for method, path in proxy.requests):
        pass
    second = ObjectLog.open(bucket)
    append(second, 2)
    thread.join()
    assert outcome == [WriterStopped]
    assert keys_of(second) == keys_of(ObjectLog.open(bucket)) == [2]


def test_a_writer_that_was_idle_while_its_successor_cut_the_log_acknowledges_nothing(
    log: ObjectLog, bucket: Bucket
) -> None:
    """Its next number stays taken, however much is dropped after it, and by whom."""
    append(log, 1)
    for _ in range(3):
        following = ObjectLog.open(bucket)
        for key in range(5):
            append(following, key)
        following.drop_before(following.rotate())
        append(following, 9)
    with pytest.raises(WriterStopped, match="another process has taken over"):
        append(log, 2)
    assert keys_of(following) == keys_of(ObjectLog.open(bucket)) == [9]


def test_an_opener_that_stood_still_before_its_fence_looks_again(
    log: ObjectLog, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, 1)
    put = ObjectLog._put
    slept = []

    def meanwhile(opening: ObjectLog, sequence: int, *put_what: Any) -> None:
        if not slept:  # the writer goes on, and frees the number that the opener has seen as the next one
            slept.append(sequence)
            for key in (2, 3):
                append(log, key)
            log.drop_before(log.rotate())
            append(log, 4)
        put(opening, sequence, *put_what)

    monkeypatch.setattr(ObjectLog, "_put", lambda *given: meanwhile(*given) if given[0] is not log else put(*given))
    second = ObjectLog.open(bucket)
    assert slept[0] < second.end.sequence
    assert keys_of(second) == [4]
    with pytest.raises(WriterStopped):
        append(log, 5)
    append(second, 6)
    assert keys_of(ObjectLog.open(bucket)) == [4, 6]


def test_openings_that_write_nothing_do_not_lengthen_the_log(log: ObjectLog, bucket: Bucket) -> None:
    append(log, 1)
    log.drop_before(log.rotate())
    for _ in range(10):
        last = ObjectLog.open(bucket)
    assert last.byte_size <= 3 * objects.LEAST_BYTES


def test_what_a_deletion_left_is_deleted_by_the_next(log: ObjectLog, bucket: Bucket, proxy: Proxy) -> None:
    for key in range(5):
        append(log, key)
    delete = bucket.delete
    bucket.delete = lambda keys: None  # type: ignore[method-assign]
    log.drop_before(log.rotate())
    bucket.delete = delete  # type: ignore[method-assign]
    again = ObjectLog.open(bucket, kept_s=0.0)
    append(again, 9)
    again.drop_before(again.end.sequence)
    assert keys_of(again) == [9]
    sizes = bucket.sizes("")
    assert all(size == objects.FENCE_BYTES for name, size in sizes.items() if int(name[:20]) < again._oldest)


def test_writers_that_take_over_from_each_other_lose_nothing_and_invent_nothing(bucket: Bucket, proxy: Proxy) -> None:
    """Six of them at once, each of which opens again when it is replaced, while answers are lost."""
    acknowledged: list[int] = []
    tried: list[int] = []

    def work(number: int) -> None:
        log = ObjectLog.open(bucket)
        for step in range(15):
            key = 1_000 * number + step
            tried.append(key)
            try:
                append(log, key)
                acknowledged.append(key)
            except WriterStopped:
                log = ObjectLog.open(bucket)

    proxy.fail(Kind.UNANSWERED, "PUT", "*3.log*", times=3)
    proxy.fail(Kind.LOST, "PUT", "*5.log*", times=3)
    proxy.fail(Kind.BUSY, "PUT", "*7.log*", times=3)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = keys_of(ObjectLog.open(bucket))
    assert len(found) == len(set(found))
    assert set(acknowledged) == set(found) <= set(tried)
    headers = [header_of(bucket, number) for number in sorted(lengths(bucket))]
    epochs = [header.epoch for header in headers if header.previous_end != SAYS_NOTHING]
    assert epochs == sorted(epochs)
    writers = [record.epoch for position, record in ObjectLog.open(bucket).read() if is_fence(bucket, position, record)]
    assert len(set(writers)) == len(writers)


def is_fence(bucket: Bucket, position: Position, record: object) -> bool:
    """Whether this is what an opening begins with, and not what was put to halt a writer."""
    return isinstance(record, FenceRecord) and header_of(bucket, position.sequence).previous_end != SAYS_NOTHING


def test_a_writer_that_never_rests_is_overtaken(bucket: Bucket) -> None:
    """It is as fast as who runs after it. What it drops stays for longer than a look at the end takes, as always."""
    log = ObjectLog.open(bucket, kept_s=10.0)
    acknowledged: list[int] = []
    stopped: list[str] = []

    def work() -> None:
        try:
            for key in range(1_000_000):
                append(log, key)
                acknowledged.append(key)
                if key % 50 == 49:
                    log.drop_before(log.rotate() - 5)
        except WriterStopped as error:
            stopped.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    while len(acknowledged) < 20:
        time.sleep(0.01)
    for _ in range(2):
        again = ObjectLog.open(bucket)
        found = keys_of(again)
        append(again, 2_000_000)
    thread.join(30)
    assert "another process has taken over" in stopped[0]
    found = [key for key in found if key < 1_000_000]
    assert found == list(range(found[0], found[-1] + 1))
    assert found[0] <= acknowledged[-1] <= found[-1] <= acknowledged[-1] + 1


def test_what_an_opener_left_that_died_while_it_halted_a_writer_is_no_hindrance(log: ObjectLog, bucket: Bucket) -> None:
    append(log, 1, 2)
    opener = ObjectLog(bucket, 60.0)
    last = max(lengths(bucket))
    append(log, 3)
    assert not opener._block(last + 1)
    assert opener._block(last + 4)
    reader = ObjectLogReader(bucket)
    with pytest.raises(LogGap):
        list(reader.read())
    again = ObjectLog.open(bucket)
    append(again, 4)
    assert keys_of(again) == [1, 2, 3, 4]
    assert keys_of(ObjectLog.open(bucket)) == [1, 2, 3, 4]
    assert [record.epoch for _, record in reader.read() if isinstance(record, FenceRecord)]


@pytest.mark.parametrize("kind", [Kind.UNANSWERED, Kind.LOST])
def test_a_put_that_stays_in_doubt_stops_the_writer(url: str, proxy: Proxy, kind: Kind) -> None:
    log = ObjectLog.open(open_bucket(url, proxy, patience_s=0.4))
    append(log, 1)
    proxy.fail(kind)
    with pytest.raises(WriterStopped, match="in doubt whether"):
        append(log, 2)
    proxy.heal()
    with pytest.raises(WriterStopped, match="in doubt whether"):
        append(log, 3)
    assert keys_of(ObjectLog.open(open_bucket(url, proxy))) == ([1, 2] if kind is Kind.UNANSWERED else [1])


def test_what_is_dropped_is_gone_also_where_only_some_of_it_was_deleted(log: ObjectLog, bucket: Bucket) -> None:
    for key in range(5):
        append(log, key, timestamp=compose(1_000 + key))
    assert log.oldest_ms == 1_000
    cut = log.rotate()
    append(log, 5, timestamp=compose(2_000))
    size = log.byte_size
    log.drop_before(cut)
    assert keys_of(log) == [5]
    below = [size for name, size in bucket.sizes("").items() if int(name[:20]) < cut]
    assert below == [objects.FENCE_BYTES], "what is not the fence of an opening is gone"
    assert log.oldest_ms == 2_000
    assert log.byte_size < size
    bucket.put(f"{cut - 3:020d}.log", b"left by a deletion that was cut short")
    again = ObjectLog.open(bucket)
    assert keys_of(again) == [5]
    assert again.oldest_ms == 2_000
    again.drop_before(again.rotate())
    assert keys_of(again) == []
    assert again.oldest_ms is None
    append(again, 6, timestamp=compose(3_000))
    assert keys_of(ObjectLog.open(bucket)) == [6]


def test_a_missing_object_is_named_and_nothing_is_opened_over_it(log: ObjectLog, bucket: Bucket) -> None:
    append(log, 1)
    position, *_ = append(log, 2)
    append(log, 3)
    bucket.delete([f"{position.sequence:020d}.log"])
    before = names(bucket)
    with pytest.raises(CorruptData, match=f"{position.sequence:020d}.log is missing"):
        ObjectLog.open(bucket)
    assert names(bucket) == before


def test_a_damaged_object_is_named(log: ObjectLog, bucket: Bucket) -> None:
    position, *_ = append(log, 1)
    append(log, 2)
    key = f"{position.sequence:020d}.log"
    data = bytearray(bucket.get(key))
    data[-1] ^= 1
    bucket.delete([key])
    bucket.put(key, bytes(data))
    with pytest.raises(CorruptData, match=f"{key}: damaged at offset 64"):
        keys_of(ObjectLog.open(bucket))


def test_an_old_listing_hides_nothing(log: ObjectLog, bucket: Bucket, proxy: Proxy) -> None:
    append(log, 1)
    ObjectLog.open(bucket)
    proxy.fail(Kind.STALE, "GET", "*list-type=2*")
    second = ObjectLog.open(bucket)
    for key in (2, 3):
        append(second, key)
    third = ObjectLog.open(bucket)
    assert third.epoch == second.epoch + 1
    append(third, 4)
    assert keys_of(third) == [1, 2, 3, 4]


def test_a_closed_log_takes_nothing(log: ObjectLog) -> None:
    log.close()
    for call in (lambda: append(log, 1), log.rotate, lambda: log.drop_before(9)):
        with pytest.raises(Closed):
            call()


def test_groups_of_many_threads_are_committed_in_order_and_applied_once(log: ObjectLog, bucket: Bucket) -> None:
    applied: list[int] = []
    commit = GroupCommit(
        log,
        TimestampOracle(SystemClock()),
        lambda records: applied.extend(record.timestamp for _, record in records),
    )
    threads = [
        threading.Thread(target=lambda n=n: [commit.append(write(100 * n + i)) for i in range(10)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    commit.close()
    assert applied == sorted(applied)
    assert len(applied) == 80
    assert sorted(keys_of(ObjectLog.open(bucket))) == sorted(100 * n + i for n in range(8) for i in range(10))
    assert log.end > Position(1, 0)
    assert log.byte_size >= objects.LEAST_BYTES
