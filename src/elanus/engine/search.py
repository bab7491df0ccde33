"""Search: run a plan on its snapshot, merge the parts, and fetch output fields for the winners alone.

Every score that leaves here was computed from the stored vectors. `k` results are `k` distinct keys whenever so many
pass: where copies of a key could crowd others out, the parts are asked for more until the answer is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.engine.masks import Rows
from elanus.engine.planner import Plan, SearchRequest, Step, plan
from elanus.engine.query import Found, fetch, keys_of
from elanus.engine.snapshot import Snapshot
from elanus.model.types import Metric, OnDuplicateKey
from elanus.vector.metrics import top_k

Scores = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

PLANS_KEPT = 64
"""Plans remembered with a snapshot; each may hold a mask a unit."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits of all queries, one after the other: those of query `i` are `offsets[i]:offsets[i + 1]`, nearest first.

    `keys` and `scores` have one entry a hit; `fields` is the table of output fields, None where none were asked for.
    """

    keys: pa.Array
    scores: Scores
    offsets: Offsets
    fields: pa.Table | None


@dataclass(frozen=True, slots=True)
class _Part:
    """The nearest rows of one unit: (nq, k) each, best first, row -1 where there are no more."""

    unit: int
    scores: Scores
    rows: npt.NDArray[np.int64]


def search(snapshot: Snapshot, request: SearchRequest) -> SearchResult:
    """Answer `request` on `snapshot`. Raises what `planner.plan` raises."""
    made = _plan(snapshot, request)
    found, scores, offsets = _hits(snapshot, request, made)
    fields = fetch(snapshot, found, request.output_fields) if request.output_fields else None
    return SearchResult(keys_of(snapshot, found), scores, offsets, fields)


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
    if len(steps) == 1 and not copies:
        return _single(_run(snapshot, request, made, steps[0], made.k), request.offset)
    k = made.k
    while True:
        parts = [_run(snapshot, request, made, step, min(k, step.passing)) for step in steps]
        found, scores, offsets, dropped = _merge(snapshot, made, parts, copies, request.offset)
        # Short only because copies of a key took places: ask every unit that has more for more.
        short = dropped and bool(np.any(np.diff(offsets) < request.limit))
        if not short or all(k >= step.passing for step in steps):
            return found, scores, offsets
        k *= 2


def _copies_possible(snapshot: Snapshot, steps: Sequence[Step]) -> bool:
    """Whether two rows of these units may hold the same key and both be visible."""
    if snapshot.manifest.on_duplicate_key is not OnDuplicateKey.KEEP:
        return False
    return len(steps) > 1 or not snapshot.units[steps[0].unit].has_unique_keys


def _run(snapshot: Snapshot, request: SearchRequest, made: Plan, step: Step, k: int) -> _Part:
    if step.index is not None:
        scores, rows = step.index.open().search(request.queries, k, made.params, step.mask, step.passing)
        return _Part(step.unit, scores, rows)
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


def _single(part: _Part, offset: int) -> tuple[Found, Scores, Offsets]:
    """The answer when one unit has it all: its part, from `offset` on, without the empty places."""
    scores, rows = part.scores, part.rows
    if offset:
        scores, rows = scores[:, offset:], rows[:, offset:]
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
) -> tuple[Found, Scores, Offsets, bool]:
    """Merge the parts by score, then key; also says whether copies of a key were dropped."""
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
    dropped = False
    if copies:
        # Of each (query, key) the first in rank order stays.
        by_key = order[np.lexsort((key[order], query[order]))]
        again = (np.diff(query[by_key]) == 0) & (np.diff(key[by_key]) == 0)
        dropped = bool(again.any())
        if dropped:
            keep = np.ones(len(order), np.bool_)
            keep[by_key[1:][again]] = False
            order = order[keep[order]]
    starts = np.searchsorted(query[order], np.arange(nq + 1))
    place = np.arange(len(order)) - starts[query[order]]
    order = order[(place >= offset) & (place < made.k)]
    offsets = np.searchsorted(query[order], np.arange(nq + 1)).astype(np.int64)
    return found[order], score[order], offsets, dropped


def _key_ranks(keys: pa.Array) -> npt.NDArray[np.int64]:
    """Integers that compare as the keys do."""
    exact = pa.types.is_integer(keys.type)
    ranks: npt.NDArray[np.int64] = (keys if exact else pc.rank(keys, tiebreaker="dense")).to_numpy().view(np.int64)
    return ranks
