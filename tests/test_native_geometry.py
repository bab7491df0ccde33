"""Geometry in process: what goes in and out, and every function, in every state that rows can be in, beside shapely."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely

from elanus import Collection, DataType, Field, Schema, to_rows
from elanus.model.errors import IllegalSchema, InvalidParameter, SchemaMismatch
from tests.native_case import STATES, bring_to, keys_in, open_folder, vector

PLACES = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=4),
        Field("shape", DataType.GEOMETRY),
        Field("at", DataType.GEOMETRY, nullable=True),
    )
)

SHAPES = [
    "POINT (1 1)",
    "POINT (2 1)",
    "POINT EMPTY",
    "POINT Z (1 1 5)",
    "LINESTRING (0 0, 2 2)",
    "LINESTRING (0 2, 2 0, 4 2)",
    "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))",
    "POLYGON ((1 1, 3 1, 3 3, 1 3, 1 1))",
    "POLYGON ((0 0, 9 0, 9 9, 0 9, 0 0), (3 3, 6 3, 6 6, 3 6, 3 3))",
    "POLYGON ((2 0, 4 0, 4 2, 2 2, 2 0))",
    "MULTIPOINT ((1 1), (2 2))",
    "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 1, 0 0)), ((4 4, 5 4, 5 5, 4 5, 4 4)))",
    "GEOMETRYCOLLECTION (POINT (1 1), LINESTRING (5 5, 6 6))",
    "POLYGON EMPTY",
]
CROSSED = "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))"
RELATIONS = ("equals", "touches", "overlaps", "crosses", "contains", "intersects", "within")


def place(number: int) -> dict[str, Any]:
    """Every shape, beside a point of a grid of degrees, or none."""
    at = None if number % 5 == 0 else f"POINT ({number % 7 - 3} {number % 11 * 0.5:g})"
    return {"id": number, "vector": vector(number), "shape": SHAPES[number % len(SHAPES)], "at": at}


def metres(shape: Any, point: Any) -> float:
    """As the module says it of Milvus, for one."""
    if shape.is_empty or point.is_empty:
        return math.inf
    if shape.geom_type != "Point":
        return float(shape.distance(point)) * 111_320 * math.sqrt((1 + math.cos(math.radians(point.y)) ** 2) / 2)
    a, b = math.radians(shape.y), math.radians(point.y)
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(point.x - shape.x) / 2) ** 2
    return 2 * 6_371_000 * math.asin(math.sqrt(half))


@pytest.mark.parametrize("state", [*STATES, "merged"])
def test_every_function_agrees_with_shapely_in_every_state(tmp_path: Path, state: str) -> None:
    db = open_folder(tmp_path)
    collection = db.create_collection("places", PLACES)
    rows = {n: place(n) for n in range(60)}
    collection.insert([row for n, row in rows.items() if n < 35])
    if state == "merged":
        collection.flush()
    collection.insert([row for n, row in rows.items() if n >= 35])
    rows[3] = {**rows[3], "shape": "POINT (4 4)", "at": "POINT (1 1)"}
    rows[8] = {**rows[8], "at": None}
    collection.upsert([rows[3], rows[8]])
    collection.delete([4, 11])
    del rows[4], rows[11]
    db, collection = bring_to("indexed" if state == "merged" else state, db, collection, tmp_path)
    queries = {text: shapely.from_wkt(text) for text in SHAPES}
    held = {(n, f): row[f] and shapely.from_wkt(row[f]) for n, row in rows.items() for f in ("shape", "at")}
    matched = 0
    for field in ("shape", "at"):
        known = {n: held[n, field] for n in rows if held[n, field] is not None}
        for relation in RELATIONS:
            for text, query in queries.items():
                want = [n for n, shape in known.items() if getattr(shape, relation)(query)]
                call = f"st_{relation}({field}, '{text}')"
                assert keys_in(collection, call) == want, call
                matched += len(want)
            assert keys_in(collection, f"not {call.replace('st_' + relation, ('st_' + relation).upper())}") == [
                n for n in known if n not in want
            ]
        for text in ("POINT (1 1)", "POINT (-2.5 48)", "POINT EMPTY"):
            for most in (0, 157_000.5, 400_000, 5_400_000):
                want = [n for n, shape in known.items() if metres(shape, shapely.from_wkt(text)) <= most]
                assert keys_in(collection, f"st_dwithin({field}, '{text}', {most})") == want
                matched += len(want)
        assert keys_in(collection, f"st_isvalid({field})") == list(known)
        assert keys_in(collection, f"{field} is null") == [n for n in rows if n not in known]
    assert matched > 1000
    for n, row in rows.items():
        (got,) = collection.get([n])
        assert (got["shape"], got["at"]) == (row["shape"], row["at"])
    db.close()


def test_a_geometry_that_is_not_valid_is_kept_and_told_from_others(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        collection = db.create_collection("places", PLACES)
        collection.insert([place(1), {**place(2), "shape": CROSSED}])
        assert keys_in(collection, "st_isvalid(shape)") == [1]
        assert keys_in(collection, "not st_isvalid(shape)") == [2]
        assert collection.get([2])[0]["shape"] == CROSSED


def test_everything_that_is_a_geometry_is_taken_and_wkt_given(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        collection = db.create_collection("places", PLACES)
        plain = {"id": [1, 2], "vector": np.zeros((2, 4), np.float32)}
        told = ["POINT (1.5 20000000000)", "LINESTRING (0 0, 0.1 1)"]
        for shape in (
            ["point(1.50 2e10)", "LINESTRING(0 0,0.1 1)"],
            [shapely.Point(1.5, 2e10), shapely.LineString([(0, 0), (0.1, 1)])],
            [shapely.Point(1.5, 2e10), told[1]],
            np.array(told, object),
            np.array(told),
            pa.array(told),
            pa.array(told, pa.large_string()),
        ):
            collection.upsert({**plain, "shape": shape, "at": [None, shapely.Point(1, 2)]})
            table = collection.query()
            assert table["shape"].type == pa.large_string()
            assert table["shape"].to_pylist() == told
            assert to_rows(table)[1]["at"] == "POINT (1 2)"
        collection.upsert(table)
        assert collection.query().equals(table)
        (hits,) = collection.search(vector(0), limit=2, output_fields=["at"])
        assert [hit["entity"] for hit in hits] == [{"at": None}, {"at": "POINT (1 2)"}]
        assert hits.to_table()["at"].to_pylist() == [None, "POINT (1 2)"]
        for wrong in ([5, 6], np.array([5, 6]), [b"POINT (1 1)"] * 2, pa.array([1.5, 2.5])):
            with pytest.raises(SchemaMismatch, match="array type mismatch"):
                collection.upsert({**plain, "shape": wrong})
        assert collection.count() == 2


@pytest.mark.parametrize(
    "shape",
    ["", "here", "POLYGON ((0 0, 1 0, 1 1))", "POLYGON ((0 0, 1 0, 1 1, 0 0)", "LINESTRING (1 1)",
     "POINT (1 2 3 4 5)", "POINT (1 nan)", "POINT (inf 1)", "CIRCULARSTRING (0 0, 1 1, 2 0)", "\ud800",
     "POINT Z (1 1 inf)", "LINESTRING ZM (0 0 1 1, 1 1 1 -inf)", "POINT (1 1)\0", "POINT (1 1)\0 (2 2)", "\0",
     shapely.Point(1, math.inf), shapely.Point(1, 1, math.inf)],
)  # fmt: skip
def test_what_is_no_geometry_is_refused_and_nothing_written(tmp_path: Path, shape: Any) -> None:
    with open_folder(tmp_path) as db:
        collection = db.create_collection("places", PLACES)
        with pytest.raises(SchemaMismatch, match=r"invalid Geometry data, transform to wkb failed: .*row 1"):
            collection.insert([place(1), {**place(2), "shape": shape}])
        assert collection.count() == 0
        if isinstance(shape, str) and shape.isascii():
            with pytest.raises(InvalidParameter, match="syntax error"):
                collection.query(f"st_within(shape, '{shape}')")


@pytest.mark.parametrize("deep", [101, 100_000])
def test_geometries_too_deep_for_geos_are_refused(tmp_path: Path, deep: int) -> None:
    shape = "GEOMETRYCOLLECTION (" * deep + "POINT (1 1)" + ")" * deep
    with open_folder(tmp_path) as db:
        collection = db.create_collection("places", PLACES)
        with pytest.raises(SchemaMismatch, match="more than 100 collections"):
            collection.insert([{**place(1), "shape": shape}])
        with pytest.raises(InvalidParameter, match="more than 100 collections"):
            collection.query(f"st_within(shape, '{shape}')")
        assert collection.count() == 0


def test_objects_too_deep_for_geos_are_refused_and_others_taken(tmp_path: Path) -> None:
    point = shapely.to_wkb(shapely.Point(1, 1))
    with open_folder(tmp_path) as db:
        collection = db.create_collection("places", PLACES)
        for deep in (101, 10_000):
            shape = shapely.from_wkb(struct.pack("<BII", 1, 7, 1) * deep + point)
            with pytest.raises(SchemaMismatch, match=r"more than 100 collections in one geometry.*row 1"):
                collection.insert([place(1), {**place(2), "shape": shape}])
        wide = shapely.GeometryCollection([shapely.GeometryCollection([shapely.Point(n, n)]) for n in range(200)])
        deep = shapely.from_wkb(struct.pack("<BII", 1, 7, 1) * 100 + point)
        collection.insert([{**place(1), "shape": wide}, {**place(2), "shape": deep}])
        assert keys_in(collection, "st_intersects(shape, 'POINT (1 1)')") == [1, 2]


@pytest.mark.parametrize(
    ("filter", "reason"),
    [
        ("st_within(id, 'POINT (1 1)')", "spatial operation are only supported on geometry fields now"),
        ("st_isvalid(id)", "STIsValid operation are only supported on geometry fields now"),
        ("st_dwithin(id, 'POINT (1 1)', 1)", "ST_DWITHIN operation are only supported on geometry fields now"),
        ("st_dwithin(shape, 'LINESTRING (1 1, 2 2)', 1)", "only supports POINT geometry"),
        ("st_dwithin(shape, 'POINT (1 1)', -1)", "distance parameter must be non-negative"),
        ("st_dwithin(shape, 'POINT (1 1)', 'a')", "distance parameter must be a numeric value"),
        ("st_dwithin(shape, 'POINT (1 1)', at)", "distance parameter must be a numeric value"),
        ("st_within(shape, 5)", "a geometry is given as a WKT string"),
        ("st_within(shape, at)", "a geometry is given as a WKT string"),
        ("st_within(shape)", "takes 2 arguments"),
        ("St_Within(shape, 'POINT (1 1)')", "function St_Within not found"),
        ("shape == 'POINT (1 1)'", "comparisons between Geometry and VarChar are not supported"),
        ("shape == 1", "comparisons between Geometry and Int64 are not supported"),
        ("shape != at", "comparisons between Geometry and Geometry are not supported"),
        ("shape in ['POINT (1 1)']", "cannot be casted to Geometry"),
        ("shape like 'POINT%'", "like operation"),
        ("shape + 1 > 5", "'add' can only be used"),
        ("shape", "not a boolean expression"),
    ],
)
def test_filters_that_mean_nothing_are_refused(tmp_path: Path, filter: str, reason: str) -> None:  # noqa: A002
    with open_folder(tmp_path) as db, pytest.raises(InvalidParameter) as refused:
        db.create_collection("places", PLACES).query(filter)
    assert reason in str(refused.value)


def _holds(collection: Collection) -> None:
    assert keys_in(collection, "st_equals(home, 'POINT (1 2)')") == [1, 2, 11, 12]
    assert keys_in(collection, "st_equals(due, 'LINESTRING (0 0, 1 1)')") == [2, 11, 12]
    assert keys_in(collection, "seen is not null") == [1]
    row = collection.get([1])[0]
    assert (row["home"], row["seen"], row["due"]) == ("POINT (1 2)", "POINT (5 5)", "POINT (7 7)")
    assert collection.get([2])[0]["due"] == "LINESTRING(0 0,1 1)".replace("(", " (").replace(",", ", ")


def test_a_default_is_wkt_and_added_fields_have_it(tmp_path: Path) -> None:
    db = open_folder(tmp_path)
    schema = Schema((*PLACES.fields, Field("home", DataType.GEOMETRY, default="POINT(1 2)")))
    collection = db.create_collection("places", schema)
    collection.insert([place(1), {**place(2), "home": None}])
    collection.flush()
    collection.insert([place(11), place(12)])
    collection.add_field(Field("seen", DataType.GEOMETRY, nullable=True))
    collection.add_field(Field("due", DataType.GEOMETRY, nullable=True, default="LINESTRING(0 0,1 1)"))
    collection.upsert([{"id": 1, "seen": "POINT (5 5)", "due": shapely.Point(7, 7)}], partial=True)
    _holds(collection)
    db.close()
    with open_folder(tmp_path) as db:
        _holds(db.collection("places"))
        for wrong in ("", "POINT (1", 5):
            with pytest.raises(InvalidParameter, match="invalid default value for geometry field"):
                db.collection("places").add_field(Field("far", DataType.GEOMETRY, nullable=True, default=wrong))


@pytest.mark.parametrize("key", ["is_primary", "is_partition_key", "is_clustering_key"])
def test_a_geometry_is_no_key(tmp_path: Path, key: str) -> None:
    fields = [f for f in PLACES.fields if f.name != "shape" and (key != "is_primary" or not f.is_primary)]
    with open_folder(tmp_path) as db, pytest.raises((InvalidParameter, IllegalSchema)):
        db.create_collection("places", Schema((*fields, Field("shape", DataType.GEOMETRY, **{key: True}))))
    with open_folder(tmp_path) as db:
        assert db.list_collections() == []
