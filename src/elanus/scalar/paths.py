"""Paths of JSON indexes as they are declared: a name, and keys and places behind it, as in `a['b'][0]`."""

from __future__ import annotations

from elanus.expr import parser, tree
from elanus.expr.json_path import Path
from elanus.model.errors import InvalidParameter
from elanus.model.schema import DYNAMIC_FIELD


def parse(text: str) -> tuple[str, Path] | None:
    """(name, steps behind it), read as a filter is; None where `text` is no path."""
    try:
        root = parser.parse(text).root
    except InvalidParameter:
        return None
    if isinstance(root, tree.Path):
        return root.name, root.steps
    return (root.name, ()) if isinstance(root, tree.Name) else None


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
