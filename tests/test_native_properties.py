"""Properties of a collection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from elanus import DataType, Elanus, Field, InvalidParameter, Schema
from elanus.model.errors import IllegalSchema, IndexExists
from tests.native_case import BOOKS, DIM, books, keys_in, open_folder, vector, vectors


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def test_properties_are_set_and_taken_away(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("books", BOOKS, properties={"a": "1", "b": "2"})
    collection.set_properties({"b": "3", "c": "4"})
    collection.drop_properties(["a", "absent"])
    assert collection.properties == {"b": "3", "c": "4"}
    db.close()
    with open_folder(tmp_path) as again:
        assert again.collection("books").properties == {"b": "3", "c": "4"}


def test_what_properties_may_not(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    for wrong in ({"a": 1}, {1: "a"}, {"on_duplicate_key": "replace"}, {}):
        with pytest.raises(InvalidParameter):
            collection.set_properties(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter):
        collection.drop_properties([])
    assert collection.properties == {}


def test_values_that_cannot_be_are_refused_and_change_nothing(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS, properties={"mine": "1"})
    wrong: list[tuple[dict[str, str], str]] = [
        ({"warmup.vectorField": "soon"}, "invalid warmup value for key warmup.vectorField: invalid warmup policy"),
        ({"warmup": "sync"}, "only allowed at field level"),
        ({"query_mode": "small"}, r"valid values: \[large_topk\]"),
        ({"Query_Mode": "large_topk"}, 'did you mean "query_mode"'),
        ({"partitionkey.isolation": "maybe"}, "failed to parse partition key isolation property"),
        ({"partitionkey.isolation": "true"}, "no partition key field is set"),
        ({"collection.description": "d" * 1025}, "must not exceed 1024 bytes"),
        ({"dynamicfield.enabled": "perhaps"}, "invalid dynamic schema property value"),
        ({"allow_insert_auto_id": "true"}, "must be false when autoID is false"),
    ]
    only_altered: list[tuple[dict[str, str], str]] = [
        ({"max_field_id": "7"}, "cannot alter reserved collection property"),
        ({"namespace.mode": "partition"}, "cannot alter namespace.mode"),
        ({"cipher.key": "k"}, "can not alter cipher related properties"),
        ({"dynamicfield.enabled": "true", "more": "1"}, "with other properties at the same time"),
        ({"consistency_level": "Often"}, "invalid consistency level"),
    ]
    for properties, words in (*wrong, *only_altered):
        with pytest.raises((InvalidParameter, IllegalSchema), match=words):
            collection.set_properties({**properties, "more": "2"} if (properties, words) in wrong else properties)
    for properties, words in wrong:
        with pytest.raises((InvalidParameter, IllegalSchema), match=words):
            db.create_collection("other", BOOKS, properties=properties)
    for name, words in (("max_field_id", "cannot delete"), ("dynamicfield.enabled", "cannot delete key")):
        with pytest.raises(InvalidParameter, match=words):
            collection.drop_properties([name])
    assert collection.properties == {"mine": "1"}
    assert db.list_collections() == ["books"]
    # What clients are told of the largest id they may send again.
    assert db.create_collection("other", BOOKS, properties={"max_field_id": "700", "mine": "2"}).properties == {
        "mine": "2"
    }


def test_the_description_may_be_altered(db: Elanus, tmp_path: Path) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(3)))
    collection.set_properties({"collection.description": "what was read", "kept": "1"})
    assert collection.schema.description == "what was read"
    db.close()
    with open_folder(tmp_path) as again:
        collection = again.collection("books")
        assert collection.schema.description == "what was read"
        assert collection.properties == {"kept": "1"}
        assert collection.count() == 3


def test_large_answers_are_asked_for_by_a_property(db: Elanus) -> None:
    collection = db.create_collection("books", BOOKS)
    collection.insert(books(range(3)))
    for read in (
        lambda limit: collection.search([vector(0)], limit=limit)[0],
        lambda limit: collection.query("id >= 0", limit=limit),
    ):
        with pytest.raises(InvalidParameter, match=r"\[1, 16384\]"):
            read(16_385)
    collection.set_properties({"query_mode": "large_topk"})
    assert len(collection.search([vector(0)], limit=1_000_000)[0]) == 3
    assert collection.query("id >= 0", limit=999_999, offset=1).num_rows == 2
    with pytest.raises(InvalidParameter, match=r"\[1, 1000000\]"):
        collection.search([vector(0)], limit=1_000_001)
    # Of many queries, what they could find is bounded, and no memory is taken for what is not there.
    hits = collection.search(vectors(range(1000)), limit=999_999, offset=1)
    assert [len(found) for found in hits] == [2] * 1000
    assert [len(found) for found in collection.search(vectors(range(100)), limit=10, offset=900_000)] == [0] * 100
    collection.insert({"id": np.arange(3, 1003), "vector": vectors(range(3, 1003)), "title": ["-"] * 1000})
    with pytest.raises(InvalidParameter, match="number of result entries is too large: 9000 queries of 1003 hits each"):
        collection.search(vectors(range(9000)), limit=1_000_000)
    collection.create_index("vector", "FLAT", metric="L2")
    with pytest.raises(IndexExists, match="can not alter query_mode"):
        collection.drop_properties(["query_mode"])


ACCOUNTS = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
        Field("owner", DataType.VARCHAR, max_length=16, is_partition_key=True),
        Field("size", DataType.INT64),
    )
)


def test_isolated_searches_name_one_tenant(db: Elanus) -> None:
    collection = db.create_collection("c", ACCOUNTS, properties={"partitionkey.isolation": "true"})
    collection.insert([{"id": i, "vector": vector(i), "owner": f"o{i % 3}", "size": i} for i in range(30)])

    def search(condition: str) -> list[int]:
        return sorted(hit["id"] for hit in collection.search([vector(0)], limit=30, filter=condition)[0])

    for condition in (
        'owner == "o1"',
        'size < 9 and owner == "o1"',
        '(not (size > 8)) and ("o1" == owner and size > 0)',
    ):
        assert search(condition) == [i for i in range(1, 30, 3) if "size" not in condition or i < 9]
    missing = "partition key not found in expr or the expr is invalid when validating partition key isolation"
    for condition, words in (
        ("", missing),
        ("size < 9", missing),
        ("not (size < 9) or size == 3", missing),
        ('owner == "o1" or size < 9', "partition key isolation does not support OR"),
        ('size < 9 and not (owner == "o1")', "partition key isolation does not support NOT"),
        ('owner in ["o1"]', "partition key isolation does not support IN"),
        ('owner != "o1"', "partition key isolation does not support NotEqual"),
        ('owner > "o1" and owner == "o2"', "partition key isolation does not support GreaterThan"),
        ('"o0" < owner < "o2"', "partition key isolation does not support BinaryRange"),
        ("owner == size", missing),
        ("owner == - -size", missing),
    ):
        with pytest.raises(InvalidParameter, match=words):
            search(condition)
    assert collection.count('owner in ["o1", "o2"]') == 20  # it is searches that are isolated
    collection.set_properties({"partitionkey.isolation": "false"})
    assert search("size < 3") == [0, 1, 2]


@pytest.mark.parametrize("dtype", [DataType.INT64, DataType.VARCHAR])
def test_keys_may_be_given_where_the_property_lets_them(db: Elanus, dtype: DataType) -> None:
    key = Field("id", dtype, is_primary=True, auto_id=True, max_length=40 if dtype is DataType.VARCHAR else None)
    collection = db.create_collection("c", Schema((key, Field("vector", DataType.FLOAT_VECTOR, dim=DIM))))
    mine = [7, 8] if dtype is DataType.INT64 else ["seven", "eight"]
    rows = [{"id": k, "vector": vector(1)} for k in mine]
    with pytest.raises(
        InvalidParameter, match="can not assign primary field data when auto id enabled and allow_insert"
    ):
        collection.insert(rows)
    collection.set_properties({"allow_insert_auto_id": "True"})
    assert collection.insert(rows).keys.to_pylist() == mine
    assert collection.insert({"id": mine, "vector": vectors([2, 3])}).keys.to_pylist() == mine
    made = collection.insert([{"vector": vector(4)}]).keys.to_pylist()
    assert made[0] not in mine
    replaced = collection.upsert(rows[:1]).keys.to_pylist()
    assert replaced != mine[:1]  # an upsert gives a new key all the same
    assert set(keys_in(collection)) == {mine[1], *made, *replaced}
    with pytest.raises(InvalidParameter):
        collection.insert([rows[0], {"vector": vector(5)}])
    collection.set_properties({"allow_insert_auto_id": "false"})
    with pytest.raises(InvalidParameter, match="more fieldData has pass in"):
        collection.insert(rows)
