r"""`like` patterns: `%` is any run of characters, `_` is one character, `\` takes the next one literally.

Most patterns are one literal with `%` at its ends; those run as comparison, prefix, suffix or substring search. The
match is case-sensitive, over the whole value, and `%` and `_` also stand for line ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr import truth


class Shape(StrEnum):
    WHOLE = "whole"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    INFIX = "infix"
    ANY = "any"
    MIXED = "mixed"
    REGEX = "regex"


_WILD = re.compile(r"[%_\\]")
_WORD = re.compile(r"[A-Za-z0-9_\x80-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as written, what kind it is, and what to search: a literal, or for MIXED and REGEX a regex of RE2."""

    source: str
    shape: Shape
    needle: str

    def match(self, column: pa.Array) -> pa.BooleanArray:
        """Which values of a string column match; unknown for nulls."""
        if self.shape is Shape.ANY:
            return truth.where_known(True, column)
        if self.shape is Shape.WHOLE:
            return pc.equal(column, pa.scalar(self.needle, column.type))
        if self.shape is Shape.PREFIX:
            return pc.starts_with(column, self.needle)
        if self.shape is Shape.SUFFIX:
            return pc.ends_with(column, self.needle)
        if self.shape is Shape.INFIX:
            return pc.match_substring(column, self.needle)
        return pc.match_substring_regex(column, self.needle)


def compile_pattern(source: str) -> Pattern:
    """The pattern written as `source`; raises `ValueError` when it ends within an escape."""
    # Literals and wildcards in turn: literals[0] wildcards[0] literals[1] …
    literals, wildcards = [""], list[str]()
    characters = iter(source)
    for character in characters:
        if character in "%_":
            if character == "%" and wildcards[-1:] == ["%"] and not literals[-1]:
                continue
            wildcards.append(character)
            literals.append("")
            continue
        if character == "\\":
            character = next(characters, "")
            if not character:
                raise ValueError(f"pattern {source!r} ends with an escape character: double it to mean a backslash")
        literals[-1] += character
    if not wildcards:
        return Pattern(source, Shape.WHOLE, literals[0])
    if set(wildcards) == {"%"}:
        filled = [literal for literal in literals if literal]
        if not filled:
            return Pattern(source, Shape.ANY, "")
        if len(filled) == 1:
            if len(literals) == 3:
                return Pattern(source, Shape.INFIX, filled[0])
            return Pattern(source, Shape.PREFIX if literals[0] else Shape.SUFFIX, filled[0])
    regex = [_quoted(literals[0])]
    for wildcard, literal in zip(wildcards, literals[1:], strict=True):
        regex += [".*" if wildcard == "%" else ".", _quoted(literal)]
    return Pattern(source, Shape.MIXED, f"(?s)\\A{''.join(regex)}\\z")


def whole(text: str) -> Pattern:
    """The pattern of `text` and nothing else."""
    return Pattern(_WILD.sub(r"\\\g<0>", text), Shape.WHOLE, text)


def prefix(text: str) -> Pattern:
    """The pattern of texts that begin with `text`."""
    return Pattern(_WILD.sub(r"\\\g<0>", text) + "%", Shape.PREFIX if text else Shape.ANY, text)


def _quoted(literal: str) -> str:
    """`literal` for RE2, where a backslash makes any punctuation literal but no letter and nothing outside ASCII."""
    return "".join(c if _WORD.match(c) else "\\x00" if c == "\0" else f"\\{c}" for c in literal)
