"""From text to a filter that runs, remembering the last ones: a client sends the same text over and over."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from elanus.expr.bind import bind
from elanus.expr.bound import BoundFilter
from elanus.expr.parser import parse
from elanus.model.schema import Schema
from elanus.model.timezones import DEFAULT_TIMEZONE, zone_named

MAX_CACHED = 1024
MAX_CACHED_CHARACTERS = 8192
"""Longer texts are lists of keys: no two alike, and together they would hold gigabytes."""

MAX_KEPT_CHARACTERS = 1024
"""Trees of longer texts with templates are not kept, of which a client sends the same text with other values."""

_parsed = lru_cache(maxsize=MAX_CACHED)(parse)
_cache: OrderedDict[Any, tuple[Schema, BoundFilter]] = OrderedDict()
_lock = threading.Lock()


def compile_filter(
    text: str, schema: Schema, params: Mapping[str, Any] | None = None, timezone: str = DEFAULT_TIMEZONE
) -> BoundFilter:
    """`text` parsed and bound to `schema`, its templates filled from `params`. Raises `InvalidParameter`.

    Times in it without an offset are those of clocks of `timezone`.

    A schema is known by its identity: schemas are immutable, and one that the cache knows is kept alive by it.
    """
    key = (text, id(schema), _params_key(params) if params else None, timezone)
    found = _cache.get(key)
    if found is not None:
        with _lock:
            if key in _cache:
                _cache.move_to_end(key)
        return found[1]
    parsed = _parsed(text) if params and len(text) <= MAX_KEPT_CHARACTERS else parse(text)
    compiled = bind(parsed, schema, params, zone_named(timezone))
    if len(text) <= MAX_CACHED_CHARACTERS and key[2] != ():
        with _lock:
            _cache[key] = (schema, compiled)
            if len(_cache) > MAX_CACHED:
                _cache.popitem(last=False)
    return compiled


def _params_key(params: Mapping[str, Any]) -> tuple[Any, ...]:
    """The parameters as a key, or () where some value is a list or the like: those are rarely the same twice."""
    for value in params.values():
        if type(value) is str:
            if len(value) > MAX_CACHED_CHARACTERS:
                return ()
        elif type(value) is int:
            if value.bit_length() > 64:
                return ()
        elif type(value) not in (bool, float):
            return ()
    # 1, 1.0 and True are equal keys but not the same filter, nor are 0.0 and -0.0.
    return tuple((name, type(value), repr(value)) for name, value in params.items())
