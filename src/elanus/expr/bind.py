"""From syntax tree to typed tree: names become fields, templates values, constants the type they are compared in.

What the rules are, beyond Milvus's grammar:

- A constant is cast to the column it is compared with: to float32 for Float, because the column's values were too, so
  that `f == 0.1` finds the rows in which 0.1 was put. An integer column is compared with 1.5 or with 2**40 exactly.
- Strings, numbers and booleans never compare with each other; JSON is the exception, where each row is looked at and
  one of another class is unknown.
- Integers are computed in int64 and wrap around; `/` truncates toward zero and `%` takes the sign of the dividend.
  Float with a constant or Float is float32; anything else with a Float, or with a float constant, is a double.
  JSON arithmetic is an integer's where the row and the other side are integers, else a double's.
- A constant result for a column that may be null is unknown where it is null; else it is a constant and folded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import pyarrow as pa

from elanus.expr import constants, times, tree
from elanus.expr.arrays import Element, compared_arrays, is_array, listed_arrays
from elanus.expr.binding import Constant, Literal, Values, checked_text
from elanus.expr.bound import BoundFilter
from elanus.expr.calls import function
from elanus.expr.casting import arithmetic, arithmetic_operand, integer_range, rounded
from elanus.expr.constants import FLIPPED, NotComputable
from elanus.expr.errors import Refused
from elanus.expr.kinds import NUMERIC, Type, type_of
from elanus.expr.like import Pattern, compile_pattern
from elanus.expr.membership import member, member_of_json
from elanus.expr.regex import compile_regex
from elanus.expr.sampling import Sample, bind_share
from elanus.expr.simplify import joined, negated, where_known
from elanus.expr.templates import template_literal, template_value
from elanus.expr.tree import Expression, Value
from elanus.expr.typed import (
    Always,
    Arithmetic,
    Column,
    Compare,
    CompareJson,
    CompareOperands,
    Derived,
    IsNull,
    JsonPath,
    Like,
    Operand,
    Predicate,
    Scalar,
    Typed,
    arrow_type_of,
)
from elanus.model.schema import Schema
from elanus.model.timezones import UTC, Zone
from elanus.model.types import TYPE_NAMES, DataType

__all__ = ["BoundFilter", "bind"]

Params = Mapping[str, Any]


def bind(expression: Expression, schema: Schema, params: Params | None = None, zone: Zone = UTC) -> BoundFilter:
    """What `expression` means for `schema`; see `compile_filter`. Raises `InvalidParameter`."""
    try:
        root = _Binder(expression, schema, params or {}, zone).whole(expression)
    except Refused as refused:
        raise refused.about(expression.text) from None
    of, share = (root.of, root.share) if isinstance(root, Sample) else (root, None)
    return BoundFilter(expression.text, of, schema.primary, schema.partition_key, schema.clustering_key, share)


_Bound = Constant | Values | Operand | Predicate | Sample


class _Binder:
    """Binds the nodes of one expression. Recursion is bounded by the parser's `MAX_DEPTH`."""

    __slots__ = ("_params", "_regex_weight", "_zone", "calls", "schema", "shared")

    def __init__(self, expression: Expression, schema: Schema, params: Params, zone: Zone) -> None:
        self._zone = zone
        self.schema = schema
        self.calls = expression.calls
        self.shared: dict[Any, Any] = {}
        self._params = params
        self._regex_weight = 0

    # --- what a node has to be ---

    def whole(self, expression: Expression) -> Predicate | Sample:
        """The root of `expression`: alone it may be a sample."""
        bound = self._bind(expression.root)
        return bound if isinstance(bound, Sample) else self._as_predicate(bound, expression.root, whole=expression.text)

    def predicate(self, node: tree.Node, *, whole: str = "", connective: str = "") -> Predicate:
        """`node` as a predicate: of the `whole` text, or as an operand of `connective`."""
        return self._as_predicate(self._bind(node), node, whole=whole, connective=connective)

    def _as_predicate(self, bound: _Bound, node: tree.Node, *, whole: str = "", connective: str = "") -> Predicate:
        if isinstance(bound, Predicate):
            return bound
        if isinstance(bound, Constant) and isinstance(bound.value, bool):
            return Always(bound.value)
        if isinstance(bound, Sample):
            what = "unary" if connective == "not" else "logical and"
            raise Refused(
                f"random sample expression cannot be used in {what} expression: it can only be the last operand of and",
                node.position,
            )
        assert not isinstance(bound, Scalar)
        if connective == "not":
            raise Refused("not op can only be applied on boolean expression", node.position)
        if connective:
            raise Refused(f"'{connective}' can only be used between boolean expressions", node.position)
        hint = f"; compare it, as in {bound} == true" if bound.type_name == "Bool" else ""
        raise Refused(
            f"predicate is not a boolean expression: {whole[:200]}, data type: {bound.type_name}{hint}", node.position
        )

    def value(self, node: tree.Node) -> Constant | Values | Operand:
        bound = self._bind(node)
        if isinstance(bound, (Predicate, Sample)):
            raise Refused(
                "a condition cannot be an operand: put parentheses around what belongs together", node.position
            )
        return bound

    def operand(self, node: tree.Node, what: str) -> Column | JsonPath:
        bound = self.value(node)
        if not isinstance(bound, (Column, JsonPath)):
            raise Refused(f"{what} operations are only supported on single fields", node.position)
        return bound

    def literal(self, node: tree.Node) -> Literal:
        if isinstance(node, tree.ListOf):
            return tuple(map(self.literal, node.items))
        if isinstance(node, tree.Template):
            found: Literal = template_literal(node, self._params)
            return found
        bound = self.value(node)
        if isinstance(bound, Constant):
            return bound.value
        if isinstance(bound, Values):
            return bound.values
        raise Refused("array element type must be generic value: write constants or templates", node.position)

    def _bind(self, node: tree.Node) -> _Bound:
        bound: _Bound = _RULES[type(node)](self, node)
        return bound

    # --- constants and names ---

    def _literal(self, node: tree.Literal) -> _Bound:
        return Constant(node.value)

    def _iso(self, node: tree.Iso) -> _Bound:
        return times.constant(node, self._zone)

    def _literal_list(self, node: tree.LiteralList) -> _Bound:
        return Values(node.values)

    def _list_of(self, node: tree.ListOf) -> _Bound:
        values = []
        for item in node.items:
            bound = self.value(item)
            if not isinstance(bound, Constant):
                raise Refused("array element type must be generic value: write constants or templates", item.position)
            values.append(bound.value)
        return Values(tuple(values))

    def _template(self, node: tree.Template) -> _Bound:
        value = template_value(node, self._params)
        return Values(value) if isinstance(value, tuple) else Constant(value, templated=True)

    def _name(self, node: tree.Name) -> _Bound:
        return self._field(node, ())

    def _path(self, node: tree.Path) -> _Bound:
        return self._field(node, node.steps)

    def _field(self, node: tree.Name | tree.Path, steps: tuple[str | int, ...]) -> Column | JsonPath | Element:
        found = self.schema.get(node.name)
        if found is None:
            dynamic = self.schema.dynamic
            if dynamic is None or node.name == dynamic.name:
                known = ", ".join(f.name for f in self.schema.fields if not f.is_dynamic)
                raise Refused(f"field {node.name} not exist; the collection's fields are: {known}", node.position)
            return JsonPath(dynamic, (node.name, *steps))
        if found.dtype is DataType.JSON:
            return JsonPath(found, steps)
        if steps and found.element is not None:
            return Element.of(found, steps, node.position)
        if steps:
            raise Refused(f"{TYPE_NAMES[found.dtype]} data type not supported accessed with []", node.position)
        if found.dtype is DataType.TEXT:
            raise Refused(
                f"filter on text field ({node.name}) is not supported yet: ask for its words, as in text_match",
                node.position,
            )
        if found.is_vector:
            raise Refused(
                f"field {node.name} is of type {TYPE_NAMES[found.dtype]}, which filters do not support",
                node.position,
            )
        return Column(found, type_of(found.dtype))

    # --- arithmetic ---

    def _unary(self, node: tree.Unary) -> _Bound:
        operand = self.value(node.operand)
        if isinstance(operand, Constant):
            try:
                return Constant(constants.signed(node.op, operand.value), operand.templated)
            except NotComputable as reason:
                raise Refused(str(reason), node.position) from None
        self._check_numeric(node.op, operand, node)
        assert not isinstance(operand, Values)
        if node.op == "+":
            return operand
        if node.op == "-":
            return arithmetic("*", operand, Scalar(-1))
        return arithmetic("^", operand, Scalar(-1))

    def _binary(self, node: tree.Binary) -> _Bound:
        if isinstance(node.right, tree.Interval):
            return times.shifted(node.op, self.value(node.left), node.right)
        left, right = self.value(node.left), self.value(node.right)
        try:
            if isinstance(left, Constant) and isinstance(right, Constant):
                return Constant(constants.computed(node.op, left.value, right.value), left.templated or right.templated)
            if node.op == "**":
                raise NotComputable("power can only apply on constants")
            if isinstance(right, Constant) and isinstance(right.value, (int, float)):
                constants.check_divisor(node.op, right.value)
        except NotComputable as reason:
            raise Refused(str(reason), node.position) from None
        for side in (left, right):
            self._check_numeric(node.op, side, node)
        bound = arithmetic(node.op, arithmetic_operand(left), arithmetic_operand(right))
        divisor = bound.right if node.op == "/" and bound.type is Type.FLOAT else None
        if isinstance(divisor, Scalar) and rounded(divisor.value, Type.FLOAT) == 0:
            raise Refused(f"cannot divide by zero, which {divisor} is as a Float", node.position)
        return bound

    def _check_numeric(self, op: str, operand: Constant | Values | Operand, node: tree.Node) -> None:
        name = constants.OPERATION_NAMES[op]
        if isinstance(operand, Constant):
            fits = constants.classify(operand.value) == "Number"
            whole = isinstance(operand.value, int)
        else:
            fits = not isinstance(operand, (Values, Scalar)) and operand.type in NUMERIC | {Type.JSON}
            whole = not isinstance(operand, (Values, Scalar)) and operand.type in (Type.INT, Type.JSON)
        if not fits:
            raise Refused(
                f"'{name}' can only be used between integer or floating or json field expressions", node.position
            )
        if op in constants.INTEGER_ONLY and not whole:
            raise Refused(f"{name} can only apply on integer", node.position)

    # --- comparisons ---

    def _comparison(self, node: tree.Comparison) -> _Bound:
        return self._compared(node.op, self.value(node.left), self.value(node.right), node)

    def _compared(
        self, op: str, left: Constant | Values | Operand, right: Constant | Values | Operand, node: tree.Node
    ) -> Predicate:
        if isinstance(left, Constant) and isinstance(right, Constant):
            try:
                return Always(constants.compare(op, left.value, right.value))
            except NotComputable as reason:
                raise Refused(str(reason), node.position) from None
        if is_array(left) or is_array(right):
            return compared_arrays(op, left, right, node.position)
        if isinstance(left, Values) or isinstance(right, Values):
            raise Refused(f"'{op}' cannot be used with a list: use in", node.position)
        if isinstance(left, Constant):
            op, left, right = FLIPPED[op], right, left
        assert not isinstance(left, (Constant, Scalar))
        if isinstance(right, Constant):
            return self._compared_with(op, left, right.value, right.type_name, node)
        assert not isinstance(right, Scalar)
        if Type.JSON in (left.type, right.type):
            raise Refused(
                f"two column comparison with JSON type is not supported: {left.type_name} and {right.type_name}; a "
                "JSON value compares with constants only",
                node.position,
            )
        if not ({left.type, right.type} <= NUMERIC or left.type is right.type is not Type.GEOMETRY):
            self._incomparable(left.type_name, right.type_name, node)
        if left.type is Type.BOOL and op not in ("==", "!="):
            self._no_order(op, node)
        return CompareOperands(op, left, right)

    def _compared_with(self, op: str, operand: Typed, value: Value, value_type: str, node: tree.Node) -> Predicate:
        """`operand op value`."""
        if isinstance(value, bool) and op not in ("==", "!=") and operand.type in (Type.BOOL, Type.JSON):
            self._no_order(op, node)
        if operand.type is Type.TIME or times.is_moment(value):
            return times.compared(op, operand, value, node)
        if operand.type is Type.JSON:
            return self._compared_json(op, operand, value, value_type, node)
        expected = {Type.BOOL: "Bool", Type.STRING: "String", Type.GEOMETRY: "none"}.get(operand.type, "Number")
        if constants.classify(value) != expected:
            self._incomparable(operand.type_name, value_type, node)
        if operand.type is Type.INT:
            assert isinstance(value, (int, float))
            bound = constants.integer_bound(op, value, *integer_range(operand))
            if isinstance(bound, bool):
                return where_known(operand, bound)
            op, value = bound
        elif operand.type in NUMERIC:
            assert isinstance(value, (int, float))
            value = rounded(value, operand.type)
        else:
            value = checked_text(value, node)
        return Compare(op, operand, value, pa.scalar(value, arrow_type_of(operand)))

    def _compared_json(self, op: str, operand: Typed, value: Value, value_type: str, node: tree.Node) -> Predicate:
        if constants.classify(value) != "Number":
            if isinstance(operand, Arithmetic):
                self._incomparable(operand.type_name, value_type, node, ": arithmetic gives a number")
            return CompareJson(op, operand, checked_text(value, node))
        assert isinstance(value, (int, float))
        return CompareJson(op, operand, value, constants.integer_bound(op, value), constants.double_bound(op, value))

    def _incomparable(self, left: str, right: str, node: tree.Node, why: str = "") -> NoReturn:
        raise Refused(f"comparisons between {left} and {right} are not supported{why}", node.position)

    def _no_order(self, op: str, node: tree.Node) -> NoReturn:
        raise Refused(f"'{op}' cannot be used between booleans: only == and !=", node.position)

    def _chain(self, node: tree.Chain) -> _Bound:
        first, middle, last = self.value(node.first), self.value(node.middle), self.value(node.last)
        ends = [end for end in (first, last) if isinstance(end, Constant)]
        for end in ends:
            if isinstance(end.value, bool):
                raise Refused("invalid range operations on boolean expr", node.position)
        if len(ends) == 2 and not any(end.templated for end in ends) and not isinstance(middle, Constant):
            low, high = ends if node.first_op[0] == "<" else reversed(ends)
            if constants.classify(low.value) == constants.classify(high.value):
                closed = node.first_op == node.last_op and node.first_op.endswith("=")
                if constants.compare(">" if closed else ">=", low.value, high.value):
                    raise Refused("invalid range: lowerbound is greater than upperbound", node.position)
        terms = [
            self._compared(node.first_op, first, middle, node),
            self._compared(node.last_op, middle, last, node),
        ]
        return joined("and", terms)

    def _membership(self, node: tree.Membership) -> _Bound:
        operand = self.value(node.operand)
        if is_array(operand):
            found = listed_arrays(operand, self.literal(node.values), node.position)
            return negated(found) if node.negated else found
        listed = self.value(node.values)
        if not isinstance(listed, Values):
            raise Refused("the right-hand side of 'in' must be a list: [1, 2] or {name}", node.values.position)
        if isinstance(operand, Values):
            raise Refused("the left-hand side of 'in' cannot be a list", node.position)
        if isinstance(operand, Constant):
            same = (v for v in listed.values if constants.classify(v) == constants.classify(operand.value))
            return Always(any(v == operand.value for v in same) != node.negated)
        assert not isinstance(operand, Scalar)
        if operand.type is Type.JSON:
            found = member_of_json(operand, listed.values, node.position)
        else:
            found = member(operand, listed.values, node.position, integer_range(operand))
        return negated(found) if node.negated else found

    # --- the other predicates ---

    def _matched(
        self,
        node: tree.Like | tree.Regex,
        what: str,
        unsupported: str,
        no_text: str,
        compiled: Callable[[str], Pattern],
    ) -> Like:
        """Texts against the pattern that is `compiled` from a constant."""
        bound = self.value(node.operand)
        operand = bound if isinstance(bound, Derived) else self.operand(node.operand, what)
        if operand.type not in (Type.STRING, Type.JSON):
            raise Refused(unsupported, node.position)
        pattern = self.value(node.pattern)
        if not isinstance(pattern, Constant) or not isinstance(pattern.value, str):
            raise Refused(no_text, node.pattern.position)
        checked_text(pattern.value, node.pattern)
        try:
            return Like(operand, compiled(pattern.value))
        except ValueError as reason:
            raise Refused(str(reason), node.pattern.position) from None

    def _like(self, node: tree.Like) -> _Bound:
        unsupported = "like operation on non-string or no-json field is unsupported"
        return self._matched(node, "like", unsupported, "the pattern of like must be a string", compile_pattern)

    def _regex(self, node: tree.Regex) -> _Bound:
        def compiled(source: str) -> Pattern:
            pattern, weight = compile_regex(source, self._regex_weight)
            self._regex_weight += weight
            return pattern

        unsupported = "regex match on non-string or non-json field is unsupported"
        no_text = "the value of regex expression template variable is not string"
        found = self._matched(node, "regex match", unsupported, no_text, compiled)
        return negated(found) if node.negated else found

    def _exists(self, node: tree.Exists) -> _Bound:
        operand = self.operand(node.operand, "exists")
        if not isinstance(operand, JsonPath):
            raise Refused(
                f"exists operations are only supportted on json field, got:{operand.type_name}", node.position
            )
        if not operand.steps:
            raise Refused("exists operations are only supportted on json key", node.position)
        return IsNull(operand, negated=True)

    def _null_test(self, node: tree.NullTest) -> _Bound:
        if isinstance(node.operand, tree.Name):
            named = self.schema.get(node.operand.name)
            if named is not None and named.is_vector:
                raise Refused("IsNull/IsNotNull operations are not supported on vector fields", node.position)
            if named is not None and named.dtype is DataType.TEXT:
                return IsNull(Column(named, Type.STRING), node.negated) if named.nullable else Always(node.negated)
        if isinstance(self.value(node.operand), Derived):
            raise Refused("IsNull/IsNotNull operations are not supported on array element access", node.position)
        operand = self.operand(node.operand, "null")
        if isinstance(operand, Column) and not operand.nullable:
            return Always(node.negated)
        return IsNull(operand, node.negated)

    def _not(self, node: tree.Not) -> _Bound:
        return negated(self.predicate(node.operand, connective="not"))

    def _and(self, node: tree.And) -> _Bound:
        *terms, last = node.terms
        predicates = []
        for term in terms:
            bound = self._bind(term)
            if isinstance(bound, Sample):
                raise Refused(
                    "random sample expression can only be the last expression in the logical and expression",
                    term.position,
                )
            predicates.append(self._as_predicate(bound, term, connective="and"))
        bound = self._bind(last)
        if isinstance(bound, Sample):
            return Sample(joined("and", [*predicates, bound.of]), bound.share)
        return joined("and", [*predicates, self._as_predicate(bound, last, connective="and")])

    def _or(self, node: tree.Or) -> _Bound:
        return joined("or", [self.predicate(term, connective="or") for term in node.terms])

    def _call(self, node: tree.Call) -> _Bound:
        if node.name in ("random_sample", "RANDOM_SAMPLE"):
            return Sample(Always(True), bind_share(self, node))
        bind_call = function(node.name)
        if bind_call is None:
            raise Refused(f"function {node.name} not found: names are in lower or in upper case", node.position)
        return bind_call(self, node)

    def _named(self, node: tree.Named) -> _Bound:
        raise Refused(f"{node.name}=… is an argument of no function here", node.position)


_RULES: dict[type, Any] = {
    tree.Literal: _Binder._literal,
    tree.Iso: _Binder._iso,
    tree.Interval: times.misplaced,
    tree.LiteralList: _Binder._literal_list,
    tree.ListOf: _Binder._list_of,
    tree.Template: _Binder._template,
    tree.Name: _Binder._name,
    tree.Path: _Binder._path,
    tree.Unary: _Binder._unary,
    tree.Binary: _Binder._binary,
    tree.Comparison: _Binder._comparison,
    tree.Chain: _Binder._chain,
    tree.Membership: _Binder._membership,
    tree.Like: _Binder._like,
    tree.Regex: _Binder._regex,
    tree.Exists: _Binder._exists,
    tree.NullTest: _Binder._null_test,
    tree.Not: _Binder._not,
    tree.And: _Binder._and,
    tree.Or: _Binder._or,
    tree.Call: _Binder._call,
    tree.Named: _Binder._named,
}
"""One rule for each node of the syntax tree."""
