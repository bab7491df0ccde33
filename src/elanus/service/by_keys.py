"""Search by keys: the vectors of rows in place of query vectors.

They are read from the picture that is searched, of the partitions that are searched, whatever the filter says. Where a
function makes the field, its text is read, and searched for as any text is. Of copies of a key the newest row counts.
A row that has no vector, or no text, finds nothing: its place among the answers stays, and is empty.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.engine.planner import SearchRequest
from elanus.engine.query import Found, column_of, fetch, find, key_values, keys_of
from elanus.engine.search import SearchResult
from elanus.engine.snapshot import Snapshot
from elanus.model.errors import InvalidParameter, SchemaMismatch
from elanus.model.layout import offsets_of
from elanus.model.schema import Schema
from elanus.model.types import TYPE_NAMES
from elanus.service import limits
from elanus.service.queries import ANALYZER_NAME, Queries, of_texts, stored_queries
from elanus.service.rows import key_array, key_condition

MOST_NAMED = 100
"""Keys without a row that an error names."""


class Keys(NamedTuple):
    """Keys whose rows' vectors are searched for: one, a list, numpy or Arrow."""

    values: Any


class KeyQueries(NamedTuple):
    """The vectors of rows: `queries` of those that have one, and which they are, `there` (keys,)."""

    queries: Queries
    there: npt.NDArray[np.bool_]


def check(schema: Schema, keys: Keys) -> pa.Array:
    """The keys as the schema has them, in their order.

    Raises `InvalidParameter` for keys of another type, for one that is there twice, for none, and for too many.
    """
    try:
        array = key_array(schema, keys.values)
    except SchemaMismatch as error:
        kind = TYPE_NAMES[schema.primary.dtype].lower()
        raise InvalidParameter(f"primary key is {kind}, but IDs type mismatch: {error}") from error
    if pc.count_distinct(array).as_py() < len(array):
        raise InvalidParameter("duplicate IDs found in search request: send each key once")
    limits.check_queries(len(array))
    return array


def queries_of(snapshot: Snapshot, request: SearchRequest, keys: Keys) -> KeyQueries:
    """What the rows with these keys are searched for by, in the order of the keys.

    Raises as `check` does, and `InvalidParameter` where a key has no row.
    """
    schema, field = snapshot.manifest.schema, request.vector_field
    found = _rows(snapshot, check(schema, keys), request.partitions)
    function = schema.outputs.get(field.id)
    column = column_of(snapshot, found, schema.field(function.inputs[0]).id if function is not None else field.id)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    if function is None:
        return KeyQueries(stored_queries(field, column), there)
    return KeyQueries(of_texts(schema, field, column.drop_null(), str(request.params.get(ANALYZER_NAME, ""))), there)


def _rows(snapshot: Snapshot, keys: pa.Array, partitions: tuple[str, ...]) -> Found:
    """One row for each key, in the order of the keys."""
    found = find(snapshot, key_condition(snapshot.manifest.schema, keys), partitions, None)
    at = pc.index_in(keys, value_set=keys_of(snapshot, found))
    if at.null_count:
        missing = keys.filter(at.is_null())
        named = " ".join(map(str, missing[:MOST_NAMED].to_pylist()))
        more = " …" if len(missing) > MOST_NAMED else ""
        raise InvalidParameter(
            f"some of the provided primary key IDs do not exist: missing IDs = [{named}{more}]. Leave them out, or "
            "search the partitions in which they are."
        )
    return found[at.to_numpy().astype(np.int64)]


def nothing(snapshot: Snapshot, request: SearchRequest, keys: int) -> SearchResult:
    """The answer to `keys` of which none has a vector."""
    none = Found(np.empty(0, np.int32), np.empty(0, np.int64))
    fields = fetch(snapshot, none, request.output_fields) if request.output_fields else None
    return SearchResult(key_values(snapshot, none), np.empty(0, np.float32), np.zeros(keys + 1, np.int64), fields)


def in_places(result: SearchResult, there: npt.NDArray[np.bool_]) -> SearchResult:
    """`result` with an empty answer for each key that has no vector."""
    counts = np.zeros(len(there), np.int64)
    counts[there] = np.diff(result.offsets)
    return result._replace(offsets=offsets_of(counts))
