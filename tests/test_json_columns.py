"""Columns of JSON paths say what the texts say, and are never needed for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elanus import Collection, DataType, Elanus, Field, Schema
from elanus.expr import json_path
from elanus.ops.inspect import Folder
from elanus.segment import paths
from tests.filter_cases import KEYS, json_objects, json_texts
from tests.native_case import open_folder

ROWS = 1_500
AWKWARD = [0, -1, 2**63 - 1, -(2**63), 2**63, 2**53 + 1, 0.1, -0.0, 1e300, True, False, None, "", "ab", 'é\n"', [1], {}]
SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        Field("doc", DataType.JSON, nullable=True),
    ),
    enable_dynamic_field=True,
)
FILTERS = {
    'doc["a"]["b"] > 700': 799,
    'doc["a"]["b"] == 5 or doc["name"] == "n7"': 2,
    'doc["mixed"] == 9223372036854775807': 89,
    'doc["mixed"] >= 9007199254740993 and doc["mixed"] < 9007199254740994': 88,
    'doc["mixed"] == true': 88,
    'doc["name"] like "n12%"': 111,
    'doc["mixed"] in [0.1, "ab", -9223372036854775808]': 265,
    'not (doc["a"]["b"] > 700)': 701,
    'exists doc["mixed"]': 1500 - 88,
    'colour == "red"': 750,
    'size < 10 and colour == "red"': 5,
    'doc["rare"] == 1': 15,
    'id < 600 and doc["a"]["b"] > 590': 9,
}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def row(number: int) -> dict[str, Any]:
    document = {"name": f"n{number}", "a": {"b": number}, "mixed": AWKWARD[number % len(AWKWARD)]}
    more = {"rare": 1} if number % 100 == 0 else {}
    dynamic = {"colour": "red" if number % 2 else "blue", "size": number}
    return {"id": number, "vector": [number, 1.0], "doc": {**document, **more}, **dynamic}


def filled(db: Elanus) -> Collection:
    collection = db.create_collection("rows", SCHEMA)
    collection.insert([row(number) for number in range(ROWS)])
    return collection


def stored(collection: Collection, name: str) -> paths.StoredPaths | None:
    """The columns of a field's paths in the only segment."""
    of = collection._instance.collection(collection._ctx, collection.name)
    (unit,) = of.snapshot().sealed
    field = of.schema.field(name)
    assert unit.sealed is not None
    if field.id not in unit.sealed.meta.paths:
        return None
    path = of.store.local_path(unit.sealed.meta.paths_key(field.id))
    return paths.StoredPaths.open(path, field.id, unit.sealed.rows)


def same(a: json_path.Extraction, b: json_path.Extraction) -> None:
    np.testing.assert_array_equal(a.kinds, b.kinds)
    np.testing.assert_array_equal(a.ints, b.ints)
    np.testing.assert_array_equal(
        a.doubles.view(np.int64) if a.doubles.strides[0] else a.doubles, b.doubles.view(np.int64)
    )
    assert a.strings.equals(b.strings)


@settings(max_examples=60)
@given(st.lists(st.none() | json_texts(json_objects), min_size=1, max_size=12), st.data())
def test_a_stored_path_holds_what_its_texts_hold(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes | None], data: st.DataObject
) -> None:
    column = pa.array(texts, pa.large_binary())
    steps = st.lists(st.sampled_from(KEYS), min_size=1, max_size=2).map(tuple)
    chosen = data.draw(st.lists(steps, min_size=1, max_size=4, unique=True))
    folder = tmp_path_factory.mktemp("paths")
    assert paths.write_chosen(folder / "7.paths", 7, column, chosen) == (folder / "7.paths").stat().st_size
    opened = paths.StoredPaths.open(folder / "7.paths", 7, len(column))
    some = np.flatnonzero(np.arange(len(column)) % 2)
    for path in chosen:
        found, expected = opened.at(path), json_path.extract(column, path)
        assert found is not None
        same(found, expected)
        part, of = json_path.taken(found, some), json_path.extract(column.take(pa.array(some)), path)
        same(part, of)
    assert opened.at(("nowhere",)) is None


def test_the_first_of_equal_keys_counts_and_escapes_are_read(tmp_path: Path) -> None:
    text = rb'{"a": 1, "a": "2", "k\u0022": {"\u00e9": "\ud83d\ude00\n"}}'
    column = pa.array([text] * paths.LEAST_ROWS, pa.large_binary())
    assert set(paths.frequent_paths(column)) == {("a",), ('k"', "é")}
    assert paths.write_paths(tmp_path / "7.paths", 7, column)
    opened = paths.StoredPaths.open(tmp_path / "7.paths", 7, len(column))
    first, second = opened.at(("a",)), opened.at(('k"', "é"))
    assert first is not None
    assert second is not None
    assert (first.kinds[0], first.ints[0]) == (json_path.Kind.INT, 1)
    assert second.strings[-1].as_py() == "😀\n"


def test_frequent_paths_alone_become_columns() -> None:
    def chosen(documents: list[Any]) -> list[json_path.Path]:
        return paths.frequent_paths(pa.array([orjson.dumps(d) for d in documents], pa.large_binary()))

    assert chosen([{}] * ROWS) == []
    assert chosen([{"a": 1}] * (paths.LEAST_ROWS - 1)) == []
    assert chosen([{"a": 1, "often": 1} if n % 2 else {"a": 2} for n in range(ROWS)]) == [("a",), ("often",)]
    assert chosen([{"a": 1, "rare": 1} if n % 5 == 0 else {"a": 2} for n in range(ROWS)]) == [("a",)]
    assert chosen([{f"key {n}": 1} for n in range(ROWS)]) == []
    deep = json.loads('{"a":' * 6 + "1" + "}" * 6)
    assert chosen([deep] * ROWS) == []
    assert len(chosen([{str(n): n for n in range(40)}] * ROWS)) == paths.MOST_PATHS
    assert chosen([["a", 1]] * ROWS) == []


def test_filters_answer_alike_growing_sealed_merged_and_opened_again(db: Elanus, tmp_path: Path) -> None:
    collection = filled(db)
    growing = {text: collection.query(text).column("id").to_pylist() for text in FILTERS}
    assert {text: len(keys) for text, keys in growing.items()} == FILTERS
    collection.flush()
    document, dynamic = stored(collection, "doc"), stored(collection, "$meta")
    assert document is not None
    assert dynamic is not None
    assert document.at(("a", "b")) is not None
    assert document.at(("mixed",)) is not None
    assert document.at(("rare",)) is None
    assert dynamic.at(("colour",)) is not None
    assert {text: collection.query(text).column("id").to_pylist() for text in FILTERS} == growing
    collection.upsert([row(5)])
    collection.delete([1499])
    collection.insert([row(1499)])
    collection.flush()
    collection.compact()
    assert {text: collection.query(text).column("id").to_pylist() for text in FILTERS} == growing
    db.close()
    assert not list(Folder(tmp_path).damages())
    with open_folder(tmp_path) as again:
        collection = again.collection("rows")
        assert {text: collection.query(text).column("id").to_pylist() for text in FILTERS} == growing


def test_a_damaged_file_is_left_aside(db: Elanus, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    collection = filled(db)
    collection.flush()
    db.close()
    files = list(tmp_path.rglob("*.paths"))
    assert len(files) == 2
    for file in files:
        file.chmod(0o644)
        file.write_bytes(file.read_bytes()[:1000])
    assert {Path(str(error).partition(":")[0]).name for error in Folder(tmp_path).damages()} == {f.name for f in files}
    with open_folder(tmp_path) as again:
        collection = again.collection("rows")
        assert {text: len(collection.query(text)) for text in FILTERS} == FILTERS
    assert len([r for r in caplog.records if "left aside" in r.message]) == 2
