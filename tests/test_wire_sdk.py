"""The other faces of the SDK: its asynchronous client and its older objects."""

from __future__ import annotations

import asyncio

import pytest
from pymilvus import (
    AsyncMilvusClient,
    Collection,
    CollectionSchema,
    DataType,
    FieldSchema,
    MilvusException,
    connections,
    utility,
)

from tests.wire_case import DIM, Served, Wire, books, vector

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_the_asynchronous_client_works(remote: Wire, server: Served) -> None:
    async def scenario() -> None:
        client = AsyncMilvusClient(server.address)
        try:
            await client.create_collection("books", DIM, metric_type="L2")
            assert await client.list_collections() == ["books"]
            await asyncio.gather(*(client.insert("books", books([n])) for n in range(20)))
            found = await client.query("books", "id >= 15", output_fields=["title"])
            assert [row["id"] for row in found] == [15, 16, 17, 18, 19]
            searches = await asyncio.gather(*(client.search("books", [vector(n)], limit=1) for n in range(20)))
            assert [hits[0][0]["id"] for hits in searches] == list(range(20))
            assert (await client.upsert("books", books([3])))["upsert_count"] == 1
            assert (await client.delete("books", ids=[3]))["delete_count"] == 1
            assert [row["id"] for row in await client.get("books", ids=[2, 3])] == [2]
            await client.release_collection("books")
            with pytest.raises(MilvusException, match="not loaded"):
                await client.query("books", "id >= 0")
            await client.drop_collection("books")
        finally:
            await client.close()

    asyncio.run(scenario())


def test_the_older_objects_work(remote: Wire, server: Served) -> None:
    connections.connect("older", host="127.0.0.1", port=str(server.port))
    try:
        fields = [
            FieldSchema("id", DataType.INT64, is_primary=True),
            FieldSchema("vector", DataType.FLOAT_VECTOR, dim=DIM),
            FieldSchema("title", DataType.VARCHAR, max_length=100),
        ]
        collection = Collection("books", CollectionSchema(fields, "books"), using="older", consistency_level="Strong")
        collection.insert([[1, 2, 3], [vector(n) for n in (1, 2, 3)], ["a", "b", "c"]])
        assert collection.num_entities == 3
        params = {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8, "efConstruction": 64}}
        collection.create_index("vector", params)
        assert collection.index().params == params
        assert utility.index_building_progress("books", using="older")["pending_index_rows"] == 0
        collection.load()
        assert utility.load_state("books", using="older").name == "Loaded"
        assert utility.loading_progress("books", using="older") == {"loading_progress": "100%"}
        (hits,) = collection.search([vector(2)], "vector", {"params": {"ef": 16}}, limit=2, output_fields=["title"])
        assert [(hit.id, hit.distance, hit.entity.get("title")) for hit in hits] == [(2, 0.0, "b"), (1, 1.0, "a")]
        assert collection.query("id > 1", output_fields=["title"]) == [{"id": 2, "title": "b"}, {"id": 3, "title": "c"}]
        assert collection.delete("id in [1]").delete_count == 1
        partition = collection.create_partition("new")
        partition.insert([[7], [vector(7)], ["d"]])
        collection.flush()
        assert partition.num_entities == 1
        assert collection.num_entities == 3
        collection.compact()
        collection.wait_for_compaction_completed()
        iterator = collection.query_iterator(batch_size=2, expr="id > 0")
        assert [[row["id"] for row in page] for page in iter(iterator.next, [])] == [[2, 3], [7]]
        iterator.close()
        assert utility.has_collection("books", using="older")
        assert utility.list_collections(using="older") == ["books"]
        assert utility.get_server_version(using="older").startswith("2.6.")
        utility.create_alias("books", "current", using="older")
        assert Collection("current", using="older").num_entities == 3
        utility.drop_alias("current", using="older")
        collection.release()
        collection.drop_index()
        utility.drop_collection("books", using="older")
        assert not utility.has_collection("books", using="older")
    finally:
        connections.disconnect("older")
