"""A compiled kernel that checks JSON texts: RFC 8259, in UTF-8, nested no deeper than `MAX_NESTING`.

The layout of its arguments is that of `json_kernel`. No recursion: the open brackets are a stack of bounded height.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.expr.json_kernel import BACKSLASHES, HIGH_BITS, ONES, QUOTES, after_space, hex4
from elanus.model.compiled import compiled

MAX_NESTING = 512
"""Deeper documents are refused: Python's json, in every client, reads no more than about a thousand levels."""

_SPACES = np.uint64(0x2020202020202020)


@compiled
def _plain_ascii_until(words: Any, at: int, end: int) -> int:
    """As `_plain_until`, and stopping too at control characters and at whatever is not ASCII."""
    end = min(end, len(words) * 8)
    while at + 8 <= end:
        word = words[at >> 3]
        quotes = word ^ QUOTES
        backslashes = word ^ BACKSLASHES
        found = ((quotes - ONES) & ~quotes) | ((backslashes - ONES) & ~backslashes) | ((word - _SPACES) & ~word)
        if (found | word) & HIGH_BITS:
            break
        at += 8
    return at


@compiled
def _after_valid_string(data: Any, words: Any, at: int, end: int) -> int:
    """The index after the string whose first character is at `at`, -1 when it is not valid JSON or not UTF-8."""
    while at < end:
        if at & 7 == 0:
            at = _plain_ascii_until(words, at, end)
            if at >= end:
                return -1
        c = np.int64(data[at])
        if c == 34:
            return at + 1
        if c < 32:
            return -1
        if c == 92:
            if at + 1 >= end:
                return -1
            e = np.int64(data[at + 1])
            if e == 117:
                code = hex4(data, at + 2, end)
                if code < 0 or 0xDC00 <= code < 0xE000:
                    return -1
                at += 6
                if 0xD800 <= code < 0xDC00:
                    if at + 1 >= end or data[at] != 92 or data[at + 1] != 117:
                        return -1
                    low = hex4(data, at + 2, end)
                    if not 0xDC00 <= low < 0xE000:
                        return -1
                    at += 6
            elif e == 34 or e == 92 or e == 47 or e == 98 or e == 102 or e == 110 or e == 114 or e == 116:
                at += 2
            else:
                return -1
        elif c < 0x80:
            at += 1
        else:
            if 0xC2 <= c <= 0xDF:
                more, low, high = 1, 0x80, 0xBF
            elif 0xE0 <= c <= 0xEF:
                more, low, high = 2, 0xA0 if c == 0xE0 else 0x80, 0x9F if c == 0xED else 0xBF
            elif 0xF0 <= c <= 0xF4:
                more, low, high = 3, 0x90 if c == 0xF0 else 0x80, 0x8F if c == 0xF4 else 0xBF
            else:
                return -1
            if at + more >= end or not low <= data[at + 1] <= high:
                return -1
            for i in range(at + 2, at + more + 1):
                if not 0x80 <= data[i] <= 0xBF:
                    return -1
            at += more + 1
    return -1


@compiled
def _after_digits(data: Any, at: int, end: int) -> int:
    """The index after one or more digits, -1 when there is none."""
    first = at
    while at < end and 48 <= data[at] <= 57:
        at += 1
    return at if at > first else -1


@compiled
def _after_valid_scalar(data: Any, at: int, end: int) -> int:
    """The index after a number, true, false or null, -1 when it is none of them."""
    c = data[at]
    if c == 116:
        valid = at + 4 <= end and data[at + 1] == 114 and data[at + 2] == 117 and data[at + 3] == 101
        return at + 4 if valid else -1
    if c == 110:
        valid = at + 4 <= end and data[at + 1] == 117 and data[at + 2] == 108 and data[at + 3] == 108
        return at + 4 if valid else -1
    if c == 102:
        valid = at + 5 <= end and data[at + 1] == 97 and data[at + 2] == 108
        valid = valid and data[at + 3] == 115 and data[at + 4] == 101
        return at + 5 if valid else -1
    if c == 45:
        at += 1
    if at < end and data[at] == 48:
        at += 1
    else:
        at = _after_digits(data, at, end)
        if at < 0:
            return -1
    if at < end and data[at] == 46:
        at = _after_digits(data, at + 1, end)
        if at < 0:
            return -1
    if at < end and (data[at] == 101 or data[at] == 69):
        at += 1
        if at < end and (data[at] == 43 or data[at] == 45):
            at += 1
        at = _after_digits(data, at, end)
    return at


@compiled
def _after_valid_key(data: Any, words: Any, at: int, end: int) -> int:
    """The index after a key and its colon, -1 when they are not there."""
    if at >= end or data[at] != 34:
        return -1
    at = _after_valid_string(data, words, at + 1, end)
    if at < 0:
        return -1
    at = after_space(data, at, end)
    return at + 1 if at < end and data[at] == 58 else -1


@compiled
def _is_valid(data: Any, words: Any, at: int, end: int, in_object: Any, require_object: bool) -> bool:
    """Whether `data[at:end]` is one JSON value. `in_object` is the stack of open brackets."""
    depth = 0
    at = after_space(data, at, end)
    if require_object and (at >= end or data[at] != 123):
        return False
    while True:
        at = after_space(data, at, end)
        if at >= end:
            return False
        c = data[at]
        if c == 123 or c == 91:
            if depth >= len(in_object):
                return False
            in_object[depth] = c == 123
            depth += 1
            inside = after_space(data, at + 1, end)
            if inside >= end:
                return False
            if data[inside] != c + 2:
                at = _after_valid_key(data, words, inside, end) if c == 123 else inside
                if at < 0:
                    return False
                continue
            depth -= 1
            at = inside + 1
        elif c == 34:
            at = _after_valid_string(data, words, at + 1, end)
        else:
            at = _after_valid_scalar(data, at, end)
        if at < 0:
            return False
        # A value has ended: close what ends with it, then either the text ends or another value follows.
        while True:
            at = after_space(data, at, end)
            if depth == 0:
                return at == end
            if at >= end:
                return False
            c = data[at]
            at += 1
            if c == 44:
                if in_object[depth - 1]:
                    at = _after_valid_key(data, words, after_space(data, at, end), end)
                    if at < 0:
                        return False
                break
            if c != (125 if in_object[depth - 1] else 93):
                return False
            depth -= 1


@compiled
def first_invalid(data: Any, words: Any, offsets: Any, known: Any, require_object: bool) -> int:
    """The first row of the `known` that is not valid JSON, or not an object where one is required; -1 when all are."""
    in_object = np.empty(MAX_NESTING, np.bool_)
    for row in range(len(offsets) - 1):
        if known[row] and not _is_valid(data, words, offsets[row], offsets[row + 1], in_object, require_object):
            return row
    return -1
