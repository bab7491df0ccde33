"""Compiled kernels over bit-packed rows, a bit a row, least significant first. Imported only where they are used.

What they cost grows with the rows they name, not with all there are, but for a look at each 64 bits.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from elanus.model.compiled import compiled


def _typed_trailing_zeros(_typing: Any, word: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        never_of_zero = ir.Constant(ir.IntType(1), 1)
        return builder.cttz(arguments[0], never_of_zero)

    return types.uint64(types.uint64), generate


_trailing_zeros: Any = intrinsic(_typed_trailing_zeros)


@compiled
def set_bits(rows: Any, bits: Any) -> None:
    """Set the bits of `rows`, of any integer type, in `bits` (uint8)."""
    for i in range(len(rows)):
        row = rows[i]
        bits[row >> 3] |= np.uint8(1 << (row & 7))


@compiled
def set_runs(rows: Any, begins: Any, ends: Any, bits: Any) -> None:
    """Set the bits of all `rows[begins[i]:ends[i]]`."""
    for i in range(len(begins)):
        for at in range(begins[i], ends[i]):
            row = rows[at]
            bits[row >> 3] |= np.uint8(1 << (row & 7))


@compiled
def put_bits(rows: Any, values: Any, bits: Any) -> None:
    """Make the bits of `rows` what `values` (bool) says."""
    for i in range(len(rows)):
        row = rows[i]
        bit = np.uint8(1 << (row & 7))
        if values[i]:
            bits[row >> 3] |= bit
        else:
            bits[row >> 3] &= ~bit


@compiled
def list_rows(words: Any, tail: Any, out: Any) -> None:
    """The rows whose bits are set, rising, into `out`, which is as long as they are many: first those of `words`
    (uint64), 64 each, then those of `tail` (uint8).
    """
    found = 0
    for i in range(len(words)):
        word = numba.uint64(words[i])
        while word:
            out[found] = 64 * i + numba.int64(_trailing_zeros(word))
            found += 1
            word &= word - numba.uint64(1)
    for i in range(len(tail)):
        for bit in range(8):
            if tail[i] >> bit & 1:
                out[found] = 64 * len(words) + 8 * i + bit
                found += 1
