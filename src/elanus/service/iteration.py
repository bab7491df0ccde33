"""Iterators of clients: pages of one picture, however long they take and whatever is written meanwhile.

A client fetches page after page with calls of their own. What they have in common is a timestamp, that of the picture
the iterator began with, and each page says where it begins: behind a key (a query), or behind a score (a search). So a
page can be asked for again, also of a server that was started anew. What is kept here only saves work: snapshots, which
also keep what merges leave behind in the meantime, and rankings of all rows for a search. Those used last are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as made_by
from typing import NamedTuple

import numpy as np
import xxhash

from elanus.engine.collection import Collection
from elanus.engine.planner import SearchRequest, metric_of
from elanus.engine.ranking import Bounds, Ranking, rank
from elanus.engine.search import Scores, SearchResult
from elanus.engine.snapshot import Snapshot
from elanus.model.errors import InvalidParameter
from elanus.model.timestamps import milliseconds_of
from elanus.service.last_used import LastUsed

MAX_SNAPSHOTS = 64
"""Each keeps its segments' files and its growing rows alive."""

MAX_RANKINGS = 16
"""Each holds 16 bytes a row."""


@dataclass(frozen=True, slots=True)
class Iterations:
    """What the iterators of all clients have in common."""

    snapshots: LastUsed[tuple[int, int], Snapshot] = made_by(default_factory=lambda: LastUsed(MAX_SNAPSHOTS))
    """By collection id and timestamp."""

    rankings: LastUsed[str, Ranking] = made_by(default_factory=lambda: LastUsed(MAX_RANKINGS))
    """By token."""


class Page(NamedTuple):
    """A page of a search: its hits, and the score behind which the next one begins."""

    result: SearchResult
    token: str
    last_bound: float


def begin(iterations: Iterations, collection: Collection) -> tuple[Snapshot, int]:
    """The newest picture of `collection`, kept for an iterator, and its timestamp, which is never 0."""
    snapshot = collection.snapshot()
    # Ids are the timestamps at which collections were made: before any row was written.
    timestamp = max(snapshot.timestamp, collection.id, collection.expiry.step(snapshot))
    iterations.snapshots.put((collection.id, timestamp), snapshot)
    return snapshot, timestamp


def picture(iterations: Iterations, collection: Collection, timestamp: int) -> Snapshot:
    """The picture of `collection` at `timestamp`. Raises `InvalidParameter` for one of which parts may be gone."""
    kept = iterations.snapshots.get((collection.id, timestamp))
    if kept is not None:
        return kept
    newest = collection.follower.snapshot
    expired = collection.expiry.at(newest, milliseconds_of(timestamp))
    if timestamp >= newest.timestamp:
        return newest.without(expired) if expired else newest
    if timestamp < collection.retention_timestamp():
        raise InvalidParameter(
            f"the iterator's picture of {timestamp} is older than what is kept of the past: begin a new iterator"
        )
    return newest.at(timestamp).without(expired)


def check_same(collection: Collection, began_with: int | None) -> None:
    """Raise `InvalidParameter` where an iterator began with another collection than its name now stands for."""
    if began_with is not None and began_with != collection.id:
        raise InvalidParameter(
            f"collection id:{began_with} in the request is not consistent to that in the search context, "
            f"alias or database may have been changed: {collection.id}. Begin a new iterator."
        )


def search_page(
    iterations: Iterations,
    collection_id: int,
    snapshot: Snapshot,
    request: SearchRequest,
    filter_text: str,
    bounds: Bounds,
    timestamp: int,
    batch_rows: int,
    last_bound: float | None,
) -> Page:
    """The next `batch_rows` hits behind `last_bound` (None: from the start). `filter_text` says all of the filter, and
    which rows of the picture at `timestamp` the `snapshot` has.

    A page never ends between rows of one score, so that the score says where the next one begins: it is shorter
    than asked for, or longer where all of it has one score.
    """
    bounds.check(metric_of(snapshot, request))
    token = _token(collection_id, timestamp, request, filter_text, bounds)
    ranking = iterations.rankings.get(token)
    if ranking is None:
        ranking = rank(snapshot, request, 0, bounds)
        iterations.rankings.put(token, ranking)
    costs = -ranking.scores if ranking.metric.larger_is_nearer else ranking.scores
    start = 0 if last_bound is None else _behind(costs, -last_bound if ranking.metric.larger_is_nearer else last_bound)
    stop = min(start + batch_rows, len(costs))
    if start < stop < len(costs) and costs[stop - 1] == costs[stop]:
        run = int(np.searchsorted(costs, costs[stop], side="left"))
        stop = run if run > start else _behind(costs, float(costs[stop]))
    bound = float(ranking.scores[stop - 1]) if stop > start else last_bound or 0.0
    return Page(ranking.page(start, stop, request.output_fields), token, bound)


def _behind(costs: Scores, cost: float) -> int:
    return int(np.searchsorted(costs, np.float32(cost), side="right"))


def _token(collection_id: int, timestamp: int, request: SearchRequest, filter_text: str, bounds: Bounds) -> str:
    """Names all that a ranking depends on."""
    rest = (collection_id, timestamp, request.vector_field.id, filter_text, request.partitions, request.metric, bounds)
    digest = xxhash.xxh3_128(repr(rest).encode())
    digest.update(bytes(request.queries[0]))
    return digest.hexdigest()
