"""Search.

The hottest path of the server. What a request shares with the one before it is read once: all but its vectors by
its bytes (`asked`), the plan by its snapshot. Query vectors are read where they lie in the request, and the reply's
numbers are written as bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from elanus.model.errors import InvalidParameter
from elanus.service import search as searches
from elanus.service.search import ClientHits, ClientSearch, EncodedQueries, Keys
from elanus.wire.grpc.asked import SearchCall
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.columns import field_data, ids
from elanus.wire.grpc.packing import floats
from elanus.wire.grpc.profiles import add_profile
from elanus.wire.grpc.query import shown_fields, write_table
from elanus.wire.grpc.vectors import queries_of

_SCORES = schema_pb2.SearchResultData.SCORES_FIELD_NUMBER

Vectors = npt.NDArray[np.float32]


def search(call: Call, request: milvus_pb2.SearchRequest | SearchCall) -> milvus_pb2.SearchResults:
    """The nearest rows to each query. Raises `CollectionNotLoaded`, `InvalidParameter`, `NotSupported`."""
    if not isinstance(request, SearchCall):
        request = SearchCall.of(request)
    request.asked.read()  # says what is not supported before it looks for vectors
    queries = request.asked.keys or query_vectors(request.placeholder_group)
    return _response(_hits(call, request, queries), request)


def search_together(calls: Sequence[Call], requests: Sequence[SearchCall]) -> list[milvus_pb2.SearchResults]:
    """The answers to requests with one `asked`: those of one search for all their vectors.

    Raises as `search` does where one of them cannot be answered, and where they must not be together.
    """
    first = calls[0].ctx
    if any((ctx.database, ctx.principal) != (first.database, first.principal) for _, ctx in calls):
        raise InvalidParameter("requests of several databases or users are not one")
    if requests[0].asked.read()[0].profile:
        raise InvalidParameter("requests that are profiled are not one")
    given = [query_vectors(request.placeholder_group) for request in requests]
    queries = [vectors for vectors in given if isinstance(vectors, np.ndarray)]
    if len(queries) < len(given) or any(vectors.shape[1] != queries[0].shape[1] for vectors in queries):
        raise InvalidParameter("requests whose query vectors differ in their dimension, or their type, are not one")
    hits = _hits(calls[0], requests[0], np.concatenate(queries))
    ends = list(accumulate(map(len, queries), initial=0))
    return [_response(hits.of_queries(*span), request) for span, request in zip(pairwise(ends), requests, strict=True)]


def _hits(call: Call, request: SearchCall, queries: Vectors | EncodedQueries | Keys) -> ClientHits:
    asked, _ = request.asked.read()
    return searches.for_client(call.ctx, call.instance, asked, queries, request.guarantee_timestamp)


def _response(hits: ClientHits, request: SearchCall) -> milvus_pb2.SearchResults:
    asked, round_decimal = request.asked.read()
    response = milvus_pb2.SearchResults(collection_name=asked.collection, session_ts=hits.timestamp)
    _write(hits, asked, round_decimal, response.results)
    if hits.profile is not None:
        add_profile(hits.profile, hits.profile.hits, response.status, response.results.fields_data)
    return response


def query_vectors(data: bytes) -> Vectors | EncodedQueries:
    """The queries of a request, (nq, dim) float32, or as they came. Raises `InvalidParameter` where there are none."""
    try:
        group = common_pb2.PlaceholderGroup.FromString(data)
    except DecodeError:
        raise InvalidParameter("the query vectors cannot be read: they are no PlaceholderGroup") from None
    if len(group.placeholders) != 1 or not group.placeholders[0].values:
        raise InvalidParameter(
            "nq [0] is invalid, nq (number of search vector per search request) should be in range [1, 16384], but got "
            "0: send query vectors, or ids"
        )
    return queries_of(group.placeholders[0])


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
            write_table(table, hits.schema, out.fields_data, asked.time_fields)
    if hits.grouping is not None and result.groups:
        values = searches.shown_groups(hits.grouping, result.groups, hits.answer.output.timezone)
        for field, column in values:
            field_data(field, column, out.group_by_field_values.add())
        if len(values) == 1:
            out.group_by_field_value.CopyFrom(out.group_by_field_values[0])
    if hits.page is not None:
        out.search_iterator_v2_results.token = hits.page.token
        out.search_iterator_v2_results.last_bound = hits.page.last_bound


METHODS = {"Search": search}

TOGETHER = {"Search": search_together}
"""What answers several requests at once."""

READERS = {"Search": SearchCall.from_bytes}
"""What reads requests in place of their messages."""
