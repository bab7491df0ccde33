"""The vectors that are measured with.

Vectors of real texts lie near a surface of few dimensions and in clusters of unequal size; independent noise has
neither, and no graph finds its neighbours. So rows are drawn from a mixture in few dimensions, turned into many by a
random linear map, with a little noise on top. `--data FILE.npy` takes real embeddings instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

LATENT_DIM = 24
CLUSTERS = 1_000
WITHIN = 0.6
"""Spread within a cluster; that between the centres is 1, so clusters overlap."""

NOISE = 0.05
BLOCK = 65_536
MAX_QUERIES = 5_000
"""So many vectors at the end of a file are queries and never rows."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows and queries come from: drawn with `seed`, or read from `file` (a 2-d array, cast to float32)."""

    dim: int = 128
    seed: int = 1
    file: Path | None = None

    def rows(self, count: int) -> Vectors:
        """(count, dim); the first rows are the same for every count."""
        return self._read(count, at_end=False) if self.file else self._draw(count, stream=0)

    def queries(self, count: int) -> Vectors:
        """(count, dim), from the same distribution as the rows, none of them a row."""
        return self._read(count, at_end=True) if self.file else self._draw(count, stream=1)

    @property
    def name(self) -> str:
        return self.file.name if self.file else f"mixture of {CLUSTERS:,} clusters, {LATENT_DIM} latent dimensions"

    def _read(self, count: int, *, at_end: bool) -> Vectors:
        assert self.file is not None
        data = np.load(self.file, mmap_mode="r")
        held = MAX_QUERIES if at_end else len(data) - MAX_QUERIES
        if count > held:
            raise ValueError(f"{self.file} has {held:,} vectors for this; {count:,} were asked for: lower --scale")
        return np.ascontiguousarray(data[len(data) - count :] if at_end else data[:count], dtype=np.float32)

    def _draw(self, count: int, stream: int) -> Vectors:
        world = np.random.default_rng([self.seed, 0])
        centres = world.standard_normal((CLUSTERS, LATENT_DIM), dtype=np.float32)
        spread = world.standard_normal((LATENT_DIM, self.dim), dtype=np.float32) / np.float32(np.sqrt(LATENT_DIM))
        shares = 1 / np.arange(1, CLUSTERS + 1) ** 0.5
        out = np.empty((count, self.dim), dtype=np.float32)
        for block, begin in enumerate(range(0, count, BLOCK)):
            rng = np.random.default_rng([self.seed, 1 + stream, block])
            which = rng.choice(CLUSTERS, size=BLOCK, p=shares / shares.sum())
            latent = centres[which] + np.float32(WITHIN) * rng.standard_normal((BLOCK, LATENT_DIM), dtype=np.float32)
            drawn = latent @ spread + np.float32(NOISE) * rng.standard_normal((BLOCK, self.dim), dtype=np.float32)
            out[begin : begin + BLOCK] = drawn[: count - begin]
        return out


def nearest(rows: Vectors, queries: Vectors, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The exact `k` nearest rows by squared distance: distances (queries, k), smallest first, and row numbers."""
    import faiss

    distances, found = faiss.knn(queries, rows, k)
    return distances, found
