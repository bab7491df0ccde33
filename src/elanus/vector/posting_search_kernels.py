"""Compiled loops over postings (`posting_index` says what they are): writing them, and searching them.

A search goes window by window. The codes of a query's indexes are added up, of those first that can count most, in
whole numbers that are never too small: so a row whose sum, with the most that the rest could add, is below the k-th
best score has no place in the answer (Turtle and Flood, "Query Evaluation: Strategies and Optimizations", 1995; by
blocks, Ding and Suel, "Faster Top-k Document Retrieval Using Block-Max Indexes", 2011). Rows that are left are scored
from their stored pairs, by the lines that a scan has, so their scores are those of a scan to the bit.

All of it is `strict`: bounds hold for sums that are done as they are written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.types import float64

from elanus.vector.exact_kernels import product, table_of, u32
from elanus.vector.kernels import b1, compiled, f32, i64, inlined, readable, u8, u16, void, writable
from elanus.vector.term_kernels import bm25

WINDOW_BITS = 14
WINDOW = 1 << WINDOW_BITS
"""Rows whose sums are held at a time: 32 KiB, the first-level cache of most processors."""

NOT_POSTED = np.uint32(2**32 - 1)

SAMPLE = WINDOW // 8
"""Rows of a window that are counted to estimate how many are met: all of them would take 3 µs each time."""

SCORE_POSTINGS = 100
"""Scoring a row takes as long as adding up so many postings: 150 ns, mostly waiting for the row."""

LARGEST_SUM = 65_535.0
LARGEST_FLOAT = 3.4028234e38
MORE = 1.0 + 1e-9
LESS = 1.0 - 1e-6
"""What rounding may take away from a bound, and from a score by its becoming a float32: 6e-8."""


@inlined
def _place(dims: Any, index: Any) -> Any:
    """The first of the rising `dims` that is not below `index`."""
    low, high = np.int64(0), np.int64(dims.shape[0])
    while low < high:
        middle = (low + high) >> 1
        if dims[middle] < index:
            low = middle + 1
        else:
            high = middle
    return low


_OF_ROWS = readable(u32, 1), readable(f32, 1), readable(i64, 1)
"""The types of all pairs of a column, as `sparse_products` takes them, and of where rows begin in bytes (n + 1,)."""


@compiled(
    void(readable(u32, 1), *_OF_ROWS, writable(u32, 1), writable(i64, 1), writable(i64, 1), writable(f32, 1)),
    strict=True,
)
def count_postings(
    dims: Any, words: Any, floats: Any, offsets: Any, slots: Any, counts: Any, blocks: Any, highest: Any
) -> None:
    """For each pair its place in `dims`, `NOT_POSTED` where its value is 0; for each of `dims` its pairs, in how many
    windows it has some, and its largest value.
    """
    last = np.full(dims.shape[0], -1, np.int64)
    first = offsets[0] >> 3
    for row in range(offsets.shape[0] - 1):
        for pair in range(offsets[row] >> 3, offsets[row + 1] >> 3):
            value = floats[2 * pair + 1]
            if not value > 0:
                slots[pair - first] = NOT_POSTED
                continue
            slot = _place(dims, words[2 * pair])
            slots[pair - first] = slot
            counts[slot] += 1
            highest[slot] = max(highest[slot], value)
            if last[slot] != row >> WINDOW_BITS:
                last[slot] = row >> WINDOW_BITS
                blocks[slot] += 1


@compiled(
    void(
        readable(f32, 1),
        readable(i64, 1),
        readable(u32, 1),
        readable(f32, 1),
        readable(f32, 1),
        readable(u8, 1),
        readable(u8, 2),
        writable(i64, 1),
        writable(i64, 1),
        writable(u16, 1),
        writable(i64, 1),
        writable(u8, 1),
        writable(u16, 1),
        writable(u8, 1),
    ),
    strict=True,
)
def write_postings(
    floats: Any,
    offsets: Any,
    slots: Any,
    highest: Any,
    count_ends: Any,
    length_classes: Any,
    code_of: Any,
    places: Any,
    blocks: Any,
    windows: Any,
    begins: Any,
    tops: Any,
    rows: Any,
    codes: Any,
) -> None:
    """Write the postings of all rows and their blocks. `places` and `blocks` say where those of each index begin, and
    are moved on. Codes are parts of `highest`, or where there are `count_ends` what `code_of` says.
    """
    last = np.full(highest.shape[0], -1, np.int64)
    first = offsets[0] >> 3
    for row in range(offsets.shape[0] - 1):
        for pair in range(offsets[row] >> 3, offsets[row + 1] >> 3):
            slot = slots[pair - first]
            if slot == NOT_POSTED:
                continue
            value = floats[2 * pair + 1]
            if count_ends.shape[0]:
                counted = 0
                while count_ends[counted] < value:
                    counted += 1
                code = np.int64(code_of[counted, length_classes[row]])
            else:
                code = min(np.int64(255), np.int64(np.ceil(np.float64(value) * 255.0 / np.float64(highest[slot]))))
            place = places[slot]
            places[slot] += 1
            rows[place] = row & (WINDOW - 1)
            codes[place] = code
            if last[slot] != row >> WINDOW_BITS:
                last[slot] = row >> WINDOW_BITS
                block = blocks[slot]
                blocks[slot] += 1
                windows[block] = row >> WINDOW_BITS
                begins[block] = place
                tops[block] = 0
            tops[blocks[slot] - 1] = max(np.int64(tops[blocks[slot] - 1]), code)


@compiled(
    void(readable(u32, 1), readable(i64, 1), readable(i64, 1), readable(u32, 1), writable(i64, 1)),
    strict=True,
)
def posted(dims: Any, first_blocks: Any, begins: Any, indexes: Any, counts: Any) -> None:
    """`counts` (m,) becomes how many rows have each of `indexes` (m,)."""
    for i in range(indexes.shape[0]):
        slot = _place(dims, indexes[i])
        counts[i] = 0
        if slot < dims.shape[0] and dims[slot] == indexes[i]:
            counts[i] = begins[first_blocks[slot + 1]] - begins[first_blocks[slot]]


@inlined
def _is_worse(score: Any, key: Any, other_score: Any, other_key: Any) -> bool:
    return bool(score < other_score or (score == other_score and key > other_key))


@inlined
def _put(scores: Any, keys: Any, rows: Any, size: int, score: Any, key: Any, row: Any) -> Any:
    """Put a hit into the heap of `size` hits, the worst of which is its top, where it is full in the place of that;
    returns how many there are then.
    """
    if size < scores.shape[0]:
        at = size
        size += 1
        while at > 0:
            parent = (at - 1) >> 1
            if not _is_worse(score, key, scores[parent], keys[parent]):
                break
            scores[at], keys[at], rows[at] = scores[parent], keys[parent], rows[parent]
            at = parent
        scores[at], keys[at], rows[at] = score, key, row
    elif _is_worse(scores[0], keys[0], score, key):
        _sink(scores, keys, rows, size, score, key, row)
    return size


@inlined
def _sink(scores: Any, keys: Any, rows: Any, size: int, score: Any, key: Any, row: Any) -> None:
    """Put a hit in the place of the top of the heap of `size`, and let it sink."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _is_worse(scores[child + 1], keys[child + 1], scores[child], keys[child]):
            child += 1
        if not _is_worse(scores[child], keys[child], score, key):
            break
        scores[at], keys[at], rows[at] = scores[child], keys[child], rows[child]
        at = child
    scores[at], keys[at], rows[at] = score, key, row


@inlined
def _add(sums: Any, rows: Any, codes: Any, table: Any, term: int, begin: int, end: int) -> None:
    for place in range(begin, end):
        sums[rows[place]] += table[term, codes[place]]


@inlined
def _count(sums: Any, begin: int, end: int, least: Any) -> Any:
    """How many of the sums are `least` or more."""
    found = np.int64(0)
    for row in range(begin, end):
        found += sums[row] >= least
    return found


@compiled(
    void(
        readable(i64, 1),
        readable(u32, 1),
        readable(f32, 1),
        readable(u32, 1),
        readable(i64, 1),
        readable(u16, 1),
        readable(i64, 1),
        readable(u8, 1),
        readable(u16, 1),
        readable(u8, 1),
        readable(f32, 1),
        readable(float64, 1),
        *_OF_ROWS,
        b1,
        float64,
        float64,
        float64,
        b1,
        readable(u8, 1),
        b1,
        readable(i64, 1),
        writable(f32, 2),
        writable(i64, 2),
    ),
    strict=True,
)
def search_postings(
    starts: Any,
    indexes: Any,
    values: Any,
    dims: Any,
    first_blocks: Any,
    windows: Any,
    begins: Any,
    tops: Any,
    rows: Any,
    codes: Any,
    highest: Any,
    shape: Any,
    words: Any,
    floats: Any,
    offsets: Any,
    of_texts: bool,
    k1: float,
    b: float,
    average: float,
    filtered: bool,
    bitmap: Any,
    keyed: bool,
    keys: Any,
    best_scores: Any,
    best_rows: Any,
) -> None:
    """The k best rows (nq, k) of each query, by score, of equal scores the smallest keys; -1 where there are no more.

    Query q is `indexes` and `values` starts[q]..starts[q+1]-1. A posting of index d with the code c counts at most
    value × highest[d] × shape[c]. Of the rows those take part whose bit is set. Rows are in the order of their keys
    unless they are `keyed`.
    """
    row_count, k = offsets.shape[0] - 1, best_scores.shape[1]
    sums = np.zeros(WINDOW, np.uint16)
    most = np.maximum(shape[0], 0.0)
    highest_shape = np.empty(shape.shape[0], np.float64)  # the most that a code as large or smaller counts
    for code in range(shape.shape[0]):
        most = max(most, shape[code])
        highest_shape[code] = most
    chunk = 256
    while chunk < 4 * k and chunk < WINDOW:
        chunk *= 2
    met_rows = np.empty(chunk, np.int64)
    met_sums = np.empty(chunk, np.uint16)
    heap_scores = np.empty(k, np.float32)
    heap_keys = np.empty(k, np.int64)
    heap_rows = np.empty(k, np.int64)
    for q in range(starts.shape[0] - 1):
        asked, said = indexes[starts[q] : starts[q + 1]], values[starts[q] : starts[q + 1]]
        places, factors, shift, last = table_of(asked, said)
        next_block = np.empty(asked.shape[0], np.int64)
        end_block = np.empty(asked.shape[0], np.int64)
        weights = np.empty(asked.shape[0], np.float64)
        terms = 0
        total = 0.0
        for i in range(asked.shape[0]):
            slot = _place(dims, asked[i])
            if slot < dims.shape[0] and dims[slot] == asked[i] and said[i] > 0:
                next_block[terms], end_block[terms] = first_blocks[slot], first_blocks[slot + 1]
                weights[terms] = np.float64(said[i]) * np.float64(highest[slot])
                total += weights[terms] * most
                terms += 1
        size = 0
        if terms:
            # Each posting is rounded up by less than one.
            scale = (LARGEST_SUM - terms - 1) / total * LESS
            table = np.empty((terms, shape.shape[0]), np.uint16)
            for term in range(terms):
                for code in range(shape.shape[0]):
                    table[term, code] = np.uint16(np.ceil(weights[term] * shape[code] * scale * MORE))
            order = np.arange(terms)
            bounds = np.zeros(terms, np.int64)
            rest = np.zeros(terms + 1, np.int64)
            need = np.int64(1)
            for window in range((row_count + WINDOW - 1) >> WINDOW_BITS):
                for term in range(terms):
                    bounds[term] = 0
                    block = next_block[term]
                    if block < end_block[term] and windows[block] == window:
                        bounds[term] = np.int64(np.ceil(weights[term] * highest_shape[tops[block]] * scale * MORE))
                        next_block[term] += 1
                for i in range(1, terms):  # nearly in order since the window before
                    term = order[i]
                    at = i
                    while at > 0 and bounds[order[at - 1]] < bounds[term]:
                        order[at] = order[at - 1]
                        at -= 1
                    order[at] = term
                for i in range(terms - 1, -1, -1):
                    rest[i] = rest[i + 1] + bounds[order[i]]
                if rest[0] < need:
                    continue
                sums[:] = 0
                done = 0
                while done < terms and bounds[order[done]]:
                    block = next_block[order[done]] - 1
                    begin, end = begins[block], begins[block + 1]
                    if rest[done] < need:
                        # What is left decides nothing alone: is it less work to add it, or to score what is met now?
                        met = _count(sums, 0, SAMPLE, np.uint16(need - rest[done])) * (WINDOW // SAMPLE)
                        if met * SCORE_POSTINGS <= end - begin:
                            break
                    _add(sums, rows, codes, table, order[done], begin, end)
                    done += 1
                left = rest[done]
                first = window << WINDOW_BITS
                stop = min(WINDOW, row_count - first)
                for chunk_begin in range(0, stop, chunk):
                    if rest[0] < need:
                        break
                    chunk_end = min(chunk_begin + chunk, WINDOW)
                    least = np.uint16(max(np.int64(1), need - left))
                    if not _count(sums, chunk_begin, chunk_end, least):
                        continue
                    met = 0
                    for row in range(first + chunk_begin, first + min(chunk_end, stop)):
                        if sums[row - first] >= least and (
                            not filtered or bitmap[row >> 3] >> np.uint8(row & 7) & np.uint8(1)
                        ):
                            met_rows[met], met_sums[met] = row, sums[row - first]
                            met += 1
                    # Of many those that are probably the best come first: they raise what the others need.
                    pivot = np.int64(0)
                    if met > 2 * k + 32:
                        pivot = np.int64(np.partition(met_sums[:met], met - k)[met - k])
                    for turn in range(2 if pivot else 1):
                        for i in range(met):
                            bound = np.int64(met_sums[i])
                            if (bound >= pivot) != (turn == 0) or bound + left < need:
                                continue
                            row = met_rows[i]
                            begin, end = offsets[row] >> 3, offsets[row + 1] >> 3
                            if of_texts:
                                score = bm25(places, factors, shift, last, words, floats, begin, end, k1, b, average)
                            else:
                                score = product(places, factors, shift, last, words, floats, begin, end)
                            if not score > 0.0:
                                continue
                            key = keys[row] if keyed else row
                            size = _put(heap_scores, heap_keys, heap_rows, size, np.float32(score), key, row)
                            if size == k:
                                worst = min(np.float64(heap_scores[0]), LARGEST_FLOAT)
                                need = max(np.int64(1), np.int64(worst * scale * LESS))
        for i in range(size, k):
            best_scores[q, i], best_rows[q, i] = -np.inf, -1
        while size > 0:
            size -= 1
            best_scores[q, size], best_rows[q, size] = heap_scores[0], heap_rows[0]
            _sink(heap_scores, heap_keys, heap_rows, size, heap_scores[size], heap_keys[size], heap_rows[size])
