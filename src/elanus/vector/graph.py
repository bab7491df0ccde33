"""HNSW graphs over stored vectors or compact codes, attached to mapped memory without copying.

Node i of a graph is row i of the segment, always. What nodes are compared by is one of

    f32    the segment's own column, which the storage views in place; the file then holds links alone
    bf16   two bytes a dimension, in the file
    sq8    one byte a dimension between the smallest and largest value of that dimension, in the file

For COSINE the graph is one of inner products of vectors of length one. Where the stored rows are such (`unit`) they
serve as they are; otherwise the codes are those of the normalised rows, and never f32.

Sections of the payload, with n rows:

    levels     uint8 (n,)     the highest level of each node
    neighbors  int32 (…,)     links: node after node, level after level, 2 M of level 0 and M of each above, -1 = none
    codes      uint8 (n, …)   with bf16 and sq8
    trained    float32 (…,)   with sq8: the ranges

`meta`: m, entry (node), top (level), codes, unit.

faiss's objects copy `levels` and where each node's links begin (12 bytes a node); links and codes stay mapped. The
objects hold bare addresses, so a `Graph` keeps every array it was made of.
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
from elanus.vector.metrics import Bitmap, Rows, Vectors
from elanus.vector.payload import Array, Payload
from elanus.vector.untyped import faiss


class Codes(StrEnum):
    F32 = "f32"
    BF16 = "bf16"
    SQ8 = "sq8"


def faiss_metric(metric: Metric) -> int:
    return int(faiss.METRIC_L2 if metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT)


def storage_for(codes: Codes, metric: Metric, dim: int) -> Any:
    """An empty faiss storage that compares vectors by `codes`."""
    if codes is Codes.F32:
        return faiss.IndexFlat(dim, faiss_metric(metric))
    kind = faiss.ScalarQuantizer.QT_bf16 if codes is Codes.BF16 else faiss.ScalarQuantizer.QT_8bit
    return faiss.IndexScalarQuantizer(dim, kind, faiss_metric(metric))


def trained_of(storage: Any, codes: Codes) -> Array:
    """The ranges a scalar quantiser has learnt; empty for the other codes."""
    if codes is not Codes.SQ8:
        return np.empty(0, np.float32)
    trained: Array = faiss.vector_to_array(storage.sq.trained)
    return trained


def set_trained(storage: Any, codes: Codes, trained: Array) -> None:
    if codes is Codes.SQ8:
        faiss.copy_array_to_vector(np.array(trained, np.float32), storage.sq.trained)
    storage.is_trained = True


def view_codes(storage: Any, rows: npt.NDArray[Any]) -> None:
    """Let `storage` read its codes, one row each, from `rows` in place. The caller keeps `rows` alive."""
    unowned = faiss.MaybeOwnedVectorUInt8()
    storage.codes = faiss.MaybeOwnedVectorUInt8.create_view(pointer(rows), rows.nbytes, unowned.owner)
    storage.ntotal = len(rows)


def pointer(array: npt.NDArray[Any]) -> Any:
    """A C++ pointer to the first element of `array`."""
    return faiss.swig_ptr(array)


def link_slots(m: int, levels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint64]:
    """Where each node's links begin, and where the last one's end: (n + 1,)."""
    slots = np.empty(len(levels) + 1, np.uint64)
    slots[0] = 0
    np.cumsum(2 * m + m * levels.astype(np.int64), out=slots[1:].view(np.int64))
    return slots


def new_index(storage: Any, m: int, ef_construction: int) -> Any:
    """A faiss HNSW index over `storage`, which it does not own."""
    index = faiss.IndexHNSW(storage, m)
    index.hnsw.efConstruction = ef_construction
    return index


def set_links(index: Any, levels: npt.NDArray[np.uint8], neighbors: Array, entry: int, top: int, *, copy: bool) -> None:
    """Give an HNSW index the links of `len(levels)` nodes, viewed in place or copied (to be grown)."""
    hnsw = index.hnsw
    m = hnsw.nb_neighbors(1)
    faiss.copy_array_to_vector(levels.astype(np.int32) + 1, hnsw.levels)
    faiss.copy_array_to_vector(link_slots(m, levels), hnsw.offsets)
    if copy:
        faiss.copy_array_to_vector(np.ascontiguousarray(neighbors), hnsw.neighbors)
    else:
        unowned = faiss.MaybeOwnedVectorInt32()
        hnsw.neighbors = faiss.MaybeOwnedVectorInt32.create_view(pointer(neighbors), len(neighbors), unowned.owner)
    hnsw.entry_point = entry
    hnsw.max_level = top
    index.ntotal = len(levels)


def sections_of(index: Any, codes: Codes) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a finished index's file holds: its part of `meta`, and the sections."""
    hnsw, storage = index.hnsw, index.storage
    levels = (faiss.vector_to_array(hnsw.levels) - 1).astype(np.uint8)
    neighbors = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
    sections: dict[str, Array] = {"levels": levels, "neighbors": neighbors}
    if codes is not Codes.F32:
        storage = faiss.downcast_index(storage)
        flat = faiss.rev_swig_ptr(storage.codes.data(), storage.codes.size())
        sections["codes"] = flat.reshape(len(levels), -1)
        sections["trained"] = trained_of(storage, codes)
    return {"m": hnsw.nb_neighbors(1), "entry": hnsw.entry_point, "top": hnsw.max_level}, sections


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


@dataclass(frozen=True)
class Graph:
    """A graph ready to be walked. Safe to use from many threads: searching changes nothing in it."""

    rows: int
    is_exact: bool
    """Whether nodes are compared by the stored vectors in the collection's metric, so that no better row is ever
    left out by the coarseness of codes."""

    _walk: Callable[..., None]
    _parameters: dict[int, Any]
    _kept: tuple[Any, ...]

    @classmethod
    def open(cls, payload: Payload, vectors: Vectors, metric: Metric) -> Graph:
        """The graph of `payload`, with `vectors` (n, d) as the column it was built from."""
        meta, sections = payload.meta, payload.sections
        codes = Codes(meta["codes"])
        storage = storage_for(codes, metric, vectors.shape[1])
        compared = vectors if codes is Codes.F32 else sections["codes"]
        set_trained(storage, codes, sections.get("trained", np.empty(0, np.float32)))
        view_codes(storage, compared)
        index = new_index(storage, meta["m"], 1)
        set_links(index, sections["levels"], sections["neighbors"], meta["entry"], meta["top"], copy=False)
        is_exact = codes is Codes.F32 and metric is not Metric.COSINE
        return cls(len(vectors), is_exact, index.search_c, {}, (index, storage, payload, vectors))

    def walk(self, queries: Vectors, count: int, ef: int, bitmap: Bitmap | None = None) -> Rows:
        """Candidates (nq, count) for each query, -1 where there are fewer: those nearest by the graph's codes.

        With a bitmap the walk goes through all rows and keeps those that pass; it stops when `ef` nodes of either
        sort are nearer than what is left to look at.
        """
        nq = queries.shape[0]
        candidates = np.empty((nq, count), np.int64)
        costs = np.empty((nq, count), np.float32)
        swig_ptr = faiss.swig_ptr
        if bitmap is None:
            parameters = self._parameters.get(ef)
            if parameters is None:
                parameters = self._prepare(ef)
        else:
            selector = faiss.IDSelectorBitmap(len(bitmap), swig_ptr(bitmap))
            parameters = faiss.SearchParametersHNSW(efSearch=ef, sel=selector)
        if nq == 1:
            self._walk(1, swig_ptr(queries), count, swig_ptr(costs), swig_ptr(candidates), parameters)
        else:
            with threads(1):
                self._walk(nq, swig_ptr(queries), count, swig_ptr(costs), swig_ptr(candidates), parameters)
        return candidates

    def _prepare(self, ef: int) -> Any:
        """Parameters without a selector never change, so all threads share them."""
        if len(self._parameters) >= 256:
            self._parameters.clear()
        parameters = self._parameters[ef] = faiss.SearchParametersHNSW(efSearch=ef)
        return parameters
