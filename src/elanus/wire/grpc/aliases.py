"""Aliases."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus.service import aliases
from elanus.wire.grpc.call import Call


def create(call: Call, request: milvus_pb2.CreateAliasRequest) -> common_pb2.Status:
    aliases.create(call.ctx, call.instance, request.alias, request.collection_name)
    return common_pb2.Status()


def alter(call: Call, request: milvus_pb2.AlterAliasRequest) -> common_pb2.Status:
    aliases.alter(call.ctx, call.instance, request.alias, request.collection_name)
    return common_pb2.Status()


def drop(call: Call, request: milvus_pb2.DropAliasRequest) -> common_pb2.Status:
    aliases.drop(call.ctx, call.instance, request.alias)
    return common_pb2.Status()


def describe(call: Call, request: milvus_pb2.DescribeAliasRequest) -> milvus_pb2.DescribeAliasResponse:
    found = aliases.describe(call.ctx, call.instance, request.alias)
    return milvus_pb2.DescribeAliasResponse(db_name=found.database, alias=found.alias, collection=found.collection)


def list_all(call: Call, request: milvus_pb2.ListAliasesRequest) -> milvus_pb2.ListAliasesResponse:
    found = aliases.list_all(call.ctx, call.instance, request.collection_name or None)
    return milvus_pb2.ListAliasesResponse(
        db_name=call.ctx.database, collection_name=request.collection_name, aliases=[a.alias for a in found]
    )


METHODS = {
    "CreateAlias": create,
    "AlterAlias": alter,
    "DropAlias": drop,
    "DescribeAlias": describe,
    "ListAliases": list_all,
}
