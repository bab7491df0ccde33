"""Parameters of searches and queries, which come as text in pairs.

A search's `params` pair is JSON; index parameters stand in it or beside it. What is read of a
search is remembered: a client sends the same parameters with every call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from elanus.model.errors import InvalidParameter, MissingParameter, NotSupported
from elanus.model.properties import flag
from elanus.model.timezones import check_timezone
from elanus.service.ordering import parts_of
from elanus.service.search import Bounds, GroupBy
from elanus.wire.grpc.moments import time_fields_of
from elanus.wire.grpc.pairs import from_pairs, json_object

_OWN = frozenset(
    {
        "anns_field", "topk", "limit", "offset", "metric_type", "round_decimal", "params", "ignore_growing", "iterator",
        "collection_id", "search_iter_v2", "search_iter_batch_size", "search_iter_last_bound", "search_iter_id",
        "group_by_field", "group_by_fields", "order_by_fields",
        "group_size", "strict_group_size", "json_path", "json_type", "strict_cast",
        "radius", "range_filter", "timezone", "time_fields", "cluster_id",
        "page_retain_order", "hints", "reduce_stop_for_best", "guarantee_timestamp",
        "profile",
    }
)  # fmt: skip
"""Names that are not those of index parameters."""

_HINTS = frozenset({"", "iterative_filter", "disable"})
"""How Milvus is to apply a filter. Here that is decided by what costs least, and the answer is the same either way."""


@dataclass(frozen=True, slots=True)
class SearchIterator:
    """The second protocol of search iterators: a page of `batch_rows` behind `last_bound`."""

    batch_rows: int
    last_bound: float | None


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """The parameters of a search, read. `field` empty is the only vector field, `round_decimal` -1 is off."""

    field: str
    limit: int
    offset: int
    metric: str | None
    round_decimal: int
    index_params: Mapping[str, Any]
    bounds: Bounds | None
    is_iterator: bool
    iterator: SearchIterator | None
    collection_id: int | None
    timezone: str | None
    time_fields: tuple[str, ...]
    group_by: GroupBy | None
    ignore_growing: bool
    order_by: tuple[str, ...]
    profile: bool


@dataclass(frozen=True, slots=True)
class QuerySettings:
    limit: int | None
    offset: int
    is_iterator: bool
    collection_id: int | None
    timezone: str | None
    time_fields: tuple[str, ...]
    ignore_growing: bool
    order_by: tuple[str, ...]
    profile: bool


@lru_cache(maxsize=1024)
def search_settings(pairs: tuple[tuple[str, str], ...]) -> SearchSettings:
    """Raises `InvalidParameter`, `MissingParameter` where there is no limit, `NotSupported`."""
    given: dict[str, Any] = dict(pairs)
    inner = json_object("search params", given.get("params", ""))
    limit = given.get("topk", given.get("limit"))
    if limit is None:
        raise MissingParameter("topk is required: say how many hits a search is to return")
    decimals = whole("round_decimal", given.get("round_decimal", "-1"))
    if decimals != -1 and not 0 <= decimals <= 6:
        raise InvalidParameter(f"round_decimal [{decimals}] is invalid, should be -1 or an integer in range [0, 6]")
    hints = str(given.get("hints") or inner.get("hints") or "")
    if hints not in _HINTS:
        raise InvalidParameter(f"hints: {hints} not supported: choose iterative_filter or disable")
    index_params = {name: value for name, value in {**given, **inner}.items() if name not in _OWN}
    return SearchSettings(
        field=given.get("anns_field", ""),
        limit=whole("topk", limit),
        offset=whole("offset", given.get("offset", inner.get("offset", "0"))),
        metric=given.get("metric_type") or inner.get("metric_type") or None,
        round_decimal=decimals,
        index_params=MappingProxyType(index_params),
        bounds=_bounds(given, inner),
        is_iterator=truth(given.get("iterator", "")),
        iterator=_iterator(given),
        collection_id=_collection_id(given),
        timezone=_timezone(given),
        time_fields=time_fields_of(given.get("time_fields", "")),
        group_by=_groups(given),
        ignore_growing=_ignores_growing(given, inner),
        order_by=parts_of(given.get("order_by_fields", "")),
        profile=truth(str(inner.get("profile", given.get("profile", "")))),
    )


def query_settings(pairs: Any) -> QuerySettings:
    """Raises `InvalidParameter`, `NotSupported`."""
    given = from_pairs(pairs)
    for name in ("group_by_fields", "query_group_by_fields"):
        if given.get(name):
            raise NotSupported(f"query parameter {name} is not supported by this version of Elanus")
    limit = given.get("limit")
    return QuerySettings(
        limit=None if limit is None or whole("limit", limit) == -1 else whole("limit", limit),
        offset=whole("offset", given.get("offset", "0")),
        is_iterator=truth(given.get("iterator", "")),
        collection_id=_collection_id(given),
        timezone=_timezone(given),
        time_fields=time_fields_of(given.get("time_fields", "")),
        ignore_growing=_ignores_growing(given, {}),
        order_by=parts_of(given.get("order_by_fields", "")),
        profile=truth(given.get("profile", "")),
    )


def whole(name: str, value: Any) -> int:
    """The whole number that `value` is or says. Raises `InvalidParameter`."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InvalidParameter(f"{name} [{value}] is invalid, it should be an integer") from None


def truth(text: str) -> bool:
    return text.lower() == "true"


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise InvalidParameter(f"{name} [{value}] is invalid, it should be a number")
    return number


def _bounds(given: Mapping[str, Any], inner: Mapping[str, Any]) -> Bounds | None:
    radius, limit = (inner.get(name, given.get(name)) for name in ("radius", "range_filter"))
    if radius is None and limit is None:
        return None
    return Bounds(
        None if radius is None else _number("radius", radius), None if limit is None else _number("range_filter", limit)
    )


def _ignores_growing(given: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    """Whether rows that are in no segment yet are to be left out. Raises `InvalidParameter` for what is no truth."""
    text = str(given.get("ignore_growing", inner.get("ignore_growing", "false")))
    ignores = flag(text)
    if ignores is None:
        raise InvalidParameter(f"parse ignore growing field failed: {text} is neither true nor false")
    return ignores


def _groups(given: Mapping[str, Any]) -> GroupBy | None:
    """What hits are grouped by. Groups are always full, so it does not matter whether that is asked for (strict)."""
    one, several = str(given.get("group_by_field", "")).strip(), str(given.get("group_by_fields", "")).split(",")
    fields = (one,) if one else tuple(name.strip() for name in several if name.strip())
    if not fields:
        return None
    return GroupBy(
        fields,
        whole("group_size", given.get("group_size", "1")),
        given.get("json_path", ""),
        given.get("json_type", ""),
        truth(given.get("strict_cast", "")),
    )


def _collection_id(given: Mapping[str, Any]) -> int | None:
    """The collection that an iterator began with; clients send it with every page, and 0 where they do not know it."""
    return whole("collection_id", given.get("collection_id") or "0") or None


def _timezone(given: Mapping[str, Any]) -> str | None:
    """The time zone that a read names for itself. Raises `InvalidParameter`."""
    name = given.get("timezone") or None
    if name is not None:
        check_timezone(name)
    return name


def _iterator(given: Mapping[str, Any]) -> SearchIterator | None:
    if not truth(given.get("search_iter_v2", "")):
        return None
    size = given.get("search_iter_batch_size")
    if size is None:
        raise MissingParameter("search_iter_batch_size is required by a search iterator")
    bound = given.get("search_iter_last_bound")
    return SearchIterator(
        whole("search_iter_batch_size", size), None if bound is None else _number("search_iter_last_bound", bound)
    )
