"""What writers that are going to be killed do, the ledger they leave, and what may be there after them.

A `Script` is the work of one thread in one life of the process: an endless run of operations drawn from a seed. Both
sides have it: the process that performs it (`kill_writer.py`) and the test that wants to know what it was doing. So
the ledger holds no contents, only which thread invoked which of its operations and which were acknowledged:

    ledger      records of 16 bytes: event (1), thread (1), 2 unused, number of the operation (4), monotonic ns (8)

Records are appended by one `write` each to a file opened with O_APPEND: their order is the order in which things
happened, and what was written before a kill is there after it. 16 divides a page, so no record is ever torn. Where it
is not the writers who are killed but the server they talk to (`kill_wire.py`), the ledger is a list of `Entry`.

Rows and definitions are *slots* of one flat state, a dict; a value is unique to the operation that wrote it:

    ("row", collection, key)          (stamp, partition)       the stamp names the operation
    ("partition", collection, name)   True
    ("index", collection)             its kind
    ("collection", name)              True

A slot is written by one thread alone, except the rows with keys below `SHARED_KEYS` of "main", which all threads
write, always into the default partition. So what an operation does to each slot is known before it runs: it either
writes whatever is there (shared rows), or depends on what its own thread did before.

`explain` says whether a state can be what is left after a kill: it looks for an order of the operations in which each
comes wholly or, if it was never acknowledged, perhaps not at all; that keeps to the order in which they were invoked
and acknowledged; and that ends in this very state.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elanus import DataType, OnDuplicateKey, Settings
from elanus.log.objects import LEAST_BYTES

MAIN = "main"
THREADS = 5
"""The last one makes and drops collections of its own; the others work on `MAIN`."""

SHARED_KEYS = 48
DIM = 8
DEFAULT_PARTITION = "_default"
INDEX_KINDS: Mapping[str, Mapping[str, int]] = {
    "HNSW": {"M": 8, "efConstruction": 60},
    "IVF_FLAT": {"nlist": 4},
    "FLAT": {},
}

TIGHT = Settings(
    seal_rows=600,
    seal_idle_rows=40,
    seal_idle_s=0.03,
    index_min_rows=64,
    log_bytes=64 << 10,
    log_age_s=0.1,
    log_waste_bytes=8 << 10,
    carry_bytes=4 << 10,
    unsealed_bytes=1 << 20,
    merge_fan_in=3,
    merge_max_rows=6_000,
    retention_s=0.1,
    log_kept_s=0.0,
)
"""Limits so small that a process of half a second seals, merges, builds, cuts its log and collects garbage."""

TIGHT_IN_BUCKET = replace(TIGHT, log_bytes=48 * LEAST_BYTES, log_waste_bytes=24 * LEAST_BYTES)
"""Of a log of so many objects."""

Slot = tuple[Any, ...]
State = dict[Slot, Any]


class Event(IntEnum):
    OPENED = 1
    INVOKED = 2
    ACKNOWLEDGED = 3
    REFUSED = 4
    """Raised `Closed`: it was not done and never will be."""
    CLOSED = 5
    FAILED = 6
    """Raised what it must not; the traceback is in the process's standard error."""
    REPLACED = 8
    """Raised `WriterStopped` in a process that was to be replaced: it was done before that, or never will be."""


# --- the ledger ----------------------------------------------------------------------------------------------------

_RECORD = struct.Struct("<BB2xIQ")


class Ledger:
    """The writing end, for any thread."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, event: Event, thread: int = 0, number: int = 0) -> None:
        os.write(self._fd, _RECORD.pack(event, thread, number, time.monotonic_ns()))


@dataclass(frozen=True, slots=True)
class Entry:
    event: Event
    thread: int
    number: int
    at_ns: int


def read_ledger(path: Path) -> list[Entry]:
    data = path.read_bytes() if path.exists() else b""
    return [Entry(Event(event), *rest) for event, *rest in _RECORD.iter_unpack(data)]


# --- what the threads do -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Op:
    """One call. `old_stamp` and `low`/`high` (keys) are of filters; `name` is of what a definition is about."""

    kind: str
    collection: str = MAIN
    keys: tuple[int, ...] = ()
    stamp: int = 0
    partition: str = DEFAULT_PARTITION
    old_stamp: int = 0
    low: int = 0
    high: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """A folder through several lives. `life` numbers the process among all of the test, from 1."""

    seed: int
    number: int
    life: int = 1
    without: tuple[str, ...] = ()
    """Kinds of operations that are left out of its scripts."""

    @property
    def key_type(self) -> DataType:
        return (DataType.INT64, DataType.VARCHAR)[self.number % 2]

    @property
    def on_duplicate_key(self) -> OnDuplicateKey:
        return (OnDuplicateKey.KEEP, OnDuplicateKey.REPLACE, OnDuplicateKey.REJECT)[self.number % 3]

    def key(self, number: int) -> int | str:
        return number if self.key_type is DataType.INT64 else f"key-{number:012d}"

    def key_text(self, number: int) -> str:
        return str(number) if self.key_type is DataType.INT64 else f'"key-{number:012d}"'

    def number_of(self, key: int | str) -> int:
        return int(str(key).removeprefix("key-"))

    def filter_of(self, op: Op) -> str:
        """What a delete by filter deletes."""
        keys = f"id >= {self.key_text(op.low)} and id < {self.key_text(op.high)}"
        return f"stamp == {op.old_stamp} and {keys}" if op.kind == "delete_stamp" else keys


def own_key(thread: int, life: int, n: int) -> int:
    """A key that only `thread` writes; new in `life`."""
    return (thread + 1) * 10**9 + life * 10**5 + n


class Script:
    """The operations of one thread in one life, the same whenever it is asked."""

    def __init__(self, story: Story, thread: int) -> None:
        self._story = story
        self._thread = thread
        self._random = random.Random(f"{story.seed}/{story.life}/{thread}")
        self._keys = 0
        self._stamps = 0
        self._written: list[tuple[int, ...]] = []
        """Keys of this life's own batches, by stamp."""

    def __iter__(self) -> Iterator[Op]:
        ops = self._on_side() if self._thread == THREADS - 1 else self._on_main()
        return (op for op in ops if op.kind not in self._story.without)

    def _on_main(self) -> Iterator[Op]:
        if self._thread == 0:
            yield Op("create_collection", name=MAIN)
        if self._random.random() < 0.8:
            yield self._insert(MAIN, DEFAULT_PARTITION)
        mine = f"p{self._thread}"
        yield Op("create_partition", name=mine)
        has_mine = True
        choices = {
            "insert": 30, "upsert": 25, "delete_keys": 12, "delete_stamp": 6, "delete_range": 4,
            "delete_in_partition": 4, "partition": 2, "flush": 1, "compact": 1, "index": 3 if self._thread == 0 else 0,
        }  # fmt: skip
        while True:
            kind = self._random.choices(list(choices), list(choices.values()))[0]
            partition = mine if has_mine and self._random.random() < 0.3 else DEFAULT_PARTITION
            if kind == "partition":
                yield Op("drop_partition" if has_mine else "create_partition", name=mine)
                has_mine = not has_mine
            elif kind == "index":
                yield Op("drop_index", name="vector")
                if self._random.random() < 0.9:
                    yield Op("create_index", name=self._random.choice(list(INDEX_KINDS)))
            elif kind == "insert":
                yield self._insert(MAIN, partition)
            elif kind == "upsert" and self._random.random() < 0.5:
                keys = self._old_keys() + self._shared_keys()
                yield Op("upsert", MAIN, keys, self._stamp(keys))
            elif kind == "upsert":
                keys = self._old_keys() + self._new_keys(self._random.randrange(8))
                yield Op("upsert", MAIN, keys, self._stamp(keys), partition)
            elif kind == "delete_keys":
                yield Op("delete_keys", MAIN, self._old_keys() + self._shared_keys())
            elif kind == "delete_stamp":
                low, high = own_key(self._thread, 0, 0), own_key(self._thread + 1, 0, 0)
                yield Op("delete_stamp", MAIN, old_stamp=self._some_stamp(), low=low, high=high)
            elif kind == "delete_range":
                low = self._random.randrange(SHARED_KEYS)
                yield Op("delete_range", MAIN, low=low, high=min(SHARED_KEYS, low + self._random.randrange(1, 12)))
            elif kind == "delete_in_partition" and has_mine:
                yield Op("delete_in_partition", MAIN, self._old_keys(), partition=mine)
            else:
                yield Op(kind)

    def _on_side(self) -> Iterator[Op]:
        """Small collections that come and go, and lie beside the large one in the log."""
        names = ("side_0", "side_1", "side_2")
        there = dict.fromkeys(names, False)
        while True:
            name = self._random.choice(names)
            if not there[name]:
                # From an earlier life it may be there all the same, with rows.
                yield Op("create_collection", name=name)
                there[name] = True
            for _ in range(self._random.randrange(2, 8)):
                kind = self._random.choice(("insert", "insert", "upsert", "delete_keys"))
                keys = self._old_keys() if kind != "insert" else ()
                if kind == "insert":
                    yield self._insert(name, DEFAULT_PARTITION)
                else:
                    yield Op(kind, name, keys, self._stamp(keys) if kind == "upsert" else 0)
            fate = self._random.random()
            if fate < 0.05:
                yield Op("truncate", name)
            elif fate < 0.2:
                yield Op("drop_collection", name=name, partition="purge" if fate < 0.12 else "")
                there[name] = False

    def _insert(self, collection: str, partition: str) -> Op:
        rows = self._random.choice((1, 2, 5, 20, 20, 60, 200)) if collection == MAIN else self._random.randrange(1, 5)
        keys = self._new_keys(rows)
        return Op("insert", collection, keys, self._stamp(keys), partition)

    def _new_keys(self, count: int) -> tuple[int, ...]:
        self._keys += count
        return tuple(own_key(self._thread, self._story.life, n) for n in range(self._keys - count, self._keys))

    def _old_keys(self) -> tuple[int, ...]:
        """Keys of this thread from this life or the one before; there or not."""
        life = self._story.life - self._random.randrange(2)
        most = self._keys if life == self._story.life else 400
        count = min(most, self._random.choice((1, 2, 6, 25)))
        return tuple(own_key(self._thread, life, n) for n in sorted(self._random.sample(range(most), count)))

    def _shared_keys(self) -> tuple[int, ...]:
        return tuple(sorted(self._random.sample(range(SHARED_KEYS), self._random.randrange(1, 10))))

    def _stamp(self, keys: tuple[int, ...]) -> int:
        self._stamps += 1
        self._written.append(keys)
        return (self._story.life * THREADS + self._thread) * 10**6 + self._stamps

    def _some_stamp(self) -> int:
        newest = (self._story.life * THREADS + self._thread) * 10**6 + self._stamps
        return newest - self._random.randrange(min(20, max(1, self._stamps)))


def rows_of(story: Story, op: Op) -> dict[str, Any]:
    stamps = np.full(len(op.keys), op.stamp)
    return {
        "id": [story.key(number) for number in op.keys],
        "stamp": stamps,
        "note": [note_of(number, op.stamp) for number in op.keys],
        "vector": vectors_of(np.array(op.keys), stamps),
    }


def note_of(number: int, stamp: int) -> str:
    return f"{number} by {stamp}"


def vectors_of(numbers: npt.NDArray[Any], stamps: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Vectors that look random and are one row's own: (rows, DIM)."""
    with np.errstate(over="ignore"):
        bits = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + stamps.astype(np.uint64)
        bits = bits[:, None] + np.arange(1, DIM + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return ((bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23)) - np.float32(1)


def effects_of(op: Op, before: Mapping[Slot, Any]) -> State:
    """What `op` leaves in each slot that it writes, None for nothing. `before` holds the slots of its thread."""
    rows = [slot for slot in before if slot[:2] == ("row", op.collection) and before[slot] is not None]
    match op.kind:
        case "insert" | "upsert":
            return {("row", op.collection, key): (op.stamp, op.partition) for key in op.keys}
        case "delete_keys":
            return dict.fromkeys(("row", op.collection, key) for key in op.keys)
        case "delete_range":
            return dict.fromkeys(("row", op.collection, key) for key in range(op.low, op.high))
        case "delete_in_partition":
            named = {("row", op.collection, key) for key in op.keys}
            return {slot: None for slot in rows if slot in named and before[slot][1] == op.partition}
        case "delete_stamp":
            return {slot: None for slot in rows if before[slot][0] == op.old_stamp}
        case "create_partition":
            return {("partition", op.collection, op.name): True}
        case "drop_partition":
            lost = {slot: None for slot in rows if before[slot][1] == op.name}
            return {("partition", op.collection, op.name): None, **lost}
        case "create_index":
            return {("index", op.collection): op.name}
        case "drop_index":
            return {("index", op.collection): None}
        case "create_collection":
            return {("collection", op.name): True}
        case "drop_collection":
            lost = {slot: None for slot in before if slot[:2] == ("row", op.name)}
            return {("collection", op.name): None, **lost}
        case "truncate":
            return dict.fromkeys(rows)
        case _:
            return {}


def thread_of(slot: Slot) -> int | None:
    """Which thread alone writes `slot`; None for those that all write."""
    if slot[0] == "row":
        return None if slot[2] < SHARED_KEYS else slot[2] // 10**9 - 1
    if slot[0] == "partition":
        return int(slot[2].removeprefix("p"))
    return THREADS - 1 if slot[0] == "collection" and slot[1] != MAIN else 0


# --- what may be there ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """An operation that was invoked. The times are places in the ledger; `responded` is None if it never was."""

    thread: int
    op: Op
    effects: State
    invoked: int
    responded: int | None

    @property
    def in_flight(self) -> bool:
        return self.responded is None

    def __str__(self) -> str:
        ended = "in flight" if self.responded is None else f"acknowledged at {self.responded}"
        return f"thread {self.thread}, invoked at {self.invoked}, {ended}: {self.op}"


def done_by(story: Story, before: State, ledger: Sequence[Entry]) -> list[list[Done]]:
    """For each thread, what it had invoked, in order; refused operations left out."""
    found = []
    for thread in range(THREADS):
        own = {slot: value for slot, value in before.items() if thread_of(slot) == thread}
        entries = [(at, e) for at, e in enumerate(ledger) if e.thread == thread]
        invoked = [(at, e.number) for at, e in entries if e.event is Event.INVOKED]
        answered = {e.number: (at, e.event) for at, e in entries if e.event in (Event.ACKNOWLEDGED, Event.REFUSED)}
        done = []
        for (at, number), op in zip(invoked, Script(story, thread), strict=False):
            responded, event = answered.get(number, (None, None))
            if event is Event.REFUSED:
                continue
            effects = effects_of(op, own)
            own |= {slot: value for slot, value in effects.items() if thread_of(slot) == thread}
            done.append(Done(thread, op, effects, at, responded))
        found.append(done)
    return found


@dataclass(slots=True)
class Explained:
    """`why` is None where the state can be what is left. `survived` are the unacknowledged operations it shows."""

    why: str | None = None
    survived: list[Done] = field(default_factory=list)
    vanished: list[Done] = field(default_factory=list)


def explain(before: State, after: State, threads: Sequence[Sequence[Done]]) -> Explained:
    """Whether `after` can be what `threads` left of `before`, each operation wholly and every acknowledged one.

    The order is looked for from its end: an operation can be the last one if all that was invoked later is placed and
    each slot it writes has its value, or was written again by one placed behind it. To place such a one never
    hurts, since it only takes constraints away, so nothing is ever taken back. Only which of the unacknowledged
    operations happened is tried out.
    """
    flying = [done for done in chain.from_iterable(threads) if done.in_flight]
    best: tuple[int, str] | None = None
    for happened in product((True, False), repeat=len(flying)):
        absent = [id(done) for done, did in zip(flying, happened, strict=True) if not did]
        left = [[done for done in ops if id(done) not in absent] for ops in threads]
        why = _place_all(before, after, left)
        if why is None:
            survived = [done for done, did in zip(flying, happened, strict=True) if did]
            return Explained(None, survived, [done for done in flying if done not in survived])
        misplaced = sum(map(len, left))
        if best is None or misplaced < best[0]:
            best = misplaced, why
    assert best is not None
    return Explained(best[1])


def _place_all(before: State, after: State, left: list[list[Done]]) -> str | None:
    """Empties `left` from the ends as far as it goes; says what cannot be explained."""
    settled: set[Slot] = set()
    while any(left):
        ends = [ops[-1] for ops in left if ops]
        fitting = next((end for end in ends if _can_be_last(end, ends) and not _wrong(end, after, settled)), None)
        if fitting is None:
            stuck = [(end, _wrong(end, after, settled)) for end in ends if _can_be_last(end, ends)]
            return "no order explains it; the last can be none of\n" + "\n".join(
                f"  {end}\n"
                + "\n".join(f"    {slot} is {seen!r}, it makes it {made!r}" for slot, made, seen in wrong[:4])
                for end, wrong in stuck
            )
        settled.update(fitting.effects)
        next(ops for ops in left if ops and ops[-1] is fitting).pop()
    rest = (before.keys() | after.keys()) - settled
    changed = [(slot, before.get(slot), after.get(slot)) for slot in rest if before.get(slot) != after.get(slot)]
    if changed:
        return f"{len(changed)} slots differ that nobody wrote: (slot, before, after) " + "; ".join(
            map(str, sorted(changed, key=str)[:6])
        )
    return None


def _can_be_last(end: Done, ends: Sequence[Done]) -> bool:
    return end.responded is None or all(other.invoked < end.responded for other in ends)


def _wrong(end: Done, after: State, settled: set[Slot]) -> list[tuple[Slot, Any, Any]]:
    return [
        (slot, made, after.get(slot))
        for slot, made in end.effects.items()
        if slot not in settled and after.get(slot) != made
    ]
