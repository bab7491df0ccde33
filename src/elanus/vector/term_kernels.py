"""Compiled loops over sparse vectors that say how often each word stands in a text.

Rows are given as in `exact_kernels.sparse_products`: row i is pairs begins[i]..ends[i]-1, pair p is the word
words[2 p] and its count floats[2 p + 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.types import float64

from elanus.vector.exact_kernels import NOWHERE, OF_PAIRS, slot_of, table_of
from elanus.vector.kernels import compiled, f32, i64, inlined, void, writable


@compiled(float64(*OF_PAIRS, writable(i64, 1)))
def count_texts(terms: Any, numbers: Any, words: Any, floats: Any, begins: Any, ends: Any, texts: Any) -> float:
    """How many words all rows have together; `texts[n - 1]` grows by the rows in which the term numbered n stands.

    `terms` are distinct, and `numbers` are 1, 2, ….
    """
    places, factors, shift, last = table_of(terms, numbers)
    total = 0.0
    for row in range(begins.shape[0]):
        for pair in range(begins[row], ends[row]):
            total += floats[2 * pair + 1]
            index = words[2 * pair]
            at = slot_of(index, shift)
            while places[at] != NOWHERE:
                if places[at] == index:
                    texts[np.int64(factors[at]) - 1] += 1
                    break
                at = (at + np.uint64(1)) & last
    return total


@inlined
def bm25(
    places: Any,
    factors: Any,
    shift: Any,
    last: Any,
    words: Any,
    floats: Any,
    begin: int,
    end: int,
    k1: float,
    b: float,
    average: float,
) -> Any:
    """Of the text that is pairs begin..end-1 for the terms of which `table_of` made a table.

    It is the sum, over the terms that it has, of weight × count × (k1 + 1) / (count + k1 (1 - b + b length / average)).
    """
    length = 0.0
    for pair in range(begin, end):
        length += floats[2 * pair + 1]
    damped = k1 * (1.0 - b + b * length / average)
    total = 0.0
    for pair in range(begin, end):
        index = words[2 * pair]
        at = slot_of(index, shift)
        while places[at] != NOWHERE:
            if places[at] == index:
                count = np.float64(floats[2 * pair + 1])
                total += factors[at] * count * (k1 + 1.0) / (count + damped)
                break
            at = (at + np.uint64(1)) & last
    return total


@compiled(void(*OF_PAIRS, float64, float64, float64, writable(f32, 1)), strict=True)
def bm25_scores(
    terms: Any,
    weights: Any,
    words: Any,
    floats: Any,
    begins: Any,
    ends: Any,
    k1: float,
    b: float,
    average: float,
    scores: Any,
) -> None:
    """The score of each row for the `terms` of a query; a row without any of them scores minus infinity."""
    places, factors, shift, last = table_of(terms, weights)
    for row in range(begins.shape[0]):
        begin, end = begins[row], ends[row]
        total = bm25(places, factors, shift, last, words, floats, begin, end, k1, b, average)
        scores[row] = np.float32(total) if total > 0.0 else np.float32(-np.inf)
