"""Timestamptz as Milvus clients send and see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.wire_case import DIM, keys, make, refused, vector

if TYPE_CHECKING:
    from pymilvus import MilvusClient

AT = ["2025-01-31T10:00:00", "2025-07-01 00:00:00.5Z", "1969-12-31T23:59:59+08:00", "9999-12-31T23:59:59Z"]
IN_SHANGHAI = [
    "2025-01-31T10:00:00+08:00",
    "2025-07-01T08:00:00.5+08:00",
    "1969-12-31T23:59:59+08:00",
    "10000-01-01T07:59:59+08:00",
]


def make_events(client: MilvusClient, **options: Any) -> None:
    from pymilvus import DataType

    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("at", DataType.TIMESTAMPTZ)
    schema.add_field("until", DataType.TIMESTAMPTZ, nullable=True)
    schema.add_field("made", DataType.TIMESTAMPTZ, default_value="2025-01-01T00:00:00")
    make(client, "events", schema, {"vector": "FLAT"}, **options)


def events() -> list[dict[str, Any]]:
    return [
        {"id": i, "vector": vector(i), "at": at, "until": at if i % 2 else None, "made": None}
        for i, at in enumerate(AT)
    ]


def test_times_come_back_in_the_time_zone_of_the_collection_or_request(client: MilvusClient) -> None:
    make_events(client, properties={"timezone": "Asia/Shanghai"})
    assert client.describe_collection("events")["properties"]["timezone"] == "Asia/Shanghai"
    client.insert("events", events())
    rows = client.query("events", "id >= 0", output_fields=["at", "until", "made"])
    assert [row["at"] for row in rows] == IN_SHANGHAI
    assert [row["until"] for row in rows] == [None, IN_SHANGHAI[1], None, IN_SHANGHAI[3]]
    assert {row["made"] for row in rows} == {"2025-01-01T00:00:00+08:00"}
    (row,) = client.query("events", "id == 1", output_fields=["at"], timezone="America/New_York")
    assert row["at"] == "2025-06-30T20:00:00.5-04:00"
    (hits,) = client.search("events", [vector(1)], limit=1, output_fields=["at"], timezone="UTC")
    assert hits[0]["entity"]["at"] == "2025-07-01T00:00:00.5Z"
    (hits,) = client.search("events", [vector(1)], limit=1, output_fields=["at"])
    assert hits[0]["entity"]["at"] == IN_SHANGHAI[1]


def test_times_are_taken_apart_on_request(client: MilvusClient) -> None:
    make_events(client)
    client.insert("events", events())
    asked = "year, month,day hour minute,second MICROSECOND"
    rows = client.query("events", "id < 2", output_fields=["at", "until"], time_fields=asked)
    assert [list(row["at"]) for row in rows] == [[2025, 1, 31, 10, 0, 0, 0], [2025, 7, 1, 0, 0, 0, 500000]]
    assert rows[0]["until"] is None
    (hits,) = client.search(
        "events", [vector(0)], limit=1, output_fields=["at"], time_fields="day,hour", timezone="Asia/Shanghai"
    )
    assert list(hits[0]["entity"]["at"]) == [31, 18]
    with refused(1100, "unsupported field for extraction: week"):
        client.query("events", "id < 2", output_fields=["at"], time_fields="year,week")


def test_filters_read_times_in_the_time_zone_of_the_request(client: MilvusClient) -> None:
    make_events(client)
    client.insert("events", events())
    assert keys(client, "events", "at == ISO '2025-01-31T10:00:00'") == [0]
    assert keys(client, "events", "at == ISO '2025-01-31T18:00:00'", timezone="Asia/Shanghai") == [0]
    assert keys(client, "events", "at + INTERVAL 'P1M' > ISO '2025-03-01T00:00:00Z'") == [0, 1, 3]
    assert keys(client, "events", "ISO '2025-01-01T00:00:00Z' > at - INTERVAL 'PT1S'") == [2]
    assert keys(client, "events", "at > {since}", filter_params={"since": 1_740_000_000_000_000}) == [1, 3]
    assert len(client.query("events", "until is null", output_fields=["id"])) == 2
    (hits,) = client.search("events", [vector(0)], filter="at >= ISO '2025-02-01T00:00:00Z'", limit=9)
    assert [hit["id"] for hit in hits] == [1, 3]
    found = client.query_iterator("events", batch_size=1, filter="at < ISO '2026-01-01T00:00:00'", output_fields=["at"])
    pages = [found.next() for _ in range(4)]
    assert [len(page) for page in pages] == [1, 1, 1, 0]
    assert pages[0][0]["at"] == "2025-01-31T10:00:00Z"
    client.delete("events", filter="at < ISO '2000-01-01T00:00:00Z'")
    assert keys(client, "events") == [0, 1, 3]


def test_updates_and_added_fields_hold_times(client: MilvusClient) -> None:
    from pymilvus import DataType

    make_events(client)
    client.insert("events", events())
    client.upsert("events", [{"id": 0, "until": "2030-01-01T00:00:00Z"}], partial_update=True)
    client.add_collection_field("events", "seen", DataType.TIMESTAMPTZ, nullable=True)
    client.add_collection_field(
        "events", "due", DataType.TIMESTAMPTZ, nullable=True, default_value="2026-01-01T00:00:00+01:00"
    )
    (row,) = client.get("events", [0], output_fields=["until", "at", "seen", "due"])
    assert (row["until"], row["at"]) == ("2030-01-01T00:00:00Z", "2025-01-31T10:00:00Z")
    assert (row["seen"], row["due"]) == (None, "2025-12-31T23:00:00Z")
    described = {field["name"]: field for field in client.describe_collection("events")["fields"]}
    assert described["due"]["default_value"].timestamptz_data == 1_767_222_000_000_000


@pytest.mark.parametrize("kind", ["STL_SORT", "AUTOINDEX"])
def test_times_may_be_indexed(client: MilvusClient, kind: str) -> None:
    make_events(client)
    params = client.prepare_index_params()
    params.add_index("at", index_type=kind)
    client.create_index("events", params)
    client.insert("events", events())
    client.flush("events")
    assert keys(client, "events", "at > ISO '2025-01-01T00:00:00Z'") == [0, 1, 3]


def test_what_is_no_time_or_no_time_zone_is_refused(client: MilvusClient) -> None:
    from pymilvus import DataType

    make_events(client)
    with refused(1100, "got invalid timestamptz string 'soon'"):
        client.insert("events", [{**events()[0], "at": "soon"}])
    with refused(1100, "unknown or invalid IANA Time Zone ID: Mars/Olympus"):
        client.query("events", "id > 0", timezone="Mars/Olympus")
    with refused(1100, "unknown or invalid IANA Time Zone ID: Mars/Olympus"):
        client.search("events", [vector(0)], limit=1, timezone="Mars/Olympus")
    with refused(1100, "unknown or invalid IANA Time Zone ID: Mars/Olympus"):
        client.alter_collection_properties("events", {"timezone": "Mars/Olympus"})
    with refused(1100, "unknown or invalid IANA Time Zone ID: Mars/Olympus"):
        client.create_database("mars", properties={"timezone": "Mars/Olympus"})
    with refused(1100, "invalid timestamp string: 'never'"):
        client.add_collection_field("events", "due", DataType.TIMESTAMPTZ, nullable=True, default_value="never")
    assert keys(client, "events") == []
    client.alter_collection_properties("events", {"timezone": "Asia/Tokyo"})
    client.insert("events", events()[:1])
    assert client.get("events", [0], output_fields=["at"])[0]["at"] == "2025-01-31T10:00:00+09:00"
