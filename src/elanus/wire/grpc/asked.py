"""Search requests, read.

A client sends the same request again and again, and nothing differs but its query vectors. They are one field of the
message, so its bytes are cut in two: the vectors, and the rest, by which everything that was read of it is known again
without looking at any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from pymilvus.grpc_gen import milvus_pb2

from elanus.model.errors import NotSupported
from elanus.service.search import ClientSearch, Keys
from elanus.wire.grpc.params import search_settings
from elanus.wire.grpc.templates import values_of

LONGEST_KEPT = 4096
"""What was read of requests with longer filters is not remembered: they rarely come twice, and take memory."""

_KEPT = 1024

_BYTES = 2
"""The kind of fields that are a length and so many bytes: texts, messages, bytes."""

_VECTORS = milvus_pb2.SearchRequest.PLACEHOLDER_GROUP_FIELD_NUMBER << 3 | _BYTES


def _known(parts: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Those of `parts` that the installed release of the SDK has: its messages are what we read."""
    known = milvus_pb2.SearchRequest.DESCRIPTOR.fields_by_name
    return tuple((name, what) for name, what in parts.items() if name in known)


_LATER_MESSAGES = _known(
    {
        "function_score": "function_score (rankers)",
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


class Asked:
    """A request without its query vectors, and what was read of it."""

    __slots__ = ("_message", "_read", "database", "guarantee_timestamp", "keys", "queries", "use_default_consistency")

    def __init__(self, message: milvus_pb2.SearchRequest) -> None:
        self.database: str = message.db_name
        self.guarantee_timestamp: int = message.guarantee_timestamp
        self.keys = _keys(message)
        self.queries: int = message.nq
        self.use_default_consistency: bool = message.use_default_consistency
        self._message = message
        self._read: tuple[ClientSearch, int] | None = None

    def read(self) -> tuple[ClientSearch, int]:
        """What is asked, and to how many decimals scores are rounded (-1: not).

        Raises `InvalidParameter`, `MissingParameter`, `NotSupported`.
        """
        if self._read is None:
            self._read = _asked(self._message)
        return self._read


def _keys(message: milvus_pb2.SearchRequest) -> Keys | None:
    """The keys whose rows' vectors are searched for, in place of query vectors; None where none are named."""
    if not message.HasField("ids"):
        return None
    values = message.ids.str_id.data if message.ids.HasField("str_id") else message.ids.int_id.data
    return Keys(list(values)) if values else None


class SearchCall(NamedTuple):
    """A request: the fields that every call is looked at for, what it asks, and the bytes of its query vectors."""

    db_name: str
    guarantee_timestamp: int
    nq: int
    asked: Asked
    placeholder_group: bytes

    @classmethod
    def of(cls, message: milvus_pb2.SearchRequest) -> SearchCall:
        return cls._made(Asked(message), message.placeholder_group)

    @classmethod
    def from_bytes(cls, data: bytes) -> SearchCall:
        """Raises `DecodeError` for what is no request."""
        parts = _cut(data)
        if parts is None:
            return cls.of(milvus_pb2.SearchRequest.FromString(data))
        rest, vectors = parts
        asked = _kept(rest)
        return cls._made(asked, vectors) if asked is not None else cls.of(milvus_pb2.SearchRequest.FromString(data))

    @classmethod
    def _made(cls, asked: Asked, vectors: bytes) -> SearchCall:
        return cls(asked.database, asked.guarantee_timestamp, asked.queries, asked, vectors)


def _cut(data: bytes) -> tuple[bytes, bytes] | None:
    """A request without its query vectors, and these; None where that is not to be had, or not worth it.

    Only what stands before the vectors is looked at: texts and messages, where fields are in order.
    """
    at = 0
    try:
        while at < LONGEST_KEPT:
            tag, length, begin = data[at], data[at + 1], at + 2
            if tag & 7 != _BYTES or tag > 0x7F:
                return None
            if length > 0x7F:  # seven bits a byte, the lowest first; four of them reach 256 MiB
                length &= 0x7F
                for shift in (7, 14, 21):
                    more = data[begin]
                    begin += 1
                    length |= (more & 0x7F) << shift
                    if more <= 0x7F:
                        break
                else:
                    return None
            end = begin + length
            if tag == _VECTORS:
                fits = end <= len(data) <= length + LONGEST_KEPT
                return (data[:at] + data[end:], data[begin:end]) if fits else None
            at = end
    except IndexError:
        pass
    return None


@lru_cache(maxsize=_KEPT)
def _kept(rest: bytes) -> Asked | None:
    """The request whose bytes without query vectors are `rest`; None where these or keys are there as well, or it asks
    for something later, which may be in their place.
    """
    message = milvus_pb2.SearchRequest.FromString(rest)
    elsewhere = message.placeholder_group or message.HasField("ids")
    return None if elsewhere or _later(message) else Asked(message)


def _later(request: milvus_pb2.SearchRequest) -> str | None:
    """What a request asks for and Elanus does not have yet; None where there is nothing."""
    messages = (what for name, what in _LATER_MESSAGES if request.HasField(name))
    values = (what for name, what in _LATER_VALUES if getattr(request, name))
    return next(chain(messages, values), None)


def _asked(request: milvus_pb2.SearchRequest) -> tuple[ClientSearch, int]:
    later = _later(request)
    if later is not None:
        raise NotSupported(f"{later} is not supported by this version of Elanus")
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
        settings.timezone,
        settings.time_fields,
        settings.group_by,
        settings.ignore_growing,
        settings.order_by,
        settings.profile,
    )
    return asked, settings.round_decimal


_remembered = lru_cache(maxsize=_KEPT)(_read)
