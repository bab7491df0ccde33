"""What can be written as a filter, how it is read, and what is said about what cannot."""

from __future__ import annotations

import contextlib
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus.expr import parser, tree
from elanus.expr.compile import compile_filter
from elanus.expr.lexer import Lexer
from elanus.expr.parser import MAX_DEPTH, parse
from elanus.model.errors import InvalidParameter
from tests.filter_cases import SCHEMA, ints, quoted, reals, texts


def written(text: str) -> Any:
    """The tree of `text` as nested tuples, without positions."""

    def shape(node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(map(shape, node))
        if not hasattr(node, "__dataclass_fields__"):
            return node
        names = [name for name in node.__dataclass_fields__ if name != "position"]
        if isinstance(node, (tree.Literal, tree.Name)):
            return shape(getattr(node, names[0]))
        return (type(node).__name__, *(shape(getattr(node, name)) for name in names))

    return shape(parse(text).root)


def error(text: str, params: dict[str, Any] | None = None) -> str:
    with pytest.raises(InvalidParameter) as caught:
        compile_filter(text, SCHEMA, params)
    assert caught.value.code == 1100
    message = str(caught.value)
    assert message.startswith(f"failed to create query plan: cannot parse expression: {text[:1000]}")
    return message.partition(", error: ")[2]


# --- literals ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("10", 10), ("010", 8), ("00", 0), ("0x1F", 31), ("0XfF", 255), ("0b101", 5), ("0B0", 0), ("-5", -5),
        ("+5", 5), ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("1.5", 1.5), ("1.", 1.0),
        (".5", 0.5), ("1e3", 1000.0), ("1.5E-3", 0.0015), ("0x1.8p3", 12.0), ("0x1P-1", 0.5), ("-1.5", -1.5),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False), ("FALSE", False),
        ("'a'", "a"), ('"a"', "a"), ('""', ""), ("'日本'", "日本"),
        (r"'\n\t\\\'\"\a'", "\n\t\\'\"\a"), (r"'\x41\101'", "AA"),
        (r"'\u65e5\U0001F600'", "日😀"), (r"'\xe6\x97\xa5'", "日"), (r"'100\%'", r"100\%"), (r"'\d'", r"\d"),
        (r"r'\n'", r"\n"), (r'R"\d\"x"', r"\d\"x"), ("'a\\\nb'", "ab"),
    ],
)  # fmt: skip
def test_literals(text: str, value: Any) -> None:
    found = written(text)
    assert found == value
    assert type(found) is type(value)


@given(st.lists(ints | reals | texts | st.booleans(), max_size=30))
def test_lists_read_the_same_by_the_quick_way_and_token_by_token(values: list[Any]) -> None:
    def literal(value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return quoted(value) if isinstance(value, str) else repr(value)

    items = ", ".join(map(literal, values))
    token_by_token = written(f"x in [{items},]") if values else written("x in [ ]")
    for text in (f"x in [{items}]", f"x in [ {items} ]"):
        assert written(text) == token_by_token
        assert [type(v) for v in written(text)[2][1]] == [type(v) for v in values]
    assert token_by_token[2] == ("LiteralList", tuple(values))


@pytest.mark.parametrize(
    "listed", ["['a]', \"b\"]", "['it]s']", '["x]", "]"]', "[1, 2.5, 'a', true]", "[010, 0x10]", "[1,]"]
)
def test_awkward_lists(listed: str) -> None:
    values = written(f"x in {listed} and y == 1")[1][0][2][1]
    assert list(values) == eval(listed.replace("010", "8").replace("true", "True"))  # noqa: S307


@pytest.mark.parametrize("listed", ["[null]", '[{"a": 1}]', "[1 2]", "[1,,2]", "[99999999999999999999]", "[,]"])
def test_what_json_allows_and_filters_do_not_is_refused(listed: str) -> None:
    error(f"id in {listed}")


def test_ten_thousand_keys_are_read_at_once() -> None:
    assert Lexer(f"[{','.join(map(str, range(10_000)))}]").literals() == tuple(range(10_000))
    assert Lexer(str([f"key{i}" for i in range(10_000)])).literals() is not None


# --- precedence ---


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a == 1 or b == 2 and c == 3", "a == 1 or (b == 2 and c == 3)"),
        ("not a == 1 and b == 2", "(not (a == 1)) and (b == 2)"),
        ("!a in [1] || b == 2", "(not (a in [1])) or (b == 2)"),
        ("not a like 'x' or exists b", "(not (a like 'x')) or (exists b)"),
        ("a + 2 * 3 == 4", "(a + (2 * 3)) == 4"),
        ("a - 1 - 2 == 4", "((a - 1) - 2) == 4"),
        ("a << 1 + 2 == 4", "(a << (1 + 2)) == 4"),
        ("-a * b == 4", "((-a) * b) == 4"),
        ("-a ** 2 == 4", "(-(a ** 2)) == 4"),
        ("a ** b ** c == 4", "((a ** b) ** c) == 4"),
        ("a & 1 == 1", "a & (1 == 1)"),
        ("a | b ^ c & d", "a | (b ^ (c & d))"),
        ("a == b < c", "a == (b < c)"),
        ("a + 1 in [1]", "(a + 1) in [1]"),
        ("a not in [1] == true", "(a not in [1]) == true"),
        ("a % 2 / 3 == 0", "((a % 2) / 3) == 0"),
        ("a is null and b is not null or c == 1", "((a is null) and (b is not null)) or (c == 1)"),
        ("not a is null", "not (a is null)"),
        ("~a & b", "(~a) & b"),
    ],
)
def test_precedence(text: str, same: str) -> None:
    assert written(text) == written(same)


def test_many_terms_are_siblings() -> None:
    node = parse(" or ".join(f"a == {i}" for i in range(5000))).root
    assert isinstance(node, tree.Or)
    assert len(node.terms) == 5000


def test_chains_of_comparisons() -> None:
    assert written("1 < a <= 5") == ("Chain", 1, "<", "a", "<=", 5)
    assert written("5 >= a > 1") == ("Chain", 5, ">=", "a", ">", 1)
    assert written("1 < a > 5") == ("Comparison", ">", ("Comparison", "<", 1, "a"), 5)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a == 1 AND b == 2 OR NOT c == 3", "a == 1 and b == 2 or not c == 3"),
        ("a == 1 && b == 2 || ! c == 3", "a == 1 and b == 2 or not c == 3"),
        ("a IN [1] and b NOT IN [2] and c LIKE 'x'", "a in [1] and b not in [2] and c like 'x'"),
        ("EXISTS a", "exists a"),
        ("a IS NULL or b IS NOT NULL", "a is null or b is not null"),
        ("a is  not\nnull", "a is not null"),
        ("\n a\t==\r\n1 ", "a == 1"),
        ("a==1&&b==2", "a == 1 and b == 2"),
        ("f [ 'a' ] [0]==1", 'f["a"][0] == 1'),
    ],
)
def test_spellings(text: str, same: str) -> None:
    assert written(text) == written(same)


def test_paths_take_keys_and_indexes() -> None:
    assert written("""f["a"]['b\\n'][0][r"\\d"] == 1""")[2] == ("Path", "f", ("a", "b\n", 0, "\\d"))
    assert written("$meta['k'] == 1")[2] == ("Path", "$meta", ("k",))


# --- errors ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1:0 mismatched input '<EOF>'"),
        ("id ==", "line 1:5 mismatched input '<EOF>'"),
        ("id == 1 id", "line 1:8 mismatched input 'id'"),
        ("id = 1", "line 1:3 mismatched input '=' expecting <EOF>"),
        ("id == 1 And id == 2", "line 1:8 mismatched input 'And'"),
        ("id == 1\nand id ==== 2", "line 2:9 mismatched input '=='"),
        ("(id == 1", "line 1:8 mismatched input '<EOF>' expecting ')'"),
        ("id == 1)", "line 1:7 mismatched input ')'"),
        ("() and id > 1", "line 1:1 mismatched input ')'"),
        ("id in [1, 2", "line 1:11 mismatched input '<EOF>' expecting ']'"),
        ("id not [1]", "line 1:7 mismatched input '[' expecting 'in'"),
        ("text == 'abc", "line 1:8 token recognition error"),
        ("text == 'a\nb'", "line 1:8 token recognition error"),
        ("id == 089", "line 1:6 invalid octal integer 089"),
        ("id == 9223372036854775808", "line 1:6 integer 9223372036854775808 is out of the range of Int64"),
        ("id == -9223372036854775809", "line 1:7 integer 9223372036854775809 is out of the range of Int64"),
        ("id in [9223372036854775808]", "line 1:7 integer"),
        ("id in [1, 99999999999999999999999]", "line 1:10 integer"),
        ("real == 1e999", "line 1:8 number 1e999 is out of the range of Double"),
        (r"text == '\xff'", "line 1:8 string literal is not valid UTF-8"),
        (r"text == '\ud800'", "line 1:8 string literal is not valid UTF-8"),
        ("doc[''] == 1", "line 1:4 mismatched input"),
        ("doc[a] == 1", "line 1:4 mismatched input 'a' expecting a key in quotes or an index"),
        ("doc[-1] == 1", "line 1:4 mismatched input '-'"),
        ("id == {x", "line 1:8 mismatched input '<EOF>' expecting '}'"),
        ("id == {1}", "line 1:7 mismatched input '1' expecting the name of a parameter"),
        ("id == @", "line 1:6 token recognition error at: '@'"),
        ("(id + 1) is null", "line 1:9 mismatched input 'is null'"),
    ],
)
def test_syntax_errors_name_the_place(text: str, reason: str) -> None:
    assert error(text).startswith(reason)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 2000 + "id == 1" + ")" * 2000,
        "not " * 5000 + "(id == 1)",
        "-" * 5000 + "id == 1",
        "id == 1" + " + 1" * 5000,
        "[" * 3000,
        "id in " + "[" * 3000 + "]" * 3000,
        "{" * 3000,
        "f(" * 3000,
        "exists " * 3000 + "a",
        "doc" + "[0]" * 3000 + " == 1",
        "1 < " * 3000 + "id",
    ],
)
def test_nesting_is_bounded(text: str) -> None:
    error(text)


def test_the_bound_on_nesting_is_said_and_lies_beyond_hundred() -> None:
    compile_filter("(" * 100 + "id > 0" + ")" * 100, SCHEMA)
    compile_filter("not " * 100 + "(id > 0)", SCHEMA)
    assert f"nesting depth of the expression exceeds {MAX_DEPTH}" in error("(" * 200 + "id > 0" + ")" * 200)


def test_the_deepest_filter_runs_within_a_deep_caller() -> None:
    class One:
        def column(self, field_id: int) -> pa.Array:
            return pa.array([5], pa.int64())

    def call(depth: int) -> bool | None:
        if depth:
            return call(depth - 1)
        text = "not (id + 1 > 0 and " * 24 + "id > 0" + ")" * 24
        result: bool | None = compile_filter(text, SCHEMA).evaluate(One(), 1)[0].as_py()
        return result

    assert call(300) is True


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "MAX_CHARACTERS", 100)
    assert "more than the 100 allowed" in error("id == 1 " + " " * 100)


def test_an_error_shows_only_the_beginning_of_a_long_expression() -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse("id in [" + "1, " * 100_000 + "x")
    assert len(str(caught.value)) < 1500


@given(st.text(max_size=30) | st.text("idax'\"\\[](){}<>=!&|+-*/%~^,.0123456789 eEnotrandikls$", max_size=30))
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(InvalidParameter):
        compile_filter(text, SCHEMA)
