"""What texts a query of words matches. The query is cut into words by the analyzer that cuts the texts.

- Words: texts in which enough of the query's words occur; one that the query says twice counts twice.
- Near words: texts with a word that is at most so many edits from one of the query's.
- Phrase: texts with all words, so placed that moving each by its place in the phrase brings them together to within
  `slop`. Order counts by that alone: two words the wrong way round are within 2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.layout import layout
from elanus.text.analyzer import Analyzed, AnalyzedColumn, Token

MAX_EDITS = 2
NOWHERE = -1


class TextQuery(ABC):
    """A query of words, ready to run over the texts of the analyzer by which it was cut itself."""

    __slots__ = ()

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether no text can match, as the query holds no word."""

    @abstractmethod
    def match(self, block: Analyzed, out: npt.NDArray[np.uint8]) -> None:
        """Set `out` to 1 for the texts of a block that match."""

    def scan(self, texts: AnalyzedColumn) -> npt.NDArray[np.bool_]:
        """Whether each text of a column matches, by looking at all of it. Of null it means nothing."""
        found = np.zeros(len(texts.column), np.uint8)
        for first, block in texts.blocks():
            self.match(block, found[first : first + len(block.spans.rows) - 1])
        return found.view(np.bool_)


@dataclass(frozen=True, eq=False)
class Words(TextQuery):
    weights: dict[str, int]
    """How often the query says each of its words."""
    least: int

    @classmethod
    def of(cls, tokens: Sequence[Token], least: int = 1) -> Words:
        return cls(dict(Counter(token.text for token in tokens)), least)

    @property
    def is_empty(self) -> bool:
        return sum(self.weights.values()) < self.least

    def match(self, block: Analyzed, out: npt.NDArray[np.uint8]) -> None:
        weights = np.zeros(len(block.vocabulary), np.int64)
        found = _terms(block, self.weights)
        said = np.fromiter(self.weights.values(), np.int64)
        weights[found[found != NOWHERE]] = said[found != NOWHERE]
        _match_words(block, weights, self.least, out)


@dataclass(frozen=True, eq=False)
class NearWords(TextQuery):
    words: tuple[str, ...]
    edits: int

    @classmethod
    def of(cls, tokens: Sequence[Token], edits: int) -> NearWords:
        return cls(tuple(dict.fromkeys(token.text for token in tokens)), edits)

    @property
    def is_empty(self) -> bool:
        return not self.words

    def near(self, vocabulary: pa.Array) -> npt.NDArray[np.uint8]:
        """Which terms are near one of the words."""
        from elanus.text import kernels

        data, offsets = layout(vocabulary)
        found = np.zeros(len(vocabulary), np.uint8)
        for word in self.words:
            kernels.near(data, offsets, np.array(list(map(ord, word)), np.int64), self.edits, found)
        return found

    def match(self, block: Analyzed, out: npt.NDArray[np.uint8]) -> None:
        _match_words(block, self.near(block.vocabulary).astype(np.int64), 1, out)


@dataclass(frozen=True, eq=False)
class Phrase(TextQuery):
    words: tuple[str, ...]
    """The distinct words."""
    said: npt.NDArray[np.int64]
    """Which of the words each place of the phrase has."""
    shifts: npt.NDArray[np.int64]
    """The place of each."""
    slop: int

    @classmethod
    def of(cls, tokens: Sequence[Token], slop: int) -> Phrase:
        words = {word: i for i, word in enumerate(dict.fromkeys(token.text for token in tokens))}
        said = np.array([words[token.text] for token in tokens], np.int64)
        return cls(tuple(words), said, np.array([token.position for token in tokens], np.int64), slop)

    @property
    def is_empty(self) -> bool:
        return not self.words

    def match(self, block: Analyzed, out: npt.NDArray[np.uint8]) -> None:
        from elanus.text import kernels

        found = _terms(block, self.words)
        if NOWHERE in found:
            return
        slots = np.full(len(block.vocabulary), NOWHERE, np.int64)
        slots[found] = np.arange(len(found))
        spans = block.spans
        tokens = spans.rows, block.ids, spans.positions, block.forms, block.terms, block.moves
        kernels.match_phrase(*tokens, slots, self.said, self.shifts, self.slop, out)


def _terms(block: Analyzed, words: Iterable[str]) -> npt.NDArray[np.int64]:
    """The term of a block that each of `words` is, or `NOWHERE`."""
    return block.terms_by_text.numbers(pa.array(list(words), pa.large_string()))


def _match_words(block: Analyzed, weights: npt.NDArray[np.int64], least: int, out: npt.NDArray[np.uint8]) -> None:
    from elanus.text import kernels

    if weights.any():
        kernels.match_words(block.spans.rows, block.ids, block.forms, block.terms, weights, least, out)
