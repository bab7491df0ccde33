"""Indexes of scalar fields and columns of JSON paths, which no answer needs: lost or torn, they cost time alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient

import elanus
from elanus.model.errors import StoreError
from tests.native_case import open_folder, until
from tests.wire_case import served

ROWS = 1_400
SUFFIXES = {".index", ".paths"}
FILTERS = {
    "number == 7": 20,
    'doc["a"]["b"] > 1300': 99,
    "colour == 'red' and number == 3": 10,
    'json_contains(doc["tags"], "t5")': 14,
    'doc["name"] like "n13%" and text_match(title, "book")': 111,
}


def a_row(key: int) -> dict[str, Any]:
    document = {"a": {"b": key}, "name": f"n{key}", "tags": [f"t{key % 100}", key]}
    colour = "red" if key // 70 % 2 else "blue"
    return {
        "id": key,
        "vector": [key, 1.0],
        "number": key % 70,
        "doc": document,
        "title": f"book {key}",
        "colour": colour,
    }


def fill(client: MilvusClient) -> None:
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("number", DataType.INT64)
    schema.add_field("doc", DataType.JSON)
    schema.add_field("title", DataType.VARCHAR, max_length=64, enable_analyzer=True, enable_match=True)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    indexes.add_index("number", index_type="INVERTED")
    indexes.add_index(
        "doc", index_type="INVERTED", params={"json_path": "doc['tags']", "json_cast_type": "ARRAY_VARCHAR"}
    )
    client.create_collection("rows", schema=schema, index_params=indexes)
    client.insert("rows", [a_row(key) for key in range(ROWS)])
    client.flush("rows")


def counts(client: MilvusClient) -> dict[str, int]:
    return {text: client.query("rows", text, output_fields=["count(*)"])[0]["count(*)"] for text in FILTERS}


def spare(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*.*")) if file.name != "keys.index" and file.suffix in SUFFIXES]


def torn(file: Path) -> None:
    """Leave half of a file."""
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_they_may_be_lost_under_a_running_server_and_torn_before_it_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with served(tmp_path) as server:
        client = MilvusClient(server.address)
        fill(client)
        until(lambda: len(spare(tmp_path)) == 5)
        for file in spare(tmp_path):
            file.unlink()
        assert counts(client) == FILTERS
        until(lambda: len(spare(tmp_path)) == 5)
        assert counts(client) == FILTERS
        client.close()
        assert len([line for line in server.errors if "left aside" in line]) == 5
    for file in spare(tmp_path):
        torn(file)
    for expected in (5, 0):
        caplog.clear()
        with open_folder(tmp_path) as db:
            rows = db.collection("rows")
            assert {text: rows.count(text) for text in FILTERS} == FILTERS
            assert len([r for r in caplog.records if "left aside" in r.message]) == expected
            rows.wait_for_indexes()
            assert "asking indexes doc/tags, number" in str(
                rows.explain([1.0, 0.0], filter='number == 5 and json_contains(doc["tags"], "t6")')
            )


def test_the_loss_of_data_is_an_error(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        rows = db.create_collection(
            "rows",
            elanus.Schema(
                (
                    elanus.Field("id", elanus.DataType.INT64, is_primary=True),
                    elanus.Field("vector", elanus.DataType.FLOAT_VECTOR, dim=2),
                    elanus.Field("number", elanus.DataType.INT64),
                )
            ),
        )
        rows.insert([{"id": key, "vector": [1.0, 0.0], "number": key} for key in range(20)])
        rows.flush()
    for file in tmp_path.rglob("*.column"):
        file.unlink()
    with open_folder(tmp_path) as db, pytest.raises(StoreError):
        db.collection("rows").count("number == 5")
