"""Queries answered exactly, and on every rung.

An exact scan of many rows takes long, so it is cut into pieces of about `PIECE_US`, and `rest` is called between them:
the sampler waits there, or gives up. What is worked out stays with a picture of its own (`Snapshot.aside`).

A hit counts as found where it is a true neighbour, or its score is as good as that of the last one: of rows that are
equally near any will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from elanus.engine import masks
from elanus.engine.full_text import weighed
from elanus.engine.masks import Rows
from elanus.engine.planner import Plan, SearchRequest, Step, plan
from elanus.engine.query import Found, key_values
from elanus.engine.search import Hits, answer, find, prepare, run_step
from elanus.engine.trust.evidence import Case, Floats, Measured, case_of
from elanus.engine.trust.ladder import DROPPED, RUNGS, TARGET_RECALL, is_widened, on_rung

if TYPE_CHECKING:
    from elanus.engine.snapshot import Snapshot

PIECE_US = 1_000.0

TOLERANCE = 1e-6
"""Two kernels add up the same products in another order: scores that differ by this share are equal."""

Rest = Callable[[], None]


class Truth:
    """The true neighbours of some queries: `scores` and `keys` (nq, k) best first, of which `filled` (nq,) count."""

    def __init__(self, snapshot: Snapshot, scores: Floats, keys: Any, filled: Rows, larger_is_nearer: bool) -> None:
        self.filled = filled
        self._snapshot = snapshot
        self._sign = -1.0 if larger_is_nearer else 1.0
        there = np.arange(keys.shape[1]) < filled[:, None]
        self._of, self._keys = np.nonzero(there)[0], keys[there]
        last = np.maximum(filled - 1, 0)[:, None]
        self.last = np.where(filled > 0, np.take_along_axis(self._sign * scores, last, 1)[:, 0], np.nan)

    def recall(self, hits: Hits) -> Floats:
        """The share of the true neighbours among `hits`, (nq,); 1 where there are none."""
        of = np.repeat(np.arange(len(self.filled)), np.diff(hits.offsets))
        keys = hits.keys if hits.keys is not None else key_values(self._snapshot, hits.found)
        codes = np.unique(np.concatenate((self._keys, keys)), return_inverse=True)[1]
        pairs = codes * len(self.filled) + np.concatenate((self._of, of))
        limit = self.last + TOLERANCE * np.abs(self.last)
        right = np.isin(pairs[len(self._keys) :], pairs[: len(self._keys)]) | (self._sign * hits.scores <= limit[of])
        found = np.bincount(of[right], minlength=len(self.filled))
        return np.where(self.filled > 0, np.minimum(found, self.filled) / np.maximum(self.filled, 1), 1.0)


def truth(snapshot: Snapshot, request: SearchRequest, rest: Rest) -> Truth:
    """The true neighbours of the queries of `request`, by scanning every row that passes."""
    params = {name: value for name, value in request.params.items() if name not in (DROPPED, TARGET_RECALL)}
    exact = weighed(snapshot, request._replace(params=params, is_exact=True, output_fields=()))
    made = plan(snapshot, exact)
    rest()
    nq, k = len(request.queries), made.k
    best = np.full((nq, 0), np.inf)
    blank: Any = 0 if made.steps and made.steps[0].keys[1] is not None else ""
    keys = np.full((nq, 0), blank, np.int64 if blank == 0 else object)
    sign = -1.0 if made.metric.larger_is_nearer else 1.0
    for step in made.steps:
        for piece in _pieces(step, nq):
            for part in run_step(snapshot, exact, made, piece, min(k, piece.passing)):
                there = part.rows >= 0
                costs = np.where(there, sign * part.scores.astype(np.float64), np.inf)
                named = np.full(part.rows.shape, blank, keys.dtype)
                named[there] = key_values(snapshot, Found(part.unit, part.rows[there]))
                best, keys = _nearest(np.hstack((best, costs)), np.hstack((keys, named)), k)
            rest()
    filled = np.isfinite(best).sum(axis=1)
    if not best.shape[1]:
        best, keys = np.zeros((nq, 1)), np.full((nq, 1), blank, keys.dtype)
    return Truth(snapshot, sign * best, keys, filled, made.metric.larger_is_nearer)


def _nearest(costs: Floats, keys: npt.NDArray[Any], k: int) -> tuple[Floats, npt.NDArray[Any]]:
    """The k nearest of (nq, m), each key once."""
    order = np.argsort(costs, axis=1, kind="stable")
    costs, keys = np.take_along_axis(costs, order, 1), np.take_along_axis(keys, order, 1)
    numbers = np.unique(keys, return_inverse=True)[1].reshape(keys.shape)
    again = np.zeros(costs.shape, np.bool_)
    by_key = np.argsort(numbers, axis=1, kind="stable")
    ordered = np.take_along_axis(numbers, by_key, 1)
    np.put_along_axis(again, by_key[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    costs = np.where(again, np.inf, costs)
    order = np.argsort(costs, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(costs, order, 1), np.take_along_axis(keys, order, 1)


def _pieces(step: Step, nq: int) -> Iterator[Step]:
    """`step` cut into runs that are scanned in about `PIECE_US` each."""
    first, stop = step.run
    pieces = max(1, min(stop - first, int(nq * step.strategy.microseconds / PIECE_US)))
    edges = np.linspace(first, stop, pieces + 1).astype(int).tolist()
    for begin, end in pairwise(edges):
        passing = end - begin if step.mask is None else masks.count(step.mask, begin, end)
        if passing:
            yield replace(step, run=(begin, end), passing=passing)


def measured(snapshot: Snapshot, request: SearchRequest, rest: Rest, *, was_asked: bool) -> tuple[Case, Measured]:
    """What the queries of `request` find in `snapshot` as they are asked and on every rung.

    Raises what `search` raises, and what `rest` does.
    """
    aside = snapshot.aside()
    request = request._replace(limit=request.limit + request.offset, offset=0, output_fields=())
    rows = sum(unit.view.rows for unit in aside.units)
    hits, made = answer(aside, weighed(aside, request))
    rest()
    base = prepare(aside, _on_rung(request, made, 0)).plan if is_widened(request) else made
    case = case_of(request.vector_field.id, rows, base)
    nq = len(request.queries)
    if _is_exact(base):
        asked, rungs, costs = np.ones(nq), np.ones((nq, RUNGS)), np.full(nq, np.nan)
    else:
        true = truth(aside, request, rest)
        asked = true.recall(hits)
        rungs = _on_rungs(aside, request, base, true, rest) if is_widened(request) else np.tile(asked, (RUNGS, 1)).T
        costs = np.where(true.filled == made.k, true.last, np.nan)
    width = made.params.ef or made.params.nprobe
    return case, Measured(
        asked if was_asked else np.full(nq, np.nan),
        np.full(nq, 0 if _is_exact(made) else width),
        rungs,
        costs,
        np.full(nq, made.k),
        np.full(nq, rows),
    )


def _is_exact(made: Plan) -> bool:
    """Whether all of it is scanned. Postings are exact as well, unless they are asked to leave something out."""
    return all(step.index is None and step.interim is None and step.postings is None for step in made.steps)


def _on_rung(request: SearchRequest, made: Plan, rung: int) -> SearchRequest:
    return request._replace(params=on_rung(made.spec, request.params, rung, made.k), is_exact=False)


def _on_rungs(snapshot: Snapshot, request: SearchRequest, base: Plan, true: Truth, rest: Rest) -> Floats:
    """The recall on each rung, (nq, RUNGS), of which `base` is a plan of the lowest.

    Above two rungs on which nothing is missed nothing is.
    """
    recalls = np.ones((len(request.queries), RUNGS))
    full = 0
    for rung in range(RUNGS):
        asked = _on_rung(request, base, rung)
        prepared = prepare(snapshot, asked, base)
        if _is_exact(prepared.plan):
            break
        recalls[:, rung] = true.recall(find(snapshot, asked, prepared))
        rest()
        if all(step.index is None for step in prepared.plan.steps):  # what is not built yet does not heed it
            recalls[:, rung:] = recalls[:, rung : rung + 1]
            break
        full = full + 1 if recalls[:, rung].min() == 1 else 0
        if full == 2:
            break
    return recalls
