"""`in` with lists of every length and spread finds what Python's `in` finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elanus.expr.compile import compile_filter
from elanus.expr.lookup import ints_among
from elanus.model.schema import Field
from tests.filter_cases import SCHEMA


class OneColumn:
    def __init__(self, field: Field, values: Any) -> None:
        self.values = pa.array(values, field.arrow_type)

    def column(self, field_id: int) -> pa.Array:
        return self.values


@pytest.mark.parametrize("rows", [10, 20_000])
@pytest.mark.parametrize("listed", [1, 3, 5, 100, 5_000])
@pytest.mark.parametrize("spread", [10, 10_000, 2**62])
def test_integers_among_listed(rows: int, listed: int, spread: int) -> None:
    rng = np.random.default_rng(rows + listed)
    values = np.unique(rng.integers(-spread, spread, listed))
    column = rng.integers(-spread, spread, rows)
    column[::3] = rng.choice(values, len(column[::3]))
    column[:2] = [-(2**63), 2**63 - 1]
    assert ints_among(column, values).tolist() == np.isin(column, values).tolist()


def test_the_ends_of_int64_are_found() -> None:
    column = np.resize(np.array([-(2**63), 2**63 - 1, 0, 1]), 10_000)
    for values in ([-(2**63), 2**63 - 1], [-(2**63), -(2**63) + 1], [2**63 - 2, 2**63 - 1], [0]):
        listed = np.array(values, np.int64)
        assert ints_among(column, listed).tolist() == np.isin(column, listed).tolist()


@pytest.mark.parametrize("name", ["tiny", "small", "medium", "big"])
@pytest.mark.parametrize("listed", [2, 50, 5_000])
def test_integer_columns_of_every_width_with_nulls(name: str, listed: int) -> None:
    field = SCHEMA.field(name)
    rng = np.random.default_rng(listed)
    values = rng.integers(-100, 100, 10_000).tolist()
    if field.nullable:
        values[::7] = [None] * len(values[::7])
    keys = list(range(-listed // 2, listed // 2))
    among = set(keys)
    for op, held in (("in", True), ("not in", False)):
        result = compile_filter(f"{name} {op} {keys}", SCHEMA).evaluate(OneColumn(field, values), len(values))
        assert result.to_pylist() == [None if v is None else (v in among) == held for v in values]


@pytest.mark.parametrize("listed", [1, 8, 9, 3_000])
def test_string_columns_with_nulls(listed: int) -> None:
    field = SCHEMA.field("text")
    values = [None if i % 5 == 0 else f"key{i % 1000}" for i in range(5_000)]
    keys = [f"key{i}" for i in range(listed)]
    result = compile_filter(f"text in {keys}", SCHEMA).evaluate(OneColumn(field, values), len(values))
    assert result.to_pylist() == [None if v is None else v in set(keys) for v in values]


def test_many_equalities_joined_by_or_are_one_list() -> None:
    field = SCHEMA.field("big")
    text = " or ".join(f"big == {i}" for i in range(0, 2_000, 2))
    result = compile_filter(text, SCHEMA).evaluate(OneColumn(field, [0, 1, 1998, 1999, None]), 5)
    assert result.to_pylist() == [True, False, True, False, None]
