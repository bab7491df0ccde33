"""What the tokenizers and filters ask of characters, as tables over all code points.

They are tantivy's own answers, given for every character at once: Milvus's analyzers are tantivy's, and a table made
from another edition of Unicode would cut some words elsewhere. Tables are made at their first use and kept.
"""

from __future__ import annotations

import string
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tantivy

CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)

Table = npt.NDArray[np.uint8]
"""uint8 (0x110000,): 1 for the characters that are of a class."""


@dataclass(frozen=True, eq=False)
class CharacterMap:
    """What each character becomes: itself where `first` is -1, else `text[first:last]`, bytes of UTF-8, maybe none."""

    first: npt.NDArray[np.int32]
    last: npt.NDArray[np.int32]
    text: npt.NDArray[np.uint8]


@cache
def alphanumeric() -> Table:
    """What the standard tokenizer takes for a part of a word: Unicode's alphabetic and numeric characters."""
    words = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build().analyze(_every_character())
    return _table(_code_points("".join(words)))


@cache
def alphabetic() -> Table:
    table = alphanumeric().copy()
    table[_of_categories("Nd", "No")] = 0
    return table


@cache
def group(name: str) -> Table | None:
    """A group of characters as `char_group` names it; None for a name that it does not know."""
    if name == "letter":
        return alphabetic()
    if name == "whitespace":
        # The property White_Space; `str.isspace` also takes the separators 1C to 1F.
        return _table([c for c in range(0x3001) if chr(c).isspace() and not 0x1C <= c <= 0x1F])
    if name == "punctuation":
        return _table(_of_categories("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"))
    if name == "symbol":
        return _table(_of_categories("Sm", "Sc", "Sk", "So"))
    spelled = {
        "digit": string.digits,
        "ascii_digit": string.digits,
        "ascii_letter": string.ascii_letters,
        "ascii_punctuation": string.punctuation,
        "ascii_whitespace": " \t\n\r\x0c",
    }.get(name)
    return None if spelled is None else listed(spelled)


def listed(characters: str) -> Table:
    """The class of just these characters."""
    return _table(map(ord, characters))


@cache
def lower() -> CharacterMap:
    return _map_of(tantivy.Filter.lowercase())


@cache
def ascii_folded() -> CharacterMap:
    return _map_of(tantivy.Filter.ascii_fold())


@cache
def decimal_digits() -> CharacterMap:
    """Every decimal digit as one of 0 to 9."""
    return spelled((c, str(unicodedata.digit(chr(c)))) for c in _of_categories("Nd") if c > 0x7F)


@cache
def arabic_normalized() -> CharacterMap:
    """Alefs without their hamza, teh marbuta as heh, alef maksura as yeh; no harakat and no tatweel."""
    letters = {0x622: "\u0627", 0x623: "\u0627", 0x625: "\u0627", 0x629: "\u0647", 0x649: "\u064a", 0x640: ""}
    return spelled({**letters, **dict.fromkeys(range(0x64B, 0x660), "")}.items())


def _map_of(token_filter: Any) -> CharacterMap:
    """What a filter of tantivy's that goes character by character makes of each."""
    whole = _every_character()
    (text,) = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw()).filter(token_filter).build().analyze(whole)
    if len(text) == len(whole):
        before, after = _code_points(whole), _code_points(text)
        changed = np.flatnonzero(before != after)
        return spelled((int(before[i]), text[i]) for i in changed)
    pairs = zip(whole.split("\0"), text.split("\0"), strict=True)
    return spelled((ord(old), new) for old, new in pairs if old != new)


def spelled(changes: Iterable[tuple[int, str]], others: str | None = None) -> CharacterMap:
    """The map of some characters; all `others` become a text, too, or stay."""
    first, last = np.full(CODE_POINTS, -1, np.int32), np.zeros(CODE_POINTS, np.int32)
    text = bytearray()
    if others is not None:
        text += others.encode()
        first[:], last[:] = 0, len(text)
    for code_point, new in changes:
        first[code_point] = len(text)
        text += new.encode()
        last[code_point] = len(text)
    return CharacterMap(first, last, np.frombuffer(bytes(text), np.uint8))


@cache
def _every_character() -> str:
    """Every character but NUL, with a NUL between one and the next."""
    points = np.array([c for c in range(1, CODE_POINTS) if c not in _SURROGATES], np.uint32)
    apart = np.zeros(2 * len(points) - 1, np.uint32)
    apart[::2] = points
    return apart.tobytes().decode(f"utf-32-{sys.byteorder[0]}e")


@cache
def _categories() -> npt.NDArray[np.str_]:
    return np.array([unicodedata.category(chr(c)) for c in range(CODE_POINTS)])


def _of_categories(*names: str) -> npt.NDArray[np.int64]:
    return np.flatnonzero(np.isin(_categories(), names))


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode(f"utf-32-{sys.byteorder[0]}e"), np.uint32)


def _table(code_points: Iterable[int] | npt.NDArray[Any]) -> Table:
    table = np.zeros(CODE_POINTS, np.uint8)
    table[code_points if isinstance(code_points, np.ndarray) else list(code_points)] = 1
    return table
