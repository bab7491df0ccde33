"""Filters for the oracle: expressions over the whole language, drawn for a schema from a `random.Random`.

`FORMS` says what may be asked of a field of each type; who adds a type, a function or an operator adds a form there and
what it means to `oracle_filter`. Constants come from the same small pools as the values of rows, so that the two meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from elanus.expr.compile import compile_filter
from elanus.model.errors import InvalidParameter
from elanus.model.schema import DYNAMIC_FIELD, Field, Schema
from elanus.model.types import FLOATS, INTEGERS, NUMBERS, DataType
from tests.filter_cases import INTS, KEYS, REALS, REGEXES, TEXTS, literal, quoted
from tests.oracle_arrays import on_array, on_json_array

COMPARE = ["<", "<=", ">", ">=", "==", "!="]
IN = ["in", "not in", "IN", "NOT IN"]
PATTERNS = ["a%", "%b", "%a%", "_", "a_", "", "%", "abc", "%\\%%", "é%", "k_y 1%", "%\\\\%", "%\n%", "a%b", "_%b_"]

Filter = tuple[str, dict[str, Any] | None]
Pools = Mapping[str, list[Any]]
"""The values that rows hold, by the name of the field."""


class Draw:
    """One filter that is being drawn. `params` are what its templates stand for."""

    def __init__(self, random: Random, schema: Schema, pools: Pools) -> None:
        self.random = random
        self.schema = schema
        self.pools = pools
        self.params: dict[str, Any] = {}
        self.fields = [f for f in schema.fields if not f.is_vector and f.dtype in FORMS]

    def condition(self, depth: int) -> str:
        """A condition on some fields, `depth` connectives deep at most."""
        kind = self.random.random()
        if not depth or kind < 0.55:
            if kind < 0.01:
                return self.one("true", "False", "1 < 2", "'a' == 'b'", "2 ** 3 == 8.0", "-7 / 2 == -3", "5 % -3 == 2")
            field = self.random.choice(self.fields)
            return self.random.choice(FORMS[field.dtype])(self, field)
        one = self.condition(depth - 1)
        if kind < 0.65:
            return f"{self.one('not ', 'NOT ', '!', 'not')}({one})"
        other = self.condition(depth - 1)
        if kind < 0.75:  # without parentheses: precedence decides
            return f"{one} {self.one('and', 'or', '&&', '||')} {other} {self.one('AND', 'OR')} {one}"
        return f"({one}) {self.one('and', 'or', '&&', '||', 'AND', 'OR')} ({other})"

    def one(self, *texts: str) -> str:
        return self.random.choice(texts)

    def constant(self, value: Any) -> str:
        """`value` as a literal in one of the ways to write it, or as a template."""
        if self.random.random() < 0.12:
            return self.template(value)
        kind = self.random.random()
        if type(value) is int and kind < 0.15 and value >= 0:
            return self.random.choice([hex, bin])(value) if kind < 0.1 else f"0{value:o}"
        if type(value) is float and kind < 0.1:
            return value.hex() if kind < 0.05 else f"{value!r}" if "e" in repr(value) else f"{value!r}e0"
        if type(value) is str and kind < 0.2:
            return "".join(['"', *(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in value), '"'])
        return literal(value)

    def template(self, value: Any) -> str:
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"{{{name}}}"

    def listed(self, values: list[Any]) -> str:
        kind = self.random.random()
        if kind < 0.2:
            return self.template(values)
        if kind < 0.3:
            return f"[{', '.join(map(self.constant, values))}]"
        return f"[{', '.join(map(literal, values))}]"

    def some(self, values: list[Any], most: int = 8) -> list[Any]:
        return self.random.choices(values, k=self.random.randint(0, most))

    def other(self, field: Field, dtypes: frozenset[DataType]) -> str:
        """A field of one of `dtypes`, perhaps `field` itself."""
        return self.random.choice([f.name for f in self.fields if f.dtype in dtypes] or [field.name])

    def values(self, field: Field) -> list[Any]:
        dtype = field.element or field.dtype
        usual: list[Any] = [] if dtype is DataType.BOOL else ["a", "b", "ab", "ba"]
        if dtype in NUMBERS:
            usual = list(range(-3, 13))
        return usual + self.pools[field.name]


Form = Callable[[Draw, Field], str]


def a_filter(random: Random, schema: Schema, pools: Pools) -> Filter:
    """A filter that binds to `schema`, and what fills its templates."""
    while True:
        draw = Draw(random, schema, pools)
        text = draw.condition(2)
        if random.random() < 0.1:
            keys = draw.template(random.choices(pools[schema.primary.name], k=random.randint(0, 12)))
            text = random.choice([f"id in {keys}", f"id not in {keys} and ({text})", f"({text}) and id in {keys}"])
        try:
            compile_filter(text, schema, draw.params)
        except InvalidParameter:
            continue
        return text, draw.params or None


# --- forms -----------------------------------------------------------------------------------------------------------


def _null_test(draw: Draw, f: Field) -> str:
    return f"{f.name} {draw.one('is null', 'is not null', 'IS NULL', 'IS  NOT  NULL')}"


def _compared(draw: Draw, f: Field) -> str:
    value = draw.constant(draw.random.choice(draw.values(f)))
    return draw.one(f"{f.name} {draw.one(*COMPARE)} {value}", f"{value} {draw.one(*COMPARE)} {f.name}")


def _among(draw: Draw, f: Field) -> str:
    return f"{f.name} {draw.one(*IN)} {draw.listed(draw.some(draw.values(f)))}"


def _chained(draw: Draw, f: Field) -> str:
    low, high = sorted(draw.random.choices(draw.values(f), k=2))
    if low == high:
        return f"{draw.constant(low)} <= {f.name} <= {draw.constant(high)}"
    if draw.random.random() < 0.5:
        return f"{draw.constant(low)} {draw.one('<', '<=')} {f.name} {draw.one('<', '<=')} {draw.constant(high)}"
    return f"{draw.constant(high)} {draw.one('>', '>=')} {f.name} {draw.one('>', '>=')} {draw.constant(low)}"


def _number(draw: Draw, f: Field) -> str:
    """An operand made of a number and a constant, or another number."""
    real = draw.constant(draw.random.choice([0.5, -1.5, 2.0, 1e-3, 3]))
    whole = draw.constant(draw.random.choice([1, 2, 3, -5, 7, 2**31, 2**63 - 1]))
    if f.dtype in FLOATS:
        return draw.one(f"{f.name} {draw.one(*'+-*/')} {real}", f"{real} {draw.one(*'+-*')} {f.name}", f"-{f.name}")
    number = draw.other(f, INTEGERS)
    return draw.one(
        f"{f.name} {draw.one(*'+-*/%&|^')} {whole}",
        f"{whole} {draw.one(*'+-*')} {f.name}",
        f"{f.name} {draw.one('<<', '>>')} {draw.random.randrange(64)}",
        f"{f.name} {draw.one(*'+-*/%&|^')} {number}",
        f"{f.name} {draw.one(*'+-*')} {real}",
        f"{draw.one(*'-~+')}{f.name}",
        f"{f.name} {draw.one(*'+-*/')} {draw.other(f, NUMBERS)}",
    )


def _computed(draw: Draw, f: Field) -> str:
    value = draw.constant(draw.random.choice(draw.values(f)))
    operand = f"({_number(draw, f)})"
    return draw.one(
        f"{operand} {draw.one(*COMPARE)} {value}",
        f"{value} {draw.one(*COMPARE)} {operand}",
        f"{operand} {draw.one(*COMPARE)} {draw.other(f, NUMBERS)}",
        f"{operand} {draw.one(*IN)} {draw.listed(draw.some(draw.values(f)))}",
    )


def _columns(dtypes: frozenset[DataType], operators: list[str]) -> Form:
    return lambda draw, f: f"{f.name} {draw.one(*operators)} {draw.other(f, dtypes)}"


def _text(draw: Draw, f: Field) -> str:
    return _on_text(draw, f.name)


def _on_text(draw: Draw, operand: str) -> str:
    regex = draw.one(*REGEXES)
    return draw.one(
        f"{operand} {draw.one('like', 'LIKE')} {draw.constant(draw.random.choice(PATTERNS))}",
        f"{operand} {draw.one('=~', '!~')} {regex}",
        f"{draw.one('starts_with', 'STARTS_WITH')}({operand}, {draw.constant(draw.random.choice(TEXTS))})",
        f"{draw.one('empty', 'EMPTY')}({operand})",
    )


def _truth(draw: Draw, f: Field) -> str:
    value = draw.constant(draw.random.random() < 0.5)
    return draw.one(f"{f.name} {draw.one('==', '!=')} {value}", f"{value} == {f.name}", f"{f.name} in [{value}]")


def _json(draw: Draw, f: Field) -> str:
    key = f"[{quoted(draw.random.choice(KEYS))}]"
    root = draw.one("a", "b", f"{DYNAMIC_FIELD}{key}") if f.is_dynamic else f.name + draw.one(key, key, key, "")
    path = root + draw.one("", "", "", f"[{quoted(draw.random.choice(KEYS))}]", "[0]", "[1]")
    if path == f.name:
        return draw.one(f"{path} is null", f"{path} IS NOT NULL", f"{path} == 5", f"{path} != 'a'")
    numbers = [*range(-3, 13), *INTS, *REALS]
    compare, number = draw.one(*COMPARE), draw.constant(draw.random.choice(numbers))
    low, high = sorted(draw.random.choices(range(-3, 13), k=2))
    integer = draw.constant(draw.random.choice([1, 2, 3, -5, 63]))
    return draw.one(
        f"{path} {compare} {number}",
        f"{number} {compare} {path}",
        f"{path} {compare} {draw.random.randint(-3, 12)}",
        f"{path} {compare} {draw.constant(draw.random.choice(TEXTS))}",
        f"{path} {draw.one('==', '!=')} {draw.constant(draw.random.random() < 0.5)}",
        f"{path} {draw.one(*IN)} {draw.listed(draw.some([*numbers, *TEXTS, True, False], 6))}",
        f"{low} {draw.one('<', '<=')} {path} {draw.one('<', '<=')} {high + 1}",
        f"{high + 1} {draw.one('>', '>=')} {path} {draw.one('>', '>=')} {low}",
        f"{path} {draw.one('is null', 'is not null')}",
        f"{draw.one('exists', 'EXISTS')} {path}",
        f"({path} {draw.one(*'+-*/')} {number}) {draw.one(*COMPARE)} {number}",
        f"({path} {draw.one('%', '&', '|', '^', '<<', '>>')} {integer}) {compare} {draw.random.randint(-3, 12)}",
        f"-{path} {compare} {number}",
        _on_text(draw, path),
        _on_text(draw, path),
        on_json_array(draw.random, path, [*numbers, *TEXTS, True, False], literal),
        on_json_array(draw.random, root, [*range(-3, 13), *TEXTS, True, False], literal),
    )


def _array(draw: Draw, f: Field) -> str:
    return on_array(draw.random, f, draw.values(f), literal)


_INTEGER: list[Form] = [_compared, _compared, _among, _chained, _computed, _computed, _null_test]
_REAL: list[Form] = [_compared, _compared, _among, _chained, _computed, _null_test]

FORMS: dict[DataType, list[Form]] = {
    **{dtype: [*_INTEGER, _columns(NUMBERS, COMPARE)] for dtype in INTEGERS},
    **{dtype: [*_REAL, _columns(NUMBERS, COMPARE)] for dtype in FLOATS},
    DataType.BOOL: [_truth, _null_test, _columns(frozenset({DataType.BOOL}), ["==", "!="])],
    DataType.VARCHAR: [
        _compared, _among, _chained, _text, _text, _null_test, _columns(frozenset({DataType.VARCHAR}), COMPARE),
    ],
    DataType.JSON: [_json],
    DataType.ARRAY: [_array],
}  # fmt: skip
"""What may be asked of a field of each type."""
