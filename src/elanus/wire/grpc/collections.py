"""Collections."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from elanus.model.errors import CollectionNotFound, ElanusError, InvalidParameter, MissingParameter
from elanus.model.properties import MAX_FIELD_ID
from elanus.model.timestamps import milliseconds_of
from elanus.model.types import Consistency
from elanus.service import collections, databases, fields, functions, loading, properties
from elanus.service.collections import CollectionInfo
from elanus.service.timezones import TIMEZONE, timezone_of
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.functions import function_of, index_of
from elanus.wire.grpc.pairs import from_pairs, to_pairs
from elanus.wire.grpc.schemas import field_of, schema_of, to_message
from elanus.wire.grpc.status import fail, succeed

MAX_SHARDS = 16


def create(call: Call, request: milvus_pb2.CreateCollectionRequest) -> common_pb2.Status:
    try:
        message = schema_pb2.CollectionSchema.FromString(request.schema)
    except DecodeError:
        raise InvalidParameter("the schema of the request cannot be read: it is no CollectionSchema") from None
    if request.shards_num > MAX_SHARDS:
        raise InvalidParameter(f"maximum shards's number should be limited to {MAX_SHARDS}")
    given = from_pairs(request.properties)
    collections.create(
        call.ctx,
        call.instance,
        request.collection_name,
        schema_of(message),
        given,
        consistency=consistency_of(request.consistency_level),
        shards=max(1, request.shards_num),
        partitions=request.num_partitions,
    )
    return common_pb2.Status()


def drop(call: Call, request: milvus_pb2.DropCollectionRequest) -> common_pb2.Status:
    collections.drop(call.ctx, call.instance, request.collection_name)
    return common_pb2.Status()


def has(call: Call, request: milvus_pb2.HasCollectionRequest) -> milvus_pb2.BoolResponse:
    return milvus_pb2.BoolResponse(value=collections.has(call.ctx, call.instance, request.collection_name))


def describe(call: Call, request: milvus_pb2.DescribeCollectionRequest) -> milvus_pb2.DescribeCollectionResponse:
    """By name, or by id where no name is given. Raises `CollectionNotFound`."""
    try:
        name = collections.named(call.ctx, call.instance, request.collection_name, request.collectionID)
        return _description(call, name)
    except CollectionNotFound as error:
        what = request.collection_name or request.collectionID
        where = f"can't find collection[database={call.ctx.database}][collection={what}]"
        raise CollectionNotFound(f"{where}: {error.message}") from error


def batch_describe(
    call: Call, request: milvus_pb2.BatchDescribeCollectionRequest
) -> milvus_pb2.BatchDescribeCollectionResponse:
    """Each of the collections named, or the error that describing it meets. Raises `DatabaseNotFound`."""
    databases.describe(call.ctx, call.instance, call.ctx.database)  # told once, not for each collection
    response = milvus_pb2.BatchDescribeCollectionResponse()
    by_id = [collections.named(call.ctx, call.instance, "", i) for i in request.collectionID]
    for name in (*request.collection_name, *by_id):
        try:
            described = _description(call, name)
            succeed(described)
            response.responses.append(described)
        except ElanusError as error:
            fail(response.responses.add().status, error)
    return response


def show(call: Call, request: milvus_pb2.ShowCollectionsRequest) -> milvus_pb2.ShowCollectionsResponse:
    """All collections of the database, or those that are loaded. Raises `CollectionNotFound` for an absent name."""
    found = collections.list_all(call.ctx, call.instance)
    if request.collection_names:
        wanted = {collections.real_name(call.ctx, call.instance, name) for name in request.collection_names}
        found = [entry for entry in found if entry.name in wanted]
    in_memory = request.type == milvus_pb2.ShowType.InMemory
    if in_memory:
        found = [entry for entry in found if loading.info(call.ctx, call.instance, entry.name) is not None]
    return milvus_pb2.ShowCollectionsResponse(
        collection_names=[entry.name for entry in found],
        collection_ids=[entry.id for entry in found],
        created_timestamps=[entry.created for entry in found],
        created_utc_timestamps=[milliseconds_of(entry.created) for entry in found],
        inMemory_percentages=[100] * len(found) if in_memory else [],
        query_service_available=[True] * len(found) if in_memory else [],
    )


def rename(call: Call, request: milvus_pb2.RenameCollectionRequest) -> common_pb2.Status:
    collections.rename(
        call.ctx, call.instance, request.oldName, request.newName, getattr(request, "newDBName", "") or None
    )
    return common_pb2.Status()


def alter(call: Call, request: milvus_pb2.AlterCollectionRequest) -> common_pb2.Status:
    given, removed = from_pairs(request.properties), list(request.delete_keys)
    properties.alter(
        call.ctx,
        call.instance,
        collections.named(call.ctx, call.instance, request.collection_name, request.collectionID),
        given,
        removed,
    )
    return common_pb2.Status()


def add_field(call: Call, request: milvus_pb2.AddCollectionFieldRequest) -> common_pb2.Status:
    try:
        message = schema_pb2.FieldSchema.FromString(request.schema)
    except DecodeError:
        raise InvalidParameter("the field of the request cannot be read: it is no FieldSchema") from None
    _add(call, collections.named(call.ctx, call.instance, request.collection_name, request.collectionID), message)
    return common_pb2.Status()


def alter_schema(
    call: Call, request: milvus_pb2.AlterCollectionSchemaRequest
) -> milvus_pb2.AlterCollectionSchemaResponse:
    """Add a field, by itself or with the function that makes it and an index, or drop a field or a function."""
    response = milvus_pb2.AlterCollectionSchemaResponse()
    name = collections.named(call.ctx, call.instance, request.collection_name, request.collectionID)
    match request.action.WhichOneof("op"):
        case "add_request":
            _add_to_schema(call, name, request.action.add_request)
        case "drop_request":
            dropped = request.action.drop_request
            if dropped.WhichOneof("identifier") == "function_name":
                functions.drop(
                    call.ctx,
                    call.instance,
                    name,
                    dropped.function_name,
                    with_outputs=dropped.drop_function_output_fields,
                )
                return response
            if not (dropped.field_name or dropped.field_id):
                raise MissingParameter("drop request must specify field_name, field_id, or function_name")
            fields.drop(call.ctx, call.instance, name, dropped.field_name, dropped.field_id)
        case _:
            raise InvalidParameter("action is nil")
    return response


def _add_to_schema(call: Call, name: str, asked: milvus_pb2.AlterCollectionSchemaRequest.AddRequest) -> None:
    if len(asked.func_schema) > 1:
        raise InvalidParameter("For now, at most one function schema is supported: add one at a time")
    if len(asked.field_infos) > 1:
        raise InvalidParameter("For now, only one field info is supported: add one at a time")
    if not asked.func_schema:
        if not asked.field_infos:
            raise InvalidParameter("fieldInfos and function schema are both empty: name a field to add")
        _add(call, name, asked.field_infos[0].field_schema)
        return
    function = function_of(asked.func_schema[0])
    if not asked.field_infos:
        raise InvalidParameter(
            "adding a function over existing fields is not supported; use add_function_field to add the function "
            "together with its new output field"
        )
    (info,) = asked.field_infos
    field = field_of(info.field_schema)
    functions.add(call.ctx, call.instance, name, function, field, index_of(field.name, info))


def _add(call: Call, name: str, message: schema_pb2.FieldSchema) -> None:
    fields.add(call.ctx, call.instance, name, field_of(message))


def alter_field(call: Call, request: milvus_pb2.AlterCollectionFieldRequest) -> common_pb2.Status:
    fields.alter(
        call.ctx,
        call.instance,
        request.collection_name,
        request.field_name,
        from_pairs(request.properties),
        list(request.delete_keys),
    )
    return common_pb2.Status()


def statistics(
    call: Call, request: milvus_pb2.GetCollectionStatisticsRequest
) -> milvus_pb2.GetCollectionStatisticsResponse:
    """The rows that are there now: exact, where Milvus counts flushed rows and no deletes."""
    count = collections.row_count(call.ctx, call.instance, request.collection_name)
    return milvus_pb2.GetCollectionStatisticsResponse(stats=to_pairs({"row_count": count}))


def truncate(call: Call, request: milvus_pb2.TruncateCollectionRequest) -> milvus_pb2.TruncateCollectionResponse:
    collections.truncate(call.ctx, call.instance, request.collection_name)
    return milvus_pb2.TruncateCollectionResponse()


def consistency_of(code: int) -> Consistency:
    try:
        return Consistency(code)
    except ValueError:
        raise InvalidParameter(f"invalid consistency level: {code}: choose one of 0..4") from None


def virtual_channels(info: CollectionInfo) -> list[str]:
    """Names for the shards of a collection: clients are told them, and nothing is called so."""
    return [f"elanus-dml_{n}_{info.id}v{n}" for n in range(info.shards)]


def _description(call: Call, name: str) -> milvus_pb2.DescribeCollectionResponse:
    info: CollectionInfo = collections.describe(call.ctx, call.instance, name)
    return milvus_pb2.DescribeCollectionResponse(
        schema=to_message(info.name, info.schema),
        collectionID=info.id,
        virtual_channel_names=virtual_channels(info),
        physical_channel_names=[f"elanus-dml_{n}" for n in range(info.shards)],
        created_timestamp=info.created,
        created_utc_timestamp=milliseconds_of(info.created),
        shards_num=info.shards,
        aliases=info.aliases,
        consistency_level=common_pb2.ConsistencyLevel.ValueType(int(info.consistency)),
        collection_name=info.name,
        properties=to_pairs(
            {TIMEZONE: timezone_of(info.properties), **info.properties, MAX_FIELD_ID: info.max_field_id}
        ),
        db_name=info.database,
        num_partitions=len(info.partitions),
        update_timestamp=info.updated,
        update_timestamp_str=str(info.updated),
    )


METHODS = {
    "CreateCollection": create,
    "DropCollection": drop,
    "HasCollection": has,
    "DescribeCollection": describe,
    "BatchDescribeCollection": batch_describe,
    "ShowCollections": show,
    "RenameCollection": rename,
    "AlterCollection": alter,
    "AddCollectionField": add_field,
    "AlterCollectionField": alter_field,
    "AlterCollectionSchema": alter_schema,
    "GetCollectionStatistics": statistics,
    "TruncateCollection": truncate,
}
