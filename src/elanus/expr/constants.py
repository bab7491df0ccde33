"""Arithmetic and comparison of constants, exactly.

Integers are int64 and wrap around, as they do in Go and in C++ (`MAX + 1 == MIN`); their division truncates toward
zero and `%` takes the sign of the dividend. `**` always gives a double. A comparison of an integer with a double is
one of numbers, not of roundings: 2**53 + 1 is not 2.0**53. `integer_bound` and `double_bound` say such a comparison
in the terms of one side, so that it runs over a column without converting it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from elanus.expr.lexer import MAX_INT64
from elanus.expr.tree import Value

MIN_INT64 = -MAX_INT64 - 1


class Moment(int):
    """Microseconds since 1970, as a constant that is compared with moments alone."""

    __slots__ = ()


Bound = tuple[str, int] | tuple[str, float] | bool
"""`x op value` for the operator and value given, or that which holds for every x."""

FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
"""The operator with its sides exchanged."""

OPERATION_NAMES = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "modulo", "**": "power",
    "&": "bitand", "|": "bitor", "^": "bitxor", "<<": "shift", ">>": "shift", "~": "bitnot",
}  # fmt: skip
INTEGER_ONLY = frozenset({"%", "&", "|", "^", "<<", ">>", "~"})

_COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class NotComputable(Exception):
    """The operands do not fit the operator; the text says why."""


def wrap(value: int) -> int:
    """`value` modulo 2**64, as int64."""
    return (value - MIN_INT64) % 2**64 + MIN_INT64


def compare(op: str, left: Value, right: Value) -> bool:
    """`left op right`; raises `NotComputable` across strings, numbers and booleans, and for an order of booleans.

    Python compares int with float exactly, and str by code point, which is the order of their UTF-8 bytes.
    """
    if classify(left) != classify(right):
        raise NotComputable("comparison operations cannot be applied to two incompatible operands")
    if isinstance(left, bool) and op not in ("==", "!="):
        raise NotComputable(f"'{op}' cannot be used between booleans")
    return _COMPARISONS[op](left, right)


def classify(value: Value) -> str:
    """Bool, Number, String or Timestamptz: values of different classes do not compare."""
    if isinstance(value, bool):
        return "Bool"
    if isinstance(value, Moment):
        return "Timestamptz"
    return "String" if isinstance(value, str) else "Number"


def signed(op: str, value: Value) -> Value:
    """Unary `op`."""
    if classify(value) != "Number" or isinstance(value, str) or (op == "~" and not isinstance(value, int)):
        raise NotComputable(f"unary '{op}' cannot be applied to {value!r}")
    if op == "~":
        return ~int(value)
    if op == "+":
        return value
    return wrap(-value) if isinstance(value, int) else -value


def computed(op: str, left: Value, right: Value) -> int | float:
    """`left op right` of two numbers."""
    name = OPERATION_NAMES[op]
    if classify(left) != "Number" or classify(right) != "Number":
        raise NotComputable(f"{name} can only apply on numbers")
    assert isinstance(left, (int, float))
    assert isinstance(right, (int, float))
    if op in INTEGER_ONLY and not (isinstance(left, int) and isinstance(right, int)):
        raise NotComputable(f"{name} can only apply on integer")
    check_divisor(op, right)
    if op == "**":
        try:
            return math.pow(left, right)
        except OverflowError:
            raise NotComputable(f"{left} ** {right} is out of the range of Double") from None
        except ValueError:
            raise NotComputable(f"{left} ** {right} is not a real number") from None
    if isinstance(left, int) and isinstance(right, int):
        return wrap(_INTEGER_OPERATIONS[op](left, right))
    result = _FLOAT_OPERATIONS[op](float(left), float(right))
    if math.isnan(result):
        raise NotComputable(f"{left} {op} {right} is not a number")
    return result


def check_divisor(op: str, divisor: float) -> None:
    """Raise `NotComputable` for a zero under `/` or `%`, and for a shift outside 0..63."""
    if op in ("/", "%") and divisor == 0:
        raise NotComputable("cannot divide by zero" if op == "/" else "cannot modulo by zero")
    if op in ("<<", ">>") and not 0 <= divisor <= 63:
        raise NotComputable(f"shift count {divisor} is not in [0, 63]")


def _truncated(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    return left - right * _truncated(left, right)


_INTEGER_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _truncated,
    "%": _remainder,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}
_FLOAT_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def integer_bound(op: str, value: float, low: int = MIN_INT64, high: int = MAX_INT64) -> Bound:
    """`x op value` for integers x in [low, high], with an integer in that range on the right."""
    if isinstance(value, float):
        if math.isinf(value):
            value = high + 1 if value > 0 else low - 1
        elif value.is_integer():
            value = int(value)
        elif op in ("==", "!="):
            return op == "!="
        elif op in ("<", "<="):
            op, value = "<=", math.floor(value)
        else:
            op, value = ">=", math.ceil(value)
    if low <= value <= high:
        return op, int(value)
    if op in ("==", "!="):
        return op == "!="
    return (value > high) == (op in ("<", "<="))


def double_bound(op: str, value: float) -> Bound:
    """`x op value` for doubles x, with a double on the right."""
    nearest = float(value)
    if isinstance(value, float) or int(nearest) == value:
        return op, nearest
    if op in ("==", "!="):
        return op == "!="
    if op in ("<", "<="):
        return "<=", nearest if nearest < value else math.nextafter(nearest, -math.inf)
    return ">=", nearest if nearest > value else math.nextafter(nearest, math.inf)
