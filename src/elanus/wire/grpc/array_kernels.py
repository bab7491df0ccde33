"""Compiled kernels that read and write the bytes of an ArrayArray. Imported when the first array comes or goes.

    ArrayArray     (0x0A length ScalarField)* …        one a row
    ScalarField    tag length Array                    the tag says of which type the elements are; nothing if empty
    Array          0x0A length numbers                 varints, or little-endian floats
                   (0x0A length text)*                 of strings

The bytes come from a message that was read already, so they are whole; yet nothing outside them is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.compiled import compiled

_LENGTH_DELIMITED = 2


@compiled
def _varint(data: Any, at: int, end: int) -> tuple[Any, int]:
    """(value, index after) of the varint at `at`."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < end:
        byte = np.uint64(data[at])
        at += 1
        if shift < np.uint64(64):
            value |= (byte & np.uint64(0x7F)) << shift
        shift += np.uint64(7)
        if byte < np.uint64(0x80):
            break
    return value, at


@compiled
def _field(data: Any, at: int, end: int) -> tuple[Any, Any, Any]:
    """(number, begin, end) of the field at `at`; its number is 0 where it is not one of bytes."""
    tag, at = _varint(data, at, end)
    kind = tag & np.uint64(7)
    if kind == np.uint64(_LENGTH_DELIMITED):
        length, at = _varint(data, at, end)
        stop = min(end, at + np.int64(length & np.uint64(0x7FFFFFFFFFFF)))
        return np.int64(tag >> np.uint64(3)), at, stop
    if kind == np.uint64(0):
        _, at = _varint(data, at, end)
    elif kind == np.uint64(1):
        at = min(end, at + 8)
    elif kind == np.uint64(5):
        at = min(end, at + 4)
    else:
        at = end
    return 0, at, at


@compiled
def find_rows(data: Any, parts: Any, spans: Any) -> None:
    """For each row the part of its ScalarField, 0 if it has none, and where its Array lies."""
    row = 0
    at = 0
    end = len(data)
    while at < end:
        number, begin, at = _field(data, at, end)
        if number == 1 and row < len(parts):
            inner = begin
            while inner < at:
                part, begin, inner = _field(data, inner, at)
                if part:
                    parts[row] = part
                    spans[row, 0] = begin
                    spans[row, 1] = inner
            row += 1


@compiled
def measure(data: Any, spans: Any, width: int, strings: bool, counts: Any, sizes: Any) -> None:
    """How many elements each row has, of `width` bytes each (0: varints), and how many bytes its strings have."""
    for row in range(len(spans)):
        at, end = spans[row, 0], spans[row, 1]
        while at < end:
            number, begin, at = _field(data, at, end)
            if number != 1:
                continue
            if strings:
                counts[row] += 1
                sizes[row] += at - begin
            elif width:
                counts[row] += (at - begin) // width
            else:
                for i in range(begin, at):
                    counts[row] += data[i] < 0x80


@compiled
def read_varints(data: Any, spans: Any, out: Any) -> None:
    to = 0
    for row in range(len(spans)):
        at, end = spans[row, 0], spans[row, 1]
        while at < end:
            number, begin, at = _field(data, at, end)
            if number == 1:
                while begin < at and to < len(out):
                    value, begin = _varint(data, begin, at)
                    out[to] = np.int64(value)
                    to += 1


@compiled
def read_fixed(data: Any, spans: Any, out: Any) -> None:
    to = 0
    for row in range(len(spans)):
        at, end = spans[row, 0], spans[row, 1]
        while at < end:
            number, begin, at = _field(data, at, end)
            if number == 1:
                for i in range(begin, at):
                    if to < len(out):
                        out[to] = data[i]
                        to += 1


@compiled
def read_strings(data: Any, spans: Any, ends: Any, texts: Any) -> None:
    """The strings end to end, and where each ends; `ends` has one more place in front."""
    to = 0
    place = 0
    for row in range(len(spans)):
        at, end = spans[row, 0], spans[row, 1]
        while at < end:
            number, begin, at = _field(data, at, end)
            if number == 1:
                for i in range(begin, at):
                    texts[to] = data[i]
                    to += 1
                place += 1
                ends[place] = to


@compiled
def _size(value: Any) -> int:
    """The bytes of a varint."""
    size = 1
    while value >= np.uint64(0x80):
        value >>= np.uint64(7)
        size += 1
    return size


@compiled
def _put(value: Any, out: Any, at: int) -> int:
    while value >= np.uint64(0x80):
        out[at] = np.uint8((value & np.uint64(0x7F)) | np.uint64(0x80))
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@compiled
def _open(payload: int, packed: bool, part: int, out: Any, at: int) -> int:
    """The bytes before a row's `payload` bytes of elements."""
    inner = payload
    if packed and payload:
        inner += 1 + _size(np.uint64(payload))
    outer = 1 + _size(np.uint64(inner)) + inner
    out[at] = 0x0A
    at = _put(np.uint64(outer), out, at + 1)
    out[at] = np.uint8(part << 3 | _LENGTH_DELIMITED)
    at = _put(np.uint64(inner), out, at + 1)
    if packed and payload:
        out[at] = 0x0A
        at = _put(np.uint64(payload), out, at + 1)
    return at


@compiled
def _nothing(out: Any, at: int) -> int:
    out[at] = 0x0A
    out[at + 1] = 0
    return at + 2


@compiled
def write_varints(offsets: Any, known: Any, numbers: Any, part: int, out: Any) -> int:
    at = 0
    for row in range(len(known)):
        if not known[row]:
            at = _nothing(out, at)
            continue
        payload = 0
        for i in range(offsets[row], offsets[row + 1]):
            payload += _size(np.uint64(numbers[i]))
        at = _open(payload, True, part, out, at)
        for i in range(offsets[row], offsets[row + 1]):
            at = _put(np.uint64(numbers[i]), out, at)
    return at


@compiled
def write_fixed(offsets: Any, known: Any, raw: Any, width: int, part: int, out: Any) -> int:
    at = 0
    for row in range(len(known)):
        if not known[row]:
            at = _nothing(out, at)
            continue
        first, last = offsets[row] * width, offsets[row + 1] * width
        at = _open(last - first, True, part, out, at)
        for i in range(first, last):
            out[at] = raw[i]
            at += 1
    return at


@compiled
def write_strings(offsets: Any, known: Any, texts: Any, ends: Any, part: int, out: Any) -> int:
    """String i is `texts[ends[i]:ends[i + 1]]`."""
    at = 0
    for row in range(len(known)):
        if not known[row]:
            at = _nothing(out, at)
            continue
        payload = 0
        for i in range(offsets[row], offsets[row + 1]):
            length = ends[i + 1] - ends[i]
            payload += 1 + _size(np.uint64(length)) + length
        at = _open(payload, False, part, out, at)
        for i in range(offsets[row], offsets[row + 1]):
            out[at] = 0x0A
            at = _put(np.uint64(ends[i + 1] - ends[i]), out, at + 1)
            for j in range(ends[i], ends[i + 1]):
                out[at] = texts[j]
                at += 1
    return at
