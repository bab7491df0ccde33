"""Threads read and write one collection while it is sealed, merged, indexed and cleaned up behind them."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import elanus
from elanus import DataType, DuplicateKey, ElanusError, Field, PartitionNotFound, Schema, Settings
from elanus.engine.query import matching_keys
from elanus.engine.writes import _put, _record
from tests.conftest import Effort
from tests.engine_case import EngineCase
from tests.history import (
    KEYS,
    PARTITION,
    REFUSED,
    Call,
    Condition,
    Copy,
    Count,
    CreatePartition,
    DeleteKeys,
    DeleteWhere,
    DropPartition,
    Get,
    Insert,
    Query,
    Recorder,
    Search,
    State,
    Truncate,
    Upsert,
    check,
)

THREADS = 6

SWITCH_S = 1e-5
"""How long a thread keeps the interpreter: short, so that others come between any two of its steps."""

RESTLESS = Settings(
    seal_rows=96,
    seal_idle_rows=8,
    seal_idle_s=0.01,
    index_min_rows=8,
    log_bytes=64 << 10,
    log_age_s=0.05,
    carry_bytes=1 << 10,
    merge_fan_in=2,
    retention_s=0.0,
)
"""Limits so small that a job is always under way."""

SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("value", DataType.INT64),
        Field("vector", DataType.FLOAT_VECTOR, dim=4),
    )
)


class Worker:
    """A thread that does random things to a collection and records what it got."""

    def __init__(self, collection: elanus.Collection, thread: int, seed: int, on_duplicate: str) -> None:
        self.recorder = Recorder(thread)
        self.error: BaseException | None = None
        self._collection = collection
        self._random = random.Random(f"{seed}/{thread}")
        self._values = count(THREADS + thread, THREADS)
        self._on_duplicate = on_duplicate

    def run(self, stop: threading.Event, only_reads: bool = False) -> None:
        reads: dict[Callable[[], None], int] = {
            self._get: 10, self._query: 24, self._count: 10, self._search: 10, self._iterate: 4,
        }  # fmt: skip
        steps: dict[Callable[[], None], int] = {
            self._upsert: 14, self._insert: 8, self._delete_keys: 4, self._delete_where: 8, self._define: 2,
            self._upkeep: 1, **reads,
        }  # fmt: skip
        if only_reads:
            steps = reads
        try:
            while not stop.is_set():
                self._random.choices(list(steps), list(steps.values()))[0]()
        except BaseException as error:  # noqa: BLE001 - told to whoever started the thread
            self.error = error
            stop.set()

    def _do(self, op: Any, call: Callable[[], Any], refusals: tuple[type[ElanusError], ...] = ()) -> None:
        self.recorder.invoke()
        try:
            got = call()
        except refusals:
            got = REFUSED
        responded_ns = time.monotonic_ns()
        self.recorder.note(op, got, responded_ns)

    def _group(self) -> tuple[int, ...]:
        """Groups are written as a whole by most, so that a torn batch is seen; some take keys of several."""
        if self._random.random() < 0.7:
            start = 6 * self._random.randrange(3)
            return tuple(range(start, start + 6))
        return tuple(sorted(self._random.sample(KEYS, self._random.randrange(1, 5))))

    def _condition(self) -> Condition:
        if self._random.random() < 0.4:
            return Condition()  # what sees everything leaves the checker few orders to choose from
        low = self._random.choice((0, 0, 0, 6, 12, 18))
        modulus = self._random.choice((1, 1, 2, 3))
        high = self._random.choice((low + 6, len(KEYS)))
        return Condition(low, high, modulus, self._random.randrange(modulus))

    def _rows(self, keys: tuple[int, ...], value: int) -> dict[str, Any]:
        vectors = np.array([[key, value % 1009, value // 1009, 1] for key in keys], np.float32)
        return {"id": list(keys), "value": [value] * len(keys), "vector": vectors}

    def _upsert(self) -> None:
        keys, value, other = self._group(), next(self._values), self._random.random() < 0.2
        rows, partition = self._rows(keys, value), PARTITION if other else "_default"
        self._do(
            Upsert(keys, value, other),
            lambda: self._collection.upsert(rows, partition=partition) and None,
            (PartitionNotFound,),
        )

    def _insert(self) -> None:
        keys, value, other = self._group(), next(self._values), self._random.random() < 0.2
        rows, partition = self._rows(keys, value), PARTITION if other else "_default"
        self._do(
            Insert(keys, value, other, self._on_duplicate),
            lambda: self._collection.insert(rows, partition=partition) and None,
            (PartitionNotFound, DuplicateKey),
        )

    def _delete_keys(self) -> None:
        keys = self._group()
        self._do(DeleteKeys(keys), lambda: self._collection.delete(list(keys)))

    def _delete_where(self) -> None:
        condition = replace(self._condition(), modulus=3, remainder=self._random.randrange(3))
        self._do(DeleteWhere(condition), lambda: self._collection.delete(filter=str(condition)))

    def _get(self) -> None:
        keys = self._group()
        self._do(Get(keys), lambda: {row["id"]: row["value"] for row in self._collection.get(list(keys))})

    def _query(self) -> None:
        condition = self._condition()
        self._do(Query(condition), lambda: values_of(self._collection.query(str(condition), output_fields=["value"])))

    def _count(self) -> None:
        condition = self._condition()
        self._do(Count(condition), lambda: self._collection.count(str(condition)))

    def _search(self) -> None:
        condition = self._condition()
        vector = [self._random.uniform(0, 24), 0, 0, 0]

        def found() -> dict[int, int]:
            hits = self._collection.search(
                vector, limit=len(KEYS), filter=str(condition), metric="L2", output_fields=["value"]
            )[0]
            got = {int(hit["id"]): hit["entity"]["value"] for hit in hits}
            assert len(got) == len(hits), f"a key comes twice: {hits}"
            return got

        self._do(Search(condition), found)

    def _iterate(self) -> None:
        """The rows are those of the moment of the call, however late the pages are taken."""
        condition = self._condition()
        self.recorder.invoke()
        pages = self._collection.query_iterator(str(condition), output_fields=["value"], batch_size=5)
        responded_ns = time.monotonic_ns()
        got: dict[int, int] = {}
        for page in pages:
            got |= values_of(page)
            time.sleep(self._random.uniform(0, 0.01))
        self.recorder.note(Query(condition, "iterator"), got, responded_ns)

    def _define(self) -> None:
        collection = self._collection
        fate = self._random.random()
        if fate < 0.25:
            self._do(Truncate(), collection.truncate)
        elif fate < 0.6:
            self._do(CreatePartition(), lambda: collection.create_partition(PARTITION))
        else:
            self._do(DropPartition(), lambda: collection.drop_partition(PARTITION))

    def _upkeep(self) -> None:
        """What must change nothing. One thread alone defines indexes, since a field has one at a time."""
        if self.recorder.thread == 0:
            self._collection.drop_index("vector")
            kind = self._random.choice(("HNSW", "IVF_FLAT", "FLAT"))
            params = {"HNSW": {"M": 4, "efConstruction": 16}, "IVF_FLAT": {"nlist": 2}, "FLAT": {}}[kind]
            self._collection.create_index("vector", kind, metric="L2", params=params)
        elif self._random.random() < 0.5:
            self._collection.flush()
        else:
            self._collection.compact()


def values_of(table: Any) -> dict[int, int]:
    ids, values = table.column("id").to_pylist(), table.column("value").to_pylist()
    assert len(set(ids)) == len(ids), f"a key comes twice: {ids}"
    return dict(zip(ids, values, strict=True))


def record(collection: Any, seconds: float, seed: int, on_duplicate: str) -> list[Call]:
    """What `THREADS` threads did to `collection` in so many seconds."""
    workers = [Worker(collection, thread, seed, on_duplicate) for thread in range(THREADS)]
    stop = threading.Event()
    threads = [threading.Thread(target=worker.run, args=(stop,)) for worker in workers]
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        for thread in threads:
            thread.start()
        stop.wait(seconds)
        stop.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch_s)
    for worker in workers:
        if worker.error is not None:
            raise worker.error
    return [call for worker in workers for call in worker.recorder.calls]


def read_back(collection: Any) -> list[Call]:
    """Calls that see everything, one after the other."""
    last = Worker(collection, THREADS, 0, "keep")
    everything = Condition()
    last._do(Query(everything), lambda: values_of(collection.query(output_fields=["value"])))
    last._do(Count(everything), collection.count)
    return last.recorder.calls


@pytest.mark.crash
@pytest.mark.parametrize("on_duplicate", ["keep", "replace", "reject"])
def test_one_order_explains_what_threads_did_and_saw_while_jobs_ran(
    quick_path: Path, seed: int, on_duplicate: str, effort: Effort
) -> None:
    for number in range(1 if effort.kills < 300 else 30):
        with elanus.open(quick_path, settings=RESTLESS) as db:
            collection = db.create_collection(f"history_{number}", SCHEMA, on_duplicate_key=on_duplicate)
            calls = record(collection, 3.0, seed + number, on_duplicate)
            calls += read_back(collection)
            assert db._instance.collection(db._ctx, collection.name).manifest.sealed_to, "no job has run"
        with elanus.open(quick_path, settings=RESTLESS) as db:
            calls += read_back(db.collection(collection.name))
        assert (why := check(calls)) is None, why


READERS = 2


@pytest.mark.crash
def test_one_order_explains_what_several_processes_did_and_saw(quick_path: Path, seed: int, effort: Effort) -> None:
    """Threads of the writer, and processes that only read, on the clock that they share."""
    for number in range(1 if effort.kills < 300 else 30):
        name = f"shared_{number}"
        settings = replace(RESTLESS, retention_s=30.0)  # what a reader of another process is at may be replaced
        with elanus.open(quick_path, settings=settings) as db, ExitStack() as closing:
            collection = db.create_collection(name, SCHEMA, on_duplicate_key="keep")
            readers = []
            for thread in range(THREADS + 1, THREADS + 1 + READERS):
                command = ["-m", "tests.history_reader", str(quick_path), name, str(thread), str(seed + number)]
                reader = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                closing.callback(reader.communicate)
                closing.callback(reader.kill)
                readers.append(reader)
            for reader in readers:
                assert reader.stdout is not None
                assert reader.stdout.readline() == b"ready\n"
                _tell(reader)
            calls = record(collection, 3.0, seed + number, "keep")
            for reader in readers:
                _tell(reader)
            for reader in readers:
                assert reader.stdout is not None
                seen = pickle.loads(reader.stdout.read())  # noqa: S301 - our own child's
                assert len(seen) > 10
                calls += seen
            calls += read_back(collection)
        assert (why := check(calls)) is None, why


def _tell(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def test_a_partition_is_dropped_after_the_writes_that_are_under_way(quick_path: Path) -> None:
    """Else what an upsert replaced in another partition would go later than the rows it put into the dropped one."""
    case = EngineCase(quick_path)
    collection = case.collection
    collection.create_partition(PARTITION)
    case.insert([1])
    with collection.write_mutex:
        ticket = _put(collection, _record(collection, case.rows([1], value=5), PARTITION, case.keys([1])))
    collection.drop_partition(PARTITION)
    seen = matching_keys(collection.snapshot(), None).to_pylist()
    ticket.wait()
    assert matching_keys(collection.snapshot(), None).to_pylist() == seen


# --- the checker -----------------------------------------------------------------------------------------------------


class Broken:
    """A collection with a fault; what it does not define is as it should be."""

    def __init__(self, collection: elanus.Collection, workers: ThreadPoolExecutor) -> None:
        self.collection = collection
        self.workers = workers
        self.calls = count(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.collection, name)


class AcknowledgesTooEarly(Broken):
    def upsert(self, rows: Any, **where: Any) -> None:
        if where["partition"] == "_default":
            self.workers.submit(self.collection.upsert, rows, **where)
        else:
            self.collection.upsert(rows, **where)


class ForgetsWrites(Broken):
    def upsert(self, rows: Any, **where: Any) -> None:
        if where["partition"] != "_default" or next(self.calls) % 10:
            self.collection.upsert(rows, **where)


class TearsBatches(Broken):
    def upsert(self, rows: Any, **where: Any) -> None:
        for row in range(len(rows["id"])):
            self.collection.upsert({name: values[row : row + 1] for name, values in rows.items()}, **where)


class GoesBackInTime(Broken):
    def get(self, keys: Any) -> Any:
        known = self.__dict__.setdefault("known", {})
        found = known.get(tuple(keys)) if next(self.calls) % 5 == 0 else None
        known[tuple(keys)] = found or self.collection.get(keys)
        return known[tuple(keys)]


class CountsAtTwoMoments(Broken):
    def count(self, expression: str = "") -> int:
        parts = (self.collection.count(f"({expression or 'id >= 0'}) and id {side} 3") for side in ("<", ">="))
        return sum(parts)


class DeletesInTwoSteps(Broken):
    def delete(self, keys: Any = None, *, filter: Any = None) -> int:  # noqa: A002
        if filter is None:
            return self.collection.delete(keys)
        found = self.collection.query(filter, output_fields=["id"]).column("id").to_pylist()
        return self.collection.delete(found)


class IteratesOverWhatComesLater(Broken):
    def query_iterator(self, expression: str, **how: Any) -> Iterator[Any]:
        time.sleep(0.005)
        yield from self.collection.query_iterator(expression, **how)


class ChecksDuplicatesTooEarly(Broken):
    def insert(self, rows: Any, **where: Any) -> None:
        if self.collection.get(rows["id"]):
            raise DuplicateKey("exists")
        self.collection.upsert(rows, **where)


@pytest.mark.parametrize(
    "broken",
    [AcknowledgesTooEarly, ForgetsWrites, TearsBatches, GoesBackInTime, CountsAtTwoMoments, DeletesInTwoSteps,
     IteratesOverWhatComesLater, ChecksDuplicatesTooEarly],
)  # fmt: skip
def test_the_checker_finds_what_is_broken(quick_path: Path, seed: int, broken: type[Broken]) -> None:
    on_duplicate = "reject" if broken is ChecksDuplicatesTooEarly else "replace"
    with elanus.open(quick_path) as db, ThreadPoolExecutor(2) as workers:
        for attempt in range(20):
            collection = db.create_collection(f"attempt_{attempt}", SCHEMA, on_duplicate_key=on_duplicate)
            if check(record(broken(collection, workers), 0.3, seed + attempt, on_duplicate)) is not None:
                return
    pytest.fail("every history was explained")


def test_the_checker_accepts_overlapping_calls_in_any_order_and_others_in_theirs() -> None:
    everything = Condition()

    def explained(*calls: Call) -> bool:
        return check(calls) is None

    first, second = Upsert((1, 2), 7), Upsert((2, 3), 8)
    both = {1: 7, 2: 8, 3: 8}, {1: 7, 2: 7, 3: 8}
    for seen in both:
        assert explained(
            Call(0, first, None, 0, 9), Call(1, second, None, 1, 8), Call(2, Query(everything), seen, 20, 21)
        )
    after_each_other = Call(0, first, None, 0, 3), Call(1, second, None, 4, 8)
    assert explained(*after_each_other, Call(2, Query(everything), both[0], 20, 21))
    assert not explained(*after_each_other, Call(2, Query(everything), both[1], 20, 21))
    # A read during a write may see it or not, but not a part of it, and not what was there before a read that saw it.
    write = Call(0, first, None, 0, 9)
    assert explained(write, Call(1, Query(everything), {}, 1, 2), Call(1, Query(everything), {1: 7, 2: 7}, 3, 4))
    assert not explained(write, Call(1, Query(everything), {1: 7}, 1, 2))
    assert not explained(write, Call(1, Query(everything), {1: 7, 2: 7}, 1, 2), Call(2, Count(everything), 0, 3, 4))
    # What deletes nothing now might have deleted something later, and the other way round.
    delete = Call(1, DeleteKeys((1,)), 1, 0, 30)
    assert explained(
        write, delete, Call(2, Query(everything), {1: 7, 2: 7}, 20, 21), Call(2, Count(everything), 1, 22, 23)
    )
    assert explained(write, delete, Call(2, Query(everything), {1: 7, 2: 7}, 40, 41))
    assert not explained(write, Call(1, DeleteWhere(everything), 1, 12, 13))
    assert explained(write, Call(1, DeleteWhere(everything), 2, 12, 13), Call(1, Count(everything), 0, 14, 15))
    # Copies of a key are rows, and a filter may match some of them.
    copies = State().with_copies({1: (Copy(6), Copy(7))})
    assert check([Call(0, Query(Condition(modulus=2)), {1: 6}, 0, 1)], copies) is None
    assert check([Call(0, Count(everything), 2, 0, 1)], copies) is None
    assert check([Call(0, Count(everything), 1, 0, 1)], copies) is not None
