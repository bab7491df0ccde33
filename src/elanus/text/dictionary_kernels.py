"""Compiled kernels of a `Dictionary`: hash tables over texts. Imported only when a text is analyzed.

Texts lie as Arrow lays out large_string. `table` is a power of two long, more than half of it free (-1); a text is at
the first place from its hash on that is free or holds it. Everything runs without the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.compiled import compiled
from elanus.text.kernels import FNV_OFFSET, FNV_PRIME


@compiled
def _place(h: Any, data: Any, begin: int, end: int, known: Any, offsets: Any, table: Any) -> Any:
    """(place in `table`, number or -1) of the text from `begin` to `end`, whose FNV hash is `h`."""
    mask = len(table) - 1
    length = end - begin
    place = np.int64((h ^ (h >> np.uint64(29))) & np.uint64(mask))
    while table[place] >= 0:
        number = table[place]
        other = offsets[number]
        if offsets[number + 1] - other == length:
            same = True
            for i in range(length):
                if known[other + i] != data[begin + i]:
                    same = False
                    break
            if same:
                return place, np.int64(number)
        place = (place + 1) & mask
    return place, np.int64(-1)


@compiled
def fill(known: Any, offsets: Any, table: Any) -> None:
    """Enter all texts; of equal ones the first."""
    for number in range(len(offsets) - 1):
        begin, end = offsets[number], offsets[number + 1]
        h = FNV_OFFSET
        for at in range(begin, end):
            h = (h ^ np.uint64(known[at])) * FNV_PRIME
        place, found = _place(h, known, begin, end, known, offsets, table)
        if found < 0:
            table[place] = number


@compiled
def find(data: Any, of: Any, known: Any, offsets: Any, table: Any, out: Any) -> None:
    """The number of each text of `data` among the known ones, or -1."""
    for i in range(len(of) - 1):
        h = FNV_OFFSET
        for at in range(of[i], of[i + 1]):
            h = (h ^ np.uint64(data[at])) * FNV_PRIME
        out[i] = _place(h, data, of[i], of[i + 1], known, offsets, table)[1]


@compiled
def _behind(data: Any, at: int, end: int, known: Any, offsets: Any, table: Any, longest: int) -> int:
    """Where the longest known text ends that begins at `at`, or -1."""
    h = FNV_OFFSET
    behind = -1
    for to in range(at, min(end, at + longest)):
        h = (h ^ np.uint64(data[to])) * FNV_PRIME
        if _place(h, data, at, to + 1, known, offsets, table)[1] >= 0:
            behind = to + 1
    return behind


@compiled
def count_pieces(data: Any, of: Any, known: Any, offsets: Any, table: Any, longest: int, counts: Any) -> None:
    """How many known texts each text consists of, from the left and always the longest that fits; 1 for any other."""
    for i in range(len(of) - 1):
        counts[i] = 0
        at = of[i]
        while at < of[i + 1]:
            at = _behind(data, at, of[i + 1], known, offsets, table, longest)
            if at < 0:
                counts[i] = 0
                break
            counts[i] += 1
        counts[i] = max(1, counts[i])


@compiled
def cut_pieces(
    data: Any, of: Any, known: Any, offsets: Any, table: Any, longest: int, counts: Any, starts: Any, ends: Any
) -> None:
    """Where the pieces that `count_pieces` has counted begin and end."""
    piece = 0
    for i in range(len(of) - 1):
        at = of[i]
        for _ in range(counts[i]):
            starts[piece] = at
            if counts[i] == 1:
                at = of[i + 1]
            else:
                at = _behind(data, at, of[i + 1], known, offsets, table, longest)
            ends[piece] = at
            piece += 1
