"""Whatever text comes as a filter, it is refused or answered, and soon."""

from __future__ import annotations

import pytest

from elanus.expr.compile import compile_filter
from elanus.model.errors import InvalidParameter
from tests.filter_cases import SCHEMA
from tests.fuzz_filters import Fuzz, drawn, repeated

TEXTS, THOROUGH_TEXTS = 2_000, 1_000_000


def test_any_text_is_refused_or_answered_and_a_condition_more_adds_no_row(
    seed: int, pytestconfig: pytest.Config
) -> None:
    fuzz = Fuzz(seed)
    for _ in range(THOROUGH_TEXTS if pytestconfig.getoption("--thorough") else TEXTS):
        text, params = drawn(fuzz.draw)
        try:
            fuzz.try_one(text, params)
        except BaseException as error:
            error.add_note(f"filter {text!r} with {params}")
            raise
    assert fuzz.outcomes["joined"] > TEXTS / 10
    assert fuzz.outcomes["refused"] > TEXTS / 5


def test_ten_thousand_characters_take_a_tenth_of_a_second_at_most(seed: int) -> None:
    fuzz = Fuzz(seed)
    for text in repeated():
        fuzz.try_one(text)
    assert fuzz.outcomes["refused"] > 100
    assert fuzz.outcomes["bound"] > 2


@pytest.mark.parametrize(
    ("begin", "end"), [("(", ")"), ("not (", ")"), ("[", "]"), ("-(", ")"), ("f(", ")"), ("~", "")]
)
def test_what_nests_deep_is_refused_however_deep(begin: str, end: str) -> None:
    for depth in (200, 100_000):
        with pytest.raises(InvalidParameter, match="nesting depth"):
            compile_filter(begin * depth + "id" + end * depth + " == 1", SCHEMA)
    with pytest.raises(InvalidParameter, match="more than 128 steps"):
        compile_filter("doc" + '["a"]' * 100_000 + " == 1", SCHEMA)
