"""Analyzers, tried out."""

from __future__ import annotations

from pymilvus.grpc_gen import milvus_pb2

from elanus.model.errors import InvalidParameter
from elanus.service import analyzers
from elanus.service.analyzers import Token, term_of
from elanus.wire.grpc.call import Call


def run_analyzer(call: Call, request: milvus_pb2.RunAnalyzerRequest) -> milvus_pb2.RunAnalyzerResponse:
    """Raises `InvalidParameter`, also for a text that is not UTF-8, and `CollectionNotFound`."""
    texts = [_decoded(text) for text in request.placeholder]
    if not texts:
        return milvus_pb2.RunAnalyzerResponse()
    if not request.collection_name:
        found = analyzers.run(call.ctx, call.instance, texts, request.analyzer_params)
    elif request.analyzer_params:
        raise InvalidParameter("run analyzer can't use analyzer params and (collection,field) in same time")
    else:
        field = request.collection_name, request.field_name, request.analyzer_names
        found = analyzers.run_of_field(call.ctx, call.instance, texts, *field)
    detail, hashed = request.with_detail, request.with_hash
    return milvus_pb2.RunAnalyzerResponse(
        results=[
            milvus_pb2.AnalyzerResult(tokens=[_message(token, detail, hashed) for token in tokens]) for tokens in found
        ]
    )


def _message(token: Token, detail: bool, hashed: bool) -> milvus_pb2.AnalyzerToken:
    message = milvus_pb2.AnalyzerToken(token=token.text)
    if detail:
        message.start_offset, message.end_offset = token.start, token.end
        message.position, message.position_length = token.position, token.length
    if hashed:
        message.hash = term_of(token.text)
    return message


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"a text to analyze is not UTF-8: {error}") from None


METHODS = {"RunAnalyzer": run_analyzer}
