"""pymilvus itself, in releases older than the one that Elanus is built with: the client, its coroutines and the ORM."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pymilvus import (
    AsyncMilvusClient,
    Collection,
    CollectionSchema,
    DataType,
    FieldSchema,
    MilvusClient,
    MilvusException,
    connections,
    utility,
)

from clients.embedding import DIM, embed
from clients.passages import BY_KEY, PASSAGES
from clients.scenario import URI, run

client = MilvusClient(URI)

ROWS: list[dict[str, Any]] = [
    {"id": number, "vector": embed(p.text), "key": p.key, "text": p.text, "topic": p.topic, "year": p.year}
    for number, p in enumerate(PASSAGES)
]


def fresh(name: str) -> str:
    if client.has_collection(name):
        client.drop_collection(name)
    return name


def quick(name: str = "quick") -> str:
    client.create_collection(fresh(name), dimension=DIM, consistency_level="Strong")
    client.insert(name, ROWS)
    return name


def with_schema(name: str = "schema") -> str:
    """Keys are words, and every field is one of the schema."""
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description="passages")
    schema.add_field("key", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("text", DataType.VARCHAR, max_length=1000)
    schema.add_field("topic", DataType.VARCHAR, max_length=64, nullable=True)
    schema.add_field("year", DataType.INT64, default_value=2000)
    schema.add_field("about", DataType.JSON)
    schema.add_field("weight", DataType.FLOAT)
    schema.add_field("rare", DataType.BOOL)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 64})
    indexes.add_index("year", index_type="STL_SORT")
    indexes.add_index("topic", index_type="INVERTED")
    client.create_collection(fresh(name), schema=schema, index_params=indexes)
    rows = [
        {
            **{field: row[field] for field in ("key", "vector", "text", "topic", "year")},
            "about": {"words": len(row["text"].split()), "tags": [row["topic"], row["key"]]},
            "weight": number / 8,
            "rare": number % 5 == 0,
        }
        for number, row in enumerate(ROWS)
    ]
    assert client.insert(name, rows)["insert_count"] == len(rows)
    return name


def keys(hits: Any) -> list[str]:
    return [hit["entity"]["key"] for hit in hits]


def close(a: float, b: float) -> bool:
    return abs(a - b) < 1e-5


def refusal(call: Callable[[], object]) -> int:
    """The code of the error that `call` meets."""
    try:
        call()
    except MilvusException as error:
        return int(error.code)
    raise AssertionError("there was no error")


def the_server_says_what_it_is() -> None:
    assert client.get_server_version().startswith("2.6"), client.get_server_version()


def a_quick_collection_is_ready_at_once() -> None:
    name = quick()
    assert name in client.list_collections()
    assert client.get_load_state(name)["state"].name == "Loaded"
    hits = client.search(name, data=[ROWS[3]["vector"], ROWS[5]["vector"]], limit=3, output_fields=["key", "year"])
    assert [keys(of)[0] for of in hits] == ["heron", "birch"]
    assert close(hits[0][0]["distance"], 1), hits[0][0]
    assert hits[0][0]["id"] == 3
    assert hits[0][0]["entity"] == {"key": "heron", "year": 2020}
    assert len(hits[1]) == 3


def a_schema_is_described_as_it_was_made() -> None:
    name = with_schema()
    described = client.describe_collection(name)
    fields = {field["name"]: field for field in described["fields"]}
    assert fields["key"]["is_primary"]
    assert fields["key"]["params"]["max_length"] == 64
    assert fields["vector"]["params"]["dim"] == DIM
    assert fields["vector"]["type"] == DataType.FLOAT_VECTOR
    assert fields["topic"]["nullable"]
    assert described["description"] == "passages"
    assert described["enable_dynamic_field"] is False
    assert sorted(client.list_indexes(name)) == ["topic", "vector", "year"]
    index = client.describe_index(name, "vector")
    assert (index["index_type"], index["metric_type"], int(index["M"])) == ("HNSW", "L2", 16), index


def rows_come_back_as_they_went_in() -> None:
    name = with_schema()
    (row,) = client.get(name, ids=["slate"])
    assert row["text"] == BY_KEY["slate"].text
    assert row["about"] == {"words": 12, "tags": ["stones", "slate"]}, row["about"]
    assert (row["weight"], row["rare"], row["year"]) == (10 / 8, True, 2015)
    assert max(abs(a - b) for a, b in zip(row["vector"], embed(BY_KEY["slate"].text), strict=True)) < 1e-6
    bare = {
        "key": "bare",
        "vector": embed("bare"),
        "text": "",
        "about": {},
        "weight": 0.5,
        "rare": False,
        "topic": None,
    }
    client.insert(name, [bare])
    (row,) = client.get(name, ids=["bare"], output_fields=["topic", "year"])
    assert (row["topic"], row["year"]) == (None, 2000)


def filters_choose_rows() -> None:
    name = with_schema()

    def matching(text: str, **more: Any) -> list[str]:
        return sorted(row["key"] for row in client.query(name, filter=text, output_fields=["key"], **more))

    assert matching('topic == "trees" and year > 2000') == ["birch", "pine", "willow"]
    assert matching("year in [1998, 2003] or rare == true") == [
        "basalt", "birch", "eagle", "oak", "owl", "slate",
    ]  # fmt: skip
    assert matching('text like "%river%"') == ["eagle", "heron", "willow"]
    assert matching('about["words"] > 13') == ["eagle"]
    assert matching('about["tags"][1] == "owl"') == ["owl"]
    assert matching("key in {wanted}", filter_params={"wanted": ["oak", "none"]}) == ["oak"]
    assert matching("not (year < 2020)") == ["flint", "heron", "pine"]
    hits = client.search(name, [embed("river")], limit=12, filter="weight >= 1.0", output_fields=["key"])
    assert sorted(keys(hits[0])) == ["basalt", "flint", "granite", "slate"]
    assert client.query(name, filter="year > 2010", output_fields=["count(*)"])[0]["count(*)"] == 6


def searches_take_parameters() -> None:
    name = with_schema()
    query = embed(BY_KEY["eagle"].text)
    everything = client.search(name, [query], limit=12, search_params={"params": {"ef": 64}})[0]
    page = client.search(name, [query], limit=4, search_params={"params": {"ef": 64}, "offset": 2})[0]
    assert [hit["id"] if "id" in hit else hit["key"] for hit in page] == [
        hit["id"] if "id" in hit else hit["key"] for hit in everything[2:6]
    ]
    near = client.search(name, [query], limit=12, search_params={"params": {"radius": 1.5, "range_filter": 0.0}})[0]
    assert [hit["distance"] for hit in near] == [hit["distance"] for hit in everything if hit["distance"] < 1.5]


def rows_are_deleted() -> None:
    name = quick()
    assert client.delete(name, ids=[0, 1, 99])["delete_count"] == 3
    assert client.delete(name, filter='topic == "stones"')["delete_count"] == 4
    assert [row["id"] for row in client.query(name, filter="id >= 0", output_fields=["id"])] == [2, 3, 4, 5, 6, 7]
    assert client.get(name, ids=[0]) == []
    assert client.get_collection_stats(name)["row_count"] == 6


def rows_are_replaced() -> None:
    name = quick()
    changed = {**ROWS[1], "text": "Penguins march", "vector": embed("Penguins march"), "year": 2024}
    assert client.upsert(name, [changed, {**ROWS[0], "id": 100}])["upsert_count"] == 2
    (row,) = client.get(name, ids=[1], output_fields=["text", "year"])
    assert row == {"id": 1, "text": "Penguins march", "year": 2024}, row
    assert client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"] == 13


def iterators_bring_every_row_once() -> None:
    name = quick()
    seen: list[int] = []
    pages = client.query_iterator(name, batch_size=5, filter="id >= 0", output_fields=["id"])
    while page := pages.next():
        seen += [row["id"] for row in page]
    pages.close()
    assert seen == list(range(12)), seen
    found: list[int] = []
    pages = client.search_iterator(name, data=[embed("river")], batch_size=5, limit=10, output_fields=["id"])
    while page := pages.next():
        found += [hit["id"] for hit in page]
    pages.close()
    assert len(found) == len(set(found)) == 10, found
    best = client.search(name, data=[embed("river")], limit=3)[0]
    assert {hit["id"] for hit in best if hit["distance"] > best[2]["distance"]} <= set(found[:3])


def partitions_hold_their_rows() -> None:
    name = quick()
    client.create_partition(name, "archive")
    client.insert(name, [{**row, "id": row["id"] + 100} for row in ROWS], partition_name="archive")
    assert sorted(client.list_partitions(name)) == ["_default", "archive"]
    hits = client.search(name, [ROWS[3]["vector"]], limit=2, partition_names=["archive"])[0]
    assert hits[0]["id"] == 103
    client.release_partitions(name, ["archive"])
    client.drop_partition(name, "archive")
    assert client.query(name, filter="id >= 100", output_fields=["id"]) == []


def aliases_and_databases_name_collections() -> None:
    name = quick()
    client.create_alias(name, "current")
    assert client.search("current", [ROWS[4]["vector"]], limit=1)[0][0]["id"] == 4
    client.alter_alias(quick("other"), "current")
    assert client.describe_alias("current")["collection_name"] == "other"
    client.drop_alias("current")
    client.create_database("elsewhere")
    there = MilvusClient(URI, db_name="elsewhere")
    assert there.list_collections() == []
    there.create_collection("quick", dimension=4)
    assert there.describe_collection("quick")["fields"][1]["params"]["dim"] == 4
    there.drop_collection("quick")
    there.close()
    client.drop_database("elsewhere")
    assert "elsewhere" not in client.list_databases()


def a_collection_is_released_loaded_renamed_and_altered() -> None:
    name = quick()
    client.release_collection(name)
    assert refusal(lambda: client.search(name, [ROWS[0]["vector"]], limit=1)) == 101
    client.alter_collection_properties(name, {"collection.ttl.seconds": 86400})
    assert client.describe_collection(name)["properties"]["collection.ttl.seconds"] == "86400"
    client.drop_index(name, "vector")
    params = client.prepare_index_params()
    params.add_index("vector", index_type="IVF_FLAT", metric_type="COSINE", params={"nlist": 4})
    client.create_index(name, params)
    client.load_collection(name)
    client.flush(name)
    client.rename_collection(name, fresh("renamed"))
    assert (
        client.search("renamed", [ROWS[7]["vector"]], limit=1, search_params={"params": {"nprobe": 4}})[0][0]["id"] == 7
    )


def errors_carry_the_codes_of_milvus() -> None:
    name = quick()
    assert refusal(lambda: client.describe_collection("absent")) == 100
    assert refusal(lambda: client.search(name, [[0.5] * 3], limit=1)) == 1100
    assert refusal(lambda: client.query(name, filter="year >>> 3")) == 1100
    assert refusal(lambda: client.search(name, [ROWS[0]["vector"]], limit=100_000)) == 1100
    assert not client.has_collection("absent")


def coroutines_do_the_same() -> None:
    async def all_of_it() -> None:
        asynchronous = AsyncMilvusClient(URI)
        await asynchronous.create_collection(fresh("coroutines"), dimension=DIM, consistency_level="Strong")
        await asynchronous.insert("coroutines", ROWS)
        hits = await asyncio.gather(
            *(asynchronous.search("coroutines", [row["vector"]], limit=1, output_fields=["key"]) for row in ROWS)
        )
        assert [keys(of[0])[0] for of in hits] == [p.key for p in PASSAGES]
        await asynchronous.delete("coroutines", ids=[3])
        assert await asynchronous.get("coroutines", ids=[3]) == []
        assert len(await asynchronous.query("coroutines", filter="year > 2010", output_fields=["id"])) == 5
        await asynchronous.close()

    asyncio.run(all_of_it())


def the_orm_does_the_same() -> None:
    connections.connect("orm", uri=URI)
    if utility.has_collection("orm", using="orm"):
        utility.drop_collection("orm", using="orm")
    schema = CollectionSchema(
        [
            FieldSchema("id", DataType.INT64, is_primary=True, auto_id=True),
            FieldSchema("year", DataType.INT32),
            FieldSchema("key", DataType.VARCHAR, max_length=64),
            FieldSchema("vector", DataType.FLOAT_VECTOR, dim=DIM),
        ]
    )
    books = Collection("orm", schema, using="orm", consistency_level="Strong")
    made = books.insert([[p.year for p in PASSAGES], [p.key for p in PASSAGES], [embed(p.text) for p in PASSAGES]])
    assert len(set(made.primary_keys)) == 12
    books.flush()
    assert books.num_entities == 12
    books.create_index("vector", {"index_type": "IVF_FLAT", "metric_type": "IP", "params": {"nlist": 4}})
    utility.wait_for_index_building_complete("orm", using="orm")
    assert books.indexes[0].params["metric_type"] == "IP"
    books.load()
    utility.wait_for_loading_complete("orm", using="orm")
    hits = books.search(
        [embed(BY_KEY["pine"].text)], "vector", {"metric_type": "IP", "params": {"nprobe": 4}}, limit=2,
        expr="year > 2000", output_fields=["key"],
    )  # fmt: skip
    assert hits[0][0].entity.get("key") == "pine"
    assert close(hits[0][0].distance, 1)
    assert hits[0].ids[0] == made.primary_keys[7]
    assert books.delete(f"id in [{made.primary_keys[0]}]").delete_count == 1
    assert books.query("year == 1998", output_fields=["key"])[0]["key"] == "oak"
    books.release()
    utility.drop_collection("orm", using="orm")
    connections.disconnect("orm")


if __name__ == "__main__":
    run(
        ("pymilvus", "grpcio", "protobuf"),
        (
            the_server_says_what_it_is,
            a_quick_collection_is_ready_at_once,
            a_schema_is_described_as_it_was_made,
            rows_come_back_as_they_went_in,
            filters_choose_rows,
            searches_take_parameters,
            rows_are_deleted,
            rows_are_replaced,
            iterators_bring_every_row_once,
            partitions_hold_their_rows,
            aliases_and_databases_name_collections,
            a_collection_is_released_loaded_renamed_and_altered,
            errors_carry_the_codes_of_milvus,
            coroutines_do_the_same,
            the_orm_does_the_same,
        ),
    )
