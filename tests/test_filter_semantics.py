"""Filters hold for exactly the rows that a naive interpreter, one row at a time, says they hold for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elanus.expr.compile import compile_filter
from tests.filter_cases import SCHEMA, Table, filters, rows
from tests.oracle_filter import evaluate_row


def row(**values: Any) -> dict[str, Any]:
    """A row that is null wherever nothing is given."""
    return {f.name: None for f in SCHEMA.fields if not f.is_vector} | {"id": 1, "small": 0} | values


def truth(text: str, /, **values: Any) -> bool | None:
    compiled = compile_filter(text, SCHEMA, values.pop("params", None))
    return compiled.evaluate(Table([row(**values)]), 1)[0].as_py()


@settings(max_examples=200)
@given(filters, rows(), st.integers(0, 9))
def test_a_filter_holds_for_the_rows_that_the_oracle_names(text: str, table: list[dict[str, Any]], lead: int) -> None:
    compiled = compile_filter(text, SCHEMA)
    expected = [evaluate_row(text, each, SCHEMA) for each in table]
    result = compiled.evaluate(Table(table, lead), len(table))
    assert len(result) == len(table)
    assert result.to_pylist() == expected, compiled.describe()
    if compiled.always is not None:
        assert expected == [compiled.always] * len(table)


@given(filters, rows())
def test_chosen_rows_give_what_they_give_among_all(text: str, table: list[dict[str, Any]]) -> None:
    compiled = compile_filter(text, SCHEMA)
    chosen = np.arange(len(table), dtype=np.int64)[::-2]
    every = compiled.evaluate(Table(table), len(table)).to_pylist()
    assert compiled.evaluate_at(Table(table), chosen).to_pylist() == [every[i] for i in chosen]


@given(filters, rows())
def test_a_filter_reads_no_field_that_it_does_not_name(text: str, table: list[dict[str, Any]]) -> None:
    compiled = compile_filter(text, SCHEMA)
    columns = Table(table)
    compiled.evaluate(columns, len(table))
    assert set(columns.reads) <= compiled.fields


# --- null: three-valued logic ---


@pytest.mark.parametrize(
    "text",
    [
        "big == 1", "big != 1", "big < 1", "big in [1]", "big not in [1]", "big in []", "big not in []", "big + 1 == 2",
        "1 < big < 3", "text like 'a%'", "text == text", "big < medium", "flag == true", "tiny < 1000", "tiny != 1000",
        "not (big == 1)", "not (big in [1, 2])", "doc == 1", "doc['a'] != 1", "a != 1", "a not in [1]", "a not in []",
        "not (a like 'x')", "a + 1 != 2", "text like '%'", "tiny not in [1000]",
    ],
)  # fmt: skip
def test_anything_compared_with_null_is_unknown_and_so_is_its_negation(text: str) -> None:
    assert truth(text) is None
    assert truth(f"not ({text})") is None


def test_unknown_and_false_is_false_and_unknown_or_true_is_true() -> None:
    assert truth("big == 1 and small == 5") is False
    assert truth("small == 5 and big == 1") is False
    assert truth("big == 1 and small == 0") is None
    assert truth("big == 1 or small == 0") is True
    assert truth("big == 1 or small == 5") is None


def test_null_tests_are_never_unknown() -> None:
    assert truth("big is null") is True
    assert truth("big is not null", big=1) is True
    assert truth("not (big is null)") is False
    assert truth("id is null") is False


# --- numbers ---


def test_integers_compare_with_fractions_exactly() -> None:
    assert truth("big < 1.5", big=1) is True
    assert truth("big <= 1.5", big=2) is False
    assert truth("big == 1.5", big=1) is False
    assert truth("big != 1.5", big=1) is True
    assert truth("big > -1.5", big=-1) is True
    assert truth("big == 2.0", big=2) is True
    assert truth("big == 9007199254740992.0", big=2**53 + 1) is False


def test_a_literal_outside_an_integer_type_is_above_or_below_all_of_it() -> None:
    assert truth("tiny < 1000", tiny=127) is True
    assert truth("tiny == 1000", tiny=127) is False
    assert truth("tiny != 1000", tiny=127) is True
    assert truth("tiny > -1000", tiny=-128) is True
    assert truth("tiny in [1000, 7]", tiny=7) is True
    assert truth("tiny in [1000]", tiny=7) is False
    assert truth("tiny not in [1000]", tiny=7) is True
    assert truth("big < 1e300", big=2**63 - 1) is True


def test_a_float_column_holds_what_was_put_into_it() -> None:
    assert truth("single == 0.1", single=0.1) is True
    assert truth("single > 0.1", single=0.1) is False
    assert truth("single in [0.1, 0.2]", single=0.2) is True
    assert truth("single + 0.1 == 0.3", single=0.2) is True
    assert truth("single == real", single=0.1, real=0.1) is False
    assert truth("real == 0.1", real=0.1) is True


def test_both_zeros_are_equal() -> None:
    assert truth("real == 0", real=-0.0) is True
    assert truth("real in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]", real=-0.0) is True
    assert truth("a in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]", **{"$meta": b'{"a": -0.0}'}) is True


def test_integer_arithmetic_wraps_around_and_divides_toward_zero() -> None:
    low, high = -(2**63), 2**63 - 1
    assert truth(f"big + 1 == {low}", big=high) is True
    assert truth(f"-big == {low}", big=low) is True
    assert truth(f"big / -1 == {low}", big=low) is True
    assert truth("big % -1 == 0", big=low) is True
    assert truth("big / 2 == -3", big=-7) is True
    assert truth("big % 2 == -1", big=-7) is True
    assert truth("big % -2 == 1", big=7) is True
    assert truth("tiny * 2 == 254", tiny=127) is True
    assert truth("9223372036854775807 + 1 < 0") is True
    assert truth("-7 / 2 == -3") is True
    assert truth("-7 % 3 == -1") is True
    assert truth("big / small == 1", big=1, small=0) is None
    assert truth("big % small == 1", big=1, small=0) is None


def test_shifts_reach_over_all_64_bits() -> None:
    assert truth("big >> 63 == -1", big=-5) is True
    assert truth("big >> 63 == 0", big=5) is True
    assert truth(f"big << 63 == {-(2**63)}", big=1) is True
    assert truth("big << 62 >> 62 == 1", big=1) is True
    assert truth("big >> 0 == 5", big=5) is True
    assert truth("big << small == 40", big=5, small=3) is True
    assert truth("big << small == 5", big=5, small=64) is None
    assert truth("big >> small == 5", big=5, small=-1) is None


def test_powers_are_doubles_and_lean_to_the_left() -> None:
    assert truth("2 ** 3 ** 2 == 64") is True
    assert truth("2 ** -1 == 0.5") is True
    assert truth("-2 ** 2 == -4") is True
    assert truth("big == 2 ** 3", big=8) is True


def test_integers_beyond_2_53_are_exact_everywhere() -> None:
    n = 2**53 + 1
    assert truth(f"big == {n}", big=n) is True
    assert truth(f"big == {n - 1}", big=n) is False
    assert truth("big == real", big=n, real=2.0**53) is False
    assert truth("big > real", big=n, real=2.0**53) is True
    assert truth(f"a == {n}", **{"$meta": b'{"a": 9007199254740993}'}) is True
    assert truth(f"a == {n}", **{"$meta": b'{"a": 9007199254740992.0}'}) is False
    assert truth("a == 9007199254740992.0", **{"$meta": b'{"a": 9007199254740993}'}) is False


# --- strings ---


def test_strings_are_ordered_by_their_bytes() -> None:
    assert truth("text > 'Z'", text="a") is True
    assert truth("text > 'z'", text="é") is True
    assert truth("text > '\\uFFFD'", text="😀") is True
    assert truth("text < 'ab'", text="a") is True


def test_quotes_of_both_kinds_are_equal() -> None:
    assert truth("""text == "it's" """, text="it's") is True
    assert truth("""text == 'it\\'s' """, text="it's") is True


# --- JSON ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("doc['i'] == 1", True),
        ("doc['i'] == 1.0", True),
        ("doc['d'] == 1", False),
        ("doc['i'] == true", None),
        ("doc['t'] == 1", None),
        ("doc['t'] == true", True),
        ("doc['s'] == 1", None),
        ("doc['s'] != 1", None),
        ("not (doc['s'] == 1)", None),
        ("doc['s'] not in [1, 2]", None),
        ("doc['s'] not in [1, 'x']", True),
        ("doc['s'] > 'a'", True),
        ("doc['n'] != 1", None),
        ("doc['none'] != 1", None),
        ("doc['l'] != 1", None),
        ("doc['l'][1] == 'two'", True),
        ("doc['l'][9] == 1", None),
        ("doc['l']['two'] == 1", None),
        ("doc['o']['k'] == 5", True),
        ("doc['i']['k'] == 5", None),
        ("exists doc['i']", True),
        ("exists doc['n']", False),
        ("exists doc['none']", False),
        ("exists doc['l']", True),
        ("exists doc['l'][9]", False),
        ("not exists doc['l'][9]", True),
        ("doc['n'] is null", True),
        ("doc['none'] is null", True),
        ("doc['none'] is not null", False),
        ("doc['i'] is null", False),
        ("doc['s'] like 's%'", True),
        ("doc['i'] like '1'", None),
        ("doc['i'] in []", False),
        ("doc['o'] not in []", True),
        ("doc['none'] not in []", None),
        ("doc['i'] + 1 == 2", True),
        ("doc['d'] * 2 == 3", True),
        ("doc['s'] + 1 == 2", None),
        ("doc['i'] / 2 == 0", True),
        ("doc['d'] / 2 == 0.75", True),
        ("(doc['d'] & 1) == 1", None),
        ("0 < doc['i'] <= 1", True),
        ("doc is null", False),
    ],
)
def test_json_paths_look_at_the_type_of_each_row(text: str, expected: bool | None) -> None:
    document = b'{"i": 1, "d": 1.5, "s": "str", "t": true, "n": null, "l": [1, "two"], "o": {"k": 5}}'
    assert truth(text, doc=document) is expected


def test_unknown_names_are_keys_of_the_dynamic_field() -> None:
    row = {"$meta": b'{"color": "red", "deep": {"er": [7]}}'}
    assert truth("color == 'red'", **row) is True
    assert truth("$meta['color'] == 'red'", **row) is True
    assert truth("deep['er'][0] == 7", **row) is True
    assert truth("exists color and not exists shade", **row) is True


def test_a_document_may_be_a_bare_value() -> None:
    assert truth("doc == 5", doc=b"5") is True
    assert truth("doc is null", doc=b"null") is True
    assert truth("doc > 4.5", doc=b" 5 ") is True


# --- how it runs ---


def test_costly_terms_run_over_the_open_rows_only() -> None:
    documents = [b'{"a": %d}' % i for i in range(1000)]
    table = [row(id=i, medium=i % 100, doc=documents[i]) for i in range(1000)]
    for text in ("medium == 5 and doc['a'] > 500", "medium != 5 or doc['a'] > 500", "medium == 1000 and doc['a'] == 1"):
        compiled = compile_filter(text, SCHEMA)
        expected = [evaluate_row(text, each, SCHEMA) for each in table]
        assert compiled.evaluate(Table(table), 1000).to_pylist() == expected


def test_terms_that_cannot_matter_are_not_read() -> None:
    compiled = compile_filter("doc['a'] == 1 and small == 9", SCHEMA)
    columns = Table([row(doc=b"{}")])
    assert compiled.evaluate(columns, 1).to_pylist() == [False]
    assert columns.reads == [SCHEMA.field("small").id]


def test_results_are_bit_packed_least_significant_first() -> None:
    compiled = compile_filter("small >= 3", SCHEMA)
    result = compiled.evaluate(Table([row(small=i) for i in range(5)]), 5)
    assert result.offset == 0
    assert np.frombuffer(result.buffers()[1], np.uint8)[0] & 0b11111 == 0b11000


def test_no_rows_give_no_result() -> None:
    class Empty:
        def column(self, field_id: int) -> pa.Array:
            return pa.array([], SCHEMA.by_id[field_id].arrow_type)

    for text in ("small == 1", "doc['a'] == 1", "a in [1, 'x']", "text like 'a_'", "big < real", "true", "a + 1 > 2"):
        assert len(compile_filter(text, SCHEMA).evaluate(Empty(), 0)) == 0
