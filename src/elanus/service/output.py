"""Output fields: from the names a request gives to the fields that are read, and what is left of the dynamic one.

Names are those of fields (but not of what BM25 makes), `*` for all of them, `$meta` for the whole dynamic object, and,
where the collection has a dynamic field, any other name or `$meta["name"]` for one of its keys. A key that is no plain
name has to come in the second form: `sum(price)` and `about["author"]` would otherwise be taken for keys that no row
has.

In a table a Timestamptz is Arrow's timestamp in microseconds, in the time zone in which it is to be told, a Geometry
its WKT (large_string). The dynamic field is the column `$meta` of JSON text (large_binary), cut down to the keys asked
for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import orjson
import pyarrow as pa

from elanus.model import geometries
from elanus.model.errors import InvalidParameter
from elanus.model.schema import DYNAMIC_FIELD, Schema
from elanus.model.timezones import DEFAULT_TIMEZONE
from elanus.model.types import DataType

EVERYTHING = ("*",)

_META_KEY = re.compile(r"""\$meta\[(["'])(?P<key>[^"'\[\]]+)\1\]\Z""")
_PLAIN = re.compile(r"[^\W\d]\w*\Z")


@dataclass(frozen=True, slots=True)
class Output:
    """`fields` are names of the schema's fields; `dynamic_keys` those of the dynamic object to keep, None for all.

    `times` are those of `fields` that hold Timestamptz, which is told in `timezone`; `geometries` those of Geometry.
    """

    fields: tuple[str, ...] = ()
    dynamic_keys: frozenset[str] | None = None
    times: tuple[str, ...] = ()
    geometries: tuple[str, ...] = ()
    timezone: str = DEFAULT_TIMEZONE


NOTHING = Output()


def resolve(schema: Schema, names: Iterable[str], timezone: str = DEFAULT_TIMEZONE) -> Output:
    """What to read for `names`. Raises `InvalidParameter` for a name that is no field and cannot be a dynamic key."""
    if isinstance(names, str):
        names = (names,)
    fields: dict[str, None] = {}
    keys: set[str] = set()
    whole = False
    for name in names:
        if name == "*":
            fields |= dict.fromkeys(f.name for f in schema.fields if not schema.is_hidden(f))
            whole = schema.dynamic is not None
        elif not isinstance(name, str) or not name:
            raise InvalidParameter(f"an output field is named by text; got {name!r}")
        elif name == DYNAMIC_FIELD:
            fields[schema.field(name).name] = None
            whole = True
        elif schema.get(name) is not None or schema.dynamic is None:
            field = schema.field(name)
            if schema.is_hidden(field):
                raise InvalidParameter(
                    f"not allowed to retrieve raw data of field {name}: a function makes it of texts"
                )
            fields[name] = None
        else:
            keys.add(dynamic_key(name))
            fields[DYNAMIC_FIELD] = None
    if not fields:
        return NOTHING
    times = tuple(name for name in fields if schema.field(name).dtype is DataType.TIMESTAMPTZ)
    shapes = tuple(name for name in fields if schema.field(name).dtype is DataType.GEOMETRY)
    return Output(tuple(fields), None if whole else frozenset(keys), times, shapes, timezone)


def dynamic_key(name: str) -> str:
    """The key of the dynamic object that an output field names. Raises `InvalidParameter` for one that names none."""
    path = _META_KEY.match(name)
    if path is None and not _PLAIN.match(name):
        raise InvalidParameter(
            f"parse output field name failed: {name}: send names of fields, or keys of the dynamic field"
        )
    return path["key"] if path else name


def cut(table: pa.Table, output: Output) -> pa.Table:
    """`table` as it is told: its dynamic column cut down to the keys asked for, times in their time zone."""
    for name in output.geometries:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, geometries.texts_of(table.column(place).combine_chunks()))
    for name in output.times:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(place).cast(pa.timestamp("us", output.timezone)))
    if output.dynamic_keys is None or DYNAMIC_FIELD not in output.fields:
        return table
    place = table.schema.get_field_index(DYNAMIC_FIELD)
    objects = map(orjson.loads, table.column(place).to_pylist())
    kept = [{key: value for key, value in found.items() if key in output.dynamic_keys} for found in objects]
    texts = pa.array(list(map(orjson.dumps, kept)), pa.large_binary())
    return table.set_column(place, DYNAMIC_FIELD, texts)
