"""A value with a history: one winner per version, rebased losers, void epochs, checkpoints, and bad files named."""

import random
import threading
from dataclasses import dataclass, replace

import pytest

from elanus.model.errors import CorruptData, FormatTooNew, InvalidParameter, KeyExists, KeyNotFound, WriterStopped
from elanus.store.disk import LocalDisk
from elanus.store.header import FileKind, pack_small
from elanus.store.local import LocalStore
from elanus.store.memory import MemoryStore
from elanus.store.versioned import CHECKPOINT_EVERY, VersionedState


@dataclass(frozen=True)
class Account:
    """Names that were taken, and how much was added; a name can be taken once."""

    names: tuple[str, ...] = ()
    total: int = 0


class AccountRules:
    def initial(self):
        return Account()

    def apply(self, state, edit):
        kind, value = edit
        if kind == "add":
            return replace(state, total=state.total + value)
        if kind == "refuse":
            raise InvalidParameter("this cannot be")
        return replace(state, names=(*state.names, value))

    def rebase(self, edit, state):
        kind, value = edit
        return None if kind == "take" and value in state.names else edit

    def dump_state(self, state):
        return {"names": list(state.names), "total": state.total}

    def load_state(self, data):
        return Account(tuple(data["names"]), data["total"])

    def dump_edit(self, edit):
        return {"kind": edit[0], "value": edit[1]}

    def load_edit(self, data):
        return data["kind"], data["value"]


@pytest.fixture
def store(tmp_path):
    made = MemoryStore()
    yield made
    made.close()


def account(store, epoch=0):
    state = VersionedState(store, "c/7", AccountRules(), FileKind.MANIFEST, epoch)
    state.load()
    return state


def delta(version):
    return f"c/7/{version:020d}.delta"


def checkpoint(version):
    return f"c/7/{version:020d}.checkpoint"


def test_a_value_that_was_never_committed_is_the_initial_one(store):
    value = account(store)
    assert (value.version, value.state) == (0, Account())
    assert not value.exists()
    assert value.versions() == []


def test_a_commit_is_the_next_version_for_every_reader(store):
    value = account(store)
    assert value.commit([("add", 5), ("take", "a")]) == Account(("a",), 5)
    assert value.version == 1
    assert account(store).state == Account(("a",), 5)
    assert value.exists()


def test_a_reader_refreshes_to_what_others_committed(store):
    writer, reader = account(store), account(store)
    writer.commit([("add", 1)])
    writer.commit([("add", 1)])
    assert reader.state.total == 0
    assert reader.refresh().total == 2
    assert reader.version == 2


def test_a_reader_refreshes_past_versions_that_were_forgotten(store):
    writer, reader = account(store), account(store)
    for _ in range(CHECKPOINT_EVERY + 3):
        writer.commit([("add", 1)])
    writer.forget(writer.version)
    assert reader.refresh().total == CHECKPOINT_EVERY + 3


def test_a_created_value_begins_with_its_first_state(store):
    value = account(store)
    value.create(Account(("root",), 10))
    assert value.version == 1
    value.commit([("add", 1)])
    assert account(store).state == Account(("root",), 11)
    with pytest.raises(KeyExists, match="c/7 exists"):
        account(store).create(Account())


def test_an_edit_that_cannot_be_is_refused_and_nothing_written(store):
    value = account(store)
    with pytest.raises(InvalidParameter, match="cannot be"):
        value.commit([("add", 1), ("refuse", 0)])
    assert store.keys("") == []
    assert value.state == Account()


def test_a_loser_is_rebased_on_what_the_winner_did(store):
    one, two = account(store), account(store)
    one.commit([("take", "a")])
    assert two.commit([("take", "a"), ("add", 1)]) == Account(("a",), 1)
    assert two.version == 2


def test_edits_that_have_become_void_make_no_version(store):
    one, two = account(store), account(store)
    one.commit([("take", "a")])
    assert two.commit([("take", "a")]) == Account(("a",), 0)
    assert two.version == 1
    assert one.commit([("take", "a")]).names == ("a",), "also without a race for the number"
    assert one.version == 1


@pytest.mark.parametrize("local", [False, True])
def test_racing_committers_lose_nothing(store, tmp_path, local):
    if local:
        store = LocalStore(LocalDisk(tmp_path))
    shared = account(store)
    taken = []

    def commit(number):
        value = shared if number % 2 else account(store)
        for turn in range(40):
            name = f"n{turn}"
            before = value.version
            state = value.commit([("take", name), ("add", 1)])
            assert value.version > before
            assert name in state.names
            taken.append(state.total)

    threads = [threading.Thread(target=commit, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    final = account(store)
    assert final.version == 240
    assert final.state.total == 240
    assert sorted(final.state.names) == sorted(f"n{turn}" for turn in range(40)), "each name was taken once"
    assert sorted(taken) == list(range(1, 241)), "each commit saw a state of its own"
    assert final.versions() == list(range(1, 241))


def test_readers_beside_a_writer_that_forgets_see_whole_states(tmp_path):
    store = LocalStore(LocalDisk(tmp_path))
    writer = account(store)
    done = threading.Event()
    seen = []

    def read():
        reader = account(store)
        while not done.is_set():
            fresh = account(store)
            seen.append((fresh.version, fresh.state.total))
            seen.append((reader.refresh().total, reader.version))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(150):
        writer.commit([("add", 1)])
        if number % 10 == 0:
            writer.forget(writer.version)
    done.set()
    for thread in threads:
        thread.join()
    assert len(seen) > 10
    assert all(version == total for version, total in seen)


def test_a_delta_of_an_earlier_epoch_is_void(store):
    old = account(store, epoch=1)
    old.commit([("add", 1)])
    new = account(store, epoch=2)
    new.commit([("add", 10)])
    payload = b'{"version":3,"epoch":1,"edits":[{"kind":"add","value":100}]}'
    store.put(delta(3), pack_small(FileKind.MANIFEST, payload))
    assert account(store).state.total == 11
    assert account(store).version == 3
    assert new.commit([("add", 1000)]).total == 1011
    assert new.version == 4
    assert account(store).at(3).total == 11


def test_a_writer_of_an_earlier_epoch_is_told_that_it_was_replaced(store):
    old, new = account(store, epoch=1), account(store, epoch=2)
    new.commit([("add", 10)])
    for _ in range(2):
        with pytest.raises(WriterStopped, match="written by epoch 2 now, and this writer has epoch 1"):
            old.commit([("add", 1)])
    assert account(store).state.total == 10


def test_a_checkpoint_is_written_now_and_then_and_read_instead_of_deltas(store):
    value = account(store)
    for _ in range(2 * CHECKPOINT_EVERY + 5):
        value.commit([("add", 1)])
    assert [key for key in store.keys("") if key.endswith(".checkpoint")] == [
        checkpoint(CHECKPOINT_EVERY),
        checkpoint(2 * CHECKPOINT_EVERY),
    ]
    store.delete([delta(v) for v in range(1, 2 * CHECKPOINT_EVERY + 1)])
    assert account(store).state.total == 2 * CHECKPOINT_EVERY + 5


def test_every_version_can_be_read_until_it_is_forgotten(store):
    value = account(store)
    for _ in range(200):
        value.commit([("add", 1)])
    assert [value.at(v).total for v in value.versions()] == list(range(1, 201))
    value.forget(150)
    kept = value.versions()
    assert kept == list(range(128, 201))
    assert [value.at(v).total for v in kept] == kept
    with pytest.raises(KeyNotFound, match="version 127 of c/7 is not there"):
        value.at(127)
    with pytest.raises(KeyNotFound, match="version 201"):
        value.at(201)
    assert account(store).state.total == 200
    value.forget(150)
    assert value.commit([("add", 1)]).total == 201


def test_forgetting_before_the_first_checkpoint_takes_nothing(store):
    value = account(store)
    for _ in range(10):
        value.commit([("add", 1)])
    value.forget(9)
    assert value.versions() == list(range(1, 11))


def test_a_writer_that_slept_until_its_version_was_forgotten_is_stopped(store):
    sleeper, writer = account(store), account(store)
    writer.commit([("add", 1)])
    sleeper.refresh()
    for _ in range(2 * CHECKPOINT_EVERY):
        writer.commit([("add", 1)])
    writer.forget(writer.version)
    for _ in range(2):
        with pytest.raises(WriterStopped, match="moved on past version 2 while this writer stood still"):
            sleeper.commit([("add", 1000)])
    assert account(store).state.total == 2 * CHECKPOINT_EVERY + 1
    assert delta(2) not in store.keys("")


def test_a_missing_delta_is_named(store):
    value = account(store)
    for _ in range(5):
        value.commit([("add", 1)])
    store.delete([delta(3)])
    with pytest.raises(CorruptData, match=r"c/7/0{19}3\.delta is missing, though version 5 is there.*Restore"):
        account(store)


@pytest.mark.parametrize("suffix", ["delta", "checkpoint"])
def test_a_torn_or_changed_file_is_named(store, suffix):
    value = account(store)
    for _ in range(CHECKPOINT_EVERY + 1):
        value.commit([("add", 1)])
    key = delta(CHECKPOINT_EVERY + 1) if suffix == "delta" else checkpoint(CHECKPOINT_EVERY)
    good = store.get(key)
    rng = random.Random(3)
    for _ in range(50):
        bad = bytearray(good)
        if rng.random() < 0.5:
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        else:
            del bad[rng.randrange(len(bad)) :]
        store.delete([key])
        store.put(key, bytes(bad))
        with pytest.raises((CorruptData, FormatTooNew), match=key):
            account(store)


def test_a_renamed_file_is_named(store):
    value = account(store)
    value.commit([("add", 1)])
    store.put(delta(2), store.get(delta(1)))
    with pytest.raises(CorruptData, match=r"2\.delta: it says that it is version 1, but its name says 2"):
        account(store)


def test_a_checkpoint_that_cannot_be_written_does_not_undo_the_commit(tmp_path):
    import errno

    from elanus.testing.faulty import FaultyDisk

    disk = FaultyDisk(LocalDisk(tmp_path))
    store = LocalStore(disk)
    value = account(store)
    for _ in range(CHECKPOINT_EVERY - 1):
        value.commit([("add", 1)])
    disk.fail("link", "*.checkpoint", errno.ENOSPC, times=1)
    assert value.commit([("add", 1)]).total == CHECKPOINT_EVERY
    assert not any(key.endswith(".checkpoint") for key in store.keys(""))
    value.commit([("add", 1)])
    assert checkpoint(CHECKPOINT_EVERY + 1) in store.keys("")
    assert account(store).state.total == CHECKPOINT_EVERY + 1
