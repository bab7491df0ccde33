"""Functions of texts: `starts_with(f, "x")` and `empty(f)`, of a VarChar field or of the strings at a JSON path."""

from __future__ import annotations

from elanus.expr import tree
from elanus.expr.binding import Binding, Constant, check_count
from elanus.expr.errors import Refused
from elanus.expr.kinds import Type
from elanus.expr.like import prefix, whole
from elanus.expr.typed import (
    Column,
    JsonPath,
    Like,
    Predicate,
)


def starts_with(binding: Binding, node: tree.Call) -> Predicate:
    check_count(node, 2, 2)
    operand = _text(binding, node)
    beginning = binding.value(node.arguments[1])
    if not isinstance(beginning, Constant) or not isinstance(beginning.value, str):
        raise Refused("the second argument of starts_with must be a string", node.arguments[1].position)
    return Like(operand, prefix(beginning.value))


def empty(binding: Binding, node: tree.Call) -> Predicate:
    check_count(node, 1, 1)
    return Like(_text(binding, node), whole(""))


def _text(binding: Binding, node: tree.Call) -> Column | JsonPath:
    operand = binding.operand(node.arguments[0], node.name)
    if operand.type not in (Type.STRING, Type.JSON):
        raise Refused(
            f"function {node.name} takes a VarChar field or a JSON path; {operand} is of type {operand.type_name}",
            node.position,
        )
    return operand
