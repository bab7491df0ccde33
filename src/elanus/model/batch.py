"""Rows, from what a user gives to one canonical batch.

Taken are: a list of rows (mappings from field name to value), a single row, a mapping of columns (lists, numpy or
Arrow arrays; vectors as (rows, dim)), an Arrow table or record batch, and anything that exports an Arrow stream
(`__arrow_c_stream__`: pandas and polars data frames).

What comes out is described in `canonical`. Every check of Milvus has been made on it: it fits the schema.

Names that the schema does not have become keys of the row's dynamic object where the collection has one, else they
are refused. A row without dynamic keys holds `{}`. A column `$meta` (Python objects, or JSON text as bytes) is taken
as the dynamic objects themselves; its keys must not be names of fields.

Columns are checked and converted as wholes, see `columns.py`. A batch may share memory with what was given, so the
giver leaves it alone until the write returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import itemgetter
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from elanus.model.canonical import Batch, Values, null_vectors
from elanus.model.columns import Column, check_json_length, convert, json_array, shown
from elanus.model.errors import InvalidParameter, SchemaMismatch
from elanus.model.schema import DYNAMIC_FIELD, Field, Schema
from elanus.model.timezones import UTC, Zone
from elanus.model.types import NUMPY_OF

Rows = Any
"""What the module docstring lists."""

FEW_ROWS = 64
FEW_BYTES = 64
"""Columns of so many rows in which one value, no longer than that, is repeated are kept for the next batch."""

MakeKeys = Callable[[int], Values]
"""Makes so many new keys."""


class _Keys(NamedTuple):
    """Where keys come from: from `make`, unless that is None, or they are given and may be."""

    make: MakeKeys | None
    may_be_given: bool


def canonical_batch(
    data: Rows,
    schema: Schema,
    make_keys: MakeKeys | None = None,
    *,
    partial: bool = False,
    keys_given: bool = False,
    zone: Zone = UTC,
) -> Batch:
    """`data` as a canonical batch of `schema`, but for what functions make; empty data give an empty batch.

    Where `make_keys` is given the key column must not be, unless it may with `keys_given`, and is filled with what it
    makes. Of `partial` rows the batch
    has the columns that were given, the key among them; all rows have to name the same fields. Times without an offset
    are those of clocks of `zone`.
    Raises `SchemaMismatch` for rows that do not fit, naming field, value and row.
    """
    keys = _Keys(make_keys, keys_given)
    if isinstance(data, (list, tuple)):
        return _from_rows(data, schema, keys, partial, zone)
    if isinstance(data, (dict, Mapping)):
        if _is_one_row(data, schema):
            return _from_rows([data], schema, keys, partial, zone)
        columns = dict(data)
    else:
        columns = _columns_of_arrow(data)
    return _from_columns(columns, _row_count(columns), schema, keys, partial, zone)


# --- what was given --------------------------------------------------------------------------------------------------


def _is_one_row(data: Mapping[str, Any], schema: Schema) -> bool:
    """Whether a mapping is one row rather than columns: its vector is one vector, or else its key is one key."""
    dense = (field for field in schema.vectors if field.is_dense)
    for field in (*dense, schema.primary):
        if field.name in data:
            value = data[field.name]
            if field.is_vector and isinstance(value, (list, tuple)):
                return bool(len(value)) and not isinstance(value[0], (list, tuple, np.ndarray, bytes, NoneType))
            if field.is_vector and isinstance(value, np.ndarray):
                return value.ndim == 1 and value.dtype != object
            return not isinstance(value, (list, tuple, np.ndarray, pa.Array, pa.ChunkedArray))
    return not all(isinstance(v, (list, tuple, np.ndarray, pa.Array, pa.ChunkedArray)) for v in data.values())


def _columns_of_arrow(data: Any) -> dict[str, Column]:
    if not isinstance(data, (pa.Table, pa.RecordBatch)):
        if not hasattr(data, "__arrow_c_stream__"):
            raise InvalidParameter(
                f"rows cannot be read from {type(data).__name__}: send a list of dicts, a dict of columns, "
                "or an Arrow table"
            )
        data = pa.table(data)
    if len(set(data.column_names)) < data.num_columns:
        raise SchemaMismatch("the table has two columns of one name: rename one")
    return dict(zip(data.column_names, data.columns, strict=True))


def _row_count(columns: Mapping[str, Column]) -> int:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise SchemaMismatch(f"columns have different numbers of rows: {lengths}. Send one value per row in each.")
    return next(iter(lengths.values()), 0)


def _from_rows(rows: Sequence[Any], schema: Schema, keys: _Keys, partial: bool, zone: Zone) -> Batch:
    if set(map(type, rows)) - {dict}:
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise SchemaMismatch(f"a row is a mapping from field names to values; got {shown(row)} as row {number}")
        rows = list(map(dict, rows))
    names = dict.fromkeys(chain.from_iterable(rows))
    columns = {name: _pivot(rows, name) for name in names if schema.get(name) is not None}
    extra = [name for name in names if name not in columns]
    if partial and not _in_all(rows, columns):
        raise SchemaMismatch("the rows of a partial update name different fields: send those that do by themselves")
    if not extra:
        return _from_columns(columns, len(rows), schema, keys, partial, zone)
    _check_extra(extra, schema, columns, lambda name: next(i for i, row in enumerate(rows) if name in row))
    if _in_all(rows, extra):
        objects = _objects({name: _pivot(rows, name) for name in extra})
    else:
        ragged = frozenset(extra)
        objects = [{name: value for name, value in row.items() if name in ragged} for row in rows]
    return _from_columns(columns, len(rows), schema, keys, partial, zone, objects)


def _in_all(rows: Sequence[dict[str, Any]], names: Iterable[str]) -> bool:
    return all(all(map(dict.__contains__, rows, repeat(name))) for name in names)


def _pivot(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    """One field of all rows; None where a row does not have it."""
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return list(map(dict.get, rows, repeat(name)))


# --- the batch -------------------------------------------------------------------------------------------------------


def _from_columns(
    columns: Mapping[str, Column],
    rows: int,
    schema: Schema,
    keys: _Keys,
    partial: bool,
    zone: Zone,
    objects: list[dict[str, Any]] | None = None,
) -> Batch:
    """`objects` are the rows' dynamic parts where they have been found already."""
    if objects is None:
        extra = [name for name in columns if schema.get(name) is None]
        if extra:
            _check_extra(extra, schema, columns, lambda _: 0)
            objects = _objects({name: _python_values(columns[name]) for name in extra})
    if partial and rows and schema.primary.name not in columns:
        raise SchemaMismatch(f'a partial update names its rows by their keys: send the field "{schema.primary.name}"')
    held: dict[int, Values] = {}
    for field in schema.fields:
        if field.id in schema.outputs:
            _check_not_given(field, columns, schema)
            continue
        if partial and field.name not in columns and not (field.is_dynamic and objects is not None):
            continue
        if field.is_dynamic:
            values = _dynamic(field, columns.get(field.name), objects, rows, schema)
        elif field.is_primary and keys.make is not None and not (keys.may_be_given and field.name in columns):
            if field.name in columns:
                raise SchemaMismatch(
                    "more fieldData has pass in: can not assign primary field data when auto id enabled and "
                    f"allow_insert_auto_id is false {field.name}: the field is autoID, leave it out of the rows"
                )
            values = keys.make(rows)
        elif field.name in columns:
            values = convert(field, columns[field.name], zone)
        else:
            values = _absent(field, rows)
        held[field.id] = values
    return Batch(held, rows)


def _check_not_given(field: Field, columns: Mapping[str, Column], schema: Schema) -> None:
    if field.name in columns:
        function = schema.outputs[field.id]
        raise SchemaMismatch(
            f"attempt to insert {function.type.title.lower()} function output field: {field.name} is made by function "
            f"{function.name}, leave it out of the rows"
        )


def _absent(field: Field, rows: int) -> Values:
    if not rows:
        return convert(field, [])
    if field.default is not None and field.dtype in NUMPY_OF:
        return np.full(rows, field.default, NUMPY_OF[field.dtype])
    if field.is_dense and field.nullable:
        return null_vectors(field, rows)
    if field.default is not None or field.nullable:
        return _repeated(field.arrow_type, field.held_default, rows)
    raise SchemaMismatch(
        f'Insert missed a field "{field.name}": it is not nullable and has no default. Send a value in every row.'
    )


def _repeated(kind: pa.DataType, value: Any, rows: int) -> pa.Array:
    few = rows <= FEW_ROWS and (value is None or len(value) <= FEW_BYTES)
    return (_kept if few else _repeat)(kind, value, rows)


def _repeat(kind: pa.DataType, value: Any, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), rows) if value is not None else pa.nulls(rows, kind)


_kept = lru_cache(maxsize=4 * FEW_ROWS)(_repeat)


# --- the dynamic field -----------------------------------------------------------------------------------------------


def _check_extra(
    extra: Sequence[Any], schema: Schema, columns: Mapping[str, Column], first_row: Callable[[str], int]
) -> None:
    known = ", ".join(f.name for f in schema.fields if not f.is_dynamic)
    if schema.dynamic is None:
        name = min(extra, key=str)
        raise SchemaMismatch(
            f"Attempt to insert an unexpected field {shown(name)} (first in row {first_row(name)}) to collection "
            f"without enabling dynamic field. Its fields are: {known}"
        )
    for name in extra:
        if not isinstance(name, str):
            raise SchemaMismatch(f"a dynamic key is a string; got {shown(name)} in row {first_row(name)}")
    if DYNAMIC_FIELD in columns:
        raise SchemaMismatch(
            f"rows carry both {DYNAMIC_FIELD} and the dynamic key {shown(extra[0])}: put all of them into one"
        )


def _objects(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Columns of dynamic values as one object a row."""
    return list(map(dict, map(zip, repeat(tuple(columns)), zip(*columns.values(), strict=True))))


def _python_values(column: Column) -> list[Any]:
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        values: list[Any] = column.to_pylist()
        return values
    return list(column) if not isinstance(column, np.ndarray) else column.tolist()


def _dynamic(
    field: Field, column: Column | None, objects: list[dict[str, Any]] | None, rows: int, schema: Schema
) -> pa.Array:
    if objects is not None:
        try:
            texts = json_array(objects)
        except TypeError:
            return convert(field, objects)  # says which row
        check_json_length(field.name, texts)
        return texts
    if column is None:
        return _repeated(field.arrow_type, b"{}", rows)
    texts = convert(field, column).fill_null(b"{}")
    _check_objects(texts, schema)
    return texts


def _check_objects(texts: pa.Array, schema: Schema) -> None:
    parsed = list(map(orjson.loads, texts.to_pylist()))
    if set(map(type, parsed)) - {dict}:
        row = next(i for i, value in enumerate(parsed) if not isinstance(value, dict))
        raise SchemaMismatch(f"{DYNAMIC_FIELD} holds a JSON object in every row; got {shown(parsed[row])} in row {row}")
    taken = [name for name in set().union(*parsed) if schema.get(name) is not None]
    if taken:
        raise SchemaMismatch(
            f"dynamic key {shown(taken[0])} is the name of a field: send it as that field, outside of {DYNAMIC_FIELD}"
        )
