"""Partial updates: whole rows, of what a request names and what the rows hold that it replaces."""

from __future__ import annotations

from collections.abc import Mapping
from operator import or_

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from elanus.engine.array_operations import operated
from elanus.engine.query import Found, column_of, find, keys_of
from elanus.engine.snapshot import Snapshot
from elanus.expr.bound import BoundFilter
from elanus.model.canonical import Batch, Values, held_vectors, taken, vectors_of
from elanus.model.errors import SchemaMismatch
from elanus.model.schema import Field
from elanus.model.types import ArrayOperation
from elanus.segment.view import absent_column


def merged(snapshot: Snapshot, given: Batch, condition: BoundFilter, operations: Mapping[int, ArrayOperation]) -> Batch:
    """`given`, which has the key and some other columns, with the others from the rows that have these keys; without
    those that functions make, which are made of the whole rows.

    `condition` is true for these rows. `operations` are those on arrays, by field; what else is given replaces.
    Keys that no row has are new ones, and every field that needs a value has to be given with them. Keys of the dynamic
    field are joined; what is given goes before what was there.
    Raises `SchemaMismatch`.
    """
    schema = snapshot.manifest.schema
    found = find(snapshot, condition, (), None)
    old = pc.index_in(given.arrow(schema.primary.id), value_set=keys_of(snapshot, found))
    columns: dict[int, Values] = {}
    for field in schema.fields:
        if field.id in schema.outputs:
            continue
        if field.is_dynamic:
            columns[field.id] = _joined(snapshot, found, field, given, old)
        elif field.id in operations:
            held = column_of(snapshot, found, field.id).take(old)
            columns[field.id] = operated(field, operations[field.id], held, given.arrow(field.id))
        elif field.id in given.columns:
            columns[field.id] = given.columns[field.id]
        else:
            columns[field.id] = _held(snapshot, found, field, old)
    return Batch(columns, given.num_rows)


def _held(snapshot: Snapshot, found: Found, field: Field, old: pa.Array) -> Values:
    """What rows hold for `field`: those of `found` with the numbers `old`, and new ones where that is null."""
    if old.null_count and not field.nullable and field.default is None and not field.is_dynamic:
        row = pc.index(old.is_null(), True).as_py()
        raise SchemaMismatch(
            f"fieldSchema({field.name}) has no corresponding fieldData pass in: invalid parameter: the key in row "
            f"{row} is new, and the field is not nullable and has no default. Send a value in every row."
        )
    held = column_of(snapshot, found, field.id)
    if field.is_dense:
        return _vectors_held(field, held, old)
    held = held.take(old)
    if old.null_count:
        new = old.is_null()
        held = pc.if_else(new, absent_column(field, len(old)), held)
    return held


def _vectors_held(field: Field, held: pa.Array, old: pa.Array) -> Values:
    """The vectors of `held` with the numbers `old`, null where that is."""
    known = old.is_valid().to_numpy(zero_copy_only=False)
    if not known.any():
        return absent_column(field, len(old))
    found = taken(held, old.fill_null(0).to_numpy().astype(np.int64))
    return held_vectors(vectors_of(found), known & found.is_valid().to_numpy(zero_copy_only=False))


def _joined(snapshot: Snapshot, found: Found, field: Field, given: Batch, old: pa.Array) -> Values:
    held = _held(snapshot, found, field, old)
    if field.id not in given.columns:
        return held
    before = map(orjson.loads, held.to_pylist())
    after = map(orjson.loads, given.columns[field.id].to_pylist())
    return pa.array(list(map(orjson.dumps, map(or_, before, after))), field.arrow_type)
