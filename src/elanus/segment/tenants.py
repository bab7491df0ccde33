"""Tenants: the rows with one value of the partition key. Which partition they are in, and where in a segment they lie.

A collection with a partition key has a fixed number of partitions, with the ids 1, 2, …. That of a tenant is
`1 + mix(probe(value)) % number` (see `probe`), and is in files: changing it is a new format version.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from elanus.model.canonical import Values, numbers_of
from elanus.model.layout import layout
from elanus.segment.probe import mix, mix_one, probe
from elanus.segment.view import Rows


def partitions_of(values: Values, number: int) -> Rows:
    """The ids of the partitions, of so many, that the tenants `values` (Int64 or VarChar, without nulls) are in."""
    probes = probe(values)
    if len(probes) == 1:  # a search names one
        return np.array([mix_one(int(probes[0])) % number + 1])
    return (mix(probes) % np.uint64(number)).astype(np.int64) + 1


def ranges_of(column: pa.Array, values: pa.Array, runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The rows (start, stop) of `column` that hold one of `values`; in each of `runs` (start, stop) it is sorted.

    A few comparisons for each value and run: `values` are those that a filter names.
    """
    found: list[tuple[int, int]] = []
    if pa.types.is_int64(column.type):
        numbers, wanted = numbers_of(column, np.int64), np.unique(numbers_of(values, np.int64))
        for start, stop in runs:
            begins = start + np.searchsorted(numbers[start:stop], wanted, side="left")
            ends = start + np.searchsorted(numbers[start:stop], wanted, side="right")
            found += [(begin, end) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True) if begin < end]
    else:
        from elanus.segment.text_bounds import bound

        texts = layout(column)
        names = [np.frombuffer(name, np.uint8) for name in sorted({name.encode() for name in values.to_pylist()})]
        for start, stop in runs:
            for name in names:
                begin = bound(*texts, name, start, stop, False)
                end = bound(*texts, name, begin, stop, True)
                if begin < end:
                    found.append((begin, end))
    return found
