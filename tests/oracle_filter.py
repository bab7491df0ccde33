"""An oracle for filters: one row at a time, straight from the syntax tree, in plain Python.

It shares the parser with the engine and nothing else: no typed tree, no Arrow, no kernels. It expects filters that bind
(it makes no checks) and says True, False, or None for unknown.

A row is a dict by field name. A JSON value is a Python object, or bytes holding its text. The dynamic field is the
row's `$meta`, or else whatever keys the schema does not know. The value of a Float field may be any Python float.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from elanus.expr import tree
from elanus.expr.parser import parse
from elanus.model.schema import DYNAMIC_FIELD, Schema
from elanus.model.types import FLOATS, INTEGERS, DataType
from tests.oracle_arrays import contains, json_equal, same

Truth = bool | None
MISSING = object()


def evaluate_row(
    node: str | tree.Expression | tree.Node,
    row: Mapping[str, Any],
    schema: Schema,
    params: Mapping[str, Any] | None = None,
) -> Truth:
    """Whether the filter holds for the row: True, False, or None for unknown."""
    if isinstance(node, str):
        node = parse(node)
    if isinstance(node, tree.Expression):
        node = node.root
    return _Row(row, schema, params or {}).holds(node)


@dataclass
class _Operand:
    """A value and how it compares: constant, bool, int, float, double, string or json. A value of None is unknown.

    A whole array is of the kind "array" and says of which kind its `elements` are; a list in the filter is a "list".
    """

    kind: str
    value: Any
    elements: str = ""


class _Row:
    def __init__(self, row: Mapping[str, Any], schema: Schema, params: Mapping[str, Any]) -> None:
        self.row = row
        self.schema = schema
        self.params = params

    def holds(self, node: tree.Node) -> Truth:
        match node:
            case tree.And(terms=terms):
                truths = [self.holds(term) for term in terms]
                return False if False in truths else None if None in truths else True
            case tree.Or(terms=terms):
                truths = [self.holds(term) for term in terms]
                return True if True in truths else None if None in truths else False
            case tree.Not(operand=operand):
                truth = self.holds(operand)
                return None if truth is None else not truth
            case tree.Literal(value=bool(value)):
                return value
            case tree.Template(name=name):
                return bool(self.params[name])
            case tree.Comparison(op=op, left=left, right=right):
                one, other = self.value(left), self.value(right)
                if "list" in (one.kind, other.kind):
                    array, asked = (one, other) if other.kind == "list" else (other, one)
                    truth = same(array.value, asked.value, _equal_to(array.elements))
                    return None if truth is None else truth == (op == "==")
                return compare(op, one, other)
            case tree.Chain():
                middle = self.value(node.middle)
                first = compare(node.first_op, self.value(node.first), middle)
                last = compare(node.last_op, middle, self.value(node.last))
                return False if False in (first, last) else None if None in (first, last) else True
            case tree.Membership():
                return self.member(node)
            case tree.Like(operand=operand, pattern=pattern):
                text = self.value(operand).value
                if not isinstance(text, str):
                    return None
                return matches_like(text, self.value(pattern).value)
            case tree.Regex(operand=operand, pattern=pattern, negated=negated):
                text = self.value(operand).value
                if not isinstance(text, str):
                    return None
                return matches_regex(text, self.value(pattern).value) != negated
            case tree.Call(name=name, arguments=arguments):
                return FUNCTIONS[name.lower()](self, *arguments)
            case tree.Exists(operand=operand):
                return self.value(operand).value is not None
            case tree.NullTest(operand=operand, negated=negated):
                return (self.value(operand).value is None) != negated
        raise TypeError(f"not a predicate: {node}")

    def member(self, node: tree.Membership) -> Truth:
        operand = self.value(node.operand)
        if operand.value is None:
            return None
        if operand.kind == "array":
            asked = self.value(node.values).value
            return any(same(operand.value, one, _equal_to(operand.elements)) for one in asked) != node.negated
        values = [_Operand("constant", v) for v in self.listed(node.values)]
        if operand.kind == "json" and values and not any(_class(v.value) == _class(operand.value) for v in values):
            return None
        found = any(compare("==", operand, v) is True for v in values if _class(v.value) == _class(operand.value))
        return found != node.negated

    def listed(self, node: tree.Node) -> list[Any]:
        match node:
            case tree.LiteralList(values=values):
                return list(values)
            case tree.ListOf(items=items):
                return [self.value(item).value for item in items]
            case tree.Template(name=name):
                return list(self.params[name])
        raise TypeError(f"not a list: {node}")

    def value(self, node: tree.Node) -> _Operand:
        match node:
            case tree.Literal(value=value):
                return _Operand("constant", value)
            case tree.Template(name=name):
                value = self.params[name]
                return _Operand("list" if isinstance(value, (list, tuple)) else "constant", value)
            case tree.LiteralList(values=values):
                return _Operand("list", values)
            case tree.ListOf(items=items):
                return _Operand("list", tuple(self.value(item).value for item in items))
            case tree.Call(name=name, arguments=(array,)) if name.lower() == "array_length":
                found = self.value(array)
                return _Operand("int", len(found.value) if isinstance(found.value, list) else None)
            case tree.Name(name=name):
                return self.field(name, ())
            case tree.Path(name=name, steps=steps):
                return self.field(name, steps)
            case tree.Unary(op=op, operand=operand):
                inner = self.value(operand)
                if op == "+":
                    return inner
                if inner.kind == "constant" and isinstance(inner.value, float):
                    return _Operand("constant", -inner.value)
                return arithmetic("*" if op == "-" else "^", inner, _Operand("constant", -1))
            case tree.Binary(op=op, left=left, right=right):
                return arithmetic(op, self.value(left), self.value(right))
        raise TypeError(f"not a value: {node}")

    def field(self, name: str, steps: tuple[str | int, ...]) -> _Operand:
        field = self.schema.get(name)
        if field is None:
            return _Operand("json", _at(self.dynamic(), (name, *steps)))
        if field.is_dynamic:
            return _Operand("json", _at(self.dynamic(), steps))
        value = self.row.get(name)
        if field.dtype is DataType.JSON:
            return _Operand("json", _at(value, steps))
        if field.element is not None:
            kind = _KINDS.get(field.element, "int")
            if kind == "float" and value is not None:
                value = list(map(_float32, value))
            if not steps:
                return _Operand("array", value, kind)
            (index,) = steps
            assert isinstance(index, int)
            return _Operand(kind, value[index] if value is not None and index < len(value) else None)
        if field.dtype in INTEGERS:
            return _Operand("int", value)
        if field.dtype in FLOATS:
            if field.dtype is DataType.DOUBLE:
                return _Operand("double", None if value is None else float(value))
            return _Operand("float", None if value is None else _float32(value))
        return _Operand("bool" if field.dtype is DataType.BOOL else "string", value)

    def dynamic(self) -> Any:
        if DYNAMIC_FIELD in self.row:
            return self.row[DYNAMIC_FIELD]
        return {name: value for name, value in self.row.items() if self.schema.get(name) is None}


_KINDS = {DataType.BOOL: "bool", DataType.FLOAT: "float", DataType.DOUBLE: "double", DataType.VARCHAR: "string"}


def _equal_to(kind: str) -> Any:
    """Whether an element of an array of this kind equals a constant."""
    return lambda element, constant: compare("==", _Operand(kind, element), _Operand("constant", constant)) is True


def _starts_with(row: _Row, operand: tree.Node, beginning: tree.Node) -> Truth:
    text = row.value(operand).value
    return text.startswith(row.value(beginning).value) if isinstance(text, str) else None


def _empty(row: _Row, operand: tree.Node) -> Truth:
    text = row.value(operand).value
    return text == "" if isinstance(text, str) else None


def _contains(how: str) -> Callable[..., Truth]:
    def holds(row: _Row, operand: tree.Node, listed: tree.Node) -> Truth:
        array, asked = row.value(operand), row.value(listed)
        equal = json_equal if array.kind == "json" else _equal_to(array.elements)
        return contains(how, array.value, asked.value, equal)

    return holds


FUNCTIONS: dict[str, Callable[..., Truth]] = {
    "starts_with": _starts_with,
    "empty": _empty,
    **{f"{of}_contains{how}": _contains(how) for of in ("array", "json") for how in ("", "_all", "_any")},
}
"""What each function of the language says of a row; called with the row and the call's arguments."""


def compare(op: str, left: _Operand, right: _Operand) -> Truth:
    """`left op right`, a constant first cast to the Float or Double it is compared with."""
    a, b = left.value, right.value
    if a is None or b is None:
        return None
    for constant, other in ((left, right), (right, left)):
        if constant.kind == "constant" and other.kind in ("float", "double"):
            cast = _float32(constant.value) if other.kind == "float" else float(constant.value)
            a, b = (cast, b) if constant is left else (a, cast)
    if _class(a) != _class(b) or _class(a) == "container":
        return None
    if isinstance(a, str):
        a, b = a.encode(), b.encode()
    return bool(_COMPARISONS[op](a, b))


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def arithmetic(op: str, left: _Operand, right: _Operand) -> _Operand:
    """In the type of the operands that are not constants; of JSON, whatever the values are."""
    kinds = {left.kind, right.kind} - {"constant"}
    real_constant = any(o.kind == "constant" and isinstance(o.value, float) for o in (left, right))
    if not kinds:
        kind = "constant"
    elif "json" in kinds:
        kind = "json"
    elif kinds == {"int"} and not real_constant:
        kind = "int"
    else:
        kind = "float" if kinds == {"float"} else "double"
    a, b = left.value, right.value
    if not _is_number(a) or not _is_number(b):
        return _Operand(kind, None)
    if kind == "float":
        return _Operand(kind, _reals(op, np.float32(_float32(a)), np.float32(_float32(b))))
    if kind == "double" or isinstance(a, float) or isinstance(b, float) or op == "**":
        return _Operand(kind, _reals(op, float(a), float(b)))
    return _Operand(kind, _integers(op, a, b))


def _reals(op: str, a: Any, b: Any) -> float | None:
    if op in ("/", "%") and b == 0:
        return None
    with np.errstate(all="ignore"):
        if op == "**":
            return math.pow(a, b)
        if op == "%":
            return float(np.fmod(a, b))
        if op in ("+", "-", "*", "/"):
            a, b = (a, b) if isinstance(a, np.float32) else (np.float64(a), np.float64(b))
            return float({"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}[op])
    return None


def _integers(op: str, a: int, b: int) -> int | None:
    if op in ("/", "%"):
        if b == 0:
            return None
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        result = quotient if op == "/" else a - quotient * b
    elif op in ("<<", ">>"):
        if not 0 <= b < 64:
            return None
        result = a << b if op == "<<" else a >> b
    else:
        result = {"+": a + b, "-": a - b, "*": a * b, "&": a & b, "|": a | b, "^": a ^ b}[op]
    result &= 2**64 - 1
    return result - 2**64 if result >= 2**63 else result


def matches_like(text: str, pattern: str) -> bool:
    regex, characters = "", iter(pattern)
    for character in characters:
        if character == "%":
            regex += ".*"
        elif character == "_":
            regex += "."
        else:
            regex += re.escape(next(characters) if character == "\\" else character)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def matches_regex(text: str, pattern: str) -> bool:
    """For expressions that RE2 and Python read alike, but for `$`, which here is the end of the text."""
    return re.search(pattern.replace("$", "\\Z"), text, re.DOTALL | re.ASCII) is not None


def _at(document: Any, steps: tuple[str | int, ...]) -> Any:
    """The value at a path; None when it is missing or null. Integers outside int64 read as doubles."""
    if isinstance(document, bytes):
        document = json.loads(document, object_pairs_hook=_first_of_each)
    for step in steps:
        if isinstance(step, int):
            inside = isinstance(document, list) and step < len(document)
        else:
            inside = isinstance(document, dict) and step in document
        if not inside:
            return None
        document = document[step]
    if _is_number(document) and isinstance(document, int) and not -(2**63) <= document < 2**63:
        return float(document)
    return document


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _class(value: Any) -> str:
    return _CLASSES.get(type(value), "container")


_CLASSES = {bool: "bool", str: "string", int: "number", float: "number"}


def _float32(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))
