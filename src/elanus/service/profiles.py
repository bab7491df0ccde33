"""Profiles of reads: the answer, and what happened until it was there (see `engine.profile`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from elanus.engine import profile as profiles
from elanus.engine.profile import QueryProfile, SearchProfile
from elanus.engine.query import QueryRequest
from elanus.engine.snapshot import Snapshot
from elanus.expr.bind import BoundFilter
from elanus.model.denial import Deed
from elanus.service import limits, output
from elanus.service.context import RequestContext
from elanus.service.filters import condition_of
from elanus.service.instance import Instance
from elanus.service.output import EVERYTHING
from elanus.service.partitions import check_unnamed
from elanus.service.search import asked_of
from elanus.service.timezones import timezone_of

__all__ = ["QueryProfile", "SearchProfile", "count", "explain_query", "query", "search"]


def search(ctx: RequestContext, instance: Instance, collection: str, queries: Any, **asked: Any) -> SearchProfile:
    """What happens in `search` with the same arguments. Raises as it does."""
    return profiles.profile_search(*asked_of(ctx, instance, collection, queries, **asked))[1]


class ProfiledRows(NamedTuple):
    table: pa.Table
    profile: QueryProfile


def query(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    *,
    expression: str = "",
    expression_params: Mapping[str, Any] | None = None,
    output_fields: Sequence[str] = EVERYTHING,
    limit: int | None = None,
    offset: int = 0,
    partitions: Sequence[str] = (),
    snapshot: Snapshot | None = None,
    timezone: str | None = None,
) -> ProfiledRows:
    """`query` with the same arguments, and what happened. Raises as it does."""
    picture, condition = _asked(
        ctx, instance, collection, expression, expression_params, partitions, snapshot, timezone
    )
    schema, zone = picture.manifest.schema, timezone or timezone_of(picture.manifest.properties)
    limits.check_query(limit, offset, limits.most_hits(picture.manifest.properties))
    wanted = output.resolve(schema, output_fields, zone)
    request = QueryRequest(condition, tuple(partitions), wanted.fields, limit, offset)
    table, profile = profiles.profile_query(picture, request)
    return ProfiledRows(output.cut(table, wanted), profile)


def count(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    *,
    expression: str = "",
    expression_params: Mapping[str, Any] | None = None,
    partitions: Sequence[str] = (),
    snapshot: Snapshot | None = None,
    timezone: str | None = None,
) -> tuple[int, QueryProfile]:
    """`count` with the same arguments, and what happened. Raises as it does."""
    picture, condition = _asked(
        ctx, instance, collection, expression, expression_params, partitions, snapshot, timezone
    )
    return profiles.profile_count(picture, condition, tuple(partitions))


def explain_query(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    *,
    expression: str = "",
    expression_params: Mapping[str, Any] | None = None,
    partitions: Sequence[str] = (),
) -> QueryProfile:
    """How `query` and `count` with the same arguments are done. Raises as they do."""
    picture, condition = _asked(ctx, instance, collection, expression, expression_params, partitions, None, None)
    return profiles.explain_query(picture, condition, tuple(partitions))


def _asked(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    expression: str,
    expression_params: Mapping[str, Any] | None,
    partitions: Sequence[str],
    snapshot: Snapshot | None,
    timezone: str | None,
) -> tuple[Snapshot, BoundFilter | None]:
    picture = snapshot or instance.collection(ctx, collection, Deed.READING).snapshot()
    check_unnamed(picture.manifest.schema, partitions)
    zone = timezone or timezone_of(picture.manifest.properties)
    return picture, condition_of(picture.manifest.schema, expression, expression_params, zone)
