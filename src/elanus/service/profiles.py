"""Profiles of reads: the answer, and what happened until it was there (see `engine.profile`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow as pa

from elanus.engine import profile as profiles
from elanus.engine.profile import QueryProfile, SearchProfile
from elanus.service import output
from elanus.service.context import RequestContext
from elanus.service.filters import condition_asked, rows_asked
from elanus.service.instance import Instance
from elanus.service.search import asked_of

__all__ = ["QueryProfile", "SearchProfile", "count", "explain_query", "query", "search"]


def search(ctx: RequestContext, instance: Instance, collection: str, queries: Any, **asked: Any) -> SearchProfile:
    """What happens in `search` with the same arguments. Raises as it does."""
    return profiles.profile_search(*asked_of(ctx, instance, collection, queries, **asked))[1]


class ProfiledRows(NamedTuple):
    table: pa.Table
    profile: QueryProfile


def query(ctx: RequestContext, instance: Instance, collection: str, **asked: Any) -> ProfiledRows:
    """`query` with the same arguments, and what happened. Raises as it does."""
    picture, request, wanted = rows_asked(ctx, instance, collection, **asked)
    table, profile = profiles.profile_query(picture, request)
    return ProfiledRows(output.cut(table, wanted), profile)


def count(ctx: RequestContext, instance: Instance, collection: str, **asked: Any) -> tuple[int, QueryProfile]:
    """`count` with the same arguments, and what happened. Raises as it does."""
    return profiles.profile_count(*condition_asked(ctx, instance, collection, **asked))


def explain_query(ctx: RequestContext, instance: Instance, collection: str, **asked: Any) -> QueryProfile:
    """How `query` and `count` with the same arguments are done. Raises as they do."""
    return profiles.explain_query(*condition_asked(ctx, instance, collection, **asked))
