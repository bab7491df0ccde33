"""Exact scores of float32 vectors, and exact scans for the k nearest.

L2 is the squared distance, smaller is nearer; IP and COSINE are larger when nearer. COSINE is the similarity in
[-1, 1]; with a vector of zeros it is 0. All functions take C-contiguous float32 and read `vectors` in place, mapped
or not. Results are best first, and of equal scores the smaller row comes first; where fewer than k rows take part the
rest is row -1 with the worst score.

A bitmap is `uint8`, least significant bit first: row i takes part if bit i is set.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from elanus.model.types import Metric
from elanus.vector import kernels

Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Bitmap = npt.NDArray[np.uint8]

CODE_OF: dict[Metric, int] = {Metric.L2: kernels.L2, Metric.IP: kernels.IP, Metric.COSINE: kernels.COSINE}

NO_BITMAP: Bitmap = np.empty(0, np.uint8)

HELD_FLOATS = 1 << 15
"""Scoring of up to so many floats (about 3 µs) keeps the GIL: a release costs more when other threads want it."""

HELD_HITS = 1 << 10
"""Merging so few hits keeps it too."""


def scores(metric: Metric, queries: Vectors, vectors: Vectors) -> Scores:
    """Scores (nq, n) of every vector (n, d) for every query (nq, d)."""
    out = np.empty((len(queries), len(vectors)), np.float32)
    kernels.all_scores(CODE_OF[metric], queries, vectors, out)
    return out


def scores_by_row(metric: Metric, query: Vectors, vectors: Vectors, rows: Rows) -> Scores:
    """Scores (m,) of the vectors at `rows` (m,) for one query (d,)."""
    out = np.empty(len(rows), np.float32)
    kernels.scores_by_row(CODE_OF[metric], query[None], vectors, rows, out)
    return out


def rescore(metric: Metric, queries: Vectors, vectors: Vectors, candidates: Rows, k: int) -> tuple[Scores, Rows]:
    """The k best (nq, k) of each query's `candidates` (nq, m), by exact score; -1 among them stands for none."""
    found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    kernels.rescore(CODE_OF[metric], queries, vectors, candidates, *found)
    return found


def top_k(
    metric: Metric,
    queries: Vectors,
    vectors: Vectors,
    k: int,
    bitmap: Bitmap | None = None,
    first: int = 0,
    last: int | None = None,
) -> tuple[Scores, Rows]:
    """The k nearest of rows first..last-1 that pass `bitmap`, by scanning them: scores and rows (nq, k)."""
    nq, end = len(queries), len(vectors) if last is None else last
    found = np.empty((nq, k), np.float32), np.empty((nq, k), np.int64)
    filtered = bitmap is not None
    mask = NO_BITMAP if bitmap is None else bitmap
    held = (end - first) * queries.size <= HELD_FLOATS
    (kernels.scan_held if held else kernels.scan)(CODE_OF[metric], queries, vectors, first, end, mask, filtered, *found)
    return found


def top_k_of(metric: Metric, queries: Vectors, vectors: Vectors, rows: Rows, k: int) -> tuple[Scores, Rows]:
    """The k nearest among the given distinct `rows` (m,): scores and rows (nq, k)."""
    nq = len(queries)
    found = np.empty((nq, k), np.float32), np.empty((nq, k), np.int64)
    kernels.scan_rows(CODE_OF[metric], queries, vectors, rows, *found)
    return found


class Merged(NamedTuple):
    """The best hits of some parts together: (nq, k) each, of which a query's first `filled` (nq,) count.

    `again` says of which parts, or in `parts.search` of which queries, more has to be seen before the answer is right.
    """

    units: npt.NDArray[np.int32]
    rows: Rows
    keys: Rows
    scores: Scores
    filled: Rows
    again: npt.NDArray[np.uint8]

    @classmethod
    def empty(cls, nq: int, k: int, asked: int) -> Merged:
        """Room for the hits of `nq` queries, and for what `again` says of `asked` parts or queries."""
        size = nq, k
        return cls(
            np.empty(size, np.int32),
            np.empty(size, np.int64),
            np.empty(size, np.int64),
            np.empty(size, np.float32),
            np.empty(nq, np.int64),
            np.zeros(asked, np.uint8),
        )


def merge(
    metric: Metric,
    nq: int,
    scores: Scores,
    rows: Rows,
    keys: Rows,
    table: Rows,
    k: int,
    *,
    distinct: bool,
) -> Merged:
    """The k best hits of each of `nq` queries in all parts, by score, then key; see `kernels.merge`."""
    merged = Merged.empty(nq, k, len(table))
    held = scores.size <= HELD_HITS
    order = kernels.IP if metric.larger_is_nearer else kernels.L2  # all it asks is which is nearer
    (kernels.merge_held if held else kernels.merge)(order, scores, rows, keys, table, distinct, *merged)
    return merged


def count_set(bitmap: Bitmap) -> int:
    """How many rows a bitmap lets pass."""
    return int(kernels.count_set(bitmap))
