"""Times in filters: `ISO "…"`, `INTERVAL "…"`, and Timestamptz fields moved by an interval.

Milvus's grammar has `field op ISO "…"`, with `+` or `-` and an interval behind the field, and the same mirrored. Here a
moment is a constant and a moved field an operand like any other, so chains, lists and other fields are let stand beside
them. A whole number is taken as microseconds since 1970, as Milvus takes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa

from elanus.expr import constants, tree
from elanus.expr.binding import Constant, Values
from elanus.expr.constants import Moment
from elanus.expr.errors import Refused
from elanus.expr.kinds import Type
from elanus.expr.lexer import MAX_INT64
from elanus.expr.tree import Value
from elanus.expr.typed import (
    Column,
    Compare,
    Derived,
    Operand,
    Predicate,
    Rows,
    Typed,
)
from elanus.model.errors import InvalidParameter
from elanus.model.instants import Duration, duration, moment
from elanus.model.timezones import Zone

_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Shifted(Derived):
    """A Timestamptz operand moved `by` so much; `text` is how the filter says it."""

    operand: Column | Shifted
    by: Duration
    text: str

    @property
    def type(self) -> Type:
        return Type.TIME

    @property
    def nullable(self) -> bool:
        return self.operand.nullable

    @property
    def cost(self) -> float:
        return self.operand.cost + 10

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def values(self, rows: Rows) -> pa.Array:
        column = rows.column(self.operand)
        micros = self.by.after(column.fill_null(0).to_numpy(zero_copy_only=False))
        if not column.null_count:
            return pa.array(micros)
        return pa.array(micros, mask=column.is_null().to_numpy(zero_copy_only=False))

    def __str__(self) -> str:
        return f"{self.operand} {self.text}"


def constant(node: tree.Iso, zone: Zone) -> Constant:
    """The moment that `node` names."""
    try:
        return Constant(Moment(moment(node.text, zone)))
    except InvalidParameter as error:
        raise Refused(error.message, node.position) from None


def misplaced(_binder: Any, node: tree.Interval) -> NoReturn:
    """What is said of an interval that is not added to a time."""
    raise Refused("an INTERVAL stands behind + or - and a Timestamptz field", node.position)


def shifted(op: str, left: Constant | Values | Operand, interval: tree.Interval) -> Constant | Shifted:
    """`left op interval`."""
    try:
        by = duration(interval.text)
    except InvalidParameter as error:
        raise Refused(error.message, interval.position) from None
    if op not in ("+", "-"):
        raise Refused(f"an INTERVAL can be added and subtracted only, not '{op}'", interval.position)
    by = by if op == "+" else -by
    if isinstance(left, Constant) and isinstance(left.value, Moment):
        return Constant(Moment(by.after([left.value])[0]))
    if isinstance(left, (Column, Shifted)) and left.type is Type.TIME:
        return Shifted(left, by, f"{op} INTERVAL '{interval.text}'")
    name = left if isinstance(left, Column) else left.type_name if isinstance(left, Constant) else "what is left of it"
    raise Refused(f"field '{name}' is not a timestamptz datatype: an INTERVAL moves nothing else", interval.position)


def compared(op: str, operand: Typed, value: Value, node: tree.Node) -> Predicate:
    """`operand op value`, of which one is a Timestamptz.

    A shift of the operand by a fixed time is taken from both sides; one by months differs from row to row and stays.
    """
    if operand.type is not Type.TIME:
        raise Refused(f"field '{operand}' is not a timestamptz datatype", node.position)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(
            f"comparisons between {operand.type_name} and {Constant(value).type_name} are not supported: "
            "write ISO '2025-01-31T10:00:00+08:00'",
            node.position,
        )
    while isinstance(operand, Shifted) and not operand.by.months:
        value -= (operand.by.days * 86_400 + operand.by.seconds) * _MICROS
        operand = operand.operand
    value = Moment(min(max(value, constants.MIN_INT64), MAX_INT64))
    return Compare(op, operand, value, pa.scalar(int(value), pa.int64()))


def is_moment(value: object) -> bool:
    return type(value) is constants.Moment
