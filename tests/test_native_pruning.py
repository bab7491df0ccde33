"""Segments whose statistics rule a filter out are not read, and no answer changes for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from elanus import Collection, DataType, Elanus, Field, Schema
from tests.native_case import open_folder

SEGMENTS, EACH = 20, 50
EVENTS = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        Field("at", DataType.INT64),
        Field("name", DataType.VARCHAR, max_length=32, nullable=True),
    ),
    enable_dynamic_field=True,
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Elanus]:
    with open_folder(tmp_path) as opened:
        yield opened


def by_time(db: Elanus) -> Collection:
    """Twenty segments: segment s holds the events from 50 s to 50 s + 49, every tenth of them without a name."""
    collection = db.create_collection("events", EVENTS)
    for segment in range(SEGMENTS):
        collection.insert([event(n) for n in range(segment * EACH, (segment + 1) * EACH)])
        collection.flush()
    return collection


def event(number: int) -> dict[str, object]:
    named = f"event {number // EACH:02d}" if number % 10 else None
    return {"id": number, "vector": [number, 1.0], "at": number, "name": named, "even": number % 2 == 0}


def left(collection: Collection, condition: str) -> int:
    """How many segments a search with the condition looks into; the plan says so of the others."""
    plan = collection.explain(np.zeros(2, np.float32), limit=3, filter=condition)
    assert len(plan.pruned) + len(plan.steps) == SEGMENTS
    assert str(plan).count("by its statistics") == len(plan.pruned)
    return len(plan.steps)


@pytest.mark.parametrize(
    ("condition", "segments", "matches"),
    [
        ("at >= 120 and at < 130", 1, 10),
        ("95 <= at < 105", 2, 10),
        ("at in [7, 8, 999]", 2, 3),
        ("at < 0 or at > 5000", 0, 0),
        ("name like 'event 07%'", 1, 45),
        ("name == 'event 19' and at > 10", 1, 45),
        ("name is null", 20, 100),
        ("not (at >= 50)", 1, 50),
        ("at >= 900 and even == true", 2, 50),
        ("at >= 0", 20, 1000),
    ],
)
def test_a_read_looks_into_the_segments_alone_that_can_hold_matches(
    db: Elanus, condition: str, segments: int, matches: int
) -> None:
    collection = by_time(db)
    assert left(collection, condition) == segments
    assert collection.count(condition) == matches
    assert len(collection.query(condition)) == matches
    assert len(collection.search(np.zeros(2, np.float32), limit=1000, filter=condition)[0].keys) == matches


def test_pruning_holds_after_deletes_upserts_a_merge_and_a_new_opening(db: Elanus, tmp_path: Path) -> None:
    collection = by_time(db)
    collection.delete(filter="at == 125")
    collection.upsert([{**event(3), "at": 127}])
    assert collection.count("at >= 120 and at < 130") == 10
    assert collection.count("at < 5") == 4
    db.close()
    with open_folder(tmp_path) as again:
        collection = again.collection("events")
        assert collection.count("at >= 120 and at < 130") == 10
        collection.flush()
        collection.compact()
        assert collection.count("at >= 120 and at < 130") == 10
        assert collection.count("at > 999") == 0


def test_a_field_that_was_added_later_is_pruned_by_its_default(db: Elanus) -> None:
    collection = by_time(db)
    collection.add_field(Field("grade", DataType.INT32, nullable=True, default=7))
    collection.add_field(Field("note", DataType.VARCHAR, nullable=True, max_length=10))
    assert left(collection, "grade == 8") == 0
    assert left(collection, "note == 'x'") == 0
    assert collection.count("grade == 7 and note is null") == SEGMENTS * EACH
    collection.insert([{**event(5000), "grade": 8, "note": "x"}])
    assert collection.count("grade == 8") == 1
    assert collection.count("note == 'x'") == 1
