"""Compiled loops over vectors of bits and over sparse vectors. A row that does not match has an infinite score."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from elanus.vector.kernels import compiled, f32, i64, inlined, readable, u16, void, writable

HAMMING, JACCARD, SUBSTRUCTURE, SUPERSTRUCTURE = 0, 1, 2, 3
"""Metrics of bits as kernels know them."""

u32, u64 = types.uint32, types.uint64


def _typed_ones(_typing: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.ctpop(arguments[0]), ir.IntType(64))

    return types.int64(types.uint64), generate


_ones: Any = intrinsic(_typed_ones)
"""How many bits of a word of 64 are set."""


@compiled(void(i64, readable(u64, 2), readable(u64, 2), writable(f32, 2)))
def bit_scores(metric: int, queries: Any, vectors: Any, scores: Any) -> None:
    """Scores (nq, n) of every vector (n, words) for every query (nq, words)."""
    words = queries.shape[1]
    for q in range(queries.shape[0]):
        for row in range(vectors.shape[0]):
            one = np.int64(0)
            other = np.int64(0)
            if metric == 0:
                for j in range(words):
                    one += _ones(queries[q, j] ^ vectors[row, j])
                scores[q, row] = np.float32(one)
            elif metric == 1:
                for j in range(words):
                    one += _ones(queries[q, j] & vectors[row, j])
                    other += _ones(queries[q, j] | vectors[row, j])
                # Two vectors without a bit have none in common: their distance is 1.
                scores[q, row] = np.float32((other - one) / other) if one else np.float32(1)
            else:
                for j in range(words):
                    both = queries[q, j] & vectors[row, j]
                    one += both != (queries[q, j] if metric == 2 else vectors[row, j])
                scores[q, row] = np.float32(np.inf) if one else np.float32(0)


FACTOR = 0x9E3779B1
"""Spreads indexes over a table: 2^32 divided by the golden ratio (Knuth, The Art of Computer Programming 3, 6.4)."""


SPREAD = 8
"""Places in a table for each index of a query: seven of eight that other rows ask for are found empty at once."""

NOWHERE = np.uint32(2**32 - 1)
"""No index is as large."""


OF_PAIRS = (
    readable(u32, 1),
    readable(f32, 1),
    readable(u32, 1),
    readable(f32, 1),
    readable(i64, 1),
    readable(i64, 1),
)
"""The types of a sparse query (its indexes and values) and of rows of pairs, as `sparse_products` takes them."""


@inlined
def slot_of(index: Any, shift: Any) -> Any:
    return (np.uint64(index) * np.uint64(FACTOR) & np.uint64(0xFFFFFFFF)) >> shift


@inlined
def table_of(indexes: Any, values: Any) -> Any:
    """Where the distinct `indexes` and their `values` are found fast: at `slot_of` an index or behind it, before the
    first place that is `NOWHERE`. Kernels look there themselves: a function of its own for it costs several times more.
    """
    bits = 6
    while 1 << bits < SPREAD * indexes.shape[0]:
        bits += 1
    shift = np.uint64(32 - bits)
    last = np.uint64((1 << bits) - 1)
    places = np.full(1 << bits, NOWHERE, np.uint32)
    factors = np.zeros(1 << bits, np.float64)
    for i in range(indexes.shape[0]):
        at = slot_of(indexes[i], shift)
        while places[at] != NOWHERE:
            at = (at + np.uint64(1)) & last
        places[at] = indexes[i]
        factors[at] = values[i]
    return places, factors, shift, last


@inlined
def product(places: Any, factors: Any, shift: Any, last: Any, words: Any, floats: Any, begin: int, end: int) -> Any:
    """Of the row that is pairs begin..end-1 with the query of which `table_of` made a table."""
    total = 0.0
    for pair in range(begin, end):
        index = words[2 * pair]
        at = slot_of(index, shift)
        while places[at] != NOWHERE:
            if places[at] == index:
                total += factors[at] * floats[2 * pair + 1]
                break
            at = (at + np.uint64(1)) & last
    return total


@compiled(void(*OF_PAIRS, writable(f32, 1)), strict=True)
def sparse_products(indexes: Any, values: Any, words: Any, floats: Any, begins: Any, ends: Any, scores: Any) -> None:
    """The product with the query (its `indexes` and `values`) of each of the rows that are pairs begins[i]..ends[i]-1.

    Pair p is the index words[2 p] and the value floats[2 p + 1], which lie in the same memory. A row that has nothing
    in common with the query scores minus infinity.
    """
    places, factors, shift, last = table_of(indexes, values)
    for row in range(begins.shape[0]):
        total = product(places, factors, shift, last, words, floats, begins[row], ends[row])
        scores[row] = np.float32(total) if total > 0 else np.float32(-np.inf)


@compiled(void(readable(u16, 1), writable(u32, 1), writable(f32, 1)))
def widen_halves(halves: Any, words: Any, floats: Any) -> None:
    """IEEE half-width floats, all finite, as float32: `words` and `floats` are the same memory.

    The bits of a half, moved to where a float32 has them, are the float32 that is 2^112 times smaller, subnormal ones
    too.
    """
    for i in range(halves.shape[0]):
        words[i] = np.uint32(halves[i] & 0x7FFF) << np.uint32(13)
    for i in range(halves.shape[0]):
        floats[i] *= np.float32(2.0**112)
    for i in range(halves.shape[0]):
        words[i] |= np.uint32(halves[i] & 0x8000) << np.uint32(16)


@compiled(void(readable(u16, 1), writable(u32, 1)))
def widen_upper_halves(halves: Any, words: Any) -> None:
    """bfloat16 as the bits of float32."""
    for i in range(halves.shape[0]):
        words[i] = np.uint32(halves[i]) << np.uint32(16)
