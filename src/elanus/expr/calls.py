"""The functions of the filter language, by their names in lower case; they may be written in upper case, too."""

from __future__ import annotations

from elanus.expr import geometry, text_match, texts
from elanus.expr.arrays import bind_contains, bind_length
from elanus.expr.binding import BindCall

CALLS: dict[str, BindCall] = {
    **geometry.CALLS,
    "array_contains": bind_contains,
    "array_contains_all": bind_contains,
    "array_contains_any": bind_contains,
    "array_length": bind_length,
    "empty": texts.empty,
    "json_contains": bind_contains,
    "json_contains_all": bind_contains,
    "json_contains_any": bind_contains,
    "phrase_match": text_match.phrase_match,
    "starts_with": texts.starts_with,
    "text_match": text_match.text_match,
    "text_match_fuzzy": text_match.text_match_fuzzy,
}

NOT_SUPPORTED = frozenset(
    {"bloom_match", "element_filter", "match_all", "match_any", "match_exact", "match_least", "match_most"}
)
"""Functions of Milvus that are known and not there."""


def function(name: str) -> BindCall | None:
    """The function called `name`; None when there is none, or when its case is mixed."""
    return CALLS.get(name.lower()) if name in (name.lower(), name.upper()) else None
