"""What reads by condition ask of a picture: the same for those that answer, explain and profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elanus.engine.query import QueryRequest
from elanus.engine.snapshot import Snapshot
from elanus.expr.bind import BoundFilter
from elanus.expr.compile import compile_filter
from elanus.model.denial import Deed
from elanus.model.schema import Schema
from elanus.service import limits, output
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.service.output import EVERYTHING, Output
from elanus.service.partitions import check_unnamed
from elanus.service.timezones import timezone_of


def rows_asked(
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
) -> tuple[Snapshot, QueryRequest, Output]:
    """The picture that a query reads (`snapshot`, or the newest), what it asks of it, and what is shown.

    `timezone` None is the collection's. Raises as `query.query` does.
    """
    picture = snapshot or instance.collection(ctx, collection, Deed.READING).snapshot()
    schema = picture.manifest.schema
    zone = timezone or timezone_of(picture.manifest.properties)
    limits.check_query(limit, offset, limits.most_hits(picture.manifest.properties))
    check_unnamed(schema, partitions)
    wanted = output.resolve(schema, output_fields, zone)
    condition = condition_of(schema, expression, expression_params, zone)
    return picture, QueryRequest(condition, tuple(partitions), wanted.fields, limit, offset), wanted


def condition_asked(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    *,
    expression: str = "",
    expression_params: Mapping[str, Any] | None = None,
    partitions: Sequence[str] = (),
    snapshot: Snapshot | None = None,
    timezone: str | None = None,
) -> tuple[Snapshot, BoundFilter | None, tuple[str, ...]]:
    """The picture that a count reads (`snapshot`, or the newest), its condition and partitions.

    `timezone` None is the collection's. Raises as `query.count` does.
    """
    picture = snapshot or instance.collection(ctx, collection, Deed.READING).snapshot()
    check_unnamed(picture.manifest.schema, partitions)
    zone = timezone or timezone_of(picture.manifest.properties)
    return picture, condition_of(picture.manifest.schema, expression, expression_params, zone), tuple(partitions)


def condition_of(
    schema: Schema, expression: str, params: Mapping[str, Any] | None, timezone: str
) -> BoundFilter | None:
    """The filter, None where there is none."""
    return compile_filter(expression, schema, params, timezone) if expression and expression.strip() else None
