"""`ttl_field`: each row says itself when it ends, whatever state it is in, and merges leave it out then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from elanus import Collection, DataType, Field, InvalidParameter, Schema
from elanus.engine.query import count
from elanus.model.timestamps import FakeClock
from elanus.service import iteration
from tests.native_case import STATES, keys_in, vector
from tests.test_native_expiry import TTL, opened

TTL_FIELD = "ttl_field"
NOTES = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=4),
        Field("until", DataType.TIMESTAMPTZ, nullable=True),
        Field("text", DataType.VARCHAR, max_length=16, default="none"),
    )
)


def at(clock: FakeClock, seconds: float) -> str:
    """The moment so long from now."""
    return (datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(seconds=seconds)).isoformat()


def note(number: int, until: str | None) -> dict[str, Any]:
    return {"id": number, "vector": vector(number), "until": until}


def found(collection: Collection) -> list[Any]:
    """The keys that a search finds, having seen that counts and queries find the same."""
    keys = keys_in(collection)
    assert collection.count() == len(keys) == collection.count("until is null or until is not null")
    assert sorted(keys_in(collection, "text == 'none'")) == keys
    assert sorted(hit["id"] for hit in collection.search([vector(0)], limit=100)[0]) == keys
    assert keys_in(collection, "id in [0, 12, 25]") == [key for key in keys if key in (0, 12, 25)]
    return keys


@pytest.mark.parametrize("state", STATES)
def test_rows_end_at_the_time_that_they_hold(tmp_path: Path, state: str) -> None:
    clock = FakeClock()
    db = opened(tmp_path / "db", clock)
    collection = db.create_collection("c", NOTES, properties={TTL_FIELD: "until"})
    for first, seconds in ((0, 60), (10, 120), (20, None)):
        until = None if seconds is None else at(clock, seconds)
        collection.insert([note(number, until) for number in range(first, first + 10)])
        if state != "growing" and first < 20:
            collection.flush()
    if state == "indexed":
        collection.create_index("vector", "HNSW", metric="COSINE", params={"M": 4, "efConstruction": 32})
        collection.create_index("until", "STL_SORT")
        collection.compact()
    if state == "reopened":
        db.close()
        db = opened(tmp_path / "db", clock)
        collection = db.collection("c")
    assert found(collection) == list(range(30))
    clock.advance(59.9)
    pages = collection.query_iterator(batch_size=7)
    assert len(next(pages)) == 7
    clock.advance(0.1)
    assert found(collection) == list(range(10, 30))
    assert [row["id"] for page in pages for row in page.to_pylist()] == list(range(7, 30))
    collection.upsert([note(0, at(clock, 1000)), note(11, at(clock, 1000))])
    collection.upsert([{"id": 12, "until": at(clock, 5)}], partial=True)
    with pytest.raises(InvalidParameter, match="has no corresponding fieldData"):
        collection.upsert([{"id": 5, "until": at(clock, 5)}], partial=True)  # there is no such row any more
    assert found(collection) == [0, *range(10, 30)]
    clock.advance(5)
    assert found(collection) == [0, 10, 11, *range(13, 30)]
    assert collection.delete(filter="id < 5") == 1
    clock.advance(60)
    assert found(collection) == [11, *range(20, 30)]
    collection.drop_properties([TTL_FIELD])
    assert len(found(collection)) == 29  # still there: nothing has been merged since
    collection.set_properties({TTL_FIELD: "until"})
    assert found(collection) == [11, *range(20, 30)]
    collection.compact()
    collection.drop_properties([TTL_FIELD])
    assert found(collection) == [11, *range(20, 30)]
    db.close()


def test_a_field_that_was_added_later_says_when_rows_end(tmp_path: Path) -> None:
    clock = FakeClock()
    db = opened(tmp_path / "db", clock)
    collection = db.create_collection("c", NOTES)
    collection.insert([note(number, None) for number in range(20)])
    collection.flush()
    collection.insert([note(number, None) for number in range(20, 25)])
    collection.add_field(Field("ends", DataType.TIMESTAMPTZ, nullable=True, default=at(clock, 30)))
    collection.set_properties({TTL_FIELD: "ends"})
    with pytest.raises(InvalidParameter, match="cannot drop field ends because it is referenced by collection prop"):
        collection.drop_field("ends")
    collection.insert([{**note(25, None), "ends": at(clock, 90)}])
    assert found(collection) == list(range(26))
    clock.advance(30)
    assert found(collection) == [25]
    collection.drop_properties([TTL_FIELD])
    collection.drop_field("ends")
    assert found(collection) == list(range(26))
    db.close()


def test_segments_of_ended_rows_go_by_themselves(tmp_path: Path) -> None:
    clock = FakeClock()
    db = opened(tmp_path / "db", clock)
    collection = db.create_collection("c", NOTES, properties={TTL_FIELD: "until"})
    collection.insert([note(number, at(clock, 600)) for number in range(40)])
    collection.flush()
    inner = db._instance.collection(db._ctx, "c")
    assert inner.expiry.look_again_s(inner.snapshot()) == 600
    clock.advance(600)
    assert inner.expiry.look_again_s(inner.snapshot()) == 60
    inner.host.jobs.run_due(inner)
    assert not inner.manifest.segments
    db.close()


def test_what_names_no_time_is_refused(tmp_path: Path) -> None:
    db = opened(tmp_path / "db", FakeClock())
    with pytest.raises(InvalidParameter, match="ttl field name unknown not found in schema"):
        db.create_collection("c", NOTES, properties={TTL_FIELD: "unknown"})
    with pytest.raises(InvalidParameter, match="ttl field must be timestamptz, field name = text"):
        db.create_collection("c", NOTES, properties={TTL_FIELD: "text"})
    with pytest.raises(InvalidParameter, match="cannot be set at the same time"):
        db.create_collection("c", NOTES, properties={TTL_FIELD: "until", TTL: "10"})
    collection = db.create_collection("c", NOTES, properties={TTL_FIELD: "until"})
    with pytest.raises(InvalidParameter, match="ttl field is already exists, cannot be set collection TTL"):
        collection.set_properties({TTL: "10"})
    collection.drop_properties([TTL_FIELD])
    collection.set_properties({TTL: "10"})
    with pytest.raises(InvalidParameter, match="collection TTL is already set, cannot be set ttl field"):
        collection.set_properties({TTL_FIELD: "until"})
    assert collection.properties == {TTL: "10"}
    db.close()


def test_a_key_whose_row_has_ended_is_new_and_stays_alone(tmp_path: Path) -> None:
    clock = FakeClock()
    db = opened(tmp_path / "db", clock)
    collection = db.create_collection("c", NOTES, properties={TTL_FIELD: "until"}, on_duplicate_key="reject")
    collection.insert([note(1, at(clock, 10)), note(2, at(clock, 90))])
    clock.advance(10)
    with pytest.raises(InvalidParameter, match="primary key 2 exists already"):
        collection.insert([note(1, None), note(2, None)])
    assert found(collection) == [2]
    collection.insert([note(1, None)])
    collection.drop_properties([TTL_FIELD])
    assert found(collection) == [1, 2]
    db.close()


@pytest.mark.parametrize("properties", [{TTL_FIELD: "until"}, {TTL: "30"}])
def test_an_iterator_of_a_client_sees_what_had_not_ended_when_it_began(
    tmp_path: Path, properties: dict[str, str]
) -> None:
    clock = FakeClock()
    db = opened(tmp_path / "db", clock)
    collection = db.create_collection("c", NOTES, properties=properties)
    collection.insert([note(number, at(clock, 30)) for number in range(10)])
    inner, iterations = db._instance.collection(db._ctx, "c"), db._instance.iterations
    clock.advance(20)
    _, first = iteration.begin(iterations, inner)
    clock.advance(20)
    _, second = iteration.begin(iterations, inner)
    for kept in (iterations, iteration.Iterations()):  # and by a server that was started anew
        assert count(iteration.picture(kept, inner, first)) == 10
        assert count(iteration.picture(kept, inner, second)) == 0
    db.close()
