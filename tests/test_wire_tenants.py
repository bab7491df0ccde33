"""Partition keys, as Milvus clients use them."""

from __future__ import annotations

from typing import Any

from pymilvus import DataType, MilvusClient

from tests.wire_case import DIM, make, refused, vector


def make_tenants(client: MilvusClient, **more: Any) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("tenant", DataType.VARCHAR, max_length=16, is_partition_key=True)
    make(client, "tenants", schema, {"vector": "AUTOINDEX"}, **more)


def row(number: int, tenant: str) -> dict[str, Any]:
    return {"id": number, "vector": vector(number), "tenant": tenant}


def test_rows_are_dealt_out_and_found_by_their_tenant(client: MilvusClient) -> None:
    make_tenants(client, num_partitions=8)
    described = client.describe_collection("tenants")
    assert described["num_partitions"] == 8
    assert [field["name"] for field in described["fields"] if field.get("is_partition_key")] == ["tenant"]
    assert client.list_partitions("tenants") == [f"_default_{n}" for n in range(8)]
    client.insert("tenants", [row(n, f"t{n % 10}") for n in range(100)])
    client.upsert("tenants", [row(5, "t7")])
    found = client.query("tenants", "tenant == 't7'", output_fields=["id"])
    assert [hit["id"] for hit in found] == [5, *range(7, 100, 10)]
    assert 5 not in [hit["id"] for hit in client.query("tenants", "tenant == 't5'", output_fields=["id"])]
    (hits,) = client.search("tenants", [vector(50)], limit=3, filter="tenant == 't7'")
    assert {hit["id"] for hit in hits} == {47, 57, 37}
    assert client.delete("tenants", filter="tenant == 't7' and id > 50")["delete_count"] == 5
    assert client.query("tenants", "tenant == 't7'", output_fields=["count(*)"])[0]["count(*)"] == 6
    rows = [int(client.get_partition_stats("tenants", name)["row_count"]) for name in client.list_partitions("tenants")]
    assert sum(rows) == 95


def test_partitions_cannot_be_named(client: MilvusClient) -> None:
    make_tenants(client)
    assert client.describe_collection("tenants")["num_partitions"] == 16
    named = "not support manually specifying the partition names if partition key mode is used"
    with refused(1100, named):
        client.insert("tenants", [row(1, "a")], partition_name="_default_0")
    with refused(1100, named):
        client.search("tenants", [vector(1)], limit=1, partition_names=["_default_0"])
    with refused(1100, named):
        client.query("tenants", "id > 0", partition_names=["_default_0"])
    with refused(1100, named):
        client.delete("tenants", ids=[1], partition_name="_default_0")
    with refused(1100, "disable create partition if partition key mode is used"):
        client.create_partition("tenants", "p")
    with refused(1100, "disable drop partition if partition key mode is used"):
        client.drop_partition("tenants", "_default_0")
    with refused(1100, "disable load partitions if partition key mode is used"):
        client.load_partitions("tenants", ["_default_0"])
    with refused(1100, "disable release partitions if partition key mode is used"):
        client.release_partitions("tenants", ["_default_0"])


def test_numbers_of_partitions_are_checked(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    with refused(1100, "num_partitions should only be specified with partition key field enabled"):
        client.create_collection("plain", schema=schema, num_partitions=4)
    schema.add_field("tenant", DataType.INT64, is_partition_key=True)
    with refused(1100, "exceeds max configuration (1024)"):
        client.create_collection("many", schema=schema, num_partitions=1025)


def test_isolated_searches_say_of_which_tenant_they_are(client: MilvusClient) -> None:
    make_tenants(client, properties={"partitionkey.isolation": "true"})
    client.insert("tenants", [row(n, f"t{n % 3}") for n in range(9)])
    (hits,) = client.search(
        "tenants", [vector(0)], limit=9, filter="tenant == {whose} and id > 1", filter_params={"whose": "t1"}
    )
    assert [hit["id"] for hit in hits] in ([4, 7], [7, 4])
    for condition, why in (
        ("", "partition key not found in expr or the expr is invalid when validating partition key isolation"),
        ("tenant in ['t1']", "partition key isolation does not support IN"),
        ("tenant == 't1' or id == 1", "partition key isolation does not support OR"),
        ("not (tenant == 't1')", "partition key isolation does not support NOT"),
    ):
        with refused(1100, why):
            client.search("tenants", [vector(0)], limit=9, filter=condition)
    with refused(702, "can not alter partition key isolation mode if the collection already has a vector index"):
        client.alter_collection_properties("tenants", {"partitionkey.isolation": "false"})
