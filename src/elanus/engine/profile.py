"""Profiles: a read that is done, and what happened in it; and how a query would be done.

What a read without a profile does is not touched by any of this: a profile does the same steps one by one and looks at
the clock between them. It begins with nothing worked out before, so that a filter is run, whatever was asked lately.

A search looks into all units in one compiled call (decision 0016). What one unit takes is measured afterwards, by
asking it alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np
import pyarrow as pa

from elanus.engine import masks
from elanus.engine.full_text import weighed
from elanus.engine.planner import Plan, SearchRequest, Step, explained
from elanus.engine.query import QueryRequest, count, fetch, find, foreseen, key_values, select, select_vectors
from elanus.engine.search import SearchResult, answer, prepare, run_step
from elanus.engine.snapshot import Snapshot, Unit, source_of
from elanus.engine.trust.aim import aimed_at
from elanus.engine.trust.ladder import TARGET_RECALL
from elanus.expr.bind import BoundFilter
from elanus.expr.prune import share
from elanus.segment.clustering import Span
from elanus.segment.sealed import SealedView
from elanus.vector.cost import Route

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SearchedUnit:
    """What a search did in a sealed segment or a growing chunk.

    `passing` of its `rows` take part; `estimated` is the share of them that statistics foresaw, None where there are
    none. `route` is how it was searched and `width` how closely (`ef` or `nprobe`, 0 for a scan). `candidates` are the
    rows, for each query, whose exact score was worked out: all that pass in a scan, the best by codes otherwise; `hits`
    those of the answers that are from here. Times are in microseconds: `filter_us` to find out what passes, `search_us`
    for all queries, by this unit alone, and `expected_us` what the planner thought of one of them.
    """

    source: str
    rows: int
    passing: int
    selectivity: float
    estimated: float | None
    route: str
    width: int
    candidates: int
    hits: int
    expected_us: float
    filter_us: float
    search_us: float

    def __str__(self) -> str:
        width = f" {self.width}" if self.width else ""
        shares = _shares(self.selectivity, self.estimated)
        return (
            f"{self.source}: {self.route}{width}, {self.passing} of {self.rows} rows pass ({shares}), "
            f"{self.candidates} candidates, {self.hits} hits; filter {self.filter_us:.0f} µs, search "
            f"{self.search_us:.0f} µs ({self.expected_us:.0f} expected for a query)"
        )


@dataclass(frozen=True, slots=True)
class SearchProfile:
    """What happened in a search for `k` hits for each of `queries`. `str(profile)` is meant to be read.

    `stages` are microseconds: `plan` (the filter in it), `search` (all units and the merge), `fetch`. `left_out` are
    the segments that statistics left out, and `indexes` the scalar indexes that answered some of the filter.
    """

    metric: str
    kind: str
    k: int
    queries: int
    filter: str
    hits: int
    stages: Mapping[str, float]
    segments: tuple[SearchedUnit, ...]
    left_out: tuple[str, ...]
    indexes: tuple[str, ...]

    def __str__(self) -> str:
        head = (
            f"search for {self.k} by {self.metric}, {self.kind or 'no index'}, {self.queries} queries: {self.hits} hits"
        )
        return _told(head, self.filter, self.indexes, self.stages, self.segments, self.left_out)


@dataclass(frozen=True, slots=True)
class ReadUnit:
    """What a query does in a sealed segment or a growing chunk: `matching` of its `rows` are found, as `way` says.

    `estimated` is the share that statistics foresee, None where there are none; `filter_us` is how long it took.
    """

    source: str
    rows: int
    matching: int
    selectivity: float
    estimated: float | None
    way: str
    filter_us: float

    def __str__(self) -> str:
        shares = _shares(self.selectivity, self.estimated)
        return (
            f"{self.source}: {self.way}, {self.matching} of {self.rows} rows match ({shares}), {self.filter_us:.0f} µs"
        )


@dataclass(frozen=True, slots=True)
class QueryProfile:
    """How a query or a count is done. `str(profile)` is meant to be read.

    Without `stages` it is a plan: the filter was run, nothing else. They are microseconds: `filter`, and of queries
    `order` (the first rows by key, copies dropped) and `fetch`. `found` rows are returned, or were counted.
    """

    kind: str
    filter: str
    found: int
    stages: Mapping[str, float]
    segments: tuple[ReadUnit, ...]
    indexes: tuple[str, ...]

    def __str__(self) -> str:
        return _told(f"{self.kind}: {self.found} rows", self.filter, self.indexes, self.stages, self.segments, ())


def _shares(real: float, estimated: float | None) -> str:
    return f"{real:.2%}" if estimated is None else f"{real:.2%}, {estimated:.2%} foreseen"


def _told(
    head: str,
    condition: str,
    indexes: Sequence[str],
    stages: Mapping[str, float],
    units: Sequence[object],
    left_out: Sequence[str],
) -> str:
    lines = [head]
    if condition:
        lines.append(f"  filter {condition}{', asking ' + ', '.join(indexes) if indexes else ''}")
    if stages:
        lines.append("  " + ", ".join(f"{name} {us:.0f} µs" for name, us in stages.items()))
    lines += [f"  {unit}" for unit in units]
    lines += [f"  {source}: left out, by its statistics" for source in left_out]
    return "\n".join(lines)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` gives, and the microseconds it took."""
    began = perf_counter()
    made = work()
    return made, 1e6 * (perf_counter() - began)


# --- searches ------------------------------------------------------------------------------------------------------


def profile_search(snapshot: Snapshot, request: SearchRequest) -> tuple[SearchResult, SearchProfile]:
    """Answer `request` as `search` does, and say what happened. Raises what `search` raises."""
    fresh = snapshot.aside()
    request = weighed(fresh, request)
    wants = TARGET_RECALL in request.params
    asked, plan_us = _timed(lambda: aimed_at(fresh, request).request if wants else request)
    _, more_us = _timed(lambda: prepare(fresh, asked))
    ((found, keys, scores, offsets), made), search_us = _timed(lambda: answer(fresh, request))
    stages = {"plan": plan_us + more_us, "search": search_us}
    fields = None
    if request.output_fields:
        fields, stages["fetch"] = _timed(lambda: fetch(fresh, found, request.output_fields))
    hits = np.bincount(found.unit_of_each, minlength=len(fresh.units))
    told = explained(fresh, asked)
    profile = SearchProfile(
        metric=made.metric.value,
        kind=made.kind,
        k=made.k,
        queries=len(request.queries),
        filter=str(request.condition) if request.condition is not None else "",
        hits=len(scores),
        stages=stages,
        segments=tuple(_searched(fresh, asked, made, step, int(hits[step.unit])) for step in made.steps),
        left_out=tuple(source_of(unit) for unit in told.pruned),
        indexes=told.indexes,
    )
    return SearchResult(keys if keys is not None else key_values(fresh, found), scores, offsets, fields), profile


def _searched(snapshot: Snapshot, request: SearchRequest, made: Plan, step: Step, hits: int) -> SearchedUnit:
    unit, how = snapshot.units[step.unit], step.strategy
    wanted = snapshot.partition_ids(request.partitions, request.condition)
    _, filter_us = _timed(lambda: select_vectors(snapshot, unit, request.condition, wanted, request.vector_field))
    _, search_us = _timed(lambda: run_step(snapshot, request, made, step, min(made.k, step.passing)))
    return SearchedUnit(
        source=step.source,
        rows=step.rows,
        passing=step.passing,
        selectivity=step.passing / step.rows,
        estimated=_estimated(unit, request.condition),
        route=how.route.value,
        width=how.ef or how.nprobe,
        candidates=_candidates(step, made),
        hits=hits,
        expected_us=how.microseconds,
        filter_us=filter_us,
        search_us=search_us,
    )


def _candidates(step: Step, made: Plan) -> int:
    how = step.strategy
    if step.interim is not None:
        rest = (
            step.rows - step.interim.rows if step.mask is None else masks.count(step.mask, step.interim.rows, step.rows)
        )
        return min(step.passing, step.interim.wanted + rest)
    if how.route is Route.LISTS:
        return min(step.passing, math.ceil(step.rows * how.nprobe / made.spec.nlist))
    if how.route is Route.POSTINGS:  # and whatever its bound does not leave out
        return min(step.passing, made.k)
    return step.passing if how.route is Route.SCAN else how.ef


# --- queries -------------------------------------------------------------------------------------------------------


def explain_query(snapshot: Snapshot, condition: BoundFilter | None, partitions: Sequence[str]) -> QueryProfile:
    """How a query or a count with this filter is done. The filter is run, nothing is fetched.

    Raises `PartitionNotFound`.
    """
    units, indexes = _read(snapshot, condition, partitions)
    return QueryProfile("plan", _text(condition), sum(unit.matching for unit in units), {}, units, indexes)


def profile_query(snapshot: Snapshot, request: QueryRequest) -> tuple[pa.Table, QueryProfile]:
    """The rows that `query` gives, and what happened. Raises what `query` raises."""
    condition, partitions = request.condition, request.partitions
    units, indexes = _read(snapshot, condition, partitions)
    need = None if request.limit is None else request.offset + request.limit
    found, find_us = _timed(lambda: find(snapshot, condition, partitions, need)[request.offset : need])
    table, fetch_us = _timed(lambda: fetch(snapshot, found, request.output_fields))
    filter_us = sum(unit.filter_us for unit in units)
    stages = {"filter": filter_us, "order": max(0.0, find_us - filter_us), "fetch": fetch_us}
    return table, QueryProfile("query", _text(condition), len(found), stages, units, indexes)


def profile_count(
    snapshot: Snapshot, condition: BoundFilter | None, partitions: Sequence[str]
) -> tuple[int, QueryProfile]:
    """What `count` gives, and what happened. Raises what `count` raises."""
    units, indexes = _read(snapshot, condition, partitions)
    number, count_us = _timed(lambda: count(snapshot, condition, partitions))
    return number, QueryProfile("count", _text(condition), number, {"count": count_us}, units, indexes)


def _read(
    snapshot: Snapshot, condition: BoundFilter | None, partitions: Sequence[str]
) -> tuple[tuple[ReadUnit, ...], tuple[str, ...]]:
    """What is done with each unit, and the scalar indexes that are asked."""
    wanted = snapshot.partition_ids(partitions, condition)
    units, indexes = [], set()
    for number, unit in enumerate(snapshot.units):
        heard: set[str] = set()
        asked = unit if unit.indexed is None else replace(unit, indexed=unit.indexed.heard_by(heard))
        mask, filter_us = _timed(partial(select, snapshot, asked, condition, wanted))
        rows = unit.view.rows
        matching = rows if mask is None else masks.count(mask)
        way = _way(unit, condition, wanted, heard)
        units.append(
            ReadUnit(
                source_of(unit, number), rows, matching, matching / rows, _estimated(unit, condition), way, filter_us
            )
        )
        indexes |= heard
    return tuple(units), tuple(sorted(indexes))


def _way(unit: Unit, condition: BoundFilter | None, wanted: frozenset[int], heard: set[str]) -> str:
    """How `select` finds the rows of a unit, in words."""
    if condition is None or condition.always is True:
        return "all rows that are there"
    if condition.always is False:
        return "left out, the filter is true in no row"
    decided = foreseen(unit, condition)
    if decided is not None:
        return "all rows, by its statistics" if decided else "left out, by its statistics"
    if condition.narrowed is not None:
        return "keys looked up"
    sealed = unit.sealed
    if sealed is not None:
        if condition.tenants is not None and sealed.tenant_ranges(condition.tenants[0], wanted) is not None:
            return "runs of the partition key"
        if condition.ordered is not None and condition.clustering_key is not None:
            span = Span.of(condition.ordered[0])
            if sealed.rows_within(condition.clustering_key.id, span, wanted) is not None:
                return "runs of the clustering key"
    return f"asking {', '.join(sorted(heard))}" if heard else "reading columns"


# --- both ----------------------------------------------------------------------------------------------------------


def _estimated(unit: Unit, condition: BoundFilter | None) -> float | None:
    """The share of a unit's rows for which a filter is true, by its statistics; None where it has none."""
    if condition is None:
        return 1.0
    if not isinstance(unit.view, SealedView):
        return None
    held = share(condition.root, unit.view.statistics, unit.view.rows)
    return held if condition.sample is None else held * condition.sample


def _text(condition: BoundFilter | None) -> str:
    return str(condition) if condition is not None else ""
