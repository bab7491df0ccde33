"""`collection.ttl.seconds`: rows are there for a time, whatever state they are in, and merges leave them out then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elanus import Collection, Elanus, InvalidParameter
from elanus.engine.builders import InlineBuilders
from elanus.model.timestamps import FakeClock
from elanus.service.instance import Instance
from tests.native_case import BOOKS, QUIET, STATES, books, keys_in, vector

TTL = "collection.ttl.seconds"


def opened(folder: Path, clock: FakeClock) -> Elanus:
    return Elanus(Instance.open(folder, replace(QUIET, retention_s=0.0), clock=clock, builders=InlineBuilders()))


def found(collection: Collection) -> list[Any]:
    """The keys that a search finds, having seen that counts and queries find the same."""
    keys = keys_in(collection)
    assert collection.count() == len(keys)
    assert collection.count("id >= 0") == len(keys)
    assert sorted(keys_in(collection, "title like 'book%'")) == keys
    assert sorted(hit["id"] for hit in collection.search([vector(0)], limit=100)[0]) == keys
    assert keys_in(collection, "id in [0, 12]") == [key for key in keys if key in (0, 12)]
    return keys


@pytest.mark.parametrize("state", STATES)
def test_rows_are_gone_when_their_time_is_over(tmp_path: Path, state: str) -> None:
    clock = FakeClock()
    db = opened(tmp_path / "db", clock)
    collection = db.create_collection("c", BOOKS, properties={TTL: "100"})
    for first in (0, 10, 20):
        collection.insert(books(range(first, first + 10)))
        if state != "growing" and first < 20:
            collection.flush()
        if state == "indexed":
            collection.create_index("vector", "HNSW", metric="COSINE", params={"M": 4, "efConstruction": 32})
            collection.compact()
        clock.advance(40)
    if state == "reopened":
        db.close()
        db = opened(tmp_path / "db", clock)
        collection = db.collection("c")
    # The first rows are 120 s old, the last 40 s.
    assert found(collection) == list(range(10, 30))
    collection.upsert(books([10, 11]))
    clock.advance(30)
    assert found(collection) == [10, 11, *range(20, 30)]
    collection.delete(filter="id < 12")
    assert found(collection) == list(range(20, 30))
    collection.set_properties({TTL: "1000"})
    assert 0 in keys_in(collection)  # still there: nothing has been merged
    collection.set_properties({TTL: "0"})
    assert collection.count() == 28
    collection.drop_properties([TTL])
    assert collection.count() == 28
    collection.set_properties({TTL: "100"})
    assert found(collection) == list(range(20, 30))
    collection.compact()
    collection.set_properties({TTL: "-1"})
    assert found(collection) == list(range(20, 30))  # merges leave out what has expired
    db.close()


def test_a_key_whose_row_has_expired_is_new(tmp_path: Path) -> None:
    clock = FakeClock()
    db = opened(tmp_path / "db", clock)
    collection = db.create_collection("c", BOOKS, properties={TTL: "10"}, on_duplicate_key="reject")
    collection.insert(books([1]))
    clock.advance(11)
    collection.insert(books([1], pages=7))
    assert collection.count() == 1
    clock.advance(11)
    with pytest.raises(InvalidParameter, match="has no corresponding fieldData pass in"):
        collection.upsert([{"id": 1, "pages": 8}], partial=True)
    assert collection.count() == 0
    db.close()


def test_segments_of_expired_rows_go_by_themselves(tmp_path: Path) -> None:
    clock = FakeClock()
    db = opened(tmp_path / "db", clock)
    collection = db.create_collection("c", BOOKS, properties={TTL: "10"})
    collection.insert(books(range(40)))
    collection.flush()
    inner = db._instance.collection(db._ctx, "c")
    assert inner.expiry.look_again_s(inner.snapshot()) == 60
    clock.advance(11)
    inner.host.jobs.run_due(inner)
    assert not inner.manifest.segments
    db.close()


@pytest.mark.parametrize("text", ["-2", "3155760001", "soon", "1.5"])
def test_a_time_out_of_range_is_refused(tmp_path: Path, text: str) -> None:
    db = opened(tmp_path / "db", FakeClock())
    with pytest.raises(InvalidParameter, match="collection TTL is"):
        db.create_collection("c", BOOKS, properties={TTL: text})
    collection = db.create_collection("c", BOOKS)
    with pytest.raises(InvalidParameter, match="collection TTL is"):
        collection.set_properties({TTL: text})
    assert collection.properties == {}
    db.close()
