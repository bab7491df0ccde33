"""The values of templates: what a request's parameters may hold, and as what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from elanus.expr.constants import MIN_INT64
from elanus.expr.errors import Refused
from elanus.expr.lexer import MAX_INT64
from elanus.expr.tree import Template, Value

MAX_NESTED = 100
"""How deep lists may lie in lists: as deep as messages do."""


def template_value(template: Template, params: Mapping[str, Any]) -> Value | tuple[Value, ...]:
    """What `{name}` stands for: one value, or the values of a list, array or tuple."""
    value = _given(template, params)
    if isinstance(value, (list, tuple)):
        return tuple(_checked(item, template) for item in value)
    return _checked(value, template)


def template_literal(template: Template, params: Mapping[str, Any]) -> Any:
    """What `{name}` stands for where lists may hold lists: a value, or a tuple of values and tuples."""
    return _literal(_given(template, params), template, 0)


def _literal(value: Any, template: Template, depth: int) -> Any:
    if not isinstance(value, (list, tuple)):
        return _checked(value, template)
    if depth == MAX_NESTED:
        raise Refused(f"the lists of template {{{template.name}}} are nested too deeply", template.position)
    return tuple(_literal(item, template, depth + 1) for item in value)


def _given(template: Template, params: Mapping[str, Any]) -> Any:
    if template.name not in params:
        raise Refused(
            f"the value of expression template variable name {{{template.name}}} is not found: "
            "give it in the request's filter parameters",
            template.position,
        )
    value = params[template.name]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, pa.Array):
        value = value.to_pylist()
    return value


def _checked(value: Any, template: Template) -> Value:
    if isinstance(value, np.generic):
        value = value.item()
    kind = type(value)
    if kind is bool or kind is str:
        return value  # type: ignore[no-any-return]
    if kind is int:
        if MIN_INT64 <= value <= MAX_INT64:
            return value  # type: ignore[no-any-return]
        spelled = f"value {value}" if value.bit_length() < 1000 else "the value"
        raise Refused(f"{spelled} of template {{{template.name}}} is out of the range of Int64", template.position)
    if kind is float:
        if not math.isnan(value):
            return value  # type: ignore[no-any-return]
        raise Refused(f"the value of template {{{template.name}}} is not a number", template.position)
    raise Refused(
        f"template {{{template.name}}} has a value of type {kind.__name__}: "
        "give a bool, an int, a float, a string or a list of these",
        template.position,
    )
