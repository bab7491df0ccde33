"""Elanus as the benchmarks use it: made, filled and opened through its native API, as a user would.

Rows have keys 0, 1, …, so that in a single sealed segment row and key are the same number.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import elanus
from bench.data import Vectors
from elanus import DataType, Field, Schema, Settings
from elanus.model.types import Metric

NAME = "rows"
GROUPS = 100
"""Different values of the field `group`."""

BATCH_ROWS = 50_000

BULK = Settings(
    seal_rows=1 << 30,
    seal_idle_rows=1 << 30,
    seal_bytes=1 << 40,
    unsealed_bytes=1 << 40,
    log_bytes=1 << 40,
    log_age_s=1e9,
    build_threads=os.cpu_count() or 1,
)
"""Only for preparing: everything becomes one segment, and its graph is built on all cores."""


def load() -> None:
    """Import what Elanus leaves to be imported by the first search."""
    importlib.import_module("elanus.vector.open")


def groups(count: int) -> npt.NDArray[np.int64]:
    """The field `group` of the first `count` rows."""
    return np.random.default_rng(3).integers(0, GROUPS, count)


class Rows:
    """A collection of keys and vectors."""

    def __init__(self, db: elanus.Elanus, name: str) -> None:
        self._collection = elanus.Collection(db._instance, db._ctx, name)  # not looked up before it is used

    @property
    def dim(self) -> int:
        return self._collection.schema.field("vector").dim or 0

    def insert(self, keys: npt.NDArray[Any], vectors: Vectors) -> None:
        self._collection.insert({"id": keys, "vector": vectors})

    def nearest(self, query: Vectors, k: int, params: Mapping[str, Any]) -> npt.NDArray[np.int64]:
        """The keys of the `k` nearest rows to `query` (dim,), nearest first."""
        return self._collection.search(query, limit=k, params=params)[0].keys

    def nearest_scores(self, query: Vectors, k: int, params: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        """Their squared distances."""
        return self._collection.search(query, limit=k, params=params)[0].scores

    def count(self, condition: str) -> int:
        return self._collection.count(condition)

    def segments(self) -> str:
        """How many rows each sealed segment has, and how many of the segments have their graph."""
        sealed = self._snapshot().sealed
        rows = " + ".join(f"{unit.view.rows:,}" for unit in sealed)
        return f"{rows} rows, {sum(bool(unit.indexes) for unit in sealed)} of {len(sealed)} with a graph"

    def bare_graph(self) -> Any:
        """faiss's index of the only segment's graph: the links and codes that `nearest` walks, compared by L2."""
        from elanus.vector import graph  # with it come compilers and kernels, whose memory others here measure

        (unit,) = self._snapshot().sealed
        (handle,) = unit.indexes.values()
        opened = handle.open()._open
        assert opened is not None
        codes, trained, _, slots, neighbors, m, entry, top, vectors = opened[1]._walked
        storage = graph.storage_for(graph.Codes.SQ8, Metric.L2, vectors.shape[1])
        graph.set_trained(storage, graph.Codes.SQ8, trained)
        storage.add_sa_codes(codes)
        index = graph.new_index(storage, m, 1)
        graph.set_links(index, (np.diff(slots) // m - 2).astype(np.uint8), neighbors, entry, top)
        return index

    def _snapshot(self) -> Any:
        of = self._collection
        return of._instance.collection(of._ctx, of.name).snapshot()


@contextmanager
def created(folder: Path, dim: int) -> Iterator[Rows]:
    """A new, empty collection of vectors with a graph by L2, under the default settings."""
    with elanus.open(folder) as db:
        _create(db, NAME, dim)
        yield Rows(db, NAME)


@contextmanager
def opened(folder: Path, name: str = NAME, *, touch: bool = True) -> Iterator[Rows]:
    """An existing collection, under the default settings; `touch` opens it before it is first used."""
    with elanus.open(folder) as db:
        if touch:
            db.collection(name).describe()
        yield Rows(db, name)


def build(folder: Path, rows: Vectors, params: Mapping[str, Any]) -> None:
    """One sealed segment of `rows` with their `groups`, and its graph: HNSW with `params`, AUTOINDEX without any."""
    in_groups = groups(len(rows))
    with elanus.open(folder, settings=BULK) as db:
        collection = db.create_collection(NAME, _schema(rows.shape[1], Field("group", DataType.INT64, default=0)))
        for begin in range(0, len(rows), BATCH_ROWS):
            part = slice(begin, begin + BATCH_ROWS)
            keys = np.arange(begin, begin + len(rows[part]))
            collection.insert({"id": keys, "vector": rows[part], "group": in_groups[part]})
        collection.flush()
        collection.create_index("vector", "HNSW" if params else "AUTOINDEX", metric="L2", params=params)
        collection.wait_for_indexes()


def build_many(folder: Path, count: int, rows_each: int, dim: int) -> None:
    """The collections c0, c1, …, of `rows_each` rows."""
    with elanus.open(folder) as db:
        for number in range(count):
            collection = _create(db, f"c{number}", dim)
            keys = np.arange(rows_each)
            collection.insert({"id": keys, "vector": np.full((rows_each, dim), number, np.float32) + keys[:, None]})


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)


def _create(db: elanus.Elanus, name: str, dim: int) -> elanus.Collection:
    collection = db.create_collection(name, _schema(dim))
    collection.create_index("vector", "AUTOINDEX", metric="L2")
    return collection


def _schema(dim: int, *more: Field) -> Schema:
    key = Field("id", DataType.INT64, is_primary=True)
    return Schema((key, Field("vector", DataType.FLOAT_VECTOR, dim=dim), *more))
