"""Compiled searches of HNSW graphs: walks by codes of one or two bytes a dimension or float32, and exact scores.

A walk goes down the upper levels to the nearest node there, and on the bottom level keeps a pool of the `ef` nearest
nodes it has met: it looks at the neighbours of the nearest three not yet looked at, again and again, until it has
looked at those of all (Malkov and Yashunin, arXiv 1603.09320, algorithm 2; the three at once are ours) or has met no
candidate for long. Most of its time goes into waiting for memory, so that everything is fetched ahead: the codes of all
neighbours of three nodes before the first of them is compared. Much of the rest is keeping the pool in order: most
nodes are too far for it and are passed over without a branch, for the others room is made in one move. Measured on one
core of a 2.6 GHz server, ef 64, M 16, k 10 of 20 candidates, a query each, walked to the end:

                            faiss f32   faiss bf16   faiss sq8   this, bf16   this, sq8
    200 k × 128 synthetic      127 µs       105 µs       98 µs        69 µs       47 µs
    99 k × 384 sentences       180 µs       217 µs      257 µs       150 µs       95 µs

One byte a dimension is compared in whole numbers. A vector x is stored as codes c, of which each stands for
x_j = low_j + width_j (c_j + ½) / 255. With t_j = q_j width_j / 255, and q_j - low_j for q_j with L2,

    IP:  q·x        = Σ t_j c_j + what depends on the query alone
    L2:  |q - x|²   = |x - low|² - 2 Σ t_j c_j + what depends on the query alone

and t is rounded to 16 bits under a scale of its own, at which the sum just fits 32 bits. |x - low|² is in the file. The
rounding is finer than that of the codes, up to 30,000 dimensions; candidates are scored exactly afterwards anyway.

A pool's entry is one number that sorts: the bits of the cost, made to rise with it, then the node, and whether its
neighbours were looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from elanus.vector.intrinsics import add_product, fetch
from elanus.vector.kernels import (
    _F,
    LINE_BYTES,
    REORDER,
    _fetch_row,
    _largest_factor,
    _rescore_query,
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

AT_ONCE = 3
"""Nodes whose neighbours are looked at together: 128 dimensions take 50 µs with two, 48 with three and with four, 384
take 105, 105 and 108."""

PATIENCE = 0.5
"""A walk ends when it has looked at the neighbours of so many nodes, as a share of `ef`, since it last met a candidate
(the idea is that of Teofili and Lin, "Patience in Proximity", ECIR 2025). With ef 64, 128 and 256, k 10:

                                 to the end                            with patience
    200 k × 128 synthetic        52, 88, 163 µs                        45, 68, 109 µs
                                 recall .9986, .9998, 1.0000           .9984, .9996, 1.0000
    99 k × 384 sentences         120, 211, 364 µs                      111, 169, 276 µs
                                 recall .9518, .9834, .9948            .9514, .9820, .9936

With .35 it is as much faster again and as much less exact, on the same curve of time by recall."""

COUNTED = 64
"""So few entries are compared with a new one all at once."""

LARGEST_CODE = 255

_LOOKED_AT = np.uint64(1)
_NODE_BITS = np.uint64(0xFFFFFFFF)
_COST_BITS = np.uint64(32)
_SIGN = np.uint64(0x80000000)
_NOTHING_FARTHER = np.uint64(0xFFFFFFFFFFFFFFFF)


def _by_types(function: Callable[..., Any]) -> Callable[[_F], _F]:
    """The decorated takes the types of `function`'s arguments, and returns what then stands for it in kernels."""
    decorate: Callable[[_F], _F] = overload(function, jit_options={"fastmath": REORDER}, strict=False)
    return decorate


def _typed_widened(_typing: Any, value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.zext(arguments[0], word), word(16)), ir.FloatType())

    return types.float32(types.uint16), generate


_widened: Any = intrinsic(_typed_widened)
"""The float32 that a bfloat16 stands for: its bits are the upper half."""


def _typed_bits(_typing: Any, value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.bitcast(arguments[0], ir.IntType(32)), ir.IntType(64))

    return types.uint64(types.float32), generate


_bits: Any = intrinsic(_typed_bits)


def _room(codes: Any, dim: int) -> Any:
    """A place for a query of `dim` in the form that is compared with `codes`."""
    raise NotImplementedError


def _prepare(metric: int, queries: Any, q: int, codes: Any, trained: Any, room: Any) -> Any:
    """Bring query `q` into that form; returns what squared lengths are multiplied by to compare with its products."""
    raise NotImplementedError


def _distance(metric: int, query: Any, scale: Any, codes: Any, squares: Any, node: int) -> Any:
    """The cost of `node` for a prepared query, up to what depends on the query alone."""
    raise NotImplementedError


@_by_types(_room)
def _typed_room(codes: Any, dim: Any) -> Any:
    dtype = np.int16 if codes.dtype == types.uint8 else np.float32

    def room(codes: Any, dim: int) -> Any:
        return np.empty(dim, dtype)

    return room


@_by_types(_prepare)
def _typed_prepare(metric: Any, queries: Any, q: Any, codes: Any, trained: Any, room: Any) -> Any:
    def quantised(metric: int, queries: Any, q: int, codes: Any, trained: Any, room: Any) -> Any:
        dim = room.shape[0]
        largest = 1e-30
        for j in range(dim):
            low = np.float64(trained[j]) if metric == 0 else 0.0
            term = (queries[q, j] - low) * np.float64(trained[dim + j])
            largest = max(largest, abs(term))
        scale = _largest_factor(LARGEST_CODE, dim) / largest
        for j in range(dim):
            low = np.float64(trained[j]) if metric == 0 else 0.0
            term = (queries[q, j] - low) * np.float64(trained[dim + j])
            room[j] = np.int16(math.floor(term * scale + 0.5))
        return np.float32(min(scale * LARGEST_CODE / 2, 1e30))

    def as_it_is(metric: int, queries: Any, q: int, codes: Any, trained: Any, room: Any) -> Any:
        for j in range(room.shape[0]):
            room[j] = queries[q, j]
        return np.float32(1)

    return quantised if codes.dtype == types.uint8 else as_it_is


@_by_types(_distance)
def _typed_distance(metric: Any, query: Any, scale: Any, codes: Any, squares: Any, node: Any) -> Any:
    def by_bytes(metric: int, query: Any, scale: Any, codes: Any, squares: Any, node: int) -> Any:
        s = np.int32(0)
        for j in range(query.shape[0]):
            s = add_product(s, query[j], codes[node, j])
        if metric == 0:
            return squares[node] * scale - np.float32(s)
        return -np.float32(s)

    def by_halves(metric: int, query: Any, scale: Any, codes: Any, squares: Any, node: int) -> Any:
        s = np.float32(0)
        if metric == 0:
            for j in range(query.shape[0]):
                t = query[j] - _widened(codes[node, j])
                s += t * t
            return s
        for j in range(query.shape[0]):
            s += query[j] * _widened(codes[node, j])
        return -s

    def by_floats(metric: int, query: Any, scale: Any, codes: Any, squares: Any, node: int) -> Any:
        s = np.float32(0)
        if metric == 0:
            for j in range(query.shape[0]):
                t = query[j] - codes[node, j]
                s += t * t
            return s
        for j in range(query.shape[0]):
            s += query[j] * codes[node, j]
        return -s

    return {types.uint8: by_bytes, types.uint16: by_halves, types.float32: by_floats}[codes.dtype]


@inlined
def _entry(cost: Any, node: int) -> Any:
    bits = _bits(cost)
    rising = bits ^ _NODE_BITS if bits & _SIGN else bits | _SIGN
    return (rising << _COST_BITS) | (np.uint64(node) << _LOOKED_AT)


@inlined
def _node(entry: Any) -> Any:
    return np.int64((entry & _NODE_BITS) >> _LOOKED_AT)


def _typed_make_room(_typing: Any, entries: Any, place: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(entries)(context, builder, arguments[0])
        word, byte_pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        source = builder.gep(array.data, [arguments[1]])
        target = builder.gep(source, [word(1)])
        called = ir.FunctionType(ir.VoidType(), [byte_pointer, byte_pointer, word, ir.IntType(1)])
        move = builder.module.declare_intrinsic("llvm.memmove", [byte_pointer, byte_pointer, word], called)
        size = builder.mul(arguments[2], word(entries.dtype.bitwidth // 8))
        volatile = ir.IntType(1)(0)
        builder.call(
            move, [builder.bitcast(target, byte_pointer), builder.bitcast(source, byte_pointer), size, volatile]
        )
        return context.get_dummy_value()

    return types.void(entries, types.int64, types.int64), generate


_make_room: Any = intrinsic(_typed_make_room)
"""(entries, place, count): move the `count` entries from `place` on one place up."""


@inlined
def _insert(entries: Any, size: int, entry: Any) -> int:
    """Put `entry` in its place among the first `size`, which may push the last one out; returns the place, or how many
    entries there can be if it is behind them all.

    Halves of many are told apart by a look, which is guessed wrong half of the time; of few the smaller ones are
    counted, many at a time.
    """
    end = size
    if size == entries.shape[0]:
        end = size - 1
        if entry >= entries[end]:
            return size
    place, left = 0, end
    while left > COUNTED:
        half = left >> 1
        if entries[place + half] < entry:
            place += half + 1
            left -= half + 1
        else:
            left = half
    first = np.uint64(place)  # numba looks whether a signed index is negative
    for i in range(left):
        place += int(entries[first + np.uint64(i)] < entry)
    _make_room(entries, place, end - place)
    entries[place] = entry
    return place


@inlined
def _passes(bitmap: Any, row: int) -> Any:
    return (bitmap[row >> 3] >> (row & 7)) & 1


@inlined
def _fetch_codes(metric: int, codes: Any, squares: Any, node: int) -> None:
    _fetch_row(codes, node)
    if metric == 0 and squares.shape[0]:
        fetch(squares, node, 0)


@inlined
def _descend(
    metric: int,
    query: Any,
    scale: Any,
    codes: Any,
    squares: Any,
    slots: Any,
    neighbors: Any,
    m: int,
    entry: int,
    top: int,
) -> int:
    """The node where the walk of the bottom level begins: as near as going only nearer leads, level by level."""
    nearest = entry
    cost = _distance(metric, query, scale, codes, squares, nearest)
    for level in range(top, 0, -1):
        left = -1
        while left != nearest:
            left = nearest
            begin = slots[left] + m + level * m
            for i in range(begin, begin + m):
                if neighbors[i] < 0:
                    break
                _fetch_codes(metric, codes, squares, neighbors[i])
            for i in range(begin, begin + m):
                if neighbors[i] < 0:
                    break
                other = _distance(metric, query, scale, codes, squares, neighbors[i])
                if other < cost:
                    cost = other
                    nearest = int(neighbors[i])
    return nearest


@inlined
def _new_neighbors(
    metric: int, codes: Any, squares: Any, slots: Any, neighbors: Any, m: int, node: int, met: Any, new: Any, count: int
) -> int:
    """Append to the `count` nodes in `new` those neighbours of `node` that are not in `met`; returns how many it holds
    now. They are marked and on their way from memory.
    """
    for i in range(slots[node], slots[node] + 2 * m):
        if neighbors[i] < 0:
            break
        neighbor = int(neighbors[i])
        # Without a branch, which would be guessed wrong as often as right.
        byte, bit = met[neighbor >> 3], np.uint8(1 << (neighbor & 7))
        met[neighbor >> 3] = byte | bit
        new[count] = neighbor
        count += int((byte & bit) == 0)
        _fetch_codes(metric, codes, squares, neighbor)
    return count


def _walk(
    metric: int,
    queries: Any,
    codes: Any,
    trained: Any,
    squares: Any,
    slots: Any,
    neighbors: Any,
    m: int,
    entry: int,
    top: int,
    vectors: Any,
    count: int,
    ef: int,
    bitmap: Any,
    filtered: bool,
    candidates: Any,
    scores: Any,
    rows: Any,
) -> None:
    best_costs = np.empty(scores.shape[1], np.float32)
    best_rows = np.empty(scores.shape[1], np.int64)
    pool = np.empty(ef, np.uint64)
    passing = np.empty(count, np.uint64)
    nodes = np.empty(AT_ONCE, np.int64)
    new = np.empty(AT_ONCE * 2 * m + 1, np.int64)
    entered = np.empty(len(new), np.uint64)
    met = np.empty((codes.shape[0] >> 3) + 1, np.uint8)
    query = _room(codes, queries.shape[1])
    patience = PATIENCE * ef
    for q in range(queries.shape[0]):
        scale = _prepare(metric, queries, q, codes, trained, query)
        met[:] = 0
        new[0] = _descend(metric, query, scale, codes, squares, slots, neighbors, m, entry, top)
        met[new[0] >> 3] = np.uint8(1 << (new[0] & 7))
        news = 1
        size = 0
        kept = 0
        at = 0
        looking = 1
        idle = 0
        while looking and idle < patience:
            # Those that are too far are passed over without a branch, which would be guessed wrong one time in five.
            far = pool[ef - 1] if size == ef else _NOTHING_FARTHER
            nearer = 0
            improved = False
            for i in range(news):
                one = _entry(_distance(metric, query, scale, codes, squares, new[i]), new[i])
                if filtered and _passes(bitmap, new[i]):
                    improved |= _insert(passing, kept, one) < count
                    kept = min(kept + 1, count)
                entered[nearer] = one
                nearer += int(one < far)
            for i in range(nearer):
                place = _insert(pool, size, entered[i])
                fetch(slots, _node(entered[i]), 0)  # where its links begin: it may be looked at next
                improved |= not filtered and place < count
                at = min(at, place)
                size = min(size + 1, ef)
            idle = 0 if improved or (filtered and kept < count) else idle + looking
            # All before `at` were looked at.
            looking = 0
            while at < size and looking < AT_ONCE:
                if not pool[at] & _LOOKED_AT:
                    nodes[looking] = _node(pool[at])
                    pool[at] |= _LOOKED_AT
                    for link in range(0, 2 * m, LINE_BYTES // 4):
                        fetch(neighbors, slots[nodes[looking]] + link, 0)
                    looking += 1
                at += 1
            news = 0
            for i in range(looking):
                news = _new_neighbors(metric, codes, squares, slots, neighbors, m, nodes[i], met, new, news)
        best, found = (passing, kept) if filtered else (pool, min(size, count))
        for i in range(count):
            candidates[q, i] = _node(best[i]) if i < found else -1
        _rescore_query(metric, queries, q, vectors, candidates[q], best_costs, best_rows, scores[q], rows[q])


@cache
def walk_over(dtype: Any) -> Callable[..., None]:
    """The kernel for codes of numba's type `dtype`, uint8, uint16 (bf16) or float32, compiled when first asked for.

    (metric, queries (nq, d), codes (n, d), trained (2 d,), squares (n,), slots (n + 1,), neighbors, m, entry, top,
    vectors (n, d), count, ef, bitmap, filtered, out candidates (nq, count), out scores (nq, k), out rows (nq, k)): for
    each query the k best, by exact score, of the `count` candidates that are nearest by their codes among what a walk
    of `ef` >= count >= k meets; of those in `bitmap` alone where `filtered`, met in a walk through all.

    `squares` are used, and have to be there, with one byte a dimension and L2. With COSINE the codes are those of
    vectors of length one.
    """
    return compiled(
        void(
            i64,
            readable(f32, 2),
            readable(dtype, 2),
            readable(f32, 1),
            readable(f32, 1),
            readable(i64, 1),
            readable(i32, 1),
            i64,
            i64,
            i64,
            readable(f32, 2),
            i64,
            i64,
            readable(u8, 1),
            b1,
            writable(i64, 2),
            writable(f32, 2),
            writable(i64, 2),
        )
    )(_walk)


walk_bytes = walk_over(u8)
