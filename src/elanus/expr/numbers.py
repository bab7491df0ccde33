"""Numbers that are integers in some rows and doubles in others, as JSON has them; exact int-to-double comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr.constants import INTEGER_ONLY, Bound
from elanus.expr.json_path import Extraction, Kind
from elanus.expr.truth import Bools

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_MAX_EXACT = 2**53
"""Up to here every integer is a double."""

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """Row by row: the integer in `ints` where `is_int`, the double in `doubles` where `is_double`, else no number."""

    is_int: Bools
    is_double: Bools
    ints: Ints
    doubles: Doubles

    @property
    def known(self) -> Bools:
        return self.is_int | self.is_double

    def as_doubles(self) -> Doubles:
        return np.where(self.is_int, self.ints.astype(np.float64), self.doubles)


def of_json(extraction: Extraction) -> Numbers:
    kinds = extraction.kinds
    return Numbers(kinds == Kind.INT, kinds == Kind.DOUBLE, extraction.ints, extraction.doubles)


def of_column(column: pa.Array) -> Numbers:
    """The numbers of an integer or floating column; none where it is null."""
    rows = len(column)
    known = column.is_valid().to_numpy(zero_copy_only=False)
    none = np.zeros(rows, np.bool_)
    values = values_of(column)
    if pa.types.is_integer(column.type):
        return Numbers(known, none, values.astype(np.int64), np.zeros(rows))
    return Numbers(none, known, np.zeros(rows, np.int64), values.astype(np.float64))


def of_scalar(value: float, rows: int) -> Numbers:
    every, none = np.ones(rows, np.bool_), np.zeros(rows, np.bool_)
    if isinstance(value, int):
        return Numbers(every, none, np.full(rows, value, np.int64), np.zeros(rows))
    return Numbers(none, every, np.zeros(rows, np.int64), np.full(rows, value))


def distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values, rising, each once: faster than `np.unique` where they are few or rise already."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def values_of(column: pa.Array) -> npt.NDArray[Any]:
    """The values of a fixed-width column without a copy; those of null rows are arbitrary."""
    without_nulls = [None, column.buffers()[1]]
    values: npt.NDArray[Any] = pa.Array.from_buffers(
        column.type, len(column), without_nulls, offset=column.offset
    ).to_numpy()
    return values


def compute(op: str, left: Numbers, right: Numbers) -> Numbers:
    """`left op right`: of integers an integer, wrapping around; else a double, or nothing for operators of integers.

    Nothing where a divisor is zero or a shift is not in 0..63.
    """
    both_int = left.is_int & right.is_int
    other = left.known & right.known & ~both_int
    with np.errstate(all="ignore"):
        ints, fits = _computed_ints(op, left.ints, right.ints)
        if op in INTEGER_ONLY and op != "%":
            return Numbers(both_int & fits, np.zeros_like(other), ints, np.zeros(len(ints)))
        a, b = left.as_doubles(), right.as_doubles()
        if op in ("/", "%"):
            other &= b != 0
        return Numbers(both_int & fits, other, ints, _DOUBLES[op](a, b))


_DOUBLES: dict[str, Callable[[Doubles, Doubles], Doubles]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
}
_INTS: dict[str, Callable[[Ints, Ints], Ints]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "&": np.bitwise_and,
    "|": np.bitwise_or,
    "^": np.bitwise_xor,
}


def _computed_ints(op: str, a: Ints, b: Ints) -> tuple[Ints, Bools | np.bool_]:
    """(result, where it is one)."""
    if op in ("<<", ">>"):
        fits = (b >= 0) & (b <= 63)
        count = np.where(fits, b, 0)
        return (np.left_shift(a, count) if op == "<<" else np.right_shift(a, count)), fits
    if op in ("/", "%"):
        fits = b != 0
        # -1 apart: the smallest integer has no opposite, and some processors trap on it.
        divisor = np.where(fits & (b != -1), b, 1)
        remainder = np.fmod(a, divisor)
        if op == "%":
            return remainder, fits
        return np.where(b == -1, -a, (a - remainder) // divisor), fits
    return _INTS[op](a, b), np.bool_(True)


def within(bound: Bound, values: npt.NDArray[Any]) -> Bools:
    """Where `value op bound` holds."""
    if isinstance(bound, bool):
        return np.full(len(values), bound)
    return COMPARISONS[bound[0]](values, bound[1])  # type: ignore[no-any-return]


def compare_exactly(op: str, ints: Ints, doubles: Doubles) -> Bools:
    """`int op double` by value in each row: nothing is rounded. A NaN is unequal to everything and in no order."""
    if len(ints) and int(ints.max()) <= _MAX_EXACT and int(ints.min()) >= -_MAX_EXACT:
        return COMPARISONS[op](ints.astype(np.float64), doubles)  # type: ignore[no-any-return]
    below, above = doubles < -(2.0**63), doubles >= 2.0**63
    nan = np.isnan(doubles)
    floor = np.floor(doubles)
    whole = np.where(below | above | nan, 0.0, floor).astype(np.int64)
    order = (ints > whole).astype(np.int8) - (ints < whole)
    order = np.where((order == 0) & (doubles > floor), -1, order)
    order = np.where(above, -1, np.where(below, 1, order))
    result = COMPARISONS[op](order, 0)
    return np.where(nan, op == "!=", result)
