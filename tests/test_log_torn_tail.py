"""The torn-tail rule: a torn tail is cut, acknowledged records never are, and damage is told with its place."""

import random

import pyarrow as pa
import pytest

import elanus
from elanus.log.file import FileLog
from elanus.log.frame import FRAME_HEADER_BYTES, MAGIC
from elanus.log.record import RawRecord, WriteRecord
from elanus.log.tail import LogFileHeader, find_tail
from elanus.model.canonical import Batch
from elanus.model.errors import CorruptData, FormatTooNew
from elanus.store.disk import LocalDisk

SCHEMA = pa.schema([("100", pa.int64()), ("101", pa.large_binary()), ("2", pa.int64())])


def write(key, blob=b""):
    return WriteRecord(1, 1, Batch.of(pa.record_batch([[key], [blob], [1]], schema=SCHEMA)))


def append(log, *keys, blob=b""):
    return log.append([(write(key, blob).encode(), key) for key in keys])


def rows_of(log):
    return [
        (record.decode(SCHEMA).rows.arrow(100)[0].as_py(), record.decode(SCHEMA).rows.arrow(101)[0].as_py())
        for _, record in log.read()
        if isinstance(record, RawRecord)
    ]


def keys_of(log):
    return [key for key, _ in rows_of(log)]


@pytest.fixture
def disk(tmp_path):
    return LocalDisk(tmp_path / "db")


@pytest.fixture
def path(disk):
    return disk.path("log/" + "1".zfill(20) + ".log")


@pytest.fixture
def frames(disk):
    """A closed log of four frames of two records; where each begins, and the end."""
    log = FileLog.open(disk)
    starts = []
    for first in (1, 3, 5, 7):
        starts.append(log.end.offset)
        append(log, first, first + 1)
    starts.append(log.end.offset)
    log.close()
    return starts


def change(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def opened_keys(disk):
    log = FileLog.open(disk)
    try:
        return keys_of(log)
    finally:
        log.close()


def test_a_last_frame_cut_anywhere_is_a_torn_tail(disk, path, frames):
    whole = path.read_bytes()
    header = LogFileHeader.unpack(whole, 1, "f")
    for end in range(frames[3], frames[4]):
        assert find_tail(whole[:end], header, "f").end == frames[3], end
    assert find_tail(whole[: frames[4]], header, "f").end == frames[4]
    for end in range(frames[3], frames[4], 100):
        path.write_bytes(whole[:end])
        assert opened_keys(disk) == [1, 2, 3, 4, 5, 6], end
    path.write_bytes(whole[: frames[4]])
    assert opened_keys(disk) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_last_frame_with_any_byte_changed_is_a_torn_tail(disk, path, frames):
    whole = path.read_bytes()[: frames[4]]
    header = LogFileHeader.unpack(whole, 1, "f")
    for at in range(frames[3], frames[4]):
        changed = bytearray(whole)
        changed[at] ^= 0x41
        tail = find_tail(bytes(changed), header, "f")
        assert tail.end == frames[3], at
        assert tail.cut is not None


def test_a_torn_tail_is_told_and_gone_and_appending_goes_on(disk, path, frames):
    change(path, frames[3] + 80, b"garbage")
    log = FileLog.open(disk)
    name, cut = log.cut
    assert name.endswith("1.log")
    assert cut.offset == frames[3]
    assert 0 <= frames[4] - frames[3] - cut.byte_count < 8, "but for the padding at its end"
    assert "does not hold" in cut.reason
    append(log, 9)
    log.close()
    log = FileLog.open(disk)
    assert log.cut is None
    assert keys_of(log) == [1, 2, 3, 4, 5, 6, 9]


def test_preallocated_zeros_are_no_torn_tail(disk, frames):
    log = FileLog.open(disk)
    assert log.cut is None
    assert keys_of(log) == list(range(1, 9))


def test_a_torn_tail_longer_than_all_before_it_is_cut(disk, path):
    log = FileLog.open(disk)
    append(log, 1)
    end = log.end.offset
    append(log, 2, blob=random.Random(1).randbytes(3 << 20))
    log.close()
    change(path, end + (2 << 20), b"torn")
    log = FileLog.open(disk)
    assert keys_of(log) == [1]
    assert log.cut[1].byte_count > 3 << 20


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_a_damaged_frame_with_another_after_it_stops_opening(disk, path, frames, frame):
    whole = path.read_bytes()
    rng = random.Random(frame)
    lost = f"Lost is what lay in the {frames[frame + 1] - frames[frame]} bytes between, acknowledged writes"
    for _ in range(60):
        at = rng.randrange(frames[frame], frames[frame + 1])
        path.write_bytes(whole)
        change(path, at, bytes([whole[at] ^ 1 << rng.randrange(8)]))
        damaged = path.read_bytes()
        with pytest.raises(CorruptData) as caught:
            FileLog.open(disk)
        message = str(caught.value)
        assert f"00001.log: damaged at offset {frames[frame]}" in message
        assert lost in message
        assert f"before timestamp {2 * frame + 3}" in message
        assert frame == 0 or f"after timestamp {2 * frame}" in message
        assert f"(whole ones from there: {3 - frame}, with {6 - 2 * frame} records)" in message
        assert path.read_bytes() == damaged, "a log that cannot be opened is left as it is"


def test_a_damaged_frame_before_a_torn_one_stops_opening_too(disk, path, frames):
    change(path, frames[2] + FRAME_HEADER_BYTES + 70, b"damaged")
    change(path, frames[3] + FRAME_HEADER_BYTES, b"torn")
    with pytest.raises(CorruptData, match=f"damaged at offset {frames[2]}"):
        FileLog.open(disk)


def test_zeros_where_a_frame_was_stop_opening(disk, path, frames):
    change(path, frames[1], bytes(frames[2] - frames[1]))
    with pytest.raises(CorruptData, match=f"damaged at offset {frames[1]}: no frame begins there"):
        FileLog.open(disk)


# --- user data is no frame --------------------------------------------------------------------------------------------


def torn_with(disk, path, blob):
    """A log of one whole record and, torn in its first bytes, a record that holds `blob` at each multiple of 8."""
    log = FileLog.open(disk)
    append(log, 1)
    end = log.end.offset
    append(log, 2, blob=blob)
    log.close()
    change(path, end + 64, b"torn")
    return end


def test_the_bytes_of_frames_that_a_user_stored_are_no_frames(disk, path, frames):
    own = path.read_bytes()[: frames[4]]
    for shift in range(8):
        path.unlink()
        torn_with(disk, path, b"\0" * shift + own * 3)
        assert opened_keys(disk) == [1]


def test_a_frame_of_another_log_at_its_very_place_is_no_frame(disk, path, tmp_path):
    """The other log has the same sequence and offsets: only the salt tells them apart."""
    other = LocalDisk(tmp_path / "other")
    log = FileLog.open(other)
    append(log, 1)
    start = log.end.offset
    append(log, 2, blob=b"x" * 4000)
    inner = log.end.offset
    append(log, 3)
    stop = log.end.offset
    log.close()
    foreign = other.path("log/" + "1".zfill(20) + ".log").read_bytes()

    log = FileLog.open(disk)
    append(log, 1)
    assert log.end.offset == start
    append(log, 2, blob=b"x" * 8000)
    log.close()
    change(path, start + 64, b"torn")
    change(path, inner, foreign[inner:stop])
    assert MAGIC in path.read_bytes()[inner:]
    assert opened_keys(disk) == [1]


def test_what_a_user_stored_comes_back_whatever_it_looks_like(disk, path, frames):
    own = path.read_bytes()[: frames[4]]
    log = FileLog.open(disk)
    append(log, 9, blob=own)
    log.close()
    log = FileLog.open(disk)
    assert rows_of(log)[-1] == (9, own)


# --- several files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def three_files(disk):
    log = FileLog.open(disk)
    for key in (1, 2, 3):
        append(log, key, key)
        if key < 3:
            log.rotate()
    log.close()
    return [disk.path("log/" + str(n).zfill(20) + ".log") for n in (1, 2, 3)]


def test_a_file_that_has_a_successor_has_no_torn_tail(disk, three_files):
    whole = three_files[1].read_bytes()
    for end in (64, 100, 300):
        three_files[1].write_bytes(whole[:end])
        log = FileLog.open(disk)
        with pytest.raises(CorruptData, match=r"2\.log: damaged at offset 64.*to the end of the file, acknowledged"):
            keys_of(log)
        log.close()


def test_a_missing_file_between_others_is_named(disk, three_files):
    three_files[1].unlink()
    with pytest.raises(CorruptData, match=r"log/0+2\.log is missing, though log/0+3\.log is there"):
        FileLog.open(disk)


def test_a_renamed_file_is_named(disk, three_files):
    three_files[2].rename(three_files[2].with_name("4".zfill(20) + ".log"))
    three_files[1].rename(three_files[2])
    three_files[0].rename(three_files[1])
    with pytest.raises(CorruptData, match="it says that it is log file"):
        FileLog.open(disk)


def test_a_file_that_goes_on_after_its_successor_began_is_told(disk, three_files, tmp_path):
    """As when files of an older and a newer copy of the log are mixed."""
    third = three_files[2].read_bytes()
    three_files[2].unlink()
    log = FileLog.open(disk)
    append(log, 30)
    log.close()
    three_files[2].write_bytes(third)
    with pytest.raises(
        CorruptData, match=r"2\.log: a frame was begun at offset \d+, where log/0+3\.log says that it ends"
    ):
        FileLog.open(disk)


@pytest.mark.parametrize("left", [b"", b"ELANUS", bytes(64), bytes(1 << 20)])
def test_a_file_that_was_being_made_when_the_power_failed_is_removed(disk, three_files, left):
    unborn = disk.path("log/" + "4".zfill(20) + ".log")
    unborn.write_bytes(left)
    log = FileLog.open(disk)
    assert keys_of(log) == [1, 1, 2, 2, 3, 3]
    assert log.end.sequence == 3
    assert log.rotate() == 4


def test_a_first_file_that_was_being_made_is_begun_again(disk):
    disk.make_folder("")
    disk.make_folder("log")
    disk.path("log/" + "1".zfill(20) + ".log").write_bytes(b"")
    log = FileLog.open(disk)
    append(log, 1)
    assert keys_of(log) == [1]


def test_a_damaged_file_header_stops_opening(disk, path, frames):
    change(path, 20, b"damage")
    with pytest.raises(CorruptData, match="checksum of its header"):
        FileLog.open(disk)


def test_a_zeroed_first_sector_stops_opening(disk, path, frames):
    change(path, 0, bytes(512))
    with pytest.raises(CorruptData, match="not how a file of Elanus begins"):
        FileLog.open(disk)


def test_a_log_of_a_newer_elanus_is_not_touched(disk, path, frames):
    import struct

    import xxhash

    header = bytearray(path.read_bytes()[:56])
    header[8:10] = struct.pack("<H", 2)
    change(path, 0, bytes(header) + struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(header))))
    before = path.read_bytes()
    with pytest.raises(FormatTooNew, match="format version 2"):
        FileLog.open(disk)
    assert path.read_bytes() == before


def test_opening_a_database_says_that_a_torn_tail_was_cut(tmp_path, caplog):
    with elanus.open(tmp_path) as db:
        db.create_collection("c", dimension=2).insert({"id": [1], "vector": [[1.0, 2.0]]})
        end = db._instance.engine._log_file.end.offset
    (file,) = (tmp_path / "log").iterdir()
    data = bytearray(file.read_bytes())
    file.write_bytes(data[:end] + b"torn" * 50 + data[end + 200 :])
    with elanus.open(tmp_path) as db:
        assert db.collection("c").count() == 1
    (said,) = [record.getMessage() for record in caplog.records if "torn tail" in record.getMessage()]
    assert file.name in said
    caplog.clear()
    elanus.open(tmp_path).close()
    assert "torn tail" not in caplog.text
