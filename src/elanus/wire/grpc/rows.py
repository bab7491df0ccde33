"""Insert, upsert, delete."""

from __future__ import annotations

from functools import lru_cache

from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from elanus.model.columns import Column
from elanus.model.errors import InvalidParameter, MissingParameter, NotSupported, SchemaMismatch
from elanus.model.schema import Schema
from elanus.model.types import ArrayOperation
from elanus.service import rows
from elanus.service.rows import DEFAULT_PARTITION, WriteResult
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.columns import columns_of, ids
from elanus.wire.grpc.packing import varints
from elanus.wire.grpc.templates import values_of


def insert(call: Call, request: milvus_pb2.InsertRequest) -> milvus_pb2.MutationResult:
    """All rows of the request or none. Raises `SchemaOutdated` where the client's picture of the schema is."""
    schema, columns = _columns(call, request)
    written = rows.insert(
        call.ctx, call.instance, request.collection_name, columns, request.partition_name or DEFAULT_PARTITION
    )
    response = _mutation(schema, written)
    response.insert_cnt = written.count
    return response


def upsert(call: Call, request: milvus_pb2.UpsertRequest) -> milvus_pb2.MutationResult:
    operations = _operations(request)
    schema, columns = _columns(call, request)
    written = rows.upsert(
        call.ctx,
        call.instance,
        request.collection_name,
        columns,
        request.partition_name or DEFAULT_PARTITION,
        partial=request.partial_update or bool(request.field_ops),
        operations=operations,
        loaded_only=True,
    )
    response = _mutation(schema, written)
    response.upsert_cnt = written.count
    return response


def delete(call: Call, request: milvus_pb2.DeleteRequest) -> milvus_pb2.MutationResult:
    """By a filter; one that does nothing but name keys reads no rows."""
    if not request.expr.strip():
        raise InvalidParameter(f"delete plan can't be empty or always true : {request.expr}")
    deleted = rows.delete_where(
        call.ctx,
        call.instance,
        request.collection_name,
        request.expr,
        values_of(request.expr_template_values),
        (request.partition_name,) if request.partition_name else (),
        loaded_only=True,
    )
    # Clients take keys in the answer to a delete for that of a Milvus before 2.3.
    return milvus_pb2.MutationResult(acknowledged=True, timestamp=deleted.timestamp, delete_cnt=deleted.count)


_OPERATIONS = {
    schema_pb2.FieldPartialUpdateOp.ARRAY_APPEND: ArrayOperation.APPEND,
    schema_pb2.FieldPartialUpdateOp.ARRAY_REMOVE: ArrayOperation.REMOVE,
}


def _operations(request: milvus_pb2.UpsertRequest) -> dict[str, ArrayOperation]:
    """The operations on arrays, by field; to replace what is there is what an upsert does anyway."""
    operations: dict[str, ArrayOperation] = {}
    named: set[str] = set()
    for asked in request.field_ops:
        if not asked.field_name:
            raise MissingParameter("FieldPartialUpdateOp.field_name is required")
        if asked.field_name in named:
            raise InvalidParameter(f'duplicate partial-update op for field "{asked.field_name}"')
        named.add(asked.field_name)
        if asked.op in _OPERATIONS:
            operations[asked.field_name] = _OPERATIONS[asked.op]
        elif asked.op != schema_pb2.FieldPartialUpdateOp.REPLACE:
            raise InvalidParameter(f"unsupported partial update op: {asked.op}")
    return operations


def _columns(
    call: Call, request: milvus_pb2.InsertRequest | milvus_pb2.UpsertRequest
) -> tuple[Schema, dict[str, Column]]:
    """The rows of a request, and the schema that they are of."""
    schema = rows.schema_for(call.ctx, call.instance, request.collection_name, request.schema_timestamp)
    if request.namespace:
        raise NotSupported("namespaces are not supported by this version of Elanus")
    if not request.num_rows:
        raise InvalidParameter("num_rows should be greater than 0: send at least one row")
    columns = columns_of(request.fields_data, request.num_rows, schema)
    if not columns:
        raise SchemaMismatch("the request holds no columns: send one for each field")
    return schema, columns


def _mutation(schema: Schema, written: WriteResult) -> milvus_pb2.MutationResult:
    """The answer to a write. Nothing may fail here, not even for the deadline: the rows are there."""
    response = milvus_pb2.MutationResult(acknowledged=True, timestamp=written.timestamp)
    ids(schema.primary, written.key_values, response.IDs)
    response.MergeFromString(_succeeded(len(written.key_values)))
    return response


@lru_cache(maxsize=64)
def _succeeded(count: int) -> bytes:
    """The field `succ_index` of a response that says that all of `count` rows were written."""
    return varints(milvus_pb2.MutationResult.SUCC_INDEX_FIELD_NUMBER, range(count))


METHODS = {"Insert": insert, "Upsert": upsert, "Delete": delete}
