"""Exact scores and scans of vectors that are not float32.

    half-width floats and int8   blocks of rows are widened to float32 and scored as float32 vectors are
    bits                         words of 64 bits are compared and counted; of hashes in bits words of 32
    sparse                       the pairs of a row are looked up in a table of the query's
    BM25                         the same, of words; how much a query's weigh is known (`engine.full_text`)

Queries are (nq, dim) float32 for the first, (nq, bytes) uint8 for bits, and (nq,) objects, the bytes of pairs, for
sparse vectors. `stored` is the matrix of a dense field (`NUMPY_OF`), or the large_binary array of a sparse one.

A row that a metric does not let match (a structure that is not there, nothing in common with a sparse query) has the
worst score there is, an infinite one, and is never a hit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.types import DataType, Metric
from elanus.model.vectors import pairs_of, spans_of
from elanus.vector import exact_kernels, metrics, term_kernels
from elanus.vector.metrics import Rows, Scores

Queries = npt.NDArray[Any]
Stored = Any
KeysAt = Callable[[Rows], Rows]

BLOCK_FLOATS = 1 << 16
"""Numbers widened at a time: 256 KiB of float32 are scored while they are in the second-level cache."""

HELD_SCORES = 1 << 24
"""Scores computed before the nearest are picked: 64 MiB."""

_BIT_METRICS = {
    Metric.HAMMING: exact_kernels.HAMMING,
    Metric.JACCARD: exact_kernels.JACCARD,
    Metric.SUBSTRUCTURE: exact_kernels.SUBSTRUCTURE,
    Metric.SUPERSTRUCTURE: exact_kernels.SUPERSTRUCTURE,
}


class Bm25(NamedTuple):
    """What scores depend on beside words: `k1` and `b` as in `registry.Weights`, and the `average` words of a text."""

    k1: float
    b: float
    average: float


def scores(
    dtype: DataType, metric: Metric, queries: Queries, stored: Stored, rows: Rows, scoring: Bm25 | None = None
) -> Scores:
    """Scores (nq, m) of the vectors at `rows` (m,) for every query; of BM25 by what `scoring` says."""
    if dtype is DataType.SPARSE_FLOAT_VECTOR:
        return _sparse_scores(queries, stored, rows, scoring)
    out = np.empty((len(queries), len(rows)), np.float32)
    step = max(1, BLOCK_FLOATS // stored.shape[1])
    words = _words(queries) if metric in _BIT_METRICS else None
    whole = len(rows) == len(stored)
    for begin in range(0, len(rows), step):
        block = stored[begin : begin + step] if whole else stored[rows[begin : begin + step]]
        if metric is Metric.MHJACCARD:
            found = _agreeing(queries, block)
        elif words is None:
            found = metrics.scores(metric, queries, _widened(dtype, block))
        else:
            found = np.empty((len(queries), len(block)), np.float32)
            exact_kernels.bit_scores(_BIT_METRICS[metric], words, _words(block), found)
        out[:, begin : begin + step] = found
    return out


def top_k(
    dtype: DataType,
    metric: Metric,
    queries: Queries,
    stored: Stored,
    rows: Rows,
    k: int,
    keys_at: KeysAt,
    scoring: Bm25 | None = None,
) -> tuple[Scores, Rows]:
    """The k nearest of `rows` (m,), rising: scores and rows (nq, k), best first, of equal scores the smallest keys.

    `keys_at` gives for some rows integers that compare as their keys do. Unfilled places hold row -1.
    """
    worst = -np.inf if metric.larger_is_nearer else np.inf
    found = np.full((len(queries), k), worst, np.float32), np.full((len(queries), k), -1, np.int64)
    at_once = max(1, HELD_SCORES // max(1, len(rows)))
    for begin in range(0, len(queries), at_once):
        block = scores(dtype, metric, queries[begin : begin + at_once], stored, rows, scoring)
        for query, of_query in enumerate(block, begin):
            near = _nearest(-of_query if metric.larger_is_nearer else of_query, rows, k, keys_at)
            found[0][query, : len(near)], found[1][query, : len(near)] = of_query[near], rows[near]
    return found


def _nearest(costs: Scores, rows: Rows, k: int, keys_at: KeysAt) -> Rows:
    """The places of the k smallest finite `costs`."""
    edge = np.partition(costs, k - 1)[k - 1] if len(costs) > k else np.float32(np.inf)
    near = np.flatnonzero((costs <= edge) & (costs < np.inf))
    order: Rows = near[np.lexsort((keys_at(rows[near]), costs[near]))[:k]]
    return order


def _widened(dtype: DataType, block: npt.NDArray[Any]) -> metrics.Vectors:
    """`model.vectors.widened`, several times faster and of finite numbers only."""
    if dtype is DataType.INT8_VECTOR:
        return block.astype(np.float32)
    wide = np.empty(block.shape, np.float32)
    floats = wide.reshape(-1)
    if dtype is DataType.FLOAT16_VECTOR:
        exact_kernels.widen_halves(block.reshape(-1), floats.view(np.uint32), floats)
    else:
        exact_kernels.widen_upper_halves(block.reshape(-1), floats.view(np.uint32))
    return wide


def _agreeing(queries: Queries, block: npt.NDArray[np.uint8]) -> Scores:
    """The share of hashes of 32 bits, or of 8 where these do not fit, in which rows agree with queries; where none does
    the row does not match.
    """
    out = np.empty((len(queries), len(block)), np.float32)
    kind = np.uint8 if block.shape[1] % 4 else np.uint32
    hashes = np.ascontiguousarray(block).view(kind)
    for query, of_query in zip(np.ascontiguousarray(queries).view(kind), out, strict=True):
        np.mean(hashes == query, axis=1, dtype=np.float32, out=of_query)
    out[out == 0] = -np.inf
    return out


def _words(vectors: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Vectors of bytes as words; bits that are nowhere change no count."""
    rows, width = vectors.shape
    if width % 8:
        padded = np.zeros((rows, width + 8 - width % 8), np.uint8)
        padded[:, :width] = vectors
        vectors = padded
    return np.ascontiguousarray(vectors).view(np.uint64)


def _sparse_scores(queries: Queries, stored: pa.Array, rows: Rows, scoring: Bm25 | None) -> Scores:
    words, (begins, ends) = pairs_of(stored), spans_of(stored, rows)
    out = np.empty((len(queries), len(rows)), np.float32)
    for query, of_query in zip(queries, out, strict=True):
        of_rows = *_parts(query), words, words.view(np.float32), begins, ends
        if scoring is None:
            exact_kernels.sparse_products(*of_rows, of_query)
        else:
            term_kernels.bm25_scores(*of_rows, *scoring, of_query)
    return out


def _parts(query: bytes) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    """The indexes and the values of a sparse query."""
    pairs = np.frombuffer(query, np.uint32)
    return np.ascontiguousarray(pairs[::2]), np.ascontiguousarray(pairs[1::2]).view(np.float32)


def count_texts(terms: npt.NDArray[np.uint32], stored: pa.Array, rows: Rows, texts: npt.NDArray[np.int64]) -> float:
    """How many words the texts at `rows` have together; `texts` (terms,) grows by how many have each of the distinct
    `terms` (terms,).
    """
    words = pairs_of(stored)
    numbers = np.arange(1, len(terms) + 1, dtype=np.float32)
    return term_kernels.count_texts(terms, numbers, words, words.view(np.float32), *spans_of(stored, rows), texts)
