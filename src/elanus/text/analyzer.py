"""Analyzers: a tokenizer and a chain of filters, run over a column of texts at once.

A column is cut into tokens, these are numbered by what they are, and the filters run over the distinct ones; see
`filters`. That happens in blocks of some MiB, so that a long column costs no more memory than a short one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.layout import layout
from elanus.text.dictionary import Dictionary
from elanus.text.filters import TokenFilter, Words, texts_of
from elanus.text.tokenizers import Spans, Texts, Tokenizer

Ints = npt.NDArray[np.int64]

BLOCK_BYTES = 4 << 20
BLOCK_ROWS = 1 << 16
KEPT_BYTES = 32 << 20
"""How much of a column stays cut for those that ask again: some 250,000 texts of eight words."""


@dataclass(frozen=True, eq=False)
class Analyzed:
    """Some texts as an analyzer sees them.

    Token j of `spans` is the distinct token `ids[j]`, which has become the terms
    `terms[forms[id]:forms[id + 1]]`, as many places behind it as `moves` says. `vocabulary` (large_string) spells the
    terms, in no order.
    """

    spans: Spans
    ids: npt.NDArray[np.int32]
    forms: npt.NDArray[np.int32]
    terms: npt.NDArray[np.int32]
    moves: npt.NDArray[np.int32]
    vocabulary: pa.Array

    @cached_property
    def terms_by_text(self) -> Dictionary:
        """The numbers of the terms in the vocabulary."""
        return Dictionary(self.vocabulary)

    def occurrences(self) -> tuple[Ints, Ints, Ints]:
        """(term, row, position) of each word that the texts have become, int64, by row and token."""
        tokens, forms = self.words()
        rows = np.repeat(np.arange(len(self.spans.rows) - 1), np.diff(self.spans.rows))
        return self.terms[forms].astype(np.int64), rows[tokens], (self.spans.positions[tokens] + self.moves[forms])

    def words(self) -> tuple[Ints, Ints]:
        """(number of its token, number of its form) of each word, by token."""
        counts = np.diff(self.forms)[self.ids]
        tokens = np.repeat(np.arange(len(self.ids)), counts)
        within = np.arange(len(tokens)) - np.repeat(np.cumsum(counts) - counts, counts)
        return tokens, np.repeat(self.forms[self.ids], counts) + within


@dataclass(frozen=True, slots=True)
class Token:
    """One token as it is told: `start` and `end` count bytes of the text's UTF-8."""

    text: str
    start: int
    end: int
    position: int
    length: int


@dataclass(frozen=True, eq=False)
class Analyzer:
    tokenizer: Tokenizer
    filters: tuple[TokenFilter, ...] = ()

    def blocks(self, column: pa.Array, begin: int = 0) -> Iterator[tuple[int, Analyzed]]:
        """(number of its first row, what it holds) of each block of a large_string column, from row `begin` on.

        Null is an empty text.
        """
        if begin == len(column):
            return
        data, offsets = layout(column)
        while begin < len(column):
            end = int(np.searchsorted(offsets, offsets[begin] + BLOCK_BYTES, "right")) - 1
            end = min(max(end, begin + 1), begin + BLOCK_ROWS, len(column))
            first, last = int(offsets[begin]), int(offsets[end])
            yield begin, self._analyzed(Texts(data[first:last], offsets[begin : end + 1] - first))
            begin = end

    def tokens(self, text: str) -> list[Token]:
        """The tokens of one text. Many short texts take `tokens_of_each` little longer than one."""
        return self.tokens_of_each([text])[0]

    def tokens_of_each(self, texts: Sequence[str]) -> list[list[Token]]:
        """The tokens of each text."""
        each: list[list[Token]] = []
        for _, found in self.blocks(pa.array(texts, pa.large_string())):
            each += self._told(found, texts[len(each) : len(each) + len(found.spans.rows) - 1])
        return each

    def _told(self, found: Analyzed, texts: Sequence[str]) -> Iterator[list[Token]]:
        spans = found.spans
        tokens, forms = found.words()
        positions = (spans.positions[tokens] + found.moves[forms]).tolist()
        words = found.vocabulary.take(pa.array(found.terms[forms])).to_pylist()
        # The tokens of a text begin where that one does, in the block's data.
        first, at = 0, 0
        ends_of_rows = np.searchsorted(tokens, spans.rows[1:]).tolist()
        starts, ends = spans.starts[tokens].tolist(), spans.ends[tokens].tolist()
        for text, last in zip(texts, ends_of_rows, strict=True):
            encoded = text.encode()
            told = []
            for i in range(at, last):
                start, end = starts[i] - first, ends[i] - first
                length = len(encoded[start:end].decode()) if self.tokenizer.counts_characters else 1
                told.append(Token(words[i], start, end, positions[i], length))
            yield told
            first, at = first + len(encoded), last

    def _analyzed(self, texts: Texts) -> Analyzed:
        from elanus.text import kernels

        spans = self.tokenizer.spans(texts)
        ids = np.empty(len(spans.starts), np.int32)
        firsts = np.empty(len(spans.starts), np.int32)
        count = kernels.number(texts.data, spans.starts, spans.ends, ids, firsts)
        firsts = firsts[:count]
        starts, ends = spans.starts[firsts], spans.ends[firsts]
        offsets = np.zeros(count + 1, np.int64)
        np.cumsum(ends - starts, out=offsets[1:])
        spelled = np.empty(int(offsets[-1]), np.uint8)
        kernels.gather(texts.data, starts, ends, offsets, spelled)
        words = Words(texts_of(spelled, offsets), np.arange(count, dtype=np.int32), np.zeros(count, np.int32))
        for token_filter in self.filters:
            words = token_filter(words)
        forms = np.searchsorted(words.origins, np.arange(count + 1)).astype(np.int32)
        distinct = pc.dictionary_encode(words.texts)
        terms = distinct.indices.to_numpy(zero_copy_only=False)
        return Analyzed(spans, ids, forms, terms.astype(np.int32, copy=False), words.moves, distinct.dictionary)


class AnalyzedColumn:
    """A large_string column as an analyzer sees it, for several that ask one after the other: what was cut is kept.

    Of a long column only the first `KEPT_BYTES` are, and the rest is cut anew each time.
    """

    def __init__(self, analyzer: Analyzer, column: pa.Array) -> None:
        self.column = column
        self._analyzer = analyzer
        self._kept: list[tuple[int, Analyzed]] = []
        self._kept_rows = 0
        self._room = KEPT_BYTES

    def blocks(self) -> Iterator[tuple[int, Analyzed]]:
        """As `Analyzer.blocks`."""
        yield from tuple(self._kept)
        for first, block in self._analyzer.blocks(self.column, self._kept_rows):
            self._room -= 16 * len(block.ids)  # three places and a number, of four bytes each
            if self._room >= 0:
                self._kept.append((first, block))
                self._kept_rows = first + len(block.spans.rows) - 1
            yield first, block
