"""What statistics say of a predicate before any row is read: whether it can be true, and in about how many rows.

`possible` gives a set of the three truth values: no row has one that is not in it, though not every one in it need be
there. So a segment where TRUE is not possible holds no match, and one where nothing else is needs no evaluation.
`share` is an estimate for the planner and promises nothing; it takes values to be spread evenly between their bounds
and terms to be independent, as Selinger et al. do ("Access path selection in a relational database", SIGMOD 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr.like import Shape
from elanus.expr.numbers import COMPARISONS, values_of
from elanus.expr.simplify import joined, negated
from elanus.expr.typed import (
    Always,
    Column,
    Compare,
    IsNull,
    Junction,
    Like,
    Member,
    Not,
    Operand,
    Predicate,
    WhereKnown,
)
from elanus.model.statistics import FieldStatistics

TRUE, FALSE, UNKNOWN = 1, 2, 4
ANYTHING = TRUE | FALSE | UNKNOWN

Statistics = Mapping[int, FieldStatistics]
"""By field id; fields of which nothing is known are left out."""

GUESSED_SHARE = 0.1
"""Of the rows that a predicate matches of which nothing is known (System R's guess for an equality)."""

GUESSED_RANGE = 1 / 3
"""The same of a comparison with a bound that is not known."""

_LEAST_SETTLED = 1e-3
"""The share of rows that a term is taken to settle at least: of terms that settle none the cheapest is first."""


def prune(root: Predicate, statistics: Statistics, rows: int) -> bool | None:
    """True where `root` is true in each of `rows` rows, False where it is true in none, None where it has to be run."""
    if not statistics or rows == 0:
        return None
    truths = possible(root, statistics, rows)
    return False if not truths & TRUE else True if truths == TRUE else None


def arranged(root: Predicate, statistics: Statistics, rows: int) -> Predicate:
    """`root`, true, false and unknown in the same rows, without terms that statistics decide.

    The terms of `and` and `or` come in the order in which most is settled for what it costs (Hanani, "An optimal
    evaluation of Boolean expressions in an online query system", CACM 1977).
    """
    if not statistics or not isinstance(root, (Not, Junction)):
        return root
    truths = possible(root, statistics, rows)
    if truths in (TRUE, FALSE):
        return Always(truths == TRUE)
    if isinstance(root, Not):
        return negated(arranged(root.operand, statistics, rows))
    settles = root.op == "or"
    decided = {TRUE: Always(True), FALSE: Always(False)}
    terms = [decided.get(possible(t, statistics, rows)) or arranged(t, statistics, rows) for t in root.terms]
    node = joined(root.op, terms)
    if not isinstance(node, Junction):
        return node

    def rank(term: Predicate) -> float:
        held = share(term, statistics, rows)
        return term.cost / max(held if settles else 1 - held, _LEAST_SETTLED)

    return replace(node, terms=tuple(sorted(node.terms, key=rank)))


def possible(node: Predicate, statistics: Statistics, rows: int) -> int:
    """The truth values that `node` may have in a row: TRUE, FALSE and UNKNOWN or-ed together."""
    if isinstance(node, Always):
        return TRUE if node.truth else FALSE
    if isinstance(node, Not):
        truths = possible(node.operand, statistics, rows)
        return truths & UNKNOWN | (FALSE if truths & TRUE else 0) | (TRUE if truths & FALSE else 0)
    if isinstance(node, Junction):
        join = _AND if node.op == "and" else _OR
        return reduce(lambda a, b: join[a][b], (possible(term, statistics, rows) for term in node.terms))
    known = _known(node, statistics)
    if known is None:
        return ANYTHING
    some, none = known.nulls < rows, known.nulls > 0
    if isinstance(node, IsNull):
        null, value = (FALSE, TRUE) if node.negated else (TRUE, FALSE)
        return (value if some else 0) | (null if none else 0)
    return (_of_values(node, known) if some else 0) | (UNKNOWN if none else 0)


def share(node: Predicate, statistics: Statistics, rows: int) -> float:
    """About which part of `rows` rows `node` is true in, from 0 to 1."""
    if isinstance(node, Always):
        return float(node.truth)
    if isinstance(node, Junction):
        parts = [share(term, statistics, rows) for term in node.terms]
        return math.prod(parts) if node.op == "and" else 1 - math.prod(1 - part for part in parts)
    if isinstance(node, Not):
        known = _known(node.operand, statistics)
        held = 1 - known.nulls / rows if known is not None and rows and not isinstance(node.operand, IsNull) else 1.0
        return max(0.0, held - share(node.operand, statistics, rows))
    known = _known(node, statistics)
    if known is None or not rows:
        return GUESSED_SHARE
    nulls = known.nulls / rows
    if isinstance(node, IsNull):
        return 1 - nulls if node.negated else nulls
    truths = _of_values(node, known) if known.nulls < rows else 0
    if not truths & TRUE:
        return 0.0
    return (1 - nulls) * (1.0 if truths == TRUE else _share_of_values(node, known))


# --- one field ----------------------------------------------------------------------------------------------------


def _known(node: Predicate, statistics: Statistics) -> FieldStatistics | None:
    """What is known of the field that `node` looks at, where that is one field and nothing else."""
    if not isinstance(node, (Compare, Member, Like, IsNull, WhereKnown)):
        return None
    operand: Operand = node.operand
    return statistics.get(operand.field.id) if isinstance(operand, Column) else None


def _of_values(node: Predicate, known: FieldStatistics) -> int:
    """TRUE, FALSE or both: what `node` may be for a value between the bounds."""
    low, high = known.low, known.high
    if isinstance(node, WhereKnown):
        return TRUE if node.truth else FALSE
    if isinstance(node, Compare):
        return _compared(node.op, low, high, node.scalar.as_py())
    if isinstance(node, Like):
        pattern = node.pattern
        if pattern.shape is Shape.WHOLE:
            return _compared("==", low, high, pattern.needle)
        if pattern.shape is Shape.PREFIX:
            return _prefixed(low, high, pattern.needle)
    if isinstance(node, Member):
        among = _among(node.values, low, high)
        if not among:
            return FALSE
        if low is not None and low == high:
            return TRUE
    return TRUE | FALSE


def _compared(op: str, low: Any, high: Any, value: Any) -> int:
    """A comparison with `value` of something from `low` to `high`, None where there is no bound."""
    if value != value:  # NaN is in no order
        return TRUE | FALSE
    below = low is None or low < value
    above = high is None or high > value
    equal = (low is None or low <= value) and (high is None or high >= value)
    held = {
        "<": (below, equal or above),
        "<=": (below or equal, above),
        ">": (above, equal or below),
        ">=": (above or equal, below),
        "==": (equal, below or above),
        "!=": (below or above, equal),
    }[op]
    return (TRUE if held[0] else 0) | (FALSE if held[1] else 0)


def _prefixed(low: Any, high: Any, prefix: str) -> int:
    # Texts with a prefix lie together, from the prefix on.
    if (high is not None and high < prefix) or (low is not None and low > prefix and not low.startswith(prefix)):
        return FALSE
    if low is not None and high is not None and low.startswith(prefix) and high.startswith(prefix):
        return TRUE
    return TRUE | FALSE


def _among(values: pa.Array, low: Any, high: Any) -> int:
    """How many of `values` lie between the bounds."""
    if pa.types.is_integer(values.type):  # sorted
        numbers = values_of(values)
        first = 0 if low is None else int(np.searchsorted(numbers, low))
        return (len(numbers) if high is None else int(np.searchsorted(numbers, high, side="right"))) - first
    inside = pc.is_valid(values)
    for bound, compare in ((low, pc.greater_equal), (high, pc.less_equal)):
        if bound is not None:
            inside = pc.and_(inside, compare(values, pa.scalar(bound, values.type)))
    return int(inside.true_count)


def _share_of_values(node: Predicate, known: FieldStatistics) -> float:
    distinct = max(1, known.distinct)
    if isinstance(node, Member):
        return min(1.0, _among(node.values, known.low, known.high) / distinct)
    if isinstance(node, Like):
        return 1 / distinct if node.pattern.shape is Shape.WHOLE else GUESSED_SHARE
    assert isinstance(node, Compare)
    if node.op in ("==", "!="):
        return 1 / distinct if node.op == "==" else 1 - 1 / distinct
    low, high, value = known.low, known.high, node.scalar.as_py()
    if isinstance(value, str) or low is None or high is None or value != value:
        return GUESSED_RANGE
    assert not isinstance(low, str)
    assert not isinstance(high, str)
    below = (value - low) / (high - low) if high > low else 0.5
    return min(1.0, max(0.0, below if node.op in ("<", "<=") else 1 - below))


def _joined(op: str, a: int, b: int) -> int:
    """The truth values of `x op y` in Kleene's logic, x one of `a` and y one of `b`."""
    order = (FALSE, UNKNOWN, TRUE)
    pick = min if op == "and" else max
    result = 0
    for x, y in product(order, order):
        if x & a and y & b:
            result |= pick(x, y, key=order.index)
    return result


_AND, _OR = ([[_joined(op, a, b) for b in range(8)] for a in range(8)] for op in ("and", "or"))
assert COMPARISONS.keys() == {"<", "<=", ">", ">=", "==", "!="}, "those that `_compared` knows"
