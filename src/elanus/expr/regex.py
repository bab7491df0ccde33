r"""Patterns of `=~`: RE2's regular expressions, found anywhere in a value; `.` is any character, a line end too.

RE2 takes time in proportion to the text, but also to the size of the automaton that it makes of the expression, and
`(a?){1000}`, written ten times, makes one of a hundred thousand states. So an expression is weighed before it is given
to RE2, and refused where it is too heavy: `MAX_WEIGHT`, which is also for those of a filter together.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr.like import Pattern, Shape

MAX_WEIGHT = 16_000
"""As many plain characters, or so: what is heavier takes RE2 more than some 50 ms to compile and to begin with."""

_TOKEN = re.compile(
    r"""
      (?P<property>\\[pP](?:\{[^}]{0,64}\}|.))
    | (?P<quoted>\\Q.*?(?:\\E|\Z))
    | (?P<class>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*+\]?)
    | (?P<times>\{(?P<least>\d{1,4})(?P<more>,(?P<most>\d{0,4}))?\}\??)
    | (?P<any>[*+?]\??)
    | (?P<open>\((?:\?P?<[^>]{0,64}>|\?[a-zA-Z-]{0,8}:)?)
    | (?P<close>\))
    | (?P<plain>\\x\{[0-9a-fA-F]{1,8}\}|\\.|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_PROPERTY, _WIDE = 250, 3
"""What a class of Unicode weighs, and what nearly any character may be."""
_LOOSE = 4
"""How many times as heavy a thing is that may be there or not."""

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


def weight(source: str) -> int:
    """Roughly how many plain characters the expression is as heavy as; no more is looked at than is allowed."""
    groups, last = [0], 0
    for token in _TOKEN.finditer(source):
        kind = token.lastgroup or ""
        if kind == "open":
            groups.append(0)
            continue
        if kind == "close":
            if len(groups) > 1:
                last = groups.pop()
                groups[-1] += last
            else:
                last = groups[0]
        elif kind == "quoted":
            last = len(token.group())
            groups[-1] += last
        elif kind in ("property", "class", "plain"):
            text = token.group()
            last = _PROPERTY if r"\p" in text or r"\P" in text else _WIDE if text == "." or text[:2] == "[^" else 1
            groups[-1] += last
        else:
            factor = _LOOSE
            if kind == "times":
                factor = max(int(token["least"]), int(token["most"] or 0)) * (_LOOSE if token["more"] else 1)
            groups[-1] += last * (factor - 1)
            last *= factor
        if groups[-1] > MAX_WEIGHT:
            break
    return sum(groups)
