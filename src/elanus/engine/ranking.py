"""Rankings: all rows that pass a filter, in the order of their scores for one query.

What an iterator walks through, and what a search within bounds of the score is cut from where its nearest rows do not
have the answer. Every score is computed, so the order is exact: by score, of equal ones by key, each key once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from elanus.engine import masks
from elanus.engine.answers import Answers, Bools, Near, check_params, joined, near, widths
from elanus.engine.full_text import weighed
from elanus.engine.masks import Rows
from elanus.engine.planner import SearchRequest, metric_of
from elanus.engine.query import Found, fetch, key_values, keys_of, select_vectors
from elanus.engine.search import Scores, SearchResult
from elanus.engine.snapshot import Snapshot, Unit
from elanus.model.errors import InvalidParameter
from elanus.model.layout import places_among_equals
from elanus.model.types import DataType, Metric


@dataclass(frozen=True, slots=True)
class Bounds:
    """Scores to keep, as Milvus means `radius` and `range_filter`; None is no bound.

    L2 keeps range_filter <= score < radius, the others radius < score <= range_filter.
    """

    radius: float | None = None
    range_filter: float | None = None

    def check(self, metric: Metric) -> None:
        """Raise `InvalidParameter` where no score can lie between the bounds, or the far one is missing."""
        if self.range_filter is None:
            return
        if self.radius is None:
            raise InvalidParameter("range_filter needs a radius: send both, or the radius alone")
        empty = self.radius >= self.range_filter if metric.larger_is_nearer else self.radius <= self.range_filter
        if empty:
            order = "less than" if metric.larger_is_nearer else "greater than"
            raise InvalidParameter(
                f"for metric type {metric}, range_filter({self.range_filter:g}) must be "
                f"{'greater' if metric.larger_is_nearer else 'less'} than radius({self.radius:g}): "
                f"the radius is {order} the range filter"
            )

    def keep(self, metric: Metric, scores: Scores) -> npt.NDArray[np.bool_]:
        kept = np.ones(len(scores), np.bool_)
        nearer = metric.larger_is_nearer
        if self.radius is not None:
            kept &= scores > np.float32(self.radius) if nearer else scores < np.float32(self.radius)
        if self.range_filter is not None:
            kept &= scores <= np.float32(self.range_filter) if nearer else scores >= np.float32(self.range_filter)
        return kept


@dataclass(frozen=True, slots=True)
class Ranking:
    """The rows of `snapshot` best first, with their scores."""

    snapshot: Snapshot
    metric: Metric
    found: Found
    scores: Scores

    def __len__(self) -> int:
        return len(self.scores)

    def page(self, start: int, stop: int, output_fields: tuple[str, ...]) -> SearchResult:
        """Places `start` to `stop` as the answer of a search of one query."""
        found, scores = self.found[slice(start, stop)], self.scores[start:stop]
        fields = fetch(self.snapshot, found, output_fields) if output_fields else None
        return SearchResult(key_values(self.snapshot, found), scores, np.array((0, len(scores))), fields)


def rank(snapshot: Snapshot, request: SearchRequest, query: int, bounds: Bounds) -> Ranking:
    """All rows for query number `query` of `request`; its limit and offset play no part.

    Takes 4 bytes a row while it runs and 16 a row that stays.
    """
    request = weighed(snapshot, request)
    return _ranked(snapshot, metric_of(snapshot, request), request, query, passing_rows(snapshot, request), bounds)


def passing_rows(snapshot: Snapshot, request: SearchRequest) -> Found:
    """The rows that take part in `request`, unit by unit."""
    wanted = snapshot.partition_ids(request.partitions, request.condition)
    units, rows = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    for number, unit in enumerate(snapshot.units):
        mask = select_vectors(snapshot, unit, request.condition, wanted, request.vector_field)
        rows.append(np.arange(unit.view.rows) if mask is None else masks.rows_of(mask))
        units.append(np.full(len(rows[-1]), number, np.int32))
    return Found(np.concatenate(units), np.concatenate(rows))


def scores_of(snapshot: Snapshot, metric: Metric, request: SearchRequest, query: int, found: Found) -> Scores:
    """How near the rows of `found` are to query number `query`; what does not match has an infinite score."""
    scores = np.empty(len(found), np.float32)
    for number in np.unique(found.units):
        places = np.flatnonzero(found.units == number)
        unit = snapshot.units[int(number)]
        scores[places] = _scores(metric, request, query, unit, found.rows[places])
    return scores


def order_of(snapshot: Snapshot, metric: Metric, found: Found, scores: Scores) -> Rows:
    """The numbers of the rows of `found` by score, then key, each key once."""
    keys = pc.rank(keys_of(snapshot, found), tiebreaker="dense").to_numpy(zero_copy_only=False)
    order = np.lexsort((keys, -scores if metric.larger_is_nearer else scores))
    if len(keys) and int(keys.max()) < len(keys):  # some key stands twice: its best place stays
        _, first = np.unique(keys[order], return_index=True)
        order = order[np.sort(first)]
    return order


def _ranked(
    snapshot: Snapshot,
    metric: Metric,
    request: SearchRequest,
    query: int,
    found: Found,
    bounds: Bounds,
    need: int | None = None,
) -> Ranking:
    """The rows of `found` in order; at least the first `need` of them where no more are asked for."""
    scores = scores_of(snapshot, metric, request, query, found)
    kept = np.flatnonzero(bounds.keep(metric, scores) & np.isfinite(scores))
    order = kept[:0]
    if need is not None and len(kept) > need:
        costs = -scores[kept] if metric.larger_is_nearer else scores[kept]
        near = kept[costs <= np.partition(costs, need - 1)[need - 1]]
        order = near[order_of(snapshot, metric, found[near], scores[near])]
    if need is None or len(order) < need:  # of the nearest, some were copies of others
        order = kept[order_of(snapshot, metric, found[kept], scores[kept])]
    return Ranking(snapshot, metric, found[order], scores[order])


def _scores(metric: Metric, request: SearchRequest, query: int, unit: Unit, rows: Rows) -> Scores:
    """Scores (m,) of the vectors at `rows` (m,) of a unit; what does not match has an infinite one."""
    field = request.vector_field
    if field.dtype is DataType.FLOAT_VECTOR:
        from elanus.vector.metrics import scores_by_row

        return scores_by_row(metric, request.queries[query], unit.view.vectors(field.id), rows)
    from elanus.vector import exact

    stored = unit.view.vectors(field.id) if field.is_dense else unit.view.column(field.id)
    asked = request.queries[query : query + 1]
    scores: Scores = exact.scores(field.dtype, metric, asked, stored, rows, request.scoring)[0]
    return scores


def search_within(snapshot: Snapshot, request: SearchRequest, bounds: Bounds) -> SearchResult:
    """The answer to `request` among the rows with scores in `bounds`. Raises `InvalidParameter` for empty bounds.

    The nearest rows have all of it, or as much as is asked for, unless many are nearer than `range_filter`.
    """
    metric = metric_of(snapshot, request)
    bounds.check(metric)
    check_params(snapshot, request)
    request = weighed(snapshot, request)
    need, left, answers = request.offset + request.limit, np.arange(len(request.queries)), []
    for width in widths(need, len(left)):
        hits = near(snapshot, request, left, width)
        kept = np.flatnonzero(bounds.keep(metric, hits.scores))
        within = replace(bounds, range_filter=None).keep(metric, hits.scores)
        settled = _settled(hits, kept, within, len(left), need, width)
        answers.append(_shown(hits, kept[settled[hits.queries[kept]]], request, left))
        left = left[~settled]
        if not len(left):
            break
    else:
        found = passing_rows(snapshot, request)
        for query in left.tolist():
            ranking = _ranked(snapshot, metric, request, query, found, bounds, need)
            all_of_it = Near(np.zeros(len(ranking), np.int64), ranking.found, ranking.scores)
            answers.append(_shown(all_of_it, np.arange(len(ranking)), request, np.array([query])))
    return joined(snapshot, request, answers)[0]


def _settled(hits: Near, kept: Rows, is_within: Bools, queries: int, need: int, width: int) -> Bools:
    """Of which queries enough hits are `kept`, or all that may be was seen: one of them is not within the radius, or
    there are no more.
    """
    enough = np.bincount(hits.queries[kept], minlength=queries) >= need
    within = np.bincount(hits.queries[is_within], minlength=queries)
    settled: Bools = enough | (within < width)
    return settled


def _shown(hits: Near, kept: Rows, request: SearchRequest, names: Rows) -> Answers:
    """Those of the hits `kept` that are shown; `names` are the queries' numbers in the request."""
    place = places_among_equals(hits.queries[kept])
    kept = kept[(place >= request.offset) & (place < request.offset + request.limit)]
    return Answers(names[hits.queries[kept]], hits.found[kept], hits.scores[kept])
