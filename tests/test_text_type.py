"""The type Text: long texts, which filters ask for their words alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elanus import DataType, Field, InvalidParameter, Schema, SchemaMismatch
from elanus.model.schema import MAX_TEXT_BYTES
from tests.native_case import STATES, bring_to, keys_in, open_folder, vectors
from tests.wire_case import DIM, Wire, keys, make, refused

LONG = "wörter " * 30_000 + "needle haystack"
LONGEST = "x" * (MAX_TEXT_BYTES - 8) + " longest"
TEXTS = ["a quick fox", None, LONG, "", LONGEST, "quick needle"]
MATCHED = {"enable_analyzer": "true", "enable_match": "true"}


def schema() -> Schema:
    return Schema(
        (
            Field("id", DataType.INT64, is_primary=True),
            Field("vector", DataType.FLOAT_VECTOR, dim=4),
            Field("text", DataType.TEXT, nullable=True, params=MATCHED),
            Field("bare", DataType.TEXT, nullable=True),
        )
    )


@pytest.mark.parametrize("state", STATES)
def test_long_texts_are_kept_and_found_in_every_state(tmp_path: Path, state: str) -> None:
    db = open_folder(tmp_path, index_min_rows=2)
    try:
        collection = db.create_collection("texts", schema())
        numbers = list(range(len(TEXTS)))
        collection.insert({"id": numbers, "vector": vectors(numbers), "text": TEXTS})
        db, collection = bring_to(state, db, collection, tmp_path)
        found = collection.query("id >= 0", output_fields=["id", "text", "bare"])
        assert dict(zip(found.column("id").to_pylist(), found.column("text").to_pylist(), strict=True)) == dict(
            enumerate(TEXTS)
        )
        assert found.column("bare").to_pylist() == [None] * len(TEXTS)
        for condition, expected in [
            ("text_match(text, 'needle')", [2, 5]),
            ("text_match(text, 'longest')", [4]),
            ("not text_match(text, 'quick')", [2, 3, 4]),
            ("phrase_match(text, 'wörter needle')", [2]),
            ("text_match_fuzzy(text, 'neddle', max_edit_distance=1)", [2, 5]),
            ("text is null", [1]),
            ("text is not null and id < 3", [0, 2]),
        ]:
            assert keys_in(collection, condition) == expected, condition
    finally:
        db.close()


def test_what_a_text_field_may_not_be(tmp_path: Path) -> None:
    with open_folder(tmp_path) as db:
        key, vector, text, _ = schema().fields
        for wrong, reason in [
            (replace(text, default="x"), "type not support default_value, type:Text"),
            (replace(text, nullable=False, is_partition_key=True), "partition key"),
            (replace(text, max_length=MAX_TEXT_BYTES + 1), "maximum length"),
        ]:
            with pytest.raises(InvalidParameter, match=reason):
                db.create_collection("wrong", Schema((key, vector, wrong)))
        collection = db.create_collection("texts", schema())
        with pytest.raises(SchemaMismatch, match="length of text field text exceeds max length, row number: 1"):
            collection.insert({"id": [1, 2], "vector": vectors([1, 2]), "text": ["a", LONGEST + "x"]})
        with pytest.raises(SchemaMismatch, match='"text" holds Text; got 7'):
            collection.insert({"id": [1], "vector": vectors([1]), "text": [7]})
        assert collection.count() == 0
        for condition in ("text == 'a'", "text like 'a%'", "text in ['a']", "bare > 'a'"):
            with pytest.raises(InvalidParameter, match="filter on text field"):
                collection.query(condition)
        with pytest.raises(InvalidParameter, match="does not enable match"):
            collection.query("text_match(bare, 'a')")
        with pytest.raises(InvalidParameter, match="TEXT field does not support user-created scalar index"):
            collection.create_index("text", "INVERTED")


def test_clients_write_and_read_long_texts(wire: Wire) -> None:
    from pymilvus import DataType as Kind

    client = wire.client
    declared = client.create_schema()
    declared.add_field("id", Kind.INT64, is_primary=True)
    declared.add_field("vector", Kind.FLOAT_VECTOR, dim=DIM)
    declared.add_field("text", Kind.TEXT, nullable=True, enable_analyzer=True, enable_match=True)
    make(client, "texts", declared, {"vector": "AUTOINDEX"})
    assert client.describe_collection("texts")["fields"][2]["type"] == Kind.TEXT
    rows = [{"id": i, "vector": [float(i)] * DIM, "text": text} for i, text in enumerate(TEXTS)]
    client.insert("texts", rows)
    found = client.query("texts", "id >= 0", output_fields=["text"])
    assert {row["id"]: row["text"] for row in found} == dict(enumerate(TEXTS))
    assert keys(client, "texts", "text_match(text, 'needle')") == [2, 5]
    hits = client.search("texts", [[2.0] * DIM], limit=1, output_fields=["text"], filter="text_match(text, 'haystack')")
    assert hits[0][0]["entity"]["text"] == LONG
    with refused(1100, "filter on text field"):
        client.query("texts", "text == 'a'")
