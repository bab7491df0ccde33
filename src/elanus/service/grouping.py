"""What a grouped search asks for, checked against a schema."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from elanus.engine.grouping import Grouping, GroupKey
from elanus.expr.places import Place, place_of
from elanus.model.errors import InvalidParameter
from elanus.model.schema import Field, Schema
from elanus.model.types import INTEGERS, TYPE_NAMES, DataType

MOST_OF_GROUP = 10
"""Hits that a group may be asked for, as in Milvus."""

_TYPES = INTEGERS | {DataType.BOOL, DataType.VARCHAR, DataType.TIMESTAMPTZ, DataType.JSON}
"""What rows can be grouped by."""

_CASTS = {TYPE_NAMES[dtype]: dtype for dtype in sorted(INTEGERS | {DataType.BOOL, DataType.VARCHAR})}

_SPELLED = {DataType.FLOAT_VECTOR: "VECTOR_FLOAT"}
"""Types that Milvus spells another way where it refuses to group by them."""


class GroupBy(NamedTuple):
    """Groups of `size` hits, as somebody asks for them: by all of `fields` together, names or paths of JSON.

    `json_path` may stand in place of the one field's own path. What is there is taken as a `json_type`, the name of a
    type, or else as text; where `strict_cast`, a row that holds something else is a fault, and else it holds null.
    """

    fields: tuple[str, ...]
    size: int = 1
    json_path: str = ""
    json_type: str = ""
    strict_cast: bool = False


def grouping_of(asked: GroupBy, schema: Schema, searched: Field) -> Grouping:
    """Raises `InvalidParameter` for a size out of range, and for what rows cannot be grouped by."""
    if asked.size < 1:
        raise InvalidParameter(
            f"input group size:{asked.size} is negative, failed to do search_groupby: send 1 or more"
        )
    if asked.size > MOST_OF_GROUP:
        raise InvalidParameter(f"input group size:{asked.size} exceeds configured max group size:{MOST_OF_GROUP}")
    if searched.dtype is DataType.BINARY_VECTOR:
        raise InvalidParameter("not support search_group_by operation based on binary vector column")
    places = [_place(name, schema) for name in asked.fields]
    if len(places) > 1 and any(place.field.dtype is DataType.JSON for place in places):
        raise InvalidParameter("group_by with json path is not supported for multi-field group_by: send one field")
    if asked.json_path:
        places = [_place_in(places[0], asked.json_path, schema)]
    cast = _CASTS.get(asked.json_type)
    return Grouping(tuple(GroupKey(place, cast, asked.strict_cast) for place in places), asked.size)


def shown_groups(grouping: Grouping, values: tuple[pa.Array, ...], timezone: str) -> list[tuple[Field, pa.Array]]:
    """The values that hits were grouped by, each with the field that says how they are told; times in `timezone`."""
    shown = []
    for key, column in zip(grouping.keys, values, strict=True):
        field = _shown_as(key)
        is_time = field.dtype is DataType.TIMESTAMPTZ
        shown.append((field, column.cast(pa.timestamp("us", timezone)) if is_time else column))
    return shown


def _shown_as(key: GroupKey) -> Field:
    field = key.place.field
    if field.dtype is not DataType.JSON:
        return field
    dtype = DataType.INT64 if key.cast in INTEGERS else key.cast or DataType.VARCHAR
    return Field(field.name, dtype, field.id, nullable=True)


def _place(name: str, schema: Schema) -> Place:
    place = place_of(name, schema)
    if place is None:
        raise InvalidParameter(f"groupBy field not found in schema: fieldName({name}) not found")
    if place.field.dtype not in _TYPES:
        kind = _SPELLED.get(place.field.dtype, place.field.dtype.name)
        raise InvalidParameter(f"unsupported data type {kind} for group by operator: field {name}")
    return place


def _place_in(place: Place, json_path: str, schema: Schema) -> Place:
    """`json_path` as a path in the JSON field that `place` names."""
    within = place_of(json_path, schema)
    if within is None or within.field is not place.field or place.field.dtype is not DataType.JSON:
        raise InvalidParameter(f"json_path {json_path} is no path in field {place.field.name}")
    return within
