"""The compiled side of `parts`: searches every part of a table and merges what they found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from elanus.vector.intrinsics import pointer
from elanus.vector.kernels import (
    MERGED,
    PART,
    b1,
    compiled,
    f32,
    i64,
    merge,
    readable,
    scan,
    void,
)
from elanus.vector.list_kernels import ADDRESSES, EXTRA_CANDIDATES, search_blocks
from elanus.vector.walk_kernels import walk_bytes

SCAN, LISTS, GRAPH = 0, 1, 2
"""Routes."""

ROUTE, UNIT, ROWS, SHOWN, MORE, KEYS, VECTORS, BITMAP = range(8)
"""Columns of the table that every part has. KEYS, VECTORS and BITMAP are addresses, BITMAP 0 where there is none."""

FIRST = 8
"""Of scans: the first row."""

BLOCKS, BLOCK_COUNT, CENTROIDS, LIST_COUNT, NPROBE, WANT = range(8, 14)
"""Of lists, as `list_kernels.search_blocks` takes them."""

CODES, TRAINED, SQUARES, SQUARE_COUNT, SLOTS, NEIGHBORS, LINK_COUNT, M, ENTRY, TOP, COUNT, EF, CANDIDATES = range(8, 21)
"""Of graphs, as `walk_kernels.walk_bytes` takes them. CANDIDATES is where to leave them, or 0."""

WIDTH = 21


def _search_parts(
    metric: int,
    queries: Any,
    table: Any,
    distinct: bool,
    best_units: Any,
    best_rows: Any,
    best_keys: Any,
    best_scores: Any,
    filled: Any,
    again: Any,
) -> None:
    parts = table.shape[0]
    nq, dim = queries.shape
    total = 0
    for p in range(parts):
        total += nq * table[p, SHOWN]
    scores = np.empty(total, np.float32)
    rows = np.empty(total, np.int64)
    merging = np.empty((parts, PART), np.int64)
    of_part = np.empty(parts, np.uint8)
    begin = 0
    for p in range(parts):
        n, shown = table[p, ROWS], table[p, SHOWN]
        part_scores = scores[begin : begin + nq * shown].reshape((nq, shown))
        part_rows = rows[begin : begin + nq * shown].reshape((nq, shown))
        vectors = carray(pointer(table[p, VECTORS]), (n, dim), np.float32)
        filtered = table[p, BITMAP] != 0
        bitmap = carray(pointer(table[p, BITMAP]), (n + 7) >> 3 if filtered else 0, np.uint8)
        if table[p, ROUTE] == SCAN:
            scan(metric, queries, vectors, table[p, FIRST], n, bitmap, filtered, part_scores, part_rows)
        elif table[p, ROUTE] == LISTS:
            candidates = 2 * shown + EXTRA_CANDIDATES
            search_blocks(
                metric,
                queries,
                carray(pointer(table[p, CENTROIDS]), (table[p, LIST_COUNT], dim), np.float32),
                carray(pointer(table[p, BLOCKS]), (table[p, BLOCK_COUNT], ADDRESSES), np.int64),
                bitmap,
                filtered,
                table[p, NPROBE],
                max(table[p, WANT], candidates),
                candidates,
                part_scores,
                part_rows,
            )
        else:
            candidates_of = np.empty((nq, table[p, COUNT]), np.int64)
            if table[p, CANDIDATES] != 0:
                candidates_of = carray(pointer(table[p, CANDIDATES]), (nq, table[p, COUNT]), np.int64)
            walk_bytes(
                metric,
                queries,
                carray(pointer(table[p, CODES]), (n, dim), np.uint8),
                carray(pointer(table[p, TRAINED]), 2 * dim, np.float32),
                carray(pointer(table[p, SQUARES]), table[p, SQUARE_COUNT], np.float32),
                carray(pointer(table[p, SLOTS]), n + 1, np.int64),
                carray(pointer(table[p, NEIGHBORS]), table[p, LINK_COUNT], np.int32),
                table[p, M],
                table[p, ENTRY],
                table[p, TOP],
                vectors,
                table[p, COUNT],
                table[p, EF],
                bitmap,
                filtered,
                candidates_of,
                part_scores,
                part_rows,
            )
        merging[p, 0] = shown
        merging[p, 1] = table[p, UNIT]
        merging[p, 2] = table[p, MORE]
        merging[p, 3] = n
        merging[p, 4] = table[p, KEYS]
        merging[p, 5] = begin
        begin += nq * shown
    for q in range(nq):
        of_part[:] = 0
        merge(
            metric,
            scores,
            rows,
            rows,
            merging,
            distinct,
            best_units[q : q + 1],
            best_rows[q : q + 1],
            best_keys[q : q + 1],
            best_scores[q : q + 1],
            filled[q : q + 1],
            of_part,
        )
        for p in range(parts):
            if of_part[p] or (table[p, ROUTE] == GRAPH and rows[merging[p, 5] + table[p, SHOWN] - 1] < 0):
                again[q] = 1
            merging[p, 5] += table[p, SHOWN]


_SEARCH_PARTS = void(
    i64,
    readable(f32, 2),
    readable(i64, 2),
    b1,
    *MERGED,
)
search_parts = compiled(_SEARCH_PARTS)(_search_parts)
"""(metric, queries (nq, d), table (parts, WIDTH), distinct, out units, rows, keys and scores (nq, k), out filled (nq,),
out again (nq,)): each query's `filled` best hits of all parts, each searched in its way, as `kernels.merge` merges
them. `again[q]` becomes 1 where it would say so of a part, or where a walk met fewer rows than were asked for."""
search_parts_held = compiled(_SEARCH_PARTS, nogil=False)(_search_parts)
