"""Repeated numbers in the form that the protocol has on the wire, made from arrays and not number by number.

A field of such numbers is a tag, the length of what follows in bytes, and the numbers: floats as they lie in memory
(little-endian), integers as varints, seven bits a byte, the lowest first. Messages merge such bytes into themselves,
which is a hundred times faster than appending.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_LENGTH_DELIMITED = 2

FEW = 256
"""So few integers are faster to append one by one."""


def floats(number: int, values: npt.NDArray[np.floating[Any]]) -> bytes:
    """Field `number` holding `values`, float32 or float64."""
    return _field(number, np.ascontiguousarray(values).tobytes())


def varints(number: int, values: npt.NDArray[np.integer[Any]] | Iterable[int]) -> bytes:
    """Field `number` holding `values`, integers of up to 64 bits; negative ones as their two's complement."""
    left = np.fromiter(values, np.int64) if not isinstance(values, np.ndarray) else values.astype(np.int64)
    left = left.view(np.uint64)
    lengths = np.ones(len(left), np.int64)
    for bits in range(7, 64, 7):
        lengths += left >= np.uint64(1 << bits)
    ends = np.cumsum(lengths)
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    starts = ends - lengths
    for place in range(int(lengths.max(initial=0))):
        longer = lengths > place
        if not longer.all():
            left, starts, lengths = left[longer], starts[longer], lengths[longer]
        more = (lengths > place + 1).astype(np.uint8) << 7
        out[starts + place] = (left & np.uint64(0x7F)).astype(np.uint8) | more
        left = left >> np.uint64(7)
    return _field(number, out.tobytes())


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(data)) + data if data else b""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
