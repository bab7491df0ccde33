"""Values come out of JSON texts as Python's json reads them, and texts that json refuses are refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elanus.expr.json_check import MAX_NESTING
from elanus.expr.json_path import Kind, extract, validate
from tests.filter_cases import KEYS, json_objects, json_texts


def column(*texts: bytes | None) -> pa.LargeBinaryArray:
    return pa.array(texts, pa.large_binary())


def read(text: bytes | None, *path: str | int) -> Any:
    """The value at `path`: Ellipsis when missing, [] and {} for any array and object."""
    found = extract(column(b"[0]", text, b"{}"), path)
    kind = Kind(found.kinds[1])
    return {
        Kind.MISSING: ...,
        Kind.NULL: None,
        Kind.BOOL: bool(found.ints[1]),
        Kind.INT: int(found.ints[1]),
        Kind.DOUBLE: float(found.doubles[1]),
        Kind.STRING: found.strings[1].as_py(),
        Kind.ARRAY: [],
        Kind.OBJECT: {},
    }[kind]


def expected(text: bytes, path: tuple[str | int, ...]) -> Any:
    value = json.loads(text, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    for step in path:
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return ...
        elif not isinstance(value, list) or step >= len(value):
            return ...
        value = value[step]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return float(value)
    return [] if isinstance(value, list) else {} if isinstance(value, dict) else value


paths = st.lists(st.sampled_from(KEYS) | st.integers(0, 2), max_size=3).map(tuple)


@settings(max_examples=200)
@given(json_texts(), paths)
def test_paths_read_what_python_reads(text: bytes, path: tuple[str | int, ...]) -> None:
    found, wanted = read(text, *path), expected(text, path)
    assert found == wanted
    assert type(found) is type(wanted)


@settings(max_examples=300)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.decimals(allow_nan=False, allow_infinity=False, places=5))
@example(5e-324)
@example(1.7976931348623157e308)
@example(2.2250738585072014e-308)
@example(9007199254740993.0)
def test_doubles_are_read_to_the_last_bit(value: Any) -> None:
    for text in (str(value), f"{float(value):.20e}", f"{float(value):.17g}"):
        if "." not in text and "e" not in text:
            text += ".0"
        found = read(f'{{"x": {text}}}'.encode(), "x")
        assert found == float(text)
        assert math.copysign(1, found) == math.copysign(1, float(text))


@pytest.mark.parametrize(
    "number",
    [
        0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**18, 10**19 - 1, 922337203685477580,
        9223372036854775799, 9223372036854775800, 10**30,
    ],
)  # fmt: skip
def test_integers_are_exact_over_all_of_int64(number: int) -> None:
    wanted: int | float = number if -(2**63) <= number < 2**63 else float(number)
    found = read(str(number).encode())
    assert found == wanted
    assert type(found) is type(wanted)


def test_numbers_beyond_every_double_are_infinite() -> None:
    assert read(b"1e999") == math.inf
    assert read(b"-1e999") == -math.inf
    assert read(b"1e-999") == 0
    assert read(b"1e99999999999999999999") == math.inf


def test_keys_and_strings_are_compared_once_their_escapes_are_read() -> None:
    assert read(rb'{"\u0061\n": 1}', "a\n") == 1
    assert read(rb'{"\ud83d\ude00": "\ud83d\ude00\"\\\/\b\f\n\r\t"}', "😀") == '😀"\\/\b\f\n\r\t'
    assert read('{"é": "日本"}'.encode(), "é") == "日本"
    assert read(rb'{"\u00e9x": 1, "\u00e9": 2}', "é") == 2
    assert read(rb'{"ab": 1, "a": 2, "": 3}', "a") == 2


def test_brackets_and_quotes_within_strings_are_text() -> None:
    assert read(rb'{"x": "]}\"[{,", "y": [1, "]", {"z": "}"}, 5]}', "y", 3) == 5


def test_long_strings_are_passed_over() -> None:
    for length in range(40):
        text = b'{"%b": "%b\\"%b", "k": %d}' % (b"q" * length, b"x" * length, b"y" * (37 - length % 37), length)
        assert read(text, "k") == length


def test_of_equal_keys_the_first_counts() -> None:
    assert read(b'{"a": 1, "a": 2}', "a") == 1


def test_null_rows_are_missing_and_slices_are_respected() -> None:
    whole = column(b'{"a": 1}', None, b'{"a": "x"}', b'{"a": 2.5}', None, b'{"a": true}')
    found = extract(whole.slice(1, 4), ("a",))
    assert found.kinds.tolist() == [Kind.MISSING, Kind.STRING, Kind.DOUBLE, Kind.MISSING]
    assert found.strings.to_pylist() == [None, "x", None, None]
    assert found.doubles[2] == 2.5


def test_unaligned_buffers_are_read_too() -> None:
    texts = [b'{"a": %d, "b": "%b"}' % (i, b"x" * i) for i in range(50)]
    packed = column(*texts)
    shifted = pa.py_buffer(b"?" + b"".join(texts)).slice(1)
    moved = pa.Array.from_buffers(pa.large_binary(), 50, [None, packed.buffers()[1], shifted])
    assert extract(moved, ("a",)).ints.tolist() == list(range(50))
    assert validate(moved) == -1


def test_deep_documents_neither_recurse_nor_confuse() -> None:
    deep = b"[" * 30_000 + b"1" + b"]" * 30_000
    assert read(b'{"x": ' + deep + b', "y": 2}', "y") == 2
    assert read(deep, 0, 0, 0) == []
    assert validate(column(deep)) == 0


@settings(max_examples=300)
@given(st.binary(max_size=40) | st.text('{}[]",:\\u0123456789truefalsn -.eE', max_size=40).map(str.encode), paths)
def test_broken_texts_are_read_without_harm(text: bytes, path: tuple[str | int, ...]) -> None:
    for shown in (text, b'{"a": ' + text, b'{"a"' + text + b"}"):
        read(shown, *path)


# --- validation ---


def accepts(text: bytes) -> bool:
    """Whether RFC 8259 does, in UTF-8, without halves of surrogate pairs and NaN, which Python lets through."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        value = json.loads(text.decode(), parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return not text.startswith(b"\xef\xbb\xbf")


@settings(max_examples=300)
@given(json_texts())
def test_valid_texts_pass(text: bytes) -> None:
    assert validate(column(text, text)) == -1


_fragments = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", ",", ":", '"', '"a"', '"\\n"', '"\\u00e9"', '"\\ud83d\\ude00"', '"\\ud83d"', "\\", "1",
         "-", "0", "01", "1.5", ".5", "1.", "1e5", "1e", "true", "tru", "null", "false",
         "NaN", " ", "\n", "é", '"é"', "\t", '"\t"']
    ), max_size=8,
).map(lambda parts: "".join(parts).encode())  # fmt: skip


@settings(max_examples=500)
@given(_fragments | st.binary(max_size=12) | st.binary(max_size=4).map(lambda b: b'"' + b + b'"'))
def test_texts_are_accepted_exactly_when_python_accepts_them(text: bytes) -> None:
    assert (validate(column(b"{}", text)) == -1) == accepts(text)


@settings(max_examples=200)
@given(json_texts(), st.data())
def test_damaged_texts_are_judged_as_python_judges_them(text: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.sampled_from(list(b'"{}[],:\\ 0a-\x00\x80\xff\xc3')))
    damaged = text[:at] + bytes([byte]) + text[at + 1 :]
    for shown in (damaged, text[:at]):
        assert (validate(column(shown)) == -1) == accepts(shown)


def test_the_first_invalid_row_is_named() -> None:
    assert validate(column(b"1", None, b"{", b"{")) == 2
    assert validate(column(b"{}", b"[]"), require_object=True) == 1
    assert validate(column(b' {"a": [1]} ', None, b"{}"), require_object=True) == -1
    assert validate(column(b"")) == 0
    assert validate(column()) == -1
    assert validate(column(None, None)) == -1


@given(json_texts(json_objects))
def test_objects_pass_where_objects_are_required(text: bytes) -> None:
    assert validate(column(text), require_object=True) == -1


def test_nesting_is_bounded() -> None:
    assert validate(column(b"[" * MAX_NESTING + b"]" * MAX_NESTING)) == -1
    assert validate(column(b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1))) == 0
    assert validate(column(b'{"a":' * MAX_NESTING + b"1" + b"}" * MAX_NESTING)) == -1
    assert validate(column(b"[" * 60_000)) == 0


def test_numba_is_loaded_only_when_json_is_met() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from elanus.expr.compile import compile_filter; from elanus.expr import json_path;"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
