"""Group commit: acknowledged means durable and applied, in log order; nothing is acknowledged after a failed sync."""

import errno
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pytest

from elanus.log.commit import GroupCommit
from elanus.log.file import FileLog
from elanus.log.record import RawRecord, WriteRecord
from elanus.model.canonical import Batch
from elanus.model.errors import Closed, StoreError, WriterStopped
from elanus.model.timestamps import FakeClock, TimestampOracle
from elanus.store.disk import LocalDisk
from elanus.testing.faulty import FaultyDisk

SCHEMA = pa.schema([("100", pa.int64()), ("2", pa.int64())])


def write(*keys):
    return WriteRecord(1, 1, Batch({100: np.array(keys), 2: np.ones(len(keys), np.int64)}, len(keys)))


def key_of(record):
    return record.rows.arrow(100)[0].as_py()


class Writer:
    """A log with a group commit, and what it applied, group by group."""

    def __init__(self, folder, **bounds):
        self.disk = FaultyDisk(LocalDisk(folder))
        self.log = FileLog.open(self.disk)
        self.groups = []
        self.on_apply = lambda group: None
        self.commit = GroupCommit(self.log, TimestampOracle(FakeClock()), self.apply, **bounds)

    def apply(self, group):
        self.on_apply(group)
        self.groups.append(group)

    @property
    def applied(self):
        return [key_of(record) for group in self.groups for _, record in group]

    def logged(self):
        return [key_of(record.decode(SCHEMA)) for _, record in self.log.read() if isinstance(record, RawRecord)]


@pytest.fixture
def writer(bounded_writer):
    return bounded_writer()


@pytest.fixture
def bounded_writer(tmp_path):
    """Opens a writer with the given bounds, which is closed at the end."""
    with ExitStack() as opened:

        def opening(**bounds):
            made = Writer(tmp_path, **bounds)
            for close in (made.log.close, made.commit.close, made.disk.heal):
                opened.callback(close)
            return made

        yield opening


def run(*calls):
    """Run `calls` at once, each in a thread, and return what each returned or raised."""
    outcomes = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def one(number):
        start.wait()
        try:
            outcomes[number] = calls[number]()
        except StoreError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=one, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return outcomes


def test_what_append_returned_for_is_durable_and_applied(writer):
    position = writer.commit.append(write(1))
    assert writer.logged() == [1]
    assert writer.applied == [1]
    ((applied_at, record),) = writer.groups[0]
    assert applied_at == position
    assert record.timestamp > 0


def test_a_ticket_knows_its_timestamp_at_once_and_its_position_later(writer):
    one, two = writer.commit.enqueue(write(1)), writer.commit.enqueue(write(2))
    assert 0 < one.timestamp < two.timestamp
    assert writer.applied == []
    assert one.wait() < two.wait()
    assert one.wait() == one.wait()
    assert len(writer.groups) == 1, "what had arrived was written together"


def test_many_threads_append_in_one_order(writer):
    keys = iter(range(10**9))
    lock = threading.Lock()
    mine = [[] for _ in range(8)]

    def worker(number):
        def work():
            for _ in range(100):
                with lock:
                    key = next(keys)
                position = writer.commit.append(write(key))
                assert key in writer.applied[-200:] or key in writer.applied
                mine[number].append((position, key))

        return work

    run(*(worker(n) for n in range(8)))
    assert sorted(writer.applied) == list(range(800))
    assert writer.logged() == writer.applied, "applied in log order"
    flat = [(position, record.timestamp) for group in writer.groups for position, record in group]
    assert flat == sorted(flat), "timestamps rise as positions do"
    for ours in mine:
        assert ours == sorted(ours), "one after the other for each thread"
    at = {key_of(record): position for group in writer.groups for position, record in group}
    assert all(at[key] == position for ours in mine for position, key in ours)
    assert len(writer.groups) < 800


def test_one_group_is_applied_at_a_time(writer):
    inside = []

    def on_apply(group):
        inside.append(len(group))
        assert len(inside) == 1
        time.sleep(0.0005)
        inside.pop()

    writer.on_apply = on_apply
    run(*([lambda: [writer.commit.append(write(1)) for _ in range(20)]] * 6))
    assert len(writer.applied) == 120


def test_a_barrier_waits_for_all_before_it(writer):
    tickets = [writer.commit.enqueue(write(key)) for key in range(5)]
    end = writer.commit.barrier()
    assert writer.applied == list(range(5))
    assert end == writer.log.end
    assert end > tickets[-1].wait()
    assert writer.commit.barrier() == end


def test_who_does_not_wait_is_told_when_it_is_durable_and_applied(writer):
    told = []
    done = threading.Semaphore(0)

    def tell(key):
        def told_of(error):
            told.append((key, error, key in writer.applied, key in writer.logged()))
            done.release()

        return told_of

    for key in range(20):
        writer.commit.enqueue(write(key)).then(tell(key))
    for _ in range(20):
        assert done.acquire(timeout=20)
    assert told == [(key, None, True, True) for key in range(20)]
    late = writer.commit.enqueue(write(20))
    writer.commit.barrier()
    late.then(tell(20))
    assert told[-1] == (20, None, True, True)


def test_who_is_told_badly_keeps_nobody_from_being_told(writer):
    held, done = threading.Event(), threading.Event()
    writer.on_apply = lambda group: held.wait(20)
    tickets = [writer.commit.enqueue(write(key)) for key in range(3)]
    tickets[0].then(lambda error: 1 / 0)
    tickets[1].then(lambda error: 1 / 0)
    tickets[2].then(lambda error: done.set())
    held.set()
    assert done.wait(20)
    writer.commit.append(write(3))


def test_those_who_wait_and_those_who_are_told_are_all_served(writer):
    told = []
    lock = threading.Lock()

    def waiting():
        for _ in range(100):
            writer.commit.append(write(1))

    def telling():
        for _ in range(100):
            came = threading.Event()
            writer.commit.enqueue(write(2)).then(lambda error, came=came: came.set())
            assert came.wait(20)
            with lock:
                told.append(2)

    assert run(*([waiting] * 3 + [telling] * 3)) == [None] * 6
    assert len(told) == 300
    assert sorted(writer.applied) == [1] * 300 + [2] * 300


def test_groups_are_bounded_but_a_long_record_goes_alone(bounded_writer):
    size = write(1).encode().byte_size
    writer = bounded_writer(group_bytes=3 * size)
    tickets = [writer.commit.enqueue(write(key)) for key in range(7)]
    long = writer.commit.enqueue(write(*range(7, 1000)))
    long.wait()
    assert [len(group) for group in writer.groups] == [3, 3, 1, 1]
    assert [ticket.wait() for ticket in tickets] == sorted(ticket.wait() for ticket in tickets)


def test_a_full_queue_makes_enqueue_wait_and_never_for_ever(bounded_writer):
    size = write(1).encode().byte_size
    writer = bounded_writer(queue_bytes=4 * size)
    writer.on_apply = lambda group: None
    queued = []

    def enqueue_many():
        tickets = []
        for key in range(50):
            tickets.append(writer.commit.enqueue(write(key)))
            queued.append(writer.commit._queued_bytes)
        return [ticket.wait() for ticket in tickets]

    run(*[enqueue_many] * 4)
    assert max(queued) <= 4 * size
    assert len(writer.applied) == 200
    for key in range(50):  # and from the main thread, which never leads
        writer.commit.enqueue(write(key))
    writer.commit.barrier()
    assert len(writer.applied) == 250


def test_a_record_longer_than_the_queue_is_taken(bounded_writer):
    writer = bounded_writer(queue_bytes=100)
    writer.commit.append(write(*range(1000)))
    assert len(writer.applied) == 1


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_fails_those_in_the_group_and_no_others(writer):
    writer.commit.append(write(1))
    writer.disk.fail("write", "log/*", errno.ENOSPC, written=30, times=1)
    tickets = [writer.commit.enqueue(write(key)) for key in (2, 3)]
    for ticket in tickets:
        with pytest.raises(StoreError, match="free space") as caught:
            ticket.wait()
        assert not isinstance(caught.value, WriterStopped)
    writer.commit.append(write(4))
    assert writer.applied == [1, 4]
    assert writer.logged() == [1, 4]
    writer.disk.fail("write", "log/*", errno.ENOSPC, times=1)
    failed = writer.commit.enqueue(write(5))
    assert writer.commit.barrier() == writer.log.end
    with pytest.raises(StoreError):
        failed.wait()


def test_who_does_not_wait_is_told_of_what_failed(writer):
    told = []
    writer.disk.fail("write", "log/*", errno.ENOSPC, written=30, times=1)
    writer.commit.enqueue(write(1)).then(told.append)
    writer.commit.barrier()
    writer.commit.enqueue(write(2)).then(told.append)
    writer.commit.barrier()
    writer.disk.fail("sync", "log/*", times=1)
    writer.commit.enqueue(write(3)).then(told.append)
    with pytest.raises(WriterStopped):
        writer.commit.barrier()
    assert [type(error) for error in told] == [StoreError, type(None), WriterStopped]
    assert writer.applied == [2]


def test_after_a_failed_sync_nothing_is_acknowledged(writer):
    writer.commit.append(write(1))
    writer.disk.fail("sync", "log/*", times=1)
    outcomes = run(*([lambda: writer.commit.append(write(2))] * 6))
    assert all(isinstance(outcome, WriterStopped) for outcome in outcomes)
    assert all("syncing log/" in str(outcome) for outcome in outcomes)
    assert writer.applied == [1]
    for call in (
        lambda: writer.commit.append(write(3)),
        lambda: writer.commit.enqueue(write(3)),
        writer.commit.barrier,
    ):
        with pytest.raises(WriterStopped, match="EIO"):
            call()


def test_tickets_queued_behind_a_failure_fail_too(bounded_writer):
    writer = bounded_writer(group_bytes=1)
    writer.disk.fail("sync", "log/*", times=1)
    tickets = [writer.commit.enqueue(write(key)) for key in range(5)]
    for ticket in reversed(tickets):
        with pytest.raises(WriterStopped):
            ticket.wait()
    assert writer.applied == []
    writer.commit.close()


def test_an_apply_that_raises_stops_the_writer_and_reopening_has_the_record(writer):
    def on_apply(group):
        raise ZeroDivisionError("a bug")

    writer.on_apply = on_apply
    for _ in range(2):
        with pytest.raises(
            WriterStopped, match=r"applying a durable record failed: ZeroDivisionError: a bug\. Open"
        ) as caught:
            writer.commit.append(write(1))
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, ZeroDivisionError)
    assert writer.logged() == [1]


def test_an_apply_that_raises_a_store_error_stops_the_writer_as_well(writer):
    def on_apply(group):
        raise StoreError("a file could not be read")

    writer.on_apply = on_apply
    with pytest.raises(WriterStopped, match="a file could not be read"):
        writer.commit.append(write(1))


def test_closing_waits_for_what_is_queued_and_refuses_the_rest(writer):
    tickets = [writer.commit.enqueue(write(key)) for key in range(3)]
    writer.commit.close()
    assert writer.applied == [0, 1, 2]
    assert [ticket.wait() for ticket in tickets]
    for call in (
        lambda: writer.commit.enqueue(write(9)),
        lambda: writer.commit.append(write(9)),
        writer.commit.barrier,
    ):
        with pytest.raises(Closed):
            call()
    writer.commit.close()


def test_closing_while_others_append_loses_no_acknowledged_record(writer):
    acknowledged = []

    def appender(number):
        def work():
            for turn in range(1000):
                key = number * 1000 + turn
                writer.commit.append(write(key))
                acknowledged.append(key)

        return work

    def close():
        time.sleep(0.05)
        writer.commit.close()

    outcomes = run(*(appender(n) for n in range(4)), close)
    assert all(isinstance(outcome, Closed) for outcome in outcomes[:4])
    assert sorted(acknowledged) == sorted(writer.applied) == sorted(writer.logged())


def test_errors_and_threads_at_random_acknowledge_exactly_what_is_applied(bounded_writer, seed):
    rng = random.Random(seed)
    writer = bounded_writer(group_bytes=2000, queue_bytes=4000)
    acknowledged, refused = [], []

    def worker(number):
        def work():
            for turn in range(60):
                key = number * 1000 + turn
                try:
                    ticket = writer.commit.enqueue(write(key))
                    if turn % 7 == 3:
                        writer.commit.barrier()
                    ticket.wait()
                    acknowledged.append(key)
                except StoreError:
                    refused.append(key)

        return work

    def trouble():
        for _ in range(20):
            writer.disk.fail("write", "log/*", errno.ENOSPC, written=rng.randrange(200), times=1)
            time.sleep(0.001)

    run(*(worker(n) for n in range(6)), trouble)
    writer.disk.heal()
    assert refused
    assert len(acknowledged) + len(refused) == 360
    assert sorted(acknowledged) == sorted(writer.applied)
    assert writer.logged() == writer.applied


# --- interrupts -------------------------------------------------------------------------------------------------------


def test_an_interrupted_append_leaves_a_working_log(tmp_path):
    """Ctrl-C at any moment: log and memory stay one, and the next append works."""
    program = textwrap.dedent(
        """
        import os, signal, sys, threading, time
        sys.path.insert(0, sys.argv[2])
        from test_group_commit import Writer, write
        writer = Writer(sys.argv[1])
        writer.commit.append(write(-1))  # what pyarrow imports at its first use is not to be interrupted over and over
        stop = threading.Event()
        go = threading.Event()
        def interrupt():
            go.wait()
            while not stop.wait(0.003):
                os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        acknowledged, interrupts, key = [], 0, 0
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            try:
                go.set()
                key += 1
                writer.commit.append(write(key))
                acknowledged.append(key)
            except KeyboardInterrupt:
                interrupts += 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop.set()
        writer.commit.append(write(0))
        writer.commit.close()
        assert writer.applied == writer.logged()
        assert set(acknowledged) <= set(writer.applied)
        assert len(set(writer.applied)) == len(writer.applied)
        print(interrupts, len(acknowledged))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), __file__.rpartition("/")[0]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    interrupts, acknowledged = map(int, done.stdout.split())
    assert interrupts > 20
    assert acknowledged > 20


@pytest.mark.crash
def test_acknowledged_records_survive_kill(tmp_path, effort, seed):
    """A process with four appending threads is killed at a random moment; what it had printed is in the log."""
    program = textwrap.dedent(
        """
        import os, sys, threading
        sys.path.insert(0, sys.argv[2])
        from test_group_commit import Writer, write
        writer = Writer(sys.argv[1])
        first = int(sys.argv[3])
        def work(number):
            for turn in range(10**6):
                key = first + number * 10**6 + turn
                writer.commit.append(write(key))
                os.write(1, b"%d\\n" % key)
        for number in range(4):
            threading.Thread(target=work, args=(number,)).start()
        """
    )
    rng = random.Random(seed)
    acknowledged = set()
    for turn in range(max(3, effort.kills // 10)):
        arguments = [str(tmp_path), __file__.rpartition("/")[0], str(turn * 10**7)]
        child = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE)
        assert child.stdout is not None
        begun = child.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.1))
        child.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in (begun + child.stdout.read()).split()}
        child.stdout.close()
        child.wait()
        log = FileLog.open(LocalDisk(tmp_path))
        found = {key_of(record.decode(SCHEMA)) for _, record in log.read() if isinstance(record, RawRecord)}
        log.close()
        assert acknowledged <= found
