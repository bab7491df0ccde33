"""Searches that want a recall: `target_recall` in place of the parameter of the index.

How closely to look is what queries of the same case have needed (see `evidence`). A query whose last hit is far away is
searched for again, more closely, where those that are far away have needed more. Before anything is known, and for a
query that is farther away than any was, the search is wide, or an exact scan where that takes little longer. 1 is an
exact scan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elanus.engine.answers import both
from elanus.engine.planner import Plan, SearchRequest, replanned
from elanus.engine.search import Hits, Prepared, find, prepare
from elanus.engine.trust.evidence import Aim, case_of
from elanus.engine.trust.ladder import (
    EXACT,
    RUNGS,
    TARGET_RECALL,
    is_widened,
    knob_of,
    on_rung,
    target_of,
    wide_of,
)
from elanus.model.layout import offsets_of

if TYPE_CHECKING:
    from elanus.engine.snapshot import Snapshot

WIDER = 4
"""So many rungs above those that suffice for others a query is searched for that is unlike them."""

WORTH_SCANNING = 4.0
"""In place of a wide walk an exact scan may take so many times longer."""


class Aimed(NamedTuple):
    """A search that wants a recall: what is asked of the index at first, and how; `aim` says what comes then."""

    request: SearchRequest
    prepared: Prepared
    aim: Aim
    others: dict[str, Any]
    """Its parameters but for the width."""


def aimed(snapshot: Snapshot, request: SearchRequest) -> tuple[Hits, Plan]:
    """The hits of `request`, which wants a recall, and the plan by which they were found at first.

    Raises `InvalidParameter` as `target_of` does, and what `search` raises.
    """
    asked, prepared, aim, others = aimed_at(snapshot, request)
    hits, made = find(snapshot, asked, prepared), prepared.plan
    if aim.rung < EXACT and (aim.near < np.inf or aim.farthest < np.inf):
        costs = _last_costs(made, hits)
        wide = _unknown(made, asked, others, min(max(wide_of(made.spec, 0), aim.highest + WIDER), RUNGS - 1))
        far = (costs > aim.near) & (costs <= aim.farthest)
        for queries, again in ((far, _on(made, asked, others, aim.highest)), (costs > aim.farthest, wide)):
            if queries.any():
                chosen = np.flatnonzero(queries)
                again = again._replace(queries=np.ascontiguousarray(request.queries[chosen]))
                hits = _joined(hits, find(snapshot, again, prepare(snapshot, again, made)), chosen)
    return hits, made


def aimed_at(snapshot: Snapshot, request: SearchRequest) -> Aimed:
    """What `aimed` begins with. Raises as it does."""
    target = target_of(request.params)
    assert target is not None
    others = {name: value for name, value in request.params.items() if name != TARGET_RECALL}
    definition = snapshot.manifest.index_of(request.vector_field.id)
    if target == 1 or definition is None or not is_widened(request) or knob_of(definition.spec) is None:
        asked = request._replace(params=others, is_exact=target == 1)
        return Aimed(asked, prepare(snapshot, asked), Aim(EXACT), others)
    spec, k = definition.spec, request.limit + request.offset
    narrow = request._replace(params=on_rung(spec, others, 0, k))
    base = prepare(snapshot, narrow)
    rows = sum(unit.view.rows for unit in snapshot.units)
    evidence = snapshot.watch.evidence(case_of(request.vector_field.id, rows, base.plan))
    if evidence.holds_for(rows):
        aim = evidence.aim(target)
        asked = _on(base.plan, request, others, aim.rung)
    else:
        aim = Aim(wide_of(spec, target))
        asked = _unknown(base.plan, request, others, aim.rung)
    return Aimed(asked, prepare(snapshot, asked, base.plan), aim, others)


def _on(made: Plan, request: SearchRequest, others: dict[str, Any], rung: int) -> SearchRequest:
    """`request` on a rung."""
    if rung >= EXACT:
        return request._replace(params=others, is_exact=True)
    return request._replace(params=on_rung(made.spec, others, rung, made.k))


def _unknown(made: Plan, request: SearchRequest, others: dict[str, Any], rung: int) -> SearchRequest:
    """`request` on `rung`, which is a guess, or exactly where that takes little longer."""
    asked, exact = (_on(made, request, others, at) for at in (rung, EXACT))
    walk_us, scan_us = (sum(step.strategy.microseconds for step in replanned(made, r).steps) for r in (asked, exact))
    return exact if scan_us <= WORTH_SCANNING * walk_us else asked


def _last_costs(made: Plan, hits: Hits) -> npt.NDArray[np.float64]:
    """How far away the last of k hits is, (nq,); infinitely little where there are fewer."""
    full = np.diff(hits.offsets) == made.k
    sign = -1.0 if made.metric.larger_is_nearer else 1.0
    costs = np.full(len(full), -np.inf)
    costs[full] = sign * hits.scores[hits.offsets[1:][full] - 1]
    return costs


def _joined(hits: Hits, again: Hits, queries: Any) -> Hits:
    """`hits` with those of `again` for some of the queries."""
    counts, replaced = np.diff(hits.offsets), np.zeros(len(hits.offsets) - 1, np.bool_)
    replaced[queries] = True
    of = np.concatenate((np.repeat(np.arange(len(counts)), counts), np.repeat(queries, np.diff(again.offsets))))
    kept = np.concatenate((~replaced[of[: len(hits.scores)]], np.ones(len(again.scores), np.bool_)))
    order = np.flatnonzero(kept)[np.argsort(of[kept], kind="stable")]

    def merged(a: Any, b: Any) -> Any:
        return np.concatenate((a, b))[order]

    keys = merged(hits.keys, again.keys) if hits.keys is not None and again.keys is not None else None
    counts[queries] = np.diff(again.offsets)
    return Hits(both(hits.found, again.found)[order], keys, merged(hits.scores, again.scores), offsets_of(counts))
