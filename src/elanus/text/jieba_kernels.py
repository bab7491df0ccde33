"""Compiled kernels that cut Chinese texts as the package jieba does: to the token, only not in Python.

A run of characters that words may be made of is cut where the product of the words' probabilities is greatest. What
then stands in single characters is cut again, where it is Chinese, by a hidden Markov model (B E M S: a word's
beginning, end, middle, or alone). All else is cut into characters. The dictionary is a hash table: `keys` are hashes of
words and of their beginnings, 0 where a place is free, and `logs` the logarithm of a word's frequency, NaN of what only
begins words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.compiled import compiled
from elanus.text.kernels import code_point, width

BEGIN, END, MIDDLE, SINGLE = range(4)
NEVER = -3.14e100
"""The logarithm of no probability."""

_SEED = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


@compiled
def _extended(h: Any, c: int) -> Any:
    h = (h ^ np.uint64(c)) * _PRIME
    h ^= h >> _SHIFT
    return h if h else _PRIME


@compiled
def hash_words(data: Any, offsets: Any, out: Any) -> None:
    for i in range(len(offsets) - 1):
        h = _SEED
        at = offsets[i]
        while at < offsets[i + 1]:
            h = _extended(h, code_point(data, at))
            at += width(data[at])
        out[i] = h


@compiled
def fill(hashes: Any, values: Any, keys: Any, logs: Any) -> None:
    mask = len(keys) - 1
    for i in range(len(hashes)):
        slot = np.int64(hashes[i] & np.uint64(mask))
        while keys[slot] != 0:
            slot = (slot + 1) & mask
        keys[slot], logs[slot] = hashes[i], values[i]


@compiled
def _find(h: Any, keys: Any) -> Any:
    """The place of a word or beginning, or -1."""
    mask = len(keys) - 1
    slot = np.int64(h & np.uint64(mask))
    while keys[slot] != 0:
        if keys[slot] == h:
            return slot
        slot = (slot + 1) & mask
    return -1


@compiled
def _is_word(text: Any, begin: int, end: int, keys: Any, logs: Any) -> bool:
    h = _SEED
    for i in range(begin, end):
        h = _extended(h, text[i])
    slot = _find(h, keys)
    return slot >= 0 and not np.isnan(logs[slot])


@compiled
def _is_han(c: int) -> bool:
    return 0x4E00 <= c <= 0x9FD5


@compiled
def _is_digit(c: int) -> bool:
    return 48 <= c <= 57


@compiled
def _is_latin(c: int) -> bool:
    return _is_digit(c) or 65 <= c <= 90 or 97 <= c <= 122


@compiled
def _in_words(c: int) -> bool:
    return _is_han(c) or _is_latin(c) or c in (43, 35, 38, 46, 95, 37, 45)


@compiled
def _route(text: Any, begin: int, end: int, keys: Any, logs: Any, log_total: float, best: Any, ends: Any) -> None:
    """For each place the end of the word that begins there on the most probable way to the end."""
    best[end] = 0.0
    for i in range(end - 1, begin - 1, -1):
        h = _SEED
        found = False
        j = i
        while j < end:
            h = _extended(h, text[j])
            slot = _find(h, keys)
            if slot < 0:
                break
            if not np.isnan(logs[slot]):
                score = logs[slot] - log_total + best[j + 1]
                if not found or score >= best[i]:
                    best[i], ends[i], found = score, j + 1, True
            j += 1
        if not found:
            best[i], ends[i] = 0.0 - log_total + best[i + 1], i + 1


@compiled
def _viterbi(text: Any, begin: int, end: int, start: Any, moves: Any, emitted: Any, came: Any, states: Any) -> None:
    """The most probable states of the characters from `begin` to `end`. Of equal ones the later letter wins."""
    scores, new = np.empty(4), np.empty(4)
    for state in range(4):
        scores[state] = start[state] + emitted[state, text[begin]]
    for i in range(begin + 1, end):
        for state in range(4):
            first, second = MIDDLE, BEGIN
            if state in (BEGIN, SINGLE):
                first, second = SINGLE, END
            here = emitted[state, text[i]]
            of_first = scores[first] + moves[first, state] + here
            of_second = scores[second] + moves[second, state] + here
            if of_first >= of_second:
                new[state], came[i - begin, state] = of_first, first
            else:
                new[state], came[i - begin, state] = of_second, second
        scores[:] = new
    state = SINGLE if scores[SINGLE] >= scores[END] else END
    for i in range(end - 1, begin - 1, -1):
        states[i - begin] = state
        state = came[i - begin, state]


@compiled
def _cut_again(text: Any, begin: int, end: int, model: Any, came: Any, states: Any, cuts: Any, count: int) -> int:
    """Cut what stands in single characters; the ends of the words go into `cuts`."""
    start, moves, emitted = model
    at = begin
    while at < end:
        first = at
        if _is_han(text[at]):
            while at < end and _is_han(text[at]):
                at += 1
            _viterbi(text, first, at, start, moves, emitted, came, states)
            behind = first
            for i in range(first, at):
                if states[i - first] in (END, SINGLE):
                    cuts[count] = behind = i + 1
                    count += 1
            if behind < at:
                cuts[count] = at
                count += 1
            continue
        if _is_latin(text[at]):
            while at < end and _is_latin(text[at]):
                at += 1
            if at + 1 < end and text[at] == 46 and _is_digit(text[at + 1]):
                at += 2
                while at < end and _is_digit(text[at]):
                    at += 1
            if at < end and text[at] == 37:
                at += 1
        else:
            while at < end and not _is_han(text[at]) and not _is_latin(text[at]):
                at += 1
        cuts[count] = at
        count += 1
    return count


@compiled
def _cut_run(
    text: Any, begin: int, end: int, keys: Any, logs: Any, log_total: float, hmm: bool, model: Any, room: Any,
    cuts: Any, count: int,
) -> int:  # fmt: skip
    """Cut a run of characters that words may be made of."""
    best, ends, came, states = room
    _route(text, begin, end, keys, logs, log_total, best, ends)
    at = kept = begin
    while at < end:
        behind = ends[at]
        alone = behind - at == 1
        if alone and (hmm or _is_latin(text[at])):
            at = behind
            if at < end:
                continue
        if kept < at:
            if not hmm or at - kept == 1:
                cuts[count] = at
                count += 1
            elif not _is_word(text, kept, at, keys, logs):
                count = _cut_again(text, kept, at, model, came, states, cuts, count)
            else:
                for i in range(kept, at):
                    cuts[count] = i + 1
                    count += 1
        if at < behind:
            cuts[count] = behind
            count += 1
            at = behind
        kept = at
    return count


@compiled
def cut(
    data: Any, offsets: Any, keys: Any, logs: Any, log_total: float, hmm: bool, search: bool, model: Any, rows: Any
) -> Any:
    """(starts, ends, positions) of the tokens of all texts; `rows` is filled. With `search` a word's parts of two and
    three characters that are words stand before it.
    """
    longest = 0
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    text, places = np.empty(longest, np.int64), np.empty(longest + 1, np.int64)
    room = (
        np.empty(longest + 1),
        np.empty(longest, np.int64),
        np.empty((longest, 4), np.int64),
        np.empty(longest, np.int64),
    )
    cuts = np.empty(longest, np.int64)
    starts, ends, positions = np.empty(1024, np.int32), np.empty(1024, np.int32), np.empty(1024, np.int32)
    count = 0
    for row in range(len(offsets) - 1):
        rows[row] = count
        length, at = 0, offsets[row]
        while at < offsets[row + 1]:
            text[length], places[length] = code_point(data, at), at
            at += width(data[at])
            length += 1
        places[length] = at
        words, i = 0, 0
        while i < length:
            first = i
            while i < length and _in_words(text[i]):
                i += 1
            if first < i:
                words = _cut_run(text, first, i, keys, logs, log_total, hmm, model, room, cuts, words)
                continue
            i += 2 if text[i] == 13 and i + 1 < length and text[i + 1] == 10 else 1
            cuts[words] = i
            words += 1
        if count + 3 * length > len(starts):
            size = 2 * (count + 3 * length)
            starts, ends, positions = _grown(starts, size), _grown(ends, size), _grown(positions, size)
        begin = 0
        for word in range(words):
            end = cuts[word]
            if search:
                for size in range(2, 4):
                    for i in range(begin, end - size + 1 if end - begin > size else begin):
                        if _is_word(text, i, i + size, keys, logs):
                            starts[count], ends[count], positions[count] = places[i], places[i + size], i
                            count += 1
            starts[count], ends[count], positions[count] = places[begin], places[end], begin
            count += 1
            begin = end
    rows[len(offsets) - 1] = count
    return starts[:count].copy(), ends[:count].copy(), positions[:count].copy()


@compiled
def _grown(array: Any, size: int) -> Any:
    grown = np.empty(size, np.int32)
    grown[: len(array)] = array
    return grown
