"""The typed tree: a filter as it means for one schema. `bind` makes it, `evaluate` runs it.

Operands have a `type`; predicates are true, false or unknown in a row and have a `cost`, roughly the nanoseconds a row
takes, by which the terms of `and` and `or` are ordered. Comparisons with constants hold the constant in the operand's
own type, so that no column is ever converted. `str` of a node is its normal form: what `explain` shows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from elanus.expr.constants import Bound, Moment
from elanus.expr.json_path import Extraction, Path
from elanus.expr.kinds import ARROW_OF, Type
from elanus.expr.like import Pattern, Shape
from elanus.expr.tree import Value
from elanus.model.instants import written
from elanus.model.schema import Field
from elanus.model.timezones import UTC
from elanus.model.types import TYPE_NAMES

_Made = TypeVar("_Made")

LISTED_IN_TEXT = 10
"""How many values of a list the normal form shows."""


@dataclass(frozen=True, slots=True)
class Column:
    """A scalar field that is not JSON."""

    field: Field
    type: Type

    @property
    def type_name(self) -> str:
        return TYPE_NAMES[self.field.dtype]

    @property
    def nullable(self) -> bool:
        return self.field.nullable

    @property
    def cost(self) -> float:
        return 1.0 if self.type is Type.STRING else 0.4

    def fields(self) -> Iterator[int]:
        yield self.field.id

    def __str__(self) -> str:
        return self.field.name


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A path of a JSON field; of the whole document when `steps` is empty."""

    field: Field
    steps: Path
    type: Type = Type.JSON
    nullable: bool = True
    cost: float = 300.0

    @property
    def type_name(self) -> str:
        return "JSON"

    def fields(self) -> Iterator[int]:
        yield self.field.id

    def __str__(self) -> str:
        return self.field.name + "".join(f"[{shown(step)}]" for step in self.steps)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A constant as an operand of arithmetic."""

    value: int | float
    nullable: bool = False
    cost: float = 0.0

    def fields(self) -> Iterator[int]:
        return iter(())

    def __str__(self) -> str:
        return shown(self.value)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`left op right` computed in `type`; null where a side is, and where a divisor is zero."""

    op: str
    left: Operand
    right: Operand
    type: Type

    @property
    def type_name(self) -> str:
        return str(self.type)

    @property
    def nullable(self) -> bool:
        may_divide_by_zero = self.op in ("/", "%") and not isinstance(self.right, Scalar)
        return self.left.nullable or self.right.nullable or may_divide_by_zero

    @property
    def cost(self) -> float:
        return self.left.cost + self.right.cost + 2

    def fields(self) -> Iterator[int]:
        yield from self.left.fields()
        yield from self.right.fields()

    def __str__(self) -> str:
        return f"({self.left} {self.op} {self.right})"


class Reading(ABC):
    """What a node of the tree is that a module of its own knows to evaluate."""

    __slots__ = ()

    @property
    @abstractmethod
    def cost(self) -> float:
        """Roughly the nanoseconds a row takes."""

    @abstractmethod
    def fields(self) -> Iterator[int]:
        """The ids of the fields that it reads."""

    @abstractmethod
    def __str__(self) -> str:
        """Its normal form."""


class Derived(Reading):
    """An operand that is worked out of a field; a module that knows how has its own."""

    __slots__ = ()

    @property
    @abstractmethod
    def type(self) -> Type: ...

    @property
    @abstractmethod
    def nullable(self) -> bool: ...

    @abstractmethod
    def values(self, rows: Rows) -> pa.Array:
        """What it gives in each of the rows, of the Arrow type of its `type`; null where it has none."""

    @property
    def type_name(self) -> str:
        return str(self.type)


Typed = Column | JsonPath | Arithmetic | Derived
Operand = Typed | Scalar


def arrow_type_of(operand: Operand) -> pa.DataType:
    """The Arrow type of what a typed operand gives."""
    if isinstance(operand, Column):
        return operand.field.arrow_type
    assert not isinstance(operand, Scalar)
    return ARROW_OF[operand.type]


@dataclass(frozen=True, slots=True)
class Always:
    truth: bool
    cost: float = 0.0

    def fields(self) -> Iterator[int]:
        return iter(())

    def __str__(self) -> str:
        return "true" if self.truth else "false"


@dataclass(frozen=True, slots=True)
class WhereKnown:
    """`truth` where the operand has a value, else unknown: what a comparison with a value out of range comes to."""

    operand: Operand
    truth: bool

    @property
    def cost(self) -> float:
        return self.operand.cost

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def __str__(self) -> str:
        return f"({self.operand} is null ? unknown : {str(self.truth).lower()})"


@dataclass(frozen=True, slots=True)
class Compare:
    """A typed operand against a constant of its type. `value` is the constant as a Python value."""

    op: str
    operand: Operand
    value: Value
    scalar: pa.Scalar

    @property
    def cost(self) -> float:
        return self.operand.cost

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def __str__(self) -> str:
        if self.scalar.type == pa.float32():
            return f"{self.operand} {self.op} {_shown_single(self.value)}"
        return f"{self.operand} {self.op} {shown(self.value)}"


@dataclass(frozen=True, slots=True)
class CompareOperands:
    """Two typed operands of one class: numbers, strings or booleans."""

    op: str
    left: Operand
    right: Operand

    @property
    def cost(self) -> float:
        return self.left.cost + self.right.cost

    def fields(self) -> Iterator[int]:
        yield from self.left.fields()
        yield from self.right.fields()

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right}"


@dataclass(frozen=True, slots=True)
class Member:
    """A typed operand among `values`, an Arrow array of its type, without duplicates."""

    operand: Operand
    values: pa.Array

    @property
    def cost(self) -> float:
        return self.operand.cost + 10

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def __str__(self) -> str:
        spell = _shown_single if self.values.type == pa.float32() else shown
        return f"{self.operand} in {shown_list(self.values[:LISTED_IN_TEXT].to_pylist(), len(self.values), spell)}"


@dataclass(frozen=True, slots=True)
class CompareJson:
    """A JSON operand against a constant. Rows of another class (string, number, boolean) are unknown.

    For a number `for_ints` and `for_doubles` say the comparison exactly for integer and for double rows.
    """

    op: str
    operand: Operand
    value: Value
    for_ints: Bound = False
    for_doubles: Bound = False

    @property
    def cost(self) -> float:
        return self.operand.cost

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def __str__(self) -> str:
        return f"{self.operand} {self.op} {shown(self.value)}"


@dataclass(frozen=True, slots=True)
class MemberJson:
    """A JSON operand among values of mixed classes; a row whose class the list has nothing of is unknown.

    Each array is None when the list has no value of its class. Integer rows are looked up in `ints`, double rows in
    `doubles`: both hold every number of the list that their type can hold.
    """

    operand: Operand
    ints: pa.Array | None
    doubles: pa.Array | None
    strings: pa.Array | None
    bools: frozenset[bool]
    values: tuple[Value, ...]

    @property
    def cost(self) -> float:
        return self.operand.cost + 10

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def __str__(self) -> str:
        return f"{self.operand} in {shown_list(self.values[:LISTED_IN_TEXT], len(self.values))}"


@dataclass(frozen=True, slots=True)
class Like:
    """An operand of texts against a pattern, of `like` or of `=~`."""

    operand: Column | JsonPath | Derived
    pattern: Pattern

    @property
    def cost(self) -> float:
        return self.operand.cost + 30

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def __str__(self) -> str:
        op = "=~" if self.pattern.shape is Shape.REGEX else "like"
        return f"{self.operand} {op} {shown(self.pattern.source)}"


@dataclass(frozen=True, slots=True)
class IsNull:
    """Never unknown. For JSON, a missing value and a null are the same."""

    operand: Column | JsonPath
    negated: bool

    @property
    def cost(self) -> float:
        return 0.1 if isinstance(self.operand, Column) else self.operand.cost

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def __str__(self) -> str:
        return f"{self.operand} is {'not ' if self.negated else ''}null"


@dataclass(frozen=True, slots=True)
class Not:
    operand: Predicate

    @property
    def cost(self) -> float:
        return self.operand.cost

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def __str__(self) -> str:
        return f"not ({self.operand})"


@dataclass(frozen=True, slots=True)
class Junction:
    """`and` (all) or `or` (any) of two terms or more, cheapest first."""

    op: str
    terms: tuple[Predicate, ...]
    cost: float

    def fields(self) -> Iterator[int]:
        for term in self.terms:
            yield from term.fields()

    def __str__(self) -> str:
        return f" {self.op} ".join(f"({t})" if isinstance(t, Junction) else str(t) for t in self.terms)


class Rows(Protocol):
    """The rows of one evaluation, as a `Function` sees them."""

    @property
    def count(self) -> int: ...

    def column(self, operand: Operand) -> pa.Array:
        """The values of a typed operand, null where it has none."""
        ...

    def json(self, path: JsonPath) -> Extraction:
        """What the rows hold at a path."""
        ...

    def shared(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """What `make` gives, made for the first that asks under `key` and kept for the others of the evaluation."""
        ...


class Function(Reading):
    """A predicate that a function of the language gives; each module of functions has its own."""

    __slots__ = ()

    @abstractmethod
    def truth(self, rows: Rows) -> pa.BooleanArray:
        """True, false or, as null, unknown for each of the rows."""


@dataclass(frozen=True, slots=True)
class Possible:
    """Where `term` may be true; false where an index knows that it is not. In no tree: only indexes are asked it."""

    term: Function

    @property
    def cost(self) -> float:
        return self.term.cost

    def fields(self) -> Iterator[int]:
        return self.term.fields()

    def __str__(self) -> str:
        return f"possible({self.term})"


Predicate = (
    Always
    | WhereKnown
    | Compare
    | CompareOperands
    | Member
    | CompareJson
    | MemberJson
    | Like
    | IsNull
    | Not
    | Junction
    | Function
    | Possible
)


def shown(value: Value) -> str:
    """A constant as the filter language writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
        return f'"{text}"'
    if isinstance(value, Moment):
        return f"ISO '{written(np.array([int(value)]), UTC)[0]}'"
    return repr(value)


def _shown_single(value: Value) -> str:
    """A Float constant; one that is infinite in float32 is written as a literal, which is infinite there too."""
    assert isinstance(value, (int, float))
    return str(np.float32(value)).replace("inf", "1e+39")


def shown_list(values: Any, count: int, spell: Callable[[Any], str] = shown) -> str:
    """A list of `count` values of which these are the first."""
    more = f", … {count} values" if count > LISTED_IN_TEXT else ""
    return f"[{', '.join(map(spell, values))}{more}]"
