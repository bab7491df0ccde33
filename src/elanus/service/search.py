"""Search: the nearest rows to query vectors.

This is the hottest path of the API. A search of one query without output fields builds one request and one answer,
and touches neither names of fields nor rows in Python.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elanus.engine.collection import Collection
from elanus.engine.planner import NO_PARAMS, Plan, SearchRequest, plan
from elanus.engine.search import SearchResult
from elanus.engine.search import search as engine_search
from elanus.engine.snapshot import Snapshot
from elanus.expr.compile import compile_filter
from elanus.model.errors import InvalidParameter
from elanus.model.schema import MAX_VECTOR_SQUARE, Field, Schema
from elanus.model.types import Metric
from elanus.service import limits, output
from elanus.service.context import RequestContext
from elanus.service.indexes import metric_of
from elanus.service.instance import Instance
from elanus.service.output import Output

__all__ = ["Plan", "SearchAnswer", "explain", "query_vectors", "search"]

Queries = npt.NDArray[np.float32]


class SearchAnswer(NamedTuple):
    """The engine's result with what is needed to read it: `key_field` is that of the key."""

    result: SearchResult
    output: Output
    key_field: Field


def search(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    queries: Any,
    *,
    field: str | None = None,
    limit: int = 10,
    offset: int = 0,
    expression: str = "",
    expression_params: Mapping[str, Any] | None = None,
    output_fields: Sequence[str] = (),
    partitions: Sequence[str] = (),
    metric: str | None = None,
    params: Mapping[str, Any] | None = None,
    snapshot: Snapshot | None = None,
) -> SearchAnswer:
    """The `limit` nearest rows to each query after the first `offset`, nearest first.

    `queries` is (nq, dim) or one vector (dim,), of any real dtype. `field` may be left out where there is one vector
    field. `params` are those of the index kind (`ef`, `nprobe`). `snapshot` None is the newest.
    Raises `InvalidParameter` for limits, a wrong dim, a metric that is not the index's, a filter that cannot be
    parsed, an unknown output field; `PartitionNotFound`; `CollectionNotFound`.
    """
    found = instance.collection(ctx, collection)
    schema = found.schema
    wanted = output.resolve(schema, output_fields) if output_fields else output.NOTHING
    request = _request(
        schema, queries, field, limit, offset, expression, expression_params, wanted, partitions, metric, params
    )
    return SearchAnswer(engine_search(snapshot or found.snapshot(), request), wanted, schema.primary)


def explain(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    queries: Any,
    *,
    field: str | None = None,
    limit: int = 10,
    offset: int = 0,
    expression: str = "",
    expression_params: Mapping[str, Any] | None = None,
    partitions: Sequence[str] = (),
    metric: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> Plan:
    """How `search` with the same arguments would be answered now, without answering it. Raises as `search` does."""
    found: Collection = instance.collection(ctx, collection)
    request = _request(
        found.schema,
        queries,
        field,
        limit,
        offset,
        expression,
        expression_params,
        output.NOTHING,
        partitions,
        metric,
        params,
    )
    return plan(found.snapshot(), request)


def _request(
    schema: Schema,
    queries: Any,
    field: str | None,
    limit: int,
    offset: int,
    expression: str,
    expression_params: Mapping[str, Any] | None,
    wanted: Output,
    partitions: Sequence[str],
    metric: str | None,
    params: Mapping[str, Any] | None,
) -> SearchRequest:
    searched = _vector_field(schema, field)
    vectors = query_vectors(searched, queries)
    limits.check_search(limit, offset, len(vectors))
    return SearchRequest(
        searched,
        vectors,
        limit,
        offset,
        compile_filter(expression, schema, expression_params) if expression else None,
        tuple(partitions),
        wanted.fields,
        _metric(metric),
        params if params is not None else NO_PARAMS,
    )


def _metric(name: str | None) -> Metric | None:
    return None if name is None else name if isinstance(name, Metric) else metric_of(name)


def _vector_field(schema: Schema, name: str | None) -> Field:
    if name is None:
        if len(schema.vectors) > 1:
            known = ", ".join(f.name for f in schema.vectors)
            raise InvalidParameter(f"multiple vector fields exist, please specify the one to search: {known}")
        return schema.vectors[0]
    field = schema.field(name)
    if not field.is_vector:
        raise InvalidParameter(f"field ({name}) to search is not of vector type: it holds {field.dtype.name}")
    return field


def query_vectors(field: Field, queries: Any) -> Queries:
    """`queries` as (nq, dim) float32, C-contiguous, checked.

    Raises `InvalidParameter` for another shape, another dim, text, NaN, infinity, and what is too long to be scored.
    """
    try:
        given = np.asarray(queries)
    except ValueError:
        given = np.empty(0, object)
    if given.ndim == 1:
        given = given[None]
    if given.dtype.kind not in "fiu" or given.ndim != 2:
        raise InvalidParameter(
            f"queries of field {field.name} are numbers of shape (nq, {field.dim}); got {given.dtype} of {given.shape}"
        )
    if given.shape[1] != field.dim:
        raise InvalidParameter(
            f"vector dimension mismatch, expected vector size(dim) {field.dim}, actual {given.shape[1]}: "
            f"send queries of the dim of field {field.name}"
        )
    vectors = np.ascontiguousarray(given, np.float32)
    if not np.vdot(vectors, vectors) <= MAX_VECTOR_SQUARE:  # `dot` would warn of what overflows
        _check_lengths(vectors)
    return vectors


def _check_lengths(vectors: Queries) -> None:
    if not np.isfinite(vectors).all():
        raise InvalidParameter("a query vector holds a value that is not a number or infinity: send finite numbers")
    if np.square(vectors, dtype=np.float64).sum(axis=1).max() > MAX_VECTOR_SQUARE:
        raise InvalidParameter(
            f"a query vector is longer than {math.sqrt(MAX_VECTOR_SQUARE):.3g}: its scores are beyond float32. "
            "Scale it down"
        )
