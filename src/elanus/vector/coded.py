"""Codes that faiss makes and compares: the indexes whose rows are found by smaller codes than one byte a dimension.

    HNSW_SQ (SQ4U, SQ6, FP16), HNSW_PQ, HNSW_PRQ, DISKANN     a graph as any other (`graph`), walked by such codes
    IVF_PQ, IVF_RABITQ, SCANN                                 lists around centroids

Such codes find candidates; scores and their order are always those of the stored vectors, which lie in the mapped
column. That is what Milvus calls refining, and what DISKANN reads from disk. How many candidates there are for each hit
(`OVERFETCH`) was chosen for recall on sentence embeddings; `refine_k` and `reorder_k` ask for more.

For COSINE the codes are those of rows of length one, compared by inner product.

An index is one section of its file, `index`: what faiss writes. Opening it copies neither codes nor links out of the
map; of a graph it copies what says where each node's links begin, 12 bytes a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from elanus.model.types import Metric
from elanus.vector import graph, ivf, metrics
from elanus.vector.metrics import Bitmap, Rows, Scores, Vectors
from elanus.vector.payload import Array, Payload
from elanus.vector.registry import CODE_RATIO, GRAPHS, NBITS, SQ_TYPE, SUBQUANTIZERS, IndexKind, IndexSpec, SearchParams
from elanus.vector.untyped import faiss

OVERFETCH = {
    IndexKind.HNSW_SQ: 3.0,
    IndexKind.HNSW_PQ: 8.0,
    IndexKind.HNSW_PRQ: 8.0,
    IndexKind.DISKANN: 4.0,
    IndexKind.IVF_PQ: 10.0,
    IndexKind.IVF_RABITQ: 10.0,
    IndexKind.SCANN: 6.0,
}
"""Candidates for each hit."""

TRAINING_ROWS = 16_384
TRAINING_ITERATIONS = 10
"""Of subquantizers. What more of either brings is not seen in recall once rows are scored exactly."""

ROWS_PER_CENTROID = 4
"""A subquantizer of b bits has 2^b centroids; where there are not so many rows for each, it has fewer bits."""

RESIDUAL_BEAM = 2
"""Encodings of a row that a residual quantizer keeps in view: each costs as much again while an index is built."""

BYTES, HALF_BYTES = 0.25, 0.125
"""Of float32, codes of one byte and of half a byte a dimension."""

SCANN_DIMS = 2
"""Dimensions to each code of 4 bits."""

SCALARS = {"SQ4U": "QT_4bit_uniform", "SQ6": "QT_6bit", "FP16": "QT_fp16"}
"""The types of scalars that are not walked by a kernel of ours, as faiss calls them."""

QUERY_BITS = 8
"""Of queries compared with one bit a dimension, where nothing is said: as near as whole numbers are to it, 40 times as
fast as comparing with floats (20,000 sentences: 250 and 9,700 µs, recall the same).
"""

SECTION = "index"


def is_coded(spec: IndexSpec) -> bool:
    """Whether an index of this kind is made of such codes."""
    if spec.kind is IndexKind.HNSW_SQ:
        return spec.code(SQ_TYPE.name) in SCALARS
    return spec.kind in OVERFETCH and not (spec.kind is IndexKind.DISKANN and spec.code(CODE_RATIO.name) >= BYTES)


# --- building ---------------------------------------------------------------------------------------------------------


def new_storage(spec: IndexSpec, metric: Metric, sample: Vectors) -> Any:
    """An empty faiss index, trained on `sample` (n, d), that a graph of this kind is walked by."""
    dim, of = sample.shape[1], graph.faiss_metric(metric)
    if spec.kind is IndexKind.HNSW_SQ:
        storage = _scalars(SCALARS[spec.code(SQ_TYPE.name)], dim, of)
    elif spec.kind is IndexKind.HNSW_PRQ:
        parts, steps = spec.code(SUBQUANTIZERS), spec.code("nrq")
        storage = faiss.IndexProductResidualQuantizer(dim, parts, steps, _bits(spec.code(NBITS.name), sample), of)
        for part in range(parts):
            quantizer = faiss.downcast_AdditiveQuantizer(storage.prq.subquantizer(part))
            quantizer.max_beam_size = RESIDUAL_BEAM
            quantizer.cp.niter = TRAINING_ITERATIONS
    elif spec.kind is IndexKind.DISKANN:
        ratio = spec.code(CODE_RATIO.name)  # of codes to float32
        if ratio >= HALF_BYTES:
            storage = _scalars("QT_4bit", dim, of)
        else:
            parts = max(m for m in range(1, dim + 1) if dim % m == 0 and m <= max(1, 4 * dim * ratio))
            storage = faiss.IndexPQ(dim, parts, _bits(8, sample), of)
    else:
        storage = faiss.IndexPQ(dim, spec.code(SUBQUANTIZERS), _bits(spec.code(NBITS.name), sample), of)
    _train(storage, sample)
    return storage


def _scalars(kind: str, dim: int, metric: int) -> Any:
    return faiss.IndexScalarQuantizer(dim, getattr(faiss.ScalarQuantizer, kind), metric)


def _train(index: Any, sample: Vectors) -> None:
    if hasattr(index, "pq"):
        index.pq.cp.min_points_per_centroid = ROWS_PER_CENTROID
        index.pq.cp.niter = TRAINING_ITERATIONS
    index.train(sample)


def graph_section(storage: Any, links: dict[str, Any], sections: dict[str, Array]) -> Array:
    """The bytes of a graph with the links of `graph.links_of`, walked by what `storage` holds."""
    carrier = faiss.IndexHNSWFlat(storage.d, links["m"], storage.metric_type)
    graph.set_links(carrier, sections["levels"], sections["neighbors"], links["entry"], links["top"])
    carrier.own_fields = False
    carrier.storage = storage
    return np.asarray(faiss.serialize_index(carrier))


def links_in(payload: Payload) -> tuple[Array, Array]:
    """The levels and the neighbors of the graph in a file, as `graph` describes them."""
    index = _read(payload.sections[SECTION])
    hnsw = index.hnsw  # the index owns it
    levels = (faiss.vector_to_array(hnsw.levels) - 1).astype(np.uint8)
    return levels, faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size()).copy()


def lists_section(spec: IndexSpec, metric: Metric, vectors: Vectors, present: Rows | None) -> Array:
    """The bytes of lists over the rows `present` (None: all) of `vectors` (n, d)."""
    normalise = metric is Metric.COSINE
    rows = len(vectors) if present is None else len(present)
    nlist = max(1, min(spec.nlist, rows // ivf.ROWS_PER_LIST))
    trained = max(TRAINING_ROWS, nlist * ivf.TRAINING_ROWS_PER_LIST)
    sample = ivf.sample_of(vectors, present, trained, normalise=normalise)
    quantizer = faiss.IndexFlat(vectors.shape[1], graph.faiss_metric(metric))
    quantizer.add(ivf.train_centroids(metric, sample, nlist))
    index = _new_lists(spec, metric, quantizer, nlist, sample)
    index.own_fields = False
    _train(index, sample)
    numbers = np.arange(rows) if present is None else present
    done = 0
    for block in ivf.blocks_of(vectors, present, normalise=normalise):
        index.add_with_ids(block, numbers[done : done + len(block)])
        done += len(block)
    return np.asarray(faiss.serialize_index(index))


def _new_lists(spec: IndexSpec, metric: Metric, quantizer: Any, nlist: int, sample: Vectors) -> Any:
    dim, of = quantizer.d, graph.faiss_metric(metric)
    if spec.kind is IndexKind.IVF_RABITQ:
        return faiss.IndexIVFRaBitQ(quantizer, dim, nlist, of)
    if spec.kind is IndexKind.SCANN:
        return faiss.IndexIVFPQFastScan(quantizer, dim, nlist, max(1, dim // SCANN_DIMS), 4, of)
    return faiss.IndexIVFPQ(quantizer, dim, nlist, spec.code(SUBQUANTIZERS), _bits(spec.code(NBITS.name), sample), of)


def _bits(wanted: int, sample: Vectors) -> int:
    return max(1, min(wanted, int(math.log2(max(2, len(sample) // ROWS_PER_CENTROID)))))


# --- searching --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Coded:
    """An index ready to be searched, from any number of threads."""

    spec: IndexSpec
    metric: Metric
    vectors: Vectors
    _index: Any
    _section: Array
    """What the index points into."""

    @classmethod
    def open(cls, payload: Payload, vectors: Vectors, metric: Metric, spec: IndexSpec) -> Coded:
        section = payload.sections[SECTION]
        return cls(spec, metric, vectors, _read(section), section)

    @property
    def nlist(self) -> int:
        """How many lists there are; there may be fewer than were asked for."""
        return int(self._index.nlist)

    def search(
        self, queries: Vectors, k: int, width: int, params: SearchParams, bitmap: Bitmap | None = None
    ) -> tuple[Scores, Rows]:
        """The k nearest (nq, k) of the rows that are met, best first, -1 where there are fewer, by exact scores.

        `width` is the `ef` of a graph, the number of lists looked at otherwise.
        """
        nq, count = len(queries), min(len(self.vectors), math.ceil(k * max(OVERFETCH[self.spec.kind], params.refine)))
        if self.spec.is_graph:
            width = max(width, count)
        if bitmap is None:
            how = _unfiltered(self.spec.kind, width, params.query_bits)
        else:
            how = _parameters(self.spec.kind, width, params.query_bits, sel=faiss.IDSelectorBitmap(bitmap))
        scores, rows = np.empty((nq, count), np.float32), np.empty((nq, count), np.int64)
        with graph.threads(1):
            query, score, row = (graph.pointer(array) for array in (queries, scores, rows))
            self._index.search_c(nq, query, count, score, row, how)
        return metrics.rescore(self.metric, queries, self.vectors, rows, k)


def _parameters(kind: IndexKind, width: int, query_bits: int, **more: Any) -> Any:
    """What faiss is told of a search."""
    if kind in GRAPHS:
        return faiss.SearchParametersHNSW(efSearch=width, **more)
    if kind is IndexKind.IVF_RABITQ:
        return faiss.IVFRaBitQSearchParameters(nprobe=width, qb=query_bits or QUERY_BITS, **more)
    return faiss.SearchParametersIVF(nprobe=width, **more)


_unfiltered = lru_cache(maxsize=1024)(_parameters)
"""Making them takes as long as a short search. A search changes nothing in them."""


def _read(section: Array) -> Any:
    return faiss.read_index(faiss.ZeroCopyIOReader(graph.pointer(section), section.size))
