"""Rows in the order of values in their fields, in place of that of their keys, or of how near they are.

Rows whose values are equal stay as they were. At a JSON path texts come first, then numbers, arrays, booleans and
objects, each kind in its own order, arrays and objects in that of their text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.engine.masks import Rows
from elanus.engine.query import QueryRequest, column_of, fetch, find
from elanus.engine.search import SearchResult
from elanus.engine.snapshot import Snapshot
from elanus.expr.json_path import Kind, extract
from elanus.expr.json_texts import texts_at
from elanus.expr.places import Place
from elanus.model.canonical import taken
from elanus.model.layout import offsets_of, places, places_among_equals
from elanus.model.types import DataType

_CLASSES = np.zeros(len(Kind), np.int8)
_CLASSES[[Kind.STRING, Kind.INT, Kind.DOUBLE, Kind.ARRAY, Kind.BOOL, Kind.OBJECT]] = 0, 1, 1, 2, 3, 4

Costs = list[npt.NDArray[Any]]
"""Numbers by which rows are sorted, the first ones first."""


class SortKey(NamedTuple):
    place: Place
    descending: bool = False
    nulls_first: bool = False


Sorting = tuple[SortKey, ...]
"""The first key counts most."""


def query(snapshot: Snapshot, request: QueryRequest, sorting: Sorting) -> pa.Table:
    """`engine.query.query` with its rows sorted, before the first ones are skipped and the last ones cut off."""
    found = find(snapshot, request.condition, request.partitions, None)
    costs: Costs = []
    for key in sorting:
        costs += _costs(column_of(snapshot, found, key.place.field.id), key)
    stop = None if request.limit is None else request.offset + request.limit
    return fetch(snapshot, found[_lexical(costs)[request.offset : stop]], request.output_fields)


def reordered(result: SearchResult, sorting: Sorting, offset: int, limit: int, fields: tuple[str, ...]) -> SearchResult:
    """The hits of each query sorted, those from `offset` on, `limit` at most; of a grouped search groups, by their
    first hits. `result` has the fields to sort by, and is left with `fields` and the key.
    """
    assert result.fields is not None
    queries = np.repeat(np.arange(len(result.offsets) - 1), np.diff(result.offsets))
    heads = _heads(queries, result.groups)
    costs: Costs = [queries[heads]]
    for key in sorting:
        costs += _costs(taken(result.fields.column(key.place.field.name).combine_chunks(), heads), key)
    runs = _lexical(costs)
    number = places_among_equals(queries[heads][runs])
    runs = runs[(number >= offset) & (number < offset + limit)]
    hits = places(heads[runs], np.diff(np.append(heads, len(queries)))[runs])
    names = dict.fromkeys((result.fields.column_names[0], *fields))  # the key is the first
    return SearchResult(
        result.keys[hits],
        result.scores[hits],
        offsets_of(np.bincount(queries[hits], minlength=len(result.offsets) - 1)),
        result.fields.select(list(names)).take(pa.array(hits)) if fields else None,
        tuple(values.take(pa.array(hits)) for values in result.groups),
    )


def _heads(queries: Rows, groups: tuple[pa.Array, ...]) -> Rows:
    """Where what is sorted as one begins: each hit, or each group of a query, whose hits lie together."""
    if not groups or not len(queries):
        return np.arange(len(queries))
    codes = [values.dictionary_encode("encode").indices.to_numpy() for values in groups]
    changed = np.any([np.diff(numbers, prepend=-1) != 0 for numbers in (queries, *codes)], axis=0)
    return np.flatnonzero(changed)


def _costs(column: pa.Array, key: SortKey) -> Costs:
    """What sorts rows by the values of a `column`, nulls among them."""
    field, path = key.place
    ranked: list[npt.NDArray[Any]]
    if field.dtype is DataType.JSON:
        found = extract(column, path)
        is_null = found.kinds <= Kind.NULL
        whole = np.where(np.isin(found.kinds, (Kind.INT, Kind.BOOL)), found.ints, 0)
        number = np.where(found.kinds == Kind.DOUBLE, found.doubles, whole.astype(np.float64))
        is_text = np.isin(found.kinds, (Kind.STRING, Kind.ARRAY, Kind.OBJECT))
        texts = pc.if_else(pa.array(is_text), texts_at(column, path), None)
        ranked = [_CLASSES[found.kinds], number, whole, _ranks(texts)]
    else:
        is_null = column.is_null().to_numpy(zero_copy_only=False)
        ranked = [_ranks(column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column)]
    ranked = [np.where(is_null, 0, -numbers if key.descending else numbers) for numbers in ranked]
    return [~is_null if key.nulls_first else is_null, *ranked]


def _ranks(column: pa.Array) -> Rows:
    ranks: Rows = pc.rank(column, tiebreaker="dense").to_numpy(zero_copy_only=False).astype(np.int64)
    return ranks


def _lexical(costs: Costs) -> Rows:
    return np.lexsort(costs[::-1])
