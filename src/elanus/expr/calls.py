"""The functions of the filter language, by their names in lower case; they may be written in upper case, too."""

from __future__ import annotations

from elanus.expr import text_match
from elanus.expr.binding import BindCall

CALLS: dict[str, BindCall] = {
    "phrase_match": text_match.phrase_match,
    "text_match": text_match.text_match,
    "text_match_fuzzy": text_match.text_match_fuzzy,
}


def function(name: str) -> BindCall | None:
    """The function called `name`; None when there is none, or when its case is mixed."""
    return CALLS.get(name.lower()) if name in (name.lower(), name.upper()) else None
