"""The collection of passages: everything here that touches Elanus."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

import elanus
from demo.embedding import Embedder, Vectors
from demo.passages import MAX_BYTES, Passage
from elanus import DataType, Field, Schema

NAME = "docs"
BATCH_ROWS = 1_000
OUTPUT = ["module", "kind", "name", "text"]
RECALL_QUESTIONS, RECALL_LIMIT = 500, 10

Hits = list[tuple[Passage, float]]


@dataclass(frozen=True, slots=True)
class Recall:
    """How many of the `limit` truly nearest passages a search finds, over all `queries`, and what it takes."""

    queries: int
    limit: int
    share: float
    p50_ms: float
    p99_ms: float
    exact_ms: float


class Library:
    """Passages in a folder. Answers come with the seconds that they took."""

    def __init__(self, db: elanus.Elanus) -> None:
        self._db = db
        self._docs = db.collection(NAME)

    @classmethod
    def create(cls, folder: Path, dim: int) -> Self:
        db = elanus.open(folder)
        fields = (
            Field("id", DataType.INT64, is_primary=True),
            Field("vector", DataType.FLOAT_VECTOR, dim=dim),
            Field("module", DataType.VARCHAR, max_length=256),
            Field("kind", DataType.VARCHAR, max_length=16),
            Field("name", DataType.VARCHAR, max_length=256),
            Field("text", DataType.VARCHAR, max_length=MAX_BYTES),
            Field("words", DataType.INT32),
        )
        db.create_collection(NAME, Schema(fields))
        return cls(db)

    @classmethod
    def open(cls, folder: Path) -> Self:
        return cls(elanus.open(folder))

    def close(self) -> None:
        self._db.close()

    def add(self, passages: Sequence[Passage], vectors: Vectors, progress: Callable[[int, int], None]) -> float:
        """Insert all passages, with their places as keys."""
        took_s = 0.0
        for start in range(0, len(passages), BATCH_ROWS):
            part = passages[start : start + BATCH_ROWS]
            columns: dict[str, Any] = {name: [getattr(p, name) for p in part] for name in OUTPUT}
            columns["id"] = np.arange(start, start + len(part))
            columns["vector"] = vectors[start : start + len(part)]
            columns["words"] = [len(p.text.split()) for p in part]
            began = time.perf_counter()
            self._docs.insert(columns)
            took_s += time.perf_counter() - began
            progress(start + len(part), len(passages))
        return took_s

    def build_index(self) -> float:
        """Seal the rows and wait for their graph. Nothing has to wait: until it is there, searches scan."""
        began = time.perf_counter()
        self._docs.create_index("vector", "AUTOINDEX", metric="COSINE")
        self._docs.flush()
        self._docs.wait_for_indexes()
        return time.perf_counter() - began

    def search(self, vector: Vectors, limit: int, condition: str = "") -> tuple[Hits, float]:
        """The nearest passages to `vector` (dim,), of those that fulfil `condition`, with their cosines."""
        began = time.perf_counter()
        found = self._docs.search(vector, limit=limit, filter=condition, output_fields=OUTPUT)[0]
        took_s = time.perf_counter() - began
        return [(Passage(**hit["entity"]), hit["distance"]) for hit in found], took_s

    def plan(self, vector: Vectors, limit: int, condition: str = "") -> str:
        """How `search` would go about it."""
        return str(self._docs.explain(vector, limit=limit, filter=condition))

    def get(self, key: int) -> tuple[Passage, float]:
        began = time.perf_counter()
        (row,) = self._docs.get(key, output_fields=OUTPUT)
        took_s = time.perf_counter() - began
        return Passage(**{name: row[name] for name in OUTPUT}), took_s

    def count(self, condition: str) -> tuple[int, float]:
        began = time.perf_counter()
        count = self._docs.count(condition)
        return count, time.perf_counter() - began

    def answers(self, embedder: Embedder, questions: Sequence[str]) -> list[Hits]:
        return [self.search(vector, RECALL_LIMIT)[0] for vector in embedder.embed(questions)]

    def recall(
        self, vectors: Vectors, embedder: Embedder, passages: Sequence[Passage], progress: Callable[[int, int], None]
    ) -> Recall:
        """Compare with numpy's product of all `vectors`. The questions are the titles of passages, evenly drawn."""
        chosen = np.linspace(0, len(passages) - 1, RECALL_QUESTIONS).astype(int)
        questions = embedder.embed([passages[i].title for i in chosen])
        exact, kth = [], []
        for done, question in enumerate(questions, start=1):
            began = time.perf_counter()
            cosines = vectors @ question
            nearest = np.argpartition(cosines, -RECALL_LIMIT)[-RECALL_LIMIT:]
            exact.append(time.perf_counter() - began)
            kth.append(cosines[nearest].min())
            progress(done, 2 * len(questions))
        took, right = [], 0
        for done, question in enumerate(questions, start=1):
            began = time.perf_counter()
            found = self._docs.search(question, limit=RECALL_LIMIT)[0]
            took.append(time.perf_counter() - began)
            # By score, not by key: which of equally near passages are named is a matter of taste.
            right += int((found.scores >= kth[done - 1] - 1e-6).sum())
            progress(len(questions) + done, 2 * len(questions))
        return Recall(
            queries=len(questions),
            limit=RECALL_LIMIT,
            share=right / (RECALL_LIMIT * len(questions)),
            p50_ms=float(np.percentile(took, 50)) * 1000,
            p99_ms=float(np.percentile(took, 99)) * 1000,
            exact_ms=float(np.percentile(exact, 50)) * 1000,
        )
