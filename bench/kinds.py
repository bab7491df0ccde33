"""Every kind of dense index: how long it is built, how large it is, and how many queries a second it answers.

Indexes are built over one column as a builder builds them, on two threads, and searched one query at a time, on one
thread. Widths (`ef`, `nprobe`) grow until all levels of recall are reached; the queries a second of the least width
that reaches a level are those of the kind at that level. Beside a kind that is a faiss index stands the bare call of
the same index with faiss's own refining, asked for as many candidates, in the same turn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from bench.context import Context
from bench.data import Vectors
from bench.measure import Spread, latencies_s
from bench.report import Figure, plot_trade
from elanus.model.types import Metric
from elanus.vector import build, coded, metrics
from elanus.vector.open import VectorIndex
from elanus.vector.registry import IndexSpec, SearchParams, resolve

ROWS, QUERIES, K, THREADS = 200_000, 400, 10, 2
LEVELS = (0.90, 0.95, 0.99)
WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
RATIO = 1.2

KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("FLAT", {}),
    ("IVF_FLAT", {"nlist": 1024}),
    ("IVF_SQ8", {"nlist": 1024}),
    ("IVF_PQ", {"nlist": 1024, "m": 32}),
    ("IVF_RABITQ", {"nlist": 1024}),
    ("SCANN", {"nlist": 1024}),
    ("HNSW", {"M": 16, "efConstruction": 200}),
    ("HNSW_SQ", {"M": 16, "efConstruction": 200, "sq_type": "SQ6"}),
    ("HNSW_PQ", {"M": 16, "efConstruction": 200, "m": 32}),
    ("HNSW_PRQ", {"M": 16, "efConstruction": 200, "m": 8}),
    ("DISKANN", {}),
    ("AUTOINDEX", {}),
)


@dataclass(frozen=True, slots=True)
class Point:
    """What a width gives: the recall, queries a second of Elanus, and of bare faiss where it has the index."""

    width: int
    recall: float
    qps: float
    bare_qps: float | None


def run(context: Context) -> list[Figure]:
    faiss.omp_set_num_threads(1)
    rows, queries = context.source.rows(context.rows(ROWS)), context.source.queries(QUERIES)
    truth = metrics.top_k(Metric.L2, queries, rows, K)[1]
    folder = context.fresh("kinds")
    folder.mkdir(parents=True)
    figures: list[Figure] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    for kind, params in KINDS:
        spec = resolve(kind, params)
        path = folder / kind
        begin = time.perf_counter()
        if spec.has_file:
            build.build(spec, Metric.L2, rows, path, THREADS)
        took = time.perf_counter() - begin
        size = path.stat().st_size if spec.has_file else 0
        index = VectorIndex.open(path if spec.has_file else None, rows, Metric.L2, spec)
        points = _points(index, spec, rows, queries, truth, context.rounds)
        curves[kind] = [(point.recall, point.qps) for point in points]
        figures += _figures(kind, f"{kind}, {len(rows):,} × {rows.shape[1]}", took, size, points)
        os.sync()
    plot_trade(curves, f"recall@{K}", "queries a second", context.out / "kinds.png")
    return figures


def _figures(kind: str, label: str, took_s: float, size: int, points: list[Point]) -> list[Figure]:
    figures = []
    if kind != "FLAT":
        figures.append(Figure("kinds", f"{label}, build on {THREADS} threads", Spread.of([took_s]), "s"))
        figures.append(Figure("kinds", f"{label}, file", Spread.of([size / 1e6]), "MB"))
    for level in LEVELS:
        reached = next((point for point in points if point.recall >= level), None)
        if reached is None:
            best = max(points, key=lambda point: point.recall)
            note = f"not reached: {best.recall:.3f} at {best.width}"
            figures.append(Figure("kinds", f"{label}, recall {level:.2f}", Spread.of([0.0]), "queries/s", note=note))
            continue
        note = f"width {reached.width}, recall {reached.recall:.3f}"
        what = f"{label}, recall {level:.2f}"
        figures.append(Figure("kinds", what, Spread.of([reached.qps]), "queries/s", note=note))
        if reached.bare_qps is not None:
            ratio = Spread.of([reached.bare_qps / reached.qps])
            figures.append(Figure("kinds", f"{what}, bare faiss / Elanus", ratio, "×", RATIO))
    return figures


def _points(
    index: VectorIndex, spec: IndexSpec, rows: Vectors, queries: Vectors, truth: Any, rounds: int
) -> list[Point]:
    """Of rising widths, until the highest level is reached."""
    points = []
    for width in WIDTHS if spec.has_file else (0,):
        params = SearchParams(ef=max(width, K)) if spec.is_graph else SearchParams(nprobe=width)
        bare = _bare(index, rows, queries, params)

        def search(i: int, params: SearchParams = params) -> Any:
            return index.search(queries[i : i + 1], K, params)[1][0]

        latencies_s(search, min(50, len(queries)))
        medians, bare_medians = [], []
        for _ in range(rounds):
            medians.append(float(np.median(latencies_s(search, len(queries)))))
            if bare is not None:
                bare_medians.append(float(np.median(latencies_s(bare, len(queries)))))
        recall = float(np.mean([len(np.intersect1d(search(i), truth[i])) / K for i in range(len(queries))]))
        of_bare = 1 / float(np.median(bare_medians)) if bare_medians else None
        points.append(Point(width, recall, 1 / float(np.median(medians)), of_bare))
        if recall >= LEVELS[-1]:
            break
    return points


def _bare(index: VectorIndex, rows: Vectors, queries: Vectors, params: SearchParams) -> Callable[[int], Any] | None:
    """The same search of a query by faiss alone; None where the index is none of faiss's."""
    inner = index._held()[1]
    if not isinstance(inner, coded.Coded):
        return None
    flat = faiss.IndexFlat(rows.shape[1], faiss.METRIC_L2)
    flat.add(rows)
    refined = faiss.IndexRefine(inner._index, flat)
    factor = coded.OVERFETCH[index.spec.kind]
    if index.spec.is_graph:
        how: Any = faiss.SearchParametersHNSW(efSearch=max(params.ef, int(K * factor)))
    else:
        how = faiss.SearchParametersIVF(nprobe=params.nprobe)
    if isinstance(inner._index, faiss.IndexIVFRaBitQ):
        how = faiss.IVFRaBitQSearchParameters(nprobe=params.nprobe, qb=coded.QUERY_BITS)
    wrapped = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=how)
    return lambda i: refined.search(queries[i : i + 1], K, params=wrapped)
