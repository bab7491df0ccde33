"""Rows as bits, a bit a row, least significant first, as Arrow's booleans lie: counted, and turned into numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bits = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


def count(bits: Bits, start: int = 0, stop: int | None = None) -> int:
    """How many of the bits start..stop-1 (None: all there are) are set."""
    stop = 8 * len(bits) if stop is None else stop
    booleans = pa.Array.from_buffers(pa.bool_(), stop - start, [None, pa.py_buffer(bits)], offset=start)
    return booleans.true_count  # type: ignore[no-any-return]


def of_arrow(array: pa.BooleanArray) -> tuple[Bits, Bits | None]:
    """(values, known) from the first row on, for which bits behind the last one are anything; None: all are known."""
    if array.offset % 8:
        array = pa.concat_arrays([array])
    size, start = (len(array) + 7) // 8, array.offset // 8
    known, values = array.buffers()
    if not size:
        return np.empty(0, np.uint8), None
    return np.frombuffer(values, np.uint8, size, start), (
        np.frombuffer(known, np.uint8, size, start) if array.null_count else None
    )


def true_in(array: pa.BooleanArray) -> Bits:
    """The rows that are true, neither false nor null."""
    values, known = of_arrow(array)
    return trimmed(values if known is None else values & known, len(array))


def trimmed(bits: Bits, length: int) -> Bits:
    """`bits` with those past `length` zero."""
    spare = -length % 8
    if not spare or not bits[-1] >> (8 - spare):
        return bits
    bits = bits.copy()
    bits[-1] &= 0xFF >> spare
    return bits


def rows_of(bits: Bits) -> Rows:
    """The numbers of the bits that are set, rising."""
    from elanus.model.bit_kernels import list_rows

    set_ones = count(bits)
    if set_ones > 4 * len(bits):
        return np.flatnonzero(np.unpackbits(bits, bitorder="little").view(np.bool_))
    bits = np.ascontiguousarray(bits).view()
    bits.flags.writeable = False  # kernels are compiled for one type only
    rows = np.empty(set_ones, np.int64)
    whole = len(bits) & ~7
    list_rows(bits[:whole].view(np.uint64), bits[whole:], rows)
    return rows


def of_rows(rows: npt.NDArray[np.integer[Any]], length: int) -> Bits:
    """The bits of `length` rows, set for each of `rows`."""
    from elanus.model.bit_kernels import set_bits

    bits = np.zeros((length + 7) // 8, np.uint8)
    if len(rows):
        set_bits(rows, bits)
    return bits
