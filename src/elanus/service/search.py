"""Search: the nearest rows to query vectors.

This is the hottest path of the API. A search of one query without output fields builds one request and one answer,
and touches neither names of fields nor rows in Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from elanus.engine.collection import Collection
from elanus.engine.grouping import Grouping, search_groups
from elanus.engine.manifest import Manifest
from elanus.engine.ordering import Sorting, reordered
from elanus.engine.planner import NO_PARAMS, Plan, SearchRequest, explained
from elanus.engine.profile import SearchProfile, profile_search
from elanus.engine.ranking import Bounds, search_within
from elanus.engine.search import SearchResult
from elanus.engine.search import search as engine_search
from elanus.engine.snapshot import Snapshot
from elanus.engine.trust.aim import aimed_at
from elanus.engine.trust.ladder import DROPPED, TARGET_RECALL, target_of
from elanus.expr.compile import compile_filter
from elanus.model import properties as rules
from elanus.model.denial import Deed
from elanus.model.errors import InvalidParameter
from elanus.model.schema import Field, Schema
from elanus.model.types import Metric
from elanus.service import by_keys, iteration, limits, loading, output, times
from elanus.service.by_keys import Keys
from elanus.service.context import RequestContext
from elanus.service.grouping import GroupBy, grouping_of, shown_groups
from elanus.service.instance import Instance
from elanus.service.isolation import check_isolated
from elanus.service.iteration import Page
from elanus.service.ordering import sorting_of
from elanus.service.output import Output
from elanus.service.partitions import check_unnamed
from elanus.service.queries import ANALYZER_NAME, EncodedQueries, Queries, query_vectors, text_queries
from elanus.service.timezones import timezone_of

__all__ = [
    "Bounds",
    "ClientHits",
    "ClientSearch",
    "EncodedQueries",
    "GroupBy",
    "Keys",
    "Plan",
    "SearchAnswer",
    "asked_of",
    "explain",
    "for_client",
    "query_vectors",
    "search",
    "shown",
    "shown_groups",
    "vector_field",
]

_NO_QUERIES: Queries = np.empty((0, 0), np.float32)

_METRICS = {metric.value: metric for metric in Metric}


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
    bounds: Bounds | None = None,
    group_by: GroupBy | None = None,
    order_by: Sequence[str] = (),
    snapshot: Snapshot | None = None,
) -> SearchAnswer:
    """The `limit` nearest rows to each query after the first `offset`, nearest first.

    `queries` is (nq, dim) or one vector (dim,), of any real dtype; of other vectors it is what rows may be
    (`model.vector_columns`), of BM25 texts, one or several; or `Keys` (see `by_keys`). `field` may be left out where
    there is one vector field. `params` are those of the index kind (`ef`, `nprobe`). Hits are those with scores in
    `bounds`. With `group_by` limit and offset count groups. The limit + offset nearest are sorted by `order_by` (see
    `ordering`). `snapshot` None is the newest.
    Raises `InvalidParameter` for limits, a wrong dim, a metric that is not the index's, a filter that cannot be
    parsed, an unknown output field, what rows cannot be grouped or sorted by; `PartitionNotFound`;
    `CollectionNotFound`.
    """
    picture = snapshot or instance.collection(ctx, collection, Deed.READING).snapshot()
    schema = picture.manifest.schema
    request, wanted = _request(
        picture.manifest, field, limit, offset, expression, expression_params, output_fields, partitions, metric, params
    )
    grouping, sorting = _arranged(bounds, group_by, order_by, schema, request.vector_field)
    result = _answer(picture, request, queries, bounds, grouping, sorting)
    return SearchAnswer(result, wanted, schema.primary)


class ClientHits(NamedTuple):
    """What a search of a Milvus client found: `timestamp` is that of the picture; `page` where an iterator goes on;
    `profile` what happened, where that was asked.
    """

    answer: SearchAnswer
    schema: Schema
    timestamp: int
    page: Page | None = None
    grouping: Grouping | None = None
    profile: SearchProfile | None = None

    def of_queries(self, begin: int, end: int) -> ClientHits:
        """What was found for some of the queries."""
        return self._replace(answer=self.answer._replace(result=self.answer.result.of_queries(begin, end)))


@dataclass(slots=True, eq=False)
class ClientSearch:
    """What a search of a Milvus client asks for beside its query vectors, as the client said it.

    Clients ask for the same again and again, so what follows from it and the collection's manifest is kept with it.

    With `page` (rows, last bound) it is a page of an iterator (see `iteration.search_page`). Iterators of both kinds
    (`iterates`) see the picture at the timestamp they name. `began_with` is the id of the collection that an iterator
    began with, where the client says it. Times are read and told in `timezone`, None for the collection's, and taken
    apart into `time_fields` where there are any. With `ignore_growing` rows that are in no segment yet are not found.
    What is found is sorted by `order_by` (see `ordering`).
    With `profile` what happens is told, too.
    """

    collection: str
    field: str | None
    limit: int
    offset: int
    expression: str
    expression_params: Mapping[str, Any] | None
    output_fields: tuple[str, ...]
    partitions: tuple[str, ...]
    metric: str | None
    params: Mapping[str, Any] | None
    bounds: Bounds | None
    page: tuple[int, float | None] | None
    iterates: bool
    began_with: int | None
    timezone: str | None = None
    time_fields: tuple[str, ...] = ()
    group_by: GroupBy | None = None
    ignore_growing: bool = False
    order_by: tuple[str, ...] = ()
    profile: bool = False
    bound: _Bound | None = dataclasses.field(default=None, init=False)

    def bind(self, collection: Collection, manifest: Manifest) -> _Bound:
        """The search of a picture with this `manifest`. Raises as `for_client` does, but for the query vectors."""
        bound = self.bound
        if bound is None or bound.manifest is not manifest:
            iteration.check_same(collection, self.began_with)
            loading.require(collection, self.collection, self.partitions, "search")
            schema = manifest.schema
            request, wanted = _request(
                manifest,
                self.field,
                self.limit,
                self.offset,
                self.expression,
                self.expression_params,
                self.output_fields,
                loading.readable_partitions(collection, self.partitions),
                self.metric,
                self.params,
                self.timezone,
            )
            if self.group_by is not None and self.iterates:
                raise InvalidParameter("Not allowed to do groupBy when doing iteration")
            if self.order_by and self.iterates:
                raise InvalidParameter("order_by is not supported when using search iterator")
            if self.iterates:  # the first kind asks for range after range, and none must lack a row
                request = request._replace(is_exact=True)
            arranged = _arranged(self.bounds, self.group_by, self.order_by, schema, request.vector_field)
            bound = self.bound = _Bound(manifest, schema, wanted, request, *arranged)
        return bound


class _Bound(NamedTuple):
    """A client's search of a collection as its `manifest` describes it; `request` has no queries yet."""

    manifest: Manifest
    schema: Schema
    wanted: Output
    request: SearchRequest
    grouping: Grouping | None
    sorting: Sorting


def for_client(
    ctx: RequestContext, instance: Instance, asked: ClientSearch, queries: Any, timestamp: int
) -> ClientHits:
    """`search` of what clients have loaded: the nearest rows, of those with scores in bounds where there are any.

    An iterator sees the picture at `timestamp`; any other read sees all that was acknowledged before it, and waits
    where `timestamp` is one to come.
    Raises as `search` does, and `CollectionNotLoaded`, `PartitionNotLoaded`, `DeadlineExceeded`.
    """
    found = instance.readable(ctx, asked.collection)
    if isinstance(queries, Keys):
        by_keys.check(found.manifest.schema, queries)
    else:
        limits.check_queries(len(queries))
    asked.bind(found, found.manifest)  # what is wrong with it is said at once
    snapshot, seen = times.picture(
        ctx, instance, found, timestamp, iterates=asked.iterates, ignore_growing=asked.ignore_growing
    )
    _, schema, wanted, request, grouping, sorting = asked.bind(found, snapshot.manifest)
    if asked.profile:
        return _profiled(snapshot, asked, queries, schema, seen)
    if asked.page is None:
        result = _answer(snapshot, request, queries, asked.bounds, grouping, sorting)
        return ClientHits(SearchAnswer(result, wanted, schema.primary), schema, seen, grouping=grouping)
    request = _of(snapshot, request, queries)
    batch_rows, last_bound = asked.page
    if asked.offset:
        raise InvalidParameter("Setting an offset is not permitted when using a search iterator v2")
    if len(request.queries) != 1:
        raise InvalidParameter(f"a search iterator takes one query vector; got {len(request.queries)}")
    limits.check_page(batch_rows)
    text = repr((asked.expression, asked.expression_params, asked.ignore_growing))
    page = iteration.search_page(
        instance.iterations, found.id, snapshot, request, text, asked.bounds or Bounds(), seen, batch_rows, last_bound
    )
    return ClientHits(SearchAnswer(page.result, wanted, schema.primary), schema, seen, page)


def _profiled(snapshot: Snapshot, asked: ClientSearch, queries: Any, schema: Schema, seen: int) -> ClientHits:
    """What `asked`, which is bound, finds, and what happened."""
    others = (asked.page, asked.bounds, asked.group_by, asked.order_by or None)
    if asked.bound is None or any(other is not None for other in others):
        raise InvalidParameter("iterators, range, grouped and sorted searches have no profile: leave out `profile`")
    result, profile = profile_search(snapshot, _of(snapshot, asked.bound.request, queries))
    return ClientHits(SearchAnswer(result, asked.bound.wanted, schema.primary), schema, seen, profile=profile)


def shown(answer: SearchAnswer) -> pa.Table:
    """The output fields of an answer that has some, without the key unless it was asked for."""
    table = output.cut(answer.result.fields, answer.output)
    key = answer.key_field.name
    return table if key in answer.output.fields else table.drop_columns([key])


def explain(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    queries: Any,
    **asked: Any,
) -> Plan:
    """How `search` with the same arguments would be answered now, without answering it. Raises as `search` does."""
    snapshot, request = asked_of(ctx, instance, collection, queries, **asked)
    return explained(snapshot, aimed_at(snapshot, request).request if TARGET_RECALL in request.params else request)


def asked_of(
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
) -> tuple[Snapshot, SearchRequest]:
    """The newest picture, and what `search` with the same arguments asks of it. Raises as `search` does."""
    snapshot = instance.collection(ctx, collection, Deed.READING).snapshot()
    request, _ = _request(
        snapshot.manifest,
        field,
        limit,
        offset,
        expression,
        expression_params,
        output_fields,
        partitions,
        metric,
        params,
    )
    return snapshot, _of(snapshot, request, queries)


def _request(
    manifest: Manifest,
    field: str | None,
    limit: int,
    offset: int,
    expression: str,
    expression_params: Mapping[str, Any] | None,
    output_fields: Sequence[str],
    partitions: Sequence[str],
    metric: str | None,
    params: Mapping[str, Any] | None,
    timezone: str | None = None,
) -> tuple[SearchRequest, Output]:
    """All but the queries, and what is shown. `timezone` None is the collection's."""
    schema, properties = manifest.schema, manifest.properties
    zone = timezone or timezone_of(properties)
    wanted = output.resolve(schema, output_fields, zone) if output_fields else output.NOTHING
    limits.check_search(limit, offset, limits.most_hits(properties))
    check_unnamed(schema, partitions)
    if params and target_of(params) is not None:  # what is wrong with it is said for every search
        params = {name: value for name, value in params.items() if name != DROPPED}
    if schema.partition_key is not None and rules.is_set(properties, rules.ISOLATION):
        check_isolated(expression, schema.partition_key.name)
    request = SearchRequest(
        vector_field(schema, field),
        _NO_QUERIES,
        limit,
        offset,
        compile_filter(expression, schema, expression_params, zone) if expression else None,
        tuple(partitions),
        wanted.fields,
        _metric(metric),
        _flat(params) if params else NO_PARAMS,
    )
    return request, wanted


def _arranged(
    bounds: Bounds | None, group_by: GroupBy | None, order_by: Sequence[str], schema: Schema, searched: Field
) -> tuple[Grouping | None, Sorting]:
    """How hits are grouped and sorted. Raises `InvalidParameter`."""
    if bounds is not None and group_by is not None:
        raise InvalidParameter("Not allowed to do range-search when doing search-group-by")
    grouping = None if group_by is None else grouping_of(group_by, schema, searched)
    if grouping is not None and len(grouping.keys) > 1 and order_by:
        raise InvalidParameter("order_by_fields is not supported with multi-field group_by_fields: group by one field")
    return grouping, sorting_of(order_by, schema, paths=True)


def _flat(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """`params` with what is nested as its text: parameters that are read are numbers, and plans are kept by them."""
    return {name: str(value) if isinstance(value, (dict, list)) else value for name, value in params.items()}


def _answer(
    snapshot: Snapshot,
    request: SearchRequest,
    queries: Any,
    bounds: Bounds | None,
    grouping: Grouping | None,
    sorting: Sorting,
) -> SearchResult:
    if sorting:
        names = dict.fromkeys((*request.output_fields, *(key.place.field.name for key in sorting)))
        wide = request._replace(limit=request.offset + request.limit, offset=0, output_fields=tuple(names))
        result = _answer(snapshot, wide, queries, bounds, grouping, ())
        return reordered(result, sorting, request.offset, request.limit, request.output_fields)
    there = None
    size = 1 if grouping is None else grouping.size
    if isinstance(queries, Keys):
        queries, there = by_keys.queries_of(snapshot, request, queries)
        if not there.any():
            return by_keys.nothing(snapshot, request, len(there))
        request = _with(snapshot, request, queries, size)
    else:
        request = _of(snapshot, request, queries, size)
    if grouping is not None:
        result = search_groups(snapshot, request, grouping)
    else:
        result = engine_search(snapshot, request) if bounds is None else search_within(snapshot, request, bounds)
    return result if there is None or there.all() else by_keys.in_places(result, there)


def _of(snapshot: Snapshot, request: SearchRequest, queries: Any, group_size: int = 1) -> SearchRequest:
    """`request` with its queries, of keys with those of them that have a vector."""
    schema = snapshot.manifest.schema
    if isinstance(queries, Keys):
        vectors = by_keys.queries_of(snapshot, request, queries).queries
    elif schema.outputs and request.vector_field.id in schema.outputs:
        vectors = text_queries(schema, request.vector_field, queries, str(request.params.get(ANALYZER_NAME, "")))
    else:
        vectors = query_vectors(request.vector_field, queries)
    return _with(snapshot, request, vectors, group_size)


def _with(snapshot: Snapshot, request: SearchRequest, vectors: Queries, group_size: int) -> SearchRequest:
    """`request` with its query vectors. Where it asks for very many hits it asks for no more than there are rows."""
    limits.check_queries(len(vectors))
    limit, offset = request.limit, request.offset
    if len(vectors) * (limit + offset) * group_size > limits.MAX_HITS:
        rows = sum(unit.view.rows for unit in snapshot.units)
        offset = min(offset, rows)
        limit = max(1, min(limit, rows - offset))
        limits.check_hits(len(vectors), (limit + offset) * group_size)
    return request._replace(queries=vectors, limit=limit, offset=offset)


def _metric(name: str | None) -> Metric | None:
    """The metric named; one that does not exist matches no index. Raises `InvalidParameter`."""
    if name is None or isinstance(name, Metric):
        return name
    found = _METRICS.get(name.upper())
    if found is None:
        raise InvalidParameter(f"metric type not match: there is no metric {name}: choose {', '.join(Metric)}")
    return found


def vector_field(schema: Schema, name: str | None) -> Field:
    """That of this name, or the only one. Raises `InvalidParameter`."""
    if name is None:
        if len(schema.vectors) > 1:
            known = ", ".join(f.name for f in schema.vectors)
            raise InvalidParameter(
                "multiple anns_fields exist, please specify a anns_field in search_params (multiple vector fields "
                f"exist, please specify anns_field in search_params): {known}"
            )
        return schema.vectors[0]
    field = schema.get(name)
    if field is None:
        raise InvalidParameter(f"failed to get field schema by name: fieldName({name}) not found")
    if not field.is_vector:
        raise InvalidParameter(f"field ({name}) to search is not of vector type: it holds {field.dtype.name}")
    return field
