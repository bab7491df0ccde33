"""What texts a query of words matches. The query is cut into words by the analyzer that cuts the texts.

- Words: texts in which enough of the query's words occur; one that the query says twice counts twice.
- Near words: texts with a word that is at most so many edits from one of the query's.
- Phrase: texts with all words, so placed that moving each by its place in the phrase brings them together to within
  `slop`. Order counts by that alone: two words the wrong way round are within 2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.layout import layout
from elanus.text.analyzer import Analyzed, Analyzer

MAX_EDITS = 2
NOWHERE = -1


class TextQuery(ABC):
    """A query of words, ready to run over the texts of one analyzer."""

    __slots__ = ()

    analyzer: Analyzer

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether no text can match, as the query holds no word."""

    @abstractmethod
    def match(self, block: Analyzed, out: npt.NDArray[np.uint8]) -> None:
        """Set `out` to 1 for the texts of a block that match."""

    def scan(self, column: pa.Array) -> npt.NDArray[np.bool_]:
        """Whether each text of a large_string column matches, by looking at all of it. Of null it means nothing."""
        found = np.zeros(len(column), np.uint8)
        for first, block in self.analyzer.blocks(column):
            self.match(block, found[first : first + len(block.spans.rows) - 1])
        return found.view(np.bool_)


@dataclass(frozen=True, eq=False)
class Words(TextQuery):
    analyzer: Analyzer
    weights: dict[str, int]
    """How often the query says each of its words."""
    least: int

    @classmethod
    def of(cls, analyzer: Analyzer, text: str, least: int = 1) -> Words:
        return cls(analyzer, dict(Counter(token.text for token in analyzer.tokens(text))), least)

    @property
    def is_empty(self) -> bool:
        return sum(self.weights.values()) < self.least

    def match(self, block: Analyzed, out: npt.NDArray[np.uint8]) -> None:
        weights = np.zeros(len(block.vocabulary), np.int64)
        for place, weight in zip(places(self.weights, block.vocabulary), self.weights.values(), strict=True):
            if place != NOWHERE:
                weights[place] = weight
        _match_words(block, weights, self.least, out)


@dataclass(frozen=True, eq=False)
class NearWords(TextQuery):
    analyzer: Analyzer
    words: tuple[str, ...]
    edits: int

    @classmethod
    def of(cls, analyzer: Analyzer, text: str, edits: int) -> NearWords:
        return cls(analyzer, tuple(dict.fromkeys(token.text for token in analyzer.tokens(text))), edits)

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
    analyzer: Analyzer
    words: tuple[str, ...]
    """The distinct words."""
    said: npt.NDArray[np.int64]
    """Which of the words each place of the phrase has."""
    shifts: npt.NDArray[np.int64]
    """The place of each."""
    slop: int

    @classmethod
    def of(cls, analyzer: Analyzer, text: str, slop: int) -> Phrase:
        tokens = analyzer.tokens(text)
        words = {word: i for i, word in enumerate(dict.fromkeys(token.text for token in tokens))}
        said = np.array([words[token.text] for token in tokens], np.int64)
        return cls(analyzer, tuple(words), said, np.array([token.position for token in tokens], np.int64), slop)

    @property
    def is_empty(self) -> bool:
        return not self.words

    def match(self, block: Analyzed, out: npt.NDArray[np.uint8]) -> None:
        from elanus.text import kernels

        slots = np.full(len(block.vocabulary), NOWHERE, np.int64)
        for slot, place in enumerate(places(self.words, block.vocabulary)):
            if place == NOWHERE:
                return
            slots[place] = slot
        spans = block.spans
        tokens = spans.rows, block.ids, spans.positions, block.forms, block.terms, block.moves
        kernels.match_phrase(*tokens, slots, self.said, self.shifts, self.slop, out)


def places(words: dict[str, int] | tuple[str, ...], vocabulary: pa.Array) -> list[int]:
    """Where each of `words` is in the vocabulary, which has no order; `NOWHERE` where it is not."""
    found = pc.index_in(pa.array(list(words), pa.large_string()), value_set=vocabulary)
    return [NOWHERE if place is None else place for place in found.to_pylist()]


def _match_words(block: Analyzed, weights: npt.NDArray[np.int64], least: int, out: npt.NDArray[np.uint8]) -> None:
    from elanus.text import kernels

    if weights.any():
        kernels.match_words(block.spans.rows, block.ids, block.forms, block.terms, weights, least, out)
