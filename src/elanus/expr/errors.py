"""How a filter is refused.

Parser and binder raise `Refused` with the place of the fault; it becomes an `InvalidParameter` where the whole text
is known. Messages of syntax errors carry the place in front, as Milvus's do, those of the binder at their end.
"""

from __future__ import annotations

from elanus.model.errors import InvalidParameter

SHOWN_CHARACTERS = 1000
"""How much of an expression an error repeats: a list of keys can be megabytes long."""


class Refused(Exception):
    """What is wrong with a filter and at which index of its text (None: with the whole of it)."""

    def __init__(self, message: str, position: int | None, *, syntax: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.syntax = syntax

    def about(self, text: str) -> InvalidParameter:
        """The error for the user, naming the expression and the place in it."""
        shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}… ({len(text)} characters)"
        reason = self.message
        if self.position is not None:
            before = text[: self.position]
            place = f"line {before.count(chr(10)) + 1}:{self.position - (before.rfind(chr(10)) + 1)}"
            reason = f"{place} {reason}" if self.syntax else f"{reason} (at {place})"
        return InvalidParameter(f"failed to create query plan: cannot parse expression: {shown}, error: {reason}")
