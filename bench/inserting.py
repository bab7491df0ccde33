"""Durable inserts against the bare disk.

A is an insert through the native API; it has returned when its rows are on the disk. B writes the same bytes to a
file and syncs it, with nothing else: what the disk itself allows. Batches come from one thread, single rows from
eight at once, so that group commit has something to group.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import database
from bench.context import Context
from bench.data import Vectors
from bench.measure import compare
from bench.report import Figure

BATCH, BATCHES = 5_000, 20
THREADS, SINGLE_ROWS = 8, 4_000


def run(context: Context) -> list[Figure]:
    rows = context.source.rows(max(BATCH, context.rows(BATCH * BATCHES)))
    what = f"{BATCH:,} × {rows.shape[1]} a batch, one thread"
    batches = compare(lambda: _batches(context, rows), lambda: _bare_batches(context, rows), context.rounds)
    singles = compare(lambda: _singles(context, rows), lambda: _bare_singles(context, rows), context.rounds)
    return [
        Figure("insert", "batches, durable", batches.a, "rows/s", 150_000, "at least", note=what),
        Figure("insert", "the same bytes written and synced", batches.b, "rows/s"),
        Figure("insert", "batches: Elanus / bare disk", batches.ratio, "×"),
        Figure("insert", f"single rows, {THREADS} threads, durable", singles.a, "rows/s", 3_000, "at least"),
        Figure("insert", "one row written and synced at a time", singles.b, "rows/s"),
        Figure("insert", "single rows: Elanus / bare disk", singles.ratio, "×"),
    ]


def _batches(context: Context, rows: Vectors) -> float:
    """Rows a second over all batches, from the first insert to the last one's return."""
    with database.created(context.fresh("insert"), rows.shape[1]) as collection:
        started = time.perf_counter()
        for begin in range(0, len(rows), BATCH):
            part = rows[begin : begin + BATCH]
            collection.insert(np.arange(begin, begin + len(part)), part)
        return len(rows) / (time.perf_counter() - started)


def _singles(context: Context, rows: Vectors) -> float:
    with database.created(context.fresh("insert"), rows.shape[1]) as collection:

        def worker(first: int) -> None:
            for key in range(first, SINGLE_ROWS, THREADS):
                collection.insert(np.array([key]), rows[key % len(rows)][None])

        return SINGLE_ROWS / _in_threads(worker)


def _in_threads(work: Callable[[int], None]) -> float:
    """Seconds until `work(0)`, …, `work(THREADS - 1)`, each in a thread, are all done; raises what one raised."""
    failures: list[BaseException] = []
    gate = threading.Barrier(THREADS + 1)

    def guarded(first: int) -> None:
        gate.wait()
        try:
            work(first)
        except BaseException as failure:  # noqa: BLE001 - raised below, in the caller's thread
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    gate.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    if failures:
        raise failures[0]
    return took


def _bare_batches(context: Context, rows: Vectors) -> float:
    parts = [rows[begin : begin + BATCH] for begin in range(0, len(rows), BATCH)]
    return len(rows) / _written(context.fresh("bare"), [memoryview(part).cast("B") for part in parts])


def _bare_singles(context: Context, rows: Vectors) -> float:
    count = min(len(rows), SINGLE_ROWS // 8)
    return count / _written(context.fresh("bare"), [memoryview(rows[i]).cast("B") for i in range(count)])


def _written(folder: Path, pieces: list[memoryview]) -> float:
    """Seconds to write and sync each piece in turn."""
    folder.mkdir(parents=True)
    handle = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY)
    sync = getattr(os, "fdatasync", os.fsync)
    try:
        started = time.perf_counter()
        for piece in pieces:
            os.write(handle, piece)
            sync(handle)
        return time.perf_counter() - started
    finally:
        os.close(handle)
