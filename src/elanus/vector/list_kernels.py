"""The compiled loops of `ivf` and `interim`: coding rows in list order, and searching all blocks in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from elanus.vector.intrinsics import add_product, fetch, pointer
from elanus.vector.kernels import (
    _cost,
    _drain,
    _fetch_row,
    _largest_factor,
    _offer,
    _sort,
    _square,
    b1,
    compiled,
    f32,
    i32,
    i64,
    inlined,
    readable,
    u8,
    void,
    writable,
)

ADDRESSES = 6
"""A block's entry in the table: the addresses of vectors, codes, scales, members, offsets, then its rows."""

LARGEST_CODE = 127

EXTRA_CANDIDATES = 24
"""Rows scored exactly beside twice the k asked for."""

FETCHED_ROWS = 4
"""Rows of the list that comes next whose codes are fetched ahead."""

i8 = types.int8


@compiled(
    void(
        i64,
        readable(f32, 2),
        readable(f32, 2),
        readable(i64, 1),
        writable(i8, 2),
        writable(f32, 2),
        writable(i32, 1),
        writable(i32, 1),
    )
)
def encode(
    metric: int,
    vectors: Any,
    centroids: Any,
    owner: Any,
    codes: Any,
    scales: Any,
    members: Any,
    offsets: Any,
) -> None:
    """Write the codes of rows in list order; `owner` is each row's list."""
    n = vectors.shape[0]
    dim = vectors.shape[1]
    lists = centroids.shape[0]
    offsets[:] = 0
    for row in range(n):
        offsets[owner[row] + 1] += 1
    for c in range(lists):
        offsets[c + 1] += offsets[c]
    filled = np.zeros(lists, np.int32)
    for row in range(n):
        c = owner[row]
        at = offsets[c] + filled[c]
        filled[c] += 1
        members[at] = row
        # A cosine's code is that of the row scaled to length one, which its centroid is near to.
        length = np.sqrt(_square(vectors, row)) if metric == 2 else np.float32(1)
        shrink = np.float32(1) / length if length > 0 else np.float32(0)
        largest = np.float32(0)
        rest = np.float32(0)
        for j in range(dim):
            r = vectors[row, j] * shrink - centroids[c, j]
            rest += r * r
            largest = max(largest, abs(r))
        scale = largest / np.float32(LARGEST_CODE)
        inverse = np.float32(1) / scale if scale > 0 else np.float32(0)
        for j in range(dim):
            codes[at, j] = np.int8(np.rint((vectors[row, j] * shrink - centroids[c, j]) * inverse))
        scales[0, at] = scale
        scales[1, at] = rest


@inlined
def _nearest(costs: Any, best_costs: Any, best: Any, count: int) -> int:
    """Put the `count` smallest of `costs`, and where they stand, in order into the first places; returns `count`."""
    heap_costs, heap = best_costs[:count], best[:count]
    found = 0
    for i in range(costs.shape[0]):
        if found < count or costs[i] < heap_costs[0]:
            found = _offer(heap_costs, heap, found, costs[i], i)
    _sort(best_costs, best, found)
    return found


@inlined
def _whole_numbers(queries: Any, q: int, centroids: Any, c: int, shifted: bool, square: Any, out: Any) -> Any:
    """Write query `q`, less centroid `c` where `shifted`, as whole numbers; returns what one of them stands for.

    `square` is the squared length of what is written: no component is longer.
    """
    unit = np.sqrt(max(square, np.float32(1e-30))) / np.float32(_largest_factor(LARGEST_CODE, out.shape[0]))
    inverse = np.float32(1) / unit
    for j in range(out.shape[0]):
        t = queries[q, j] - (centroids[c, j] if shifted else np.float32(0))
        out[j] = np.int16(np.rint(t * inverse))
    return unit


@inlined
def _coded_product(query: Any, codes: Any, at: int) -> Any:
    s = np.int32(0)
    for j in range(query.shape[0]):
        s = add_product(s, query[j], codes[at, j])
    return np.float32(s)


@inlined
def _fetch_list(table: Any, lists: int, dim: int, c: int) -> None:
    """Begin to bring the beginnings of list `c` in all blocks from memory: of a short list that is all, and the
    processor does not guess where the next one lies.
    """
    for b in range(table.shape[0]):
        n = table[b, 5]
        offsets = carray(pointer(table[b, 4]), lists + 1, np.int32)
        at, end = offsets[c], offsets[c + 1]
        if at < end:
            codes = carray(pointer(table[b, 1]), (n, dim), np.int8)
            scales = carray(pointer(table[b, 2]), (2, n), np.float32)
            fetch(scales, 0, 4 * at)
            fetch(scales, 1, 4 * at)
            fetch(carray(pointer(table[b, 3]), n, np.int32), at, 0)
            for row in range(at, min(end, at + FETCHED_ROWS)):
                _fetch_row(codes, row)


@compiled(
    void(
        i64,
        readable(f32, 2),
        readable(f32, 2),
        readable(i64, 2),
        readable(u8, 1),
        b1,
        i64,
        i64,
        i64,
        writable(f32, 2),
        writable(i64, 2),
    )
)
def search_blocks(
    metric: int,
    queries: Any,
    centroids: Any,
    table: Any,
    bitmap: Any,
    filtered: bool,
    nprobe: int,
    want: int,
    candidates: int,
    scores: Any,
    out: Any,
) -> None:
    """The k best rows of all blocks: those of the `nprobe` nearest lists, and of more until `want` were ranked.

    The best `candidates` by codes are scored exactly.
    """
    dim = queries.shape[1]
    lists = centroids.shape[0]
    blocks = table.shape[0]
    k = scores.shape[1]
    starts = np.zeros(blocks + 1, np.int64)
    for b in range(blocks):
        starts[b + 1] = starts[b] + table[b, 5]
    all_costs = np.empty(lists, np.float32)
    list_costs = np.empty(lists, np.float32)
    list_order = np.empty(lists, np.int64)
    rough = np.empty(candidates, np.float32)
    picked = np.empty(candidates, np.int64)
    costs = np.empty(k, np.float32)
    rows = np.empty(k, np.int64)
    query = np.empty(dim, np.int16)
    for q in range(queries.shape[0]):
        square = _square(queries, q)
        for c in range(lists):
            # The cosine's centroids are compared by inner product, as its rows are.
            all_costs[c] = _cost(1 if metric == 2 else metric, queries, q, square, centroids, c)
        ordered = _nearest(all_costs, list_costs, list_order, min(nprobe, lists))
        for probed in range(ordered):
            for b in range(blocks):
                fetch(carray(pointer(table[b, 4]), lists + 1, np.int32), list_order[probed], 0)
        unit = _whole_numbers(queries, q, centroids, 0, False, square, query)
        held = 0
        ranked = 0
        for probed in range(lists):
            if probed >= nprobe and ranked >= want:
                break
            if probed == ordered:
                ordered = _nearest(all_costs, list_costs, list_order, lists)
            c = list_order[probed]
            base = list_costs[probed]
            if probed + 1 < ordered:
                _fetch_list(table, lists, dim, list_order[probed + 1])
            factor = -unit
            if metric == 0:
                factor = np.float32(-2) * _whole_numbers(queries, q, centroids, c, True, base, query)
            for b in range(blocks):
                n = table[b, 5]
                codes = carray(pointer(table[b, 1]), (n, dim), np.int8)
                scales = carray(pointer(table[b, 2]), (2, n), np.float32)
                members = carray(pointer(table[b, 3]), n, np.int32)
                offsets = carray(pointer(table[b, 4]), lists + 1, np.int32)
                for at in range(offsets[c], offsets[c + 1]):
                    row = starts[b] + members[at]
                    if filtered and not (bitmap[row >> 3] >> (row & 7)) & 1:
                        continue
                    ranked += 1
                    cost = base + factor * scales[0, at] * _coded_product(query, codes, at)
                    if metric == 0:
                        cost += scales[1, at]
                    if held < candidates or cost <= rough[0]:
                        held = _offer(rough, picked, held, cost, row)
        for i in range(held):
            b = np.searchsorted(starts, picked[i], side="right") - 1
            vectors = carray(pointer(table[b, 0]), (table[b, 5], dim), np.float32)
            _fetch_row(vectors, picked[i] - starts[b])
        size = 0
        for i in range(held):
            row = picked[i]
            b = np.searchsorted(starts, row, side="right") - 1
            vectors = carray(pointer(table[b, 0]), (table[b, 5], dim), np.float32)
            size = _offer(costs, rows, size, _cost(metric, queries, q, square, vectors, row - starts[b]), row)
        _drain(metric, costs, rows, size, scores[q], out[q])
