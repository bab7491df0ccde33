"""Scripted lives of a database over a recording disk, and the model that says what must be found after a crash.

A `Life` runs steps one after the other and tells a model of each. While a step is under way its outcome is open: it
may be there wholly or not at all; once it has been acknowledged it is there. So for every moment of the recording
`Life.allowed` knows the worlds that a folder found after a crash at that moment may hold: one, or two.

A step may also be killed: from a given change on nothing reaches the disk any more, as if the process had died there,
and the folder is opened again. What is read then was read by somebody, so from that moment on it is not open any more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from elanus import Elanus, Settings, StoreError
from elanus.engine.builders import InlineBuilders
from elanus.engine.collection import Collection as EngineCollection
from elanus.log.record import WriteRecord
from elanus.model.canonical import Batch
from elanus.model.schema import PARTITION_FIELD_ID
from elanus.model.timestamps import FakeClock
from elanus.service import rows
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.store.disk import Disk, LocalDisk
from elanus.testing.faulty import CHANGES, FaultyDisk
from elanus.testing.recording import RecordingDisk
from tests.crash_model import (
    DEFAULT,
    NARROW,
    WIDE,
    Name,
    Shelf,
    World,
    collection_of,
    database_of,
    is_wide,
    key_of,
    read,
    row_data,
)

TINY = Settings(background=False, index_min_rows=4, retention_s=0.0)
"""A handful of rows reaches every state, nothing runs by itself, and history is let go at once."""

INDEX_PARAMS: Mapping[str, Mapping[str, int]] = {"HNSW": {"M": 4, "efConstruction": 16}, "IVF_FLAT": {"nlist": 2}}


# --- steps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """`do` performs it. `outcomes` are the worlds it may leave behind while nobody has acknowledged it; the last one
    is what it leaves when it was. `named` ones may be sent again while nobody has acknowledged them.
    """

    text: str
    do: Callable[[Elanus], object]
    outcomes: Callable[[World], Sequence[World]] = lambda world: [world]
    named: bool = False

    def __str__(self) -> str:
        return self.text


def _on(name: Name, change: Callable[[Shelf], Shelf]) -> Callable[[World], Sequence[World]]:
    return lambda world: [world.put(name, change(world.shelves[name]))]


def create(name: Name, index: str = "", on_duplicate_key: str = "keep") -> Step:
    def do(db: Elanus) -> None:
        schema = WIDE if is_wide(name) else NARROW
        database_of(db, name).create_collection(name[1], schema, on_duplicate_key=on_duplicate_key)

    made = Shelf(on_duplicate_key=on_duplicate_key)
    return Step(f"create {name}", do, lambda world: [world.put(name, made)])


def define_index(name: Name, kind: str) -> Step:
    return Step(
        f"index {name} by {kind}",
        lambda db: collection_of(db, name).create_index("vector", kind, metric="L2", params=INDEX_PARAMS[kind]),
        _on(name, lambda shelf: replace(shelf, index=kind)),
    )


def drop_index(name: Name) -> Step:
    return Step(
        f"drop the index of {name}",
        lambda db: collection_of(db, name).drop_index("vector"),
        _on(name, lambda shelf: replace(shelf, index="")),
    )


def insert(name: Name, keys: Sequence[int], value: int, partition: str = DEFAULT) -> Step:
    return Step(
        f"insert {list(keys)} = {value} into {name}/{partition}",
        lambda db: collection_of(db, name).insert(row_data(name, keys, value), partition=partition),
        _on(name, lambda s: s.written(keys, value, partition, replacing=s.on_duplicate_key == "replace")),
    )


def insert_once(name: Name, keys: Sequence[int], value: int) -> Step:
    """An insert under a name of its own: whether it has been done is seen by its value."""

    def do(db: Elanus) -> None:
        ctx = RequestContext(database=name[0], request_id=f"insert {value}")
        rows.insert(ctx, db._instance, name[1], row_data(name, keys, value))

    def once(shelf: Shelf) -> Shelf:
        done = any(row.value == value for row in shelf.rows)
        return shelf if done else shelf.written(keys, value, DEFAULT, replacing=False)

    return Step(f"insert {list(keys)} = {value} into {name}, once", do, _on(name, once), named=True)


def upsert(name: Name, keys: Sequence[int], value: int, partition: str = DEFAULT) -> Step:
    return Step(
        f"upsert {list(keys)} = {value} into {name}/{partition}",
        lambda db: collection_of(db, name).upsert(row_data(name, keys, value), partition=partition),
        _on(name, lambda shelf: shelf.written(keys, value, partition, replacing=True)),
    )


def delete(name: Name, keys: Sequence[int], partition: str | None = None) -> Step:
    return Step(
        f"delete {list(keys)} from {name}/{partition or '*'}",
        lambda db: collection_of(db, name).delete(
            [key_of(name, key) for key in keys], partitions=[partition] if partition else []
        ),
        _on(name, lambda s: s.without(lambda row: row.key in keys and partition in (None, row.partition))),
    )


def delete_where(name: Name, value: int) -> Step:
    def gone(shelf: Shelf) -> Shelf:
        keys = {row.key for row in shelf.rows if row.value == value}
        return shelf.without(lambda row: row.key in keys)

    return Step(
        f"delete value == {value} from {name}",
        lambda db: collection_of(db, name).delete(filter=f"value == {value}"),
        _on(name, gone),
    )


def truncate(name: Name) -> Step:
    return Step(
        f"truncate {name}", lambda db: collection_of(db, name).truncate(), _on(name, lambda s: replace(s, rows=()))
    )


def together(name: Name, keys: Sequence[Sequence[int]], value: int) -> Step:
    """Upserts of several callers that meet in one group commit: any number of them, in their order, may be there."""

    def do(db: Elanus) -> None:
        collection = engine_collection(db, name)
        for ticket in [collection.log.enqueue(_record(collection, name, part, value)) for part in keys]:
            ticket.wait()

    def outcomes(world: World) -> list[World]:
        shelf, worlds = world.shelves[name], []
        for part in keys:
            shelf = shelf.written(part, value, DEFAULT, replacing=True)
            worlds.append(world.put(name, shelf))
        return worlds

    return Step(f"upsert {[list(part) for part in keys]} = {value} together into {name}", do, outcomes)


def _record(collection: EngineCollection, name: Name, keys: Sequence[int], value: int) -> WriteRecord:
    data = row_data(name, keys, value)
    schema = collection.schema
    columns = [pa.array(list(data[f.name]), f.arrow_type) for f in schema.fields]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema.arrow_schema)
    partition = pa.array([collection.manifest.partition_id(DEFAULT)] * len(keys), pa.int64())
    batch = batch.append_column(str(PARTITION_FIELD_ID), partition)
    return WriteRecord(collection.id, schema.version, Batch.of(batch), delete_keys=batch.column(0))


def engine_collection(db: Elanus, name: Name) -> EngineCollection:
    return db._instance.engine.collection(db._instance.catalog.resolve(*name).id)


def add_partition(name: Name, partition: str) -> Step:
    return Step(
        f"add partition {partition} to {name}",
        lambda db: collection_of(db, name).create_partition(partition),
        _on(name, lambda shelf: replace(shelf, partitions=shelf.partitions | {partition})),
    )


def drop_partition(name: Name, partition: str) -> Step:
    def dropped(shelf: Shelf) -> Shelf:
        kept = shelf.without(lambda row: row.partition == partition)
        return replace(kept, partitions=shelf.partitions - {partition})

    return Step(
        f"drop partition {partition} of {name}",
        lambda db: collection_of(db, name).drop_partition(partition),
        _on(name, dropped),
    )


def set_property(name: Name, key: str, value: str) -> Step:
    def changed(shelf: Shelf) -> Shelf:
        return replace(shelf, properties=frozenset({**dict(shelf.properties), key: value}.items()))

    return Step(
        f"set {key} = {value} of {name}",
        lambda db: collection_of(db, name).set_properties({key: value}),
        _on(name, changed),
    )


def drop(name: Name, *, purge: bool = False) -> Step:
    return Step(
        f"drop {name}{', purged' * purge}",
        lambda db: database_of(db, name).drop_collection(name[1], purge=purge),
        lambda world: [world.take(name)],
    )


def rename(name: Name, new: Name) -> Step:
    return Step(
        f"rename {name} to {new}",
        lambda db: database_of(db, name).rename_collection(name[1], new[1], database=new[0]),
        lambda world: [world.take(name).put(new, world.shelves[name])],
    )


def add_database(name: str) -> Step:
    return Step(
        f"add database {name}",
        lambda db: db.create_database(name),
        lambda world: [replace(world, databases=world.databases | {name})],
    )


def drop_database(name: str) -> Step:
    return Step(
        f"drop database {name}",
        lambda db: db.drop_database(name),
        lambda world: [replace(world, databases=world.databases - {name})],
    )


def add_alias(name: Name, alias: str) -> Step:
    return Step(
        f"add alias {alias} of {name}",
        lambda db: database_of(db, name).create_alias(alias, name[1]),
        _on(name, lambda shelf: replace(shelf, aliases=shelf.aliases | {alias})),
    )


def move_alias(name: Name, new: Name, alias: str) -> Step:
    def moved(world: World) -> list[World]:
        old = world.shelves[name]
        world = world.put(name, replace(old, aliases=old.aliases - {alias}))
        return [world.put(new, replace(world.shelves[new], aliases=world.shelves[new].aliases | {alias}))]

    return Step(f"move alias {alias} to {new}", lambda db: database_of(db, new).alter_alias(alias, new[1]), moved)


def drop_alias(name: Name, alias: str) -> Step:
    return Step(
        f"drop alias {alias}",
        lambda db: database_of(db, name).drop_alias(alias),
        _on(name, lambda shelf: replace(shelf, aliases=shelf.aliases - {alias})),
    )


def flush(name: Name) -> Step:
    return Step(f"flush {name}", lambda db: collection_of(db, name).flush())


def build(name: Name) -> Step:
    return Step(f"build {name}", lambda db: collection_of(db, name).wait_for_indexes())


def compact(name: Name) -> Step:
    return Step(f"compact {name}", lambda db: collection_of(db, name).compact())


def improve(name: Name) -> Step:
    """Merge and build what is due, and collect garbage."""

    def do(db: Elanus) -> None:
        collection = engine_collection(db, name)
        collection.host.jobs.run_due(collection)

    return Step(f"improve {name}", do)


def cut_log(*, carry: bool = True) -> Step:
    """Shorten the log: carry all owners forward, or seal them all."""

    def do(db: Elanus) -> None:
        engine = db._instance.engine
        before = engine.config
        engine.config = replace(before, carry_bytes=before.carry_bytes if carry else 0)
        try:
            engine.cut_log()
        finally:
            engine.config = before

    return Step("cut the log, " + ("carrying" if carry else "sealing"), do)


@dataclass(frozen=True, slots=True)
class Killed:
    """`step` with a process that dies after `changes` more changes of the disk, and the folder opened again.

    Where it has died and not even begun to open, `step` is `REOPEN`.
    """

    step: Step
    changes: int

    def __str__(self) -> str:
        return f"{self.step}, killed after {self.changes} changes"


REOPEN = Step("close and open again", lambda db: None)


# --- a life --------------------------------------------------------------------------------------------------------


def open_over(disk: Disk | None, folder: Path, settings: Settings, clock: FakeClock) -> Elanus:
    return Elanus(Instance.open(folder, settings, disk=disk, clock=clock, builders=InlineBuilders()))


class Life:
    """Runs steps over a recording disk in `folder`. `allowed[n]` are the worlds after n marks of the recording."""

    def __init__(self, folder: Path, settings: Settings = TINY) -> None:
        self._folder = folder
        self._settings = settings
        self._faulty = FaultyDisk(LocalDisk(folder))
        folder.mkdir(parents=True)
        self._disk = RecordingDisk(self._faulty)
        self.recording = self._disk.recording
        self._clock = FakeClock()
        self._possible = [World()]
        self.steps: list[Step | Killed] = [REOPEN]
        """`steps[n]` is under way after n marks."""
        self.died = False
        """Whether the last step that was to be killed did not get through before."""
        self.allowed: list[list[World]] = [[World()]]
        self.db = self._open()
        self._acknowledged([World()])

    @property
    def world(self) -> World:
        """What is there now; no step is under way."""
        (world,) = self._possible
        return world

    def run(self, step: Step | Killed) -> None:
        self._clock.advance(0.002)
        self.steps.append(step)
        if isinstance(step, Killed):
            self._run_killed(step)
        elif step is REOPEN:
            self.db.close()
            self.db = self._open()
            self._acknowledged(self._possible)
        else:
            outcomes = self._begin(step)
            step.do(self.db)
            self._acknowledged([outcomes[-1]])

    def close(self) -> None:
        self.db.close()

    def _begin(self, step: Step) -> Sequence[World]:
        outcomes = step.outcomes(self.world)
        self.allowed[-1] = [*self._possible, *outcomes]
        return outcomes

    def _acknowledged(self, possible: Sequence[World]) -> None:
        self.recording.mark(str(len(self.allowed)))
        self._possible = list(possible)
        self.allowed.append(list(possible))

    def _run_killed(self, killed: Killed) -> None:
        self._begin(killed.step)
        if killed.step is REOPEN:
            self.db.close()
        death = self._faulty.fail(CHANGES, skip=killed.changes)
        with suppress(StoreError, OSError):
            if killed.step is REOPEN:
                self.db = self._open()
            else:
                killed.step.do(self.db)
        self.db.close()
        self.died = death.hits > 0
        self._faulty.heal()
        self.db = self._open()
        found = read(self.db)
        self._acknowledged([next(world for world in self.allowed[-1] if world.found == found)])

    def _open(self) -> Elanus:
        return open_over(self._disk, self._folder, self._settings, self._clock)


# --- scripts -------------------------------------------------------------------------------------------------------

A, B, C, W = ("default", "a"), ("default", "b"), ("other", "c"), ("default", "w")
SCRIPTS: Mapping[str, Sequence[Step | Killed]] = {
    "writes": [
        create(A), create(W, on_duplicate_key="replace"),
        insert(A, range(6), 1), insert(W, range(5), 1), upsert(A, [2, 3, 9], 2), insert(W, [3, 4, 5], 2),
        delete(A, [0, 9]), together(A, [[1], [2, 20], [21]], 3), delete_where(A, 3), insert(A, [4, 5], 4),
        REOPEN, delete(W, [1, 77]), truncate(A), insert(A, [1], 5), REOPEN, insert(A, [2], 6),
    ],
    "seals": [
        create(A), define_index(A, "HNSW"), insert(A, range(8), 1), flush(A), build(A),
        insert(A, range(8, 14), 2), delete(A, [1, 2]), upsert(A, [3, 9], 3), flush(A), delete(A, [10]), compact(A),
        improve(A), insert(A, [30], 4), REOPEN, delete(A, [4, 30]), flush(A), truncate(A), improve(A),
        insert(A, [5], 5), flush(A),
    ],
    "definitions": [
        add_database("other"), create(A), insert(A, [1, 2], 1), add_alias(A, "alias"), create(B),
        set_property(A, "p", "1"), move_alias(A, B, "alias"), rename(A, C), insert(C, [3], 2), drop_alias(B, "alias"),
        drop(B), define_index(C, "IVF_FLAT"), create(B), insert(B, [1], 3), drop(B, purge=True),
        drop_index(C), rename(C, A), drop_database("other"), REOPEN, insert(A, [4], 5),
    ],
    "partitions": [
        create(W), define_index(W, "IVF_FLAT"), add_partition(W, "p"), insert(W, range(5), 1, "p"),
        insert(W, range(5, 9), 2), flush(W), build(W), add_partition(W, "q"), insert(W, [1, 20], 3, "q"),
        delete(W, [1], "p"), upsert(W, [2], 4, "q"), drop_partition(W, "p"), flush(W), insert(W, [30], 5, "q"),
        compact(W), drop_partition(W, "q"), add_partition(W, "q"), insert(W, [31], 6, "q"), cut_log(carry=False),
        improve(W), REOPEN, delete_where(W, 2),
    ],
    "log": [
        create(A), create(B), insert(A, range(4), 1), insert(B, range(4), 1), cut_log(), delete(A, [1]),
        insert(B, [5], 2), cut_log(carry=False), insert(A, [6], 3), cut_log(), REOPEN, cut_log(), upsert(A, [6, 7], 4),
        flush(B), cut_log(), delete(B, [2]), REOPEN, drop(B), cut_log(), insert(A, [8], 5), truncate(A), cut_log(),
    ],
    "retries": [
        create(A), insert_once(A, [1, 2], 1), insert_once(A, [1, 2], 1), Killed(insert_once(A, [3], 2), 1),
        insert_once(A, [3], 2), Killed(insert_once(A, [4], 3), 2), insert_once(A, [4], 3), cut_log(),
        Killed(insert_once(A, [4], 3), 1), insert_once(A, [1, 2], 1), flush(A), insert_once(A, [5], 4), REOPEN,
        insert_once(A, [3], 2), insert_once(A, [5], 4), delete(A, [9]), flush(A), insert_once(A, [6], 5),
        insert_once(A, [5], 4), cut_log(), insert_once(A, [6], 5), REOPEN, insert_once(A, [6], 5), flush(A), cut_log(),
        Killed(insert_once(A, [5], 4), 1), insert_once(A, [6], 5), Killed(cut_log(), 5), insert_once(A, [7], 6),
        flush(A), insert_once(A, [8], 7), Killed(cut_log(), 3), insert_once(A, [7], 6), insert_once(A, [8], 7),
    ],
    "kills": [
        create(A), Killed(insert(A, [1, 2], 1), 2), insert(A, [3], 1), Killed(add_partition(A, "p"), 4),
        Killed(flush(A), 11), upsert(A, [3, 4], 2), cut_log(), Killed(flush(A), 25), cut_log(), Killed(REOPEN, 3),
        delete(A, [4]), Killed(flush(A), 12), cut_log(), Killed(create(B), 9), Killed(create(W), 14),
        Killed(cut_log(), 5), Killed(compact(A), 44), cut_log(carry=False), insert(A, [9], 3),
        Killed(truncate(A), 3), insert(A, [10], 3),
    ],
}  # fmt: skip

BEFORE_A_KILL: Sequence[Step] = [
    create(A), create(B), define_index(A, "HNSW"), add_partition(A, "p"), add_alias(B, "alias"),
    insert(A, range(6), 1), insert(A, [20, 21], 1, "p"), flush(A), insert(A, [6, 7], 2), delete(A, [1]),
    insert(B, [1], 1),
]  # fmt: skip
INTERRUPTED: Sequence[Step] = [
    insert(A, [8], 3), upsert(A, [2, 8], 3), together(A, [[8], [2]], 3), delete_where(A, 2), truncate(A), create(W),
    drop(A), drop(A, purge=True), rename(A, ("default", "c")), move_alias(B, A, "alias"), add_database("other"),
    set_property(A, "p", "1"), drop_partition(A, "p"), add_partition(A, "q"), drop_index(A),
    define_index(B, "IVF_FLAT"),
    flush(A), compact(A), build(A), improve(A), cut_log(), cut_log(carry=False), REOPEN,
]  # fmt: skip
"""Every kind of step, to be killed after every number of changes."""


def random_script(seed: int, steps: int = 14) -> Iterator[Callable[[World], Step | Killed]]:
    """Steps drawn at random; each is drawn when its turn comes, for the world as it then is."""
    rng = random.Random(seed)
    for number in range(steps):
        kill = rng.random() < 0.2
        changes = rng.randrange(45)

        def draw(world: World, number: int = number, kill: bool = kill, changes: int = changes) -> Step | Killed:
            step = _draw(world, number, rng)
            return Killed(step, changes) if kill else step

        yield draw


def _draw(world: World, number: int, rng: random.Random) -> Step:
    free = [name for name in (A, B, W) if name not in world.shelves]
    if free and (not world.shelves or rng.random() < 0.08):
        return create(rng.choice(free), on_duplicate_key=rng.choice(("keep", "replace")))
    name = rng.choice(sorted(world.shelves))
    shelf = world.shelves[name]
    partition = rng.choice(sorted(shelf.partitions))
    keys = sorted(rng.sample(range(24), rng.randrange(1, 9)))
    definitions: list[Step] = [
        *([define_index(name, rng.choice(sorted(INDEX_PARAMS)))] if not shelf.index else [drop_index(name)]),
        add_partition(name, rng.choice("pq")),
        set_property(name, "p", str(number)),
        *([drop_partition(name, partition)] if partition != DEFAULT else []),
        *([add_alias(name, f"alias_{number}")] if not shelf.aliases else [drop_alias(name, min(shelf.aliases))]),
        truncate(name),
        *([drop(name, purge=rng.random() < 0.5)] if not shelf.aliases else []),
        *([rename(name, rng.choice([n for n in free if is_wide(n) == is_wide(name)]))]
          if any(is_wide(n) == is_wide(name) for n in free) else []),
    ]  # fmt: skip
    jobs: list[Step] = [
        flush(name), flush(name), build(name), compact(name), improve(name), cut_log(), cut_log(carry=False), REOPEN,
    ]  # fmt: skip
    writes: list[Step] = [
        insert(name, keys, number, partition),
        upsert(name, keys, number, partition),
        delete(name, keys, rng.choice([None, partition])),
        delete_where(name, rng.randrange(max(1, number))),
        *([] if is_wide(name) else [together(name, [keys, [40 + number], keys[:1]], number)]),
    ]
    return rng.choice(rng.choices([writes, jobs, definitions], [5, 4, 2])[0])
