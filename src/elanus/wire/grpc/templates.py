"""Values of filter templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from elanus.model.errors import InvalidParameter


def values_of(templates: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values for a filter's `{placeholders}`, by name; None where there are none."""
    return {name: _value(name, message) for name, message in templates.items()} if templates else None


def _value(name: str, message: Any) -> Any:
    part = message.WhichOneof("val")
    if part is None:
        raise InvalidParameter(f"the value of the template variable {name} is empty")
    value = getattr(message, part)
    return _array(name, value) if part == "array_val" else value


def _array(name: str, message: Any) -> list[Any]:
    part = message.WhichOneof("data")
    if part is None:
        return []
    values = getattr(message, part)
    if part == "array_data":
        return [_array(name, one) for one in values.data]
    if part == "json_data":
        return [_json(name, text) for text in values.data]
    return list(values.data)


def _json(name: str, text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidParameter(f"the value of the template variable {name} is no JSON: {text[:100]!r}") from None
