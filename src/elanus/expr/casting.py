"""Constants in the types of what they are compared with, and the type in which arithmetic is done."""

from __future__ import annotations

import numpy as np

from elanus.expr.binding import Constant, Values
from elanus.expr.kinds import Type
from elanus.expr.typed import (
    Arithmetic,
    Column,
    Operand,
    Scalar,
)
from elanus.model.types import INTEGERS, NUMPY_OF, DataType


def integer_range(operand: Operand) -> tuple[int, int]:
    """The least and the greatest value of an integer operand."""
    if isinstance(operand, Column) and operand.type is Type.INT:
        return _RANGES[operand.field.dtype]
    return _RANGES[DataType.INT64]


_RANGES = {dtype: (int(np.iinfo(NUMPY_OF[dtype]).min), int(np.iinfo(NUMPY_OF[dtype]).max)) for dtype in INTEGERS}
"""The least and the largest of each integer type."""


def rounded(value: float, kind: Type) -> float:
    """`value` as the column's own type holds it."""
    if kind is Type.DOUBLE:
        return float(value)
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def arithmetic_operand(bound: Constant | Values | Operand) -> Operand:
    """What is no list, as arithmetic takes it."""
    assert not isinstance(bound, Values)
    if isinstance(bound, Constant):
        assert isinstance(bound.value, (int, float))
        return Scalar(bound.value)
    return bound


def arithmetic(op: str, left: Operand, right: Operand) -> Arithmetic:
    """`left op right`, in the type in which it is computed."""
    sides = [side.type for side in (left, right) if not isinstance(side, Scalar)]
    real_constant = any(isinstance(s, Scalar) and isinstance(s.value, float) for s in (left, right))
    if Type.JSON in sides:
        kind = Type.JSON
    elif set(sides) == {Type.INT} and not real_constant:
        kind = Type.INT
    else:
        kind = Type.FLOAT if set(sides) == {Type.FLOAT} else Type.DOUBLE
    return Arithmetic(op, left, right, kind)
