"""Rows in every shape a user may send become one canonical batch, or an error that names field, value and row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from elanus.model import batch as batches
from elanus.model.errors import InvalidParameter, SchemaMismatch
from elanus.model.ids import AutoIds
from elanus.model.schema import Field, Schema
from elanus.model.timestamps import FakeClock, TimestampOracle
from elanus.model.types import NUMPY_OF, DataType

SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        Field("small", DataType.INT8, nullable=True),
        Field("name", DataType.VARCHAR, max_length=4, default="none"),
        Field("price", DataType.FLOAT, nullable=True),
        Field("flag", DataType.BOOL, nullable=True),
        Field("info", DataType.JSON, nullable=True),
    ),
    enable_dynamic_field=True,
).checked()

STATIC = Schema((Field("id", DataType.INT64, is_primary=True), Field("vector", DataType.FLOAT_VECTOR, dim=2))).checked()


def canonical_batch(data: Any, schema: Schema, make_keys: batches.MakeKeys | None = None) -> pa.RecordBatch:
    """The canonical batch, which holds what belongs there, as an Arrow batch."""
    batch = batches.canonical_batch(data, schema, make_keys)
    for field in schema.fields:
        held = batch.columns[field.id]
        if isinstance(held, np.ndarray):
            assert held.flags.c_contiguous
            assert held.dtype == NUMPY_OF.get(field.dtype, np.float32)
        else:
            assert not field.is_vector
    assert list(batch.columns) == [field.id for field in schema.fields]
    columns = [batch.arrow(field.id) for field in schema.fields]
    assert {len(column) for column in columns} == {batch.num_rows}
    return pa.RecordBatch.from_arrays(columns, names=[str(field.id) for field in schema.fields])


ROWS = [
    {"id": 1, "vector": [1, 2], "small": 5, "name": "ab", "price": 1.5, "flag": True, "info": {"a": 1}, "x": 1},
    {"id": 2, "vector": [3, 4], "small": None, "name": None, "price": None, "flag": None, "info": None, "y": "z"},
]


def named(batch: pa.RecordBatch, schema: Schema = SCHEMA) -> list[dict[str, Any]]:
    """The rows of a canonical batch as users would write them."""
    names = [schema.by_id[int(column)].name for column in batch.schema.names]
    rows = batch.rename_columns(names).to_pylist()
    for row in rows:
        for key in {"info", "$meta"} & row.keys():
            row[key] = None if row[key] is None else orjson.loads(row[key])
    return rows


def row(**values: Any) -> dict[str, Any]:
    return {"id": 1, "vector": [1.0, 2.0], **values}


def refused(data: Any, schema: Schema = SCHEMA) -> str:
    with pytest.raises(InvalidParameter) as caught:
        canonical_batch(data, schema)
    assert caught.value.code == 1100
    return str(caught.value)


# --- shapes of input -------------------------------------------------------------------------------------------------


def test_rows_become_columns_in_schema_order_named_by_field_id() -> None:
    batch = canonical_batch(ROWS, SCHEMA)
    assert batch.schema.equals(SCHEMA.arrow_schema)
    first = {"id": 1, "vector": [1, 2], "small": 5, "name": "ab", "price": 1.5, "flag": True, "info": {"a": 1}}
    second = {"id": 2, "vector": [3, 4], "small": None, "name": "none", "price": None, "flag": None, "info": None}
    assert named(batch) == [{**first, "$meta": {"x": 1}}, {**second, "$meta": {"y": "z"}}]


COLUMNS = {"id": [1, 2], "vector": [[1, 2], [3, 4]], "small": [5, None], "x": [1, 1]}


@pytest.mark.parametrize(
    "shape",
    [
        dict,
        lambda c: {**c, "id": np.array(c["id"]), "vector": np.array(c["vector"], np.float64), "x": np.array(c["x"])},
        lambda c: {**c, "vector": np.array(c["vector"], np.float16), "id": np.array(c["id"], ">i4")},
        lambda c: {**c, "id": pa.array(c["id"], pa.int32()), "vector": pa.array(c["vector"], pa.list_(pa.float64()))},
        lambda c: {**c, "id": pa.chunked_array([[1], [2]]), "vector": pa.array(c["vector"], pa.list_(pa.float32(), 2))},
        lambda c: {**c, "small": np.ma.MaskedArray([5, 0], [False, True]), "vector": list(np.array(c["vector"]))},
        pa.table,
        lambda c: pa.table(c).to_batches()[0],
        lambda c: pa.table(c).to_reader(),
        lambda c: pa.table({**c, "small": pa.array(c["small"]).dictionary_encode()}),
        lambda c: [dict(zip(c, values, strict=True)) for values in zip(*c.values(), strict=True)],
    ],
    ids=["lists", "numpy", "odd numpy", "arrow", "chunked", "masked", "table", "batch", "stream", "dictionary", "rows"],
)
def test_every_shape_of_input_gives_the_same_batch(shape: Callable[[Any], Any]) -> None:
    expected = canonical_batch(COLUMNS, SCHEMA)
    assert canonical_batch(shape(COLUMNS), SCHEMA).equals(expected)
    assert [r["$meta"] for r in named(expected)] == [{"x": 1}, {"x": 1}]


@pytest.mark.parametrize("vector", [[1.0, 2.0], (1, 2), np.array([1, 2], np.float32)], ids=["list", "tuple", "numpy"])
def test_one_dict_is_one_row(vector: Any) -> None:
    assert canonical_batch({"id": 7, "vector": vector}, STATIC).num_rows == 1


def test_no_rows_make_an_empty_batch() -> None:
    for nothing in ([], {"id": [], "vector": []}, {"id": [], "vector": np.empty((0, 2))}, pa.table({"id": []})):
        batch = canonical_batch(nothing, STATIC)
        assert batch.num_rows == 0
        assert batch.schema.equals(STATIC.arrow_schema)


def test_a_sliced_arrow_column_keeps_its_rows() -> None:
    table = pa.table(
        {"id": range(10), "vector": pa.array(np.arange(20.0).reshape(10, 2).tolist(), pa.list_(pa.float32(), 2))}
    )
    assert named(canonical_batch(table.slice(4, 2), STATIC), STATIC) == [
        {"id": 4, "vector": [8, 9]},
        {"id": 5, "vector": [10, 11]},
    ]


def test_what_a_query_returns_can_be_inserted_again() -> None:
    batch = canonical_batch(ROWS, SCHEMA)
    table = pa.table(batch).rename_columns([SCHEMA.by_id[int(c)].name for c in batch.schema.names])
    assert canonical_batch(table, SCHEMA).equals(batch)


def test_numpy_columns_of_the_right_type_are_not_copied() -> None:
    vectors = np.ones((3, 2), np.float32)
    batch = canonical_batch({"id": np.arange(3), "vector": vectors}, STATIC)
    assert batch.column("101").values.buffers()[1].address == vectors.ctypes.data


@pytest.mark.parametrize("data", [5, "rows", [[1, 2]], [None], {"id": 1}.values()], ids=repr)
def test_what_is_not_rows_is_refused(data: Any) -> None:
    assert "row" in refused(data)


def test_columns_of_different_lengths_are_refused() -> None:
    assert "{'id': 2, 'vector': 1}" in refused({"id": [1, 2], "vector": [[1, 2]]})


# --- nulls, defaults, missing fields ---------------------------------------------------------------------------------


def test_a_default_stands_in_for_null_and_for_a_missing_field() -> None:
    assert named(canonical_batch([row(), row(name=None)], SCHEMA))[1]["name"] == "none"
    assert named(canonical_batch(row(), SCHEMA))[0]["name"] == "none"


def test_a_missing_nullable_field_is_null() -> None:
    assert named(canonical_batch(row(), SCHEMA))[0]["small"] is None


def test_a_missing_field_is_named() -> None:
    assert 'missed a field "vector"' in refused([{"id": 1}])
    message = refused([row(), {"id": 2, "vector": [1, 2]}, {"vector": [1, 2]}])
    assert 'field "id" is not nullable' in message
    assert "row 2" in message


# --- wrong values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"small": "abc"}, "field \"small\" holds Int8; got 'abc' in row 1. Send an integer."),
        ({"small": 1.0}, 'field "small" holds Int8; got 1.0 in row 1. Send an integer.'),
        ({"small": True}, 'field "small" holds Int8; got True in row 1. Send an integer.'),
        ({"small": 128}, 'field "small" holds Int8, [-128, 127]; got 128 in row 1: out of range.'),
        ({"id": 2**63}, "out of range"),
        ({"id": -(2**63) - 1}, "out of range"),
        ({"id": "1"}, "field \"id\" holds Int64; got '1' in row 1. Send an integer."),
        ({"name": 5}, 'field "name" holds VarChar; got 5 in row 1. Send a string.'),
        ({"name": "äöü"}, 'length of varchar field name exceeds max length, row number: 1, length: 6, max length: 4'),
        ({"name": "\ud800"}, "not valid UTF-8"),
        ({"price": float("nan")}, 'field "price" holds Float; got nan in row 1'),
        ({"price": 1e39}, 'field "price" holds Float; got 1e+39 in row 1'),
        ({"price": 10**400}, "in row 1"),
        ({"price": "1.5"}, "field \"price\" holds Float; got '1.5' in row 1. Send a number."),
        ({"price": False}, 'field "price" holds Float; got False in row 1. Send a number.'),
        ({"flag": 1}, 'field "flag" holds Bool; got 1 in row 1. Send True or False.'),
        ({"info": {1, 2}}, 'field "info" holds JSON; got {1, 2} in row 1. It has no JSON form'),
        ({"info": b"{"}, "field \"info\" holds JSON; got b'{' in row 1. It is not JSON"),
        ({"info": "x" * 65_535}, "row number: 1, length: 65537, max length: 65536"),
        ({"vector": [1, 2, 3]}, 'field "vector" has dim 2; got 3 numbers in row 1'),
        ({"vector": ["1", "2"]}, "field \"vector\" holds FloatVector; got ['1', '2'] in row 1. Send 2 numbers."),
        ({"vector": [1, None]}, "got [1, None] in row 1"),
        ({"vector": None}, "got None in row 1"),
        ({"vector": 5}, "got 5 in row 1"),
        ({"vector": [1, float("inf")]}, 'field "vector" holds FloatVector; got inf in row 1'),
        ({"vector": [1, 1e39]}, "got 1e+39 in row 1"),
        ({"other": {1, 2}}, 'field "$meta" holds JSON; got'),
        ({"other": "x" * 65_536}, "max length: 65536"),
        ({3: "x"}, "a dynamic key is a string; got 3 in row 1"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_field_and_row(values: dict[Any, Any], message: str) -> None:
    assert message in refused([row(), {**row(), **values}])
    assert message in refused([row(info=1), {**row(info=None), **values}])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"id": np.array([1.0])}, 'field "id" holds Int64; got 1.0'),
        ({"id": np.array([2**63], np.uint64)}, "out of range"),
        ({"id": pa.array([True])}, "got an Arrow column of bool"),
        ({"id": pa.array([2**63], pa.uint64())}, "out of range"),
        ({"small": np.array([300])}, "got 300 in row 0: out of range"),
        ({"name": np.array([1])}, "Send a string."),
        ({"name": pa.array([b"\xff"]).view(pa.string())}, "not UTF-8"),
        ({"name": pa.array(["too long"])}, "max length: 4"),
        ({"price": pa.array([float("inf")])}, "got inf in row 0"),
        ({"price": pa.array(["1"])}, "got an Arrow column of string"),
        ({"flag": np.array([1])}, "Send True or False."),
        ({"vector": np.ones((1, 3))}, "dim 2; got 3 numbers"),
        ({"vector": np.ones((1, 2, 1))}, "takes an array of shape (rows, dim); got (1, 2, 1)"),
        ({"vector": np.array([[np.nan, 1]], np.float32)}, "got nan in row 0"),
        ({"vector": pa.array([[1.0, None]])}, "a number is missing in row 0"),
        ({"vector": pa.array([None], pa.list_(pa.float32(), 2))}, "row 0 has none"),
        ({"vector": pa.array([[1.0]])}, "dim 2; got 1 numbers in row 0"),
        ({"vector": pa.array([1.0])}, "got an Arrow column of double"),
    ],
)
def test_a_wrong_column_is_named(column: dict[str, Any], message: str) -> None:
    assert message in refused({"id": np.array([1]), "vector": np.ones((1, 2)), **column})


def test_large_finite_vectors_are_taken() -> None:
    """Their square sum overflows, which must not be taken for an infinity among them, or for a vector too long."""
    batch = canonical_batch({"id": range(100), "vector": [[2e18, -2e18]] * 100}, STATIC)
    assert named(batch, STATIC)[99]["vector"] == [np.float32(2e18), np.float32(-2e18)]


def test_integers_of_several_types_make_one_column() -> None:
    for keys in ([np.uint64(5), 3], [np.uint64(5), np.int64(3)], [True + 4, np.int8(3)]):
        assert canonical_batch({"id": keys, "vector": [[1, 2]] * 2}, STATIC).column(0).to_pylist() == [5, 3]


def test_integers_fit_float_fields_at_any_size() -> None:
    batch = canonical_batch([row(price=2**24 + 1), row(price=2**100), row(price=None)], SCHEMA)
    assert [r["price"] for r in named(batch)] == [float(2**24), float(2**100), None]


# --- JSON and the dynamic field --------------------------------------------------------------------------------------


def test_json_takes_values_and_encoded_bytes() -> None:
    values = [{"a": [1, None]}, "text", b'{"b": 2}', 5, None, np.float32(0.5)]
    batch = canonical_batch([row(info=value) for value in values], SCHEMA)
    assert [r["info"] for r in named(batch)] == [{"a": [1, None]}, "text", {"b": 2}, 5, None, 0.5]


def test_arrow_json_columns() -> None:
    base = {"id": [1, 2], "vector": [[1, 2], [3, 4]]}
    for column, expected in (
        (pa.array([{"a": 1}, None]), [{"a": 1}, None]),
        (pa.array([b'{"a":1}', None]), [{"a": 1}, None]),
        (pa.array(['{"a":1}', None]), ['{"a":1}', None]),
    ):
        assert [r["info"] for r in named(canonical_batch({**base, "info": column}, SCHEMA))] == expected


@pytest.mark.skipif(not hasattr(pa, "json_"), reason="this pyarrow has no JSON type")
def test_the_arrow_json_type_is_encoded_text() -> None:
    column = pa.array(['{"a":1}', None]).cast(pa.json_())
    batch = canonical_batch({"id": [1, 2], "vector": [[1, 2], [3, 4]], "info": column}, SCHEMA)
    assert [r["info"] for r in named(batch)] == [{"a": 1}, None]


def test_rows_may_differ_in_their_dynamic_keys() -> None:
    batch = canonical_batch([row(a=1), row(), row(b=None, c={"d": []})], SCHEMA)
    assert [r["$meta"] for r in named(batch)] == [{"a": 1}, {}, {"b": None, "c": {"d": []}}]


def test_unknown_fields_are_refused_without_a_dynamic_field() -> None:
    message = refused([row(), row(colour="red")], STATIC)
    assert "unexpected field 'colour' (first in row 1)" in message


def test_meta_is_taken_as_the_dynamic_objects() -> None:
    batch = canonical_batch([{**row(), "$meta": {"a": 1}}, {**row(), "$meta": b'{"b":2}'}, row()], SCHEMA)
    assert [r["$meta"] for r in named(batch)] == [{"a": 1}, {"b": 2}, {}]


@pytest.mark.parametrize("meta", [5, [1], b"[1]", {"id": 1}, {"$meta": 1}], ids=repr)
def test_meta_must_be_an_object_without_names_of_fields(meta: Any) -> None:
    assert "$meta" in refused([row(), {**row(), "$meta": meta}])


def test_meta_and_loose_dynamic_keys_do_not_mix() -> None:
    assert "both" in refused({**row(), "$meta": {"a": 1}, "b": 2})


# --- made keys -------------------------------------------------------------------------------------------------------


def auto_schema(dtype: DataType) -> Schema:
    key = Field("id", dtype, is_primary=True, auto_id=True, max_length=20 if dtype is DataType.VARCHAR else None)
    return Schema((key, Field("vector", DataType.FLOAT_VECTOR, dim=2))).checked()


@pytest.mark.parametrize("dtype", [DataType.INT64, DataType.VARCHAR])
def test_made_keys_rise_and_are_never_given_twice(dtype: DataType) -> None:
    schema = auto_schema(dtype)
    oracle = TimestampOracle(FakeClock())
    ids = AutoIds(oracle)
    seen: list[int] = []
    for count in (3, 0, 1, 1000):
        data = {"vector": np.ones((count, 2), np.float32)}
        batch = canonical_batch(data, schema, lambda n: ids.keys(dtype, n))
        assert batch.schema.equals(schema.arrow_schema)
        seen += [int(key) for key in batch.column(0).to_pylist()]
    assert seen == sorted(set(seen))
    assert oracle.next() > seen[-1]


def test_ids_stay_new_after_a_restart_with_a_clock_that_stepped_back() -> None:
    oracle = TimestampOracle(FakeClock(start_ms=2_000_000))
    last = int(AutoIds(oracle).keys(DataType.INT64, 10)[9])
    kept = oracle.next()  # the timestamp of the write that carried them
    restarted = TimestampOracle(FakeClock(start_ms=1_000_000))
    restarted.advance_to(kept)
    assert AutoIds(restarted).reserve(1) > last


def test_keys_given_where_they_are_made_are_refused() -> None:
    schema = auto_schema(DataType.INT64)
    with pytest.raises(SchemaMismatch, match="autoID"):
        canonical_batch(row(), schema, lambda n: pa.array(range(n)))


# --- speed -----------------------------------------------------------------------------------------------------------


@pytest.mark.bench
def test_conversion_is_within_its_budget() -> None:
    import timeit

    schema = Schema(
        (Field("id", DataType.INT64, is_primary=True), Field("vector", DataType.FLOAT_VECTOR, dim=128)),
        enable_dynamic_field=True,
    ).checked()
    columns = {"id": np.arange(5000), "vector": np.random.default_rng(0).random((5000, 128), np.float32)}
    one = {"id": 1, "vector": columns["vector"][0].tolist(), "tag": "x"}
    assert min(timeit.repeat(lambda: batches.canonical_batch(columns, schema), number=20, repeat=5)) / 20 <= 300e-6
    assert min(timeit.repeat(lambda: batches.canonical_batch(one, schema), number=200, repeat=5)) / 200 <= 40e-6


def test_a_vector_too_long_to_be_scored_is_refused() -> None:
    """Squares past float32 make distances infinite and products NaN, and end the process in faiss's k-means."""
    assert canonical_batch([row(vector=[2e18, 2e18])], SCHEMA).num_rows == 1
    message = refused([row(), row(vector=[1.0, -3e38])])
    assert 'field "vector" holds FloatVector; the one in row 1 has length 3e+38' in message
