"""Finding keys among rows that keep arriving: sorted runs, merged as a log-structured merge tree merges them.

New probes go to a short unsorted tail; a full tail becomes a sorted run, and runs of like size are merged, so that
there are O(log n) of them and a row is sorted again O(log n) times. Everything published is immutable, but for the
tail, which only grows: a `Keys` taken earlier looks at no more of it than there was.

Invariants, between calls:

- run and tail together hold every row once; the tail holds rows `tail_start ..` in order;
- a run's probes rise; each run was more than `_FAN` times as long as the next when that was made, or is at least
  `_LONGEST` long.

Only one thread (the one that appends) calls `append`; any thread may look things up in a `Keys`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elanus.segment.matches import Places, matches
from elanus.segment.probe import Probes
from elanus.segment.view import Rows

_TAIL = 512
"""Unsorted probes at most: a lookup sorts them in some 5 µs, as long as a search of one run takes."""

_FAN = 3
_LONGEST = 1 << 18
"""Runs this long are merged no more, so that no append waits for more than a few milliseconds of merging."""


class _Run(NamedTuple):
    probes: Probes
    rows: npt.NDArray[np.uint32]
    lowest: int
    highest: int


class Keys(NamedTuple):
    """The rows that were there when it was taken, findable by probe."""

    runs: tuple[_Run, ...]
    tail: Probes
    tail_start: int
    tail_rows: int

    def find(self, wanted: Probes) -> tuple[Places, Rows]:
        """All pairs (i, row) where the row's probe is `wanted[i]`, in no order."""
        if len(wanted) == 1:
            ordered, order = wanted, None
        else:
            order = np.argsort(wanted)
            ordered = wanted[order]
        lowest, highest = int(ordered[0]), int(ordered[-1])
        found: list[tuple[Places, Rows]] = []
        for run in self.runs:
            if run.lowest <= highest and run.highest >= lowest:
                which, places = matches(run.probes, ordered)
                if len(which):
                    found.append((which, run.rows[places].astype(np.int64)))
        if self.tail_rows:
            which, rows = self._find_in_tail(ordered)
            if len(which):
                found.append((which, rows))
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        which, rows = found[0] if len(found) == 1 else (np.concatenate(parts) for parts in zip(*found, strict=True))
        return which if order is None else order[which], rows

    def _find_in_tail(self, ordered: Probes) -> tuple[Places, Rows]:
        tail = self.tail[: self.tail_rows]
        if len(ordered) == 1:
            (rows,) = (tail == ordered).nonzero()
            return np.zeros(len(rows), np.int64), rows + self.tail_start
        by_probe = np.argsort(tail)
        which, places = matches(tail[by_probe], ordered)
        return which, by_probe[places] + self.tail_start


class KeyRuns:
    """The probes of a growing segment's rows."""

    def __init__(self) -> None:
        self._runs: tuple[_Run, ...] = ()
        self._tail: Probes = np.empty(_TAIL, np.uint64)
        self._tail_start = 0
        self._tail_rows = 0

    def append(self, probes: Probes) -> None:
        """Add the probes of the rows that follow."""
        count = len(probes)
        if self._tail_rows + count <= _TAIL:
            self._tail[self._tail_rows : self._tail_rows + count] = probes
            self._tail_rows += count
            return
        fresh = np.concatenate((self._tail[: self._tail_rows], probes))
        self._runs = _with_run(self._runs, _sorted_run(fresh, self._tail_start))
        self._tail_start += len(fresh)
        # Another array: those who took `Keys` earlier go on reading the old one.
        self._tail = np.empty(_TAIL, np.uint64)
        self._tail_rows = 0

    def keys(self) -> Keys:
        return Keys(self._runs, self._tail, self._tail_start, self._tail_rows)


def _sorted_run(probes: Probes, first_row: int) -> _Run:
    order = np.argsort(probes)
    ordered = probes[order]
    return _Run(ordered, (order + first_row).astype(np.uint32), int(ordered[0]), int(ordered[-1]))


def _with_run(runs: tuple[_Run, ...], run: _Run) -> tuple[_Run, ...]:
    while runs and len(runs[-1].probes) < min(_FAN * len(run.probes), _LONGEST):
        run = _merged(runs[-1], run)
        runs = runs[:-1]
    return (*runs, run)


def _merged(a: _Run, b: _Run) -> _Run:
    probes = np.concatenate((a.probes, b.probes))
    rows = np.concatenate((a.rows, b.rows))
    if a.highest > b.lowest:
        # The stable sort is a merge sort: two sorted halves are merged in one pass.
        order = np.argsort(probes, kind="stable")
        probes, rows = probes[order], rows[order]
    return _Run(probes, rows, min(a.lowest, b.lowest), max(a.highest, b.highest))
