"""IVF_FLAT: rows in lists around centroids, scored where they lie in the stored column.

A second copy of the vectors in list order would double what a segment takes; the lists hold row numbers instead and
the rows are scored in place. Within a list they rise, so the scan moves forward through the mapped column. That costs
about a third more per row than a contiguous list would and keeps scores exact.

Sections of the payload, with n rows and L lists:

    centroids  float32 (L, d)
    offsets    int64 (L + 1,)   list i is members[offsets[i]:offsets[i + 1]]
    members    int32 (n,)       rows

Lists are ordered for a query by the metric between it and their centroids; a row belongs to the list whose centroid
is nearest in L2 (for COSINE after normalising, with centroids of length one).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elanus.model.types import Metric
from elanus.vector import kernels
from elanus.vector.metrics import CODE_OF, NO_BITMAP, Bitmap, Rows, Scores, Vectors
from elanus.vector.payload import Array, Payload
from elanus.vector.untyped import faiss

ROWS_PER_LIST = 39
"""Fewer rows a list give no meaningful centroid, so short columns get fewer lists (as Milvus and faiss do)."""

TRAINING_ROWS_PER_LIST = 128
ITERATIONS = 10
BLOCK_ROWS = 65_536


def normalised(vectors: Vectors) -> Vectors:
    """A copy with rows of length one; rows of zeros stay zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths[lengths == 0] = 1
    unit: Vectors = (vectors / lengths[:, None]).astype(np.float32)
    return unit


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


def build_sections(metric: Metric, vectors: Vectors, nlist: int) -> dict[str, Array]:
    """Train centroids on a sample of the rows and put every row in its list."""
    rows = len(vectors)
    nlist = max(1, min(nlist, rows // ROWS_PER_LIST))
    chosen = np.random.default_rng(1234).permutation(rows)[: nlist * TRAINING_ROWS_PER_LIST]
    centroids = train_centroids(metric, vectors[np.sort(chosen)], nlist)
    quantizer = faiss.IndexFlatL2(vectors.shape[1])
    quantizer.add(centroids)
    owner = np.empty(rows, np.int64)
    for begin in range(0, rows, BLOCK_ROWS):
        block = vectors[begin : begin + BLOCK_ROWS]
        block = normalised(block) if metric is Metric.COSINE else block
        owner[begin : begin + BLOCK_ROWS] = quantizer.search(block, 1)[1][:, 0]
    offsets = np.zeros(nlist + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=nlist), out=offsets[1:])
    return {"centroids": centroids, "offsets": offsets, "members": np.argsort(owner, kind="stable").astype(np.int32)}


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists ready to be scanned; safe to use from many threads."""

    metric: Metric
    vectors: Vectors
    centroids: Vectors
    offsets: Rows
    members: Array

    @classmethod
    def open(cls, payload: Payload, vectors: Vectors, metric: Metric) -> Lists:
        sections = payload.sections
        return cls(metric, vectors, sections["centroids"], sections["offsets"], sections["members"])

    @property
    def nlist(self) -> int:
        return len(self.centroids)

    def scan(
        self, queries: Vectors, k: int, nprobe: int, want: int, bitmap: Bitmap | None = None
    ) -> tuple[Scores, Rows]:
        """The k best of the `nprobe` nearest lists, and of more until `want` passing rows have been scored."""
        nq = queries.shape[0]
        scores, rows = np.empty((nq, k), np.float32), np.empty((nq, k), np.int64)
        kernels.scan_lists(
            CODE_OF[self.metric],
            queries,
            self.vectors,
            self.centroids,
            self.offsets,
            self.members,
            NO_BITMAP if bitmap is None else bitmap,
            bitmap is not None,
            nprobe,
            want,
            scores,
            rows,
        )
        return scores, rows
