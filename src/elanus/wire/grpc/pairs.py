"""Key-value pairs, in which the protocol carries properties and parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from pymilvus.grpc_gen import common_pb2

from elanus.model.errors import InvalidParameter


def from_pairs(pairs: Iterable[Any]) -> dict[str, str]:
    return {pair.key: pair.value for pair in pairs}


def json_object(what: str, text: str) -> dict[str, Any]:
    """The parameters in `text`, a JSON object; none where it is empty. Raises `InvalidParameter`, naming `what`."""
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InvalidParameter(f"{what} are a JSON object; got {text[:100]}")
    return found


def to_pairs(values: Mapping[str, Any]) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in values.items()]
