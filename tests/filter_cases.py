"""Generated schemas' rows and filters for the tests of the filter language.

`rows()` and `filters()` are strategies; both draw from small pools in which the awkward values sit (the ends of int64,
2**53 + 1, both zeros, escapes, quotes, nested and broken types of JSON), so that values meet often.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from elanus.model.columns import convert
from elanus.model.schema import Field, Schema
from elanus.model.types import DataType
from tests.oracle_arrays import on_array, on_json_array

ARRAYS_OF = {
    "flags": DataType.BOOL,
    "tinies": DataType.INT8,
    "bigs": DataType.INT64,
    "singles": DataType.FLOAT,
    "reals": DataType.DOUBLE,
    "texts": DataType.VARCHAR,
}

SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        Field("tiny", DataType.INT8, nullable=True),
        Field("small", DataType.INT16),
        Field("medium", DataType.INT32, nullable=True),
        Field("big", DataType.INT64, nullable=True),
        Field("single", DataType.FLOAT, nullable=True),
        Field("real", DataType.DOUBLE, nullable=True),
        Field("text", DataType.VARCHAR, max_length=100, nullable=True),
        Field("flag", DataType.BOOL, nullable=True),
        Field("doc", DataType.JSON, nullable=True),
        *(
            Field(
                name,
                DataType.ARRAY,
                nullable=True,
                element=element,
                max_capacity=16,
                max_length=100 if element is DataType.VARCHAR else None,
            )
            for name, element in ARRAYS_OF.items()
        ),
    ),
    enable_dynamic_field=True,
).checked()

INTS = [0, 1, -1, 2, 3, 7, 100, 127, -128, 1000, 2**31 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
REALS = [
    0.0,
    -0.0,
    0.1,
    1.0,
    1.5,
    -2.5,
    3.0,
    100.0,
    127.5,
    1e-7,
    2.0**53,
    2.0**53 + 2,
    2.0**63,
    -(2.0**63),
    1e300,
    16777217.0,
]
TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "abc",
    "a%b",
    "a_b",
    "a\\b",
    "A",
    "é",
    "日本",
    "a\nb",
    'q"q',
    "it's",
    "]",
    "😀",
    "\t",
    "z" * 20,
]
REGEXES = [
    '"a"', '"^a"', "'b$'", '""', '"^$"', r'"a.b"', r'"\d"', r'r"[a-c]+%?"', '"^(a|b|é)*$"', r'"\n"', r'"\\\\"',
    '"(?i)A_?B"', r"'\\W'", '"q.q|日"', '".{3,}"', r"'it\'s'", "'^[^a]*$'",
]  # fmt: skip
"""Which Python's `re` reads as RE2 does, once its `$` means the end."""
BOUNDS = {"tiny": 2**7, "tinies": 2**7, "bigs": 2**63, "small": 2**15, "medium": 2**31, "big": 2**63, "id": 2**63}
KEYS = ["a", "b", "é", 'k"', "a b"]

ints = st.sampled_from(INTS) | st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)
reals = st.sampled_from(REALS) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)

json_values = st.recursive(
    st.none() | st.booleans() | ints | st.sampled_from([2**63, 2**64, 10**30]) | reals | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4)


@st.composite
def json_texts(draw: Any, values: Any = json_values) -> bytes:
    """A JSON text, written in one of the ways in which JSON may be written."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
    text = json.dumps(draw(values), ensure_ascii=draw(st.booleans()), separators=separators)
    return (draw(st.sampled_from(["", " ", "\n\t"])) + text).encode()


def _column(field: Field) -> st.SearchStrategy[Any]:
    if field.name in BOUNDS:
        limit = BOUNDS[field.name]
        held = [v for v in INTS if -limit <= v < limit]
        values: Any = st.sampled_from(held) | st.integers(-limit, limit - 1) | st.integers(-5, 5)
    else:
        values = {
            DataType.FLOAT: st.sampled_from([v for v in REALS if abs(v) < 3e38]) | st.floats(-3e38, 3e38),
            DataType.DOUBLE: reals,
            DataType.VARCHAR: texts,
            DataType.BOOL: st.booleans(),
            DataType.JSON: json_texts(json_objects) if field.is_dynamic else json_texts(),
        }[field.element or field.dtype]
    if field.element is not None:
        values = st.lists(values, max_size=6)
    return st.none() | values if field.nullable else values


def rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    fields = {f.name: _column(f) for f in SCHEMA.fields if not f.is_vector}
    return st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=12)


class Table:
    """Rows as the engine holds them: one Arrow array a field, by field id. `lead` rows are sliced off in front."""

    def __init__(self, rows: list[dict[str, Any]], lead: int = 0) -> None:
        self.reads: list[int] = []
        self._columns = {}
        for field in SCHEMA.fields:
            if not field.is_vector:
                values = [rows[0][field.name]] * lead + [row[field.name] for row in rows]
                whole = convert(field, values) if field.element is not None else pa.array(values, field.arrow_type)
                self._columns[field.id] = whole.slice(lead)

    def column(self, field_id: int) -> pa.Array:
        self.reads.append(field_id)
        return self._columns[field_id]


# --- filters ---


def quoted(text: str) -> str:
    """`text` as a string literal."""
    plain = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    if "'" in plain:
        return '"' + plain.replace('"', '\\"') + '"'
    return f"'{plain}'"


def literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else repr(value)


_comparison = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
_equality = st.sampled_from(["==", "!="])
_int_columns = st.sampled_from(["id", "tiny", "small", "medium", "big"])
_real_columns = st.sampled_from(["single", "real"])
_steps = st.lists(st.sampled_from([f"[{quoted(k)}]" for k in KEYS] + ["[0]", "[1]"]), min_size=1, max_size=2)
_paths = st.one_of(
    st.sampled_from(["a", "b", "doc", "$meta['a b']"]),
    _steps.map(lambda s: "doc" + "".join(s)),
    _steps.map(lambda s: "$meta" + "".join(s)),
)
_numbers = (ints | reals).map(literal)


def _arithmetic(columns: st.SearchStrategy[str], constants: st.SearchStrategy[Any], operators: str) -> Any:
    one = st.tuples(columns, st.sampled_from(operators.split()), constants.map(literal))

    def write(parts: tuple[str, str, str]) -> str:
        column, op, constant = parts
        if op in ("/", "%") and abs(float(constant)) < 1e-30:
            constant = "3"
        if op in ("<<", ">>"):
            constant = str(abs(int(constant)) % 64)
        return f"({column} {op} {constant})"

    return one.map(write)


_int_operands = st.one_of(
    _int_columns,
    _arithmetic(_int_columns, ints, "+ - * / % & | ^ << >>"),
    st.tuples(_int_columns, st.sampled_from("+ - * / % & |".split()), _int_columns).map(lambda p: f"({' '.join(p)})"),
    _int_columns.map(lambda c: f"(-{c})"),
    _int_columns.map(lambda c: f"(~{c})"),
)
_real_operands = st.one_of(
    _real_columns,
    _arithmetic(_real_columns, ints | reals, "+ - * /"),
    _arithmetic(_int_columns, reals, "+ - *"),
    st.tuples(_int_columns | _real_columns, st.sampled_from("+-*/"), _real_columns).map(lambda p: f"({' '.join(p)})"),
)
_json_numbers = st.one_of(
    _paths,
    _arithmetic(_paths, ints | reals, "+ - * /"),
    _arithmetic(_paths, ints, "% & | ^ << >>"),
    st.tuples(_paths, st.sampled_from("+*%"), _int_columns | _paths).map(lambda p: f"({' '.join(p)})"),
)
_patterns = st.lists(st.sampled_from(["%", "_", "a", "b", "\\%", "\\_", "\\\\", "é", "."]), max_size=5).map("".join)


def _listed(values: Any) -> Any:
    return st.lists(values, max_size=8).map(lambda vs: f"[{', '.join(map(literal, vs))}]")


def _range(parts: tuple[int, str, str, str, int]) -> str:
    low, first, operand, last, high = parts
    if low == high:
        return f"{low} <= {operand} <= {high}"
    return f"{min(low, high)} {first} {operand} {last} {max(low, high)}"


def _of_arrays(parts: tuple[str, Random]) -> str:
    name, random = parts
    values = {"flags": [True, False], "texts": TEXTS}.get(name, [*range(-2, 4), *INTS])
    if name in ("singles", "reals"):
        values = [*range(-2, 4), *REALS]
    return on_array(random, SCHEMA.field(name), values, literal)


def _of_json_arrays(parts: tuple[str, Random]) -> str:
    path, random = parts
    return on_json_array(random, path, [*INTS, *REALS, *TEXTS, True, False], literal)


_randoms = st.randoms(use_true_random=False)
_joined = " ".join
_predicates = st.one_of(
    st.tuples(st.sampled_from(list(ARRAYS_OF)), _randoms).map(_of_arrays),
    st.tuples(_paths, _randoms).map(_of_json_arrays),
    st.tuples(_int_operands | _real_operands, _comparison, _numbers).map(_joined),
    st.tuples(_numbers, _comparison, _int_operands | _real_operands).map(_joined),
    st.tuples(_int_operands | _real_operands, _comparison, _int_operands | _real_operands).map(_joined),
    st.tuples(st.just("text"), _comparison, texts.map(quoted) | st.just("text")).map(_joined),
    st.tuples(st.just("flag"), _equality, st.sampled_from(["true", "false", "flag"])).map(_joined),
    st.tuples(_json_numbers, _comparison, _numbers).map(_joined),
    st.tuples(_paths, _comparison, texts.map(quoted)).map(_joined),
    st.tuples(_paths, _equality, st.sampled_from(["true", "False"])).map(_joined),
    st.tuples(_int_operands, st.sampled_from(["in", "not in"]), _listed(ints)).map(_joined),
    st.tuples(_real_operands, st.sampled_from(["in", "not in"]), _listed(ints | reals)).map(_joined),
    st.tuples(st.just("text"), st.sampled_from(["in", "NOT IN"]), _listed(texts)).map(_joined),
    st.tuples(_paths, st.sampled_from(["in", "not in"]), _listed(ints | reals | texts | st.booleans())).map(_joined),
    st.tuples(st.just("text") | _paths, st.just("like"), _patterns.map(quoted)).map(_joined),
    st.tuples(st.just("text") | _paths, st.sampled_from(["=~", "!~"]), st.sampled_from(REGEXES)).map(_joined),
    st.tuples(st.just("text") | _paths, texts.map(quoted)).map(lambda p: f"starts_with({p[0]}, {p[1]})"),
    (st.just("text") | _paths).map(lambda p: f"EMPTY({p})"),
    _paths.map(lambda p: f"exists {p}" if p != "doc" else "exists doc['a']"),
    st.tuples(
        _paths | st.sampled_from(["tiny", "id", "real", "text", "flag"]), st.sampled_from(["is null", "IS NOT NULL"])
    ).map(_joined),
    st.tuples(ints, st.sampled_from(["<", "<="]), _int_columns | _json_numbers, st.sampled_from(["<", "<="]), ints).map(
        _range
    ),
)
filters = st.recursive(
    _predicates | st.sampled_from(["true", "false", "1 < 2", "'a' == 'b'"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "&&", "OR", "||"]), inner).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})"),
        st.lists(inner, min_size=2, max_size=4).map(lambda terms: " and ".join(f"({t})" for t in terms)),
        st.tuples(st.sampled_from(["not", "!", "NOT"]), inner).map(lambda p: f"{p[0]} ({p[1]})"),
    ),
    max_leaves=6,
)
