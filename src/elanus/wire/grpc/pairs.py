"""Key-value pairs, in which the protocol carries properties and parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pymilvus.grpc_gen import common_pb2


def from_pairs(pairs: Iterable[Any]) -> dict[str, str]:
    return {pair.key: pair.value for pair in pairs}


def to_pairs(values: Mapping[str, Any]) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in values.items()]
