"""Lists for `in`: cast to the type of what they are compared with, once, when the filter is bound."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from elanus.expr.constants import Moment, classify
from elanus.expr.errors import Refused
from elanus.expr.kinds import ARROW_OF, Type
from elanus.expr.lexer import MAX_INT64
from elanus.expr.numbers import distinct
from elanus.expr.tree import Value
from elanus.expr.typed import (
    Always,
    Arithmetic,
    Column,
    Compare,
    Member,
    MemberJson,
    Predicate,
    Typed,
    WhereKnown,
    shown,
)

_ALLOWED = {
    Type.BOOL: frozenset({bool}),
    Type.INT: frozenset({int}),
    Type.FLOAT: frozenset({int, float}),
    Type.DOUBLE: frozenset({int, float}),
    Type.STRING: frozenset({str}),
    Type.TIME: frozenset({int, Moment}),
    Type.GEOMETRY: frozenset(),
}


def member(operand: Typed, values: tuple[Value, ...], position: int, limits: tuple[int, int]) -> Predicate:
    """`operand in values` for a typed operand. What is outside `limits`, those of its integer type, matches nothing."""
    kinds = set(map(type, values))
    allowed = _ALLOWED[operand.type]
    if not kinds <= allowed:
        wrong = next(v for v in values if type(v) not in allowed)
        raise Refused(f"value '{shown(wrong)[:200]}' in list cannot be casted to {operand.type_name}", position)
    arrow = operand.field.arrow_type if isinstance(operand, Column) else ARROW_OF[operand.type]
    if operand.type in (Type.INT, Type.TIME):
        numbers = np.array(values, np.int64)
        if arrow != pa.int64():
            numbers = numbers[(numbers >= limits[0]) & (numbers <= limits[1])]
        listed = pa.array(distinct(numbers), arrow)
    elif operand.type is Type.STRING:
        listed = _strings(values, position)
    elif operand.type is Type.BOOL:
        listed = pa.array(sorted(set(values)), pa.bool_())
    else:
        with np.errstate(over="ignore"):
            reals = np.array(values, np.float64).astype(np.float32 if arrow == pa.float32() else np.float64)
        listed = pa.array(_with_both_zeros(distinct(reals)))
    if not len(listed):
        return WhereKnown(operand, False) if operand.nullable else Always(False)
    if len(listed) == 1:
        return Compare("==", operand, listed[0].as_py(), listed[0])
    return Member(operand, listed)


def member_of_json(operand: Typed, values: tuple[Value, ...], position: int) -> Predicate:
    """`operand in values` where each row of the operand has a class of its own."""
    if not values:
        return WhereKnown(operand, False)
    if any(type(v) is Moment for v in values):
        raise Refused("a JSON value is no Timestamptz: compare it with numbers, strings or booleans", position)
    numbers = [v for v in values if classify(v) == "Number"]
    texts = [v for v in values if isinstance(v, str)]
    if isinstance(operand, Arithmetic) and len(numbers) < len(values):
        wrong = next(v for v in values if classify(v) != "Number")
        raise Refused(f"value '{shown(wrong)[:200]}' in list cannot be casted to a number", position)
    ints = doubles = None
    if numbers:
        ints = pa.array(distinct(np.array(list(_as_ints(numbers)), np.int64)))
        doubles = pa.array(_with_both_zeros(distinct(np.array(list(_as_doubles(numbers)), np.float64))))
    bools = frozenset(v for v in values if isinstance(v, bool))
    return MemberJson(operand, ints, doubles, _strings(texts, position) if texts else None, bools, values)


def _strings(values: Iterable[Value], position: int) -> pa.Array:
    try:
        return pa.array(list(dict.fromkeys(values)), pa.large_string())
    except UnicodeEncodeError:
        raise Refused("a string in the list holds half of a surrogate pair, which UTF-8 cannot", position) from None


def _as_ints(numbers: Iterable[Value]) -> Iterable[int]:
    """The numbers that an int64 can equal."""
    for number in numbers:
        if isinstance(number, int) or (isinstance(number, float) and number.is_integer()):
            whole = int(number)
            if -MAX_INT64 - 1 <= whole <= MAX_INT64:
                yield whole


def _as_doubles(numbers: Iterable[Value]) -> Iterable[float]:
    """The numbers that a double can equal."""
    for number in numbers:
        real = float(number)
        if real == number:
            yield real


def _with_both_zeros(reals: np.ndarray) -> np.ndarray:
    """0.0 and -0.0 are equal but not to a hash table."""
    if not (reals == 0).any():
        return reals
    zero = reals.dtype.type(0)
    return np.concatenate([reals[reals != 0], np.array([zero, -zero], reals.dtype)])
