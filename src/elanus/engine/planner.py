"""The planner: how a search is answered, segment by segment.

`plan` is what `explain` shows and what `search` runs. Units where no row passes (a unit is a sealed
segment or a growing chunk) are left out; the others are scanned exactly where they have no index, or where so few rows
pass that scanning them costs less than the index, and go through their index under the mask of passing rows otherwise.

A search of one query alone looks less closely at a unit that can hold only a small part of the answer; what a plan says
is what is done at most (`search._shares`).

Masks are evaluated here, once, since how many rows pass decides the strategy; the cost model is `vector.cost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elanus.engine import masks
from elanus.engine.masks import Mask
from elanus.engine.query import foreseen, select, select_run, select_vectors
from elanus.engine.snapshot import IndexHandle, Place, Snapshot, Unit, source_of
from elanus.expr.bind import BoundFilter
from elanus.model.errors import InvalidParameter
from elanus.model.schema import Field
from elanus.model.types import TYPE_NAMES, DataType, Metric
from elanus.segment.view import SegmentView
from elanus.vector import cost, sparse_params
from elanus.vector.cost import Route, Strategy
from elanus.vector.payload import address
from elanus.vector.registry import IndexKind, IndexSpec, SearchParams, check_metric, search_params

if TYPE_CHECKING:
    from elanus.vector.exact import Bm25
    from elanus.vector.interim import InterimIndex
    from elanus.vector.posting_index import Postings


NO_PARAMS: Mapping[str, Any] = MappingProxyType({})


_FLAT = IndexSpec(IndexKind.FLAT)

KeysAt = tuple[int, npt.NDArray[np.int64] | None]
"""The address of a unit's keys, and the keys, which keep it valid; 0 and None where keys are text."""


class SearchRequest(NamedTuple):
    """A search of `queries` in one vector field: (nq, dim) float32, or what `vector.exact` says of other types.

    `limit` hits are returned after skipping `offset`, nearest first. `params` are search parameters of the index kind
    (`ef`, `nprobe`). `metric` None takes the index's; without an index it is the first of the field's
    (`Schema.metrics_of`). Queries of BM25 are words and how often they are said, until `full_text` says what they
    weigh. With `is_exact` every row that passes is scored.
    """

    vector_field: Field
    queries: npt.NDArray[Any]
    limit: int = 10
    offset: int = 0
    condition: BoundFilter | None = None
    partitions: tuple[str, ...] = ()
    output_fields: tuple[str, ...] = ()
    metric: Metric | None = None
    params: Mapping[str, Any] = NO_PARAMS
    scoring: Bm25 | None = None
    is_exact: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One unit's part in a plan: `passing` of its `rows` take part, as `strategy` says.

    `index` or `postings` answer for all rows, `interim` for its first `interim.rows` and a scan for the rest; without
    any of them those of `run` are scanned that `mask` lets pass.
    """

    unit: int
    source: str
    rows: int
    passing: int
    strategy: Strategy
    run: tuple[int, int]
    view: SegmentView = field(repr=False, compare=False)
    index: IndexHandle | None = field(default=None, repr=False, compare=False)
    interim: InterimIndex | None = field(default=None, repr=False, compare=False)
    mask: Mask | None = field(default=None, repr=False, compare=False)
    keys: KeysAt = field(default=(0, None), repr=False, compare=False)
    postings: Postings | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search is answered. `str(plan)` is meant to be read."""

    metric: Metric
    k: int
    kind: str
    params: SearchParams
    condition: BoundFilter | None
    steps: tuple[Step, ...]
    spec: IndexSpec = field(repr=False, compare=False)
    interims: Mapping[Place, InterimIndex] = field(repr=False, compare=False)
    """Those of the snapshot: a step for the same view holds as long as they are the same."""
    pruned: tuple[Unit, ...] = field(default=(), repr=False, compare=False)
    """The sealed segments whose statistics say that the filter is true in none of their rows; in `explained` plans."""
    indexes: tuple[str, ...] = ()
    """The scalar indexes that answer some of the filter; in `explained` plans."""

    def __str__(self) -> str:
        lines = [f"search for {self.k} by {self.metric}, {self.kind or 'no index'}"]
        if self.condition is not None:
            by = f", asking {'index' if len(self.indexes) == 1 else 'indexes'} {', '.join(self.indexes)}"
            lines.append(f"  filter {self.condition}{by if self.indexes else ''}")
        lines += [_line(step) for step in self.steps]
        lines += [f"  {source_of(unit)}: left out, {unit.view.rows} rows, by its statistics" for unit in self.pruned]
        return "\n".join(lines)


def _line(step: Step) -> str:
    how = step.strategy
    width = f" ef={how.ef}" if how.ef else f" nprobe={how.nprobe}" if how.nprobe else ""
    return f"  {step.source}: {how.route}{width}, {step.passing} of {step.rows} rows, about {how.microseconds:.0f} µs"


def plan(snapshot: Snapshot, request: SearchRequest, earlier: Plan | None = None) -> Plan:
    """Decide how `request` is answered on `snapshot`.

    `earlier` is a plan for the same request on an earlier snapshot of the same manifest; what it says of units that are
    as they were stands in the new plan as it is.
    Raises `InvalidParameter` where the metric differs from the index's or a parameter is out of range.
    """
    searched, condition = request.vector_field, request.condition
    is_float = searched.dtype is DataType.FLOAT_VECTOR
    decided = earlier if earlier is not None else _without_steps(snapshot, request)
    spec, metric, interims = decided.spec, decided.metric, snapshot.interims
    wanted = snapshot.partition_ids(request.partitions, condition)
    known_of = {step.unit: step for step in decided.steps}
    steps = []
    for number, unit in enumerate(snapshot.units):
        together = select_run(snapshot, unit, condition, wanted, searched)
        run, mask = together or (None, select_vectors(snapshot, unit, condition, wanted, searched))
        known = known_of.get(number)
        is_whole = known is not None and known.mask is None and known.passing == known.rows
        same = known is not None and run is None and mask is None and is_whole and known.view is unit.view
        if not same or interims is not decided.interims:
            index = None if request.is_exact else unit.indexes.get(searched.id)
            may_wait = index is None and is_float and spec.has_file and not request.is_exact
            interim = snapshot.interim(unit, searched.id, metric) if may_wait else None
            if not same or known is None or known.interim is not interim:
                file = None if request.is_exact else unit.postings.get(searched.id)
                postings = None if file is None else file.open()
                nulls = unit.view.column(searched.id).null_count if index is not None and searched.nullable else 0
                known = _step(
                    number, unit, run, mask, index, interim, postings, spec, decided, searched.dim or 0, nulls
                )
        if known is not None:
            steps.append(known)
    return Plan(metric, decided.k, decided.kind, decided.params, decided.condition, tuple(steps), spec, interims)


def replanned(made: Plan, request: SearchRequest) -> Plan:
    """`made` with the parameters of `request`, or without indexes: which rows pass is not worked out again.

    `made` has to be of parameters that look less closely, so that what it scans is scanned here, too.
    """
    params = search_params(made.spec, request.params, made.k)
    return replace(made, params=params, steps=tuple(_restepped(step, made, params, request) for step in made.steps))


def _restepped(step: Step, made: Plan, params: SearchParams, request: SearchRequest) -> Step:
    searched = request.vector_field
    dim = searched.dim or 0
    if request.is_exact and step.strategy.route is not Route.SCAN:
        scan = Strategy(Route.SCAN, microseconds=cost.scan_us(step.rows, step.passing, dim))
        return replace(step, strategy=scan, index=None, interim=None, postings=None)
    if step.index is None:
        return step
    nulls = step.view.column(searched.id).null_count if searched.nullable else 0
    strategy = cost.choose(made.spec, step.rows - nulls, step.passing, made.k, params, dim)
    return replace(step, strategy=strategy, index=None if strategy.route is Route.SCAN else step.index)


def explained(snapshot: Snapshot, request: SearchRequest) -> Plan:
    """`plan`, with what only a reader wants to know."""
    condition, wanted = request.condition, snapshot.partition_ids(request.partitions, request.condition)
    heard: set[str] = set()
    for unit in snapshot.units:
        if unit.indexed is not None:
            select(snapshot, replace(unit, indexed=unit.indexed.heard_by(heard)), condition, wanted)
    pruned = [unit for unit in snapshot.units if condition is not None and foreseen(unit, condition) is False]
    return replace(plan(snapshot, request), pruned=tuple(pruned), indexes=tuple(sorted(heard)))


def _without_steps(snapshot: Snapshot, request: SearchRequest) -> Plan:
    """What is decided for all units together."""
    definition = snapshot.manifest.index_of(request.vector_field.id)
    metric = metric_of(snapshot, request)
    spec = definition.spec if definition is not None else _FLAT
    k = request.limit + request.offset
    if request.vector_field.dtype is DataType.SPARSE_FLOAT_VECTOR:
        sparse_params.check_search(request.params)
        params = SearchParams()
    else:
        params = search_params(spec, request.params, k)
    kind = definition.kind if definition is not None else ""
    return Plan(metric, k, kind, params, request.condition, (), spec, snapshot.interims)


def _step(
    number: int,
    unit: Unit,
    run: tuple[int, int] | None,
    mask: Mask | None,
    index: IndexHandle | None,
    interim: InterimIndex | None,
    postings: Postings | None,
    spec: IndexSpec,
    decided: Plan,
    dim: int,
    nulls: int,
) -> Step | None:
    """What is done with a unit, whose index leaves out `nulls`; None where none of its rows takes part."""
    rows = unit.view.rows
    start, stop = run or (0, rows)
    passing = stop - start if mask is None else masks.count(mask, start, stop)
    if not passing:
        return None
    if interim is not None:
        strategy = cost.choose_interim(interim.rows, rows, passing, dim)
    elif postings is not None:
        strategy = cost.choose_postings(stop - start, passing, postings.row_pairs, postings.met)
    else:
        strategy = cost.choose(
            spec if index is not None else _FLAT, rows - nulls, passing, decided.k, decided.params, dim
        )
    if run is not None:
        scan_us = strategy.microseconds if postings is not None else cost.scan_us(stop - start, passing, dim)
        if strategy.route is Route.SCAN or scan_us < strategy.microseconds:
            strategy = Strategy(Route.SCAN, microseconds=scan_us)
        else:  # the others look at any row
            mask, start, stop = masks.both(mask, masks.from_ranges([run], rows)), 0, rows
    return Step(
        number,
        source_of(unit, number),
        rows,
        passing,
        strategy,
        (start, stop),
        unit.view,
        None if strategy.route is Route.SCAN else index,
        interim if strategy.route is Route.INTERIM else None,
        mask if passing < stop - start else None,
        _keys_at(unit),
        postings if strategy.route is Route.POSTINGS else None,
    )


def _keys_at(unit: Unit) -> KeysAt:
    numbers = unit.view.key_numbers
    return (0, None) if numbers is None else (address(numbers), numbers)


def metric_of(snapshot: Snapshot, request: SearchRequest) -> Metric:
    """The metric to compare by: that of the index, and a search may not name another; else one that the type has."""
    definition = snapshot.manifest.index_of(request.vector_field.id)
    if definition is None:
        metrics = snapshot.manifest.schema.metrics_of(request.vector_field)
        metric = request.metric or metrics[0]
        if metric not in metrics:
            name = TYPE_NAMES[request.vector_field.dtype]
            raise InvalidParameter(
                f"metric type not match: {name} is not compared by {metric}: choose {', '.join(metrics)}"
            )
        return metric
    check_metric(request.metric, definition.vector_metric)
    return definition.vector_metric
