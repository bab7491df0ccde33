"""Query: rows by filter, counts, pages of iterators."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from elanus.model.errors import InvalidParameter, NotSupported
from elanus.model.schema import Schema
from elanus.service import query as queries
from elanus.service.output import dynamic_key
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.columns import field_data
from elanus.wire.grpc.params import QuerySettings, query_settings
from elanus.wire.grpc.profiles import PROFILE, add_profile
from elanus.wire.grpc.templates import values_of

COUNT = "count(*)"


def query(call: Call, request: milvus_pb2.QueryRequest) -> milvus_pb2.QueryResults:
    """The rows that match, in rising key order. Raises `CollectionNotLoaded`."""
    if request.namespace:
        raise NotSupported("namespaces are not supported by this version of Elanus")
    settings = query_settings(request.query_params)
    names = [name for name in request.output_fields if name != PROFILE]
    profile = settings.profile or len(names) < len(request.output_fields)
    if COUNT in (name.lower() for name in names):
        return _count(call, request, settings, names, profile)
    if not request.expr.strip() and settings.limit is None:
        raise InvalidParameter("empty expression should be used with limit")
    found = queries.for_client(
        call.ctx,
        call.instance,
        request.collection_name,
        expression=request.expr,
        expression_params=values_of(request.expr_template_values),
        output_fields=names,
        limit=settings.limit,
        offset=settings.offset,
        partitions=tuple(request.partition_names),
        iterates=settings.is_iterator,
        began_with=settings.collection_id,
        timestamp=request.guarantee_timestamp,
        timezone=settings.timezone,
        ignore_growing=settings.ignore_growing,
        order_by=settings.order_by,
        profile=profile,
    )
    response = milvus_pb2.QueryResults(
        collection_name=request.collection_name,
        output_fields=shown_fields(found.schema, names),
        primary_field_name=found.schema.primary.name,
        session_ts=found.timestamp,
    )
    write_table(found.table, found.schema, response.fields_data, settings.time_fields)
    if found.profile is not None:
        add_profile(found.profile, found.profile.found, response.status, response.fields_data)
    return response


def shown_fields(schema: Schema, names: Iterable[str]) -> list[str]:
    """The output fields by name, as clients look them up: `*` spelled out, dynamic keys by their own names."""
    shown: dict[str, None] = {}
    for name in names:
        if name == "*":
            shown |= dict.fromkeys(f.name for f in schema.fields if not schema.is_hidden(f))
        else:
            shown[name if schema.get(name) is not None else dynamic_key(name)] = None
    return list(shown)


def write_table(table: pa.Table, schema: Schema, out: Any, time_fields: tuple[str, ...] = ()) -> None:
    """Write the columns of `table` into `out`, times taken apart into `time_fields` where there are any."""
    for name in table.column_names:
        field_data(schema.field(name), table.column(name), out.add(), time_fields)


def _count(
    call: Call, request: milvus_pb2.QueryRequest, settings: QuerySettings, names: list[str], profile: bool
) -> milvus_pb2.QueryResults:
    if len(names) > 1:
        raise InvalidParameter(f"{COUNT} is not allowed to be queried with other fields: {', '.join(names)}")
    if settings.limit is not None or settings.offset:
        raise InvalidParameter("count entities with pagination is not allowed")
    count, timestamp, told = queries.count_for_client(
        call.ctx,
        call.instance,
        request.collection_name,
        expression=request.expr,
        expression_params=values_of(request.expr_template_values),
        partitions=tuple(request.partition_names),
        timestamp=request.guarantee_timestamp,
        timezone=settings.timezone,
        ignore_growing=settings.ignore_growing,
        profile=profile,
    )
    column = schema_pb2.FieldData(type=schema_pb2.Int64, field_name=COUNT)
    column.scalars.long_data.data.append(count)
    response = milvus_pb2.QueryResults(
        collection_name=request.collection_name, fields_data=[column], output_fields=[COUNT], session_ts=timestamp
    )
    if told is not None:
        add_profile(told, 1, response.status, response.fields_data)
    return response


METHODS = {"Query": query}
