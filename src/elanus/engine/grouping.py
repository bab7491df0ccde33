"""Grouped searches: the nearest groups of rows that have one value in some fields, and the nearest rows of each.

A group is as near as its nearest row. An answer has `limit` groups after `offset` skipped ones, and `size` rows of
each, whenever there are so many. Rows come as an ordinary search finds them; where its nearest do not settle an answer,
all rows of the groups that still lack some are scored. Null is a value like others, and so is what a JSON path does not
lead to.

Each hit of a query is of a group, numbered from the nearest on, and has a place within it. Both are found by sorting,
of all queries at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.engine.answers import Answers, both, check_params, joined, near, widths
from elanus.engine.full_text import weighed
from elanus.engine.masks import Rows
from elanus.engine.planner import SearchRequest, metric_of
from elanus.engine.query import Found, column_of, keys_of
from elanus.engine.ranking import order_of, passing_rows, scores_of
from elanus.engine.search import Scores, SearchResult
from elanus.engine.snapshot import Snapshot
from elanus.expr.json_path import Kind, extract
from elanus.expr.json_texts import texts_at
from elanus.expr.places import Place
from elanus.model.errors import InvalidParameter
from elanus.model.layout import places_among_equals
from elanus.model.types import INTEGERS, TYPE_NAMES, DataType, OnDuplicateKey

Codes = npt.NDArray[np.int64]
"""Numbers from 0 on, one for each value that there is."""


class GroupKey(NamedTuple):
    """What rows are grouped by. Of JSON it is what stands at the path, as text; `cast` takes values of that type alone,
    and anything else for null, or, where that is `strict`, for a fault.
    """

    place: Place
    cast: DataType | None = None
    strict: bool = False


class Grouping(NamedTuple):
    """How hits are grouped: by all of `keys` together, `size` of each group."""

    keys: tuple[GroupKey, ...]
    size: int = 1


class _Hits(NamedTuple):
    """What a search found for some queries, hit by hit: of which of them it is, its row and score, the `group` of its
    query that it is of, and its place `within` that.
    """

    queries: Rows
    found: Found
    scores: Scores
    codes: Codes
    group: Rows
    within: Rows


def search_groups(snapshot: Snapshot, request: SearchRequest, grouping: Grouping) -> SearchResult:
    """The answer to `request`, whose limit and offset count groups. Its hits come group by group, the nearest first.

    Raises what `search` does, and `InvalidParameter` where a strict cast fails.
    """
    check_params(snapshot, request)
    request = weighed(snapshot, request)
    left, answers = np.arange(len(request.queries)), []
    for width in widths((request.offset + request.limit) * grouping.size, len(left)):
        found = near(snapshot, request, left, width)
        codes = _codes(_columns(snapshot, found.found, grouping))
        hits = _Hits(*found, codes, *_places(found.queries, codes))
        settled = _settled(hits, len(left), request, grouping, width)
        answers.append(_answers(hits, request, grouping, left, settled))
        left = left[~settled]
        if not len(left):
            break
    else:
        answers += _by_their_groups(snapshot, request, grouping, left, hits, np.flatnonzero(~settled))
    result, rows = joined(snapshot, request, answers)
    return result._replace(groups=tuple(_columns(snapshot, rows, grouping)))


def _settled(hits: _Hits, count: int, request: SearchRequest, grouping: Grouping, width: int) -> npt.NDArray[np.bool_]:
    """Of which queries all was seen, or as many full groups as are asked for."""
    last = (hits.within == grouping.size - 1) & _is_shown(hits, request)
    full = np.bincount(hits.queries[last], minlength=count)
    seen = np.bincount(hits.queries, minlength=count)
    settled: npt.NDArray[np.bool_] = (full == request.limit) | (seen < width)
    return settled


def _is_shown(hits: _Hits, request: SearchRequest) -> npt.NDArray[np.bool_]:
    """Of which hits the groups are in the answer."""
    return (hits.group >= request.offset) & (hits.group < request.offset + request.limit)


def _answers(
    hits: _Hits, request: SearchRequest, grouping: Grouping, names: Rows, settled: npt.NDArray[np.bool_]
) -> Answers:
    """What is shown of the hits of queries that are `settled`; `names` are the queries' numbers in the request."""
    shown = np.flatnonzero(settled[hits.queries] & _is_shown(hits, request) & (hits.within < grouping.size))
    shown = shown[np.lexsort((hits.within[shown], hits.group[shown], hits.queries[shown]))]
    return Answers(names[hits.queries[shown]], hits.found[shown], hits.scores[shown])


def _by_their_groups(
    snapshot: Snapshot, request: SearchRequest, grouping: Grouping, left: Rows, hits: _Hits, numbers: Rows
) -> list[Answers]:
    """The answers to the queries `left`, which have these `numbers` among those of `hits`.

    Rows of groups that have all their hits need no look. Where as many groups are known as are asked for, others need
    none either.
    """
    passing = passing_rows(snapshot, request)
    together = _codes(_columns(snapshot, both(hits.found, passing), grouping))
    known, codes = together[: len(hits.queries)], together[len(hits.queries) :]
    count = int(together.max()) + 1 if len(together) else 0
    need, answers = request.offset + request.limit, []
    for query, number in zip(left.tolist(), numbers, strict=True):
        mine = np.flatnonzero(hits.queries == number)
        code, group, within = known[mine], hits.group[mine], hits.within[mine]
        is_open = np.ones(count, np.bool_)
        if group.max(initial=-1) + 1 >= need:
            is_open[:] = False
            is_open[code[(group >= request.offset) & (group < need)]] = True
        is_open[code[within == grouping.size - 1]] = False
        closed, some = mine[~is_open[code]], np.flatnonzero(is_open[codes])
        found, of_found = both(hits.found[closed], passing[some]), np.concatenate([known[closed], codes[some]])
        ranked = _ranked(snapshot, request, grouping, query, found, of_found, count)
        if snapshot.manifest.on_duplicate_key is OnDuplicateKey.KEEP and _has_copies(
            snapshot, passing, ranked.found[np.flatnonzero((ranked.within < grouping.size) & (ranked.group < need))]
        ):
            ranked = _ranked(snapshot, request, grouping, query, passing, codes, None)
        answers.append(_answers(ranked, request, grouping, np.array([query]), np.ones(1, np.bool_)))
    return answers


def _ranked(
    snapshot: Snapshot,
    request: SearchRequest,
    grouping: Grouping,
    query: int,
    found: Found,
    codes: Codes,
    count: int | None,
) -> _Hits:
    """The rows of `found`, as hits of one query; without those that have no place in an answer as long as no two of
    them have one key, where it is said how many (`count`) groups there may be.
    """
    metric = metric_of(snapshot, request)
    scores = scores_of(snapshot, metric, request, query, found)
    kept = np.flatnonzero(np.isfinite(scores))
    if count is not None and len(kept):
        costs = -scores[kept] if metric.larger_is_nearer else scores[kept]
        kept = kept[_may_be_shown(costs, codes[kept], count, request.offset + request.limit, grouping.size)]
    order = kept[order_of(snapshot, metric, found[kept], scores[kept])]
    alone, of_order = np.zeros(len(order), np.int64), codes[order]
    return _Hits(alone, found[order], scores[order], of_order, *_places(alone, of_order))


def _may_be_shown(costs: Scores, codes: Codes, count: int, need: int, size: int) -> npt.NDArray[np.bool_]:
    """Which rows are among the `size` nearest of their group, or as near, of groups among the `need` nearest."""
    from elanus.vector.group_kernels import nearest_of_groups

    lowest = np.full((count, size), np.inf, np.float32)
    nearest_of_groups(costs, codes, lowest)
    kept: npt.NDArray[np.bool_] = costs <= lowest[codes, -1]
    if count > need:
        kept &= (lowest[:, 0] <= np.partition(lowest[:, 0], need - 1)[need - 1])[codes]
    return kept


def _has_copies(snapshot: Snapshot, passing: Found, shown: Found) -> bool:
    """Whether the key of any of the rows `shown` is that of another row that passes, too."""
    keys = keys_of(snapshot, shown)
    assert not isinstance(passing.units, int)
    ends = np.searchsorted(passing.units, np.arange(len(snapshot.units) + 1))
    total = sum(
        int(np.isin(unit.view.find(keys), passing.rows[ends[number] : ends[number + 1]]).sum())
        for number, unit in enumerate(snapshot.units)
    )
    return total > len(keys)


def _places(queries: Rows, codes: Codes) -> tuple[Rows, Rows]:
    """For hits query by query, nearest first: the group of each, by number, and its place within that."""
    if not len(codes):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    together = queries * (int(codes.max()) + 1) + codes
    order = np.argsort(together, kind="stable")
    is_first = np.diff(together[order], prepend=-1) != 0
    begins = np.flatnonzero(is_first)
    run = np.cumsum(is_first) - 1
    within = np.empty(len(codes), np.int64)
    within[order] = np.arange(len(codes)) - begins[run]
    heads = order[begins]  # where each group's nearest stands
    by_head = np.argsort(heads)
    number = np.empty(len(heads), np.int64)
    number[by_head] = places_among_equals(queries[heads[by_head]])
    group = np.empty(len(codes), np.int64)
    group[order] = number[run]
    return group, within


# --- values of groups ----------------------------------------------------------------------------------------------


def _columns(snapshot: Snapshot, found: Found, grouping: Grouping) -> list[pa.Array]:
    """What the rows of `found` are grouped by."""
    return [_column(snapshot, found, key) for key in grouping.keys]


def _column(snapshot: Snapshot, found: Found, key: GroupKey) -> pa.Array:
    field, path = key.place
    column = column_of(snapshot, found, field.id)
    if field.dtype is not DataType.JSON:
        return column
    if key.cast is None:
        return texts_at(column, path)
    values = extract(column, path)
    wanted = Kind.BOOL if key.cast is DataType.BOOL else Kind.INT if key.cast in INTEGERS else Kind.STRING
    fits = values.kinds == wanted
    if key.strict and not (fits | column.is_null().to_numpy(zero_copy_only=False)).all():
        raise InvalidParameter(
            f"failed to cast json value to {TYPE_NAMES[key.cast]}, wrong json data inner type: a row of field "
            f"{field.name} holds something else. Leave out strict_cast to take it for null."
        )
    if wanted is Kind.STRING:
        return values.strings
    numbers = pa.array(values.ints, mask=~fits)
    return numbers.cast(pa.bool_()) if wanted is Kind.BOOL else numbers


def _codes(columns: list[pa.Array]) -> Codes:
    """Numbers of the rows (n,) that are equal where all of their values are."""
    codes = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        own = column.dictionary_encode("encode")
        codes = codes * max(1, len(own.dictionary)) + own.indices.to_numpy().astype(np.int64)
        if len(columns) > 1:
            codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return codes
