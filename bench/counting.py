"""count(*) with an equality on sealed rows, against Arrow's own kernels on a column in memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench import database
from bench.context import Context
from bench.measure import compare, latencies_s
from bench.report import Figure

ROWS, CALLS = 1_000_000, 50


def run(context: Context) -> list[Figure]:
    count = context.rows(ROWS)
    folder = context.prepared("million", lambda path: database.build(path, context.source.rows(count), {}))
    column = pa.array(database.groups(count))
    with database.opened(folder) as collection:
        # Another constant each time, so that no cache of answers is measured.
        expected = np.bincount(column.to_numpy(), minlength=database.GROUPS)
        for group in range(3):
            got = collection.count(f"group == {group}")
            assert got == expected[group], f"count is wrong: {got} for group {group}, which has {expected[group]}"
        turn = iter(range(10**9))

        def native() -> float:
            took = latencies_s(lambda i: collection.count(f"group == {next(turn) % database.GROUPS}"), CALLS)
            return float(np.median(took))

        def arrow() -> float:
            took = latencies_s(lambda i: pc.sum(pc.equal(column, i % database.GROUPS)).as_py(), CALLS)
            return float(np.median(took))

        native(), arrow()
        measured = compare(native, arrow, context.rounds)
    return [
        Figure("count", f"count(*) where int == c, {count:,} sealed rows", measured.a.scaled(1e3), "ms", 5.0),
        Figure("count", "Arrow alone: equal and sum", measured.b.scaled(1e3), "ms"),
        Figure("count", "Elanus / Arrow", measured.ratio, "×"),
    ]
