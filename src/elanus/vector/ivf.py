"""Rows in lists around centroids, ranked by one-byte codes and scored exactly: IVF_FLAT, and the ground of `interim`.

A second float32 copy of the vectors in list order would double what a segment takes. Scoring rows where they lie in
the column needs no copy, but wanders through memory: 55 ns a row at 128 dimensions against 27 ns for a copy (200 k
rows, 8 of 128 lists: 665 and 340 µs). So lists hold codes of one byte a dimension, which are ranked in about 10 ns a
row, and the best of them are scored from the column (168 µs, recall .943 instead of .9455).

A code is that of the difference r between a row and its centroid, scaled per row, so nothing but centroids is
trained, and neither a common offset nor one long vector spoils the others: code = round(r / scale). For a row x in
the list of centroid c, and a query q,

    L2      |q - x|²  = |q - c|² - 2 scale (q - c)·code + |r|²
    IP      q·x       = q·c + scale q·code
    COSINE  the same as IP, with rows and centroids of length one

A row belongs to the list whose centroid is nearest in L2. Lists are ordered for a query by the metric between it and
their centroids. With a filter, further lists are looked at until as many passing rows were ranked as an unfiltered
search would rank.

Sections of the payload, with n rows of d dimensions and L lists:

    centroids  float32 (L, d)
    offsets    int32 (L + 1,)   list i is at offsets[i]..offsets[i + 1] - 1 of the others
    members    int32 (n,)       rows; those whose vector is null come last, in no list
    codes      int8 (n, d)
    scales     float32 (2, n)   scale, |r|²
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elanus.model.types import Metric
from elanus.vector import graph
from elanus.vector.list_kernels import EXTRA_CANDIDATES, encode, search_blocks
from elanus.vector.metrics import CODE_OF, NO_BITMAP, Bitmap, Rows, Scores, Vectors
from elanus.vector.payload import Array, Payload
from elanus.vector.untyped import faiss

ROWS_PER_LIST = 39
"""Fewer rows a list give no meaningful centroid, so short columns get fewer lists (as Milvus and faiss do)."""

TRAINING_ROWS_PER_LIST = 128
ITERATIONS = 10
BLOCK_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class CodedRows:
    """Rows and their codes in list order."""

    vectors: Vectors
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    members: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int32]

    @property
    def entry(self) -> npt.NDArray[np.int64]:
        """Where the kernel finds the arrays, and the number of rows: (1, 6)."""
        arrays = (self.vectors, self.codes, self.scales, self.members, self.offsets)
        return np.array([[*(array.ctypes.data for array in arrays), len(self.vectors)]], np.int64)


def train_centroids(metric: Metric, sample: Vectors, nlist: int, seed: int = 1234) -> Vectors:
    """k-means over `sample`: centroids (nlist, d)."""
    points = normalised(sample) if metric is Metric.COSINE else np.ascontiguousarray(sample)
    clustering = faiss.Clustering(points.shape[1], nlist)
    clustering.niter = ITERATIONS
    clustering.seed = seed
    clustering.spherical = metric is Metric.COSINE
    clustering.min_points_per_centroid = 1
    clustering.max_points_per_centroid = TRAINING_ROWS_PER_LIST
    clustering.train(points, faiss.IndexFlatL2(points.shape[1]))
    centroids: Array = faiss.vector_to_array(clustering.centroids)
    return centroids.reshape(nlist, -1)


def normalised(vectors: Vectors) -> Vectors:
    """A copy with rows of length one; rows of zeros stay zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths[lengths == 0] = 1
    unit: Vectors = (vectors / lengths[:, None]).astype(np.float32)
    return unit


def sample_of(vectors: Vectors, present: Rows | None, count: int, *, normalise: bool = False) -> Vectors:
    """At most `count` of the rows `present` (None: all), the same ones every time; `normalised`, where that is said."""
    rows = len(vectors) if present is None else len(present)
    chosen = np.sort(np.random.default_rng(1234).permutation(rows)[:count])
    sample: Vectors = vectors[chosen if present is None else present[chosen]]
    return normalised(sample) if normalise else sample


def blocks_of(vectors: Vectors, rows: Rows | None, *, normalise: bool) -> Iterator[Vectors]:
    """The vectors at `rows`, or all of them, a block at a time; views of the column where they can be."""
    count = len(vectors) if rows is None else len(rows)
    for begin in range(0, count, graph.BLOCK_ROWS):
        chosen = slice(begin, begin + graph.BLOCK_ROWS) if rows is None else rows[begin : begin + graph.BLOCK_ROWS]
        block = vectors[chosen]
        yield normalised(block) if normalise else np.ascontiguousarray(block)


def coded(metric: Metric, vectors: Vectors, centroids: Vectors, present: Rows | None = None) -> CodedRows:
    """Put rows (n, d) in lists around `centroids` and code them. Rows that are not `present` (None: all are) come
    behind the last list. Runs on the threads the caller has given faiss.
    """
    rows, dim = vectors.shape
    # Which unit centroid has the largest product does not depend on the row's length.
    quantizer = faiss.IndexFlat(dim, graph.faiss_metric(metric if metric is Metric.COSINE else Metric.L2))
    quantizer.add(centroids)
    owner = np.empty(rows, np.int64)
    for begin in range(0, rows, BLOCK_ROWS):
        owner[begin : begin + BLOCK_ROWS] = quantizer.search(vectors[begin : begin + BLOCK_ROWS], 1)[1][:, 0]
    lists = len(centroids)
    if present is not None:
        absent = np.ones(rows, np.bool_)
        absent[present] = False
        owner[absent] = lists
        centroids = np.concatenate([centroids, np.zeros((1, dim), np.float32)])
    codes, scales = np.empty((rows, dim), np.int8), np.empty((2, rows), np.float32)
    members, offsets = np.empty(rows, np.int32), np.empty(len(centroids) + 1, np.int32)
    encode(CODE_OF[metric], vectors, centroids, owner, codes, scales, members, offsets)
    return CodedRows(vectors, codes, scales, members, offsets[: lists + 1].copy())


def search_lists(
    metric: Metric,
    queries: Vectors,
    centroids: Vectors,
    table: npt.NDArray[np.int64],
    k: int,
    nprobe: int,
    want: int,
    bitmap: Bitmap | None,
) -> tuple[Scores, Rows]:
    """The k best of the `nprobe` nearest lists of all blocks in `table`, and of more until `want` rows were ranked."""
    nq = queries.shape[0]
    scores, rows = np.empty((nq, k), np.float32), np.empty((nq, k), np.int64)
    candidates = 2 * k + EXTRA_CANDIDATES
    search_blocks(
        CODE_OF[metric],
        queries,
        centroids,
        table,
        NO_BITMAP if bitmap is None else bitmap,
        bitmap is not None,
        nprobe,
        max(want, candidates),
        candidates,
        scores,
        rows,
    )
    return scores, rows


def build_sections(metric: Metric, vectors: Vectors, nlist: int, present: Rows | None = None) -> dict[str, Array]:
    """Train centroids on a sample of the rows `present` (None: all), put each of them in its list and code it."""
    rows = len(vectors) if present is None else len(present)
    nlist = max(1, min(nlist, rows // ROWS_PER_LIST))
    centroids = train_centroids(metric, sample_of(vectors, present, nlist * TRAINING_ROWS_PER_LIST), nlist)
    made = coded(metric, vectors, centroids, present)
    return {
        "centroids": centroids,
        "offsets": made.offsets,
        "members": made.members,
        "scales": made.scales,
        "codes": made.codes,
    }


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists ready to be searched; safe to use from many threads."""

    metric: Metric
    centroids: Vectors
    rows: CodedRows
    table: npt.NDArray[np.int64]
    """Where the kernel finds the rows' arrays."""

    @classmethod
    def open(cls, payload: Payload, vectors: Vectors, metric: Metric) -> Lists:
        s = payload.sections
        rows = CodedRows(vectors, s["codes"], s["scales"], s["members"], s["offsets"])
        return cls(metric, s["centroids"], rows, rows.entry)

    @property
    def nlist(self) -> int:
        return len(self.centroids)

    def wanted(self, nprobe: int) -> int:
        """Passing rows to be ranked where there is a filter: as many as there are rows in `nprobe` lists without."""
        return int(self.rows.offsets[-1]) * nprobe // self.nlist

    def search(self, queries: Vectors, k: int, nprobe: int, bitmap: Bitmap | None = None) -> tuple[Scores, Rows]:
        """The k best of the `nprobe` nearest lists, and of more until as many passing rows were `wanted`."""
        want = 0 if bitmap is None else self.wanted(nprobe)
        return search_lists(self.metric, queries, self.centroids, self.table, k, nprobe, want, bitmap)
