"""Tenants: the rows with one value of the partition key. Which partition they are in, and where in a segment they lie.

A collection with a partition key has a fixed number of partitions, with the ids 1, 2, …. That of a tenant is
`1 + mix(probe(value)) % number` (see `probe`), and is in files: changing it is a new format version.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from elanus.model.canonical import Values, numbers_of
from elanus.model.layout import Items
from elanus.segment.probe import mix, probe
from elanus.segment.view import Rows


def partitions_of(values: Values, number: int) -> Rows:
    """The ids of the partitions, of so many, that the tenants `values` (Int64 or VarChar, without nulls) are in."""
    return (mix(probe(values)) % np.uint64(number)).astype(np.int64) + 1


def rows_of(column: pa.Array, values: pa.Array, runs: Iterable[tuple[int, int]]) -> Rows:
    """The rows of `column` that hold one of `values`, rising; in each of `runs` (start, stop) the column is sorted.

    A few comparisons for each value and run: `values` are those that a filter names.
    """
    found: list[Rows] = []
    if pa.types.is_int64(column.type):
        numbers, wanted = numbers_of(column, np.int64), np.unique(numbers_of(values, np.int64))
        for start, stop in runs:
            begins = start + np.searchsorted(numbers[start:stop], wanted, side="left")
            ends = start + np.searchsorted(numbers[start:stop], wanted, side="right")
            found += [np.arange(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end]
    else:
        texts, names = Items(column), sorted({name.encode() for name in values.to_pylist()})
        for start, stop in runs:
            for name in names:
                begin = bisect_left(texts, name, start, stop)
                if begin < stop and texts[begin] == name:
                    found.append(np.arange(begin, bisect_right(texts, name, begin, stop)))
    return np.concatenate(found) if found else np.empty(0, np.int64)
