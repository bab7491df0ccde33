"""Bit-packed row masks: which rows of a unit take part in a read.

A mask is a `np.ndarray[uint8]`, least significant bit first, one bit a row, trailing bits of the last byte zero:
the layout of Arrow's boolean buffers and of faiss's `IDSelectorBitmap`, so that a filter's result reaches the
kernels without being rewritten. None stands for "every row" throughout.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.bits import count, of_rows, rows_of, trimmed, true_in

__all__ = [
    "Mask",
    "Rows",
    "bits",
    "both",
    "count",
    "from_arrow",
    "from_bools",
    "from_ranges",
    "of_rows",
    "others",
    "rows_of",
    "sample",
]

Mask = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


def from_arrow(truth: pa.BooleanArray) -> Mask:
    """The rows for which a three-valued filter result is true; null, the unknown, is not."""
    return true_in(truth)


def from_bools(truth: npt.NDArray[np.bool_]) -> Mask:
    return np.packbits(truth, bitorder="little")


def from_ranges(ranges: Iterable[tuple[int, int]], length: int) -> Mask:
    """The rows of half-open `ranges`."""
    mask = np.zeros((length + 7) // 8, np.uint8)
    for start, stop in ranges:
        if start < stop:
            first, last = start >> 3, stop >> 3
            bits = np.zeros((last + 1 - first) << 3, np.bool_)
            bits[start - (first << 3) : stop - (first << 3)] = True
            mask[first : last + 1] |= from_bools(bits)[: len(mask) - first]
    return mask


def both(a: Mask | None, b: Mask | None) -> Mask | None:
    if a is None:
        return b
    return a if b is None else a & b


def others(mask: Mask, length: int) -> Mask:
    """The rows that `mask` does not let pass."""
    return trimmed(~mask, length)


def sample(mask: Mask, length: int, share: float) -> Mask:
    """That `share` of the rows that `mask` lets pass, drawn at random.

    What is left of the share, less than a row, becomes a row with that chance, so that over many masks nothing is lost.
    """
    rows = rows_of(mask)
    random = np.random.default_rng()
    number = min(int(len(rows) * share + random.random()), len(rows))
    return of_rows(random.choice(rows, number, replace=False, shuffle=False), length)


def bits(mask: Mask, rows: Rows) -> npt.NDArray[np.bool_]:
    """Whether each of `rows` passes."""
    chosen: npt.NDArray[np.bool_] = (mask[rows >> 3] >> (rows & 7).astype(np.uint8) & 1).astype(np.bool_)
    return chosen
