"""Arrays in the native API: taken, checked, kept and given back in whatever state their rows are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import elanus
from elanus import DataType, Field, InvalidParameter, Schema, SchemaMismatch
from tests.array_case import ARRAYS, CAPACITY, ELEMENTS, row, rows
from tests.native_case import STATES, bring_to, open_folder

KEY = Field("id", DataType.INT64, is_primary=True)
VECTOR = Field("vector", DataType.FLOAT_VECTOR, dim=4)


@pytest.mark.parametrize("state", STATES)
def test_arrays_come_back_as_they_were(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "db"
    db = open_folder(folder)
    collection = db.create_collection("arrays", ARRAYS)
    collection.insert(rows(range(20)))
    collection.insert(rows(range(20, 30)))
    collection.delete([3, 4])
    collection.upsert([row(5, longs=[5, 5], texts=["fifth"])])
    expected = {n: row(n) for n in range(30) if n not in (3, 4)}
    expected[5] |= {"longs": [5, 5], "texts": ["fifth"]}
    db, collection = bring_to(state, db, collection, folder)
    found = {each["id"]: each for each in collection.get(list(range(30)))}
    assert found == expected
    table = collection.query("id >= 0", output_fields=["texts", "singles"])
    assert table.column("singles").type == pa.large_list(pa.float32())
    (hits,) = collection.search([[7.0, 1.0, 0.0, 0.0]], limit=1, metric="L2", output_fields=["*"])
    assert hits[0]["entity"] == row(7)
    db.close()


def test_arrays_are_taken_in_every_form(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("arrays", ARRAYS)
    given = rows(range(30))
    table = pa.table(
        {
            "id": pa.array(range(30)),
            "vector": pa.array([each["vector"] for each in given], pa.list_(pa.float32(), 4)),
            **{
                name: pa.array(
                    [each[name] for each in given],
                    pa.list_(Field("x", element, max_length=1).arrow_type),
                )
                for name, element in ELEMENTS.items()
            },
        }
    )
    collection.insert(table.slice(2, 10))
    collection.insert({name: [each[name] for each in given[12:]] for name in given[0]})
    collection.insert([{**each, "longs": np.array(each["longs"], np.int64)} for each in given[:2]])
    assert list(collection.get(list(range(30)))) == given
    matrix = {name: [each[name] for each in rows(range(40, 42))] for name in given[0]}
    collection.insert({**matrix, "longs": np.array([[1, 2], [3, 4]])})
    assert collection.query("id >= 40", output_fields=["longs"]).column("longs").to_pylist() == [[1, 2], [3, 4]]
    db.close()


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("longs", [1] * (CAPACITY + 1), r"the length \(9\) of 1th array exceeds max capacity \(8\)"),
        ("bytes8", [1, 128], r'"bytes8" holds Array of Int8; the array in row 1 does not fit: .*out of range'),
        ("ints", [2**31], "out of range"),
        ("longs", [2**63], "out of range"),
        ("longs", [1, "a"], "Send an integer"),
        ("longs", [1, 2.5], "Send an integer"),
        ("longs", [True], "Send an integer"),
        ("flags", [1], "Send True or False"),
        ("texts", [1], "Send a string"),
        ("texts", ["a", "é" * 33], "exceeds max length, row number: 1, array index: 1, length: 66, max length: 64"),
        ("reals", [1.0, float("nan")], "not a number or infinity"),
        ("singles", [1e39], "not a number or infinity"),
        ("longs", [1, None], "element 1 of row 1 is missing"),
        ("longs", 5, "in row 1. Send a list"),
        ("longs", "ab", "Send a list"),
        ("longs", [[1]], "Send an integer"),
    ],
)
def test_what_does_not_fit_is_refused_whole(tmp_path: Path, field: str, value: Any, match: str) -> None:
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("arrays", ARRAYS)
    with pytest.raises(SchemaMismatch, match=match):
        collection.insert([row(1), row(2, **{field: value}), row(3)])
    assert collection.count() == 0
    db.close()


def test_a_field_that_is_not_nullable_needs_an_array(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    tags = Field("tags", DataType.ARRAY, element=DataType.INT64, max_capacity=4)
    collection = db.create_collection("arrays", Schema((KEY, VECTOR, tags)))
    with pytest.raises(SchemaMismatch, match="row 0 has no value"):
        collection.insert([{"id": 1, "vector": [0.0] * 4, "tags": None}])
    with pytest.raises(SchemaMismatch, match='missed a field "tags"'):
        collection.insert([{"id": 1, "vector": [0.0] * 4}])
    collection.insert([{"id": 1, "vector": [0.0] * 4, "tags": []}])
    assert collection.get([1])[0]["tags"] == []
    db.close()


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"element": None}, InvalidParameter, "element data type None is not valid"),
        ({"element": DataType.JSON}, InvalidParameter, "element type JSON is not supported"),
        ({"element": DataType.ARRAY}, InvalidParameter, "element type Array is not supported"),
        ({"max_capacity": None}, elanus.ElanusError, r"type param\(max_capacity\) should be specified for array field"),
        ({"max_capacity": 0}, InvalidParameter, r"maximum capacity specified for a Array should be in \(0, 4096\]"),
        ({"max_capacity": 4097}, InvalidParameter, "should be in"),
        ({"element": DataType.VARCHAR}, InvalidParameter, r"type param\(max_length\) should be specified"),
        ({"default": [1]}, InvalidParameter, "type not support default_value, type:Array"),
        ({"is_primary": True}, InvalidParameter, "more than one primary key"),
        ({"is_partition_key": True}, InvalidParameter, "data type of partition key should be Int64 or VarChar"),
        ({"dtype": DataType.INT64}, InvalidParameter, "takes no element type"),
    ],
)
def test_schemas_that_do_not_hold_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    db = open_folder(tmp_path / "db")
    tags = Field("tags", DataType.ARRAY, element=DataType.INT64, max_capacity=4)
    with pytest.raises(error, match=match):
        db.create_collection("arrays", Schema((KEY, VECTOR, replace(tags, **changes))))
    db.close()


def test_an_array_field_is_added_and_old_rows_have_none(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    db = open_folder(folder)
    collection = db.create_collection("arrays", Schema((KEY, VECTOR)))
    collection.insert([{"id": n, "vector": [0.0] * 4} for n in range(3)])
    collection.flush()
    tags = Field("tags", DataType.ARRAY, element=DataType.VARCHAR, max_capacity=4, max_length=10, nullable=True)
    collection.add_field(tags)
    collection.insert([{"id": 3, "vector": [0.0] * 4, "tags": ["a", ""]}])
    expected = [None, None, None, ["a", ""]]
    assert [each["tags"] for each in collection.get([0, 1, 2, 3])] == expected
    db, collection = bring_to("reopened", db, collection, folder)
    assert [each["tags"] for each in collection.get([0, 1, 2, 3])] == expected
    assert collection.schema.field("tags") == replace(tags, id=collection.schema.field("tags").id)
    db.close()


# --- operations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_elements_are_appended_and_removed(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "db"
    db = open_folder(folder)
    collection = db.create_collection("arrays", ARRAYS)
    collection.insert(rows(range(20), longs=[1, 2, 1], texts=["a", "", "é", "a"], reals=[0.0, 1.5, -0.0], flags=[True]))
    db, collection = bring_to(state, db, collection, folder)
    before = {each["id"]: each for each in collection.get(list(range(20)))}
    given = {"id": [3, 5, 4], "longs": [[7], [], None], "texts": [["b", "é"], [], ["c"]]}
    collection.upsert(given, array_operations={"longs": "append", "texts": "append"})
    gone = [
        {"id": 6, "longs": [1, 9], "texts": ["a", "é"], "reals": [0.0], "flags": [True]},
        {"id": 7, "longs": None, "texts": [], "reals": [1.5, 9.0], "flags": [False]},
    ]
    collection.upsert(gone, array_operations=dict.fromkeys(("longs", "texts", "reals", "flags"), "remove"))
    db, collection = bring_to(state, db, collection, folder)
    expected = {
        **before,
        3: before[3] | {"longs": [1, 2, 1, 7], "texts": ["a", "", "é", "a", "b", "é"]},
        4: before[4] | {"texts": ["a", "", "é", "a", "c"]},
        6: before[6] | {"longs": [2], "texts": [""], "reals": [1.5], "flags": []},
        7: before[7] | {"reals": [0.0, -0.0]},
    }
    assert {each["id"]: each for each in collection.get(list(range(20)))} == expected
    db.close()


def test_operations_on_nothing(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("arrays", ARRAYS)
    collection.insert([row(1, longs=None, ints=None, texts=None), row(2, longs=[])])
    collection.upsert({"id": [1, 2], "longs": [[1, 2], None]}, array_operations={"longs": "append"})
    collection.upsert(
        {"id": [1], "ints": [[1]], "texts": [None]}, array_operations={"ints": "remove", "texts": "append"}
    )
    found = collection.get([1, 2])
    assert [each["longs"] for each in found] == [[1, 2], []]
    assert (found[0]["ints"], found[0]["texts"]) == ([], None)
    new = {"id": [8, 9], "vector": [[0.0] * 4] * 2, "longs": [[1], None], "ints": [[1], None]}
    collection.upsert(new, array_operations={"longs": "append", "ints": "remove"})
    assert [(each["longs"], each["ints"]) for each in collection.get([8, 9])] == [([1], []), (None, None)]
    db.close()


@pytest.mark.parametrize(
    ("given", "operations", "match"),
    [
        ({"longs": [[4] * 6]}, {"longs": "append"}, r"array length 9 exceeds max_capacity 8"),
        ({"longs": [[1] * 9]}, {"longs": "remove"}, "exceeds max capacity"),
        ({"longs": [["a"]]}, {"longs": "append"}, "Send an integer"),
        ({"longs": [[1]]}, {"texts": "append"}, 'partial-update op targets field "texts" not present'),
        ({"longs": [[1]]}, {"id": "append"}, "is the primary key and cannot carry a partial-update op"),
        (
            {"longs": [[1]]},
            {"vector": "remove"},
            'op ARRAY_REMOVE requires Array field, but field "vector" is FloatVector',
        ),
        ({"longs": [[1]]}, {"nothing": "append"}, 'field "nothing" not found in collection schema'),
        ({"longs": [[1]]}, {"longs": "prepend"}, "append or remove"),
    ],
)
def test_operations_that_cannot_be_done_change_nothing(
    tmp_path: Path, given: dict[str, Any], operations: dict[str, str], match: str
) -> None:
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("arrays", ARRAYS)
    collection.insert([row(1, longs=[1, 2, 3])])
    with pytest.raises(InvalidParameter, match=match):
        collection.upsert({"id": [1], **given}, array_operations=operations)
    assert list(collection.get([1])) == [row(1, longs=[1, 2, 3])]
    db.close()


@pytest.mark.parametrize("state", STATES)
def test_whole_arrays_are_looked_for_in_lists(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "db"
    db = open_folder(folder)
    fields = (
        Field("longs", DataType.ARRAY, element=DataType.INT64, max_capacity=4, nullable=True),
        Field("reals", DataType.ARRAY, element=DataType.DOUBLE, max_capacity=4, nullable=True),
        Field("texts", DataType.ARRAY, element=DataType.VARCHAR, max_capacity=4, max_length=8, nullable=True),
    )
    collection = db.create_collection("arrays", Schema((KEY, VECTOR, *fields)))
    held: list[list[int] | None] = [[], [1], [0], [1, 2], [2, 1], None, [1, 2, 3], [0, 0]] * 4
    for number, value in enumerate(held):
        reals = None if value is None else [-0.0 if v == 0 and number % 2 else float(v) for v in value]
        texts = None if value is None else ["abc"[:v] for v in value]
        row_ = {"id": number, "vector": [0.0, 0.0, 0.0, 1.0 + number], "longs": value, "reals": reals, "texts": texts}
        collection.insert([row_])
    db, collection = bring_to(state, db, collection, folder)
    listed = [[], [1, 2], [0, 0], [7], [1, 2]]
    spelled = {
        "longs": "[[], [1, 2], [0.0, 0], [7], [1, 2], [1.5]]",
        "reals": "[[], [1, 2], [0, -0.0], [7], [1, 2]]",
        "texts": "[[], ['a', 'ab'], ['', ''], ['abcdefg'], ['a', 'ab']]",
    }
    for name, text in spelled.items():
        for not_, there in (("", True), ("not ", False)):
            keys = collection.query(f"{name} {not_}in {text}", output_fields=["id"]).column("id").to_pylist()
            assert keys == [i for i, value in enumerate(held) if value is not None and (value in listed) is there]
    assert collection.count("longs in [[1.5], [2.5]]") == 0
    assert collection.count("not (longs in [[1.5], [2.5]])") == 28
    db.close()
