"""Writes that arrive in the middle of jobs, in every order a scripted scheduler can force.

A job is a generator that yields between its steps, so "in the middle" is between any two of them. Every order of the
steps of one job and a list of writes, and a sample of the orders of two jobs and writes, is run, checked against a
dict after each step, and checked again after the collection was opened anew from what is on the disk.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import pytest

from elanus.engine.collection import Collection
from elanus.engine.jobs.collect import collect
from elanus.engine.jobs.improve import build_index, due_build, merge
from elanus.engine.jobs.seal import seal
from elanus.log.record import WriteRecord
from elanus.model.types import DataType
from tests.conftest import Effort
from tests.engine_case import EngineCase, config

Job = Callable[[Collection], Iterator[str]]


def merge_all(collection: Collection) -> Iterator[str]:
    return merge(collection, tuple(collection.manifest.segments), collection.host.jobs.builders)


def build_first(collection: Collection) -> Iterator[str]:
    due = due_build(collection)
    if due is not None:  # a merge may have brought the index along
        yield from build_index(collection, *due, collection.host.jobs.builders)


JOBS: dict[str, Job] = {"seal": seal, "merge": merge_all, "build": build_first, "collect": collect}

WRITES: tuple[Callable[[EngineCase], None], ...] = (
    lambda case: case.delete([1, 11, 21]),
    lambda case: case.upsert([2, 12, 22, 30], value=5),
    lambda case: case.delete([2, 3, 30]),
)
"""Each touches rows of both sealed segments and of the growing one; the last undoes part of the one before."""


def start(folder: Path, key_type: DataType = DataType.INT64, follows: bool = False) -> EngineCase:
    """Two sealed segments of ten rows, one of them with deletes and an index, and ten growing rows.

    Where another engine `follows`, what it may be at is kept for a while; otherwise garbage goes at once.
    """
    case = EngineCase(folder, config(retention_s=60.0 if follows else 0.0), key_type=key_type, follows=follows)
    case.create_index()
    case.insert(range(10))
    case.collection.flush()
    case.collection.wait_for_indexes()
    case.insert(range(10, 20))
    case.delete([4])
    case.collection.flush()
    case.delete([5, 15])
    case.insert(range(20, 30))
    return case


def steps_of(folder: Path, job: str) -> int:
    """How many times the job can be stepped when nothing else happens."""
    case = start(folder)
    steps = len(list(JOBS[job](case.collection))) + 1
    case.close()
    return steps


def schedules(turns: dict[str, int]) -> Iterator[tuple[str, ...]]:
    """Every order of the named turns, each name as often as it says."""
    names = [name for name, count in turns.items() if count]
    if not names:
        yield ()
    for name in names:
        for rest in schedules({**turns, name: turns[name] - 1}):
            yield (name, *rest)


def run_schedule(case: EngineCase, schedule: tuple[str, ...]) -> None:
    """Let jobs and writes have their turns; what a job has left to do then, it does at the end."""
    running: dict[str, Iterator[str]] = {}
    writes = iter(WRITES)
    for turn in schedule:
        if turn == "write":
            next(writes)(case)
        else:
            if turn not in running:
                running[turn] = JOBS[turn](case.collection)
            next(running[turn], None)
        case.check()
    for job in running.values():
        for _ in job:
            case.check()
    case.check()


def check_and_reopen(case: EngineCase) -> None:
    """As a crash right after the last step would leave it: what is on the disk has to be all of it."""
    case.check()
    case.reopen()
    case.check()
    case.close()


@pytest.mark.parametrize("follows", [False, True], ids=["alone", "followed"])
@pytest.mark.parametrize("job", JOBS)
def test_writes_between_any_two_steps_of_a_job_are_kept(quick_path: Path, job: str, follows: bool) -> None:
    turns = {job: steps_of(quick_path / "steps", job), "write": len(WRITES)}
    for number, schedule in enumerate(schedules(turns)):
        case = start(quick_path / str(number), follows=follows)
        run_schedule(case, schedule)
        check_and_reopen(case)


@pytest.mark.parametrize("jobs", list(combinations(JOBS, 2)), ids="+".join)
def test_writes_between_the_steps_of_two_jobs_are_kept(
    quick_path: Path, jobs: tuple[str, str], effort: Effort, seed: int
) -> None:
    turns = {job: steps_of(quick_path / f"steps-{job}", job) for job in jobs}
    every = list(schedules({**turns, "write": 2}))
    drawn = random.Random(seed).sample(every, min(len(every), effort.schedules))
    for number, schedule in enumerate(drawn):
        case = start(quick_path / str(number), follows=bool(number % 2))
        run_schedule(case, schedule)
        check_and_reopen(case)
        shutil.rmtree(quick_path / str(number))


@pytest.mark.parametrize("job", JOBS)
def test_a_delete_that_is_applied_but_not_yet_seen_when_a_job_begins_is_kept(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    case = start(quick_path)
    follower, steps = case.collection.follower, JOBS[job](case.collection)
    prepare = follower.prepare

    def and_the_job_begins(records: Sequence[WriteRecord]) -> None:
        prepare(records)
        next(steps, None)

    monkeypatch.setattr(follower, "prepare", and_the_job_begins)
    case.delete(sorted(case.expected)[::2])
    monkeypatch.undo()
    for _ in steps:
        case.check()
    check_and_reopen(case)


def test_a_varchar_key_behaves_the_same(quick_path: Path) -> None:
    turns = {"seal": steps_of(quick_path / "steps", "seal"), "write": 2}
    for number, schedule in enumerate(schedules(turns)):
        case = start(quick_path / str(number), DataType.VARCHAR)
        run_schedule(case, schedule)
        check_and_reopen(case)


def test_a_job_abandoned_after_any_step_leaves_everything_as_it_was(quick_path: Path) -> None:
    for name, make in JOBS.items():
        for stop in range(steps_of(quick_path / f"{name}-steps", name)):
            case = start(quick_path / f"{name}-{stop}")
            job = make(case.collection)
            for _ in range(stop):
                next(job, None)
            job.close()  # type: ignore[attr-defined]
            case.delete([6, 16, 26])
            case.check()
            case.reopen()
            case.check()
            case.collection.flush()
            case.collection.compact()
            case.check()
            case.reopen()
            case.check()
            case.close()
