"""A job that fails in the background is tried again until it is done; reads and writes go on meanwhile."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from elanus import Collection, Elanus
from elanus.engine.builders import BuildFailed
from elanus.service.indexes import IndexState
from elanus.service.instance import Instance
from elanus.store.disk import LocalDisk
from elanus.testing.faulty import FaultyDisk
from tests.native_case import QUIET, until

ROWS, DIM = 12_000, 64
SLOW = {"M": 32, "efConstruction": 400}


def vectors(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((ROWS, DIM), np.float32)


def builder() -> psutil.Process | None:
    """The builder process of this process, once it has begun to work."""
    for child in psutil.Process().children():
        try:
            if "elanus.builder" in child.cmdline() and sum(child.cpu_times()[:2]) > 0.5:
                return child
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return None


def check(collection: Collection, rows: np.ndarray[tuple[int, int], np.dtype[np.float32]], wanted: int) -> None:
    assert collection.count() == wanted
    assert collection.search(rows[7], limit=1)[0].keys.tolist() == [7]


def test_an_index_whose_builder_is_killed_is_built_by_the_next_one(tmp_path: Path) -> None:
    rows = vectors(1)
    with closing(Instance.open(tmp_path, replace(QUIET, background=True))) as instance:
        collection = Elanus(instance).create_collection("c", dimension=DIM, metric="L2")
        collection.drop_index("vector")
        collection.insert({"id": np.arange(ROWS), "vector": rows})
        collection.flush()
        collection.create_index("vector", "HNSW", metric="L2", params=SLOW)
        until(lambda: builder() is not None)
        first = builder()
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        engine_collection = instance.collection(collection._ctx, "c")
        until(lambda: engine_collection.job_error is not None)
        assert isinstance(engine_collection.job_error, BuildFailed)
        assert collection.describe_index("vector").state is IndexState.IN_PROGRESS
        check(collection, rows, ROWS)
        collection.insert({"id": [ROWS], "vector": rows[:1] + 100})
        until(lambda: collection.describe_index("vector").state is IndexState.FINISHED)
        until(lambda: engine_collection.job_error is None)
        assert not list((tmp_path / "scratch").iterdir())
        check(collection, rows, ROWS + 1)


def test_rows_that_could_not_be_sealed_are_sealed_later(tmp_path: Path) -> None:
    rows = vectors(2)
    disk = FaultyDisk(LocalDisk(tmp_path))
    with closing(Instance.open(tmp_path, replace(QUIET, background=True, seal_rows=ROWS), disk=disk)) as instance:
        collection = Elanus(instance).create_collection("c", dimension=DIM, metric="L2")
        fault = disk.fail("link", "*.column", errno.ENOSPC, times=2)
        collection.insert({"id": np.arange(ROWS), "vector": rows})
        engine_collection = instance.collection(collection._ctx, "c")
        until(lambda: engine_collection.job_error is not None)
        assert "ENOSPC" in str(engine_collection.job_error)
        assert not engine_collection.manifest.segments
        check(collection, rows, ROWS)
        collection.delete([3])
        until(lambda: bool(engine_collection.manifest.segments))
        assert fault.hits == 2
        check(collection, rows, ROWS - 1)
    with closing(Instance.open(tmp_path, QUIET)) as instance:
        check(Elanus(instance).collection("c"), rows, ROWS - 1)
