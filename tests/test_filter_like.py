"""`like` finds what its pattern says, whichever kernel runs it."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elanus.expr.like import Shape, compile_pattern
from tests.filter_cases import TEXTS
from tests.oracle_filter import matches_like

_pieces = st.sampled_from(
    ["%", "_", "a", "b", "é", ".", "*", "+", "(", "[", "^", "$", "|", "\\%", "\\_", "\\\\", "\\a", "\n", "😀", "\0"]
)
patterns = st.lists(_pieces, max_size=6).map("".join)
values = st.lists(st.text("ab%_\\é.*+([^$|\n😀\0", max_size=6) | st.sampled_from(TEXTS), max_size=10)


@settings(max_examples=300)
@given(patterns, values)
def test_like_matches_what_the_pattern_says(pattern: str, texts: list[str]) -> None:
    found = compile_pattern(pattern).match(pa.array([*texts, None], pa.large_string()))
    assert found.to_pylist() == [*(matches_like(text, pattern) for text in texts), None]


@pytest.mark.parametrize(
    ("pattern", "shape", "needle"),
    [
        ("abc", Shape.WHOLE, "abc"),
        ("abc%", Shape.PREFIX, "abc"),
        ("%abc", Shape.SUFFIX, "abc"),
        ("%abc%", Shape.INFIX, "abc"),
        ("%%abc%%", Shape.INFIX, "abc"),
        ("%", Shape.ANY, ""),
        ("%%", Shape.ANY, ""),
        ("", Shape.WHOLE, ""),
        ("100\\%", Shape.WHOLE, "100%"),
        ("a\\_b%", Shape.PREFIX, "a_b"),
        ("\\\\%", Shape.PREFIX, "\\"),
        ("a%b", Shape.MIXED, "(?s)\\Aa.*b\\z"),
        ("_", Shape.MIXED, "(?s)\\A.\\z"),
    ],
)
def test_common_patterns_run_as_plain_searches(pattern: str, shape: Shape, needle: str) -> None:
    compiled = compile_pattern(pattern)
    assert (compiled.shape, compiled.needle) == (shape, needle)


def test_a_pattern_may_not_end_within_an_escape() -> None:
    with pytest.raises(ValueError, match="ends with an escape character"):
        compile_pattern("abc\\")


def test_like_minds_case() -> None:
    assert compile_pattern("A%").match(pa.array(["abc", "Abc"], pa.large_string())).to_pylist() == [False, True]
