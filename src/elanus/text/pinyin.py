"""The filter `pinyin`: Chinese words as they are pronounced, in Latin letters without tones.

The pronunciations are those of the package pypinyin, which is a part of the extra `elanus[chinese]`; of a character
with several the first counts. A character that has none is skipped.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.errors import InvalidParameter
from elanus.text.filters import Replaced, Words
from elanus.text.unicode import CharacterMap, spelled

_TONES = dict.fromkeys(map(ord, "\u0300\u0301\u0304\u030c"))
"""Written above a vowel; what else is written there (ü, ê) makes it another."""


@dataclass(frozen=True, slots=True)
class Pinyin:
    """A word becomes what it is asked for, in this order: itself, its syllables, these joined, their first letters.

    A syllable stands as many places behind its word as it is the next one in it; but where places count words
    (`counts_characters` is false) all from the third on stand at the word's own place, as in Milvus.
    """

    original: bool
    syllables: bool
    joined: bool
    letters: bool
    counts_characters: bool

    def __call__(self, words: Words) -> Words:
        # "\0zhong\0wen": each syllable behind a NUL, which no token holds but alone, and that is dropped here.
        spoken = Replaced(_parted)(words).texts
        places = np.arange(len(spoken))
        made = [(words.texts, places, np.zeros_like(places))] if self.original else []
        if self.syllables:
            made.append(self._syllables(spoken))
        whole = (self.joined, pc.replace_substring(spoken, "\0", "")), (self.letters, _first_letters(spoken))
        heard = np.flatnonzero(pc.binary_length(spoken).to_numpy(zero_copy_only=False))
        made += [(texts.take(pa.array(heard)), heard, np.zeros_like(heard)) for asked, texts in whole if asked]
        if not made:
            return words.taken(np.empty(0, np.int64))
        texts, of, moves = zip(*made, strict=True)
        origins = np.concatenate(of)
        order = np.argsort(origins, kind="stable")
        origins = origins[order]
        moved = words.moves[origins] + np.concatenate(moves)[order].astype(np.int32)
        return Words(pa.concat_arrays(texts).take(pa.array(order)), words.origins[origins], moved)

    def _syllables(self, spoken: pa.Array) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """(the syllables, which word each is of, how many places behind it each stands)."""
        parts = pc.split_pattern(spoken, "\0")
        counts = pc.list_value_length(parts).to_numpy(zero_copy_only=False)
        of = np.repeat(np.arange(len(counts)), counts)
        index = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts) - 1
        kept = np.flatnonzero(index >= 0)  # before the first NUL is nothing
        of, index = of[kept], index[kept]
        moves = index if self.counts_characters else np.where(index <= 1, index, 0)
        return parts.flatten().take(pa.array(kept)), of, moves


def check_package() -> None:
    """Raise `InvalidParameter` where the pronunciations are not there. They are read at their first use."""
    if find_spec("pypinyin") is None:
        raise InvalidParameter(
            "the filter pinyin needs the package pypinyin, which is not installed: pip install 'elanus[chinese]'"
        )


def _first_letters(spoken: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(spoken, "\\x00(.)[^\\x00]*", "\\1")


@cache
def _parted() -> CharacterMap:
    """What characters with a pronunciation become; all others nothing."""
    return spelled(_syllables(), others="")


def _syllables() -> Iterator[tuple[int, str]]:
    from pypinyin.pinyin_dict import pinyin_dict

    for code_point, spoken in pinyin_dict.items():
        plain = unicodedata.normalize("NFD", spoken.partition(",")[0]).translate(_TONES)
        yield code_point, "\0" + unicodedata.normalize("NFC", plain)
