"""The log in files: what was appended is there, in order, across files, openings, full disks and failed syncs."""

import errno
import signal
import threading

import pyarrow as pa
import pytest

from elanus.log.carry import CarryRecord
from elanus.log.file import FIRST_STEP_BYTES, FileLog
from elanus.log.position import Position
from elanus.log.record import FenceRecord, RawRecord, WriteRecord
from elanus.model.canonical import Batch
from elanus.model.errors import Closed, StoreError, WriterStopped
from elanus.model.timestamps import compose
from elanus.store.disk import LocalDisk
from elanus.testing.faulty import FaultyDisk, no_more_files

SCHEMA = pa.schema([("100", pa.int64()), ("2", pa.int64())])


def write(*keys, collection_id=1):
    columns = [pa.array(keys, pa.int64()), pa.array([1] * len(keys), pa.int64())]
    return WriteRecord(collection_id, 1, Batch.of(pa.record_batch(columns, schema=SCHEMA)))


def append(log, *keys, timestamp=None):
    """One frame of one-row records."""
    return log.append([(write(key).encode(), timestamp or key) for key in keys])


def keys_of(log, start=Position(0, 0)):
    return [
        key
        for _, record in log.read(start)
        if isinstance(record, RawRecord)
        for key in record.decode(SCHEMA).rows.arrow(100).to_pylist()
    ]


@pytest.fixture
def disk(tmp_path):
    return FaultyDisk(LocalDisk(tmp_path / "db"))


@pytest.fixture
def log(disk):
    made = FileLog.open(disk)
    yield made
    made.close()


def reopen(log, disk, **options):
    log.close()
    return FileLog.open(disk, **options)


def test_what_was_appended_is_read_in_order(log, disk):
    append(log, 1, 2, 3)
    append(log, 4)
    assert keys_of(log) == [1, 2, 3, 4]
    again = reopen(log, disk)
    append(again, 5)
    assert keys_of(again) == [1, 2, 3, 4, 5]


def test_positions_rise_and_reading_starts_at_one(log):
    positions = [*append(log, 1, 2, 3), *append(log, 4)]
    assert positions == sorted(positions)
    assert all(position < log.end for position in positions)
    assert [position for position, record in log.read() if isinstance(record, RawRecord)] == positions
    assert keys_of(log, positions[2]) == [3, 4]
    assert keys_of(log, log.end) == []


def test_every_opening_has_a_higher_epoch_and_begins_with_a_fence(log, disk):
    assert log.epoch == 1
    append(log, 1)
    again = reopen(log, disk)
    third = reopen(again, disk)
    assert third.epoch == 3
    fences = [record.epoch for _, record in third.read() if isinstance(record, FenceRecord)]
    assert fences == [1, 2, 3]
    third.rotate()
    third.drop_before(third.end.sequence)
    assert list(third.read()) == []
    assert reopen(third, disk).epoch == 4


def test_a_carry_is_read_as_what_it_carries(log):
    raw = write(1).encode().raw(5)
    log.append([(CarryRecord({1: [raw]}).encode(), 9)])
    *_, (_, record) = log.read()
    assert isinstance(record, CarryRecord)
    assert record.timestamp == 9
    assert record.sections[1][0].decode(SCHEMA).rows.arrow(100).to_pylist() == [1]


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_full_file_is_followed_by_the_next(disk):
    log = FileLog.open(disk, file_bytes=4096)
    for key in range(1, 101):
        append(log, key)
    assert log.end.sequence > 3
    assert keys_of(log) == list(range(1, 101))
    assert all(disk.size(f"log/{name}") <= FIRST_STEP_BYTES for name in disk.names("log"))
    again = reopen(log, disk, file_bytes=4096)
    assert keys_of(again) == list(range(1, 101))


def test_a_frame_larger_than_a_file_is_written_whole(disk):
    log = FileLog.open(disk, file_bytes=4096)
    append(log, 1)
    log.append([(write(*range(10_000)).encode(), 2)])
    append(log, 10_000)
    assert keys_of(log) == [1, *range(10_001)]
    assert log.end.sequence == 3


def test_dropped_files_are_gone_and_the_rest_is_read(log, disk):
    append(log, 1)
    second = log.rotate()
    append(log, 2)
    third = log.rotate()
    append(log, 3)
    assert log.oldest == Position(1, 0)
    size = log.byte_size
    log.drop_before(second)
    assert (log.oldest, keys_of(log)) == (Position(second, 0), [2, 3])
    assert log.byte_size < size
    log.drop_before(third + 100)
    assert (log.oldest, keys_of(log)) == (Position(third, 0), [3])
    again = reopen(log, disk)
    assert keys_of(again) == [3]
    assert again.end.sequence == third


def test_rotating_an_empty_file_makes_no_other(log):
    append(log, 1)
    assert log.rotate() == 2
    assert log.rotate() == 2


def test_the_log_knows_its_length_and_the_age_of_its_oldest_record(log, disk):
    assert log.oldest_ms is None
    append(log, 1, timestamp=compose(5000))
    log.rotate()
    append(log, 2, timestamp=compose(7000, 3))
    assert log.oldest_ms == 5000
    size = log.byte_size
    again = reopen(log, disk)
    assert again.oldest_ms == 5000
    assert size < again.byte_size < 2000
    again.drop_before(2)
    assert again.oldest_ms == 7000
    assert reopen(again, disk).oldest_ms == 7000


def test_dropping_may_fail_and_be_tried_again(log, disk):
    for key in (1, 2, 3):
        append(log, key)
        log.rotate()
    disk.fail("sync_folder", "log", errno.EMFILE, times=1)
    with pytest.raises(StoreError, match="EMFILE"):
        log.drop_before(3)
    log.drop_before(3)
    assert keys_of(log) == [3]
    assert keys_of(reopen(log, disk)) == [3]


def test_a_closed_log_says_so(log):
    log.close()
    with pytest.raises(Closed):
        append(log, 1)


# --- what an error leaves behind --------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [0, 8, 64, 100, 500])
def test_a_full_disk_fails_the_append_and_nothing_else(log, disk, written):
    append(log, 1)
    disk.fail("write", "log/*", errno.ENOSPC, written=written, times=1)
    end = log.end
    with pytest.raises(StoreError, match=r"append to log/0+1\.log: No space left .*free space") as caught:
        append(log, 2, 3)
    assert not isinstance(caught.value, WriterStopped)
    assert log.end == end
    append(log, 4)
    assert keys_of(log) == [1, 4]
    assert keys_of(reopen(log, disk)) == [1, 4]


def test_a_full_disk_is_filled_to_its_last_bytes(log, disk):
    append(log, 1)
    disk.fail("preallocate", "log/*", errno.ENOSPC, times=1)
    log.append([(write(*range(200_000)).encode(), 2)])
    assert len(keys_of(log)) == 200_001
    disk.fail("preallocate", "log/*", errno.ENOSPC)
    with pytest.raises(StoreError, match="ENOSPC"):
        log.append([(write(*range(200_000)).encode(), 3)])
    disk.heal()
    append(log, 4)
    assert keys_of(log)[-2:] == [199_999, 4]


def test_a_failed_write_that_cannot_be_cut_back_stops_the_log(log, disk):
    append(log, 1)
    disk.fail("write", "log/*", errno.ENOSPC, written=70, times=1)
    disk.fail("truncate", "log/*", errno.EIO)
    for _ in range(2):
        with pytest.raises(WriterStopped, match=r"could not be cut back after a failed write .*ENOSPC"):
            append(log, 2)
    disk.heal()
    with pytest.raises(WriterStopped):
        append(log, 2)
    assert keys_of(reopen(log, disk)) == [1]


def test_a_failed_sync_stops_the_log_for_ever(log, disk):
    append(log, 1)
    log.rotate()
    disk.fail("sync", "log/*", errno.EIO, times=1)
    for _ in range(2):
        with pytest.raises(WriterStopped, match=r"nothing more is acknowledged, because syncing log/0+2\.log failed"):
            append(log, 2)
    with pytest.raises(WriterStopped):
        log.rotate()
    with pytest.raises(WriterStopped):
        log.drop_before(9)
    assert keys_of(log) == [1], "what was acknowledged can still be read"


def test_opening_writes_again_what_a_failed_sync_may_have_left_in_memory(log, disk):
    append(log, 1)
    disk.fail("sync", "log/*", errno.EIO, times=1)
    with pytest.raises(WriterStopped):
        append(log, 2)
    log.close()
    written = disk.fail("write", "log/*", errno.EIO, skip=1)  # the header, then the last frame
    with pytest.raises(StoreError, match="open the log"):
        FileLog.open(disk)
    assert written.hits == 1
    disk.heal()
    assert keys_of(FileLog.open(disk)) == [1, 2]


@pytest.mark.parametrize("kind", ["create", "write", "sync_folder"])
def test_a_new_file_that_could_not_be_begun_is_taken_back(log, disk, kind):
    append(log, 1)
    number = errno.EMFILE if kind == "sync_folder" else errno.ENOSPC
    disk.fail(kind, "log" if kind == "sync_folder" else "log/*2.log", number, times=1)
    with pytest.raises(StoreError, match=r"ENOSPC|EMFILE") as caught:
        log.rotate()
    assert not isinstance(caught.value, WriterStopped)
    append(log, 2)
    assert log.rotate() == 2
    append(log, 3)
    assert keys_of(reopen(log, disk)) == [1, 2, 3]


def test_a_rotation_that_was_interrupted_stops_the_log(log, disk, monkeypatch):
    """The new file may be there, and then nothing more can be added to the one before it."""
    append(log, 1)
    monkeypatch.setattr(disk, "sync_folder", lambda name: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        log.rotate()
    monkeypatch.undo()
    with pytest.raises(WriterStopped, match="interrupted"):
        append(log, 2)
    again = reopen(log, disk)
    append(again, 3)
    assert keys_of(again) == [1, 3]


@pytest.mark.parametrize(("kind", "pattern"), [("sync", "log/*2.log"), ("sync_folder", "log")])
def test_a_new_file_that_could_not_be_synced_stops_the_log(log, disk, kind, pattern):
    append(log, 1)
    disk.fail(kind, pattern, times=1)
    for _ in range(2):
        with pytest.raises(WriterStopped, match="EIO"):
            log.rotate()
    assert keys_of(reopen(log, disk)) == [1]


def test_a_new_file_that_cannot_be_taken_back_stops_the_log(log, disk):
    append(log, 1)
    disk.fail("write", "log/*2.log", errno.ENOSPC, times=1)
    disk.fail("unlink", "log/*2.log", errno.EIO)
    with pytest.raises(WriterStopped, match="could not be taken back"):
        log.rotate()
    disk.heal()
    assert keys_of(reopen(log, disk)) == [1]


def test_an_open_log_appends_while_no_file_can_be_opened(log):
    with no_more_files():
        append(log, 1)
        with pytest.raises(StoreError, match="too many files open"):
            log.rotate()
        append(log, 2)
    assert keys_of(log) == [1, 2]


def test_reading_that_fails_is_told(log, disk):
    append(log, 1)
    disk.fail("read", "log/*")
    with pytest.raises(StoreError, match="cannot read log/"):
        list(log.read())


def test_readers_beside_a_writer_see_whole_records_only(disk):
    log = FileLog.open(disk, file_bytes=1 << 14)
    done = threading.Event()
    acknowledged, seen, wrong = [0], [], []

    def read():
        while not done.is_set():
            before = acknowledged[-1]
            keys = keys_of(log)
            seen.append(len(keys))
            if keys != list(range(1, len(keys) + 1)) or len(keys) < before:
                wrong.append((before, keys))

    reader = threading.Thread(target=read)
    reader.start()
    for key in range(1, 400):
        append(log, key)
        acknowledged.append(key)
    done.set()
    reader.join()
    assert wrong == []
    assert len(seen) > 10
