"""Statistics of a sealed segment's fields, made when it is written: bounds, nulls, and about how many values.

Different values are counted in a sample of their hashes (Wegman's sampling, in Flajolet, "On adaptive sampling",
Computing 43, 1990): if d different ones are below a share s of the range, there are about d / s values. With 4,096 in
the sample the standard error is below 2 %. Where the sample shows that they are few, they are counted exactly.
Everything runs in numpy and Arrow, outside the GIL.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr.numbers import values_of
from elanus.model.schema import Field
from elanus.model.statistics import Bound, FieldStatistics
from elanus.segment.probe import mix, probe
from elanus.segment.view import absent_column

BOUND_LENGTH = 64
"""Characters kept of a text that is a bound: the manifest holds it for every segment."""

SAMPLED = 4_096
_FEW = 256
"""Fewer values in the sample say too little, and so few can be counted."""


def statistics_of(column: pa.Array) -> FieldStatistics | None:
    """Those of a column of booleans, numbers or texts; None for others."""
    if not _is_counted(column.type):
        return None
    nulls = column.null_count
    known = column.drop_null() if nulls else column
    if not len(known):
        return FieldStatistics(nulls, 0, None, None)
    return FieldStatistics(nulls, _distinct(known), *bounds_of(known))


def statistics_of_absent(field: Field, rows: int) -> FieldStatistics | None:
    """Those of a field in rows written before it was added; None where nothing is kept of its type."""
    if not _is_counted(field.arrow_type):
        return None
    one = statistics_of(absent_column(field, 1))
    assert one is not None
    return replace(one, nulls=rows if one.nulls else 0)


def bounds_of(known: pa.Array) -> tuple[Bound | None, Bound | None]:
    """(low, high) of values without nulls, at least one; texts are shortened, and None where that is not possible."""
    bounds = pc.min_max(known)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if isinstance(low, str):
        return low[:BOUND_LENGTH], high if len(high) <= BOUND_LENGTH else None
    if isinstance(low, float):
        if pc.any(pc.is_nan(known)).as_py():  # which is in no order, and unequal to itself
            return None, None
        return (None if np.isinf(low) else low), (None if np.isinf(high) else high)  # JSON has no infinities
    return low, high


def _is_counted(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_boolean(kind)
        or types.is_signed_integer(kind)
        or types.is_floating(kind)
        or types.is_large_string(kind)
    )


def _distinct(known: pa.Array) -> int:
    if len(known) > SAMPLED and (hashes := _hashes(known)) is not None:
        share = SAMPLED / len(known)
        sample = np.unique(hashes[hashes < np.uint64(int(share * 2**64))])
        if len(sample) >= _FEW:
            return min(len(known), round(len(sample) / share))
    return int(pc.count_distinct(known).as_py())


def _hashes(known: pa.Array) -> Any:
    """64 bits for each value, equal for equal ones; None where there are few values anyhow."""
    kind = known.type
    if pa.types.is_large_string(kind):
        return probe(known)
    if pa.types.is_boolean(kind) or kind.bit_width <= 16:
        return None
    values = values_of(known)
    if pa.types.is_floating(kind):
        values = (values.astype(np.float64) + 0.0).view(np.int64)  # one zero
    return mix(values.astype(np.int64, copy=False).view(np.uint64))
