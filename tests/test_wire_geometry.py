"""Geometry as Milvus clients send and see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.wire_case import DIM, keys, make, refused, vector

if TYPE_CHECKING:
    from pymilvus import MilvusClient

SHAPES = ["POINT (1.5 2e10)", "POINT EMPTY", "POLYGON((0 0,2 0,2 2,0 2,0 0))", "LINESTRING (1 1, 3 3)"]
TOLD = [
    "POINT (1.5 20000000000)",
    "POINT EMPTY",
    "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))",
    "LINESTRING (1 1, 3 3)",
]
HOME = "POINT (13.4 52.5)"


def make_places(client: MilvusClient, **options: Any) -> None:
    from pymilvus import DataType

    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("shape", DataType.GEOMETRY)
    schema.add_field("at", DataType.GEOMETRY, nullable=True)
    schema.add_field("home", DataType.GEOMETRY, default_value=HOME, **options)
    make(client, "places", schema, {"vector": "FLAT"})


def places() -> list[dict[str, Any]]:
    return [
        {"id": i, "vector": vector(i), "shape": shape, "at": f"POINT ({i} {i})" if i % 2 else None, "home": None}
        for i, shape in enumerate(SHAPES)
    ]


def test_geometries_come_back_as_wkt(client: MilvusClient) -> None:
    from pymilvus import DataType

    make_places(client)
    fields = {f["name"]: f for f in client.describe_collection("places")["fields"]}
    assert fields["shape"]["type"] is DataType.GEOMETRY
    assert fields["home"]["default_value"].string_data == HOME
    client.insert("places", places())
    for _ in ("growing", "sealed"):
        rows = client.query("places", "id >= 0", output_fields=["shape", "at", "home"])
        assert [row["shape"] for row in rows] == TOLD
        assert [row["at"] for row in rows] == [None, "POINT (1 1)", None, "POINT (3 3)"]
        assert {row["home"] for row in rows} == {HOME}
        (hits,) = client.search("places", [vector(2)], limit=1, output_fields=["*"])
        assert (hits[0]["entity"]["shape"], hits[0]["entity"]["at"]) == (TOLD[2], None)
        client.flush("places")
    client.upsert("places", {"id": 2, "at": "POINT (9 9)"}, partial_update=True)
    (row,) = client.query("places", "id == 2", output_fields=["shape", "at"])
    assert (row["shape"], row["at"]) == (TOLD[2], "POINT (9 9)")


def test_filters_read_wkt_also_from_templates(client: MilvusClient) -> None:
    make_places(client)
    client.insert("places", places())
    assert keys(client, "places", "ST_INTERSECTS(shape, 'POINT (1 1)')") == [2, 3]
    assert keys(client, "places", "st_within(at, {area})", filter_params={"area": TOLD[2]}) == [1]
    near = {"from": "POINT (1 1.001)", "metres": 112}
    assert keys(client, "places", "st_dwithin(at, {from}, {metres})", filter_params=near) == [1]
    assert keys(client, "places", "st_dwithin(at, {from}, {metres})", filter_params={**near, "metres": 111.1}) == []
    assert keys(client, "places", "st_isvalid(at) and at is not null") == [1, 3]
    (hits,) = client.search("places", [vector(0)], limit=4, filter="st_touches(shape, 'POINT (1 1)')")
    assert [hit["id"] for hit in hits] == [3]
    client.delete("places", filter="st_equals(shape, 'POINT EMPTY') or st_contains(shape, 'POINT (1 1)')")
    assert set(keys(client, "places", "id >= 0")) <= {0, 1, 3}
    with refused(1100, "syntax error"):
        client.query("places", "st_within(at, {area})", filter_params={"area": "POLYGON ((0 0, 1 0, 1 1))"})
    with refused(1100, "only supports POINT geometry"):
        client.query("places", f"st_dwithin(at, '{TOLD[2]}', 5)")
    with refused(1100, "distance parameter must be non-negative"):
        client.query("places", "st_dwithin(at, 'POINT (1 1)', -5)")
    with refused(1100, "comparisons between Geometry and VarChar"):
        client.query("places", "at == 'POINT (1 1)'")


def test_an_index_is_kept_and_finished_at_once(client: MilvusClient) -> None:
    make_places(client)
    client.insert("places", places())
    client.flush("places")
    for field, kind in (("shape", "RTREE"), ("at", "AUTOINDEX")):
        indexes = client.prepare_index_params()
        indexes.add_index(field, index_type=kind)
        client.create_index("places", indexes)
        told = client.describe_index("places", field)
        assert (told["index_type"], told["state"], told["pending_index_rows"]) == (kind, "Finished", 0)
    assert keys(client, "places", "st_within(shape, 'POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0))')") == [2, 3]
    indexes = client.prepare_index_params()
    indexes.add_index("id", index_type="RTREE")
    with refused(1100, "RTREE index can only be built on geometry field"):
        client.create_index("places", indexes)


def test_what_is_no_geometry_is_refused(client: MilvusClient) -> None:
    make_places(client)
    for shape in ("", "POLYGON ((0 0, 1 0, 1 1))", "LINESTRING (1 1)", "POINT (1 2 3 4 5)"):
        with refused(1100, "invalid Geometry data, transform to wkb failed: syntax error"):
            client.insert("places", [{**places()[0], "shape": shape}])
    assert keys(client, "places", "id >= 0") == []


def test_a_default_has_to_be_wkt_and_added_fields_have_it(client: MilvusClient) -> None:
    from pymilvus import DataType

    make_places(client)
    client.insert("places", places())
    client.add_collection_field("places", "due", DataType.GEOMETRY, nullable=True, default_value="POINT(7 7)")
    assert keys(client, "places", "st_equals(due, 'POINT (7 7)')") == [0, 1, 2, 3]
    with refused(1100, "invalid default value for geometry field"):
        client.add_collection_field("places", "far", DataType.GEOMETRY, nullable=True, default_value="POINT (7")


@pytest.mark.parametrize("key", ["is_partition_key", "is_clustering_key"])
def test_a_geometry_is_no_key(client: MilvusClient, key: str) -> None:
    from pymilvus.exceptions import MilvusException

    with pytest.raises(MilvusException):
        make_places(client, **{key: True})
    assert not client.has_collection("places")
