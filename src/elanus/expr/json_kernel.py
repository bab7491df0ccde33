"""Compiled kernels that read values out of JSON texts. Imported only when JSON is met: numba costs 0.35 s and 120 MB.

A column is Arrow's large_binary layout: `data` holds the texts end to end, row i is `data[offsets[i]:offsets[i + 1]]`.
`words` is `data` as words of eight bytes, or empty. Everything runs without the GIL and without recursion: skipping a
value counts brackets. Texts are trusted to be valid, as `json_check` has found them when they came in, but nothing
outside them is read whatever they hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.compiled import compiled

MISSING, NULL, BOOL, INT, DOUBLE, STRING, ARRAY, OBJECT, UNREAD_DOUBLE = range(9)

_POWERS = np.array([10.0**i for i in range(23)])
_MAX_EXACT = 1 << 53
ONES = np.uint64(0x0101010101010101)
HIGH_BITS = np.uint64(0x8080808080808080)
QUOTES = np.uint64(0x2222222222222222)
BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)


@compiled
def after_space(data: Any, at: int, end: int) -> int:
    while at < end and (data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9):
        at += 1
    return at


@compiled
def _plain_until(words: Any, at: int, end: int) -> int:
    """The index from `at`, a multiple of 8, of the first word of eight bytes with a quote or a backslash in it."""
    end = min(end, len(words) * 8)
    while at + 8 <= end:
        quotes = words[at >> 3] ^ QUOTES
        backslashes = words[at >> 3] ^ BACKSLASHES
        # A byte becomes 0x80 where it was zero (Mycroft 1987).
        if (((quotes - ONES) & ~quotes) | ((backslashes - ONES) & ~backslashes)) & HIGH_BITS:
            break
        at += 8
    return at


@compiled
def _after_string(data: Any, words: Any, at: int, end: int) -> int:
    """The index after the closing quote of the string whose first character is at `at`."""
    # Most strings end within a few bytes: looking at words pays for longer ones only.
    near = min(at + 16, end)
    while at < near:
        c = data[at]
        if c == 34:
            return at + 1
        at += 2 if c == 92 else 1
    while at < end:
        if at & 7 == 0:
            at = _plain_until(words, at, end)
            if at >= end:
                return end
        c = data[at]
        if c == 34:
            return at + 1
        at += 2 if c == 92 else 1
    return end


@compiled
def _after_value(data: Any, words: Any, at: int, end: int) -> int:
    depth = 0
    while at < end:
        c = data[at]
        if c == 34:
            at = _after_string(data, words, at + 1, end)
            if depth == 0:
                return at
            continue
        if c == 123 or c == 91:
            depth += 1
        elif c == 125 or c == 93:
            if depth == 0:
                return at
            depth -= 1
            if depth == 0:
                return at + 1
        elif depth == 0 and (c == 44 or c == 32 or c == 10 or c == 13 or c == 9):
            return at
        at += 1
    return end


@compiled
def hex4(data: Any, at: int, end: int) -> Any:
    """The value of four hexadecimal digits, -1 when they are not there."""
    if at + 4 > end:
        return -1
    value: Any = np.int64(0)
    for i in range(at, at + 4):
        c = np.int64(data[i])
        if 48 <= c <= 57:
            digit = c - 48
        elif 65 <= c <= 70:
            digit = c - 55
        elif 97 <= c <= 102:
            digit = c - 87
        else:
            return -1
        value = value * 16 + digit
    return value


@compiled
def _escape(data: Any, at: int, end: int) -> tuple[int, int]:
    """(code point, index after) of the escape whose backslash is at `at`; a lone surrogate reads as U+FFFD."""
    if at + 1 >= end:
        return 0xFFFD, end
    c: Any = np.int64(data[at + 1])
    if c == 117:
        high = hex4(data, at + 2, end)
        if high < 0:
            return 0xFFFD, min(at + 6, end)
        if 0xD800 <= high < 0xDC00 and at + 7 < end and data[at + 6] == 92 and data[at + 7] == 117:
            low = hex4(data, at + 8, end)
            if 0xDC00 <= low < 0xE000:
                return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00), at + 12
        if 0xD800 <= high < 0xE000:
            return 0xFFFD, at + 6
        return high, at + 6
    if c == 110:
        c = 10
    elif c == 116:
        c = 9
    elif c == 114:
        c = 13
    elif c == 98:
        c = 8
    elif c == 102:
        c = 12
    return c, at + 2


@compiled
def _encode(code: int, out: Any, at: int) -> int:
    """Write `code` as UTF-8; the index after it."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | (code >> 6)
        out[at + 1] = 0x80 | (code & 0x3F)
        return at + 2
    if code < 0x10000:
        out[at] = 0xE0 | (code >> 12)
        out[at + 1] = 0x80 | ((code >> 6) & 0x3F)
        out[at + 2] = 0x80 | (code & 0x3F)
        return at + 3
    out[at] = 0xF0 | (code >> 18)
    out[at + 1] = 0x80 | ((code >> 12) & 0x3F)
    out[at + 2] = 0x80 | ((code >> 6) & 0x3F)
    out[at + 3] = 0x80 | (code & 0x3F)
    return at + 4


@compiled
def _same_key(data: Any, at: int, end: int, key: Any, scratch: Any) -> bool:
    """Whether the raw string content `data[at:end]` reads as `key`."""
    k = 0
    while at < end:
        if data[at] == 92:
            code, at = _escape(data, at, end)
            size = _encode(code, scratch, 0)
            if k + size > len(key):
                return False
            for i in range(size):
                if key[k + i] != scratch[i]:
                    return False
            k += size
        else:
            if k >= len(key) or key[k] != data[at]:
                return False
            k += 1
            at += 1
    return k == len(key)


@compiled
def _locate(data: Any, words: Any, at: int, end: int, keys: Any, key_offsets: Any, indexes: Any, scratch: Any) -> int:
    """Where the value at the path begins, -1 when there is none. Of equal keys the first counts."""
    at = after_space(data, at, end)
    for step in range(len(indexes)):
        index = indexes[step]
        if at >= end or data[at] != (123 if index < 0 else 91):
            return -1
        at = after_space(data, at + 1, end)
        if index < 0:
            key = keys[key_offsets[step] : key_offsets[step + 1]]
            while True:
                if at >= end or data[at] != 34:
                    return -1
                after = _after_string(data, words, at + 1, end)
                found = _same_key(data, at + 1, after - 1, key, scratch)
                at = after_space(data, after, end)
                if at >= end or data[at] != 58:
                    return -1
                at = after_space(data, at + 1, end)
                if found:
                    break
                at = after_space(data, _after_value(data, words, at, end), end)
                if at >= end or data[at] != 44:
                    return -1
                at = after_space(data, at + 1, end)
        else:
            if at < end and data[at] == 93:
                return -1
            while index > 0:
                at = after_space(data, _after_value(data, words, at, end), end)
                if at >= end or data[at] != 44:
                    return -1
                at = after_space(data, at + 1, end)
                index -= 1
    return at if at < end else -1


@compiled
def _number(data: Any, at: int, end: int) -> tuple[int, int, float, int]:
    """(kind, int value, double value, index after) of the number at `at`.

    An integer outside int64 is a double. Doubles of up to 18 digits below 2**53 and a power of ten of at most 22 are
    exact in one operation (Clinger 1990); the others are left to the caller as UNREAD_DOUBLE.
    """
    negative = data[at] == 45
    if negative:
        at += 1
    whole = True
    fits = True
    # Negated, because int64 reaches one further down than up.
    value: Any = np.int64(0)
    scale: Any = 0
    digits = 0
    while at < end:
        c = np.int64(data[at])
        if 48 <= c <= 57:
            if value < -922337203685477580 or (value == -922337203685477580 and c == 57):
                fits = False
            if fits:
                value = value * 10 - (c - 48)
            digits += 1
            if not whole:
                scale -= 1
        elif c == 46 and whole:
            whole = False
        else:
            break
        at += 1
    if at < end and (data[at] == 101 or data[at] == 69):
        whole = False
        at += 1
        lowered = False
        if at < end and (data[at] == 43 or data[at] == 45):
            lowered = data[at] == 45
            at += 1
        exponent: Any = 0
        while at < end and 48 <= data[at] <= 57:
            if exponent < 100000:
                exponent = exponent * 10 + (np.int64(data[at]) - 48)
            at += 1
        scale += -exponent if lowered else exponent
    if whole:
        if fits and (negative or value != -9223372036854775808):
            return INT, value if negative else -value, 0.0, at
        return UNREAD_DOUBLE, 0, 0.0, at
    if fits and value >= -_MAX_EXACT and -22 <= scale <= 22:
        result = float(-value)
        result = result * _POWERS[scale] if scale >= 0 else result / _POWERS[-scale]
        return DOUBLE, 0, -result if negative else result, at
    return UNREAD_DOUBLE, 0, 0.0, at


@compiled
def extract(
    data: Any, words: Any, offsets: Any, keys: Any, key_offsets: Any, indexes: Any,
    kinds: Any, ints: Any, floats: Any, starts: Any, ends: Any,
) -> None:  # fmt: skip
    """The value at one path in each row.

    `indexes[s]` is step s's array index, or -1 for the key `keys[key_offsets[s]:key_offsets[s + 1]]`. Fills `kinds`,
    `ints` (booleans as 0 and 1), `floats`, and the span in `data` of a string's raw content or an unread double.
    """
    scratch = np.empty(4, np.uint8)
    for row in range(len(offsets) - 1):
        end = offsets[row + 1]
        kind = MISSING
        integer: Any = np.int64(0)
        real = 0.0
        start: Any = np.int64(0)
        stop: Any = np.int64(0)
        at = _locate(data, words, offsets[row], end, keys, key_offsets, indexes, scratch)
        if at >= 0:
            c = data[at]
            if c == 34:
                kind = STRING
                start = at + 1
                stop = _after_string(data, words, at + 1, end) - 1
                if stop < start:
                    stop = start
            elif c == 123:
                kind = OBJECT
            elif c == 91:
                kind = ARRAY
            elif c == 116 or c == 102:
                kind = BOOL
                integer = np.int64(c == 116)
            elif c == 110:
                kind = NULL
            elif c == 45 or 48 <= c <= 57:
                start = at
                kind, integer, real, stop = _number(data, at, end)
        kinds[row] = kind
        ints[row] = integer
        floats[row] = real
        starts[row] = start
        ends[row] = stop


@compiled
def read_string(data: Any, at: int, end: int, out: Any, to: int) -> int:
    """Read the content `data[at:end]` of a string, escapes and all, into `out` from `to` on; returns where it ends."""
    while at < end:
        if data[at] == 92:
            code, at = _escape(data, at, end)
            to = _encode(code, out, to)
        else:
            out[to] = data[at]
            at += 1
            to += 1
    return to


@compiled
def copy_spans(data: Any, kinds: Any, kind: int, starts: Any, ends: Any, out_offsets: Any, out: Any) -> None:
    """The spans of the rows of `kind`, escapes read, end to end in `out`; rows of other kinds are empty.

    `out` has room for the raw spans, which are never shorter than what they read as.
    """
    to = 0
    for row in range(len(kinds)):
        out_offsets[row] = to
        if kinds[row] == kind:
            to = read_string(data, starts[row], ends[row], out, to)
    out_offsets[len(kinds)] = to


@compiled
def count_elements(
    data: Any, words: Any, starts: Any, ends: Any, keys: Any, key_offsets: Any, indexes: Any, places: Any, counts: Any
) -> None:
    """How many elements the array at one path of each document has, -1 where there is none, and where the first begins.

    Document i is `data[starts[i]:ends[i]]`.
    """
    scratch = np.empty(4, np.uint8)
    for row in range(len(starts)):
        end = ends[row]
        counts[row] = -1
        at = _locate(data, words, starts[row], end, keys, key_offsets, indexes, scratch)
        if at < 0 or data[at] != 91:
            continue
        at = after_space(data, at + 1, end)
        places[row] = at
        count = 0
        while at < end and data[at] != 93:
            count += 1
            at = after_space(data, _after_value(data, words, at, end), end)
            if at >= end or data[at] != 44:
                break
            at = after_space(data, at + 1, end)
        counts[row] = count


@compiled
def read_elements(
    data: Any, words: Any, ends: Any, places: Any, offsets: Any,
    kinds: Any, ints: Any, floats: Any, element_starts: Any, element_ends: Any,
) -> None:  # fmt: skip
    """The elements that `count_elements` has counted: those of document i are from `offsets[i]` to `offsets[i + 1]`.

    They are told as by `extract`; arrays and objects have a span, too, which is all of their text.
    """
    for row in range(len(places)):
        end = ends[row]
        at = places[row]
        for i in range(offsets[row], offsets[row + 1]):
            kind = MISSING
            integer: Any = np.int64(0)
            real = 0.0
            start: Any = np.int64(at)
            c = data[at]
            if c == 45 or 48 <= c <= 57:
                kind, integer, real, stop = _number(data, at, end)
            else:
                stop = _after_value(data, words, at, end)
            after = stop
            if c == 34:
                kind = STRING
                start = at + 1
                stop = max(start, stop - 1)
            elif c == 123:
                kind = OBJECT
            elif c == 91:
                kind = ARRAY
            elif c == 116 or c == 102:
                kind = BOOL
                integer = np.int64(c == 116)
            elif c == 110:
                kind = NULL
            kinds[i] = kind
            ints[i] = integer
            floats[i] = real
            element_starts[i] = start
            element_ends[i] = stop
            at = after_space(data, after, end)
            if at < end and data[at] == 44:
                at = after_space(data, at + 1, end)
            if at >= end:
                at = end - 1
