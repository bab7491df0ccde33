"""What a collection tells of its reads: how they are answered, what happened in them, and what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elanus.model.errors import InvalidParameter
from elanus.service import profiles, recall, search
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.service.profiles import QueryProfile, SearchProfile
from elanus.service.query import EVERYTHING
from elanus.service.recall import RecallReport
from elanus.service.search import Keys, Plan


class Insight:
    """The part of a `Collection` that says how it works."""

    def __init__(self, instance: Instance, ctx: RequestContext, name: str) -> None:
        self._instance = instance
        self._ctx = ctx
        self.name = name

    def explain(
        self,
        vectors: Any = None,
        *,
        ids: Any = None,
        limit: int = 10,
        offset: int = 0,
        filter: str = "",  # noqa: A002
        filter_params: Mapping[str, Any] | None = None,
        partitions: Sequence[str] = (),
        field: str | None = None,
        metric: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Plan:
        """How `search` with the same arguments would be answered now: per segment, by what, over how many rows.

        `print` it. Raises as `search` does.
        """
        return search.explain(
            self._ctx,
            self._instance,
            self.name,
            queries_of(vectors, ids),
            field=field,
            limit=limit,
            offset=offset,
            expression=filter,
            expression_params=filter_params,
            partitions=partitions,
            metric=metric,
            params=params,
        )

    def profile(
        self,
        vectors: Any = None,
        *,
        ids: Any = None,
        limit: int = 10,
        offset: int = 0,
        filter: str = "",  # noqa: A002
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] = (),
        partitions: Sequence[str] = (),
        field: str | None = None,
        metric: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> SearchProfile:
        """What happens in `search` with the same arguments: it is done, and timed, per stage and segment. `print` it.

        Raises as `search` does.
        """
        return profiles.search(
            self._ctx,
            self._instance,
            self.name,
            queries_of(vectors, ids),
            field=field,
            limit=limit,
            offset=offset,
            expression=filter,
            expression_params=filter_params,
            output_fields=output_fields,
            partitions=partitions,
            metric=metric,
            params=params,
        )

    def explain_query(
        self,
        filter: str = "",  # noqa: A002
        *,
        filter_params: Mapping[str, Any] | None = None,
        partitions: Sequence[str] = (),
    ) -> QueryProfile:
        """How `query` and `count` with this filter find their rows: per segment, by what, how many. `print` it.

        The filter is run, nothing is fetched. Raises as `query` does.
        """
        return profiles.explain_query(
            self._ctx,
            self._instance,
            self.name,
            expression=filter,
            expression_params=filter_params,
            partitions=partitions,
        )

    def profile_query(
        self,
        filter: str = "",  # noqa: A002
        *,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] = EVERYTHING,
        limit: int | None = None,
        offset: int = 0,
        partitions: Sequence[str] = (),
    ) -> QueryProfile:
        """What happens in `query` with the same arguments: it is done, and timed. Raises as `query` does."""
        return profiles.query(
            self._ctx,
            self._instance,
            self.name,
            expression=filter,
            expression_params=filter_params,
            output_fields=output_fields,
            limit=limit,
            offset=offset,
            partitions=partitions,
        ).profile

    def profile_count(
        self,
        filter: str = "",  # noqa: A002
        *,
        filter_params: Mapping[str, Any] | None = None,
        partitions: Sequence[str] = (),
    ) -> QueryProfile:
        """What happens in `count` with the same arguments: it is done, and timed. Raises as `count` does."""
        return profiles.count(
            self._ctx,
            self._instance,
            self.name,
            expression=filter,
            expression_params=filter_params,
            partitions=partitions,
        )[1]

    def recall_report(self, wanted: float = 0.95) -> RecallReport:
        """What live searches have found, beside an exact scan, and what to raise for a recall that is `wanted`.

        A share of them is measured in the background, within `Settings.recall_cpu_ms`. By field, index, number of hits
        and class of filter; `print` it. A search with `params={"target_recall": 0.95}` does what it says by itself.
        Raises `InvalidParameter` unless 0 < `wanted` <= 1.
        """
        return recall.recall_report(self._ctx, self._instance, self.name, wanted)

    def calibrate(
        self,
        vectors: Any = None,
        *,
        limit: int = 10,
        filter: str = "",  # noqa: A002
        filter_params: Mapping[str, Any] | None = None,
        partitions: Sequence[str] = (),
        field: str | None = None,
    ) -> RecallReport:
        """Measure what such searches need now, instead of learning it from live ones; returns the new report.

        `vectors` are at most 256 queries like those to come, as `search` takes them; without any, rows are drawn, which
        are easier to find than most queries. Takes an exact scan for each. Raises as `search` does.
        """
        return recall.calibrate(
            self._ctx,
            self._instance,
            self.name,
            vectors,
            field=field,
            limit=limit,
            expression=filter,
            expression_params=filter_params,
            partitions=partitions,
        )


def queries_of(vectors: Any, ids: Any) -> Any:
    """What is searched for: vectors or keys. Raises `InvalidParameter` unless it is one of the two."""
    if (vectors is None) == (ids is None):
        both = "" if ids is None else ", not both"
        raise InvalidParameter(f"Either ids or vectors must be provided{both}")
    return vectors if ids is None else Keys(ids)
