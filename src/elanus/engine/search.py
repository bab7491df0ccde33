"""Search: run a plan on its snapshot, merge the parts, and fetch output fields for the winners alone.

Every score that leaves here was computed from the stored vectors. `k` results are `k` distinct keys whenever so many
pass, and of equal scores those of the smallest keys, so that pages by `offset` neither overlap nor leave a gap: a part
is asked for more while what it has not shown may belong into the answer. Of what an index finds, that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.engine.batches import Queries, in_parts
from elanus.engine.full_text import weighed
from elanus.engine.masks import Rows
from elanus.engine.planner import Plan, SearchRequest, Step, plan, replanned
from elanus.engine.precedence import IN_COMPILED_CODE
from elanus.engine.query import Found, fetch, key_values
from elanus.engine.snapshot import Snapshot
from elanus.engine.trust.ladder import TARGET_RECALL
from elanus.engine.unit_ranking import answering, in_key_order
from elanus.model.layout import offsets_of
from elanus.model.types import DataType, OnDuplicateKey
from elanus.segment.sealed import SealedView

if TYPE_CHECKING:  # it loads compilers and kernels, which only searches need
    from elanus.vector.metrics import Merged
    from elanus.vector.parts import Part, Parts

Scores = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

MISSED_SHARE = 0.02
"""Of answers, those that may lack something before units are asked for more than their share: rows that are alike may
lie together."""

LEAST_EFFORT = 0.5
"""What is near may lie in any list, and be many steps away in a graph, however few rows are asked for."""

SHARE_DEVIATIONS = 4.0
"""A unit with the share s of all rows holds s k of the k nearest and, if rows are spread by chance, in one of a
thousand answers so many standard deviations more: sqrt(s (1 - s) k)."""

_NO_KEYS: npt.NDArray[np.int64] = np.empty(0, np.int64)

EXACT = 5
"""What `kernels.merge` is told of a unit that was scanned with its equal scores in the order of keys."""

MOST_TIED = 16_384
"""Rows of one unit looked at to find which of equal scores have the smallest keys. So many equal ones mean nothing."""


class SearchResult(NamedTuple):
    """The hits of all queries, one after the other: those of query `i` are `offsets[i]:offsets[i + 1]`, nearest first.

    `keys` (int64, or objects: str) and `scores` have one entry a hit; `fields` is the table of output fields, None
    where none were asked for. Hits of a grouped search come group by group, and `groups` are the values that they are
    grouped by.
    """

    keys: npt.NDArray[Any]
    scores: Scores
    offsets: Offsets
    fields: pa.Table | None
    groups: tuple[pa.Array, ...] = ()

    def of_queries(self, begin: int, end: int) -> SearchResult:
        """The hits of queries begin..end-1 alone."""
        offsets = self.offsets[begin : end + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        fields = None if self.fields is None else self.fields.slice(first, last - first)
        groups = tuple(values.slice(first, last - first) for values in self.groups)
        return SearchResult(self.keys[first:last], self.scores[first:last], offsets - first, fields, groups)


class Hits(NamedTuple):
    """As a `SearchResult`, before anything was fetched; `keys` None where they have not been looked at."""

    found: Found
    keys: npt.NDArray[np.int64] | None
    scores: Scores
    offsets: Offsets


@dataclass(slots=True)
class _Tally:
    """Of queries by one field: how many there were, and how often a unit's share was too little.

    It goes from snapshot to snapshot. Threads count in it without a lock, so it may miss a few.
    """

    queries: int = 0
    misses: int = 0

    @property
    def shares_pay(self) -> bool:
        return self.misses <= MISSED_SHARE * (self.queries + 100)


class Prepared(NamedTuple):
    """A plan, and what follows from it: whether two of its units may hold one key; what a query asks of each of its
    steps, and of all at once. `widths` are how many rows each unit has to be asked for; where `shared`, some are asked
    for fewer there.
    """

    plan: Plan
    copies: bool
    widths: list[int]
    asked: list[list[Part]] | None
    parts: Parts | None
    shared: bool
    tally: _Tally


class StepPart(NamedTuple):
    """The nearest rows of one unit: (nq, k) each, best first, row -1 where there are no more."""

    unit: int
    scores: Scores
    rows: npt.NDArray[np.int64]


def search(snapshot: Snapshot, request: SearchRequest) -> SearchResult:
    """Answer `request` on `snapshot`. Raises what `planner.plan` raises."""
    (found, keys, scores, offsets), made = answer(snapshot, weighed(snapshot, request))
    if snapshot.watch.is_open:
        snapshot.watch.offer(snapshot.manifest.schema, request, made)
    fields = fetch(snapshot, found, request.output_fields) if request.output_fields else None
    return SearchResult(keys if keys is not None else key_values(snapshot, found), scores, offsets, fields)


def answer(snapshot: Snapshot, request: SearchRequest) -> tuple[Hits, Plan]:
    """The hits of `request`, whose words are weighed, and the plan by which they were found."""
    if TARGET_RECALL in request.params:
        from elanus.engine.trust.aim import aimed

        return aimed(snapshot, request)
    prepared = prepare(snapshot, request)
    return find(snapshot, request, prepared), prepared.plan


def prepare(snapshot: Snapshot, request: SearchRequest, like: Plan | None = None) -> Prepared:
    """The plan for `request`, remembered with the snapshot: a plan depends on nothing else.

    `like` is a plan of this picture for a request that differs in parameters of the index alone.
    """
    key = (
        request.vector_field.id,
        request.limit + request.offset,
        request.offset > 0,
        request.condition,
        request.partitions,
        request.metric,
        tuple(request.params.items()),
        request.is_exact,
    )
    prepared: Prepared | None = snapshot.plans.get(key)
    if prepared is None:
        earlier: Prepared | None = snapshot.earlier_plans.get(key)
        if like is not None and (earlier is None or request.condition is not None):
            made = replanned(like, request)
        else:
            made = plan(snapshot, request, earlier.plan if earlier is not None else None)
        copies = bool(made.steps) and _copies_possible(snapshot, made.steps)
        tally: _Tally = snapshot.tallies.setdefault(request.vector_field.id, _Tally())
        widths = shares = [_width(snapshot, made, step) for step in made.steps]
        if tally.shares_pay and not request.offset:  # pages that follow another look as closely as they can
            shares = _shares(made, widths)
        asked = _asked(snapshot, request, made, shares, earlier)
        prepared = Prepared(made, copies, widths, asked, _at_once(made, asked), shares != widths, tally)
        drawn = request.condition is not None and request.condition.sample is not None
        if not drawn:
            snapshot.plans.keep(key, prepared, is_masked=any(step.mask is not None for step in made.steps))
    return prepared


def _shares(made: Plan, widths: Sequence[int]) -> list[int]:
    """Those of `widths` that are more than a unit holds of the nearest, cut to that and one more.

    It holds that many at most if rows are spread by chance; see `SHARE_DEVIATIONS`.
    """
    k, passing = made.k, sum(step.passing for step in made.steps)
    shares = [step.passing / passing for step in made.steps]
    most = [math.ceil(s * k + SHARE_DEVIATIONS * math.sqrt(s * (1 - s) * k)) + 1 for s in shares]
    return list(map(min, widths, most))


def _asked(
    snapshot: Snapshot, request: SearchRequest, made: Plan, widths: Sequence[int], earlier: Prepared | None = None
) -> list[list[Part]] | None:
    """What a query asks of each unit, as many rows as `widths` says; None where that cannot be said in one call.

    Of a step that was in an `earlier` plan it is what it was then, if that was as many.
    """
    if not made.steps or not _is_float(request) or any(step.keys[1] is None for step in made.steps):
        return None
    known = {}
    if earlier is not None and earlier.asked is not None:
        known = {id(step): parts for step, parts in zip(earlier.plan.steps, earlier.asked, strict=True)}
    asked = []
    for step, width in zip(made.steps, widths, strict=True):
        parts = known.get(id(step))
        if parts is None or parts[0].width != width:
            parts = _asked_of(snapshot, request, made, step, width)
        if parts is None:
            return None
        asked.append(parts)
    return asked


def _asked_of(snapshot: Snapshot, request: SearchRequest, made: Plan, step: Step, width: int) -> list[Part] | None:
    """A unit that is asked for fewer rows than `made.k` is searched less closely by as much, at most by half."""
    from elanus.vector import parts

    keys = step.keys[1]
    assert keys is not None
    if step.index is not None and isinstance(step.view, SealedView):
        vectors, sparse = step.view.sparse_vectors(request.vector_field.id)
    else:
        vectors, sparse = step.view.vectors(request.vector_field.id), None
    effort = min(1.0, max(LEAST_EFFORT, width / made.k))
    first, stop = step.run
    unit = parts.Unit(step.unit, stop, width, _more(snapshot, made, step, width), vectors, keys, step.mask)
    if step.index is not None:
        part = step.index.open().part(unit, step.strategy, made.k, effort, sparse)
        return None if part is None else [part]
    interim = step.interim
    if interim is None:
        return [parts.scan(unit, first)]
    covered = parts.lists(unit, interim, math.ceil(effort * interim.nprobe), math.ceil(effort * interim.wanted))
    return [covered] if interim.rows == step.rows else [covered, parts.scan(unit, interim.rows)]


def _at_once(made: Plan, asked: list[list[Part]] | None) -> Parts | None:
    """All that is asked, for one call."""
    if asked is None:
        return None
    from elanus.vector.parts import Parts

    return Parts.of(list(chain.from_iterable(asked)), sum(step.strategy.microseconds for step in made.steps))


def find(snapshot: Snapshot, request: SearchRequest, prepared: Prepared) -> Hits:
    """The rows that answer."""
    if not prepared.plan.steps:
        nothing = Found(np.empty(0, np.int32), np.empty(0, np.int64))
        return Hits(nothing, None, np.empty(0, np.float32), np.zeros(len(request.queries) + 1, np.int64))
    if prepared.parts is not None:
        return _in_one_call(snapshot, request, prepared, prepared.parts)
    return _by_units(snapshot, request, prepared)


def _by_units(snapshot: Snapshot, request: SearchRequest, prepared: Prepared) -> Hits:
    """The answer from what each unit gives, asked again for more until it is right."""
    made, copies = prepared.plan, prepared.copies
    steps = made.steps
    one = len(steps) == 1 and not copies
    in_order = not _is_float(request) or (one and in_key_order(snapshot.units[steps[0].unit]))
    if one and steps[0].interim is None and in_order:
        (part,) = run_step(snapshot, request, made, steps[0], min(made.k, steps[0].passing))
        return _single(part, request.offset, made.k)
    k = list(prepared.widths)
    runs = [run_step(snapshot, request, made, step, most) for step, most in zip(steps, k, strict=True)]
    if one and len(runs[0]) == 1 and not _has_equal_scores(runs[0][0]):
        return _single(runs[0][0], request.offset, made.k)
    while True:
        more = [_more(snapshot, made, step, most) for step, most in zip(steps, k, strict=True)]
        if not _is_float(request):
            more = [EXACT if some else 0 for some in more]
        hits, again = _merge(snapshot, made, runs, more, copies, request.offset)
        if not again:
            return hits
        for i in again:
            k[i] = min(4 * k[i], steps[i].passing)
            runs[i] = run_step(snapshot, request, made, steps[i], k[i])


def _in_one_call(snapshot: Snapshot, request: SearchRequest, prepared: Prepared, parts: Parts) -> Hits:
    """The answer in one call; for queries whose answer may lack something in another one, and then unit by unit."""
    made, tally = prepared.plan, prepared.tally
    tally.queries += len(request.queries)
    best = _search_parts(request.queries, prepared, parts)
    left = best.again.nonzero()[0]
    if len(left) and prepared.shared:
        tally.misses += len(left)
        whole = _at_once(made, _asked(snapshot, request, made, prepared.widths))
        assert whole is not None
        if not tally.shares_pay:
            snapshot.plans.clear()  # it is made anew
        columns: Sequence[npt.NDArray[Any]] = best
        for column, found in zip(columns, _search_parts(request.queries[left], prepared, whole), strict=True):
            column[left] = found
        left = best.again.nonzero()[0]
    if len(left) == len(request.queries):
        return _by_units(snapshot, request, prepared)
    if len(left):
        more = _by_units(snapshot, request._replace(queries=request.queries[left], offset=0), prepared)
        _put(best, left, more, more.keys if more.keys is not None else key_values(snapshot, more.found))
    return _hits_of(best, request.offset, made.k, made.steps[0].unit if len(made.steps) == 1 else None)


def _put(best: Merged, queries: Rows, hits: Hits, keys: npt.NDArray[np.int64]) -> None:
    """Replace the answers to some queries by `hits`, which are of these queries from the first place on."""
    best.filled[queries] = filled = np.diff(hits.offsets)
    at = np.zeros(best.rows.shape, np.bool_)
    at[queries] = np.arange(best.rows.shape[1]) < filled[:, None]
    best.units[at], best.rows[at] = hits.found.units, hits.found.rows
    best.keys[at], best.scores[at] = keys, hits.scores


def _search_parts(queries: Queries, prepared: Prepared, parts: Parts) -> Merged:
    """What `parts` find."""
    from elanus.vector.metrics import Merged
    from elanus.vector.parts import search

    def work(some: Queries) -> Merged:
        thread = get_ident()
        IN_COMPILED_CODE.add(thread)
        try:
            return search(prepared.plan.metric, some, parts, prepared.plan.k, distinct=prepared.copies)
        finally:
            IN_COMPILED_CODE.discard(thread)

    return work(queries) if len(queries) == 1 else Merged(*in_parts(work, queries, parts.microseconds))


def _is_settled(snapshot: Snapshot, step: Step) -> bool:
    """Whether a unit's rows of equal scores need no look at what comes behind the last of them."""
    return step.index is not None or in_key_order(snapshot.units[step.unit])


def _width(snapshot: Snapshot, made: Plan, step: Step) -> int:
    """How many rows a unit is asked for. One more than wanted shows whether scores equal to the last one go on."""
    return min(made.k if _is_settled(snapshot, step) else made.k + 1, step.passing)


def _more(snapshot: Snapshot, made: Plan, step: Step, width: int) -> int:
    """Whether a unit that was asked for `width` rows has shown all; see `kernels.merge`."""
    if width == step.passing:
        return 0
    return 1 if width >= MOST_TIED or (width >= made.k and _is_settled(snapshot, step)) else 2


def _has_equal_scores(part: StepPart) -> bool:
    return bool(((part.scores[:, 1:] == part.scores[:, :-1]) & (part.rows[:, 1:] >= 0)).any())


def _copies_possible(snapshot: Snapshot, steps: Sequence[Step]) -> bool:
    """Whether two rows of these units may hold the same key and both be visible."""
    if snapshot.manifest.on_duplicate_key is not OnDuplicateKey.KEEP:
        return False
    return len(steps) > 1 or not snapshot.units[steps[0].unit].has_unique_keys


def run_step(snapshot: Snapshot, request: SearchRequest, made: Plan, step: Step, k: int) -> list[StepPart]:
    """The nearest rows of one unit, those that interim lists cover apart from those that are scanned."""
    queries, interim, mask, us = request.queries, step.interim, step.mask, step.strategy.microseconds
    if not _is_float(request):
        work = answering(snapshot, request, made, step, k)
        return [StepPart(step.unit, *in_parts(work, queries, us))]
    vectors = snapshot.units[step.unit].view.vectors(request.vector_field.id)  # all of them are here then
    if step.index is not None:
        index = step.index.open()
        found = in_parts(lambda part: index.search(part, k, made.params, mask, step.passing), queries, us)
        return [StepPart(step.unit, *found)]
    from elanus.vector.metrics import top_k

    parts, (covered, stop) = [], step.run
    if interim is not None:
        covered = interim.rows
        parts.append(StepPart(step.unit, *in_parts(lambda part: interim.search(part, k, mask), queries, us)))
    if covered < stop:
        found = in_parts(lambda part: top_k(made.metric, part, vectors, k, mask, covered, stop), queries, us)
        parts.append(StepPart(step.unit, *found))
    return parts


def _is_float(request: SearchRequest) -> bool:
    return request.vector_field.dtype is DataType.FLOAT_VECTOR


def _single(part: StepPart, offset: int, k: int) -> Hits:
    """The answer when one unit has it all: the places from `offset` to `k` of its part that are not empty."""
    scores, rows = part.scores, part.rows
    if offset or rows.shape[1] > k:
        scores, rows = scores[:, offset:k], rows[:, offset:k]
    if len(rows) == 1:
        scores, rows = scores[0], rows[0]
        if len(rows) and rows[-1] < 0:
            filled = int(np.count_nonzero(rows >= 0))
            scores, rows = scores[:filled], rows[:filled]
        return Hits(Found(part.unit, rows), None, scores, np.array((0, len(rows))))
    full = rows >= 0
    offsets = offsets_of(full.sum(axis=1))
    return Hits(Found(part.unit, rows[full]), None, scores[full], offsets)


def _merge(
    snapshot: Snapshot, made: Plan, runs: Sequence[Sequence[StepPart]], more: Sequence[int], copies: bool, offset: int
) -> tuple[Hits, set[int]]:
    """Merge the parts of all runs by score, then key; with `copies` each key once.

    `more` says of each run whether it has shown all (see `kernels.merge`); returned with the hits are the runs of
    which more has to be seen before these are the answer.
    """
    from elanus.vector.metrics import merge

    parts: list[StepPart] = []
    run_of: list[int] = []
    table: list[tuple[int, ...]] = []
    begin = 0
    for number, run in enumerate(runs):
        step = made.steps[number]
        for part in run:
            parts.append(part)
            run_of.append(number)
            table.append((part.rows.shape[1], step.unit, more[number], step.rows, step.keys[0], begin))
            begin += part.rows.size
    rows = np.concatenate([part.rows.ravel() for part in parts])
    scores = np.concatenate([part.scores.ravel() for part in parts])
    by_number = made.steps[0].keys[1] is not None
    keys = _NO_KEYS if by_number else _text_ranks(snapshot, parts)
    nq = len(parts[0].rows)
    merged = merge(made.metric, nq, scores, rows, keys, np.array(table), made.k, distinct=copies)
    hits = _hits_of(merged, offset, made.k)
    again = {run_of[i] for i in merged.again.nonzero()[0].tolist()}
    return hits if by_number else hits._replace(keys=None), again


def _hits_of(merged: Merged, offset: int, k: int, unit: int | None = None) -> Hits:
    """The hits that are shown, query by query; all of one `unit` where it is known."""
    at, offsets = _shown(merged.filled, offset, k)
    units = merged.units[at].ravel() if unit is None else unit
    return Hits(Found(units, merged.rows[at].ravel()), merged.keys[at].ravel(), merged.scores[at].ravel(), offsets)


def _shown(filled: Rows, offset: int, k: int) -> tuple[Any, Offsets]:
    """Which places of (nq, k) hits are shown, the `filled` ones from `offset` on, and where a query's begin."""
    if len(filled) == 1:
        end = max(offset, int(filled[0]))
        return (0, slice(offset, end)), np.array((0, end - offset))
    if not offset and filled.tolist().count(k) == len(filled):
        return ..., np.arange(0, filled.size * k + 1, k)
    place = np.arange(k)
    at = (place >= offset) & (place < filled[:, None])
    return at, offsets_of(at.sum(axis=1))


def _text_ranks(snapshot: Snapshot, parts: Sequence[StepPart]) -> Rows:
    """Integers, one for each row of the parts one after the other, that compare as keys do; anything for no row."""
    keys = [
        snapshot.units[part.unit].view.key_column.take(pa.array(np.maximum(part.rows, 0).ravel())) for part in parts
    ]
    ranks: Rows = pc.rank(pa.chunked_array(keys), tiebreaker="dense").to_numpy().astype(np.int64)
    return ranks
