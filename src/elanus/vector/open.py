"""A segment's vector index, ready to search: an index file and the column it was built from.

The column and the file are mapped, so opening takes milliseconds whatever their size. All memory is held by
references: after `close` (or when the last reference goes) running searches end undisturbed and the file is unmapped
with the last of them. Any number of threads may search at once.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from elanus.model.errors import Closed, CorruptData
from elanus.model.types import Metric
from elanus.vector import cost, metrics, parts, payload
from elanus.vector.coded import Coded, is_coded
from elanus.vector.cost import Route, Strategy
from elanus.vector.graph import Graph
from elanus.vector.ivf import Lists
from elanus.vector.metrics import Bitmap, Rows, Scores, Vectors
from elanus.vector.parts import Fetched, Part
from elanus.vector.registry import IndexSpec, SearchParams


class VectorIndex:
    """The nearest rows of one column. Scores are exact; see `metrics` for what a bitmap and a result look like."""

    def __init__(self, vectors: Vectors, metric: Metric, spec: IndexSpec, inner: Graph | Lists | Coded | None) -> None:
        self.metric = metric
        self.spec = spec
        self.rows, self.dim = vectors.shape
        self._open: tuple[Vectors, Graph | Lists | Coded | None] | None = (vectors, inner)

    @classmethod
    def open(cls, path: Path | None, vectors: Vectors, metric: Metric, spec: IndexSpec, offset: int = 0) -> VectorIndex:
        """Open the payload at byte `offset` of `path` over the column `vectors` (n, d), C-contiguous float32.

        FLAT needs no path. Raises `CorruptData` when the file is damaged or belongs to another column or index.
        """
        if not spec.has_file:
            return cls(vectors, metric, spec, None)
        if path is None:
            raise ValueError(f"a {spec.kind} index is opened from a file")
        opened = payload.read(path, offset)
        expected = {"rows": vectors.shape[0], "dim": vectors.shape[1], "metric": metric.value, "spec": spec.to_dict()}
        wrong = [key for key, value in expected.items() if opened.meta.get(key) != value]
        if wrong:
            raise CorruptData(
                f"index file {path} was built for other data: "
                + ", ".join(f"{key} is {opened.meta.get(key)}, not {expected[key]}" for key in wrong)
                + ". Drop and rebuild the index"
            )
        if is_coded(spec):
            return cls(vectors, metric, spec, Coded.open(opened, vectors, metric, spec))
        kind: type[Graph | Lists] = Graph if spec.is_graph else Lists
        return cls(vectors, metric, spec, kind.open(opened, vectors, metric))

    @property
    def walks_by_codes(self) -> bool:
        """Whether a part of it reads the stored vectors of candidates alone (see `parts.Part`)."""
        _, inner = self._held()
        return isinstance(inner, Graph) and inner.addresses is not None

    def close(self) -> None:
        self._open = None

    def plan(self, k: int, params: SearchParams, passing: int | None = None) -> Strategy:
        """How `search` goes about it when `passing` rows (None: all) take part."""
        return cost.choose(self.spec, self.rows, self.rows if passing is None else passing, k, params, self.dim)

    def part(
        self, unit: parts.Unit, strategy: Strategy, k: int, effort: float, fetched: Fetched | None = None
    ) -> Part | None:
        """What `parts.search` is asked of this index, with this share of what the strategy says for the `k` nearest;
        None where it cannot be asked there.
        """
        _, inner = self._held()
        if isinstance(inner, Graph):
            return parts.graph(unit, inner, math.ceil(effort * max(strategy.ef, inner.overfetch * k)), fetched)
        if inner is None:
            return parts.scan(unit)
        if isinstance(inner, Coded):
            return None
        nprobe, wanted = strategy.nprobe, inner.wanted(strategy.nprobe)
        return parts.lists(unit, inner, math.ceil(effort * nprobe), math.ceil(effort * wanted))

    def search(
        self,
        queries: Vectors,
        k: int,
        params: SearchParams,
        bitmap: Bitmap | None = None,
        passing: int | None = None,
    ) -> tuple[Scores, Rows]:
        """The k nearest rows for each query: scores and rows (nq, k), best first, -1 where there are no more.

        `queries` (nq, d) are C-contiguous float32. `passing` is how many bits of `bitmap` are set, if the caller
        knows. k rows come back whenever k rows pass.
        """
        vectors, inner = self._held()
        if bitmap is None:
            passing = self.rows
            if isinstance(inner, Graph):
                return self._walk(inner, vectors, queries, k, max(params.ef, k), None, passing)
        elif passing is None:
            passing = metrics.count_set(bitmap)
        strategy = cost.choose(self.spec, self.rows, passing, k, params, self.dim)
        if isinstance(inner, Coded) and strategy.route is not Route.SCAN:
            return self._by_codes(inner, vectors, queries, k, params, strategy, bitmap, passing)
        if isinstance(inner, Lists) and strategy.route is Route.LISTS:
            return inner.search(queries, k, strategy.nprobe, bitmap)
        if isinstance(inner, Graph) and strategy.route is Route.GRAPH:
            return self._walk(inner, vectors, queries, k, strategy.ef, bitmap, passing)
        return metrics.top_k(self.metric, queries, vectors, k, bitmap)

    def _held(self) -> tuple[Vectors, Graph | Lists | Coded | None]:
        held = self._open
        if held is None:
            raise Closed("this index is closed: take a new snapshot of the collection")
        return held

    def _by_codes(
        self,
        inner: Coded,
        vectors: Vectors,
        queries: Vectors,
        k: int,
        params: SearchParams,
        strategy: Strategy,
        bitmap: Bitmap | None,
        passing: int,
    ) -> tuple[Scores, Rows]:
        """As a search without a filter looks; queries that come back short although enough rows pass are scanned."""
        width = strategy.ef
        if not self.spec.is_graph:
            width = min(inner.nlist, math.ceil(strategy.nprobe * self.rows / passing))
        scores, rows = inner.search(queries, k, width, params, bitmap)
        short = np.flatnonzero(rows[:, min(k, passing) - 1] < 0)
        if len(short):
            scores[short], rows[short] = metrics.top_k(self.metric, queries[short], vectors, k, bitmap)
        return scores, rows

    def _walk(
        self,
        graph: Graph,
        vectors: Vectors,
        queries: Vectors,
        k: int,
        ef: int,
        bitmap: Bitmap | None,
        passing: int,
    ) -> tuple[Scores, Rows]:
        """Walk the graph; queries that come back short although enough rows pass go wider, and at last are scanned."""
        scores, rows = graph.search(queries, k, ef, bitmap)
        enough = min(k, passing)
        if enough and (rows[0, enough - 1] if len(rows) == 1 else rows[:, enough - 1].min(initial=0)) < 0:
            short = np.flatnonzero(rows[:, enough - 1] < 0)
            again = np.ascontiguousarray(queries[short])
            wider = 2 * ef
            if cost.graph_us(self.spec.m, wider, self.dim) < cost.scan_us(self.rows, passing, self.dim):
                found = self._walk(graph, vectors, again, k, wider, bitmap, passing)
            else:
                found = metrics.top_k(self.metric, again, vectors, k, bitmap)
            scores[short], rows[short] = found
        return scores, rows
