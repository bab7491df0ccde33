"""The syntax tree of a filter: what was written, before any schema is known.

Every node holds `position`, the index in the text of the token it is named after, so that a later error can point
there. Literals are Python values; the types of names are found out by `bind`.
"""

from __future__ import annotations

from dataclasses import dataclass

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Literal:
    position: int
    value: Value


@dataclass(frozen=True, slots=True)
class Iso:
    """`ISO "…"`, a moment."""

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class Interval:
    """`INTERVAL "…"`, a duration."""

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class LiteralList:
    """`[…]` of literals only, kept as plain values because filters list tens of thousands of keys."""

    position: int
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[…]` in which something is not a literal: a template, constant arithmetic, another list."""

    position: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """A field, `$meta`, or a key of the dynamic field."""

    position: int
    name: str


@dataclass(frozen=True, slots=True)
class Path:
    """`name["key"][0]…`; a str step is a key, an int step an index."""

    position: int
    name: str
    steps: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """`{name}`, to be filled from the request's parameters."""

    position: int
    name: str


@dataclass(frozen=True, slots=True)
class Unary:
    """`op` is one of + - ~."""

    position: int
    op: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """`op` is one of ** * / % + - << >> & ^ |."""

    position: int
    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Comparison:
    """`op` is one of < <= > >= == !=."""

    position: int
    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Chain:
    """`first op middle op last`, both comparisons in the same direction: `1 < a <= 5`, `5 >= a > 1`."""

    position: int
    first: Node
    first_op: str
    middle: Node
    last_op: str
    last: Node


@dataclass(frozen=True, slots=True)
class Membership:
    position: int
    operand: Node
    values: Node
    negated: bool


@dataclass(frozen=True, slots=True)
class Like:
    position: int
    operand: Node
    pattern: Node


@dataclass(frozen=True, slots=True)
class Regex:
    """`operand =~ pattern`, or `!~` when negated; of a literal pattern the escapes are left to the expression."""

    position: int
    operand: Node
    pattern: Node
    negated: bool


@dataclass(frozen=True, slots=True)
class Exists:
    position: int
    operand: Node


@dataclass(frozen=True, slots=True)
class NullTest:
    """`is null`, or `is not null` when negated."""

    position: int
    operand: Node
    negated: bool


@dataclass(frozen=True, slots=True)
class Not:
    position: int
    operand: Node


@dataclass(frozen=True, slots=True)
class And:
    position: int
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    position: int
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Call:
    position: int
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """`name=value`, an argument of a call."""

    position: int
    name: str
    value: Node


Node = (
    Literal
    | Iso
    | Interval
    | LiteralList
    | ListOf
    | Name
    | Path
    | Template
    | Unary
    | Binary
    | Comparison
    | Chain
    | Membership
    | Like
    | Regex
    | Exists
    | NullTest
    | Not
    | And
    | Or
    | Call
    | Named
)


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed filter: its text, the root of its tree, and all calls of functions that are in it."""

    text: str
    root: Node
    calls: tuple[Call, ...] = ()
