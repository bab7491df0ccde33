"""Compiled kernels over arrays. Imported when a filter first looks into one.

`offsets` says which elements a row has: from `offsets[row]` to `offsets[row + 1]`. Strings lie as `model.arrays` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.compiled import compiled


@compiled
def any_in_rows(hits: Any, offsets: Any, out: Any) -> None:
    """Whether some element of each row is a hit. `out` is all false before; hits are few, so rows are not asked."""
    row = 0
    for i in range(len(hits)):
        if hits[i]:
            while offsets[row + 1] <= i:
                row += 1
            out[row] = True


@compiled
def all_in_rows(codes: Any, count: int, offsets: Any, out: Any) -> None:
    """Whether each row has an element of each of the codes from 0 to `count`, less one; -1 is no code."""
    seen = np.full(count, -1, np.int64)
    for row in range(len(out)):
        missing = count
        for i in range(offsets[row], offsets[row + 1]):
            code = codes[i]
            if code >= 0 and seen[code] != row:
                seen[code] = row
                missing -= 1
                if missing == 0:
                    break
        out[row] = missing == 0


@compiled
def _word(data: Any, at: int) -> Any:
    """The uint32 at `at`."""
    return (
        np.int64(data[at])
        | np.int64(data[at + 1]) << 8
        | np.int64(data[at + 2]) << 16
        | np.int64(data[at + 3]) << 24
    )  # fmt: skip


@compiled
def _order(data: Any, at: int, length: int, other: Any, begin: int, end: int) -> int:
    """Below 0, 0 or above it as `data[at:at + length]` comes before `other[begin:end]`, equals it, or comes after."""
    for i in range(min(length, end - begin)):
        if data[at + i] != other[begin + i]:
            return 1 if data[at + i] > other[begin + i] else -1
    return length - (end - begin)


@compiled
def strings_in_rows(data: Any, offsets: Any, listed: Any, ends: Any, all_of_them: bool, out: Any) -> None:
    """Whether each row has one of the listed strings, or all of them.

    String i of the list, which is sorted and has none twice, is `listed[ends[i]:ends[i + 1]]`.
    """
    count = len(ends) - 1
    seen = np.full(count, -1, np.int64)
    for row in range(len(out)):
        begin = offsets[row]
        missing = count
        if offsets[row + 1] > begin:
            strings = _word(data, begin)
            first = begin + 4 + 4 * strings
            at = first
            for i in range(strings):
                stop = first + _word(data, begin + 4 + 4 * i)
                low, high = 0, count
                while low < high:
                    middle = (low + high) // 2
                    order = _order(data, at, stop - at, listed, ends[middle], ends[middle + 1])
                    if order == 0:
                        if seen[middle] != row:
                            seen[middle] = row
                            missing -= 1
                        break
                    if order < 0:
                        high = middle
                    else:
                        low = middle + 1
                if missing == 0 or (missing < count and not all_of_them):
                    break
                at = stop
        out[row] = missing == 0 or (missing < count and not all_of_them)


@compiled
def string_spans(data: Any, offsets: Any, index: int, starts: Any, ends: Any, known: Any) -> None:
    """Where string number `index` of each row lies, if it has so many."""
    for row in range(len(known)):
        begin = offsets[row]
        known[row] = False
        starts[row] = 0
        ends[row] = 0
        if offsets[row + 1] > begin:
            strings = _word(data, begin)
            if index < strings:
                first = begin + 4 + 4 * strings
                starts[row] = first + (_word(data, begin + 4 * index) if index else 0)
                ends[row] = first + _word(data, begin + 4 + 4 * index)
                known[row] = True


@compiled
def copy_spans(data: Any, starts: Any, ends: Any, offsets: Any, out: Any) -> None:
    """The spans end to end; `offsets` gets one place more than there are."""
    to = 0
    for row in range(len(starts)):
        offsets[row] = to
        for i in range(starts[row], ends[row]):
            out[to] = data[i]
            to += 1
    offsets[len(starts)] = to
