"""Indexes of JSON paths: what their arrays contain, whether there is something, and numbers that are no doubles."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elanus import Collection, DataType, Field, InvalidParameter, Schema
from elanus.expr.compile import compile_filter
from elanus.segment.blocks import wrap_payload
from elanus.segment.column import write_column
from elanus.segment.indexed import IndexFile, IndexOf, build
from elanus.store.header import FileKind
from tests.filter_cases import KEYS, json_objects, json_texts, json_values
from tests.native_case import Pair, asked_index

MIN, MAX = -(2**63), 2**63 - 1
SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        Field("note", DataType.JSON, nullable=True),
    ),
    enable_dynamic_field=True,
)
CASTS = {
    "note['flags']": "ARRAY_BOOL",
    "note['nums']": "ARRAY_DOUBLE",
    "note['bigs']": "ARRAY_DOUBLE",
    "note['in']['texts']": "ARRAY_VARCHAR",
    "note['big']": "DOUBLE",
    "tags": "ARRAY_VARCHAR",
}
TEXTS = ["", "a", "ab", "zürich", "\U0010ffff", 'q"\n', *(f"t{i}" for i in range(150))]
LARGE = [MIN, MIN + 1, -(2**53) - 1, 2**53, 2**53 + 1, 2**53 + 2, MAX - 1, MAX, 2.0**63, 1e300, 0.5, 3]
ARRAYS: dict[str, list[Any]] = {
    "flags": [True, False, 1, "true"],
    "nums": [0, -0.0, 1, 1.0, 2.5, -3, 1e300, *range(150), "1", True, None, [1], {"a": 1}],
    "bigs": [*LARGE, 2.0**53, "x"],
    "texts": [*TEXTS, 1, None, ["a"]],
}

ASKED = {  # the filter, and the index that answers it
    "json_contains(note['flags'], true)": "note/flags",
    "json_contains_all(note['flags'], [true, false])": "note/flags",
    "json_contains_any(note['flags'], [true, 1])": "",
    "not json_contains(note['flags'], false)": "note/flags",
    "json_contains(note['nums'], 1)": "note/nums",
    "json_contains(note['nums'], 0.0)": "note/nums",
    "array_contains(note['nums'], 2.5)": "note/nums",
    "json_contains(note['nums'], '1')": "",
    "json_contains(note['nums'], true)": "",
    "json_contains(note['nums'], [1])": "",
    "json_contains_all(note['nums'], [1, 1.0, 7])": "note/nums",
    "json_contains_all(note['nums'], [1, 9007199254740993])": "note/nums",
    "json_contains_any(note['nums'], [1000, 7, 8])": "note/nums",
    "json_contains_any(note['nums'], [])": "",
    "json_contains_all(note['nums'], [])": "",
    "json_contains(note['bigs'], 9007199254740993)": "note/bigs",
    "json_contains(note['bigs'], 9007199254740992)": "note/bigs",
    "json_contains(note['bigs'], 9223372036854775807)": "note/bigs",
    "json_contains(note['bigs'], 9223372036854775808.0)": "note/bigs",
    "json_contains_all(note['bigs'], [9007199254740993, -9223372036854775807])": "note/bigs",
    "json_contains(note['in']['texts'], 'zürich')": "note/in/texts",
    "json_contains_any(note['in']['texts'], ['', 't7', 'nowhere'])": "note/in/texts",
    "json_contains_all(note['in']['texts'], ['t1', 'a'])": "note/in/texts",
    "json_contains(tags, 't7')": "$meta/tags",
    "exists note['flags']": "note/flags",
    "not exists note['big']": "note/big",
    "note['in']['texts'] is null": "note/in/texts",
    "note['nums'] is not null and json_contains(note['nums'], 3)": "note/nums",
    "exists note['in']": "",
    "exists tags": "$meta/tags",
    "note['big'] == 9007199254740993": "note/big",
    "note['big'] == 9007199254740992.0": "note/big",
    "note['big'] > 9007199254740992": "note/big",
    "note['big'] >= 9223372036854775807": "note/big",
    "note['big'] < -9223372036854775807": "note/big",
    "note['big'] != 9223372036854775806": "note/big",
    "note['big'] in [9007199254740993, 9223372036854775807, 0.5, 3.0]": "note/big",
    "note['big'] > 9007199254740992 and note['big'] < 9007199254740994": "note/big",
    "not (note['big'] <= 1e300)": "note/big",
    "note['nums'] == 1": "",
    "note['nums'][0] == 1": "",
    "array_length(note['nums']) == 2": "",
}


def a_row(random: Random, key: int) -> dict[str, Any]:
    def an_array(name: str) -> Any:
        return random.choice([[], "x", None, *([random.choices(ARRAYS[name], k=random.randint(1, 6))] * 7)])

    note: dict[str, Any] = {name: an_array(name) for name in ("flags", "nums", "bigs")}
    note |= {"in": {"texts": an_array("texts")}, "big": random.choice([*LARGE, "x", None, True])}
    for name in list(note):
        if random.random() < 0.1:
            del note[name]
    row: dict[str, Any] = {"id": key, "vector": [1.0, 0.0], "note": note if random.random() < 0.9 else None}
    if random.random() < 0.8:
        row["tags"] = an_array("texts")
    return row


def with_indexes(collection: Collection, kind: str) -> dict[str, str]:
    """Define the indexes; returns the one that is asked for each filter, empty for none."""
    if kind == "JSON":
        collection.create_index("note", "INVERTED", params={"json_path": "note", "json_cast_type": "JSON"})
        asked = {text: "note" if name.startswith("note") else "" for text, name in ASKED.items()}
        also = ("json_contains(note['nums'], '1')", "json_contains(note['nums'], true)", "exists note['in']")
        return asked | dict.fromkeys(also, "note")
    for path, cast in CASTS.items():
        field = path.partition("[")[0]
        if kind == "INVERTED" or not cast.startswith("ARRAY"):
            collection.create_index(field, kind, params={"json_path": path, "json_cast_type": cast})
    built = {index.name for index in collection.list_indexes()}
    return {text: name if name in built else "" for text, name in ASKED.items()}


@pytest.mark.parametrize("kind", ["INVERTED", "STL_SORT", "JSON"])
def test_paths_are_answered_alike_with_an_index_and_without(quick_path: Path, kind: str) -> None:
    random = Random(kind)
    with closing(Pair(quick_path / "db", SCHEMA)) as pair:
        expected = with_indexes(pair.indexed, kind)
        pair.each("upsert", [a_row(random, key) for key in range(400)])
        pair.each("flush")
        pair.indexed.wait_for_indexes()
        pair.each("upsert", [a_row(random, key) for key in range(350, 430)])
        pair.agree(ASKED)
        pair.each("delete", filter="id % 7 == 3")
        pair.each("compact")
        pair.agree(ASKED)
        pair.reopen()
        assert {text: asked_index(pair.indexed, text) for text in ASKED} == expected
        pair.agree(ASKED)


ASKED_OF = [
    "{} == 0", "{} == 9007199254740993", "{} > 9007199254740992", "{} <= -1.5", "{} in [1, 2.5, -9223372036854775808]",
    "{} == 'a'", "{} like 'a%'", "{} != true", "{} in [false]", "{} > -5 and {} < 9007199254740993", "exists {}",
    "{} is null", "json_contains({}, 1)", "json_contains_all({}, ['a', ''])", "json_contains_any({}, [true])",
    "json_contains({}, 9007199254740993)", "json_contains_all({}, [0, 0.0])", "not ({} < 0)",
]  # fmt: skip
CAST_TYPES = ["BOOL", "DOUBLE", "VARCHAR", "ARRAY_BOOL", "ARRAY_DOUBLE", "ARRAY_VARCHAR", "JSON"]
paths = st.lists(st.sampled_from([*KEYS, "none", 0]), min_size=1, max_size=2).map(tuple)


@settings(max_examples=80)
@given(
    st.lists(st.none() | json_texts(json_values | json_objects), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(KEYS)), max_size=4),
    st.sampled_from(CAST_TYPES), paths, st.data(),
)  # fmt: skip
def test_what_an_index_of_a_path_answers_is_what_the_texts_say(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[bytes | None],
    doubled: list[tuple[int, str]],
    cast: str,
    steps: tuple[str | int, ...],
    data: st.DataObject,
) -> None:
    held = list(texts)
    for row, key in doubled:  # keys that stand twice, of which the first counts
        text = held[row % len(held)]
        if text is not None and text.strip().startswith(b"{"):
            other = json.dumps({key: data.draw(json_values)})[1:-1].encode()
            rest = text.strip()[1:]
            held[row % len(held)] = b"{" + other + (b"" if rest.strip() == b"}" else b",") + rest
    column = pa.array(held, pa.large_binary())
    field = SCHEMA.checked().field("note")
    below = steps[: data.draw(st.integers(0, len(steps)))] if cast == "JSON" else steps
    folder = tmp_path_factory.mktemp("index")
    of = IndexOf("INVERTED", {"json_cast_type": cast}, field.id, below)
    assert write_column(folder / "column", field.id, column)
    build(of.to_arguments(folder / "column", folder / "bare"), lambda _: None)
    wrap_payload(folder / "bare", folder / "index", FileKind.INDEX, field.id)
    index = IndexFile(of, "index", len(column), folder.joinpath, lambda _: column, pytest.fail)

    class Columns:
        def column(self, field_id: int) -> pa.Array:
            return column

    for form in ASKED_OF:
        path = "note" + "".join(f"[{json.dumps(step, ensure_ascii=False)}]" for step in steps)
        condition = compile_filter(form.replace("{}", path), SCHEMA.checked())
        scanned = condition.evaluate(Columns(), len(column))
        assert condition.evaluate(Columns(), len(column), index.answer).equals(scanned), (form, path, held)


@pytest.mark.parametrize("listed", ["ISO '2025-01-01T00:00:00Z'", "[1, ISO '2025-01-01T00:00:00Z']"])
def test_json_has_no_times_to_look_for(listed: str) -> None:
    with pytest.raises(InvalidParameter, match="a JSON value is no Timestamptz"):
        compile_filter(f"json_contains(note['nums'], {listed})", SCHEMA.checked())
