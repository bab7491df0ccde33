"""One step of a script, with one operation of the disk failing in the middle of it, and what has to hold then.

* The step raises a `StoreError` that says what failed and why, or is done all the same.
* Reads go on: they answer as before the step or as after it, nothing in between.
* Writes go on. Only where a sync failed the writer may stop instead, and says so.
* When power is lost, and when the folder is opened again, everything acknowledged is there, and the step is wholly or
  not at all.
"""

from __future__ import annotations

import errno
import random
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

from elanus import Elanus, StoreError, WriterStopped
from elanus.model.timestamps import FakeClock
from elanus.store.disk import LocalDisk
from elanus.testing.crash import CrashFolder, Loss, crash_states
from elanus.testing.faulty import Fault, FaultyDisk, Operation
from elanus.testing.recording import RecordingDisk
from tests.crash_check import check_opened
from tests.crash_model import World
from tests.crash_script import BEFORE_A_KILL, REOPEN, TINY, B, Life, Step, insert, open_over

SYNCS: frozenset[Operation] = frozenset({"sync", "sync_folder"})
NEED_SPACE: frozenset[Operation] = frozenset({"create", "write", "preallocate", "make_folder", "link"})
LOSSES = (Loss.EVERYTHING, Loss.TORN, Loss.SCATTERED)


def prepare(folder: Path) -> World:
    """Make the folder that the steps begin with, and close it."""
    life = Life(folder)
    for step in BEFORE_A_KILL:
        life.run(step)
    life.close()
    return life.world


class FaultCase:
    """A copy of the folder `prepared`, open over a disk that can fail and remembers."""

    def __init__(self, prepared: Path, world: World, folder: Path) -> None:
        shutil.copytree(prepared, folder / "live")
        self._folder = folder
        self.faulty = FaultyDisk(LocalDisk(folder / "live"))
        self._disk = RecordingDisk(self.faulty)
        self._clock = FakeClock()
        self._clock.advance(10)
        self.worlds: list[World] = [world]
        self.db = self._open()
        self._check_reads()

    def run(self, step: Step, fault: Fault, *, stays: bool = False) -> None:
        """`step` with `fault` in it, and all that has to hold; the fault `stays` until the step's reads are checked."""
        outcomes = step.outcomes(self.worlds[0])
        try:
            if step is REOPEN:
                self.db.close()
                self.db = self._open()
            else:
                step.do(self.db)
            self.worlds = [outcomes[-1]]
        except StoreError as error:
            self.worlds = [*self.worlds, *outcomes]
            assert fault.hits, "nothing had failed"
            assert re.search(r"\((ENOSPC|EIO|EMFILE)\)", str(error)), f"no reason in: {error}"  # noqa: PT017
            if step is REOPEN:
                fault.heal()
                self.db = self._open()
        if step is REOPEN:
            stays = False
            fault.heal()
        self._check_reads()
        if stays and fault.hits:
            with pytest.raises(StoreError, match="ENOSPC"):
                self._write(50)
            self._check_reads()
        fault.heal()
        stopped = self._goes_on(50)
        assert not stopped or fault.kinds & SYNCS, "the writer stopped, though no sync had failed"
        self._lose_power(self.worlds)
        self.db.close()
        self.db = self._open()
        self.worlds = [self._check_reads()]
        assert not self._goes_on(51)
        self._check_reads()
        self._lose_power(self.worlds)
        self.db.close()

    def _open(self) -> Elanus:
        return open_over(self._disk, self._folder / "live", TINY, self._clock)

    def _check_reads(self) -> World:
        return check_opened(self.db, self.worlds)

    def _write(self, key: int) -> Step:
        step = insert(B, [key], key)
        self._clock.advance(0.001)
        step.do(self.db)
        return step

    def _goes_on(self, key: int) -> bool:
        """Write; returns whether the writer has stopped."""
        try:
            step = self._write(key)
        except WriterStopped as error:
            assert re.search(r"\((ENOSPC|EIO|EMFILE)\)", str(error)), f"no reason in: {error}"  # noqa: PT017
            return True
        self.worlds = [step.outcomes(world)[-1] for world in self.worlds]
        return False

    def _lose_power(self, worlds: Sequence[World]) -> None:
        rng = random.Random(len(self._disk.recording.operations))
        state = next(
            crash_states(self._disk.recording, rng, [rng.choice(LOSSES)], first=len(self._disk.recording.operations))
        )
        base = self._folder / f"power-{len(self._disk.recording.operations)}"
        path = CrashFolder(base).place(state)
        db = open_over(LocalDisk(path), path, TINY, self._clock)
        check_opened(db, worlds)
        db.close()
        shutil.rmtree(base)


def sweep(
    prepared: Path,
    world: World,
    base: Path,
    step: Step,
    kinds: Collection[Operation],
    number: int,
    skips: Iterator[int],
    *,
    stays: bool = False,
) -> int:
    """Run `step` with the first, second, … operation of `kinds` failing with errno `number`; returns how many failed.

    With `stays` every later one fails too, until the step's reads have been checked.
    """
    struck = 0
    for skip in skips:
        folder = base / f"{struck}-{skip}"
        case = FaultCase(prepared, world, folder)
        fault = case.faulty.fail(kinds, "*", number, skip=skip, times=None if stays else 1, written=skip % 3 * 40)
        try:
            case.run(step, fault, stays=stays)
        except Exception as error:
            what = f"{step}, {errno.errorcode[number]} at number {skip} of {sorted(kinds)}"
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
        shutil.rmtree(folder)
        if not fault.hits:
            break
        struck += 1
    return struck
