"""Power may fail after every single operation: what was acknowledged is there, and what is there is a whole prefix.

The Log, the Store and `VersionedState` run over a recording disk; then every prefix of what they did is turned into
disks with un-synced parts kept, lost, zeroed and torn, and opened.
"""

import errno
import random
import shutil
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pytest

from elanus.log.carry import CarryRecord
from elanus.log.commit import GroupCommit
from elanus.log.file import FileLog
from elanus.log.record import RawRecord, WriteRecord
from elanus.model.canonical import Batch
from elanus.model.errors import StoreError
from elanus.model.timestamps import FakeClock, TimestampOracle
from elanus.store.disk import LocalDisk
from elanus.store.header import FileKind
from elanus.store.local import LocalStore
from elanus.store.versioned import VersionedState
from elanus.testing.crash import CrashFolder, crash_states
from elanus.testing.faulty import FaultyDisk
from elanus.testing.recording import RecordingDisk

pytestmark = pytest.mark.crash

SCHEMA = pa.schema([("100", pa.int64()), ("101", pa.large_binary()), ("2", pa.int64())])


def write(key, blob=b""):
    return WriteRecord(1, 1, Batch.of(pa.record_batch([[key], [blob], [1]], schema=SCHEMA)))


@pytest.fixture
def base():
    """A folder in memory where there is one: a state is placed thousands of times."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="elanus-crash-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def keys_of(log):
    """The keys in the log, in order; a carry record replaces what is before it."""
    keys = []
    for _, record in log.read():
        if isinstance(record, RawRecord):
            keys.append(record.decode(SCHEMA).rows.arrow(100)[0].as_py())
        elif isinstance(record, CarryRecord):
            keys = [raw.decode(SCHEMA).rows.arrow(100)[0].as_py() for raw in record.sections[1]]
    return keys


def check_log(path, state):
    """Open the log twice and append to it; return its keys."""
    disk = LocalDisk(path)
    log = FileLog.open(disk, file_bytes=1 << 14)
    keys = keys_of(log)
    log.append([(write(-1).encode(), 1)])
    epoch = log.epoch
    log.close()
    log = FileLog.open(disk, file_bytes=1 << 14)
    assert log.cut is None, "what opening left is whole"
    assert log.epoch > epoch
    assert keys_of(log) == [*keys, -1]
    log.close()
    opened = [what for kind, what in state.marks if kind == "epoch"]
    assert epoch > max(opened, default=0)
    return keys


def log_session(disk, mark, first, count, rng, faulty=None):
    """Open the log, append, rotate, carry and drop, and mark what was acknowledged."""
    log = FileLog.open(disk, file_bytes=1 << 14)
    mark(("epoch", log.epoch))
    commit = GroupCommit(log, TimestampOracle(FakeClock()), lambda group: None, group_bytes=1 << 13)
    key = first
    while key < first + count:
        group = range(key, key + rng.randrange(1, 4))
        key = group.stop
        fault = None
        if faulty is not None and rng.random() < 0.2:
            kind = rng.choice(["write", "preallocate", "create"])
            fault = faulty.fail(kind, "log/*", errno.ENOSPC, times=1, written=rng.randrange(3000))
        for key_, ticket in [(k, commit.enqueue(write(k, rng.randbytes(rng.randrange(1500))))) for k in group]:
            try:
                ticket.wait()
                mark(("acknowledged", key_))
            except StoreError:
                mark(("refused", key_))
        if fault is not None:
            fault.heal()
        if rng.random() < 0.1:
            log.rotate()
    commit.close()
    log.close()


def test_no_moment_of_a_power_failure_loses_an_acknowledged_record(base, effort, seed):
    rng = random.Random(seed)
    faulty = FaultyDisk(LocalDisk(base / "recorded"))
    disk = RecordingDisk(faulty)
    mark = disk.recording.mark
    log_session(disk, mark, 0, 25, rng)
    log_session(disk, mark, 100, 25, rng, faulty)
    folder = CrashFolder(base / "states")
    tried = 0
    repeat = max(1, effort.crash_states // 4000)
    for state in crash_states(disk.recording, rng, repeat=repeat):
        keys = check_log(folder.place(state), state)
        acknowledged = [what for kind, what in state.marks if kind == "acknowledged"]
        refused = {what for kind, what in state.marks if kind == "refused"}
        assert [key for key in keys if key in acknowledged] == acknowledged, state.loss
        assert keys == sorted(keys), "in order, none twice"
        assert not refused & set(keys), "what was refused is not there"
        tried += 1
    assert tried > 200


def test_no_moment_of_recovery_itself_loses_an_acknowledged_record(base, effort, seed):
    """Power fails, and fails again while the log is being recovered."""
    rng = random.Random(seed)
    first = RecordingDisk(LocalDisk(base / "recorded"))
    log_session(first, first.recording.mark, 0, 12, rng)
    folder, second_folder = CrashFolder(base / "states"), CrashFolder(base / "second")
    states = list(crash_states(first.recording, rng))
    for state in rng.sample(states, min(len(states), max(12, effort.crash_states // 150))):
        again = RecordingDisk(LocalDisk(folder.place(state)))
        before = [what for kind, what in state.marks if kind == "acknowledged"]
        log_session(again, again.recording.mark, 100, 2, rng)
        for second in crash_states(again.recording, rng):
            keys = check_log(second_folder.place(second), second)
            acknowledged = before + [what for kind, what in second.marks if kind == "acknowledged"]
            assert [key for key in keys if key in acknowledged] == acknowledged
            assert keys == sorted(keys)


def test_killed_processes_and_then_power_lose_no_acknowledged_record(base, effort, seed):
    """Processes end at any operation, and what they had not synced is found, read and built on by the next one."""
    rng = random.Random(seed)
    folder = CrashFolder(base / "states")
    for turn in range(max(1, effort.crash_states // 2000)):
        disk = killed_sessions(FaultyDisk(LocalDisk(base / f"recorded-{turn}")), rng)
        for state in crash_states(disk.recording, rng):
            keys = check_log(folder.place(state), state)
            acknowledged = [what for _, what in state.marks]
            assert [key for key in keys if key in acknowledged] == acknowledged, state.loss
            assert keys == sorted(keys)


def killed_sessions(faulty, rng):
    """Write to a log in a dozen sessions, each ended by an operation that fails and all that follow it."""
    disk = RecordingDisk(faulty)
    key = 0
    for _ in range(12):
        kind = rng.choice(["sync", "sync", "sync_folder", "write", "unlink", "truncate", "create"])
        faulty.fail(kind, "log*", skip=rng.randrange(6), written=rng.randrange(400))
        try:
            log = FileLog.open(disk, file_bytes=2048)
            for _ in range(3):
                key += 1
                log.append([(write(key, rng.randbytes(rng.randrange(700))).encode(), key)])
                disk.recording.mark(("acknowledged", key))
        except StoreError:
            pass  # the process is gone; `log` is not closed
        faulty.heal()
    return disk


@pytest.mark.parametrize("written", [0, 100, 10_000], ids=["none", "some", "all"])
@pytest.mark.parametrize("rotates", [False, True], ids=["goes-on", "rotates"])
def test_a_refused_record_is_gone_for_good_however_much_of_it_was_written(base, seed, written, rotates):
    rng = random.Random(seed)
    faulty = FaultyDisk(LocalDisk(base / "recorded"))
    disk = RecordingDisk(faulty)
    log = FileLog.open(disk)
    log.append([(write(1).encode(), 1)])
    disk.recording.mark(("acknowledged", 1))
    faulty.fail("write", "log/*", errno.ENOSPC, times=1, written=written)
    with pytest.raises(StoreError, match="ENOSPC"):
        log.append([(write(2).encode(), 2)])
    disk.recording.mark(("refused", 2))
    if rotates:
        log.rotate()
    log.append([(write(3).encode(), 3)])
    disk.recording.mark(("acknowledged", 3))
    log.close()
    folder = CrashFolder(base / "states")
    for state in crash_states(disk.recording, rng, repeat=20):
        keys = check_log(folder.place(state), state)
        acknowledged = [what for kind, what in state.marks if kind == "acknowledged"]
        assert [key for key in keys if key in acknowledged] == acknowledged, state.loss
        assert 2 not in keys or ("refused", 2) not in state.marks, state.loss


def test_a_log_file_taken_back_stays_so_when_power_fails(base, seed):
    """Were it there again, it would hide what was written to the file before it meanwhile."""
    rng = random.Random(seed)
    faulty = FaultyDisk(LocalDisk(base / "recorded"))
    disk = RecordingDisk(faulty)
    log = FileLog.open(disk)
    for key in range(1, 5):
        faulty.fail("write", "log/*", errno.ENOSPC, times=1, written=64)
        with pytest.raises(StoreError, match="ENOSPC"):
            log.rotate()
        log.append([(write(key).encode(), key)])
        disk.recording.mark(("acknowledged", key))
    log.close()
    folder = CrashFolder(base / "states")
    for state in crash_states(disk.recording, rng, repeat=5):
        assert check_log(folder.place(state), state)[: len(state.marks)] == [what for _, what in state.marks]


def test_carrying_and_dropping_lose_nothing_whenever_power_fails(base, seed):
    rng = random.Random(seed)
    disk = RecordingDisk(LocalDisk(base / "recorded"))
    log = FileLog.open(disk)
    for turn in range(4):
        for key in range(turn * 10, turn * 10 + 3):
            log.append([(write(key).encode(), key + 1)])
            disk.recording.mark(("acknowledged", key))
            log.rotate()
        records = {}
        for _, record in log.read():
            if isinstance(record, RawRecord):
                records[record.timestamp] = record
            elif isinstance(record, CarryRecord):
                records = {raw.timestamp: raw for raw in record.sections[1]}
        sequence = log.rotate()
        log.append([(CarryRecord({1: list(records.values())}).encode(), turn * 10 + 9)])
        log.drop_before(sequence)
    log.close()
    folder = CrashFolder(base / "states")
    for state in crash_states(disk.recording, rng, repeat=3):
        keys = check_log(folder.place(state), state)
        acknowledged = [what for _, what in state.marks]
        assert keys[: len(acknowledged)] == acknowledged
        assert keys == sorted(keys)


class CounterRules:
    """A list of numbers, each committed once."""

    def initial(self):
        return ()

    def apply(self, state, edit):
        return (*state, edit)

    def rebase(self, edit, state):
        return None if edit in state else edit

    def dump_state(self, state):
        return {"numbers": list(state)}

    def load_state(self, data):
        return tuple(data["numbers"])

    def dump_edit(self, edit):
        return {"number": edit}

    def load_edit(self, data):
        return data["number"]


def numbers_in(disk):
    return VersionedState(LocalStore(disk), "c/1", CounterRules(), FileKind.MANIFEST).load()


def test_a_committed_version_is_there_whenever_power_fails(base, effort, seed):
    rng = random.Random(seed)
    disk = RecordingDisk(LocalDisk(base / "recorded"))
    store = LocalStore(disk)
    value = VersionedState(store, "c/1", CounterRules(), FileKind.MANIFEST)
    value.load()
    for number in range(75):
        value.commit([number])
        disk.recording.mark(number)
        if number % 15 == 14:
            value.forget(value.version - 5)
    folder = CrashFolder(base / "states")
    tried = 0
    for state in crash_states(disk.recording, rng, repeat=max(1, effort.crash_states // 10_000)):
        numbers = numbers_in(LocalDisk(folder.place(state)))
        assert numbers in (tuple(range(len(state.marks))), tuple(range(len(state.marks) + 1)))
        tried += 1
    assert tried > 300


def test_what_a_writer_found_at_opening_is_there_whenever_power_fails_after_that(base, seed):
    """The writer before it was killed between giving a version its name and syncing the folder."""
    disk = FaultyDisk(LocalDisk(base / "recorded"))
    recording = RecordingDisk(disk)
    killed = VersionedState(LocalStore(recording), "c/1", CounterRules(), FileKind.MANIFEST, epoch=1)
    disk.fail("sync_folder", "store/c/1", errno.EIO, times=1)
    with pytest.raises(StoreError, match="EIO"):
        killed.commit([7])
    assert VersionedState(LocalStore(recording), "c/1", CounterRules(), FileKind.MANIFEST, epoch=2).load() == (7,)
    since = len(recording.recording.operations)
    LocalStore(recording).put("unrelated", b"")
    states = CrashFolder(base / "states")
    for state in crash_states(recording.recording, random.Random(seed), first=since, repeat=20):
        assert numbers_in(LocalDisk(states.place(state))) == (7,)


def test_a_version_that_a_killed_writer_left_is_durable_once_the_next_has_read_it(base, seed):
    """Killed between the name of a version and its sync: the next writer must not build on what may go again."""
    faulty = FaultyDisk(LocalDisk(base / "recorded"))
    disk = RecordingDisk(faulty)
    first = VersionedState(LocalStore(disk), "c/1", CounterRules(), FileKind.MANIFEST, epoch=1)
    first.commit([1])
    faulty.fail("sync_folder", "store/c/1", times=1)
    with pytest.raises(StoreError):
        first.commit([2])
    second = VersionedState(LocalStore(disk), "c/1", CounterRules(), FileKind.MANIFEST, epoch=2)
    read = second.load()
    folder = CrashFolder(base / "states")
    now = len(disk.recording.operations)
    for state in crash_states(disk.recording, random.Random(seed), first=now, repeat=20):
        assert numbers_in(LocalDisk(folder.place(state))) == read


def test_a_published_file_is_there_whole_or_not_at_all(base, seed):
    rng = random.Random(seed)
    disk = RecordingDisk(LocalDisk(base / "recorded"))
    store = LocalStore(disk)
    contents = {}
    for turn in range(6):
        scratch = store.scratch()
        files = {}
        for name in ("column", "index"):
            contents[f"s/{turn}/{name}"] = data = rng.randbytes(rng.randrange(9000))
            (scratch / name).write_bytes(data)
            files[f"s/{turn}/{name}"] = scratch / name
        store.publish(files)
        disk.recording.mark(list(files))
    folder = CrashFolder(base / "states")
    for state in crash_states(disk.recording, rng, repeat=2):
        found = LocalStore(LocalDisk(folder.place(state)))
        assert {key for files in state.marks for key in files} <= set(found.keys(""))
        assert all(found.get(key) == contents[key] for key in found.keys(""))


def test_a_state_is_placed_within_three_milliseconds(base, seed):
    """Not a bound for users: a hundred thousand states have to fit in a night."""
    disk = RecordingDisk(LocalDisk(base / "recorded"))
    store = LocalStore(disk)
    log = FileLog.open(disk)
    for number in range(60):
        store.put(f"c/{number % 5}/{number}", bytes(2000))
        log.append([(write(number, bytes(1000)).encode(), number + 1)])
    log.close()
    states = list(crash_states(disk.recording, random.Random(seed)))
    folder = CrashFolder(base / "states")
    chosen = states[-200:]
    start = time.perf_counter()
    for state in chosen:
        folder.place(state)
    each_ms = (time.perf_counter() - start) / len(chosen) * 1000
    assert each_ms < 30, "three on a quiet machine"
