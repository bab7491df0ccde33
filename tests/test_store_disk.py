"""What durability rests on: the file operations of `LocalDisk`, and the disks that tests are made of."""

import errno
import os
import random

import pytest

from elanus.store import disk as disks
from elanus.store.disk import LocalDisk, make_durable_folder
from elanus.testing.crash import CrashFolder, Loss, crash_states
from elanus.testing.faulty import FaultyDisk
from elanus.testing.recording import RecordingDisk, Synced, SyncedFolder


@pytest.fixture
def disk(tmp_path):
    made = LocalDisk(tmp_path / "deep" / "root")
    made.make_folder("")
    return made


def test_a_write_of_more_pieces_than_one_call_takes_is_written_whole(disk):
    pieces = [bytes([n % 251]) * (n % 7) for n in range(5000)]
    file = disk.create("f")
    file.write(3, pieces)
    file.close()
    assert disk.read("f") == b"\0\0\0" + b"".join(pieces)


def test_short_writes_are_continued(disk, monkeypatch):
    real = os.pwritev
    calls = []

    def short(descriptor, pieces, offset):
        calls.append(offset)
        return real(descriptor, [memoryview(pieces[0])[:5]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    file = disk.create("f")
    file.write(0, [b"0123456789ab", b"", memoryview(b"cdef"), bytearray(b"g")])
    file.close()
    assert disk.read("f") == b"0123456789abcdefg"
    assert len(calls) == 5


def test_create_refuses_a_name_that_is_taken(disk):
    disk.create("f").close()
    with pytest.raises(FileExistsError):
        disk.create("f")


def test_link_refuses_a_name_that_is_taken(disk):
    disk.create("a").close()
    disk.create("b").close()
    with pytest.raises(FileExistsError):
        disk.link("a", "b")


def test_reads_are_of_a_part_or_of_what_is_there(disk):
    file = disk.create("f")
    file.write(0, [b"0123456789"])
    file.close()
    assert disk.read("f", 4) == b"456789"
    assert disk.read("f", 4, 3) == b"456"
    assert disk.read("f", 8, 100) == b"89"
    assert disk.read("f", 20, 5) == b""
    assert disk.size("f") == 10


def test_preallocating_lengthens_with_zeros_and_never_shortens(disk):
    file = disk.create("f")
    file.write(0, [b"x" * 5000])
    file.preallocate(100)
    assert disk.size("f") == 5000
    file.preallocate(8192)
    file.truncate(10)
    file.close()
    assert disk.read("f") == b"x" * 10


def test_a_file_system_that_cannot_preallocate_is_left_alone(disk, monkeypatch):
    def refuse(descriptor, offset, length):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    file = disk.create("f")
    file.preallocate(4096)
    file.close()
    assert disk.size("f") == 0


def test_listing_tells_files_from_folders(disk):
    disk.make_folder("b")
    disk.make_folder("a")
    disk.make_folder("a")
    disk.create("z").close()
    disk.create("a/f").close()
    assert disk.folders("") == ["a", "b"]
    assert disk.names("") == ["z"]
    assert disk.names("a") == ["f"]
    assert disk.names("nowhere") == []


def test_names_outside_the_root_are_refused(disk):
    for name in ("/etc/passwd", "../x", "a/../../x"):
        with pytest.raises(ValueError, match="below the root"):
            disk.path(name)


def test_the_descriptor_of_a_file_is_closed_once(disk):
    file = disk.create("f")
    file.close()
    file.close()


def test_a_found_folder_is_synced_as_a_new_one_is(disk):
    disk.make_folder("a")
    recording = RecordingDisk(disk)
    make_durable_folder(recording, "a/b")
    synced = [op.name for op in recording.recording.operations if isinstance(op, SyncedFolder)]
    assert synced == ["", "a"]


def test_a_root_that_is_made_is_synced_into_the_folders_above(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(disks, "_sync_path", synced.append)
    LocalDisk(tmp_path / "x" / "y").make_folder("")
    assert synced == [tmp_path / "x", tmp_path]


# --- the disks for tests ----------------------------------------------------------------------------------------------


def test_a_faulty_disk_fails_what_it_was_told_to_and_heals(disk):
    faulty = FaultyDisk(disk)
    full = faulty.fail("write", "log/*", errno.ENOSPC, written=3)
    third = faulty.fail("sync", skip=2, times=1)
    disk.make_folder("log")
    file = faulty.create("log/f")
    with pytest.raises(OSError, match="No space") as caught:
        file.write(0, [b"ab", b"cdef"])
    assert caught.value.errno == errno.ENOSPC
    assert disk.read("log/f") == b"abc"
    full.heal()
    file.write(0, [b"abcdef"])
    file.sync()
    faulty.sync_file("log/f")
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.sync()
    assert (full.hits, third.hits) == (1, 1)


def test_a_recording_knows_every_operation_and_its_bytes(disk):
    recording = RecordingDisk(disk)
    file = recording.create("f")
    file.write(0, [b"ab", b"c"])
    file.sync()
    recording.recording.mark("synced")
    recording.link("f", "g")
    recording.sync_folder("")
    recording.unlink("f")
    file.close()
    kinds = [type(op).__name__ for op in recording.recording.operations]
    assert kinds == ["Named", "Wrote", "Synced", "Named", "SyncedFolder", "Unnamed"]
    assert recording.recording.marks == [(3, "synced")]


def test_a_failed_write_is_recorded_as_far_as_it_came(disk):
    faulty = FaultyDisk(disk)
    recording = RecordingDisk(faulty)
    file = recording.create("f")
    faulty.fail("write", errno=errno.ENOSPC, written=2)
    with pytest.raises(OSError, match="No space"):
        file.write(0, [b"abcdef"])
    assert recording.recording.operations[-1].data == b"ab"


def _every_outcome(recording, operations, losses=tuple(Loss), repeat=300):
    states = crash_states(recording, random.Random(1), losses, repeat=repeat)
    return [
        {name: content.data.ljust(content.size, b"\0") for name, content in state.files.items()}
        for state in states
        if state.operations == operations
    ]


def test_an_unsynced_file_may_be_lost_whole_torn_or_zero_and_a_synced_one_may_not(disk):
    recording = RecordingDisk(disk)
    file = recording.create("f")
    recording.sync_folder("")
    file.write(0, [b"x" * 1536])
    unsynced = len(recording.recording.operations)
    file.sync()
    synced = len(recording.recording.operations)
    found = {outcome["f"] for outcome in _every_outcome(recording.recording, unsynced)}
    x, zero = b"x" * 512, bytes(512)
    assert {b"", bytes(1536), x, x + x, x * 3, zero + x, x + zero + x, zero + zero + x} <= found
    assert {outcome["f"] for outcome in _every_outcome(recording.recording, synced)} == {x * 3}


def test_an_overwritten_sector_is_the_old_or_the_new_one(disk):
    recording = RecordingDisk(disk)
    file = recording.create("f")
    file.write(0, [b"a" * 1024])
    file.sync()
    recording.sync_folder("")
    file.write(0, [b"b" * 1024])
    found = {outcome["f"] for outcome in _every_outcome(recording.recording, len(recording.recording.operations))}
    a, b = b"a" * 512, b"b" * 512
    assert found == {a + a, a + b, b + a, b + b}


def test_what_a_failed_sync_left_out_is_made_durable_only_by_writing_it_again(disk):
    faulty = FaultyDisk(disk)
    recording = RecordingDisk(faulty)
    file = recording.create("f")
    recording.sync_folder("")
    file.write(0, [b"a" * 10])
    faulty.fail("sync", times=1)
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.sync()
    assert recording.read("f") == b"a" * 10
    assert _every_outcome(recording.recording, len(recording.recording.operations)) == [{"f": b""}]
    file.write(0, [b"a" * 10])
    file.sync()
    assert _every_outcome(recording.recording, len(recording.recording.operations)) == [{"f": b"a" * 10}]


def test_names_are_lost_each_on_its_own_until_their_folder_is_synced(disk):
    recording = RecordingDisk(disk)
    for name in ("f", "g"):
        file = recording.create(name)
        file.write(0, [b"x"])
        file.sync()
    unsynced = len(recording.recording.operations)
    recording.sync_folder("")
    recording.unlink("f")
    found = {frozenset(outcome) for outcome in _every_outcome(recording.recording, unsynced)}
    assert found == {frozenset(), frozenset("f"), frozenset("g"), frozenset("fg")}
    found = {frozenset(outcome) for outcome in _every_outcome(recording.recording, unsynced + 1)}
    assert found == {frozenset("fg")}
    found = {frozenset(outcome) for outcome in _every_outcome(recording.recording, unsynced + 2)}
    assert found == {frozenset("g"), frozenset("fg")}


def test_what_lies_in_a_folder_whose_name_is_lost_is_lost(disk):
    recording = RecordingDisk(disk)
    recording.make_folder("a")
    file = recording.create("a/f")
    file.write(0, [b"x"])
    file.sync()
    recording.sync_folder("a")
    outcomes = _every_outcome(recording.recording, len(recording.recording.operations))
    assert {} in outcomes
    assert {"a/f": b"x"} in outcomes


def test_a_file_of_another_library_is_there_once_it_was_synced_by_name(disk):
    recording = RecordingDisk(disk)
    recording.path("f").write_bytes(b"built")
    recording.sync_file("f")
    recording.sync_folder("")
    assert any(isinstance(op, Synced) for op in recording.recording.operations)
    assert _every_outcome(recording.recording, len(recording.recording.operations)) == [{"f": b"built"}]


def test_a_recording_begins_with_what_is_there(disk, tmp_path):
    disk.make_folder("a")
    file = disk.create("a/f")
    file.write(0, [b"old"])
    file.close()
    recording = RecordingDisk(disk)
    state = next(crash_states(recording.recording, random.Random(1)))
    path = CrashFolder(tmp_path / "states").place(state)
    assert (path / "a/f").read_bytes() == b"old"


def test_a_placed_state_is_what_the_state_says_and_the_next_replaces_it(disk, tmp_path):
    recording = RecordingDisk(disk)
    file = recording.create("f")
    file.write(0, [b"abc"])
    file.preallocate(1 << 16)
    file.sync()
    recording.sync_folder("")
    recording.make_folder("objects")
    recording.link("f", "objects/g")
    recording.recording.mark("done")
    folder = CrashFolder(tmp_path / "states")
    states = list(crash_states(recording.recording, random.Random(1)))
    kept = next(s for s in reversed(states) if s.loss is Loss.NOTHING)
    path = folder.place(kept)
    assert (path / "objects/g").read_bytes() == b"abc".ljust(1 << 16, b"\0")
    assert kept.marks == ["done"]
    path = folder.place(states[0])
    assert os.listdir(path) == []
    assert states[0].marks == []
