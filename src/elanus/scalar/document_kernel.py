"""Which paths of keys the documents of a JSON column have, and where in each document the value of each begins.

Imported by builders only. Paths have numbers: 0 is what is walked itself, others are their parent's number and a key.
They are found by hash in `slots`, an open table of numbers; `key_ends` says where in `arena` the key of each path ends,
the first of them being empty. `state` is [paths so far, whether there were more than fit].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.expr.json_kernel import _after_string, _after_value, _locate, after_space, read_string
from elanus.model.compiled import compiled

PATHS, OVERFLOW = range(2)


@compiled
def _number_of(
    parent: int, key: Any, length: int, slots: Any, parents: Any, key_ends: Any, arena: Any, state: Any
) -> Any:
    """The number of a path, which is a new one where it was not met before; -1 where it does not fit any more."""
    mixed: Any = np.uint64(14695981039346656037) ^ np.uint64(parent)
    for i in range(length):
        mixed = (mixed ^ np.uint64(key[i])) * np.uint64(1099511628211)
    mixed ^= mixed >> np.uint64(29)
    slot: Any = np.int64(mixed & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        number = slots[slot]
        begin = key_ends[number - 1]
        if parents[number] == parent and key_ends[number] - begin == length:
            same = True
            for i in range(length):
                if arena[begin + i] != key[i]:
                    same = False
                    break
            if same:
                return number
        slot = (slot + 1) & (len(slots) - 1)
    number = state[PATHS]
    begin = key_ends[number - 1]
    if number == len(parents) or begin + length > len(arena):
        state[OVERFLOW] = 1
        return -1
    slots[slot] = number
    parents[number] = parent
    for i in range(length):
        arena[begin + i] = key[i]
    key_ends[number] = begin + length
    state[PATHS] = number + 1
    return number


@compiled
def walk(
    data: Any, words: Any, offsets: Any, known: Any, first_row: int,
    keys: Any, key_offsets: Any, indexes: Any, depth_limit: int,
    slots: Any, parents: Any, key_ends: Any, arena: Any, state: Any, last_rows: Any,
    out_paths: Any, out_rows: Any, out_places: Any,
) -> int:  # fmt: skip
    """Fill `out_…` with a path, a row and a place for each value below the path that `keys` and the two behind it name
    (see `json_kernel.extract`), of rows that are `known`; returns how many there are.

    Of equal keys of an object the first counts, whatever they hold. What is in arrays is not looked at, and neither is
    what lies deeper than `depth_limit` keys. `first_row` is the number of the first row in the whole column.
    """
    count = 0
    scratch = np.empty(4, np.uint8)
    longest: Any = 4
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    key = np.empty(longest, np.uint8)
    stack = np.zeros(depth_limit + 1, np.int64)
    for row in range(len(offsets) - 1):
        end = offsets[row + 1]
        if not known[row]:
            continue
        at = _locate(data, words, offsets[row], end, keys, key_offsets, indexes, scratch)
        if at < 0:
            continue
        number: Any = np.int64(0)
        depth = 0
        while True:
            # A value begins at `at`, of the path `number`, or of none that counts.
            if number >= 0:
                out_paths[count] = number
                out_rows[count] = first_row + row
                out_places[count] = at
                count += 1
                last_rows[number] = first_row + row
            if number >= 0 and data[at] == 123 and depth < depth_limit:
                stack[depth] = number
                depth += 1
                at = after_space(data, at + 1, end)
            else:
                at = after_space(data, _after_value(data, words, at, end), end)
            # Behind it: ends of objects, a comma, and the next key.
            while depth > 0 and at < end and data[at] == 125:
                depth -= 1
                at = after_space(data, at + 1, end)
            if depth == 0 or at >= end:
                break
            if data[at] == 44:
                at = after_space(data, at + 1, end)
            if at >= end or data[at] != 34:
                break
            after = _after_string(data, words, at + 1, end)
            length = read_string(data, at + 1, after - 1, key, 0)
            number = _number_of(stack[depth - 1], key, length, slots, parents, key_ends, arena, state)
            if number >= 0 and last_rows[number] == first_row + row:
                number = -1
            at = after_space(data, after, end)
            if at >= end or data[at] != 58:
                break
            at = after_space(data, at + 1, end)
            if at >= end:
                break
    return count
