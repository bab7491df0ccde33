"""Tokenizers: what cuts a text into tokens.

`spans` of a column says where the tokens of its texts begin and end. The standard tokenizer takes runs of alphanumeric
characters, as tantivy's does that Milvus names so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from elanus.text import unicode
from elanus.text.unicode import Table

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Texts:
    """Some texts as Arrow lays them out: uint8 `data`, int64 `offsets`, one more than there are texts."""

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Spans:
    """The tokens of some texts, end to end; those of text i are `rows[i]` to `rows[i + 1]` (int64).

    Token j is the bytes `starts[j]` to `ends[j]` of the data; `positions[j]` is its place in its text.
    """

    rows: npt.NDArray[np.int64]
    starts: Ints
    ends: Ints
    positions: Ints


class Tokenizer(Protocol):
    @property
    def counts_characters(self) -> bool:
        """Whether positions count characters instead of tokens."""
        ...

    def spans(self, texts: Texts) -> Spans: ...


@dataclass(frozen=True, eq=False)
class Runs:
    """Tokens are the runs of characters of a class."""

    inside: Callable[[], Table]
    counts_characters: bool = False

    def spans(self, texts: Texts) -> Spans:
        from elanus.text import kernels

        inside = self.inside()
        return _in_two_passes(len(texts.offsets), lambda *out: kernels.split(texts.data, texts.offsets, inside, *out))


@dataclass(frozen=True, eq=False)
class Grams:
    """Tokens are all runs of `least` to `most` characters, or only those from the beginning."""

    least: int
    most: int
    prefix_only: bool = False
    counts_characters: bool = True

    def spans(self, texts: Texts) -> Spans:
        from elanus.text import kernels

        sizes = self.least, self.most, self.prefix_only
        return _in_two_passes(len(texts.offsets), lambda *out: kernels.grams(texts.data, texts.offsets, *sizes, *out))


def standard() -> Runs:
    return Runs(unicode.alphanumeric)


def whitespace() -> Runs:
    """Tokens are what ASCII's white space parts."""
    return Runs(lambda: 1 - _group("ascii_whitespace"))


def char_group(characters: str, groups: tuple[str, ...]) -> Runs:
    """Tokens are what some characters and some groups of them part."""
    parting = np.zeros(unicode.CODE_POINTS, np.uint8)
    parting |= unicode.listed(characters)
    for name in groups:
        parting |= _group(name)
    inside = 1 - parting
    return Runs(lambda: inside)


def _group(name: str) -> Table:
    table = unicode.group(name)
    assert table is not None, "whoever parsed the name has checked it"
    return table


def _in_two_passes(bounds: int, run: Callable[..., Any]) -> Spans:
    """`run` counts the tokens, then writes them into arrays of just that size."""
    rows = np.empty(bounds, np.int64)
    empty = np.empty(0, np.int32)
    count = int(run(rows, empty, empty, empty))
    starts, ends, positions = (np.empty(count, np.int32) for _ in range(3))
    if count:
        run(rows, starts, ends, positions)
    return Spans(rows, starts, ends, positions)
