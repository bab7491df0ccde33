"""The filters of reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elanus.expr.bind import BoundFilter
from elanus.expr.compile import compile_filter
from elanus.model.schema import Schema


def condition_of(
    schema: Schema, expression: str, params: Mapping[str, Any] | None, timezone: str
) -> BoundFilter | None:
    """The filter, None where there is none."""
    return compile_filter(expression, schema, params, timezone) if expression and expression.strip() else None
