"""Opens what a crash left and holds it against the ledger; see `crash_script` for the lives that are interrupted.

Of every state that is opened:

* what was acknowledged is there, and what was under way is there wholly or not at all;
* count, query, search and get agree with each other and with the model;
* every file that a manifest names is whole;
* a write that was under way under a name is done once, when it is sent again;
* the engine that opened it takes writes, seals them, and has them when it is opened once more;
* in some, power is lost again while all that happens; in some garbage is collected, until only what is named is left.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from traceback import format_exc

from elanus import Elanus
from elanus.model.timestamps import FakeClock
from elanus.segment.blocks import verify_file
from elanus.store.disk import LocalDisk
from elanus.testing.crash import CrashFolder, CrashState, crash_states
from elanus.testing.recording import RecordingDisk
from tests.crash_model import World, check_reads, read
from tests.crash_script import (
    BEFORE_A_KILL,
    INTERRUPTED,
    SCRIPTS,
    TINY,
    Killed,
    Life,
    Step,
    cut_log,
    delete,
    engine_collection,
    flush,
    improve,
    insert,
    open_over,
    random_script,
)

MOST_FAILURES = 3
"""A defect shows in hundreds of states; a few tell it."""

CLOCKS_S = (1.0, 10.0, -3600.0)
"""How far the clock is from where the recording began: also an hour back. History is then kept for an hour longer."""

AGAIN_EVERY = 10
"""In one of so many states power is lost again, three times."""

GARBAGE_EVERY = 5
"""In one of so many states garbage is collected, unless the clock stands back."""


@dataclass(frozen=True, slots=True)
class Task:
    """A life, and how many of its states to open.

    `script` is the name of one of `SCRIPTS`, the seed of a random one, or an `Interrupted`: then there are many lives,
    and so many states of each are opened.
    """

    script: str | int | Interrupted
    states: int
    seed: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """`INTERRUPTED[step]`, killed after every number of changes, in turn; at random some are left out if not `all`."""

    step: int
    all: bool


@dataclass(slots=True)
class Report:
    """What became of a task, or of several. `tried` counts states, and what was special about them."""

    tried: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def states(self) -> int:
        return self.tried["states"]


def run_tasks(tasks: Iterable[Task]) -> Report:
    """Run all, in as many processes as there are cores."""
    total = Report()
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for report in pool.map(run_task, tasks):
            total.tried += report.tried
            total.failures += report.failures
    return total


def run_task(task: Task) -> Report:
    report = Report()
    with folder_in_memory() as base:
        try:
            if isinstance(task.script, Interrupted):
                _run_kills(task, task.script, base, report)
            else:
                _run_script(task, base, report)
        except Exception:  # noqa: BLE001 - told with the task, and after the other tasks
            report.failures.append(f"{task}: {format_exc()}")
    return report


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="elanus-crash-", dir=memory if os.access(memory, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


def _run_script(task: Task, base: Path, report: Report) -> None:
    """A life, and its states: one of every moment before the second of any."""
    assert not isinstance(task.script, Interrupted)
    life = Life(base / "recorded")
    for step in SCRIPTS[task.script] if isinstance(task.script, str) else random_script(task.script):
        life.run(step(life.world) if callable(step) else step)
    life.close()
    _check_states(task, life, base, report, 0)


def _run_kills(task: Task, killed: Interrupted, base: Path, report: Report) -> None:
    """One life after the other, until the step is through before its process dies.

    What was read after the kill has to be there after a power failure, also when the log has been cut meanwhile.
    """
    rng = random.Random(task.seed)
    changes = 0
    while not report.failures:
        folder = base / str(changes)
        life = Life(folder / "recorded")
        for before in BEFORE_A_KILL:
            life.run(before)
        life.run(Killed(INTERRUPTED[killed.step], changes))
        opened_again = life.recording.marks[-1][0]
        life.run(cut_log())
        if life.world.shelves:
            life.run(insert(min(life.world.shelves), [30], 9))
        life.close()
        _check_states(task, life, folder, report, opened_again)
        shutil.rmtree(folder)
        if not life.died:
            return
        changes += 1 if killed.all else rng.randrange(1, 10)


def _check_states(task: Task, life: Life, base: Path, report: Report, first: int) -> None:
    rng = random.Random(task.seed)
    folder, nested = CrashFolder(base / "states"), CrashFolder(base / "nested")
    end = report.states + task.states
    for number, state in enumerate(chosen_states(life, task.states, rng, first)):
        if report.states >= end:
            return
        again = report.states + 3 < end and number % AGAIN_EVERY == 0
        try:
            check_state(life, state, folder, random.Random(number), report.tried, nested if again else None)
        except Exception:  # noqa: BLE001 - whatever it is, it has to be told with its state
            report.failures.append(
                f"{task}, state {number}: power lost after {state.operations} of {len(life.recording.operations)} "
                f"operations, in {under_way(life, state)}; {state.loss.name}: {format_exc(-3)}"
            )
            if len(report.failures) >= MOST_FAILURES:
                return


def chosen_states(life: Life, wanted: int, rng: random.Random, first: int) -> list[CrashState]:
    """`wanted` states or a few less, in random order: one of every moment before the second of any."""
    moments = len(life.recording.operations) + 1 - first
    states = list(crash_states(life.recording, rng, first=first, repeat=1 + wanted // (3 * moments)))
    rng.shuffle(states)
    seen: Counter[int] = Counter()
    ranked = []
    for state in states:
        ranked.append((seen[state.operations], state))
        seen[state.operations] += 1
    ranked.sort(key=lambda item: item[0])
    return [state for _, state in ranked[:wanted]]


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
    clock = FakeClock()
    moved_s = rng.choice(CLOCKS_S)
    clock.advance(moved_s)
    disk = RecordingDisk(LocalDisk(path)) if nested else LocalDisk(path)
    db = open_over(disk, path, TINY, clock)
    world = check_opened(db, allowed)
    check_files(db, path)
    cut = db._instance.engine._log_file.cut is not None
    tried.update({"states": 1, state.loss.name: 1, "torn tails": cut, "unacknowledged and there": world != allowed[0]})
    worlds = [world]
    for step in afterwards(life, state, world, collecting=moved_s > 0 and tried["states"] % GARBAGE_EVERY == 0):
        step.do(db)
        worlds.append(step.outcomes(worlds[-1])[-1])
    db.close()
    db = open_over(disk, path, TINY, clock)
    check_opened(db, worlds[-1:])
    db.close()
    if nested is not None:
        assert isinstance(disk, RecordingDisk)
        first = rng.randrange(len(disk.recording.operations))
        for again in islice(crash_states(disk.recording, rng, first=first), 3):
            path = nested.place(again)
            db = open_over(LocalDisk(path), path, TINY, clock)
            check_opened(db, worlds)
            db.close()
            tried.update({"states": 1, "of a second power failure": 1})


def check_opened(db: Elanus, allowed: Sequence[World]) -> World:
    """The one of `allowed` that `db` holds."""
    found = read(db)
    world = next((world for world in allowed if world.found == found), None)
    if world is None:
        expected = [world.found for world in allowed]
        for name in {*expected[0], *found}:
            assert found.get(name) in [e.get(name) for e in expected], (
                f"{name} is {found.get(name)}, and may be {[e.get(name) for e in expected]}"
            )
        raise AssertionError(f"{found} is none of {expected}")
    check_reads(db, world)
    return world


def check_files(db: Elanus, path: Path) -> None:
    """What is named is whole."""
    engine = db._instance.engine
    for collection_id in db._instance.catalog.state.collection_ids():
        collection = engine.collection(collection_id)
        for entry in collection.manifest.segments.values():
            deletes = entry.deletes.key if entry.deletes is not None else ""
            for key in entry.keys() - {deletes}:
                verify_file(collection.store.local_path(key))
    assert not any((path / "scratch").iterdir()), "scratch is emptied at every opening"


def afterwards(life: Life, state: CrashState, world: World, *, collecting: bool) -> list[Step]:
    """What was under way once more, if it may be, and a few writes on everything that is there, some of them sealed."""
    interrupted = under_way(life, state)
    step = interrupted.step if isinstance(interrupted, Killed) else interrupted
    steps = [step] if step is not None and step.named else []
    for number, (name, shelf) in enumerate(sorted(world.shelves.items())):
        gone = min(shelf.newest, default=90)
        steps += [insert(name, [90, 91], 1000), delete(name, [gone, 91])]
        if number == 0:
            steps.append(flush(name))
            if collecting:
                steps += [improve(name), Step("look for garbage", lambda db, name=name: check_no_garbage(db, name))]
    return steps


def under_way(life: Life, state: CrashState) -> Step | Killed | None:
    """The step in which power was lost; None where all had been acknowledged."""
    return next(iter(life.steps[len(state.marks) :]), None)


def check_no_garbage(db: Elanus, name: tuple[str, str]) -> None:
    """After a collection of garbage without history, a segment's file is there if it is named, and no other is."""
    collection = engine_collection(db, name)
    there = set(collection.store.keys(f"collections/{collection.id}/segments/"))
    named = set(collection.manifest.keys())
    assert there == named, f"garbage: {there - named}; missing: {named - there}"
