r"""Patterns of `=~`: RE2's regular expressions, found anywhere in a value; `.` is any character, a line end too.

How heavy an expression may be is said in `text.regex_weight`; it also holds for those of a filter together.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr.like import Pattern, Shape
from elanus.text.regex_weight import MAX_WEIGHT, weight

_ONE_TEXT = pa.array([""], pa.large_string())
_UNCLOSED = re.compile(r"^missing ([)\]])")


def compile_regex(source: str, others: int = 0) -> tuple[Pattern, int]:
    """(the regular expression `source`, its weight), beside `others` of that weight in the same filter.

    Raises `ValueError` that says what is wrong with it.
    """
    heavy = weight(source)
    if heavy > MAX_WEIGHT:
        raise ValueError(f"invalid regex pattern: it repeats too much: `{source[:200]}`")
    if heavy + others > MAX_WEIGHT:
        raise ValueError("invalid regex pattern: the filter's regular expressions together repeat too much")
    needle = f"(?s){source}"
    try:
        pc.match_substring_regex(_ONE_TEXT, needle)
    except pa.ArrowInvalid as reason:
        words = str(reason).removeprefix("Invalid regular expression: ").replace(needle, source[:200])
        words = _UNCLOSED.sub(r"missing closing \1", words)[:300]
        raise ValueError(f"invalid regex pattern: {words}") from None
    return Pattern(source, Shape.REGEX, needle), heavy
