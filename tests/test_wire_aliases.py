"""Aliases, as Milvus clients use them."""

from __future__ import annotations

import pytest
from pymilvus import MilvusClient

from tests.wire_case import books, keys, make_books, refused


@pytest.fixture(autouse=True)
def collections(client: MilvusClient) -> None:
    make_books(client, "blue")
    make_books(client, "green")
    client.insert("green", books([7]))


def test_an_alias_stands_for_its_collection_in_every_request(client: MilvusClient) -> None:
    client.create_alias("blue", "current")
    client.insert("current", books([1, 2]))
    assert keys(client, "current") == keys(client, "blue") == [1, 2]
    assert client.has_collection("current")
    assert client.describe_collection("current")["collection_name"] == "blue"
    assert client.describe_collection("blue")["aliases"] == ["current"]
    assert client.list_collections() == ["blue", "green"]
    assert [hit["id"] for hit in client.search("current", [[2.0, 1, 0, 0]], limit=1)[0]] == [2]


def test_an_altered_alias_takes_effect_at_once(client: MilvusClient) -> None:
    client.create_alias("blue", "current")
    assert keys(client, "current") == []
    client.alter_alias("green", "current")
    assert keys(client, "current") == [7]
    client.insert("current", books([8]))
    assert keys(client, "green") == [7, 8]
    assert client.describe_alias("current") == {"alias": "current", "collection_name": "green", "db_name": "default"}


def test_aliases_are_listed_by_collection_or_all(client: MilvusClient) -> None:
    client.create_alias("blue", "one")
    client.create_alias("blue", "two")
    client.create_alias("green", "three")
    assert client.list_aliases("blue")["aliases"] == ["one", "two"]
    assert client.list_aliases()["aliases"] == ["one", "three", "two"]


def test_what_an_alias_may_not(client: MilvusClient) -> None:
    client.create_alias("blue", "current")
    client.create_alias("blue", "current")
    with refused(1602):
        client.create_alias("green", "current")
    with refused(1601):
        client.create_alias("green", "blue")
    with refused(1601):
        client.create_collection("current", 4)
    with refused(100):
        client.create_alias("absent", "other")
    with refused(1600):
        client.alter_alias("blue", "absent")
    with refused(1600):
        client.drop_alias("absent")
    with refused(1600):
        client.describe_alias("absent")
    with refused(100):
        client.list_aliases("absent")
    with refused(1100, "alias"):
        client.drop_collection("blue")
    with refused(1100, "alias"):
        client.drop_collection("current")
    with refused(1601):
        client.rename_collection("current", "other")
    client.drop_alias("current")
    client.drop_collection("blue")


def test_an_alias_is_not_pointed_at_what_is_not_there(client: MilvusClient) -> None:
    client.create_alias("blue", "current")
    with refused(100, "collection not found[collection=absent]"):
        client.alter_alias("absent", "current")
    with refused(1100, "Invalid collection name"):
        client.alter_alias("12 s", "current")
    assert client.describe_alias("current")["collection_name"] == "blue"
