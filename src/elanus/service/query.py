"""Query: rows by filter or by key, counts, and iterators over a held snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from elanus.engine import query as reads
from elanus.engine.ordering import query as sorted_query
from elanus.engine.query import QueryRequest
from elanus.model.denial import Deed
from elanus.model.errors import InvalidParameter
from elanus.model.schema import Schema
from elanus.service import iteration, limits, loading, output, profiles, times
from elanus.service.context import RequestContext
from elanus.service.filters import condition_asked, condition_of, rows_asked
from elanus.service.instance import Instance
from elanus.service.ordering import sorting_of
from elanus.service.partitions import check_unnamed
from elanus.service.profiles import QueryProfile
from elanus.service.rows import key_array, key_condition
from elanus.service.timezones import timezone_of

EVERYTHING = output.EVERYTHING


def query(
    ctx: RequestContext, instance: Instance, collection: str, *, order_by: Sequence[str] = (), **asked: Any
) -> pa.Table:
    """The rows that match, in rising key order, or as `order_by` says (see `ordering`); without a filter all of them.

    What is `asked` is that of `filters.rows_asked`. The table has the key first and then `output_fields` (see
    `service.output`).
    Raises `InvalidParameter` for a filter that cannot be parsed, limits, an unknown output field, what rows cannot be
    sorted by; `PartitionNotFound`; `CollectionNotFound`.
    """
    picture, request, wanted = rows_asked(ctx, instance, collection, **asked)
    sorting = sorting_of(order_by, picture.manifest.schema)
    return output.cut(sorted_query(picture, request, sorting) if sorting else reads.query(picture, request), wanted)


class ClientRows(NamedTuple):
    """What a query of a Milvus client found, and the timestamp of the picture it was found in; with `profile`, what
    happened, where that was asked.
    """

    table: pa.Table
    schema: Schema
    timestamp: int
    profile: QueryProfile | None


def for_client(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    *,
    expression: str,
    expression_params: Mapping[str, Any] | None,
    output_fields: Sequence[str],
    limit: int | None,
    offset: int,
    partitions: Sequence[str],
    iterates: bool,
    began_with: int | None,
    timestamp: int,
    timezone: str | None,
    ignore_growing: bool,
    order_by: Sequence[str],
    profile: bool = False,
) -> ClientRows:
    """`query` of what clients have loaded. An iterator's pages (`iterates`) are of the picture at `timestamp`.

    Any other read sees all that was acknowledged before it, and waits where `timestamp` is one to come.
    `began_with` is the id of the collection that an iterator began with, where the client says it. With
    `ignore_growing` rows that are in no segment yet are left out.
    Raises as `query` does, and `CollectionNotLoaded`, `PartitionNotLoaded`, `DeadlineExceeded`.
    """
    if order_by and iterates:
        raise InvalidParameter("ORDER BY with iterator is not supported: its rows come in the order of their keys")
    if order_by and limit is None:
        raise InvalidParameter("ORDER BY requires explicit limit: say how many rows a query is to return")
    found = instance.readable(ctx, collection)
    iteration.check_same(found, began_with)
    loading.require(found, collection, partitions)
    snapshot, seen = times.picture(ctx, instance, found, timestamp, iterates=iterates, ignore_growing=ignore_growing)
    asked: dict[str, Any] = {
        "expression": expression,
        "expression_params": expression_params,
        "output_fields": output_fields,
        "limit": limit,
        "offset": offset,
        "partitions": loading.readable_partitions(found, partitions),
        "snapshot": snapshot,
        "timezone": timezone,
    }
    schema = snapshot.manifest.schema
    if profile and order_by:
        raise InvalidParameter("a query that is sorted has no profile: leave out order_by_fields, or the profile")
    if profile:
        table, told = profiles.query(ctx, instance, collection, **asked)
        return ClientRows(table, schema, seen, told)
    return ClientRows(query(ctx, instance, collection, order_by=order_by, **asked), schema, seen, None)


def count_for_client(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    *,
    expression: str,
    expression_params: Mapping[str, Any] | None,
    partitions: Sequence[str],
    timestamp: int,
    timezone: str | None,
    ignore_growing: bool,
    profile: bool = False,
) -> tuple[int, int, QueryProfile | None]:
    """`count` of what clients have loaded, once `timestamp` has come, the timestamp of the picture counted in, and,
    where that is asked, what happened.

    Raises as `count` does, and `CollectionNotLoaded`, `PartitionNotLoaded`, `DeadlineExceeded`.
    """
    found = instance.readable(ctx, collection)
    loading.require(found, collection, partitions)
    snapshot, seen = times.picture(ctx, instance, found, timestamp, iterates=False, ignore_growing=ignore_growing)
    asked: dict[str, Any] = {
        "expression": expression,
        "expression_params": expression_params,
        "partitions": loading.readable_partitions(found, partitions),
        "snapshot": snapshot,
        "timezone": timezone,
    }
    if profile:
        number, told = profiles.count(ctx, instance, collection, **asked)
        return number, seen, told
    return count(ctx, instance, collection, **asked), seen, None


def get(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    keys: Any,
    *,
    output_fields: Sequence[str] = EVERYTHING,
    partitions: Sequence[str] = (),
) -> pa.Table:
    """The rows with these keys, in rising key order; keys that are not there are left out.

    Raises `SchemaMismatch` for keys of the wrong type, and as `query` does.
    """
    snapshot = instance.collection(ctx, collection, Deed.READING).snapshot()
    schema = snapshot.manifest.schema
    check_unnamed(schema, partitions)
    wanted = output.resolve(schema, output_fields, timezone_of(snapshot.manifest.properties))
    request = QueryRequest(key_condition(schema, key_array(schema, keys)), tuple(partitions), wanted.fields)
    return output.cut(reads.query(snapshot, request), wanted)


def count(ctx: RequestContext, instance: Instance, collection: str, **asked: Any) -> int:
    """How many rows match, exactly; copies of a key are counted each. What is `asked` is that of
    `filters.condition_asked`. Raises as `query` does.
    """
    return reads.count(*condition_asked(ctx, instance, collection, **asked))


def iterate(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    *,
    batch_rows: int = 1000,
    expression: str = "",
    expression_params: Mapping[str, Any] | None = None,
    output_fields: Sequence[str] = EVERYTHING,
    limit: int | None = None,
    partitions: Sequence[str] = (),
) -> Iterator[pa.Table]:
    """The rows that match as of this call, in rising key order, `batch_rows` (1..16,384) at a time.

    The snapshot is held until the iterator is gone: what is written meanwhile is not seen. `limit` bounds the rows of
    all pages together and may be of any size. Raises as `query` does, at the call.
    """
    limits.check_page(batch_rows)
    limits.check_total(limit)
    snapshot = instance.collection(ctx, collection, Deed.READING).snapshot()
    check_unnamed(snapshot.manifest.schema, partitions)
    zone = timezone_of(snapshot.manifest.properties)
    wanted = output.resolve(snapshot.manifest.schema, output_fields, zone)
    condition = condition_of(snapshot.manifest.schema, expression, expression_params, zone)
    snapshot.partition_ids(partitions)  # raises here rather than at the first page
    pages = reads.pages(snapshot, QueryRequest(condition, tuple(partitions), wanted.fields, limit), batch_rows)
    return (output.cut(page, wanted) for page in pages)
