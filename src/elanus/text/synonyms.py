r"""The rows of a synonym filter.

`A, B, C` says that each stands for all; `A, B => C, D` that C and D stand for A and for B. A comma, a space, `=>` and a
backslash that belong to a word have a backslash before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from elanus.model.errors import InvalidParameter

_PIECES = re.compile(r"\\=>|\\.|\\$|=>|.", re.DOTALL)
_ESCAPES = {"\\,": ",", "\\ ": " ", "\\\\": "\\", "\\=>": "=>"}


def synonyms_of(rows: Iterable[str], expand: bool) -> dict[str, tuple[str, ...]]:
    """What each word becomes. Without `expand` words of a group become its first, and a mapped word goes.

    Raises `InvalidParameter` for a row that is not written as it should be.
    """
    made: dict[str, dict[str, None]] = {}
    for row in rows:
        left, right = _sides(row)
        becomes = right if right is not None else left if expand else left[:1]
        for word in left:
            words = made.setdefault(word, {word: None} if expand else {})
            words.update(dict.fromkeys(becomes))
    return {word: tuple(words) for word, words in made.items()}


def _sides(row: str) -> tuple[list[str], list[str] | None]:
    """The words before and behind `=>`; None where there is no `=>`."""
    sides: list[list[str]] = [[]]
    word, ended = "", False
    for piece in _PIECES.findall(row):
        if piece in _ESCAPES or piece.startswith("\\"):
            if piece not in _ESCAPES:
                raise InvalidParameter(f"invalid synonym escaped: {piece} in {row}")
            word += _ESCAPES[piece]
        elif piece == " ":
            ended = bool(word)
        elif piece in (",", "=>"):
            sides[-1] += [word] if word else []
            word, ended = "", False
            if piece == "=>":
                if len(sides) == 2:
                    raise InvalidParameter(f'read synonym dict failed, has more than one "=>" in {row}')
                sides.append([])
        elif ended:
            raise InvalidParameter(
                f"read synonym dict failed, has space between words {row}, please use \\ to escape space"
            )
        else:
            word += piece
    sides[-1] += [word] if word else []
    return sides[0], sides[1] if len(sides) == 2 else None
