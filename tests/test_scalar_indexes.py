"""Scalar indexes: whatever the kind and the state of a row, filters answer as without one, and indexes do answer."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus import Collection, DataType, Elanus, Field, Schema
from elanus.engine.builders import BuildFailed, BuildJob, BuildResult, FixedBudget, InlineBuilders, ProcessBuilders
from elanus.engine.snapshot import Snapshot
from elanus.expr.compile import compile_filter
from elanus.ops.inspect import Folder
from elanus.scalar.registry import module_of
from elanus.scalar.sections import Source
from elanus.service.indexes import IndexState
from elanus.service.instance import Instance
from tests.native_case import QUIET, Pair, until

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
    "text like 'ab%'", "text like '%'", "text like 'a\\\\%%'", "text like '中%'",
    "label like '%ow 1%'", "label like 'row%7'", "label like '%w _9%'", "label like '%nowhere%'", "label like '%文%'",
    "text like '%ürich'", "text like '%文字%'", "text like '%ab_'", "note['s'] like '%bc%'", "text like '%c'",
    "text like '%b%'", "text =~ 'b|文'", "label =~ '^row [12]+$'", "starts_with(text, 'ab')", "empty(text)",
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


KINDS = ["INVERTED", "STL_SORT", "BITMAP", "Trie", "NGRAM", "AUTOINDEX"]

TAKES = {
    "INVERTED": {f.name for f in FIELDS},
    "AUTOINDEX": {f.name for f in FIELDS},
    "STL_SORT": {"tiny", "number", "few", "single", "double", "text", "label"},
    "BITMAP": {"flag", "tiny", "number", "few", "text", "label"},
    "Trie": {"text", "label"},
    "NGRAM": {"text", "label"},
}


def define(collection: Collection, kind: str) -> None:
    grams = {"min_gram": 2, "max_gram": 3} if kind == "NGRAM" else {}
    for f in FIELDS:
        if f.name in TAKES[kind] and f.dtype is not DataType.JSON:
            collection.create_index(f.name, kind, params=grams)
    if kind == "NGRAM":
        collection.create_index("note", kind, params={**JSON_INDEXES[1], **grams})
    if "note" in TAKES[kind]:
        for params in JSON_INDEXES:
            collection.create_index("note", kind, params=params)
        collection.create_index("colour", kind, params={"json_cast_type": "VARCHAR"})


def snapshot_of(pair: Pair) -> Snapshot:
    return pair.db._instance.collection(pair.db._ctx, "indexed").snapshot()


def check(pair: Pair) -> int:
    """Both answer alike; returns how many filters an index had a part in."""
    pair.agree(FILTERS)
    return answered(pair)


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
    made = Pair(quick_path / "db", SCHEMA)
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_filters_answer_alike_with_an_index_and_without_in_every_state(pair: Pair, kind: str) -> None:
    random = Random(kind)
    define(pair.indexed, kind)
    pair.each("insert", [a_row(random, key) for key in range(ROWS)])
    pair.each("flush")
    pair.indexed.wait_for_indexes()
    least = {"INVERTED": 60, "AUTOINDEX": 60, "STL_SORT": 35, "BITMAP": 30, "Trie": 15, "NGRAM": 8}[kind]
    assert check(pair) >= least
    pair.each("delete", filter="id % 7 == 3")
    pair.each("upsert", [a_row(random, key) for key in range(0, ROWS, 5)])
    pair.each("insert", [a_row(random, key) for key in range(ROWS, ROWS + 100)])
    pair.each("flush")
    pair.indexed.wait_for_indexes()
    pair.each("insert", [a_row(random, key) for key in range(ROWS + 100, ROWS + 150)])
    assert check(pair) >= least
    pair.each("compact")
    assert len(snapshot_of(pair).sealed) == 1
    pair.reopen()
    assert check(pair) >= least
    assert not list(Folder(pair.folder).damages())


def test_an_index_tells_how_far_it_is(pair: Pair) -> None:
    collection = pair.indexed
    collection.insert([a_row(Random(1), key) for key in range(50)])
    collection.create_index("number", "STL_SORT")
    assert (collection.describe_index("number").state, collection.describe_index("number").indexed_rows) == (
        IndexState.FINISHED,
        50,
    )
    collection.flush()
    collection.insert([a_row(Random(1), key) for key in range(50, 53)])
    waiting = collection.describe_index("number")
    assert (waiting.state, waiting.total_rows, waiting.indexed_rows) == (IndexState.IN_PROGRESS, 53, 3)
    collection.wait_for_indexes()
    done = collection.describe_index("number")
    assert (done.state, done.total_rows, done.indexed_rows) == (IndexState.FINISHED, 53, 53)


def test_a_plan_names_the_indexes_that_are_asked(pair: Pair) -> None:
    collection = pair.indexed
    collection.create_index("label", "INVERTED", name="by_label")
    collection.create_index("few", "BITMAP")
    random = Random(1)
    collection.insert([a_row(random, key) for key in range(50)])
    collection.flush()

    def plan(text: str) -> str:
        return str(collection.explain([1.0, 0.0], filter=text))

    assert "asking" not in plan("label == 'row 7'")
    collection.wait_for_indexes()
    assert 'label == "row 7", asking index by_label\n' in plan("label == 'row 7'")
    assert ", asking indexes by_label, few" in plan("label == 'row 7' and few == 3 and tiny > 0")
    assert "asking" not in plan("tiny > 0")
    assert "asking" not in plan("id == 7 and label == 'row 7'")


def test_an_index_file_goes_with_its_index_and_is_not_taken_for_another(pair: Pair) -> None:
    collection = pair.indexed
    collection.insert([a_row(Random(1), key) for key in range(50)])
    collection.flush()
    collection.create_index("few", "INVERTED", name="mine")
    collection.wait_for_indexes()
    assert snapshot_of(pair).sealed[0].indexed is not None
    collection.drop_index("mine")
    assert snapshot_of(pair).sealed[0].indexed is None
    collection.create_index("tiny", "INVERTED", name="mine")
    assert collection.count("tiny == 3 or few == 3") == collection.count("few == 3 or tiny == 3")
    assert snapshot_of(pair).sealed[0].indexed is None
    collection.wait_for_indexes()
    assert snapshot_of(pair).sealed[0].indexed is not None


def test_a_field_that_was_added_later_has_no_file_where_rows_have_no_value(pair: Pair) -> None:
    pair.each("insert", [a_row(Random(1), key) for key in range(50)])
    pair.each("flush")
    pair.each("add_field", Field("later", DataType.INT64, nullable=True, default=5))
    pair.indexed.create_index("later", "STL_SORT")
    pair.indexed.wait_for_indexes()
    assert pair.indexed.describe_index("later").state is IndexState.FINISHED
    assert pair.indexed.count("later == 5") == 50
    pair.each("insert", [{**a_row(Random(1), key), "later": key} for key in range(50, 70)])
    pair.each("flush")
    pair.indexed.wait_for_indexes()
    assert pair.indexed.count("later > 60") == 9
    pair.each("compact")
    assert pair.indexed.count("later == 5") == 50
    assert [unit.indexed is not None for unit in snapshot_of(pair).sealed] == [True]


@pytest.mark.parametrize("damage", ["cut", "changed", "of other data"])
def test_a_damaged_index_file_is_left_aside_and_named(
    pair: Pair, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    collection = pair.indexed
    collection.create_index("few", "INVERTED")
    collection.create_index("tiny", "INVERTED")
    random = Random(1)
    collection.insert([a_row(random, key) for key in range(50)])
    collection.flush()
    expected = collection.query("few > 10", output_fields=["id"]).column("id").to_pylist()
    collection.wait_for_indexes()
    (entry,) = snapshot_of(pair).manifest.segments.values()
    key, other = (entry.indexes[collection.describe_index(name).id] for name in ("few", "tiny"))
    path = pair.folder / "store" / key
    path.chmod(0o644)
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        path.write_bytes(data[:20] + b"\xff" + data[21:])
    else:
        path.write_bytes((pair.folder / "store" / other).read_bytes())
    for _ in range(2):
        assert collection.query("few > 10", output_fields=["id"]).column("id").to_pylist() == expected
    assert [r.levelname for r in caplog.records if "left aside" in r.message and path.name in r.message] == ["WARNING"]
    if damage != "of other data":
        assert any(path.name in str(error) for error in Folder(pair.folder).damages())
    collection.drop_index("few")
    collection.create_index("few", "INVERTED")
    collection.wait_for_indexes()
    assert collection.query("few > 10", output_fields=["id"]).column("id").to_pylist() == expected
    assert "asking index few" in str(collection.explain([1.0, 0.0], filter="few == 3"))


def test_a_builder_that_is_killed_costs_nothing_but_time(quick_path: Path) -> None:
    builders = ProcessBuilders(FixedBudget(1 << 30))
    db = Elanus(Instance.open(quick_path / "db", QUIET, builders=builders))
    try:
        collection = db.create_collection("killed", SCHEMA)
        collection.create_index("label", "INVERTED")
        collection.insert([a_row(Random(1), key) for key in range(50)])
        collection.flush()
        killed = threading.Event()

        def kill() -> None:
            until(lambda: bool(builders.pids))
            os.kill(builders.pids[0], signal.SIGKILL)
            killed.set()

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(BuildFailed, match="SIGKILL"):
            collection.wait_for_indexes()
        killer.join()
        assert collection.describe_index("label").state is IndexState.IN_PROGRESS
        assert collection.count("label == 'row 7'") == 1
        collection.wait_for_indexes()
        assert collection.describe_index("label").state is IndexState.FINISHED
        assert collection.count("label == 'row 7'") == 1
        assert "asking index label" in str(collection.explain([1.0, 0.0], filter="label == 'row 7'"))
    finally:
        db.close()


def test_a_collection_that_is_dropped_while_its_index_is_built_is_not_built_again(quick_path: Path) -> None:
    class Dropping(InlineBuilders):
        built = 0

        def run(self, job: BuildJob, *rest: Any) -> BuildResult:
            self.built += 1
            assert self.built == 1
            done = super().run(job, *rest)
            db.drop_collection("dropped")
            return done

    builders = Dropping()
    with Elanus(Instance.open(quick_path / "db", QUIET, builders=builders)) as db:
        collection = db.create_collection("dropped", SCHEMA)
        collection.create_index("label", "INVERTED")
        collection.insert([a_row(Random(1), key) for key in range(50)])
        collection.flush()
        collection.wait_for_indexes()
    assert builders.built == 1


COLUMNS: dict[DataType, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    DataType.INT8: (st.integers(-128, 127), pa.int8()),
    DataType.INT64: (st.one_of(st.integers(-3, 3), st.integers(MIN, MAX)), pa.int64()),
    DataType.DOUBLE: (st.one_of(st.sampled_from([0.0, -0.0, 1.5]), st.floats(allow_nan=False)), pa.float64()),
    DataType.FLOAT: (st.floats(allow_nan=False, allow_infinity=False, width=32), pa.float32()),
    DataType.VARCHAR: (st.text("ab%_ü文\U0010ffff", max_size=4), pa.large_string()),
    DataType.BOOL: (st.booleans(), pa.bool_()),
}


@st.composite
def asked_columns(draw: st.DrawFn) -> tuple[pa.Array, str, Field]:
    dtype = draw(st.sampled_from(list(COLUMNS)))
    values, arrow = COLUMNS[dtype]
    held = draw(st.lists(st.none() | values, min_size=1, max_size=40))
    some = st.sampled_from([v for v in held if v is not None] or [draw(values)]) | values

    def literal() -> str:
        return json.dumps(draw(some), ensure_ascii=False)

    order = ["==", "!="] + ([] if dtype is DataType.BOOL else ["<", "<=", ">", ">="])
    forms = [
        lambda: f"f {draw(st.sampled_from(order))} {literal()}",
        lambda: f"f in [{literal()}, {literal()}, {literal()}]",
    ]
    if dtype is DataType.VARCHAR:
        pattern = st.text("ab%_ü文\U0010ffff", max_size=4)
        forms.append(lambda: f"f like {json.dumps(draw(pattern), ensure_ascii=False)}")
    terms = [draw(st.sampled_from(forms))() for _ in range(draw(st.integers(1, 3)))]
    text = f" {draw(st.sampled_from(['and', 'or']))} ".join(terms)
    return (
        pa.array(held, arrow),
        draw(st.sampled_from([text, f"not ({text})"])),
        Field("f", dtype, nullable=True, max_length=64),
    )


@given(asked_columns(), st.sampled_from(["INVERTED", "NGRAM"]))
def test_what_an_index_answers_is_what_a_scan_says(asked: tuple[pa.Array, str, Field], kind: str) -> None:
    column, text, field = asked
    if kind == "NGRAM" and field.dtype is not DataType.VARCHAR:
        return
    schema = Schema((Field("id", DataType.INT64, is_primary=True), Field("v", DataType.FLOAT_VECTOR, dim=2), field))
    schema = schema.checked()
    module = module_of(kind)
    source = Source(schema.field("f").id, False, (), len(column), False, lambda: column)
    index = module.open_index(module.build(column, {"min_gram": 1, "max_gram": 2}), source)

    class Columns:
        def column(self, field_id: int) -> pa.Array:
            return column

    condition = compile_filter(text, schema)
    scanned = condition.evaluate(Columns(), len(column))
    assert condition.evaluate(Columns(), len(column), index.answer).equals(scanned), text
