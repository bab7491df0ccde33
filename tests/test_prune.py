"""What statistics say of a filter is true of every row they were made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elanus.expr.compile import compile_filter
from elanus.expr.evaluate import evaluate
from elanus.expr.prune import FALSE, TRUE, UNKNOWN, Statistics, arranged, possible, prune, share
from elanus.model.statistics import FieldStatistics
from elanus.segment.statistics import BOUND_LENGTH, statistics_of
from tests.filter_cases import SCHEMA, Table, filters, literal, rows

FIELDS = {field.name: field.id for field in SCHEMA.fields}


def statistics(table: Table) -> Statistics:
    found = {f.id: statistics_of(table.column(f.id)) for f in SCHEMA.fields if not f.is_vector}
    return {field_id: known for field_id, known in found.items() if known is not None}


def of(condition: str, /, **known: FieldStatistics) -> bool | None:
    """What ten rows with these statistics are pruned to."""
    return prune(compile_filter(condition, SCHEMA).root, {FIELDS[name]: s for name, s in known.items()}, 10)


@settings(max_examples=100)
@given(filters, rows())
def test_no_row_has_a_truth_that_statistics_rule_out(text: str, table: list[dict[str, Any]]) -> None:
    compiled, columns = compile_filter(text, SCHEMA), Table(table)
    known = statistics(columns)
    truths = possible(compiled.root, known, len(table))
    found = {True: TRUE, False: FALSE, None: UNKNOWN}
    for value in compiled.evaluate(columns, len(table)).to_pylist():
        assert found[value] & truths, (compiled.describe(), known)
    assert 0 <= share(compiled.root, known, len(table)) <= 1
    simpler = evaluate(arranged(compiled.root, known, len(table)), columns, len(table))
    assert simpler.to_pylist() == compiled.evaluate(columns, len(table)).to_pylist()


@settings(max_examples=100)
@given(rows(), st.sampled_from(["big", "small", "real", "single", "text"]), st.data())
def test_comparisons_with_values_of_the_rows_are_ruled_out_rightly(
    table: list[dict[str, Any]], name: str, data: st.DataObject
) -> None:
    values = [row[name] for row in table if row[name] is not None]
    value = data.draw(st.sampled_from(values or [1 if name != "text" else "a"]))
    op = data.draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    text = f"{name} {op} {literal(value)}"
    compiled, columns = compile_filter(text, SCHEMA), Table(table)
    pruned = prune(compiled.root, statistics(columns), len(table))
    found = compiled.evaluate(columns, len(table)).to_pylist()
    if pruned is not None:
        assert all(value is True for value in found) if pruned else True not in found


@pytest.mark.parametrize(
    ("text", "pruned"),
    [
        ("big < 5", False), ("big < 6", None), ("big <= 9", True), ("big > 9", False), ("big >= 5", True),
        ("big == 4", False), ("big == 5", None), ("big != 10", True), ("big in [1, 2, 10]", False),
        ("big in [1, 7]", None), ("big not in [1, 2]", True), ("big is null", False), ("big is not null", True),
        ("not (big > 9)", True), ("big < 5 or big > 9", False), ("big < 5 and small == 1", False),
        ("big >= 5 and small == 1", None), ("big >= 5 or small == 1", True), ("4 < big < 10", True),
    ],
)  # fmt: skip
def test_bounds_decide_comparisons(text: str, pruned: bool | None) -> None:
    assert of(text, big=FieldStatistics(0, 5, 5, 9)) is pruned


@pytest.mark.parametrize(
    ("text", "pruned"),
    [
        ("big >= 5", None), ("big < 5", False), ("not (big < 5)", None), ("big != 10", None), ("big is null", None),
        ("not (big >= 5)", False), ("big not in [1]", None), ("big >= 5 or big is null", None),
    ],
)  # fmt: skip
def test_where_a_row_is_null_nothing_is_true_of_all(text: str, pruned: bool | None) -> None:
    assert of(text, big=FieldStatistics(1, 5, 5, 9)) is pruned


def test_a_field_without_a_value_is_never_compared() -> None:
    nothing = FieldStatistics(10, 0, None, None)
    assert of("big == 1", big=nothing) is False
    assert of("not (big == 1)", big=nothing) is False
    assert of("big is null", big=nothing) is True
    assert of("text like 'a%'", text=nothing) is False


def test_prefixes_are_compared_with_bounds() -> None:
    texts = FieldStatistics(0, 5, "banana", "bread")
    assert of("text like 'a%'", text=texts) is False
    assert of("text like 'c%'", text=texts) is False
    assert of("text like 'b%'", text=texts) is True
    assert of("text like 'bo%'", text=texts) is None
    assert of("text like '%a'", text=texts) is None
    assert of("text like 'zoo'", text=texts) is False
    assert of("text like 'brf%'", text=replace(texts, high=None)) is None


def test_long_texts_are_shortened_and_still_bound_what_they_stand_for() -> None:
    known = statistics_of(pa.array(["z" * 200, "a" * 200], pa.large_string()))
    assert known == FieldStatistics(0, 2, "a" * BOUND_LENGTH, None)
    assert of(f"text == '{'a' * 200}'", text=known) is None
    assert of("text < 'a'", text=known) is False
    assert of("text > 'z'", text=known) is None


def test_what_has_no_order_has_no_bounds() -> None:
    for value in (float("nan"), float("inf")):
        known = statistics_of(pa.array([1.0, value]))
        assert known is not None
        assert known.high is None
        assert of("real > 1.0", real=known) is None
        assert of("not (real > 1.0)", real=known) is None
        assert FieldStatistics.from_list(known.to_list()) == known


@pytest.mark.parametrize("distinct", [1, 40, 3_000, 30_000, 150_000])
def test_different_values_are_counted_within_a_few_per_cent(distinct: int) -> None:
    drawn = np.random.default_rng(distinct).integers(0, distinct, 200_000) - distinct // 2
    exact = len(np.unique(drawn))
    for column in (pa.array(drawn), pa.array(drawn / 7), pa.array(drawn.astype(str).tolist(), pa.large_string())):
        known = statistics_of(column)
        assert known is not None
        assert abs(known.distinct - exact) <= 0.08 * exact


def test_shares_follow_bounds_and_counts() -> None:
    known = {FIELDS["big"]: FieldStatistics(50, 20, 0, 100)}

    def shared(text: str) -> float:
        return share(compile_filter(text, SCHEMA).root, known, 100)

    assert shared("big == 7") == pytest.approx(0.5 / 20)
    assert shared("big in [1, 2, 3, 4, 5, 6, 200]") == pytest.approx(0.5 * 6 / 20)
    assert shared("big < 25") == pytest.approx(0.125)
    assert shared("not (big < 25)") == pytest.approx(0.375)
    assert shared("big > 100") == 0
    assert shared("big is null") == pytest.approx(0.5)
    assert shared("big < 25 and big == 7") == pytest.approx(0.125 * 0.025)


def test_terms_that_are_decided_go_and_those_that_settle_most_for_their_cost_come_first() -> None:
    known = {FIELDS["big"]: FieldStatistics(0, 2, 0, 100), FIELDS["small"]: FieldStatistics(0, 1_000, 0, 1_000)}

    def shown(text: str) -> str:
        return str(arranged(compile_filter(text, SCHEMA).root, known, 1_000))

    assert shown("big >= 0 and small == 5") == "small == 5"
    assert shown("big > 100 or small == 5") == "small == 5"
    assert shown("not (big > 100 or small == 5)") == "not (small == 5)"
    assert shown("big == 5 and small == 5") == "small == 5 and big == 5"
    assert shown("small == 5 or big == 5") == "big == 5 or small == 5"
    assert shown("big >= 0 and small >= 0") == "true"
