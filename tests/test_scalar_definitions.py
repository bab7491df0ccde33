"""What may be declared of an index of a scalar field, and how it is told again: Milvus's words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elanus import Collection, DataType, Field, InvalidParameter, Schema
from elanus.model.errors import MissingParameter
from tests.native_case import open_folder

SCHEMA = Schema(
    (
        Field("id", DataType.VARCHAR, is_primary=True, max_length=8),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        Field("flag", DataType.BOOL),
        Field("number", DataType.INT16),
        Field("double", DataType.DOUBLE),
        Field("text", DataType.VARCHAR, max_length=8),
        Field("note", DataType.JSON),
    ),
    enable_dynamic_field=True,
)


@pytest.fixture
def collection(quick_path: Path) -> Iterator[Collection]:
    with open_folder(quick_path / "db") as db:
        yield db.create_collection("things", SCHEMA)


CAST = "json_cast_type"
GRAMS = {"min_gram": 2, "max_gram": 3}


@pytest.mark.parametrize(
    ("field", "kind", "params", "message"),
    [
        ("flag", "STL_SORT", {}, "STL_SORT are only supported on numeric, varchar or timestamptz field, got Bool"),
        ("double", "BITMAP", {}, "bitmap index are only supported on bool, int, string"),
        ("id", "BITMAP", {}, "create bitmap index on primary key not supported"),
        ("number", "Trie", {}, "TRIE are only supported on varchar field"),
        ("number", "NGRAM", GRAMS, "ngram index can only be created on VARCHAR or JSON field"),
        ("text", "NGRAM", {}, "Ngram index must specify both min_gram and max_gram"),
        ("text", "NGRAM", {"min_gram": 2}, "Ngram index must specify both min_gram and max_gram"),
        ("text", "NGRAM", {"min_gram": "x", "max_gram": 3}, "min_gram for Ngram index must be an integer, got: x"),
        ("text", "NGRAM", {"min_gram": 0, "max_gram": 3}, "invalid min_gram or max_gram value for Ngram index"),
        ("text", "NGRAM", {"min_gram": 3, "max_gram": 2}, "min_gram: 3, max_gram: 2"),
        ("note", "NGRAM", GRAMS, "JSON field with ngram index must specify json_cast_type"),
        ("note", "NGRAM", {CAST: "double", **GRAMS}, "only supports VARCHAR cast type, got: DOUBLE"),
        ("note", "INVERTED", {}, "json index must specify cast type"),
        ("note", "INVERTED", {CAST: "DATE"}, "json_cast_type DATE is not supported"),
        ("note", "BITMAP", {CAST: "DOUBLE"}, "json_cast_type DOUBLE is not supported for BITMAP index"),
        ("note", "STL_SORT", {CAST: "BOOL"}, "json_cast_type BOOL is not supported for STL_SORT index"),
        ("note", "INVERTED", {CAST: "BOOL", "json_cast_function": "F"}, "json_cast_function F is not supported"),
        (
            "note",
            "INVERTED",
            {CAST: "BOOL", "json_cast_function": "string_to_double"},
            "json_cast_function STRING_TO_DOUBLE is not supported for json_cast_type BOOL",
        ),
        ("note", "INVERTED", {CAST: "BOOL", "json_path": "/a"}, "mismatched input '/'"),
        ("note", "INVERTED", {CAST: "BOOL", "json_path": "a['b"}, "cannot parse identifier"),
        ("note", "INVERTED", {CAST: "BOOL", "json_path": "text['b']"}, "fieldID not match with field name"),
        ("text", "HYBRID", {}, "invalid index type: HYBRID"),
        ("text", "HNSW", {}, "index HNSW only supports vector data type"),
        ("text", "STL_SORT", {"mmap.enabled": "true"}, "index type STL_SORT does not support mmap"),
        ("text", "INVERTED", {"mmap.enabled": "maybe"}, "invalid mmap.enabled value: maybe, expected: true, false"),
        ("text", "INVERTED", {"indexoffsetcache.enabled": "true"}, "only bitmap index support indexoffsetcache"),
        ("text", "INVERTED", {"warmup": "often"}, "invalid warmup policy: often"),
    ],
)
def test_what_an_index_of_a_scalar_field_may_not(
    collection: Collection, field: str, kind: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises((InvalidParameter, MissingParameter), match=message):
        collection.create_index(field, kind, params=params)
    assert collection.list_indexes() == []


def test_paths_of_a_json_field_have_an_index_each_and_no_second_one(collection: Collection) -> None:
    def create(path: str, name: str = "", cast: str = "DOUBLE", field: str = "note") -> None:
        collection.create_index(field, "INVERTED", params={CAST: cast, "json_path": path}, name=name)

    create("note['a']")
    create("note['a']")
    create("note['a']['b'][0]")
    create("note", cast="JSON")
    create(r'note["k\""]', name="quoted")
    with pytest.raises(InvalidParameter, match="at most one distinct index"):
        create("note['a']", cast="VARCHAR")
    with pytest.raises(InvalidParameter, match="creating multiple indexes on same field is not supported"):
        create('note["a"]', name="other")
    create("$meta['colour']", field="colour", name="colours")
    with pytest.raises(InvalidParameter, match="creating multiple indexes on same field is not supported"):
        create("colour", field="colour", name="other")
    assert [(i.name, i.field) for i in collection.list_indexes()] == [
        ("colours", "colour"),
        ("note", "note"),
        ("note/a", "note"),
        ("note/a/b/0", "note"),
        ("quoted", "note"),
    ]


def test_a_field_has_one_index_and_autoindex_is_told_as_such(collection: Collection) -> None:
    collection.create_index("text", "AUTOINDEX")
    collection.create_index("text", "AUTOINDEX")
    assert collection.describe_index("text").kind == "AUTOINDEX"
    with pytest.raises(InvalidParameter, match="at most one distinct index"):
        collection.create_index("text", "INVERTED")
    with pytest.raises(InvalidParameter, match="creating multiple indexes on same field"):
        collection.create_index("text", "INVERTED", name="second")
    collection.drop_index("text")
    collection.create_index("text", "TRIE", name="second")
    assert collection.describe_index("second").kind == "Trie"
