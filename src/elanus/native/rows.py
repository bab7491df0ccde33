"""Rows as Python dicts, from tables."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa

from elanus.model.instants import texts_of
from elanus.model.schema import DYNAMIC_FIELD, TYPE_KEY
from elanus.model.types import TYPE_NAMES, VECTORS
from elanus.model.vectors import python_values

Row = dict[str, Any]

_TYPE_OF = {TYPE_NAMES[dtype].encode(): dtype for dtype in VECTORS}


def to_rows(table: pa.Table) -> list[Row]:
    """The rows of a table that `query` or `to_table` returned, as users write them: one dict a row.

    JSON becomes Python values, times texts such as `2025-01-31T10:00:00+08:00`, and dynamic keys stand beside the
    fields; a row has those of its own only. Vectors are lists of numbers, those of bits bytes, sparse ones dicts from
    index to value. This is for the eye and for small results; large ones are better left in the table.
    """
    dynamic: list[Row] | None = None
    names, columns = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        dtype = _TYPE_OF.get((table.schema.field(name).metadata or {}).get(TYPE_KEY.encode(), b""))
        if pa.types.is_timestamp(column.type):
            column = texts_of(column)
        values = column.to_pylist() if dtype is None else python_values(dtype, column)
        if dtype is None and pa.types.is_large_binary(column.type):
            values = [None if value is None else orjson.loads(value) for value in values]
        if name == DYNAMIC_FIELD:
            dynamic = [value or {} for value in values]
        else:
            names.append(name)
            columns.append(values)
    if not columns:
        return [dict(extra) for extra in dynamic or ()]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    if dynamic is not None:
        for row, extra in zip(rows, dynamic, strict=True):
            row.update(extra)
    return rows
