"""Functions of a schema: from the protocol's messages to ours and back, and the calls that are about them alone."""

from __future__ import annotations

from typing import NoReturn

from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from elanus.model.errors import InvalidParameter, NotSupported
from elanus.model.functions import Function, FunctionType
from elanus.model.schema import Schema
from elanus.service import collections, functions
from elanus.service.indexes import IndexRequest
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.indexes import asked_index
from elanus.wire.grpc.pairs import from_pairs, to_pairs

_TYPES = {schema_pb2.BM25: FunctionType.BM25, schema_pb2.MinHash: FunctionType.MINHASH}

_LATER = {
    schema_pb2.TextEmbedding: "TextEmbedding functions",
    schema_pb2.Rerank: "Rerank functions",
    schema_pb2.MolFingerprint: "MolFingerprint functions",
}
"""What Milvus has and Elanus does not have yet."""


def function_of(message: schema_pb2.FunctionSchema) -> Function:
    """Raises `NotSupported` for a type that Elanus does not have, `InvalidParameter` for one that does not exist."""
    found = _TYPES.get(message.type)
    if found is None:
        later = _LATER.get(message.type)
        if later is not None:
            raise NotSupported(f"{later} are not supported by this version of Elanus: function {message.name}")
        raise InvalidParameter(f"check function params with unknown function type: function {message.name}")
    return Function(
        message.name,
        found,
        tuple(message.input_field_names),
        tuple(message.output_field_names),
        from_pairs(message.params),
        message.description,
    )


def to_message(function: Function, schema: Schema) -> schema_pb2.FunctionSchema:
    return schema_pb2.FunctionSchema(
        name=function.name,
        id=function.id,
        description=function.description,
        type=schema_pb2.FunctionType.ValueType(int(function.type)),
        input_field_names=function.inputs,
        input_field_ids=[schema.field(name).id for name in function.inputs],
        output_field_names=function.outputs,
        output_field_ids=[schema.field(name).id for name in function.outputs],
        params=to_pairs(function.params),
    )


def index_of(field: str, info: milvus_pb2.AlterCollectionSchemaRequest.FieldInfo) -> IndexRequest:
    """The index that is made with a field."""
    return asked_index(field, from_pairs(info.extra_params), info.index_name)


def refuse_added(call: Call, request: milvus_pb2.AddCollectionFunctionRequest) -> NoReturn:
    raise InvalidParameter(
        "AddCollectionFunction RPC is no longer supported; add BM25/MinHash via add_function_field, and define a "
        "TextEmbedding function at collection creation"
    )


def refuse_dropped(call: Call, request: milvus_pb2.DropCollectionFunctionRequest) -> NoReturn:
    raise InvalidParameter("DropCollectionFunction RPC is no longer supported; drop a function via drop_function_field")


def alter(call: Call, request: milvus_pb2.AlterCollectionFunctionRequest) -> common_pb2.Status:
    if not request.HasField("functionSchema"):
        raise InvalidParameter("function schema is empty: send the function as it is to be")
    name = collections.named(call.ctx, call.instance, request.collection_name, request.collectionID)
    functions.alter(call.ctx, call.instance, name, request.function_name, function_of(request.functionSchema))
    return common_pb2.Status()


METHODS = {
    "AddCollectionFunction": refuse_added,
    "AlterCollectionFunction": alter,
    "DropCollectionFunction": refuse_dropped,
}
