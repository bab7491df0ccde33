"""Opens what a crash left and holds it against the ledger; see `crash_script` for the lives that are interrupted.

Of every state that is opened:

* what was acknowledged is there, and what was under way is there wholly or not at all;
* count, query, search and get agree with each other and with the model;
* every file that a manifest names is whole, and nothing lies about that nobody knows of;
* the engine that opened it takes writes, seals them, and has them when it is opened once more.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from elanus import Elanus
from elanus.segment.blocks import verify_file
from elanus.store.disk import Disk, LocalDisk
from elanus.testing.crash import CrashFolder, CrashState, Loss, crash_states
from elanus.testing.recording import RecordingDisk
from tests.crash_script import (
    SCRIPTS,
    TINY,
    FakeClock,
    Life,
    Step,
    World,
    check_reads,
    delete,
    flush,
    insert,
    open_over,
    random_script,
    read,
)

MOST_FAILURES = 3
"""A defect shows in hundreds of states; a few tell it."""

CLOCKS_S = (0.0, 10.0, -3600.0)
"""How far the clock stands from where the recording left it: also an hour back."""


@dataclass(frozen=True, slots=True)
class Task:
    """A life and how many of its states to open. `script` is the name of one, or the seed of a random one."""

    script: str | int
    states: int
    seed: int


@dataclass(slots=True)
class Report:
    """What became of a task, or of several."""

    tried: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.tried += other.tried
        self.failures += other.failures


def run_task(task: Task) -> Report:
    """Live the life, then open states of it: all of its moments before the second of any."""
    report = Report()
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="elanus-crash-", dir=memory if memory.is_dir() else None))
    try:
        life, steps = record(task.script, base / "recorded")
        rng = random.Random(task.seed)
        folder, nested = CrashFolder(base / "states"), CrashFolder(base / "nested")
        for number, state in enumerate(chosen_states(life, task.states, rng)):
            try:
                again = number % 10 == 9 and report.tried["states"] + 2 < task.states
                check_state(life, state, folder, random.Random(number), report.tried, nested if again else None)
            except Exception as error:  # noqa: BLE001 - whatever it is, it has to be told with its state
                step = steps[len(state.marks) - 1] if 0 < len(state.marks) <= len(steps) else "opening"
                report.failures.append(
                    f"script {task.script!r}, seed {task.seed}, state {number}: power lost after operation "
                    f"{state.operations} of {len(life.recording.operations)}, in the step {str(step)!r}; "
                    f"{state.loss.name}: {type(error).__name__}: {str(error)[:1000]}"
                )
                if len(report.failures) >= MOST_FAILURES:
                    break
            if report.tried["states"] >= task.states:
                break
    finally:
        shutil.rmtree(base)
    return report


def record(script: str | int, folder: Path) -> tuple[Life, list[str]]:
    """A whole life, and its steps in words."""
    life = Life(folder)
    steps = []
    for step in SCRIPTS[script] if isinstance(script, str) else random_script(script):
        drawn = step(life.world) if callable(step) else step
        steps.append(str(drawn))
        life.run(drawn)
    life.close()
    return life, steps


def chosen_states(life: Life, wanted: int, rng: random.Random) -> list[CrashState]:
    """About `wanted` states, spread over all moments and losses."""
    repeat = 1
    while True:
        states = list(crash_states(life.recording, rng, repeat=repeat))
        if len(states) >= wanted or repeat >= 16:
            break
        repeat *= 2
    step = max(1, len(states) // max(1, wanted))
    while step > 1 and len(states) % step == 0:
        step -= 1
    return [states[i * step % len(states)] for i in range(min(len(states), 2 * wanted))]


def check_state(
    life: Life,
    state: CrashState,
    folder: CrashFolder,
    rng: random.Random,
    tried: Counter[str],
    nested: CrashFolder | None = None,
) -> None:
    """Open `state` and hold it against the ledger. With `nested`, power fails again while that is done."""
    allowed = life.allowed[len(state.marks)]
    path = folder.place(state)
    tried["states"] += 1
    tried[state.loss.name] += 1
    clock = FakeClock()
    clock.advance(1 + rng.choice(CLOCKS_S))
    disk = RecordingDisk(LocalDisk(path)) if nested else LocalDisk(path)
    db = open_over(disk, path, TINY, clock)
    world = check_opened(db, allowed)
    tried["torn tails"] += db._instance.engine._log_file.cut is not None
    tried["in doubt"] += len(allowed) > 1
    tried["there, though not acknowledged"] += world != allowed[0]
    check_files(db, path)
    worlds = [world]
    for step in afterwards(world):
        step.do(db)
        worlds.append(step.outcomes(worlds[-1])[-1])
    db.close()
    db = open_over(disk, path, TINY, clock)
    check_opened(db, worlds[-1:])
    db.close()
    if nested is not None:
        assert isinstance(disk, RecordingDisk)
        second = list(crash_states(disk.recording, rng, first=rng.randrange(len(disk.recording.operations))))
        for again in islice(second, 3):
            check_nested(again, worlds, nested, clock)
            tried["states"] += 1
            tried["nested"] += 1


def check_nested(state: CrashState, worlds: list[World], folder: CrashFolder, clock: FakeClock) -> None:
    path = folder.place(state)
    db = open_over(LocalDisk(path), path, TINY, clock)
    check_opened(db, worlds)
    db.close()


def check_opened(db: Elanus, allowed: list[World]) -> World:
    """The one of `allowed` that `db` holds."""
    found = read(db)
    world = next((world for world in allowed if world.found == found), None)
    if world is None:
        expected = allowed[0].found
        for name in {*expected, *found}:
            assert found.get(name) == expected.get(name), f"{name}, of {len(allowed)} worlds allowed"
    assert world is not None
    check_reads(db, world)
    return world


def check_files(db: Elanus, path: Path) -> None:
    """What is named is whole, and what is there is known."""
    engine, catalog = db._instance.engine, db._instance.catalog.state
    known = {entry.id for database in catalog.databases.values() for entry in database.collections.values()}
    for collection_id in known:
        manifest = engine.collection(collection_id).manifest
        for entry in manifest.segments.values():
            deletes = entry.deletes.key if entry.deletes is not None else ""
            for key in entry.keys() - {deletes}:
                verify_file(engine._host.store.local_path(key))
    assert not any((path / "scratch").iterdir()), "scratch is emptied at every opening"
    folders = path / "store" / "collections"
    there = {int(folder.name) for folder in folders.iterdir()} if folders.exists() else set()
    assert there <= known | set(catalog.dropped), "every collection that has files has a name, or had one"


def afterwards(world: World) -> list[Step]:
    """A few writes on everything that is there, some of them sealed."""
    steps = []
    for number, (name, shelf) in enumerate(sorted(world.shelves.items())):
        gone = min(shelf.newest, default=90)
        steps += [insert(name, [90, 91], 1000), delete(name, [gone, 91])]
        if number == 0:
            steps.append(flush(name))
    return steps
