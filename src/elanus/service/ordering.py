"""By what a read is to be sorted, as somebody writes it: `price:desc`, `about["year"]:asc:nulls_first`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from elanus.engine.ordering import Sorting, SortKey
from elanus.expr.places import Place, place_of
from elanus.model.errors import InvalidParameter
from elanus.model.schema import Schema
from elanus.model.types import NUMBERS, TYPE_NAMES, DataType

_SORTED = NUMBERS | {DataType.BOOL, DataType.VARCHAR, DataType.TIMESTAMPTZ}

_DIRECTIONS = {"": False, "asc": False, "ascending": False, "desc": True, "descending": True}
_NULLS = {"nulls_first": True, "nulls_last": False}

_PART = re.compile(r"""\[(?:"[^"]*"|'[^']*'|[^]"'])*]|[^[:,]+|.""", re.DOTALL)
"""What stands between colons and commas; those within brackets are of keys."""


def parts_of(text: str) -> tuple[str, ...]:
    """The fields that `text` names, between commas, each with what is said of it."""
    return tuple(name for name in _split(text, ",") if name)


def _split(text: str, mark: str) -> list[str]:
    names = [""]
    for part in _PART.findall(text):
        if part == mark:
            names.append("")
        else:
            names[-1] += part
    return [name.strip() for name in names]


def sorting_of(names: Sequence[str], schema: Schema, *, paths: bool = False) -> Sorting:
    """`names` are `field[:asc|desc[:nulls_first|nulls_last]]`; with `paths` also paths of JSON, and dynamic keys.

    Null is larger than any value where it is not said where to put it. Raises `InvalidParameter`.
    """
    return tuple(_key(name, schema, paths) for name in names)


def _key(name: str, schema: Schema, paths: bool) -> SortKey:
    given, *said = _split(name, ":")
    if len(said) > 2:
        raise InvalidParameter(f"too many order_by field options in '{name}'")
    direction, nulls = (*said, "", "")[:2]
    descending = _DIRECTIONS.get(direction.lower())
    if descending is None:
        raise InvalidParameter(f"invalid order direction '{direction}' for field '{given}', must be 'asc' or 'desc'")
    nulls_first = _NULLS.get(nulls.lower(), descending if not nulls else None)
    if nulls_first is None:
        raise InvalidParameter(f"invalid null ordering '{nulls}', must be 'nulls_first' or 'nulls_last'")
    return SortKey(_place(given, schema, paths), descending, nulls_first)


def _place(name: str, schema: Schema, paths: bool) -> Place:
    field = schema.get(name)
    place = Place(field) if field is not None else place_of(name, schema) if paths and name else None
    if place is None:
        raise InvalidParameter(f"order_by field '{name}' does not exist in collection schema")
    if place.field.dtype not in _SORTED and not place.path:
        raise InvalidParameter(
            f"order_by field '{name}' has type {TYPE_NAMES[place.field.dtype]} which is not sortable"
        )
    return place
