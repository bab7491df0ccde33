"""Filters hold for exactly the rows that a naive interpreter, one row at a time, says they hold for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elanus.expr.compile import compile_filter
from tests.filter_cases import SCHEMA, Table, filters, rows
from tests.oracle_filter import evaluate_row


def row(**values: Any) -> dict[str, Any]:
    """A row that is null wherever nothing is given."""
    return {f.name: None for f in SCHEMA.fields if not f.is_vector} | {"id": 1, "small": 0} | values


def truth(text: str, **values: Any) -> bool | None:
    compiled = compile_filter(text, SCHEMA, values.pop("params", None))
    return compiled.evaluate(Table([row(**values)]), 1)[0].as_py()


@settings(max_examples=400)
@given(filters, rows(), st.integers(0, 9))
def test_a_filter_holds_for_the_rows_that_the_oracle_names(text: str, table: list[dict[str, Any]], lead: int) -> None:
    compiled = compile_filter(text, SCHEMA)
    expected = [evaluate_row(text, each, SCHEMA) for each in table]
    result = compiled.evaluate(Table(table, lead), len(table))
    assert len(result) == len(table)
    assert result.to_pylist() == expected, compiled.describe()
    if compiled.always is not None:
        assert expected == [compiled.always] * len(table)


@settings(max_examples=100)
@given(filters, rows())
def test_chosen_rows_give_what_they_give_among_all(text: str, table: list[dict[str, Any]]) -> None:
    compiled = compile_filter(text, SCHEMA)
    chosen = np.arange(len(table), dtype=np.int64)[::-2]
    every = compiled.evaluate(Table(table), len(table)).to_pylist()
    assert compiled.evaluate_at(Table(table), chosen).to_pylist() == [every[i] for i in chosen]


@settings(max_examples=100)
@given(filters, rows())
def test_a_filter_reads_no_field_that_it_does_not_name(text: str, table: list[dict[str, Any]]) -> None:
    compiled = compile_filter(text, SCHEMA)
    columns = Table(table)
    compiled.evaluate(columns, len(table))
    assert set(columns.reads) <= compiled.fields
