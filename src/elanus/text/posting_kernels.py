"""Compiled kernels over the rows in which words stand. Imported only where a text index is built or asked.

Rows of one word rise. Masks have a bit a row, least significant first. Everything runs without the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.compiled import compiled
from elanus.text.kernels import narrowest


@compiled
def ordered(terms: Any, offsets: Any, order: Any) -> None:
    """The places of `terms` in the order of the terms, those of one as they are; term i's begin at `offsets[i]`."""
    for i in range(len(terms)):
        offsets[terms[i] + 1] += 1
    for term in range(len(offsets) - 1):
        offsets[term + 1] += offsets[term]
    to = offsets[:-1].copy()
    for i in range(len(terms)):
        order[to[terms[i]]] = i
        to[terms[i]] += 1


@compiled
def phrase_at(positions: Any, begins: Any, ends: Any, query: Any, shifts: Any, most: int, out: Any) -> None:
    """The texts in which a phrase occurs, as `narrowest` says, of texts that have all its words.

    Word w is in text i at the places `positions[begins[w, i]:ends[w, i]]`, in any order.
    """
    words = len(begins)
    lists, heads = np.zeros(words + 1, np.int64), np.zeros(len(query), np.int64)
    places = np.zeros(16, np.int64)
    for i in range(begins.shape[1]):
        total = 0
        for word in range(words):
            total += ends[word, i] - begins[word, i]
        if total > len(places):
            places = np.zeros(2 * total, np.int64)
        total = 0
        for word in range(words):
            lists[word] = total
            for at in range(begins[word, i], ends[word, i]):
                places[total] = positions[at]
                total += 1
            places[lists[word] : total].sort()
        lists[words] = total
        if narrowest(places, lists, query, shifts, heads, most):
            out[i] = 1


@compiled
def add_weight(rows: Any, weight: int, weights: Any) -> None:
    for i in range(len(rows)):
        weights[rows[i]] += weight


@compiled
def shared(few: Any, many: Any, out: Any) -> int:
    """The rows that are in both, into `out`, which is as long as `few`; returns how many."""
    count = 0
    at = 0
    for i in range(len(few)):
        row = few[i]
        # Long gaps are leapt over, in steps that double.
        step = 1
        while at + step < len(many) and many[at + step] <= row:
            at += step
            step *= 2
        while at < len(many) and many[at] < row:
            at += 1
        if at < len(many) and many[at] == row:
            out[count] = row
            count += 1
    return count


@compiled
def places_of(rows: Any, counts: Any, start: int, wanted: Any, begins: Any, ends: Any) -> None:
    """Where the places begin and end that a word has in each of the `wanted` of its rows; its first is at `start`."""
    at = 0
    place = start
    for i in range(len(wanted)):
        while rows[at] < wanted[i]:
            place += counts[at]
            at += 1
        begins[i] = place
        ends[i] = place + counts[at]
