"""Writes that arrive in the middle of jobs, in every order a scripted scheduler can force.

A job is a generator that yields between its steps, so "in the middle" is between any two of them. Every interleaving
of the steps of one or two jobs with a list of writes is run, checked against a dict, and checked again after the
collection was opened anew from what is on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import pytest
from tests.engine_case import EngineCase

from elanus.engine.collection import Collection
from elanus.engine.jobs.collect import collect
from elanus.engine.jobs.improve import build_index, due_build, merge
from elanus.engine.jobs.seal import seal
from elanus.model.types import DataType

Job = Callable[[Collection], Iterator[str]]


def merge_all(collection: Collection) -> Iterator[str]:
    return merge(collection, tuple(collection.manifest.segments), collection.host.jobs.builders)


def build_first(collection: Collection) -> Iterator[str]:
    due = due_build(collection)
    assert due is not None
    return build_index(collection, *due, collection.host.jobs.builders)


JOBS: dict[str, Job] = {"seal": seal, "merge": merge_all, "build": build_first, "collect": collect}

WRITES: tuple[Callable[[EngineCase], None], ...] = (
    lambda case: case.delete([1, 11, 21]),
    lambda case: case.upsert([2, 12, 22, 30], value=5),
    lambda case: case.delete([2, 3, 30]),
)
"""Each touches rows of both sealed segments and of the growing one; the last undoes part of the one before."""


def start(folder: Path, key_type: DataType = DataType.INT64) -> EngineCase:
    """Two sealed segments of ten rows, one of them with deletes and an index, and ten growing rows."""
    case = EngineCase(folder, key_type=key_type)
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


def steps_of(folder: Path, jobs: tuple[str, ...]) -> int:
    """How many times the jobs can be stepped in all, when nothing else happens."""
    case = start(folder)
    running = [JOBS[name](case.collection) for name in jobs]
    steps = sum(len(list(job)) + 1 for job in running)
    case.engine.close()
    return steps


def interleavings(steps: int, writes: int) -> list[tuple[int, ...]]:
    """For every interleaving: at which of the `steps + writes` turns the writes happen."""
    return list(combinations(range(steps + writes), writes))


def run_interleaved(case: EngineCase, jobs: tuple[str, ...], turns: tuple[int, ...], steps: int) -> None:
    """Step the jobs in turn, with a write wherever `turns` says."""
    running = [JOBS[name](case.collection) for name in jobs]
    writes = iter(WRITES)
    stepped = 0
    for turn in range(steps + len(turns)):
        if turn in turns:
            next(writes)(case)
            case.check()
        elif running:
            job = running[stepped % len(running)]
            stepped += 1
            if next(job, None) is None:
                running.remove(job)
            case.check()
    for job in running:
        for _ in job:
            case.check()


@pytest.mark.parametrize("jobs", [("seal",), ("merge",), ("build",), ("collect",)], ids=lambda jobs: "+".join(jobs))
def test_writes_between_any_two_steps_of_a_job_are_kept(tmp_path: Path, jobs: tuple[str, ...]) -> None:
    steps = steps_of(tmp_path / "steps", jobs)
    for number, turns in enumerate(interleavings(steps, len(WRITES))):
        case = start(tmp_path / str(number))
        run_interleaved(case, jobs, turns, steps)
        case.reopen()
        case.check()
        case.engine.close()


@pytest.mark.parametrize(
    "jobs", [("seal", "merge"), ("seal", "build"), ("merge", "build"), ("merge", "collect"), ("seal", "collect")],
    ids=lambda jobs: "+".join(jobs),
)  # fmt: skip
def test_writes_between_the_steps_of_two_jobs_are_kept(tmp_path: Path, jobs: tuple[str, ...]) -> None:
    steps = steps_of(tmp_path / "steps", jobs)
    for number, turns in enumerate(interleavings(steps, 2)):
        case = start(tmp_path / str(number))
        run_interleaved(case, jobs, turns, steps)
        case.collection.flush()
        case.reopen()
        case.check()
        case.engine.close()


def test_a_varchar_key_behaves_the_same(tmp_path: Path) -> None:
    steps = steps_of(tmp_path / "steps", ("seal",))
    for number, turns in enumerate(interleavings(steps, 2)):
        case = start(tmp_path / str(number), DataType.VARCHAR)
        run_interleaved(case, ("seal",), turns, steps)
        case.reopen()
        case.check()
        case.engine.close()


def test_a_job_abandoned_after_any_step_leaves_everything_as_it_was(tmp_path: Path) -> None:
    for name, make in JOBS.items():
        for stop in range(steps_of(tmp_path / f"{name}-steps", (name,))):
            case = start(tmp_path / f"{name}-{stop}")
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
            case.engine.close()
