"""Where a request points to outside of its filter: a field, or a path of a JSON one, as filters write them."""

from __future__ import annotations

from typing import NamedTuple

from elanus.expr import tree
from elanus.expr.json_path import Path
from elanus.expr.parser import parse
from elanus.model.errors import InvalidParameter
from elanus.model.schema import Field, Schema
from elanus.model.types import TYPE_NAMES, DataType


class Place(NamedTuple):
    """A field, and of JSON the `path` in it."""

    field: Field
    path: Path = ()


def place_of(text: str, schema: Schema) -> Place | None:
    """What `text` names: a field, `field["key"][0]`, or a key of the dynamic field, where there is one.

    None for the name of no field. Raises `InvalidParameter` for what is no name, and for paths into other types.
    """
    field = schema.get(text)
    if field is not None:
        return Place(field)
    name, path = _read(text)
    field = schema.get(name)
    if field is None:
        dynamic = schema.dynamic
        return None if dynamic is None else Place(dynamic, (name, *path))
    if field.dtype is not DataType.JSON:
        raise InvalidParameter(f"{text}: {TYPE_NAMES[field.dtype]} data type not supported accessed with []")
    return Place(field, path)


def _read(text: str) -> tuple[str, Path]:
    """A name, and the steps behind it."""
    try:
        root = parse(f"{text} is null").root
    except InvalidParameter:
        root = None
    if isinstance(root, tree.NullTest) and not root.negated:
        if isinstance(root.operand, tree.Path):
            return root.operand.name, root.operand.steps
        if isinstance(root.operand, tree.Name):
            return root.operand.name, ()
    raise InvalidParameter(f'cannot parse identifier: {text}: send the name of a field, or a path such as field["key"]')
