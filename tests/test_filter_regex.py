"""`=~` and `!~`: RE2's regular expressions, found anywhere in a text, in a time that no expression makes long."""

from __future__ import annotations

import json
import time
from typing import Any

import pyarrow as pa
import pytest

from elanus.expr.compile import compile_filter
from elanus.expr.regex import compile_regex
from elanus.model.errors import InvalidParameter
from tests.filter_cases import SCHEMA
from tests.test_filter_semantics import truth


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ('"a.c"', "xabcx", True), ('"a.c"', "a\nc", True), ('"(?-s)a.c"', "a\nc", False), ('"^b"', "ab", False),
        ('"^b"', "a\nb", False), ('"b$"', "ab", True), ('"b$"', "b\n", False), ('"(?m)b$"', "b\n", True),
        ('""', "", True), ('"^$"', "", True), (r'"\d+"', "a12", True), (r'"\\d+"', "a12", True),
        (r'"\\\\d"', "\\d", True), (r'r"\d"', "7", True), (r'"a\"b"', 'a"b', True), (r"'a\'b'", "a'b", True),
        (r'"\p{Han}"', "日", True), (r'"\bfoo\b"', "a foo b", True), ('"(?i)ABC"', "abc", True), ('"a|é"', "é", True),
        ('"(?P<n>a)b"', "ab", True), (r'"\x41"', "A", True), (r'"\n"', "\n", True), (r'"[\x80-\xff]"', "é", True),
        (r'"[\x80-\xff]"', "e", False), ('"(a+)+b"', "a" * 500, False),
    ],
)  # fmt: skip
def test_a_text_matches_where_re2_finds_the_expression(pattern: str, text: str, found: bool) -> None:
    assert truth(f"text =~ {pattern}", text=text) is found
    assert truth(f"text !~ {pattern}", text=text) is not found
    assert truth(f"doc['t'] =~ {pattern}", doc=json.dumps({"t": text}).encode()) is found


def test_null_and_what_is_no_text_is_unknown_to_both() -> None:
    for op in ("=~", "!~"):
        assert truth(f"text {op} 'a'") is None
        assert truth(f"doc['a'] {op} '1'", doc=b'{"a": 1}') is None
        assert truth(f"doc['b'] {op} '1'", doc=b'{"a": 1}') is None
        assert truth(f"not (text {op} 'a')") is None


def test_a_pattern_may_be_a_template_in_which_a_backslash_is_a_backslash() -> None:
    assert truth("text =~ {p}", text="7", params={"p": r"^\d$"}) is True
    assert truth("text !~ {p}", text="x", params={"p": r"^\d$"}) is True


@pytest.mark.parametrize(
    ("text", "params", "reason"),
    [
        ('text =~ "(a"', {}, "invalid regex pattern: missing closing )"),
        ('text =~ "[a"', {}, "invalid regex pattern: missing closing ]"),
        (r'text =~ "(a)\1"', {}, "invalid regex pattern: invalid escape sequence"),
        ('text =~ "a(?=b)"', {}, "invalid regex pattern"),
        ('text !~ "*"', {}, "invalid regex pattern"),
        ("text =~ {p}", {"p": "("}, "invalid regex pattern"),
        ("text =~ {p}", {"p": 5}, "is not string"),
        ("text =~ 123", {}, "regex pattern should be a string literal or template variable, got: 123"),
        ("text =~ text", {}, "regex pattern should be a string literal or template variable"),
        ("text =~ ('a')", {}, "regex pattern should be a string literal or template variable"),
        ("tiny =~ 'a'", {}, "regex match on non-string or non-json field is unsupported"),
        ("(doc['a'] + 1) =~ 'a'", {}, "regex match operations are only supported on single fields"),
        ('text =~ "(a?){1000}(a?){1000}(a?){1000}(a?){1000}(a?){1000}"', {}, "it repeats too much"),
        (" or ".join(5 * ['text =~ "(a?){1000}"']), {}, "together repeat too much"),
        (r'text =~ "\pL{1000}"', {}, "it repeats too much"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, params: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        compile_filter(text, SCHEMA, params)
    assert reason in str(caught.value)
    assert str(caught.value).startswith("failed to create query plan: cannot parse expression: ")


HEAVY = [
    "(" * 5000 + ")" * 5000, "a{1000}" * 1400, "(((a{100}){10}){10}){10}" * 400, "[a-z]{1000}" * 900,
    r"\pL{1000}" * 1100, "a|" * 5000, ".*" * 5000, "[^a]*" * 2000, "(" * 10_000, "[" * 10_000, "a?" * 5000,
    "(a?){1000}" * 100, r"\p{" * 3300, "(?P<" * 2500, "{1," * 3000, "[[:" * 3000, "(a?){1000}" * 3,
]  # fmt: skip


@pytest.mark.parametrize("pattern", HEAVY, ids=[p[:12] for p in HEAVY])
def test_no_expression_takes_long(pattern: str) -> None:
    """Neither to refuse or compile nor to be run over ten thousand characters; the bounds are generous."""
    column = pa.array(["ab" * 50 + "a" * 900] * 10, pa.large_string())
    start = time.process_time()
    try:
        compiled, _ = compile_regex(pattern)
    except ValueError:
        compiled = None
    assert time.process_time() - start < 0.5
    if compiled is not None:
        compiled.match(column)
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "pattern",
    [
        "(" + ".?" * 20 + "[[:alpha:])]){1000}Z",
        "(" + "a?" * 100 + r"\Q)\E){1000}",
        "(" + "a?" * 100 + "[[:alpha:](]){1000}",
    ],
)
def test_what_looks_like_the_end_of_a_group_hides_no_weight(pattern: str) -> None:
    with pytest.raises(ValueError, match="repeats too much"):
        compile_regex(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"\p{L}{2,50}",
        r"^\p{Lu}\p{Ll}{1,60}$",
        r"[\p{Han}a-z]{1,400}",
        r"\p{N}{1,100}%",
        "[^,]{0,1000}",
        r"(\w+\s?){1,100}",
    ],
)
def test_what_people_write_is_no_heavy_expression(pattern: str) -> None:
    compile_regex(pattern)


def test_a_character_by_its_number_is_one_character() -> None:
    assert compile_regex(r"\x{2028}|\x{2029}|\x{3000}")[1] < 10
