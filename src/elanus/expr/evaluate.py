"""Running a typed tree over columns: a filter's three-valued result as one bit-packed Arrow array.

True is a set bit, false a clear one, unknown a null; the order of bits is Arrow's, least significant first. Everything
is an Arrow or numpy kernel, or a compiled one, over whole columns; all but the shortest release the GIL.

The terms of `and` and `or` are tried cheapest first. Once the cheap ones have settled most rows, the costly ones (JSON,
`like`) are run over the rows still open only, and once all rows are settled, not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr import json_path, numbers, truth
from elanus.expr.constants import FLIPPED
from elanus.expr.kinds import ARROW_OF, NUMPY_OF, Type
from elanus.expr.lookup import ints_among, is_member
from elanus.expr.numbers import Numbers
from elanus.expr.typed import (
    Always,
    Arithmetic,
    Column,
    Compare,
    CompareJson,
    CompareOperands,
    Derived,
    Function,
    IsNull,
    JsonPath,
    Junction,
    Like,
    Member,
    MemberJson,
    Not,
    Operand,
    Possible,
    Predicate,
    Scalar,
    WhereKnown,
)

_Made = TypeVar("_Made")

GATHERED_NS = 15.0
"""What one open row costs beside the term itself that is run over the open rows alone: its value is gathered, its
answer put in its place.
"""

FEW_OPEN = 4
"""The share of open rows, one in so many, above which a term runs over all of them, however costly it is."""

COSTLY = 20.0
"""Nanoseconds a row from which it pays to ask indexes where a term is possible at all."""

ASKING = 1.0
"""Nanoseconds a row that it takes at most to ask an index where a term is possible."""


class Columns(Protocol):
    def column(self, field_id: int) -> pa.Array:
        """The values of a field in all rows, in one piece, of the field's Arrow type."""
        ...

    # Columns may also have `extracted(field_id, steps)`: what they have ready of a JSON path (`Extraction`), or None.


Indexed = Callable[[Predicate], "pa.BooleanArray | None"]
"""Asks indexes about a predicate: its truth in every row, or None where none of them can tell, or a scan is quicker."""


def evaluate(
    root: Predicate, columns: Columns, rows: int | npt.NDArray[np.int64], indexed: Indexed | None = None
) -> pa.BooleanArray:
    """`root` for the first `rows` rows, which is all of them, or for the rows with the numbers given.

    `indexed`, of all rows, is asked about every predicate first.
    """
    if isinstance(rows, np.ndarray):
        return _Rows(_Chosen(columns, rows), len(rows)).truth(root)
    return _Rows(columns, int(rows), indexed).truth(root)


class _Chosen:
    """Some rows of other columns."""

    __slots__ = ("_columns", "_rows", "_taken")

    def __init__(self, columns: Columns, rows: npt.NDArray[np.int64]) -> None:
        self._columns = columns
        self._rows = pa.array(rows, pa.int64())
        self._taken: dict[int, pa.Array] = {}

    def column(self, field_id: int) -> pa.Array:
        taken = self._taken.get(field_id)
        if taken is None:
            taken = self._taken[field_id] = self._columns.column(field_id).take(self._rows)
        return taken

    def extracted(self, field_id: int, steps: json_path.Path) -> json_path.Extraction | None:
        found = _ready(self._columns, field_id, steps)
        return None if found is None else json_path.taken(found, self._rows.to_numpy())


def _ready(columns: Columns, field_id: int, steps: json_path.Path) -> json_path.Extraction | None:
    """What the columns have of a path without reading texts."""
    extracted: Callable[[int, json_path.Path], json_path.Extraction | None] | None
    extracted = getattr(columns, "extracted", None)
    return None if extracted is None else extracted(field_id, steps)


class _Rows:
    """The rows of one evaluation, and what was extracted of their JSON and worked out of them so far."""

    __slots__ = ("_columns", "_extracted", "_shared", "count", "indexed")

    def __init__(self, columns: Columns, count: int, indexed: Indexed | None = None) -> None:
        self._columns = columns
        self.count = count
        self.indexed = indexed
        self._extracted: dict[tuple[int, json_path.Path], json_path.Extraction] = {}
        self._shared: dict[Hashable, Any] = {}

    def truth(self, node: Predicate) -> pa.BooleanArray:
        if self.indexed is not None and (answer := self.indexed(node)) is not None:
            return answer
        if isinstance(node, Function):
            possible = self.possible(node)
            return node.truth(self) if possible is None else _where_possible(self, node, possible)
        return _RULES[type(node)](self, node)

    def possible(self, node: Predicate) -> pa.BooleanArray | None:
        """Where `node` may be true, as an index says that cannot tell more; None where none says so."""
        if self.indexed is None or node.cost < COSTLY or not isinstance(node, Function):
            return None
        return self.indexed(Possible(node))

    def column(self, operand: Operand) -> pa.Array:
        """A typed operand's values, null where it has none."""
        if isinstance(operand, Arithmetic):
            return _computed(self, operand)
        if isinstance(operand, Derived):
            return operand.values(self)
        assert isinstance(operand, Column)
        return self._columns.column(operand.field.id)

    def json(self, path: JsonPath) -> json_path.Extraction:
        key = (path.field.id, path.steps)
        found = self._extracted.get(key)
        if found is None:
            found = _ready(self._columns, *key)
            if found is None:
                found = json_path.extract(self._columns.column(path.field.id), path.steps)
            self._extracted[key] = found
        return found

    def shared(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        if key not in self._shared:
            self._shared[key] = make()
        made: _Made = self._shared[key]
        return made

    def numbers(self, operand: Operand) -> Numbers:
        """The numbers of a JSON operand, or of what JSON is computed with."""
        if isinstance(operand, Scalar):
            return numbers.of_scalar(operand.value, self.count)
        if isinstance(operand, JsonPath):
            return numbers.of_json(self.json(operand))
        if operand.type is Type.JSON:
            assert isinstance(operand, Arithmetic)
            return numbers.compute(operand.op, self.numbers(operand.left), self.numbers(operand.right))
        return numbers.of_column(self.column(operand))

    def chosen(self, rows: npt.NDArray[np.int64]) -> _Rows:
        return _Rows(_Chosen(self._columns, rows), len(rows))


_COMPARISONS = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
}


def _always(rows: _Rows, node: Always) -> pa.BooleanArray:
    return truth.everywhere(node.truth, rows.count)


def _where_known(rows: _Rows, node: WhereKnown) -> pa.BooleanArray:
    operand = node.operand
    if isinstance(operand, JsonPath):
        known = rows.json(operand).kinds > json_path.Kind.NULL
    elif isinstance(operand, Arithmetic) and operand.type is Type.JSON:
        known = rows.numbers(operand).known
    else:
        return truth.where_known(node.truth, rows.column(operand))
    return truth.pack(np.full(rows.count, node.truth), known)


def _compare(rows: _Rows, node: Compare) -> pa.BooleanArray:
    return _COMPARISONS[node.op](rows.column(node.operand), node.scalar)


def _compare_operands(rows: _Rows, node: CompareOperands) -> pa.BooleanArray:
    left, right, op = rows.column(node.left), rows.column(node.right), node.op
    if pa.types.is_integer(left.type) == pa.types.is_integer(right.type):
        return _COMPARISONS[op](left, right)
    if pa.types.is_integer(right.type):
        left, right, op = right, left, FLIPPED[op]
    ints = numbers.values_of(left).astype(np.int64, copy=False)
    doubles = numbers.values_of(right).astype(np.float64, copy=False)
    result = truth.pack(numbers.compare_exactly(op, ints, doubles))
    return truth.unknown_where_null(truth.unknown_where_null(result, left), right)


def _member(rows: _Rows, node: Member) -> pa.BooleanArray:
    return is_member(rows.column(node.operand), node.values)


def _compare_json(rows: _Rows, node: CompareJson) -> pa.BooleanArray:
    value = node.value
    if isinstance(value, (bool, str)):
        assert isinstance(node.operand, JsonPath)
        found = rows.json(node.operand)
        if isinstance(value, str):
            return _COMPARISONS[node.op](found.strings, pa.scalar(value, pa.large_string()))
        return truth.pack((found.ints == value) == (node.op == "=="), found.kinds == json_path.Kind.BOOL)
    n = rows.numbers(node.operand)
    held = (n.is_int & numbers.within(node.for_ints, n.ints)) | (
        n.is_double & numbers.within(node.for_doubles, n.doubles)
    )
    return truth.pack(held, n.known)


def _member_json(rows: _Rows, node: MemberJson) -> pa.BooleanArray:
    held = np.zeros(rows.count, np.bool_)
    known = np.zeros(rows.count, np.bool_)
    if node.doubles is not None or node.ints is not None:
        n = rows.numbers(node.operand)
        known |= n.known
        if node.ints is not None and len(node.ints):
            held |= n.is_int & ints_among(n.ints, numbers.values_of(node.ints))
        if node.doubles is not None and len(node.doubles):
            held |= n.is_double & pc.is_in(pa.array(n.doubles), value_set=node.doubles).to_numpy(zero_copy_only=False)
    if node.strings is not None or node.bools:
        assert isinstance(node.operand, JsonPath)
        found = rows.json(node.operand)
        if node.strings is not None:
            is_string = found.kinds == json_path.Kind.STRING
            known |= is_string
            among = pc.is_in(found.strings, value_set=node.strings).to_numpy(zero_copy_only=False)
            held |= is_string & among
        for value in node.bools:
            is_bool = found.kinds == json_path.Kind.BOOL
            known |= is_bool
            held |= is_bool & (found.ints == value)
    return truth.pack(held, known)


def _like(rows: _Rows, node: Like) -> pa.BooleanArray:
    operand = node.operand
    return node.pattern.match(rows.json(operand).strings if isinstance(operand, JsonPath) else rows.column(operand))


def _is_null(rows: _Rows, node: IsNull) -> pa.BooleanArray:
    operand = node.operand
    if isinstance(operand, JsonPath):
        return truth.pack((rows.json(operand).kinds <= json_path.Kind.NULL) != node.negated)
    column = rows.column(operand)
    return column.is_valid() if node.negated else column.is_null()


def _not(rows: _Rows, node: Not) -> pa.BooleanArray:
    return pc.invert(rows.truth(node.operand))


def _junction(rows: _Rows, node: Junction) -> pa.BooleanArray:
    settles = node.op == "or"
    join = pc.or_kleene if settles else pc.and_kleene
    result, terms = _from_indexes(rows, node, join)
    narrowed = settles
    for number, term in enumerate(terms):
        if term.cost >= COSTLY and not narrowed:
            result, narrowed = _narrowed(rows, result, terms[number:]), True
        if result is None:
            result = rows.truth(term)
            continue
        open_rows = rows.count - result.true_count if settles else result.true_count + result.null_count
        if not open_rows:
            break
        pays = open_rows * (GATHERED_NS + term.cost) < rows.count * term.cost
        if pays and open_rows * FEW_OPEN < rows.count:
            # All that are left, over the same rows: what they work out of these they share.
            left = tuple(terms[number:])
            rest = Junction(node.op, left, math.fsum(term.cost for term in left)) if len(left) > 1 else term
            return _joined_where_open(rows, result, rest, join, settles)
        result = join(result, rows.truth(term))
    assert result is not None, "a junction has terms"
    return result


def _from_indexes(
    rows: _Rows, node: Junction, join: Callable[[Any, Any], Any]
) -> tuple[pa.BooleanArray | None, list[Predicate]]:
    """(what the indexes say of those terms that they know, the other terms)."""
    if rows.indexed is None:
        return None, list(node.terms)
    result: pa.BooleanArray | None = None
    others: list[Predicate] = []
    for term in _with_ranges(node):
        answer = rows.indexed(term)
        if answer is None:
            others += term.terms if isinstance(term, Junction) and term.op == node.op else [term]
        else:
            result = answer if result is None else join(result, answer)
    return result, others


def _narrowed(rows: _Rows, result: pa.BooleanArray | None, terms: list[Predicate]) -> pa.BooleanArray | None:
    """`result and` where indexes say that `terms` are possible, each of which is still to be run."""
    for term in terms:
        open_rows = rows.count if result is None else result.true_count + result.null_count
        if term.cost * open_rows > ASKING * rows.count:
            possible = rows.possible(term)
            if possible is not None:
                result = possible if result is None else pc.and_kleene(result, possible)
    return result


def _with_ranges(node: Junction) -> list[Predicate]:
    """The terms, with the comparisons of one operand that `and` joins as one: together they may be a short range."""
    if node.op == "or":
        return list(node.terms)
    together: dict[Any, list[Predicate]] = {}
    for number, term in enumerate(node.terms):
        match term:
            case Compare(operand=Column(field=field)):
                together.setdefault((field.id, ()), []).append(term)
            case CompareJson(operand=JsonPath(field=field, steps=steps)):
                together.setdefault((field.id, steps), []).append(term)
            case _:
                together[number] = [term]
    return [
        terms[0] if len(terms) == 1 else Junction("and", tuple(terms), sum(term.cost for term in terms))
        for terms in together.values()
    ]


def _where_possible(rows: _Rows, node: Function, possible: pa.BooleanArray) -> pa.BooleanArray:
    """`node`, run over those rows only in which it is possible."""
    chosen = truth.true_rows(possible)
    return truth.put(possible, chosen, rows.chosen(chosen).truth(node))


def _joined_where_open(
    rows: _Rows, result: pa.BooleanArray, term: Predicate, join: Callable[[Any, Any], Any], settles: bool
) -> pa.BooleanArray:
    """`join(result, term)`, where the term is run over the rows only that `result` does not settle."""
    still_open = truth.rows_not(settles, result)
    answers = rows.chosen(still_open).truth(term)
    if result.null_count:
        answers = join(result.take(pa.array(still_open)), answers)
    return truth.put(result, still_open, answers)


_RULES: dict[type, Callable[[_Rows, Any], pa.BooleanArray]] = {
    Always: _always,
    WhereKnown: _where_known,
    Compare: _compare,
    CompareOperands: _compare_operands,
    Member: _member,
    CompareJson: _compare_json,
    MemberJson: _member_json,
    Like: _like,
    IsNull: _is_null,
    Not: _not,
    Junction: _junction,
}
"""One rule for each predicate of the typed tree that is no function."""


_ARITHMETIC = {
    "+": pc.add,
    "-": pc.subtract,
    "*": pc.multiply,
    "&": pc.bit_wise_and,
    "|": pc.bit_wise_or,
    "^": pc.bit_wise_xor,
}
"""Arrow's unchecked kernels: integers wrap around."""


def _computed(rows: _Rows, node: Arithmetic) -> pa.Array:
    kind = ARROW_OF[node.type]

    def side(operand: Operand) -> Any:
        # numpy rounds a constant to float32, where Arrow refuses.
        if isinstance(operand, Scalar):
            with np.errstate(over="ignore"):
                return pa.scalar(NUMPY_OF[node.type](operand.value), kind)
        column = rows.column(operand)
        return column if column.type == kind else pc.cast(column, kind, safe=False)

    left, right = side(node.left), side(node.right)
    if node.op in _ARITHMETIC:
        return _ARITHMETIC[node.op](left, right)
    if node.op in ("<<", ">>"):
        in_range = pc.and_(pc.greater_equal(right, 0), pc.less_equal(right, 63))
        right = pc.if_else(in_range, right, pa.scalar(None, kind))
        # Arrow shifts by at most 62 and for 63 does nothing: two shifts.
        first = pc.if_else(pc.equal(right, 63), pa.scalar(62, kind), right)
        shift = pc.shift_left if node.op == "<<" else pc.shift_right
        return shift(shift(left, first), pc.subtract(right, first))
    if not isinstance(node.right, Scalar):
        right = pc.if_else(pc.equal(right, pa.scalar(0, kind)), pa.scalar(None, kind), right)
    if node.type is not Type.INT:
        return pc.divide(left, right)
    # Arrow says 0 for the smallest integer divided by -1, which wraps around to itself.
    quotient = pc.if_else(pc.equal(right, -1), pc.negate(left), pc.divide(left, right))
    return quotient if node.op == "/" else pc.subtract(left, pc.multiply(quotient, right))
