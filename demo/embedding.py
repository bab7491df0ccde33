"""Turns texts into vectors: by word statistics, or by a sentence-transformers model where there is one.

Latent semantic analysis (Deerwester et al., 1990): passages become rows of a sparse matrix of words, weighted by
(1 + ln tf) · idf, and are projected on its leading right singular vectors. Words that occur together come to lie
together, so a question finds passages that say it in other words. The singular vectors come from a randomised range
finder with power iterations (Halko, Martinsson, Tropp, 2011), which needs nothing but sparse products; each is divided
by the root of its singular value, or the few commonest subjects would outweigh all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from demo.passages import Passage

Vectors = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

DIM = 256
"""Directions kept: at 128 questions with rare words lose them, at 384 words of one subject come apart."""

OVERSAMPLING = 24
ITERATIONS = 5
MIN_PASSAGES = 2
"""A word of a single passage relates to nothing."""

MAX_SHARE = 0.2
"""A word in more than this share of all passages (the, a, return) tells none apart."""

QUESTION_WORDS = frozenset(
    "a an and another are as at be by can do does for from how i in is it its long me my of on one or that the there "
    "this to two what when where which who why with without you your".split()
)
"""Words of which questions are full and docstrings are not, so that their rarity would say the wrong thing."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SUFFIX = re.compile(r"(?<=[a-z]{3})(?:ations?|ings?|ers?|ed|es|ly|s)$")
_DOUBLED = re.compile(r"([bdgklmnprt])\1$")


def _quiet(done: int, total: int) -> None:
    """Show no progress."""


class Embedder(Protocol):
    """Where vectors come from. Rows are float32 of length 1, so that the cosine is their product."""

    name: str

    def fit(self, passages: Sequence[Passage], progress: Progress = _quiet) -> Vectors:
        """Learn from `passages` what there is to learn; their vectors, (len(passages), dim)."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of questions, (len(texts), dim)."""
        ...


def words_of(text: str) -> list[str]:
    """The words of `text` in lower case: `readLines_into` gives read, lines, into."""
    return [w for word in _WORD.findall(text) if len(w := word.lower()) > 1 and w not in QUESTION_WORDS]


def stem(word: str) -> str:
    """`word` without its ending, roughly: sorting, sorted, sorts and sort become the same."""
    return _DOUBLED.sub(r"\1", _SUFFIX.sub("", word)).removesuffix("e")


def _normalised(vectors: npt.NDArray[Any]) -> Vectors:
    """Rows scaled to length 1. A row of zeros (no known word) is turned to the first axis: it must point somewhere."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    out = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    out[lengths[:, 0] == 0, 0] = 1.0
    return np.ascontiguousarray(out, dtype=np.float32)


class WordStatistics:
    """TF-IDF and a truncated singular value decomposition."""

    def __init__(self, dim: int = DIM, seed: int = 7) -> None:
        self.name = f"TF-IDF and SVD, {dim} dimensions"
        self.dim = dim
        self._seed = seed
        self._columns: dict[str, int] = {}
        self._idf = np.zeros(0)
        self._basis = np.zeros((0, dim))

    def fit(self, passages: Sequence[Passage], progress: Progress = _quiet) -> Vectors:
        # The name counts as text: few docstrings repeat it.
        texts = [f"{p.title} {p.name} {p.text}" for p in passages]
        steps = 4 + ITERATIONS
        counts = self._learn_words(texts)
        progress(2, steps)
        weights = self._weigh(counts)
        progress(3, steps)
        for done, basis in enumerate(_leading_directions(weights, self.dim, self._seed), start=4):
            self._basis = basis
            progress(done, steps)
        vectors = _normalised(weights @ self._basis)
        progress(steps, steps)
        return vectors

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows, columns = [], []
        for row, text in enumerate(texts):
            known = [c for w in words_of(text) if (c := self._columns.get(stem(w))) is not None]
            rows += [row] * len(known)
            columns += known
        counts = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(self._columns)))
        return _normalised(self._weigh(counts) @ self._basis)

    def _learn_words(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Counts, (texts, words), of the words that are neither too rare nor too common; sets columns and idf."""
        words = [words_of(text) for text in texts]
        flat, codes = np.unique([w for ws in words for w in ws], return_inverse=True)
        stems, stem_of = np.unique([stem(str(w)) for w in flat], return_inverse=True)
        rows = np.repeat(np.arange(len(texts)), [len(ws) for ws in words])
        counts = sparse.csr_matrix((np.ones(len(rows)), (rows, stem_of[codes])), shape=(len(texts), len(stems)))
        counts.sum_duplicates()
        passages = np.bincount(counts.indices, minlength=len(stems))
        kept = np.flatnonzero((passages >= MIN_PASSAGES) & (passages <= MAX_SHARE * len(texts)))
        self._columns = {str(stems[column]): i for i, column in enumerate(kept)}
        self._idf = np.log(len(texts) / passages[kept])
        return counts[:, kept]

    def _weigh(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """(1 + ln tf) · idf, every row of length 1."""
        weights = sparse.csr_matrix(counts, dtype=np.float64, copy=True)
        weights.sum_duplicates()
        weights.data = (1 + np.log(weights.data)) * self._idf[weights.indices]
        lengths = np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1)).ravel())
        return sparse.diags(1 / np.maximum(lengths, 1e-12)) @ weights


def _leading_directions(weights: sparse.csr_matrix, dim: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Ever better bases, (words, dim), of the leading right singular space; the last is the result."""
    rng = np.random.default_rng(seed)
    transposed = weights.T.tocsr()
    sketch = weights @ rng.standard_normal((weights.shape[1], dim + OVERSAMPLING))
    for _ in range(ITERATIONS):
        # Columns of length one at right angles; from the small matrix sketchᵀ sketch, many times as quick as a QR.
        squares, rotation = np.linalg.eigh(sketch.T @ sketch)
        projected = transposed @ (sketch @ (rotation / np.sqrt(np.maximum(squares, 1e-12 * squares[-1]))))
        sketch = weights @ projected
        # projected = V S Wᵀ, and the small matrix projectedᵀ projected = W S² Wᵀ gives S and W.
        squares, rotation = np.linalg.eigh(projected.T @ projected)
        leading = np.argsort(squares)[::-1][:dim]
        yield projected @ rotation[:, leading] / np.maximum(squares[leading], 1e-12) ** 0.75


class SentenceModel:
    """A sentence-transformers model that lies on this machine; nothing is downloaded."""

    def __init__(self, model: str) -> None:
        from sentence_transformers import SentenceTransformer  # the user's own: no extra of Elanus installs it

        self.name = f"sentence-transformers, {model}"
        self._model = SentenceTransformer(model, local_files_only=True)

    def fit(self, passages: Sequence[Passage], progress: Progress = _quiet) -> Vectors:
        step, parts = 512, []
        for start in range(0, len(passages), step):
            parts.append(self.embed([f"{p.title}: {p.text}" for p in passages[start : start + step]]))
            progress(min(start + step, len(passages)), len(passages))
        return np.concatenate(parts)

    def embed(self, texts: Sequence[str]) -> Vectors:
        return _normalised(np.asarray(self._model.encode(list(texts), batch_size=64, show_progress_bar=False)))
