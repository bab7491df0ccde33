"""Databases."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus.service import databases
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.pairs import from_pairs, to_pairs


def create(call: Call, request: milvus_pb2.CreateDatabaseRequest) -> common_pb2.Status:
    databases.create(call.ctx, call.instance, request.db_name, from_pairs(request.properties))
    return common_pb2.Status()


def drop(call: Call, request: milvus_pb2.DropDatabaseRequest) -> common_pb2.Status:
    databases.drop(call.ctx, call.instance, request.db_name)
    return common_pb2.Status()


def list_all(call: Call, _request: milvus_pb2.ListDatabasesRequest) -> milvus_pb2.ListDatabasesResponse:
    found = databases.list_all(call.ctx, call.instance)
    return milvus_pb2.ListDatabasesResponse(
        db_names=[d.name for d in found], db_ids=[d.id for d in found], created_timestamp=[d.created for d in found]
    )


def describe(call: Call, request: milvus_pb2.DescribeDatabaseRequest) -> milvus_pb2.DescribeDatabaseResponse:
    found = databases.describe(call.ctx, call.instance, request.db_name or call.ctx.database)
    return milvus_pb2.DescribeDatabaseResponse(
        db_name=found.name, dbID=found.id, created_timestamp=found.created, properties=to_pairs(found.properties)
    )


def alter(call: Call, request: milvus_pb2.AlterDatabaseRequest) -> common_pb2.Status:
    name = request.db_name or call.ctx.database
    databases.alter(call.ctx, call.instance, name, from_pairs(request.properties), list(request.delete_keys))
    return common_pb2.Status()


METHODS = {
    "CreateDatabase": create,
    "DropDatabase": drop,
    "ListDatabases": list_all,
    "DescribeDatabase": describe,
    "AlterDatabase": alter,
}
