"""HNSW graphs over stored vectors or compact codes, walked where they lie in mapped memory.

Node i of a graph is row i of the segment, always; rows whose vector is null have nodes of level 0 without a link, to
which no link leads. What nodes are compared by is one of

    f32    the segment's own column; the file then holds links alone
    bf16   two bytes a dimension, in the file
    sq8    one byte a dimension between the smallest and largest value of that dimension, in the file

For COSINE the graph is one of inner products of vectors of length one. Where the stored rows are such they serve as
they are; otherwise the codes are those of the normalised rows, and never f32.

Sections of the payload, with n rows of d dimensions:

    levels     uint8 (n,)     the highest level of each node
    neighbors  int32 (…,)     links: node after node, level after level, 2 M of level 0 and M of each above, -1 = none
    codes      uint8 (n, …)   with bf16 and sq8
    trained    float32 (2 d,) with sq8: the smallest value of each dimension, then the width of its range
    squares    float32 (n,)   with sq8 and L2: |x - smallest|² of each row, as the codes have it; the first files are
                              without, and it is worked out when they are opened

`meta`: m, entry (node), top (level), codes.

faiss builds graphs (`new_index` and what follows it here), `walk_kernels` walks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from elanus.model.types import Metric
from elanus.vector import kernels, walk_kernels
from elanus.vector.metrics import CODE_OF, NO_BITMAP, Bitmap, Rows, Scores, Vectors
from elanus.vector.payload import Array, Payload, address
from elanus.vector.untyped import faiss

BLOCK_ROWS = 16_384
"""Rows that are worked on at a time where what is made of them is larger than they are."""


OVERFETCH = 2
"""Candidates by codes for each result, re-scored from the stored vectors: more brings nothing (recall .9620 with 2 k,
3 k and ef candidates at ef 64, .9568 with k, sq8)."""


class Codes(StrEnum):
    F32 = "f32"
    BF16 = "bf16"
    SQ8 = "sq8"
    FAISS = "faiss"
    """Smaller ones, of which `coded` knows more."""


def faiss_metric(metric: Metric) -> int:
    return int(faiss.METRIC_L2 if metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT)


def storage_for(codes: Codes, metric: Metric, dim: int) -> Any:
    """An empty faiss storage that compares vectors by `codes`."""
    if codes is Codes.F32:
        return faiss.IndexFlat(dim, faiss_metric(metric))
    kind = faiss.ScalarQuantizer.QT_bf16 if codes is Codes.BF16 else faiss.ScalarQuantizer.QT_8bit
    return faiss.IndexScalarQuantizer(dim, kind, faiss_metric(metric))


def set_trained(storage: Any, codes: Codes, trained: Array) -> None:
    if codes is Codes.SQ8:
        faiss.copy_array_to_vector(np.array(trained, np.float32), storage.sq.trained)
    storage.is_trained = True


def pointer(array: npt.NDArray[Any]) -> Any:
    """A C++ pointer to the first element of `array`."""
    return faiss.swig_ptr(array)


def link_slots(m: int, levels: npt.NDArray[np.integer[Any]]) -> Rows:
    """Where each node's links begin, and where the last one's end: (n + 1,)."""
    slots = np.empty(len(levels) + 1, np.int64)
    slots[0] = 0
    np.cumsum(2 * m + m * levels.astype(np.int64), out=slots[1:])
    return slots


def new_index(storage: Any, m: int, ef_construction: int) -> Any:
    """A faiss HNSW index over `storage`, which it does not own."""
    index = faiss.IndexHNSW(storage, m)
    index.hnsw.efConstruction = ef_construction
    return index


def set_links(index: Any, levels: npt.NDArray[np.uint8], neighbors: Array, entry: int, top: int) -> None:
    """Give an HNSW index the links of `len(levels)` nodes, copied, to be grown."""
    hnsw = index.hnsw
    faiss.copy_array_to_vector(levels.astype(np.int32) + 1, hnsw.levels)
    faiss.copy_array_to_vector(link_slots(hnsw.nb_neighbors(1), levels).view(np.uint64), hnsw.offsets)
    faiss.copy_array_to_vector(np.ascontiguousarray(neighbors), hnsw.neighbors)
    hnsw.entry_point = entry
    hnsw.max_level = top
    index.ntotal = len(levels)


def links_of(index: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a finished index's file says of its links: its part of `meta`, and the sections."""
    hnsw = index.hnsw
    levels = (faiss.vector_to_array(hnsw.levels) - 1).astype(np.uint8)
    neighbors = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
    meta = {"m": hnsw.nb_neighbors(1), "entry": hnsw.entry_point, "top": hnsw.max_level}
    return meta, {"levels": levels, "neighbors": neighbors}


def spread(links: dict[str, Any], sections: dict[str, Array], rows: Rows, count: int) -> None:
    """Make links of nodes that stand for the rising `rows` of `count` links of nodes 0..count-1, of which the others
    have none and are met by no walk.
    """
    levels, neighbors, m = sections["levels"], sections["neighbors"], links["m"]
    row_of = rows.astype(np.int32)
    for begin in range(0, len(neighbors), BLOCK_ROWS * m):
        block = neighbors[begin : begin + BLOCK_ROWS * m]
        block[:] = np.where(block >= 0, row_of[block], block)
    all_levels = np.zeros(count, np.uint8)
    all_levels[rows] = levels
    slots = link_slots(m, all_levels)
    linked = np.zeros(count, np.bool_)
    linked[rows] = True
    all_neighbors = np.full(slots[-1], -1, np.int32)
    all_neighbors[np.repeat(linked, np.diff(slots))] = neighbors
    links["entry"] = int(rows[links["entry"]])
    sections["levels"], sections["neighbors"] = all_levels, all_neighbors


def squares_of(codes: Array, trained: Vectors) -> Vectors:
    """The squared length (n,) of what sq8 `codes` (n, d) stand for, measured from the smallest values."""
    squares = np.empty(len(codes), np.float32)
    widths = trained[codes.shape[1] :] / walk_kernels.LARGEST_CODE
    for begin in range(0, len(codes), BLOCK_ROWS):
        block = (codes[begin : begin + BLOCK_ROWS] + np.float32(0.5)) * widths
        np.einsum("ij,ij->i", block, block, out=squares[begin : begin + BLOCK_ROWS])
    return squares


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let faiss calls of this thread run on `count` threads. OpenMP keeps the number per thread; it is put back."""
    before = faiss.omp_get_max_threads()
    if before == count:
        yield
        return
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


_TYPES = {Codes.F32: kernels.f32, Codes.BF16: kernels.u16, Codes.SQ8: kernels.u8}

_NOTHING: Vectors = np.empty(0, np.float32)


@dataclass(frozen=True)
class Graph:
    """A graph ready to be walked. Safe to use from many threads: searching changes nothing in it."""

    overfetch: int
    """Candidates by codes for each result: one where nodes are compared by the stored vectors in the collection's
    metric, so that no better row is left out by the coarseness of codes."""

    _walk: Callable[..., None]
    _metric: int
    _walked: tuple[Any, ...]
    """Codes and what else is needed to compare by them, links, and the stored vectors, as the kernel takes them."""

    addresses: tuple[int, ...] | None
    """The same as `parts` takes them, but for the vectors; None where the codes are not of one byte."""

    @classmethod
    def open(cls, payload: Payload, vectors: Vectors, metric: Metric) -> Graph:
        """The graph of `payload`, with `vectors` (n, d) as the column it was built from."""
        meta, sections = payload.meta, payload.sections
        codes = Codes(meta["codes"])
        trained, squares = sections.get("trained", _NOTHING), _NOTHING
        if codes is Codes.F32:
            compared: Array = vectors
        elif codes is Codes.BF16:
            compared = sections["codes"].view(np.uint16)
        else:
            compared = sections["codes"]
            if metric is Metric.L2:
                squares = sections["squares"] if "squares" in sections else squares_of(compared, trained)
        slots = link_slots(meta["m"], sections["levels"])
        return cls(
            overfetch=1 if codes is Codes.F32 and metric is not Metric.COSINE else OVERFETCH,
            _walk=walk_kernels.walk_over(_TYPES[codes]),
            _metric=CODE_OF[metric],
            _walked=(
                compared,
                trained,
                squares,
                slots,
                sections["neighbors"],
                meta["m"],
                meta["entry"],
                meta["top"],
                vectors,
            ),
            addresses=(
                address(compared), address(trained), address(squares), len(squares), address(slots),
                address(sections["neighbors"]), len(sections["neighbors"]), meta["m"], meta["entry"], meta["top"],
            ) if codes is Codes.SQ8 else None,
        )  # fmt: skip

    def search(self, queries: Vectors, k: int, ef: int, bitmap: Bitmap | None = None) -> tuple[Scores, Rows]:
        """The k nearest rows (nq, k) that a walk of `ef` finds, best first, -1 where there are fewer.

        With a bitmap the walk goes through all rows and keeps those that pass; it stops when `ef` nodes of either
        sort are nearer than what is left to look at.
        """
        nq, count = queries.shape[0], self.overfetch * k
        found = np.empty((nq, k), np.float32), np.empty((nq, k), np.int64)
        mask, filtered = (NO_BITMAP, False) if bitmap is None else (bitmap, True)
        candidates = np.empty((nq, count), np.int64)
        self._walk(self._metric, queries, *self._walked, count, max(ef, count), mask, filtered, candidates, *found)
        return found
