"""Compiled loops over vectors: scores, scans and the choice of the k best.

All kernels compare by *cost*, smaller is nearer: L2 its squared distance, IP and COSINE the negated score. Negating
a float is exact, so nothing is lost when `_drain` turns costs back into scores. `_cost` is the only place where a
score of a float32 vector is computed; it sums in whatever order is fastest, always the same one.

Of equal costs the smaller row wins, in scans also at the edge of the k best. Unfilled places hold row -1 and the
worst score.

Signatures are spelled out, so that a kernel is compiled once (and kept on disk by numba) whatever is passed: mapped
read-only columns and ordinary arrays alike. Kernels release the GIL, except those whose name ends in `_held`: for a
handful of rows, giving the lock away costs more than the work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xxhash
from numba import carray, njit, types

from elanus.vector.intrinsics import fetch, pointer

L2, IP, COSINE = 0, 1, 2
"""Metrics as kernels know them."""

_F = TypeVar("_F", bound=Callable[..., Any])

_SOURCES = xxhash.xxh3_64_hexdigest(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))

REORDER = {"reassoc", "contract", "nsz"}
"""Sums may be reordered, so that they vectorise; infinities and NaN keep their meaning."""


def compiled(signature: Any, *, nogil: bool = True, strict: bool = False) -> Callable[[_F], _F]:
    """`numba.njit` for one signature, typed as the function it decorates.

    What is `strict` computes as it is written, so that another kernel with the same lines has the same scores.
    """

    def decorate(function: _F) -> _F:
        named = _named(function, ("free" if nogil else "held") + ("_strict" if strict else ""))
        decorated: _F = njit(signature, nogil=nogil, cache=True, fastmath=set() if strict else REORDER)(named)
        return decorated

    return decorate


def inlined(function: _F) -> _F:
    """A function that only kernels call, whose body takes the place of each call.

    A function of its own would count the holders of every array it is given, one atomic step up and one down: a
    twelfth of a walk.
    """
    decorated: _F = njit(fastmath=REORDER, inline="always")(function)
    return decorated


def summing(function: _F) -> _F:
    """A function that only kernels call, compiled once for all of them, so that it adds up in one order everywhere."""
    decorated: _F = njit(cache=True, fastmath=REORDER)(_named(function, "summing"))
    return decorated


def _named(function: _F, way: str) -> _F:
    """`function` under the name by which numba keeps what it compiled: it says in which `way`, and of which sources.

    numba itself looks only at the file of the function, not at those of the functions that it calls, so that after an
    upgrade it would go on with half of the old; and of a function compiled in two ways it takes the first for both.
    """
    function.__qualname__ = f"{function.__name__}_{way}_{_SOURCES}"
    return function


def readable(dtype: Any, ndim: int) -> Any:
    return types.Array(dtype, ndim, "C", readonly=True)


def writable(dtype: Any, ndim: int) -> Any:
    return types.Array(dtype, ndim, "C")


LINE_BYTES = 64
FETCHED_BYTES = 1024
"""How much of a row is fetched ahead before it is scored; the processor goes on by itself where a row is longer. The
candidates of a walk lie anywhere in memory: without, 20 of 128 dimensions take 10.8 µs right after it, with 6.6."""


@inlined
def _fetch_row(vectors: Any, row: int) -> None:
    for byte in range(0, min(vectors.shape[1] * vectors.itemsize, FETCHED_BYTES), LINE_BYTES):
        fetch(vectors, row, byte)


f32, i32, i64, b1, void = types.float32, types.int32, types.int64, types.boolean, types.void
u8, u16 = types.uint8, types.uint16


@summing
def _square(vectors: Any, row: int) -> Any:
    # Has to be summed in the order of `n` in `_cost`; LLVM before 20, in numba before 0.62, chose another.
    s = np.float32(0)
    for j in range(vectors.shape[1]):
        s += vectors[row, j] * vectors[row, j]
    return s


@summing
def _cost(metric: int, queries: Any, q: int, square: Any, vectors: Any, row: int) -> Any:
    """The cost of vector `row` for query `q`, whose squared length is `square`.

    Arrays and their index, no slices: a slice counts references, which takes longer than a short vector.
    """
    s = np.float32(0)
    if metric == 0:
        for j in range(queries.shape[1]):
            t = queries[q, j] - vectors[row, j]
            s += t * t
        return s
    if metric == 1:
        for j in range(queries.shape[1]):
            s += queries[q, j] * vectors[row, j]
        return -s
    n = np.float32(0)
    for j in range(queries.shape[1]):
        v = vectors[row, j]
        s += queries[q, j] * v
        n += v * v
    # In double precision, so that a vector's cosine with itself is 1 and not a little beside it.
    length = np.sqrt(np.float64(square) * np.float64(n))
    if length == 0.0:
        return np.float32(0)
    return np.float32(-min(1.0, max(-1.0, s / length)))


@inlined
def _largest_factor(largest_code: int, dim: int) -> int:
    """The largest factor of 16 bits with which the products of `dim` codes still sum up in 32."""
    return min(32_767, (2**31 - 1) // (largest_code * dim))


@inlined
def _before(cost: Any, row: int, other_cost: Any, other_row: int) -> bool:
    return cost < other_cost or (cost == other_cost and row < other_row)


@inlined
def _sink(costs: Any, rows: Any, size: int, cost: Any, row: int) -> None:
    """Put (cost, row) at the top of the heap of `size`, whose top is its worst, and let it sink to its place."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        right = child + 1
        if right < size and _before(costs[child], rows[child], costs[right], rows[right]):
            child = right
        if not _before(cost, row, costs[child], rows[child]):
            break
        costs[i] = costs[child]
        rows[i] = rows[child]
        i = child
    costs[i] = cost
    rows[i] = row


@inlined
def _offer(costs: Any, rows: Any, size: int, cost: Any, row: int) -> int:
    """Keep (cost, row) if it is among the best; returns how many the heap now holds."""
    if size < costs.shape[0]:
        i = size
        while i > 0:
            parent = (i - 1) >> 1
            if not _before(costs[parent], rows[parent], cost, row):
                break
            costs[i] = costs[parent]
            rows[i] = rows[parent]
            i = parent
        costs[i] = cost
        rows[i] = row
        return size + 1
    if _before(cost, row, costs[0], rows[0]):
        _sink(costs, rows, size, cost, row)
    return size


@inlined
def _sort(costs: Any, rows: Any, size: int) -> None:
    """Turn the heap into a run from best to worst."""
    while size > 1:
        size -= 1
        cost, row = costs[size], rows[size]
        costs[size] = costs[0]
        rows[size] = rows[0]
        _sink(costs, rows, size, cost, row)


@inlined
def _drain(metric: int, costs: Any, rows: Any, size: int, scores: Any, out: Any) -> None:
    """Write a heap's content best first as scores and rows, and fill up with the worst score and -1."""
    _sort(costs, rows, size)
    for i in range(scores.shape[0]):
        if i < size:
            scores[i] = costs[i] if metric == 0 else -costs[i]
            out[i] = rows[i]
        else:
            scores[i] = np.float32(np.inf) if metric == 0 else np.float32(-np.inf)
            out[i] = -1


@inlined
def _rescore_query(
    metric: int, queries: Any, q: int, vectors: Any, candidates: Any, costs: Any, rows: Any, scores: Any, out: Any
) -> None:
    """The best of the rows `candidates` for query `q`, as many as `scores` has places; negative ones are skipped."""
    for i in range(candidates.shape[0]):
        if candidates[i] >= 0:
            _fetch_row(vectors, candidates[i])
    square = _square(queries, q)
    size = 0
    for i in range(candidates.shape[0]):
        row = candidates[i]
        if row >= 0:
            size = _offer(costs, rows, size, _cost(metric, queries, q, square, vectors, row), row)
    _drain(metric, costs, rows, size, scores, out)


@compiled(void(i64, readable(f32, 2), readable(f32, 2), readable(i64, 2), writable(f32, 2), writable(i64, 2)))
def rescore(metric: int, queries: Any, vectors: Any, candidates: Any, scores: Any, out: Any) -> None:
    """The k best of each query's `candidates` (nq, m) by exact score; negative candidates are skipped."""
    costs = np.empty(scores.shape[1], np.float32)
    rows = np.empty(scores.shape[1], np.int64)
    for q in range(queries.shape[0]):
        _rescore_query(metric, queries, q, vectors, candidates[q], costs, rows, scores[q], out[q])


@compiled(void(i64, readable(f32, 2), readable(f32, 2), readable(i64, 1), writable(f32, 1)))
def scores_by_row(metric: int, queries: Any, vectors: Any, rows: Any, scores: Any) -> None:
    """Scores of `rows` for the only query."""
    square = _square(queries, 0)
    for i in range(rows.shape[0]):
        cost = _cost(metric, queries, 0, square, vectors, rows[i])
        scores[i] = cost if metric == 0 else -cost


@compiled(void(i64, readable(f32, 2), readable(f32, 2), writable(f32, 2)))
def all_scores(metric: int, queries: Any, vectors: Any, scores: Any) -> None:
    for q in range(queries.shape[0]):
        square = _square(queries, q)
        for row in range(vectors.shape[0]):
            cost = _cost(metric, queries, q, square, vectors, row)
            scores[q, row] = cost if metric == 0 else -cost


TILE_BYTES = 1 << 18
"""Vectors that all queries of a scan see before it moves on: they stay in the second-level cache meanwhile."""


def _scan(
    metric: int,
    queries: Any,
    vectors: Any,
    first: int,
    last: int,
    bitmap: Any,
    filtered: bool,
    scores: Any,
    out: Any,
) -> None:
    """The k best of rows first..last-1, of those whose bit is set where `filtered`."""
    nq = queries.shape[0]
    k = scores.shape[1]
    costs = np.empty((nq, k), np.float32)
    rows = np.empty((nq, k), np.int64)
    sizes = np.zeros(nq, np.int64)
    squares = np.empty(nq, np.float32)
    for q in range(nq):
        squares[q] = _square(queries, q)
    tile = max(1, TILE_BYTES // (4 * queries.shape[1]))
    picked = np.empty(tile + 8, np.int64)
    words = bitmap[: bitmap.shape[0] & ~7].view(np.uint64)
    begin = first
    while begin < last:
        count = 0
        if not filtered:
            end = min(last, begin + tile)
            for row in range(begin, end):
                picked[count] = row
                count += 1
            begin = end
        else:
            while begin < last and count < tile:
                if not begin & 63:  # where few pass, most words of the bitmap are zero
                    while begin + 64 <= last and words[begin >> 6] == 0:
                        begin += 64
                    if begin >= last:
                        break
                byte = bitmap[begin >> 3] >> (begin & 7)
                end = min(last, (begin | 7) + 1)
                while byte and begin < end:
                    if byte & 1:
                        picked[count] = begin
                        count += 1
                    byte >>= 1
                    begin += 1
                begin = end
        for q in range(nq):
            size = sizes[q]
            for i in range(count):
                row = picked[i]
                cost = _cost(metric, queries, q, squares[q], vectors, row)
                if size < k or cost <= costs[q, 0]:
                    size = _offer(costs[q], rows[q], size, cost, row)
            sizes[q] = size
    for q in range(nq):
        _drain(metric, costs[q], rows[q], sizes[q], scores[q], out[q])


_SCAN = void(i64, readable(f32, 2), readable(f32, 2), i64, i64, readable(u8, 1), b1, writable(f32, 2), writable(i64, 2))
scan = compiled(_SCAN)(_scan)
scan_held = compiled(_SCAN, nogil=False)(_scan)


@compiled(void(i64, readable(f32, 2), readable(f32, 2), readable(i64, 1), writable(f32, 2), writable(i64, 2)))
def scan_rows(metric: int, queries: Any, vectors: Any, wanted: Any, scores: Any, out: Any) -> None:
    """The k best of the rows `wanted`."""
    nq = queries.shape[0]
    k = scores.shape[1]
    costs = np.empty((nq, k), np.float32)
    rows = np.empty((nq, k), np.int64)
    sizes = np.zeros(nq, np.int64)
    squares = np.empty(nq, np.float32)
    for q in range(nq):
        squares[q] = _square(queries, q)
    tile = max(1, TILE_BYTES // (4 * queries.shape[1]))
    for begin in range(0, wanted.shape[0], tile):
        for q in range(nq):
            size = sizes[q]
            for i in range(begin, min(wanted.shape[0], begin + tile)):
                row = wanted[i]
                cost = _cost(metric, queries, q, squares[q], vectors, row)
                if size < k or cost <= costs[q, 0]:
                    size = _offer(costs[q], rows[q], size, cost, row)
            sizes[q] = size
    for q in range(nq):
        _drain(metric, costs[q], rows[q], sizes[q], scores[q], out[q])


PART = 6
"""A part's entry in the table of `merge`: its width, its unit, what else it may hold, its unit's rows, the address of
their keys (int64; 0: the keys are in `keys`), and where in `scores` and `rows` it begins."""


def _merge(
    metric: int,
    scores: Any,
    rows: Any,
    keys: Any,
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
    nq, k = best_rows.shape
    m = 0
    for p in range(parts):
        m += table[p, 0]
    costs = np.empty(m, np.float32)
    ranks = np.empty(m, np.int64)
    places = np.empty(m, np.int64)
    part_of = np.empty(m, np.int64)
    for q in range(nq):
        n = 0
        for p in range(parts):
            width = table[p, 0]
            begin = table[p, 5] + q * width
            held = carray(pointer(table[p, 4]), table[p, 3], np.int64)
            for i in range(begin, begin + width):
                row = rows[i]
                if row >= 0:
                    costs[n] = scores[i] if metric == 0 else -scores[i]
                    ranks[n] = held[row] if table[p, 4] else keys[i]
                    places[n] = i
                    part_of[n] = p
                    n += 1
        by_key = np.argsort(ranks[:n], kind="mergesort")
        order = by_key[np.argsort(costs[:n][by_key], kind="mergesort")]
        seen = {np.int64(0)}
        seen.clear()
        size = 0
        edge = np.float32(0)
        for i in order:
            if size == k:
                break
            if distinct:
                if ranks[i] in seen:
                    continue
                seen.add(ranks[i])
            edge = costs[i]
            best_units[q, size] = table[part_of[i], 1]
            best_rows[q, size] = rows[places[i]]
            best_keys[q, size] = ranks[i]
            best_scores[q, size] = scores[places[i]]
            size += 1
        filled[q] = size
        for p in range(parts):
            more = table[p, 2]
            end = table[p, 5] + (q + 1) * table[p, 0]
            if more and not (more & 4 and rows[end - 1] < 0):
                last = scores[end - 1] if metric == 0 else -scores[end - 1]
                if size < k or last < edge or (more & 2 and last == edge):
                    again[p] = 1


MERGED = (
    writable(i32, 2),
    writable(i64, 2),
    writable(i64, 2),
    writable(f32, 2),
    writable(i64, 1),
    writable(u8, 1),
)
"""The types of what `merge` writes."""

_MERGE = void(
    i64,
    readable(f32, 1),
    readable(i64, 1),
    readable(i64, 1),
    readable(i64, 2),
    b1,
    *MERGED,
)
merge = compiled(_MERGE)(_merge)
"""(metric, scores, rows, keys, table (parts, PART), distinct, out units, rows, keys and scores (nq, k), out filled
(nq,), out again (parts,)): the `filled` best of each query's hits, by score, then key; negative rows are skipped, and
with `distinct` all but the best of equal keys.

`scores` and `rows` hold one part after the other, a part (nq, width) with the best first. `again[p]` becomes 1 where
what part p has not shown may belong into the answer: never where the table says 0 (it has shown all); with 1 where the
answer is not full or ends behind the part's last; with 2 also where it ends with the score of the part's last. 4 is
added where a part that has empty places has nothing else."""
merge_held = compiled(_MERGE, nogil=False)(_merge)


@compiled(i64(readable(u8, 1)))
def count_set(bitmap: Any) -> int:
    """How many bits of `bitmap` are set."""
    total = 0
    for i in range(bitmap.shape[0]):
        b: Any = np.int64(bitmap[i])
        b = b - ((b >> 1) & 0x55)
        b = (b & 0x33) + ((b >> 2) & 0x33)
        total += (b + (b >> 4)) & 0x0F
    return total
