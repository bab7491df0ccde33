"""Rows sorted by a clustering key: where those lie whose value is within a span.

A run of rows of a sealed segment is sorted by the key's values, rising, nulls behind all of them. So the rows within a
span lie together, and are found with two comparisons' worth of binary search.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from elanus.model.canonical import numbers_of
from elanus.model.layout import Items


@dataclass(frozen=True, slots=True)
class Span:
    """Values from `low` to `high`; None is no bound. A bound is left out of the span where it is `open`."""

    low: Any = None
    high: Any = None
    low_open: bool = False
    high_open: bool = False

    def within(self, op: str, value: Any) -> Span:
        """The part of this span for which `op value` (`==`, `<`, `<=`, `>`, `>=`) holds."""
        low, low_open, high, high_open = self.low, self.low_open, self.high, self.high_open
        if op in (">", ">=", "=="):
            low, low_open = max(((value, op == ">"), *([] if low is None else [(low, low_open)])))
        if op in ("<", "<=", "=="):
            # Of two equal bounds the open one is the narrower.
            high, closed = min(((value, op != "<"), *([] if high is None else [(high, not high_open)])))
            high_open = not closed
        return Span(low, high, low_open, high_open)


def ranges_of(column: pa.Array, span: Span, runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The rows (start, stop) of `column` within `span`, for each of the sorted `runs` (start, stop) that has any."""
    values: Any
    left: Any
    right: Any
    if pa.types.is_large_string(column.type):
        values, left, right = Items(column), bisect_left, bisect_right
        span = Span(_bytes(span.low), _bytes(span.high), span.low_open, span.high_open)
    else:
        values, left, right = numbers_of(column, column.type.to_pandas_dtype()), _numbers_left, _numbers_right
    found = []
    for start, stop in runs:
        if column.null_count:
            stop -= column[start:stop].null_count
        begin, end = start, stop
        if span.low is not None:
            begin = (right if span.low_open else left)(values, span.low, start, stop)
        if span.high is not None:
            end = (left if span.high_open else right)(values, span.high, start, stop)
        if begin < end:
            found.append((int(begin), int(end)))
    return found


def _numbers_left(values: np.ndarray[Any, Any], value: Any, start: int, stop: int) -> int:
    return start + int(np.searchsorted(values[start:stop], values.dtype.type(value), side="left"))


def _numbers_right(values: np.ndarray[Any, Any], value: Any, start: int, stop: int) -> int:
    return start + int(np.searchsorted(values[start:stop], values.dtype.type(value), side="right"))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
