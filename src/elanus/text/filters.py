"""Token filters: what makes of a token another, several, or none.

None of them looks at a token's neighbours. So a chain of filters runs over the distinct tokens of many texts, once
each and in calls over whole columns, however often they occur.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tantivy

from elanus.model.layout import layout, offsets_of
from elanus.text.dictionary import Dictionary
from elanus.text.unicode import CharacterMap

LANGUAGES = (
    "arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian", "norwegian",
    "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish",
)  # fmt: skip
"""What a stemmer knows."""

LANGUAGES_WITH_STOP_WORDS = (
    "danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "norwegian", "portuguese",
    "russian", "spanish", "swedish",
)  # fmt: skip

ALPHANUMERIC_ONLY = "^[0-9A-Za-z]*$"
HAN = r"\p{Han}"
HAN_OR_ALPHANUMERIC = r"[\p{Han}a-zA-Z0-9]"
PUNCTUATION_OR_SPACE = r"[\p{P}\p{Z}\t\n\v\f\r\x{85}]"


@dataclass(frozen=True, eq=False)
class Words:
    """What distinct tokens have become: `texts` (large_string), of the tokens with the numbers `origins`, ascending.

    `moves` says how many places behind its token a word stands.
    """

    texts: pa.Array
    origins: npt.NDArray[np.int32]
    moves: npt.NDArray[np.int32]

    def kept(self, mask: pa.BooleanArray) -> Words:
        """The words for which `mask` is true."""
        if mask.true_count == len(mask):
            return self
        return self.taken(np.flatnonzero(mask.to_numpy(zero_copy_only=False)))

    def taken(self, places: npt.NDArray[np.int64]) -> Words:
        return Words(self.texts.take(pa.array(places)), self.origins[places], self.moves[places])

    def spelled(self, texts: pa.Array) -> Words:
        return replace(self, texts=texts)


TokenFilter = Callable[[Words], Words]


@dataclass(frozen=True, eq=False)
class Replaced:
    """Every character becomes what a map says."""

    characters: Callable[[], CharacterMap]

    def __call__(self, words: Words) -> Words:
        from elanus.text import kernels

        data, offsets = layout(words.texts)
        table = self.characters()
        new_offsets = np.empty(len(offsets), np.int64)
        source = data, offsets, table.first, table.last, table.text, new_offsets
        length = kernels.mapped(*source, np.empty(0, np.uint8))
        out = np.empty(length, np.uint8)
        if length:
            kernels.mapped(*source, out)
        return words.spelled(texts_of(out, new_offsets))


@dataclass(frozen=True, slots=True)
class Matching:
    """Only words in which an expression (RE2's) is found stay, or only those in which it is not."""

    expression: str
    wanted: bool = True

    def __call__(self, words: Words) -> Words:
        found = pc.match_substring_regex(words.texts, self.expression)
        return words.kept(found if self.wanted else pc.invert(found))


@dataclass(frozen=True, slots=True)
class Shorter:
    """Only words of at most `most` bytes stay."""

    most: int

    def __call__(self, words: Words) -> Words:
        return words.kept(pc.less_equal(pc.binary_length(words.texts), self.most))


@dataclass(frozen=True, slots=True)
class Stopped:
    """Words that are listed go, and the stop words of `languages`."""

    listed: tuple[str, ...]
    languages: tuple[str, ...] = ()

    def __call__(self, words: Words) -> Words:
        if self.listed:
            listed = pc.is_in(words.texts, value_set=pa.array(self.listed, pa.large_string()))
            words = words.kept(pc.invert(listed))
        for language in self.languages:
            left = _through(tantivy.Filter.stopword(language), words.texts)
            # A word with a NUL in it is cut there on the way through, and is no stop word.
            stays = pc.is_in(words.texts, value_set=pa.array(left, pa.large_string()))
            words = words.kept(pc.or_(stays, pc.match_substring(words.texts, "\0")))
        return words


@dataclass(frozen=True, slots=True)
class Stemmed:
    """Words lose their endings, as Snowball's rules for a language say."""

    language: str

    def __call__(self, words: Words) -> Words:
        # What tokenizers may leave of the character that parts words here is no word of any language.
        plain = pc.invert(pc.match_substring(words.texts, "\0"))
        if plain.true_count < len(plain):
            some = np.flatnonzero(plain.to_numpy(zero_copy_only=False))
            stems = words.texts.to_numpy(zero_copy_only=False)
            stems[some] = self(words.taken(some)).texts.to_numpy(zero_copy_only=False)
            return words.spelled(pa.array(stems, pa.large_string()))
        return words.spelled(pa.array(_through(tantivy.Filter.stemmer(self.language), words.texts), pa.large_string()))


class Decompounded:
    """Words that consist wholly of listed ones become these, the longest that fits first."""

    __slots__ = ("_listed",)

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = Dictionary(pa.array(list(dict.fromkeys(listed)), pa.large_string()))

    def __call__(self, words: Words) -> Words:
        from elanus.text import kernels

        counts, starts, ends = self._listed.pieces(words.texts)
        if len(starts) == len(counts):
            return words
        data, _ = layout(words.texts)
        offsets = offsets_of(ends - starts)
        spelled = np.empty(int(offsets[-1]), np.uint8)
        kernels.gather(data, starts, ends, offsets, spelled)
        return Words(texts_of(spelled, offsets), np.repeat(words.origins, counts), np.repeat(words.moves, counts))


@dataclass(frozen=True, eq=False)
class Synonyms:
    """A word becomes all those that stand for it, at the same place; one that nothing stands for stays."""

    of: dict[str, tuple[str, ...]]

    def __call__(self, words: Words) -> Words:
        known = pc.is_in(words.texts, value_set=pa.array(list(self.of), pa.large_string()))
        places = np.flatnonzero(known.to_numpy(zero_copy_only=False))
        found = words.texts.take(pa.array(places)).to_pylist()
        split = {int(place): list(self.of[text]) for place, text in zip(places, found, strict=True) if self.of[text]}
        return _expanded(words, split) if split else words


def _expanded(words: Words, split: dict[int, list[str]]) -> Words:
    """`words` with several in place of some."""
    counts = np.ones(len(words.texts), np.int64)
    counts[list(split)] = [len(parts) for parts in split.values()]
    places = np.repeat(np.arange(len(counts)), counts)
    made = words.taken(places)
    texts = made.texts.to_numpy(zero_copy_only=False)
    firsts = np.cumsum(counts) - counts
    for place, parts in split.items():
        texts[firsts[place] : firsts[place] + len(parts)] = parts
    return made.spelled(pa.array(texts, pa.large_string()))


def _through(token_filter: Any, texts: pa.Array) -> Sequence[str]:
    """What a filter of tantivy's leaves of texts without NUL."""
    parted = tantivy.Tokenizer.regex("[^\0]+")
    analyzer = tantivy.TextAnalyzerBuilder(parted).filter(token_filter).build()
    left: list[str] = analyzer.analyze("\0".join(texts.to_pylist()))
    return left


def texts_of(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
