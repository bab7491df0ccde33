"""Compiled kernels over texts. Imported only when a text is analyzed.

A column is Arrow's large_string layout: `data` holds the texts end to end, row i is `data[offsets[i]:offsets[i + 1]]`.
Everything runs without the GIL. Texts are trusted to be UTF-8, as they were checked when they came in.

Tokens of all rows lie end to end, too: those of row i are `rows[i]` to `rows[i + 1]`, and token j is
`data[starts[j]:ends[j]]`, at `positions[j]` in its row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.compiled import compiled

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
"""Of hashes of texts: FNV-1a of 64 bits (Fowler, Noll, Vo)."""

_FAR = 1 << 60


@compiled
def width(first: int) -> int:
    """How many bytes the character has whose first byte is `first`."""
    if first < 0x80:
        return 1
    if first < 0xE0:
        return 2
    return 3 if first < 0xF0 else 4


@compiled
def code_point(data: Any, at: int) -> Any:
    first = np.int64(data[at])
    if first < 0x80:
        return first
    if first < 0xE0:
        return (first & 0x1F) << 6 | np.int64(data[at + 1]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | np.int64(data[at + 2]) & 0x3F
    high = (first & 0x07) << 18 | (np.int64(data[at + 1]) & 0x3F) << 12
    return high | (np.int64(data[at + 2]) & 0x3F) << 6 | np.int64(data[at + 3]) & 0x3F


@compiled
def split(data: Any, offsets: Any, inside: Any, rows: Any, starts: Any, ends: Any, positions: Any) -> int:
    """Runs of characters that are `inside`, numbered in the row; with empty `starts` they are counted only."""
    count = 0
    store = len(starts) > 0
    for row in range(len(offsets) - 1):
        rows[row] = count
        at, end = offsets[row], offsets[row + 1]
        begin, position = np.int64(-1), 0
        while at < end:
            first = data[at]
            if first < 0x80:
                wanted, step = inside[first], 1
            else:
                wanted, step = inside[code_point(data, at)], width(first)
            if wanted:
                if begin < 0:
                    begin = at
            elif begin >= 0:
                if store:
                    starts[count], ends[count], positions[count] = begin, at, position
                count += 1
                position += 1
                begin = np.int64(-1)
            at += step
        if begin >= 0:
            if store:
                starts[count], ends[count], positions[count] = begin, end, position
            count += 1
    rows[len(offsets) - 1] = count
    return count


@compiled
def grams(
    data: Any, offsets: Any, least: int, most: int, prefix_only: bool, rows: Any, starts: Any, ends: Any, positions: Any
) -> int:
    """Runs of `least` to `most` characters from each character on, or from the first one only."""
    count = 0
    store = len(starts) > 0
    for row in range(len(offsets) - 1):
        rows[row] = count
        begin, end = offsets[row], offsets[row + 1]
        position = 0
        while begin < end:
            at, length = begin, 0
            while at < end and length < most:
                at += width(data[at])
                length += 1
                if length >= least:
                    if store:
                        starts[count], ends[count], positions[count] = begin, at, position
                    count += 1
            if prefix_only:
                break
            begin += width(data[begin])
            position += 1
    rows[len(offsets) - 1] = count
    return count


@compiled
def number(data: Any, starts: Any, ends: Any, ids: Any, firsts: Any) -> int:
    """Number the distinct tokens in the order in which they occur, into `ids`; `firsts` are their first occurrences."""
    size = 1024
    table = np.full(size, -1, np.int32)
    hashes = np.empty(len(starts), np.uint64)
    count = 0
    for token in range(len(starts)):
        start, end = starts[token], ends[token]
        h = FNV_OFFSET
        for at in range(start, end):
            h = (h ^ np.uint64(data[at])) * FNV_PRIME
        h ^= h >> np.uint64(29)
        slot = np.int64(h & np.uint64(size - 1))
        while True:
            known = table[slot]
            if known < 0:
                if 2 * (count + 1) > size:
                    size *= 4
                    table = np.full(size, -1, np.int32)
                    for i in range(count):
                        place = np.int64(hashes[i] & np.uint64(size - 1))
                        while table[place] >= 0:
                            place = (place + 1) & (size - 1)
                        table[place] = i
                    slot = np.int64(h & np.uint64(size - 1))
                    while table[slot] >= 0:
                        slot = (slot + 1) & (size - 1)
                table[slot] = count
                hashes[count] = h
                firsts[count] = token
                ids[token] = count
                count += 1
                break
            if hashes[known] == h:
                other = starts[firsts[known]]
                length = end - start
                if ends[firsts[known]] - other == length:
                    same = True
                    for i in range(length):
                        if data[other + i] != data[start + i]:
                            same = False
                            break
                    if same:
                        ids[token] = known
                        break
            slot = (slot + 1) & (size - 1)
    return count


@compiled
def gather(data: Any, starts: Any, ends: Any, offsets: Any, out: Any) -> None:
    """The texts from `starts` to `ends`, end to end in `out`, which is as long as `offsets` says they are."""
    for i in range(len(starts)):
        to = offsets[i]
        for at in range(starts[i], ends[i]):
            out[to] = data[at]
            to += 1


@compiled
def mapped(data: Any, offsets: Any, first: Any, last: Any, text: Any, new_offsets: Any, out: Any) -> int:
    """Each text with its characters replaced as a `CharacterMap` says; with an empty `out`, only its length."""
    to = 0
    store = len(out) > 0
    for row in range(len(offsets) - 1):
        new_offsets[row] = to
        at, end = offsets[row], offsets[row + 1]
        while at < end:
            byte = data[at]
            step = width(byte)
            c = np.int64(byte) if step == 1 else code_point(data, at)
            begin = first[c]
            if begin < 0:
                if store:
                    for i in range(step):
                        out[to + i] = data[at + i]
                to += step
            else:
                stop = last[c]
                if store:
                    for i in range(begin, stop):
                        out[to + i - begin] = text[i]
                to += stop - begin
            at += step
    new_offsets[len(offsets) - 1] = to
    return to


@compiled
def near(data: Any, offsets: Any, query: Any, most: int, out: Any) -> None:
    """Which texts are at most `most` edits from `query`, code points: one is inserted, dropped, replaced, or two
    neighbours swapped (the distance called optimal string alignment).

    Of the table of distances only the band is worked out in which they can be so few: E. Ukkonen, "Algorithms for
    approximate string matching", Information and Control 64 (1985).
    """
    n = len(query)
    before, row_above, row = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        length = 0
        place = at
        while place < end and length <= n + most:
            place += width(data[place])
            length += 1
        if abs(length - n) > most:
            continue
        for j in range(n + 1):
            row_above[j] = j
        previous = np.int64(-1)
        k = 0
        within = True
        while at < end:
            c = code_point(data, at)
            at += width(data[at])
            k += 1
            low, high = max(1, k - most), min(n, k + most)
            row[low - 1] = k if low == 1 else _FAR
            least = row[low - 1]
            for j in range(low, high + 1):
                cost = 0 if query[j - 1] == c else 1
                d = min(row_above[j] + 1, row[j - 1] + 1, row_above[j - 1] + cost)
                if k > 1 and j > 1 and query[j - 2] == c and query[j - 1] == previous:
                    d = min(d, before[j - 2] + 1)
                row[j] = d
                least = min(least, d)
            if high < n:
                row[high + 1] = _FAR
            if least > most:
                within = False
                break
            previous = c
            before, row_above, row = row_above, row, before
        if within and row_above[n] <= most:
            out[i] = 1


@compiled
def _telling(forms: Any, terms: Any, tells: Any) -> Any:
    """Which distinct tokens (uint8) have a form that `tells`: a byte each stays in the nearest cache."""
    found = np.zeros(len(forms) - 1, np.uint8)
    for token in range(len(found)):
        for form in range(forms[token], forms[token + 1]):
            if tells[terms[form]]:
                found[token] = 1
    return found


@compiled
def match_words(rows: Any, ids: Any, forms: Any, terms: Any, weights: Any, least: int, out: Any) -> None:
    """The rows whose distinct terms weigh at least `least` together.

    Token j stands for `terms[forms[ids[j]]:forms[ids[j] + 1]]`, and term t weighs `weights[t]`.
    """
    seen = np.full(len(weights), -1, np.int64)
    telling = _telling(forms, terms, weights != 0)
    for row in range(len(rows) - 1):
        weight = 0
        for token in range(rows[row], rows[row + 1]):
            if not telling[ids[token]]:
                continue
            for form in range(forms[ids[token]], forms[ids[token] + 1]):
                term = terms[form]
                if weights[term] and seen[term] != row:
                    seen[term] = row
                    weight += weights[term]
            if weight >= least:
                out[row] = 1
                break


@compiled
def narrowest(places: Any, lists: Any, query: Any, shifts: Any, heads: Any, most: int) -> bool:
    """Whether one place can be chosen for each word of a phrase so that all are shifted nearly alike.

    Word i has the places `places[lists[query[i]]:lists[query[i] + 1]]`, ascending, and is at `shifts[i]` in the phrase.
    What counts is the widest difference of place - shift, which has to be `most` at most. `heads` is room for a number
    a word.
    """
    for i in range(len(query)):
        heads[i] = lists[query[i]]
        if heads[i] == lists[query[i] + 1]:
            return False
    while True:
        low, high, lowest = _FAR, -_FAR, 0
        for i in range(len(query)):
            shifted = places[heads[i]] - shifts[i]
            if shifted < low:
                low, lowest = shifted, i
            high = max(high, shifted)
        if high - low <= most:
            return True
        # No later place of another word makes up for the lowest one: it has to move.
        heads[lowest] += 1
        if heads[lowest] == lists[query[lowest] + 1]:
            return False


@compiled
def match_phrase(
    rows: Any, ids: Any, positions: Any, forms: Any, terms: Any, moves: Any, slots: Any, query: Any, shifts: Any,
    most: int, out: Any,
) -> None:  # fmt: skip
    """The rows in which the phrase occurs, as `narrowest` says.

    `slots[t]` is the number of term t among the phrase's distinct words, or -1; `query` are the words of the phrase by
    that number; a form of a token is `moves[form]` behind the token's position.
    """
    words = 0
    for i in range(len(query)):
        words = max(words, query[i] + 1)
    counts, lists = np.zeros(words, np.int64), np.zeros(words + 1, np.int64)
    heads = np.zeros(len(query), np.int64)
    places = np.zeros(16, np.int64)
    telling = _telling(forms, terms, slots >= 0)
    for row in range(len(rows) - 1):
        counts[:] = 0
        for token in range(rows[row], rows[row + 1]):
            if not telling[ids[token]]:
                continue
            for form in range(forms[ids[token]], forms[ids[token] + 1]):
                slot = slots[terms[form]]
                if slot >= 0:
                    counts[slot] += 1
        total = 0
        complete = True
        for slot in range(words):
            lists[slot] = total
            total += counts[slot]
            complete = complete and counts[slot] > 0
        lists[words] = total
        if not complete:
            continue
        if total > len(places):
            places = np.zeros(2 * total, np.int64)
        counts[:] = 0
        for token in range(rows[row], rows[row + 1]):
            if not telling[ids[token]]:
                continue
            for form in range(forms[ids[token]], forms[ids[token] + 1]):
                slot = slots[terms[form]]
                if slot >= 0:
                    places[lists[slot] + counts[slot]] = positions[token] + moves[form]
                    counts[slot] += 1
        for slot in range(words):
            places[lists[slot] : lists[slot + 1]].sort()
        if narrowest(places, lists, query, shifts, heads, most):
            out[row] = 1


@compiled
def checksums(data: Any, offsets: Any, longest: int, table: Any, out: Any) -> None:
    """The CRC-32 of each text, of its first `longest` bytes; `table` is what each byte does to one."""
    for row in range(len(offsets) - 1):
        checksum = np.uint32(0xFFFFFFFF)
        for at in range(offsets[row], min(offsets[row + 1], offsets[row] + longest)):
            checksum = table[(checksum ^ data[at]) & np.uint32(0xFF)] ^ (checksum >> np.uint32(8))
        out[row] = ~checksum
