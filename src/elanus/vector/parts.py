"""A search as one compiled call, however many units it looks at.

What every unit is asked is written down once, as a table of numbers (`Parts`); a search then crosses from Python into
compiled code and back a single time. Each crossing lets go of the interpreter, and to get it back from a thread that
inserts can take longer than the search: measured with 100 inserts of ten rows a second beside it, a third of a
millisecond.

A part is a run of rows that is searched in one way: a graph, lists (an index's, or interim ones), or a scan. An interim
unit has two, what its lists cover and the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from elanus.model.types import Metric
from elanus.vector import part_kernels as columns
from elanus.vector.graph import Graph
from elanus.vector.interim import InterimIndex
from elanus.vector.ivf import Lists
from elanus.vector.metrics import CODE_OF, Bitmap, Merged, Rows, Vectors
from elanus.vector.payload import address

Table = npt.NDArray[np.int64]

HELD_US = 3.0
"""Searches expected to be as short keep the interpreter: letting go of it costs more when other threads want it."""


class Unit(NamedTuple):
    """What is true of all parts of a unit: `width` rows are asked for of the `passing` ones, and `more` says what the
    answer may lack then (see `kernels.merge`).
    """

    number: int
    rows: int
    width: int
    more: int
    vectors: Vectors
    keys: Rows
    bitmap: Bitmap | None


class Fetched(Protocol):
    """Stored vectors that are not all here yet."""

    @property
    def is_whole(self) -> bool: ...

    def present(self) -> npt.NDArray[np.bool_]:
        """What is here now, for `lacks`."""
        ...

    def lacks(self, rows: Rows, present: npt.NDArray[np.bool_]) -> bool:
        """Whether the vector of any of `rows` was not here when that was what was `present`."""
        ...

    def fetch(self, rows: Rows) -> None:
        """Return when the vectors of `rows` are here."""
        ...


class Part(NamedTuple):
    """A row of the table, and what its addresses point into. `fetched` are the vectors it reads where they are not all
    here; then it walks a graph whose codes are of one byte, and meets the same candidates whatever the vectors are.
    """

    row: npt.NDArray[np.int64]
    kept: tuple[Any, ...]
    fetched: Fetched | None = None

    @property
    def width(self) -> int:
        return int(self.row[columns.SHOWN])


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a search asks of its units, and the microseconds it is expected to take for one query."""

    table: Table
    microseconds: float
    kept: tuple[Any, ...]
    sparse: tuple[tuple[int, Fetched], ...]
    """The parts, by their places in the table, whose vectors were not all here when this was made."""

    @classmethod
    def of(cls, parts: Sequence[Part], microseconds: float) -> Parts:
        table = np.concatenate([part.row for part in parts]).reshape(-1, columns.WIDTH)
        sparse = tuple((at, part.fetched) for at, part in enumerate(parts) if part.fetched is not None)
        return cls(table, microseconds, tuple(part.kept for part in parts), sparse)


def scan(unit: Unit, first: int = 0) -> Part:
    """The rows from `first` on, each scored."""
    return _part(unit, columns.SCAN, (first,))


def lists(unit: Unit, searched: Lists | InterimIndex, nprobe: int, wanted: int) -> Part:
    """The rows in the `nprobe` nearest lists; with a filter in more, until `wanted` that pass were ranked."""
    table, centroids = searched.table, searched.centroids
    want = 0 if unit.bitmap is None else wanted
    about = (address(table), len(table), address(centroids), len(centroids), nprobe, want)
    return _part(unit, columns.LISTS, about, searched)


def graph(unit: Unit, walked: Graph, ef: int, fetched: Fetched | None = None) -> Part | None:
    """What a walk of `ef` finds; None where the graph's codes are not of one byte. `fetched` are the unit's vectors
    where they are not all here.
    """
    if walked.addresses is None:
        return None
    count = walked.overfetch * unit.width
    part = _part(unit, columns.GRAPH, (*walked.addresses, count, max(ef, count)), walked)
    return part._replace(fetched=fetched)


def search(metric: Metric, queries: Vectors, parts: Parts, k: int, *, distinct: bool) -> Merged:
    """The k best hits of each of `queries` (nq, d), by score, then key; with `distinct` of equal keys the best.

    `again` (nq,) says of which queries more has to be seen of some part.
    """
    if parts.sparse and not all(fetched.is_whole for _, fetched in parts.sparse):
        return _search_sparse(metric, queries, parts, k, distinct)
    return _search(metric, queries, parts, parts.table, k, distinct)


def _search(metric: Metric, queries: Vectors, parts: Parts, table: Table, k: int, distinct: bool) -> Merged:
    nq = len(queries)
    merged = Merged.empty(nq, k, nq)
    run = columns.search_parts_held if nq * parts.microseconds <= HELD_US else columns.search_parts
    run(CODE_OF[metric], queries, table, distinct, *merged)
    return merged


def _search_sparse(metric: Metric, queries: Vectors, parts: Parts, k: int, distinct: bool) -> Merged:
    """Search with what is here. Where a candidate was not, which is what counts, fetch all of them and search again."""
    table = parts.table.copy()
    met = []
    for at, fetched in parts.sparse:
        candidates = np.empty((len(queries), table[at, columns.COUNT]), np.int64)
        table[at, columns.CANDIDATES] = address(candidates)
        met.append((fetched, candidates))
    while True:
        present = [fetched.present() for fetched, _ in met]
        merged = _search(metric, queries, parts, table, k, distinct)
        rows = [candidates[candidates >= 0] for _, candidates in met]
        lacking = [i for i, (fetched, _) in enumerate(met) if fetched.lacks(rows[i], present[i])]
        if not lacking:
            return merged
        for i in lacking:
            met[i][0].fetch(np.unique(rows[i]))


def _part(unit: Unit, route: int, about: tuple[int, ...], *kept: Any) -> Part:
    row = np.zeros(columns.WIDTH, np.int64)
    bitmap = 0 if unit.bitmap is None else address(unit.bitmap)
    shared = (route, unit.number, unit.rows, unit.width, unit.more, address(unit.keys), address(unit.vectors), bitmap)
    row[: len(shared) + len(about)] = (*shared, *about)
    return Part(row, (unit, *kept))
