r"""How heavy a regular expression is, before RE2 is given it.

RE2 takes time in proportion to the text, but also to the size of the automaton that it makes of the expression, and
`(a?){1000}`, written ten times, makes one of a hundred thousand states. Arrow gives no way to bound it, so an
expression is weighed, by one pass over it, and refused where it is heavier than `MAX_WEIGHT`.
"""

from __future__ import annotations

import re

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
_PROPERTY_NAME = re.compile(r"\\[pP](?:\{\^?(\w*)\}|(\w))")
_PROPERTIES = {
    "L": 250, "Lo": 210, "Ll": 185, "Lu": 175, "Mn": 170, "M": 155, "P": 120, "S": 115, "Po": 115, "N": 100, "So": 90,
    "Mc": 90, "Common": 85, "No": 60, "Nd": 55, "Lm": 55,
}  # fmt: skip
"""What one character of a class of Unicode weighs: a fifth of the instructions that RE2 makes of it."""
_PROPERTY, _WIDE = 35, 3
"""What one of any other class weighs, and what nearly any character may be."""
_LOOSE = 4
"""How many times as heavy a thing is that may be there or not."""
_LOOSE_REPEAT = 3
"""What is added to each of the times that a thing is repeated, where these are not counted out."""


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
            last = _weight_of_one(token.group())
            groups[-1] += last
        else:
            repeated = last * _LOOSE
            if kind == "times":
                times = max(int(token["least"]), int(token["most"] or 0))
                repeated = times * (last + (_LOOSE_REPEAT if token["more"] else 0))
            groups[-1] += repeated - last
            last = repeated
        if groups[-1] > MAX_WEIGHT:
            break
    return sum(groups)


def _weight_of_one(text: str) -> int:
    """Of what stands for one character: itself, or a class."""
    if r"\p" not in text and r"\P" not in text:
        return _WIDE if text == "." or text[:2] == "[^" else 1
    return sum(_PROPERTIES.get(name or letter, _PROPERTY) for name, letter in _PROPERTY_NAME.findall(text)) or _PROPERTY
