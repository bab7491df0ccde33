"""Search: run a plan on its snapshot, merge the parts, and fetch output fields for the winners alone.

Every score that leaves here was computed from the stored vectors. `k` results are `k` distinct keys whenever so many
pass, and of equal scores those of the smallest keys, so that pages by `offset` neither overlap nor leave a gap: a part
is asked for more while what it has not shown may belong into the answer. Of what an index finds, that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.engine.masks import Rows
from elanus.engine.planner import Plan, SearchRequest, Step, plan
from elanus.engine.query import Found, fetch, key_values, keys_of
from elanus.engine.snapshot import Snapshot, Unit
from elanus.model.types import Metric, OnDuplicateKey

Scores = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

PLANS_KEPT = 64
"""Plans remembered with a snapshot; each may hold a mask a unit."""

MOST_TIED = 16_384
"""Rows of one unit looked at to find which of equal scores have the smallest keys. So many equal ones mean nothing."""


class SearchResult(NamedTuple):
    """The hits of all queries, one after the other: those of query `i` are `offsets[i]:offsets[i + 1]`, nearest first.

    `keys` (int64, or objects: str) and `scores` have one entry a hit; `fields` is the table of output fields, None
    where none were asked for.
    """

    keys: npt.NDArray[Any]
    scores: Scores
    offsets: Offsets
    fields: pa.Table | None


class _Part(NamedTuple):
    """The nearest rows of one unit: (nq, k) each, best first, row -1 where there are no more."""

    unit: int
    scores: Scores
    rows: npt.NDArray[np.int64]


def search(snapshot: Snapshot, request: SearchRequest) -> SearchResult:
    """Answer `request` on `snapshot`. Raises what `planner.plan` raises."""
    made = _plan(snapshot, request)
    found, scores, offsets = _hits(snapshot, request, made)
    fields = fetch(snapshot, found, request.output_fields) if request.output_fields else None
    return SearchResult(key_values(snapshot, found), scores, offsets, fields)


def _plan(snapshot: Snapshot, request: SearchRequest) -> Plan:
    """The plan for `request`, remembered with the snapshot: a plan depends on nothing else."""
    key = (
        request.vector_field.id,
        request.limit + request.offset,
        request.condition,
        request.partitions,
        request.metric,
        tuple(request.params.items()),
    )
    made: Plan | None = snapshot.plans.get(key)
    if made is None:
        made = plan(snapshot, request)
        if len(snapshot.plans) < PLANS_KEPT:
            snapshot.plans[key] = made
    return made


def _hits(snapshot: Snapshot, request: SearchRequest, made: Plan) -> tuple[Found, Scores, Offsets]:
    """The rows that answer, their scores, and where each query's begin."""
    nq, steps = len(request.queries), made.steps
    if not steps:
        nothing = Found(np.empty(0, np.int32), np.empty(0, np.int64))
        return nothing, np.empty(0, np.float32), np.zeros(nq + 1, np.int64)
    copies = _copies_possible(snapshot, steps)
    if len(steps) == 1 and not copies and _in_key_order(snapshot.units[steps[0].unit]):
        return _single(_run(snapshot, request, made, steps[0], min(made.k, steps[0].passing)), request.offset, made.k)
    settled = [step.index is not None or _in_key_order(snapshot.units[step.unit]) for step in steps]
    # One more than asked for shows whether scores equal to the last one go on.
    k = [min(made.k if done else made.k + 1, step.passing) for step, done in zip(steps, settled, strict=True)]
    parts = [_run(snapshot, request, made, step, most) for step, most in zip(steps, k, strict=True)]
    if len(steps) == 1 and not copies and not _has_equal_scores(parts[0]):
        return _single(parts[0], request.offset, made.k)
    while True:
        found, scores, offsets = _merge(snapshot, made, parts, copies, request.offset)
        again = [
            i
            for i, step in enumerate(steps)
            if k[i] < step.passing and _may_hide_more(made, request, parts[i], scores, offsets, settled[i])
        ]
        if not again:
            return found, scores, offsets
        for i in again:
            k[i] = min(4 * k[i], steps[i].passing)
            parts[i] = _run(snapshot, request, made, steps[i], k[i])


def _in_key_order(unit: Unit) -> bool:
    """Whether of two rows the smaller one has the smaller key, so that a part's equal scores are in order."""
    return unit.sealed is not None and len(unit.sealed.meta.partitions) == 1


def _has_equal_scores(part: _Part) -> bool:
    return bool(((part.scores[:, 1:] == part.scores[:, :-1]) & (part.rows[:, 1:] >= 0)).any())


def _may_hide_more(
    made: Plan, request: SearchRequest, part: _Part, scores: Scores, offsets: Offsets, ties_settled: bool
) -> bool:
    """Whether rows of a unit behind the last one of its `part` may belong into the answer.

    So it is for a query whose answer is not full, or ends behind that last row: copies of a key took the places of
    others. Where equal scores are not settled by key, it is also when the answer ends with that last row's score.
    """
    if not (np.diff(offsets) == request.limit).all():
        return True
    last, edge = part.scores[:, -1], scores[offsets[1:] - 1]
    if bool((last > edge if made.metric.larger_is_nearer else last < edge).any()):
        return True
    return not ties_settled and part.rows.shape[1] < MOST_TIED and bool((last == edge).any())


def _copies_possible(snapshot: Snapshot, steps: Sequence[Step]) -> bool:
    """Whether two rows of these units may hold the same key and both be visible."""
    if snapshot.manifest.on_duplicate_key is not OnDuplicateKey.KEEP:
        return False
    return len(steps) > 1 or not snapshot.units[steps[0].unit].has_unique_keys


def _run(snapshot: Snapshot, request: SearchRequest, made: Plan, step: Step, k: int) -> _Part:
    if step.index is not None:
        scores, rows = step.index.open().search(request.queries, k, made.params, step.mask, step.passing)
        return _Part(step.unit, scores, rows)
    from elanus.vector.metrics import top_k

    vectors = snapshot.units[step.unit].view.vectors(request.vector_field.id)
    first = step.interim.rows if step.interim is not None else 0
    scores, rows = top_k(made.metric, request.queries, vectors, k, step.mask, first, step.rows)
    if step.interim is not None:
        scores, rows = _nearer(made.metric, (scores, rows), step.interim.search(request.queries, k, step.mask))
    return _Part(step.unit, scores, rows)


def _nearer(metric: Metric, a: tuple[Scores, Rows], b: tuple[Scores, Rows]) -> tuple[Scores, Rows]:
    """The nearest of two answers, each (nq, k) and best first; of equal scores the smaller row comes first."""
    k = a[1].shape[1]
    scores, rows = np.concatenate((a[0], b[0]), axis=1), np.concatenate((a[1], b[1]), axis=1)
    order = np.lexsort((rows, -scores if metric.larger_is_nearer else scores, rows < 0), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _single(part: _Part, offset: int, k: int) -> tuple[Found, Scores, Offsets]:
    """The answer when one unit has it all: the places from `offset` to `k` of its part that are not empty."""
    scores, rows = part.scores, part.rows
    if offset or rows.shape[1] > k:
        scores, rows = scores[:, offset:k], rows[:, offset:k]
    if len(rows) == 1:
        scores, rows = scores[0], rows[0]
        if len(rows) and rows[-1] < 0:
            filled = int(np.count_nonzero(rows >= 0))
            scores, rows = scores[:filled], rows[:filled]
        return Found(part.unit, rows), scores, np.array((0, len(rows)))
    full = rows >= 0
    offsets = np.concatenate(([0], np.cumsum(full.sum(axis=1))))
    return Found(part.unit, rows[full]), scores[full], offsets


def _merge(
    snapshot: Snapshot, made: Plan, parts: Sequence[_Part], copies: bool, offset: int
) -> tuple[Found, Scores, Offsets]:
    """Merge the parts by score, then key, each key once."""
    nq = len(parts[0].rows)
    rows = np.concatenate([p.rows for p in parts], axis=1)
    scores = np.concatenate([p.scores for p in parts], axis=1)
    units = np.concatenate([np.full(p.rows.shape[1], p.unit, np.int32) for p in parts])
    full = rows >= 0
    query = np.broadcast_to(np.arange(nq)[:, None], rows.shape)[full]
    found = Found(np.broadcast_to(units, rows.shape)[full], rows[full])
    score = scores[full]
    key = _key_ranks(keys_of(snapshot, found))
    order = np.lexsort((key, -score if made.metric.larger_is_nearer else score, query))
    if copies:
        # Of each (query, key) the first in rank order stays.
        by_key = order[np.lexsort((key[order], query[order]))]
        again = (np.diff(query[by_key]) == 0) & (np.diff(key[by_key]) == 0)
        if again.any():
            keep = np.ones(len(order), np.bool_)
            keep[by_key[1:][again]] = False
            order = order[keep[order]]
    starts = np.searchsorted(query[order], np.arange(nq + 1))
    place = np.arange(len(order)) - starts[query[order]]
    order = order[(place >= offset) & (place < made.k)]
    offsets = np.searchsorted(query[order], np.arange(nq + 1)).astype(np.int64)
    return found[order], score[order], offsets


def _key_ranks(keys: pa.Array) -> npt.NDArray[np.int64]:
    """Integers that compare as the keys do."""
    exact = pa.types.is_integer(keys.type)
    ranks: npt.NDArray[np.int64] = (keys if exact else pc.rank(keys, tiebreaker="dense")).to_numpy().view(np.int64)
    return ranks
