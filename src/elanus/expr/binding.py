"""What the functions of the filter language are bound with; a module of functions knows this and not the binder.

A function of the language is an entry of `calls.CALLS`: a callable that takes a `Binding` and the call's node, binds
its arguments, refuses what is wrong with them, and returns a predicate: one of `typed`, or a `typed.Function` of its
own; or an operand, a `typed.Derived` of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from elanus.expr import tree
from elanus.expr.constants import Moment
from elanus.expr.errors import Refused
from elanus.expr.tree import Value
from elanus.expr.typed import Column, JsonPath, Operand, Predicate
from elanus.model.schema import Schema


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant while binding. `templated` when some part of it came from the parameters."""

    value: Value
    templated: bool = False

    @property
    def type_name(self) -> str:
        if isinstance(self.value, bool):
            return "Bool"
        if isinstance(self.value, Moment):
            return "Timestamptz"
        return {int: "Int64", float: "Double", str: "VarChar"}[type(self.value)]


@dataclass(frozen=True, slots=True)
class Values:
    """A list of constants while binding."""

    values: tuple[Value, ...]
    type_name: str = "Array"


Literal = Value | tuple["Literal", ...]
"""A constant, or a list of such."""


class Binding(Protocol):
    """The binder of one expression, as functions see it. Everything here raises `Refused`."""

    @property
    def schema(self) -> Schema: ...

    @property
    def calls(self) -> tuple[tree.Call, ...]:
        """All calls of functions in the expression."""
        ...

    @property
    def shared(self) -> dict[Any, Any]:
        """What functions keep for the other calls of the expression, by keys of their own."""
        ...

    def value(self, node: tree.Node) -> Constant | Values | Operand:
        """`node`, which is no predicate."""
        ...

    def operand(self, node: tree.Node, what: str) -> Column | JsonPath:
        """`node` as a field or a path of one; `what` names in the error who asks for it."""
        ...

    def literal(self, node: tree.Node) -> Literal:
        """`node` as a constant, or as a list of constants and of further lists."""
        ...

    def predicate(self, node: tree.Node, *, whole: str = "", connective: str = "") -> Predicate:
        """`node` as a predicate."""
        ...


BindCall = Callable[[Binding, tree.Call], Predicate | Operand]


def check_count(node: tree.Call, least: int, most: int) -> None:
    """Raise `Refused` unless the call has from `least` to `most` arguments."""
    if not least <= len(node.arguments) <= most:
        asked = str(least) if least == most else f"{least} to {most}"
        raise Refused(f"function {node.name} takes {asked} arguments, not {len(node.arguments)}", node.position)


def checked_text(value: Value, node: tree.Node) -> Value:
    """`value`, which is no string or one that UTF-8 can hold. Raises `Refused`."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused("a string holds half of a surrogate pair, which UTF-8 cannot", node.position) from None
    return value
