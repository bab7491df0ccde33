"""Answers that an ordinary search may have in its nearest rows: those in bounds of the score, those of groups.

The nearest rows are asked for, then more of them, up to a width beyond which it costs less to score all rows. Queries
are settled one after the other, by whatever round has all of their answer, and their answers are put together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elanus.engine.masks import Rows
from elanus.engine.planner import SearchRequest
from elanus.engine.query import Found, fetch, key_values
from elanus.engine.search import Scores, SearchResult, answer
from elanus.engine.snapshot import Snapshot
from elanus.model.layout import offsets_of
from elanus.vector.registry import search_params

WIDEST = 4096
"""Hits of one query that are looked through before rows are scored: a graph takes as long for so many as a scan of some
hundred thousand rows."""

MOST_HELD = 1 << 21
"""The same of all queries together: 48 MiB."""

WIDENED = 8
"""How many times as many hits are asked for when there were too few."""

BREADTHS = frozenset({"ef", "search_list", "reorder_k"})
"""Parameters of index kinds that may not be less than the hits asked for."""

Bools = npt.NDArray[np.bool_]


class Near(NamedTuple):
    """The nearest rows to some queries, query by query, nearest first: `queries` (n,) says whose each is, by its place
    among those asked.
    """

    queries: Rows
    found: Found
    scores: Scores


@dataclass(frozen=True, slots=True)
class Answers:
    """The hits of some queries, query by query: `queries` (n,) says whose each is, by its number in the request."""

    queries: Rows
    found: Found
    scores: Scores


def check_params(snapshot: Snapshot, request: SearchRequest) -> None:
    """Raise `InvalidParameter` for what an ordinary search refuses for the limit of `request`."""
    definition = snapshot.manifest.index_of(request.vector_field.id)
    if definition is not None:
        search_params(definition.spec, request.params, request.offset + request.limit)


def widths(first: int, queries: int) -> list[int]:
    """How many hits are asked for, round by round, `first` at least."""
    widest, found = max(first, min(WIDEST, MOST_HELD // queries)), [first]
    while found[-1] < widest:
        found.append(min(WIDENED * found[-1], widest))
    return found


def near(snapshot: Snapshot, request: SearchRequest, left: Rows, width: int) -> Near:
    """The `width` nearest rows to each of the queries `left` of `request`, whose words are weighed."""
    params = {n: max(int(value), width) if n in BREADTHS else value for n, value in request.params.items()}
    asked = request._replace(queries=request.queries[left], limit=width, offset=0, params=params)
    (found, _, scores, offsets), _ = answer(snapshot, asked)
    return Near(np.repeat(np.arange(len(left)), np.diff(offsets)), found, scores)


def both(first: Found, second: Found) -> Found:
    units = np.concatenate([first.unit_of_each, second.unit_of_each])
    return Found(units, np.concatenate([first.rows, second.rows]))


def joined(snapshot: Snapshot, request: SearchRequest, answers: list[Answers]) -> tuple[SearchResult, Found]:
    """`answers` as one, in the order of the queries, and its rows."""
    queries = np.concatenate([a.queries for a in answers])
    order = np.argsort(queries, kind="stable")
    found = answers[0].found
    for more in answers[1:]:
        found = both(found, more.found)
    found = found[order]
    fields = fetch(snapshot, found, request.output_fields) if request.output_fields else None
    offsets = offsets_of(np.bincount(queries, minlength=len(request.queries)))
    scores = np.concatenate([a.scores for a in answers])[order]
    return SearchResult(key_values(snapshot, found), scores, offsets, fields), found
