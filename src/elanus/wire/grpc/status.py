"""Errors as the protocol says them: Milvus's code, and the older code that some clients still look at."""

from __future__ import annotations

from functools import cache
from typing import Any

from pymilvus.grpc_gen import common_pb2

from elanus.model.errors import (
    AliasExists,
    AliasNameTaken,
    AliasNotFound,
    CollectionLimit,
    CollectionLoaded,
    CollectionNotFound,
    DatabaseLimit,
    DatabaseNotFound,
    ElanusError,
    IllegalSchema,
    IndexExists,
    InvalidDatabaseName,
    InvalidParameter,
    PartitionNotFound,
    SchemaOutdated,
    VectorClusteringKey,
)

INTERNAL = 5
"""Milvus's code for what should not happen."""

_OLD_CODES: dict[int, int] = {
    1: common_pb2.NotReadyServe,
    3: common_pb2.InsufficientMemoryToLoad,
    8: common_pb2.RateLimit,
    9: common_pb2.ForceDeny,
    100: common_pb2.CollectionNotExists,
    109: common_pb2.SchemaMismatch,
    200: common_pb2.MetaFailed,
    700: common_pb2.IndexNotExist,
    1100: common_pb2.IllegalArgument,
    1101: common_pb2.IllegalArgument,
    1102: common_pb2.IllegalArgument,
}

_STATUS_FIELDS = ("status", "alter_status")

_INVALID = "invalid parameter"
"""What Milvus ends the reasons of that code with; clients and their tests look for it."""

_CALLERS_FAULT = (
    InvalidParameter,
    CollectionNotFound,
    CollectionLimit,
    CollectionLoaded,
    IllegalSchema,
    IndexExists,
    VectorClusteringKey,
    SchemaOutdated,
    PartitionNotFound,
    DatabaseNotFound,
    DatabaseLimit,
    InvalidDatabaseName,
    AliasNotFound,
    AliasNameTaken,
    AliasExists,
)
"""Errors that the same request meets again for ever."""


def succeed(response: Any) -> None:
    """Have `response` hold a Status, one that says success: clients read it without asking whether it is there."""
    status_of(response).SetInParent()


def fail(status: Any, error: ElanusError) -> None:
    """Write `error` into a Status message."""
    reason = error.message
    if error.code == InvalidParameter.code and _INVALID not in reason:
        reason = f"{reason}: {_INVALID}"
    set_status(status, error.code, reason, retriable=error.retriable)
    if isinstance(error, _CALLERS_FAULT):
        status.extra_info["is_input_error"] = "true"
        status.retriable = False


def set_status(status: Any, code: int, reason: str, *, retriable: bool = False) -> None:
    status.code = code
    status.error_code = _OLD_CODES.get(code, common_pb2.UnexpectedError)
    status.reason = reason
    status.detail = reason
    status.retriable = retriable


def has_status(response: type[Any]) -> bool:
    """Whether a kind of response can say that a call failed."""
    return response is common_pb2.Status or bool(_status_field(response.DESCRIPTOR))


def status_of(response: Any) -> Any:
    """The Status of a response of which `has_status` holds: a field of it, or the response itself."""
    name = _status_field(response.DESCRIPTOR)
    return getattr(response, name) if name else response


@cache
def _status_field(response: Any) -> str:
    return next((name for name in _STATUS_FIELDS if name in response.fields_by_name), "")
