"""What a filter means for a schema: types, constants, templates, keys, and the words for what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elanus.expr.bind import BoundFilter, bind
from elanus.expr.compile import compile_filter
from elanus.expr.parser import parse
from elanus.model.errors import InvalidParameter
from elanus.model.schema import Field, Schema
from elanus.model.types import DataType
from tests.filter_cases import SCHEMA, Table, filters, rows
from tests.oracle_filter import evaluate_row

STATIC = Schema(
    (
        Field("key", DataType.VARCHAR, is_primary=True, max_length=20),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        Field("n", DataType.INT32, nullable=True),
    )
).checked()


def bound(text: str, schema: Schema = SCHEMA, **params: Any) -> BoundFilter:
    return bind(parse(text), schema, params)


def error(text: str, schema: Schema = SCHEMA, **params: Any) -> str:
    with pytest.raises(InvalidParameter) as caught:
        bound(text, schema, **params)
    prefix = f"failed to create query plan: cannot parse expression: {text}, error: "
    assert str(caught.value).startswith(prefix)
    return str(caught.value).removeprefix(prefix)


# --- refused ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id", "predicate is not a boolean expression: id, data type: Int64"),
        ("flag", "predicate is not a boolean expression: flag, data type: Bool; compare it, as in flag == true"),
        ("color", "predicate is not a boolean expression: color, data type: JSON"),
        ("1", "predicate is not a boolean expression"),
        ("id + 1", "predicate is not a boolean expression"),
        ("[1]", "predicate is not a boolean expression"),
        ("not id", "not op can only be applied on boolean expression"),
        ("id and id > 1", "'and' can only be used between boolean expressions"),
        ("true or flag", "'or' can only be used between boolean expressions"),
        ("false and 1", "'and' can only be used between boolean expressions"),
        ("id == 'a'", "comparisons between Int64 and VarChar are not supported"),
        ("text == 1", "comparisons between VarChar and Int64 are not supported"),
        ("1 == text", "comparisons between VarChar and Int64 are not supported"),
        ("flag == 1", "comparisons between Bool and Int64 are not supported"),
        ("id == true", "comparisons between Int64 and Bool are not supported"),
        ("real == true", "comparisons between Double and Bool are not supported"),
        ("text == id", "comparisons between VarChar and Int64 are not supported"),
        ("doc['a'] == id", "two column comparison with JSON type is not supported: JSON and Int64"),
        ("doc['a'] == doc['b']", "two column comparison with JSON type is not supported: JSON and JSON"),
        ("doc['a'] + 1 == 'x'", "comparisons between JSON and VarChar are not supported"),
        ("flag < true", "'<' cannot be used between booleans"),
        ("doc['a'] > true", "'>' cannot be used between booleans"),
        ("'a' == 1", "comparison operations cannot be applied to two incompatible operands"),
        ("id == [1]", "'==' cannot be used with a list"),
        ("id in 1", "the right-hand side of 'in' must be a list"),
        ("id in ['a']", "value '\"a\"' in list cannot be casted to Int64"),
        ("id in [1.5]", "value '1.5' in list cannot be casted to Int64"),
        ("id in [true]", "value 'true' in list cannot be casted to Int64"),
        ("text in [1]", "value '1' in list cannot be casted to VarChar"),
        ("flag in [1]", "value '1' in list cannot be casted to Bool"),
        ("id in [[1]]", "array element type must be generic value"),
        ("id in [small]", "array element type must be generic value"),
        ("id like 'a'", "like operation on non-string or no-json field is unsupported"),
        ("text like 1", "the pattern of like must be a string"),
        ("text like text", "the pattern of like must be a string"),
        ("text like 'a\\\\'", "pattern 'a\\\\' ends with an escape character"),
        ("exists id", "exists operations are only supportted on json field, got:Int64"),
        ("exists doc", "exists operations are only supportted on json key"),
        ("exists 1", "exists operations are only supported on single fields"),
        ("id / 0 == 1", "cannot divide by zero"),
        ("id % 0 == 1", "cannot modulo by zero"),
        ("1 / 0 == 1", "cannot divide by zero"),
        ("1 % 0 == 1", "cannot modulo by zero"),
        ("real / 0.0 == 1", "cannot divide by zero"),
        ("single / 1e-300 == 1", "cannot divide by zero, which 1e-300 is as a Float"),
        ("doc['a'] / 0 == 1", "cannot divide by zero"),
        ("real % 2 == 1", "modulo can only apply on integer"),
        ("1.5 % 2 == 1", "modulo can only apply on integer"),
        ("(real & 1) == 1", "bitand can only apply on integer"),
        ("~real == 1", "bitnot can only apply on integer"),
        ("id << 64 == 1", "shift count 64 is not in [0, 63]"),
        ("id << -1 == 1", "shift count -1 is not in [0, 63]"),
        ("text + 1 == 1", "'add' can only be used between integer or floating or json field expressions"),
        ("flag * 2 == 1", "'multiply' can only be used between integer or floating or json field expressions"),
        ("id + 'a' == 1", "'add' can only be used between integer or floating or json field expressions"),
        ("id ** 2 == 4", "power can only apply on constants"),
        ("-'a' == 1", "unary '-' cannot be applied to 'a'"),
        ("vector is null", "IsNull/IsNotNull operations are not supported on vector fields"),
        ("vector == 1", "field vector is of type FloatVector"),
        ("text['a'] == 1", "VarChar data type not supported accessed with []"),
        ("5 < id < 1", "invalid range: lowerbound is greater than upperbound"),
        ("1 < id < 1", "invalid range: lowerbound is greater than upperbound"),
        ("1 > id > 5", "invalid range: lowerbound is greater than upperbound"),
        ("false < flag < true", "invalid range operations on boolean expr"),
        ("(id > 1) == true", "a condition cannot be an operand"),
        ("(id > 1) + 1 == 2", "a condition cannot be an operand"),
        ("id & 1 == 1", "a condition cannot be an operand"),
        ("frobnicate(id)", "function frobnicate not found"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_reason(text: str, reason: str) -> None:
    assert error(text).startswith(reason)


def test_an_error_of_meaning_names_the_place_too() -> None:
    assert error("id == 1 and\n text == 5").endswith("(at line 2:6)")


def test_unknown_names_are_errors_without_a_dynamic_field() -> None:
    assert error("color == 1", STATIC).startswith("field color not exist; the collection's fields are: key, vector, n")
    assert error("$meta['a'] == 1", STATIC).startswith("field $meta not exist")
    assert error("color['a'] == 1", STATIC).startswith("field color not exist")


# --- folded ---


@pytest.mark.parametrize(
    ("text", "always"),
    [
        ("true", True), ("FALSE", False), ("1 < 2", True), ("'b' < 'a'", False), ("not true", False),
        ("1 == 1.0", True),
        ("9007199254740993 == 9007199254740992.0", False), ("true and 2 > 1", True), ("id == 1 or true", True),
        ("id == 1 and false", False), ("small < 100000", True), ("small == 100000", False), ("id in []", False),
        ("id not in []", True), ("id is null", False), ("id is not null", True), ("id == 1.5", False),
        ("id != 1.5", True),
        ("1 in [1, 2]", True), ("'a' in [1, 'a']", True), ("1 not in [true]", True), ("true == true", True),
        ("1 <= 2 < 3", True), ("small > 1e10", False), ("small not in [100000]", True), ("tiny < 1000", None),
        ("tiny in []", None), ("id == 1", None),
    ],
)  # fmt: skip
def test_constants_are_folded(text: str, always: bool | None) -> None:
    assert bound(text).always is always


def test_only_the_fields_that_matter_are_read() -> None:
    ids = {f.name: f.id for f in SCHEMA.fields}
    assert bound("id == 1 and text like 'a%' and color == 'red'").fields == {ids["id"], ids["text"], ids["$meta"]}
    assert bound("id == 1 or true").fields == frozenset()
    assert bound("1 < 2").fields == frozenset()


@settings(max_examples=100)
@given(filters, rows())
def test_the_normal_form_is_a_filter_that_means_the_same(text: str, table: list[dict[str, Any]]) -> None:
    normal = bound(text).describe()
    assume("? unknown" not in normal)
    again = bound(normal)
    assert again.describe() == normal
    results = [compiled.evaluate(Table(table), len(table)).to_pylist() for compiled in (bound(text), again)]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("text like 'a%' and id > 1", 'id > 1 and text like "a%"'),
        ("1 < id", "id > 1"),
        ("id < 2.5", "id <= 2"),
        ("1 < id <= 5", "id > 1 and id <= 5"),
        ("id == 3 or id == 1 or id in [2, 1]", "id in [1, 2, 3]"),
        ("not not (id == 1)", "id == 1"),
        ("not (text is null)", "text is not null"),
        ("exists color", '$meta["color"] is not null'),
        ("(id > 1 or text == 'x') and (tiny == 1 and small == 2)",
         'tiny == 1 and small == 2 and (id > 1 or text == "x")'),
        ("id in [5]", "id == 5"),
        ("id in " + str(list(range(20))), "id in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … 20 values]"),
        ("single == 0.1", "single == 0.1"),
        ("single < 3.4028235677973366e+38", "single < 1e+39"),
        ("single > -1e39", "single > -1e+39"),
        ("single in [0.1, 1e300, 1e39]", "single in [0.1, 1e+39]"),
        ("-id * 2 > 2 ** 3", "((id * -1) * 2) > 8"),
        ("text == 'a\"b'", 'text == "a\\"b"'),
        ("tiny < 1000", "(tiny is null ? unknown : true)"),
        ("true", "true"),
    ],
)  # fmt: skip
def test_normal_form(text: str, normal: str) -> None:
    assert bound(text).describe() == str(bound(text)) == normal


# --- templates ---


def test_templates_are_filled_from_the_parameters() -> None:
    assert bound("id == {x}", x=5).describe() == "id == 5"
    assert bound("text in {names} and real < {limit}", names=["a", "b"], limit=1.5).describe() == (
        'real < 1.5 and text in ["a", "b"]'
    )
    assert bound("{low} < id < {high}", low=5, high=1).describe() == "id > 5 and id < 1"
    assert bound("id in [{a}, 7, {b} + 1]", a=1, b=2).describe() == "id in [1, 3, 7]"
    assert bound("text like {p}", p="a%").describe() == 'text like "a%"'
    assert bound("flag == {f}", f=np.bool_(True)).describe() == "flag == true"
    assert bound("id in {keys}", keys=np.array([3, 1], np.int32)).describe() == "id in [1, 3]"
    assert bound("id in {keys}", keys=pa.array([3, 1])).describe() == "id in [1, 3]"
    assert bound("{always}", always=True).always is True


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, "the value of expression template variable name {x} is not found"),
        ({"y": 1}, "the value of expression template variable name {x} is not found"),
        ({"x": None}, "template {x} has a value of type NoneType"),
        ({"x": {"a": 1}}, "template {x} has a value of type dict"),
        ({"x": [1]}, "'==' cannot be used with a list"),
        ({"x": "a"}, "comparisons between Int64 and VarChar are not supported"),
        ({"x": 2**63}, "value 9223372036854775808 of template {x} is out of the range of Int64"),
        ({"x": float("nan")}, "the value of template {x} is not a number"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit_are_refused(params: dict[str, Any], reason: str) -> None:
    assert error("id == {x}", **params).startswith(reason)


def test_a_missing_parameter_is_an_error_also_where_it_cannot_matter() -> None:
    assert error("false and id == {x}").startswith("the value of expression template variable name {x} is not found")


# --- keys ---


def keys_of(array: pa.Array | None) -> list[Any] | None:
    return None if array is None else array.to_pylist()


@pytest.mark.parametrize(
    ("text", "keys", "rest"),
    [
        ("id == 5", [5], None),
        ("5 == id", [5], None),
        ("id == 5.0", [5], None),
        ("id in [3, 1, 3]", [1, 3], None),
        ("id == 1 or id == 2", [1, 2], None),
        ("id == 1 and text == 'a'", [1], 'text == "a"'),
        ("text like 'a%' and id in [1, 2] and small > 3", [1, 2], 'small > 3 and text like "a%"'),
        ("id > 1", None, None),
        ("id != 1", None, None),
        ("not (id == 1)", None, None),
        ("id not in [1]", None, None),
        ("id == 1 or text == 'a'", None, None),
        ("big == 1", None, None),
        ("id + 0 == 1", None, None),
    ],
)
def test_filters_on_the_primary_key_give_its_keys(text: str, keys: list[Any] | None, rest: str | None) -> None:
    compiled = bound(text)
    assert keys_of(compiled.key_lookup) == (keys if rest is None else None)
    if keys is None:
        assert compiled.narrowed is None
    else:
        assert compiled.narrowed is not None
        found, residual = compiled.narrowed
        assert found.type == pa.int64()
        assert keys_of(found) == keys
        assert (None if residual is None else residual.describe()) == rest


def test_string_keys_are_of_the_keys_type() -> None:
    compiled = bound("key in ['b', 'a', 'b']", STATIC)
    assert compiled.key_lookup is not None
    assert compiled.key_lookup.type == pa.large_string()
    assert sorted(compiled.key_lookup.to_pylist()) == ["a", "b"]


@settings(max_examples=100)
@given(filters, rows(), st.lists(st.integers(-3, 3), min_size=1, max_size=3))
def test_keys_and_rest_hold_for_the_rows_of_the_whole(text: str, table: list[dict[str, Any]], keys: list[int]) -> None:
    whole = f"({text}) and id in {keys}"
    narrowed = bound(whole).narrowed
    if narrowed is None:
        assert bound(whole).always is False
        return
    found, rest = narrowed
    at = np.flatnonzero([row["id"] in found.to_pylist() for row in table])
    if rest is not None:
        at = at[[truth is True for truth in rest.evaluate_at(Table(table), at).to_pylist()]]
    assert at.tolist() == [i for i, row in enumerate(table) if evaluate_row(whole, row, SCHEMA) is True]


# --- the cache ---


def test_the_same_text_is_compiled_once() -> None:
    assert compile_filter("id == 1", SCHEMA) is compile_filter("id == 1", SCHEMA)
    assert compile_filter("id == {x}", SCHEMA, {"x": 1}) is compile_filter("id == {x}", SCHEMA, {"x": 1})


def test_the_cache_tells_schemas_and_parameters_apart() -> None:
    other = Schema(
        (Field("id", DataType.VARCHAR, is_primary=True, max_length=5), Field("v", DataType.FLOAT_VECTOR, dim=2))
    ).checked()
    assert compile_filter("id == '1'", other).describe() == 'id == "1"'
    with pytest.raises(InvalidParameter):
        compile_filter("id == '1'", SCHEMA)
    described = [compile_filter("a == {x}", SCHEMA, {"x": x}).describe() for x in (1, True, 1.0, "1")]
    assert described == ['$meta["a"] == 1', '$meta["a"] == true', '$meta["a"] == 1.0', '$meta["a"] == "1"']
    listed = [compile_filter("id in {x}", SCHEMA, {"x": [x]}).describe() for x in (1, 2)]
    assert listed == ["id == 1", "id == 2"]
