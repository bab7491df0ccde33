"""Paths of JSON indexes as they are declared: a name, and keys and places behind it, as in `a['b'][0]`."""

from __future__ import annotations

import re

from elanus.expr.json_path import Path
from elanus.model.schema import DYNAMIC_FIELD

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_STEP = re.compile(r"""\[(?:'([^']*)'|"([^"]*)"|(\d+))\]""")


def parse(text: str) -> tuple[str, Path] | None:
    """(name, steps behind it); None where `text` is no path."""
    name = _NAME.match(text)
    if name is None:
        return None
    steps: list[str | int] = []
    at = name.end()
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            return None
        single, double, place = step.groups()
        steps.append(int(place) if place is not None else single if single is not None else double)
        at = step.end()
    return name[0], tuple(steps)


def place_of(text: str) -> str:
    """`text` in one spelling for all that mean the same path; as it is where it is no path."""
    parsed = parse(text)
    if parsed is None:
        return text
    name, steps = parsed
    if name == DYNAMIC_FIELD and steps and isinstance(steps[0], str):
        name, steps = steps[0], steps[1:]
    return repr((name, *steps))


def steps_of(text: str, *, is_dynamic: bool) -> Path:
    """The steps within the field: of the dynamic field the name is a key, unless it is the field's own."""
    parsed = parse(text)
    if parsed is None:
        return ()
    name, steps = parsed
    return (name, *steps) if is_dynamic and name != DYNAMIC_FIELD else steps
