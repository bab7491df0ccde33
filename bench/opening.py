"""Opening: of one large collection, and of very many small ones. Every open runs in a process of its own.

Warm means that the files are in the page cache; cold that they were dropped from it (where the system offers that)
before the process started.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bench import database
from bench.context import Context, probe
from bench.data import nearest
from bench.measure import Spread
from bench.report import Figure

ROWS, K = 1_000_000, 10
COLLECTIONS, ROWS_EACH = 10_000, 10
IDLE_S = 20.0


def large(context: Context) -> list[Figure]:
    """A million indexed rows: from `open` to the first correct search."""
    count = context.rows(ROWS)
    folder = context.prepared("million", lambda path: database.build(path, context.source.rows(count), {}))
    query = context.source.queries(1)
    answer = context.work / "first-query.npz"
    if not answer.exists() or np.load(answer)["count"] != count:
        _, truth = nearest(context.source.rows(count), query, K)
        np.savez(answer, query=query, truth=truth, count=count)
    warm, cold = [], []
    for _ in range(context.rounds):
        _forget(folder)
        cold.append(probe("open", folder, str(answer)))
        warm.append(probe("open", folder, str(answer)))
    right = min(run["recall"] for run in warm + cold)
    figures = [
        Figure("open", f"{count:,} rows, open to first answer, warm", _of(warm, "first_s"), "s", 0.5),
        Figure("open", "first answer's recall, lowest", Spread.of([right]), "", 0.9, "at least"),
        Figure("open", "imports", _of(warm, "imports_s"), "s"),
        Figure("open", "memory after the first answer, anonymous", _of(warm, "anonymous_mib"), "MiB"),
    ]
    if hasattr(os, "posix_fadvise"):
        figures.append(Figure("open", "the same, files not in the page cache", _of(cold, "first_s"), "s"))
    return figures


def many(context: Context) -> list[Figure]:
    """Ten thousand small collections: open, memory, and what an idle database costs."""
    count = context.rows(COLLECTIONS)
    folder = context.prepared("many", lambda path: database.build_many(path, count, ROWS_EACH, context.source.dim))
    runs = [probe("many", folder, str(count)) for _ in range(context.rounds)]
    idle = probe("idle", folder, str(IDLE_S))
    return [
        Figure("many", f"{count:,} collections of {ROWS_EACH} rows, open", _of(runs, "open_s"), "s", 2.0),
        Figure("many", "memory after open, whole process", _of(runs, "rss_mib"), "MiB", 200 * 1e6 / 2**20),
        Figure("many", "first answer of one of them, kernels loaded with it", _of(runs, "first_s"), "s"),
        Figure("many", "memory after that answer, whole process", _of(runs, "later_rss_mib"), "MiB"),
        Figure("many", f"idle for {IDLE_S:.0f} s, CPU", Spread.of([idle["cpu_percent"]]), "%", 1.0),
    ]


def _of(runs: list[dict[str, float]], name: str) -> Spread:
    return Spread.of([run[name] for run in runs])


def _forget(folder: Path) -> None:
    """Drop the pages of every file below `folder` from the page cache, as far as the system offers that."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)
