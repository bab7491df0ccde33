"""Rows sorted by a clustering key: where those lie whose value is within a span.

A run of rows of a sealed segment is sorted by the key's values, rising, nulls behind all of them. So the rows within a
span lie together, and are found with two comparisons' worth of binary search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from elanus.model.canonical import numbers_of
from elanus.model.layout import layout


@dataclass(frozen=True, slots=True)
class Span:
    """Values from `low` to `high`; None is no bound. A bound is left out of the span where it is `open`."""

    low: Any = None
    high: Any = None
    low_open: bool = False
    high_open: bool = False

    @classmethod
    def of(cls, bounds: Iterable[tuple[str, Any]]) -> Span:
        """The values for which all of `bounds` (op, value) hold."""
        span = cls()
        for op, value in bounds:
            span = span.within(op, value)
        return span

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
    bound = _text_bound(column) if pa.types.is_large_string(column.type) else _number_bound(column)
    found = []
    for start, stop in runs:
        if column.null_count:
            stop -= column[start:stop].null_count
        begin, end = start, stop
        if span.low is not None:
            begin = bound(span.low, start, stop, span.low_open)
        if span.high is not None:
            end = bound(span.high, start, stop, not span.high_open)
        if begin < end:
            found.append((begin, end))
    return found


_Bound = Callable[[Any, int, int, bool], int]
"""(value, start, stop, behind): the first row that is not below the value; where `behind`, the first above it."""


def _text_bound(column: pa.Array) -> _Bound:
    from elanus.segment.text_bounds import bound

    texts = layout(column)
    return lambda text, start, stop, behind: bound(*texts, np.frombuffer(text.encode(), np.uint8), start, stop, behind)


def _number_bound(column: pa.Array) -> _Bound:
    values = numbers_of(column, column.type.to_pandas_dtype())

    def bound(value: Any, start: int, stop: int, behind: bool) -> int:
        side: Literal["left", "right"] = "right" if behind else "left"
        return start + int(np.searchsorted(values[start:stop], values.dtype.type(value), side=side))

    return bound
