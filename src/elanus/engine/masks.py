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

Mask = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


def from_arrow(truth: pa.BooleanArray) -> Mask:
    """The rows for which a three-valued filter result is true; null, the unknown, is not."""
    if truth.offset % 8:
        truth = pa.concat_arrays([truth])
    size = (len(truth) + 7) // 8
    validity, values = truth.buffers()
    start = truth.offset // 8
    mask = np.frombuffer(values, np.uint8, size, start) if size else np.empty(0, np.uint8)
    if validity is not None and truth.null_count:
        mask = mask & np.frombuffer(validity, np.uint8, size, start)
    return _trimmed(mask, len(truth))


def from_bools(truth: npt.NDArray[np.bool_]) -> Mask:
    return np.packbits(truth, bitorder="little")


def from_rows(rows: Rows, length: int) -> Mask:
    mask = np.zeros((length + 7) // 8, np.uint8)
    if not len(rows):
        return mask
    first, last = int(rows.min()) & ~7, int(rows.max())
    if last - first < len(rows) << 6:
        chosen = np.zeros(last + 1 - first, np.bool_)
        chosen[rows - first] = True
        mask[first >> 3 : (last >> 3) + 1] = from_bools(chosen)
    else:
        np.bitwise_or.at(mask, rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8))
    return mask


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


def sample(mask: Mask, length: int, share: float) -> Mask:
    """That `share` of the rows that `mask` lets pass, drawn at random.

    What is left of the share, less than a row, becomes a row with that chance, so that over many masks nothing is lost.
    """
    rows = rows_of(mask, length)
    random = np.random.default_rng()
    number = min(int(len(rows) * share + random.random()), len(rows))
    return from_rows(random.choice(rows, number, replace=False, shuffle=False), length)


def count(mask: Mask, run: tuple[int, int] | None = None) -> int:
    """How many rows a mask lets pass; of a `run` (start, stop) of them alone."""
    start, stop = run or (0, len(mask) * 8)
    bits_of = pa.Array.from_buffers(pa.bool_(), stop - start, [None, pa.py_buffer(mask)], offset=start)
    return bits_of.true_count  # type: ignore[no-any-return]


def bits(mask: Mask, rows: Rows) -> npt.NDArray[np.bool_]:
    """Whether each of `rows` passes."""
    chosen: npt.NDArray[np.bool_] = (mask[rows >> 3] >> (rows & 7).astype(np.uint8) & 1).astype(np.bool_)
    return chosen


def rows_of(mask: Mask, length: int) -> Rows:
    """The row numbers a mask lets pass, rising."""
    return np.flatnonzero(np.unpackbits(mask, count=length, bitorder="little").view(np.bool_))


def _trimmed(mask: Mask, length: int) -> Mask:
    """`mask` with the bits past `length` zero, which Arrow leaves undefined."""
    spare = -length % 8
    if not spare or not mask[-1] >> (8 - spare):
        return mask
    mask = mask.copy()
    mask[-1] &= 0xFF >> spare
    return mask
