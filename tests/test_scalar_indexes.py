"""Scalar indexes: whatever the kind and the state of a row, filters answer as without one, and indexes do answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from elanus import Collection, DataType, Field, Schema
from elanus.engine.snapshot import Snapshot
from elanus.expr.compile import compile_filter
from elanus.ops.inspect import Folder
from tests.native_case import open_folder

ROWS = 400
MIN, MAX = -(2**63), 2**63 - 1

FIELDS = (
    Field("flag", DataType.BOOL, nullable=True),
    Field("tiny", DataType.INT8),
    Field("number", DataType.INT64, nullable=True),
    Field("few", DataType.INT32, nullable=True),
    Field("single", DataType.FLOAT, nullable=True),
    Field("double", DataType.DOUBLE),
    Field("text", DataType.VARCHAR, max_length=64, nullable=True),
    Field("label", DataType.VARCHAR, max_length=64),
    Field("note", DataType.JSON, nullable=True),
)
SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        *FIELDS,
    ),
    enable_dynamic_field=True,
)

JSON_INDEXES = [
    {"json_path": "note['n']", "json_cast_type": "DOUBLE"},
    {"json_path": "note['s']", "json_cast_type": "VARCHAR"},
    {"json_path": "note['b']", "json_cast_type": "BOOL"},
    {"json_path": "note['in']['side'][0]", "json_cast_type": "DOUBLE"},
    {"json_path": "note['big']", "json_cast_type": "DOUBLE"},
]

TEXTS = ["", "a", "ab", "abc", "b", "ba", "zürich", "zz", "中文", "中文字", "\U0001f600", "\U0010ffff", "a%b"]
NUMBERS = [MIN, MIN + 1, -1, 0, 1, 2, 2**53, 2**53 + 1, MAX - 1, MAX]

FILTERS = [
    "flag == true", "flag != true", "not (flag == false)", "flag in [true]",
    "tiny == 3", "tiny > 100", "tiny >= -128", "tiny != 0", "tiny in [1, 2, 3, 300]", "tiny < 0 and tiny > -3",
    f"number == {MAX}", f"number == {MIN + 1}", f"number > {MAX - 1}", f"number <= {MIN + 1}", "number in [0, 1, 2]",
    f"number > {2**53} and number < {2**53 + 2}", "number != 0", "number == 1.5", "number > 0.5", "number is null",
    "not (number in [0, 1])", "number > 5 or number < -5", "few == 7", "few in [1, 2, 3, 4, 5]", "few > 45",
    "few < 3 or text == 'abc'", "few >= 10 and few < 12 and flag == true",
    "single == 0.5", "single > 1e38", "single in [0.0, 0.25]", "single == 0.1", "double == 0.0", "double < -1e300",
    "double in [0, 1.5]", "double > 0 and double <= 1.5", "double != 1.5",
    "text == ''", "text == 'abc'", "text > 'abc'", "text <= 'b'", "text != 'a'", "text in ['a', '', '中文', 'nowhere']",
    "text like 'ab%'", "text like '%'", "text like 'a\\\\%%'", "text like '中%'", "text like '%c'", "text like '%b%'",
    "text like 'a_c'", "text like '\U0010ffff%'", "text like 'abc'", "text is not null", "not (text like 'a%')",
    "text >= 'b' and text < 'c'", "label == 'row 7'", "label like 'row 1%'", "label like '%99'", "label > 'row 2'",
    "label in ['row 1', 'row 2', 'row 3', 'row 1']",
    "note['n'] > 5", "note['n'] == 3", "note['n'] != 3", "note['n'] in [1, 2.5, 3]", "note['n'] in [1, 'x']",
    "note['n'] == 'x'", "note['n'] == true", "not (note['n'] < 4)", "note['n'] > 1 and note['n'] < 3",
    "note['s'] == 'abc'", "note['s'] like 'ab%'", "note['s'] in ['a', 'zz']", "note['s'] > 'b'", "note['s'] == 1",
    "note['b'] == true", "note['b'] in [false]", "note['b'] != true", "note['in']['side'][0] >= 2",
    f"note['big'] == {2**53 + 1}", f"note['big'] < {MAX}", "note['n'] is null", "exists note['n']",
    "colour == 'red'", "colour in ['red', 'blue']", "$meta['colour'] != 'red'", "colour == 3",
    "id in [1, 2, 3] and few == 7", "few == 7 and text == 'a' and label like 'row%'",
]  # fmt: skip


def a_row(random: Random, key: int) -> dict[str, Any]:
    def maybe(value: Any) -> Any:
        return None if random.random() < 0.2 else value

    note: Any = {
        "n": random.choice([0, 1, 2, 2.5, 3, 10, "x", True, None, [1]]),
        "s": random.choice([*TEXTS, 1, None]),
        "b": random.choice([True, False, "x", 0]),
        "in": {"side": random.choice([[1], [2, 3], [], "x"])},
        "big": random.choice([1, 2**53, 2**53 + 1, MAX, 0.5]),
    }
    for name in list(note):
        if random.random() < 0.2:
            del note[name]
    row = {
        "id": key,
        "vector": [float(key), 1.0],
        "flag": maybe(random.random() < 0.5),
        "tiny": random.randint(-128, 127),
        "number": maybe(random.choice([*NUMBERS, random.randint(-1000, 1000)])),
        "few": maybe(random.randint(0, 50)),
        "single": maybe(random.choice([0.0, -0.0, 0.1, 0.25, 0.5, 3e38, random.random()])),
        "double": random.choice([0.0, -0.0, 1.5, -1e308, 1e308, 5e-324]),
        "text": maybe(random.choice(TEXTS)),
        "label": f"row {key}",
        "note": maybe(note),
    }
    if random.random() < 0.7:
        row["colour"] = random.choice(["red", "blue", "", 3, None])
    return row


KINDS = ["INVERTED", "STL_SORT", "BITMAP", "Trie", "AUTOINDEX"]

TAKES = {
    "INVERTED": {f.name for f in FIELDS},
    "AUTOINDEX": {f.name for f in FIELDS},
    "STL_SORT": {"tiny", "number", "few", "single", "double", "text", "label"},
    "BITMAP": {"flag", "tiny", "number", "few", "text", "label"},
    "Trie": {"text", "label"},
}


def define(collection: Collection, kind: str) -> None:
    for f in FIELDS:
        if f.name in TAKES[kind] and f.dtype is not DataType.JSON:
            collection.create_index(f.name, kind)
    if "note" in TAKES[kind]:
        for params in JSON_INDEXES:
            collection.create_index("note", kind, params=params)
        collection.create_index("colour", kind, params={"json_cast_type": "VARCHAR"})


class Pair:
    """A collection with indexes and one without, that hold the same rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = open_folder(folder)
        self.collections = [self.db.create_collection(name, SCHEMA) for name in ("indexed", "plain")]

    @property
    def indexed(self) -> Collection:
        return self.collections[0]

    def each(self, method: str, *arguments: Any, **named: Any) -> None:
        for collection in self.collections:
            getattr(collection, method)(*arguments, **named)

    def reopen(self) -> None:
        self.db.close()
        self.db = open_folder(self.folder)
        self.collections = [self.db.collection(name) for name in ("indexed", "plain")]

    def check(self) -> int:
        """Both answer alike; returns how many filters an index had a part in."""
        for text in FILTERS:
            indexed, plain = (c.query(text, output_fields=["id"]).column("id").to_pylist() for c in self.collections)
            assert indexed == plain, text
        return answered(self)

    def close(self) -> None:
        self.db.close()


def snapshot_of(pair: Pair) -> Snapshot:
    return pair.db._instance.collection(pair.db._ctx, "indexed").snapshot()


def answered(pair: Pair) -> int:
    count = 0
    for text in FILTERS:
        for unit in snapshot_of(pair).sealed:
            heard: list[Any] = []

            def ask(node: Any, indexed: Any = unit.indexed, heard: list[Any] = heard) -> Any:
                answer = indexed(node) if indexed is not None else None
                heard.append(answer)
                return answer

            compile_filter(text, snapshot_of(pair).manifest.schema).evaluate(unit.view, unit.view.rows, ask)
            count += any(answer is not None for answer in heard)
    return count


@pytest.fixture
def pair(quick_path: Path) -> Iterator[Pair]:
    made = Pair(quick_path / "db")
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_filters_answer_alike_with_an_index_and_without_in_every_state(pair: Pair, kind: str) -> None:
    random = Random(kind)
    define(pair.indexed, kind)
    pair.each("insert", [a_row(random, key) for key in range(ROWS)])
    assert pair.check() == 0
    pair.each("flush")
    pair.indexed.wait_for_indexes()
    least = {"INVERTED": 60, "AUTOINDEX": 60, "STL_SORT": 35, "BITMAP": 30, "Trie": 15}[kind]
    assert pair.check() >= least
    pair.each("delete", filter="id % 7 == 3")
    pair.each("upsert", [a_row(random, key) for key in range(0, ROWS, 5)])
    assert pair.check() >= least
    pair.each("insert", [a_row(random, key) for key in range(ROWS, ROWS + 100)])
    pair.each("flush")
    pair.indexed.wait_for_indexes()
    assert pair.check() >= least
    pair.each("compact")
    assert len(snapshot_of(pair).sealed) == 1
    assert pair.check() >= least
    pair.reopen()
    assert pair.check() >= least
    assert not list(Folder(pair.folder).damages())
