"""Search.

The hottest path of the server. What a request shares with the one before it is read once: parameters,
filters by their text, the plan by its snapshot. Query vectors are read where they lie in the request, and the reply's
numbers are written as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from elanus.model.errors import InvalidParameter, NotSupported
from elanus.service import search as searches
from elanus.service.search import ClientHits, ClientSearch
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.columns import ids
from elanus.wire.grpc.packing import floats
from elanus.wire.grpc.params import search_settings
from elanus.wire.grpc.query import shown_fields, write_table
from elanus.wire.grpc.templates import values_of

_FLOAT_VECTOR = common_pb2.PlaceholderType.FloatVector
_SCORES = schema_pb2.SearchResultData.SCORES_FIELD_NUMBER

LONGEST_KEPT = 4096
"""What was read of requests with longer filters is not remembered: they rarely come twice, and take memory."""

Vectors = npt.NDArray[np.float32]


def _known(parts: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Those of `parts` that the installed release of the SDK has: its messages are what we read."""
    known = milvus_pb2.SearchRequest.DESCRIPTOR.fields_by_name
    return tuple((name, what) for name, what in parts.items() if name in known)


_LATER_MESSAGES = _known(
    {
        "function_score": "function_score (rankers)",
        "ids": "search by primary keys",
        "highlighter": "highlighter",
        "search_aggregation": "search_aggregation",
    }
)
_LATER_VALUES = _known(
    {
        "search_by_primary_keys": "search by primary keys",
        "sub_reqs": "sub-requests",
        "namespace": "namespaces",
        "function_chains": "function_chains",
    }
)
"""What a search can be asked for and Elanus does not have yet: fields of the request, and what they are."""


def search(call: Call, request: milvus_pb2.SearchRequest) -> milvus_pb2.SearchResults:
    """The nearest rows to each query. Raises `CollectionNotLoaded`, `InvalidParameter`, `NotSupported`."""
    _check_supported(request)
    asked, round_decimal = _asked(request)
    hits = searches.for_client(call.ctx, call.instance, asked, query_vectors(request), request.guarantee_timestamp)
    response = milvus_pb2.SearchResults(collection_name=asked.collection, session_ts=hits.timestamp)
    _write(hits, asked, round_decimal, response.results)
    return response


def _asked(request: milvus_pb2.SearchRequest) -> tuple[ClientSearch, int]:
    """What a request asks beside its vectors, and to how many decimals scores are rounded (-1: not)."""
    parts = (
        request.collection_name,
        request.dsl,
        tuple(request.output_fields),
        tuple(request.partition_names),
        tuple([(pair.key, pair.value) for pair in request.search_params]),
    )
    if request.expr_template_values:
        return _read(*parts, values_of(request.expr_template_values))
    return _read(*parts) if len(request.dsl) > LONGEST_KEPT else _remembered(*parts)


def _read(
    collection: str,
    expression: str,
    names: tuple[str, ...],
    partitions: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
    templates: Mapping[str, Any] | None = None,
) -> tuple[ClientSearch, int]:
    settings = search_settings(pairs)
    asked = ClientSearch(
        collection,
        settings.field or None,
        settings.limit,
        settings.offset,
        expression,
        templates,
        names,
        partitions,
        settings.metric,
        settings.index_params,
        settings.bounds,
        (settings.iterator.batch_rows, settings.iterator.last_bound) if settings.iterator is not None else None,
        settings.is_iterator,
        settings.collection_id,
    )
    return asked, settings.round_decimal


_remembered = lru_cache(maxsize=1024)(_read)


def query_vectors(request: milvus_pb2.SearchRequest) -> Vectors:
    """The queries (nq, dim) of a request, float32. Raises `InvalidParameter` for what are no such vectors."""
    try:
        group = common_pb2.PlaceholderGroup.FromString(request.placeholder_group)
    except DecodeError:
        raise InvalidParameter("the query vectors cannot be read: they are no PlaceholderGroup") from None
    if len(group.placeholders) != 1 or not group.placeholders[0].values:
        raise InvalidParameter("nq [0] is invalid, it should be in range [1, 16384]: send query vectors")
    placeholder = group.placeholders[0]
    values = placeholder.values
    if placeholder.type != _FLOAT_VECTOR:
        kind = _placeholder_name(placeholder.type)
        raise InvalidParameter(
            f"vector type must be the same, field holds FloatVector, queries are {kind}: send float32"
        )
    data = values[0] if len(values) == 1 else b"".join(values)
    length = len(values[0])
    if not length or length % 4 or len(data) != length * len(values):
        raise InvalidParameter("query vectors differ in their dimension, or are no float32: send equally long ones")
    return np.frombuffer(data, "<f4").reshape(len(values), length // 4)


def _check_supported(request: milvus_pb2.SearchRequest) -> None:
    for name, what in _LATER_MESSAGES:
        if request.HasField(name):
            raise NotSupported(f"{what} is not supported by this version of Elanus")
    for name, what in _LATER_VALUES:
        if getattr(request, name):
            raise NotSupported(f"{what} is not supported by this version of Elanus")


def _placeholder_name(code: int) -> str:
    try:
        return str(common_pb2.PlaceholderType.Name(common_pb2.PlaceholderType.ValueType(code)))
    except ValueError:
        return str(code)


def _write(hits: ClientHits, asked: ClientSearch, round_decimal: int, out: schema_pb2.SearchResultData) -> None:
    result = hits.answer.result
    ends = result.offsets.tolist()
    counts = [end - start for start, end in pairwise(ends)]
    out.num_queries = len(counts)
    out.top_k = max(counts) if hits.page is not None else asked.limit
    out.topks.extend(counts)
    out.primary_field_name = hits.answer.key_field.name
    scores = result.scores if round_decimal < 0 else np.round(result.scores, round_decimal)
    out.MergeFromString(floats(_SCORES, scores))
    ids(hits.answer.key_field, result.keys, out.ids)
    if asked.output_fields:
        out.output_fields.extend(shown_fields(hits.schema, asked.output_fields))
        if result.fields is not None:
            table = searches.shown(hits.answer)
            write_table(table, hits.schema, out.fields_data)
    if hits.page is not None:
        out.search_iterator_v2_results.token = hits.page.token
        out.search_iterator_v2_results.last_bound = hits.page.last_bound


METHODS = {"Search": search}
