"""Sealed segments: sorted, complete, lazily opened, and merged without losing or reviving a row."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus.model.errors import CorruptData, KeyNotFound
from elanus.model.schema import Field, Schema
from elanus.model.types import DataType
from elanus.segment.blocks import verify_file
from elanus.segment.column import data_offset
from elanus.segment.deletes import Deletes
from elanus.segment.growing import GrowingSegment
from elanus.segment.rows import ColumnsInMemory, SegmentRows
from elanus.segment.sealed import SealedSegment, SealedView, SegmentMeta, WrittenSegment, write_segment
from elanus.store.memory import MemoryStore
from tests.segment_case import (
    PARTITIONS,
    Row,
    batch_of,
    bools,
    in_order,
    key_bytes,
    keys_of,
    row_of,
    rows_of,
    schema_of,
)

LATE = 10**9


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return MemoryStore()


_ids = iter(range(1, 10**9))


def seal(store: MemoryStore, schema: Schema, rows: SegmentRows) -> tuple[SealedView, WrittenSegment]:
    segment_id = next(_ids)
    written = write_segment(store.scratch(), segment_id, f"c1/segments/{segment_id}", schema, rows)
    assert written is not None
    store.publish(written.files)
    meta = SegmentMeta.from_dict(json.loads(json.dumps(written.meta.to_dict())))
    assert meta == written.meta
    return SealedView(SealedSegment.open(store, meta), written.deletes, schema), written


def grown(schema: Schema, seed: int, records: int = 4, count: int = 60, start: int = 10) -> tuple[GrowingSegment, int]:
    """A growing segment with copies of keys, several partitions and deletes; and its newest timestamp."""
    rng = np.random.default_rng(seed)
    growing, timestamp = GrowingSegment(schema), start
    for _ in range(records):
        timestamp += 10
        numbers = rng.integers(0, 100, int(rng.integers(1, count))).tolist()
        rows = [row_of(schema, n, timestamp) for n in numbers]
        growing.append(batch_of(schema, rows, rng.choice(PARTITIONS, len(rows)).tolist()), timestamp)
        growing.delete(keys_of(schema, rng.integers(0, 100, 15).tolist()), timestamp + 5, ())
    return growing, timestamp + 5


def all_rows(views: list[SealedView], schema: Schema, timestamp: int) -> list[tuple[int, int, Row]]:
    return in_order([row for view in views for row in rows_of(view, schema, timestamp)])


@given(st.sampled_from([DataType.INT64, DataType.VARCHAR]), st.integers(0, 2**32))
def test_a_sealed_segment_shows_what_the_growing_one_did(store: MemoryStore, key: DataType, seed: int) -> None:
    schema = schema_of(key)
    growing, newest = grown(schema, seed)
    view, written = seal(store, schema, growing.rows_for_sealing(newest))
    chunks = growing.view().chunks
    for timestamp in (newest, newest - 1, newest - 5, newest - 17, 20, 0):
        expected = in_order([row for chunk in chunks for row in rows_of(chunk, schema, timestamp)])
        assert rows_of(view, schema, timestamp) == expected, "and in the order of partition, key, timestamp"
    assert written.meta.rows == growing.rows
    assert (written.meta.min_timestamp, written.meta.max_timestamp) == (growing.min_timestamp, growing.max_timestamp)
    assert view.deletes.count == growing.deleted_rows
    held = view.key_column.to_pylist()
    assert written.meta.min_key == min(held, key=key_bytes)
    assert written.meta.max_key == max(held, key=key_bytes)
    assert written.meta.unique == (len(set(held)) == len(held))
    for partition in (*PARTITIONS, 1):
        run = view.partition_range(partition)
        assert run is not None
        assert np.flatnonzero(view.partitions == partition).tolist() == list(range(*run))
    for wanted in (frozenset({7}), frozenset({8, 9}), frozenset(PARTITIONS), frozenset[int]()):
        np.testing.assert_array_equal(
            bools(view.partition_mask(wanted), view.rows), np.isin(view.partitions, list(wanted))
        )


@given(st.sampled_from([DataType.INT64, DataType.VARCHAR]), st.integers(0, 2**32))
def test_find_gives_all_copies_within_time_and_partitions(store: MemoryStore, key: DataType, seed: int) -> None:
    schema = schema_of(key)
    growing, newest = grown(schema, seed)
    view, _ = seal(store, schema, growing.rows_for_sealing(newest))
    rng = np.random.default_rng(seed)
    held, partitions, timestamps = view.key_column.to_pylist(), view.partitions, view.timestamps
    for before, within in ((None, ()), (LATE, (7, 8, 9, 4)), (31, (8,)), (newest - 5, (7, 9)), (1, ())):
        asked = keys_of(schema, rng.integers(0, 130, 20).tolist())
        expected = [
            i
            for i, k in enumerate(held)
            if k in asked.to_pylist()
            and (before is None or timestamps[i] < before)
            and (not within or partitions[i] in within)
        ]
        assert view.segment.find(asked, before=before, partitions=within).tolist() == expected


@given(st.sampled_from([DataType.INT64, DataType.VARCHAR]), st.integers(0, 2**32), st.integers(0, 90))
def test_a_merge_keeps_every_row_that_a_read_may_still_want(
    store: MemoryStore, key: DataType, seed: int, retained_since: int
) -> None:
    schema = schema_of(key)
    views, newest = [], 10
    for i in range(3):
        growing, newest = grown(schema, seed + i, start=newest)
        views.append(seal(store, schema, growing.rows_for_sealing(newest))[0])
    doomed = keys_of(schema, list(range(0, 100, 7)))
    newest += 10
    views = [SealedView(v.segment, v.deletes.with_deleted(v.segment.find(doomed), newest), schema) for v in views]
    rows = SegmentRows.of(views, newest, retained_since)
    merged, written = seal(store, schema, rows)
    for timestamp in range(retained_since, newest + 1, 9):
        assert rows_of(merged, schema, timestamp) == all_rows(views, schema, timestamp)
    kept = sum(int((_deleted_at(v) >= retained_since).sum()) for v in views)
    assert merged.rows == kept
    for view, new in zip(views, rows.new_rows(written.order), strict=True):
        assert ((new >= 0) == (_deleted_at(view) >= retained_since)).all()
        old = np.flatnonzero(new >= 0)
        assert view.key_column.take(pa.array(old)) == merged.key_column.take(pa.array(new[old]))
        np.testing.assert_array_equal(view.vectors(101)[old], merged.vectors(101)[new[old]])
        np.testing.assert_array_equal(view.timestamps[old], merged.timestamps[new[old]])


def _deleted_at(view: SealedView) -> np.ndarray:
    at = np.full(view.rows, LATE, np.int64)
    rows, timestamps = view.deletes.entries()
    at[rows] = timestamps
    return at


def test_a_merge_leaves_out_the_rows_of_dropped_partitions(store: MemoryStore) -> None:
    schema = schema_of()
    growing, newest = grown(schema, 3)
    view, _ = seal(store, schema, growing.rows_for_sealing(newest))
    merged, _ = seal(store, schema, SegmentRows.of([view], newest, partitions=frozenset({7, 9})))
    assert rows_of(merged, schema, newest) == [r for r in rows_of(view, schema, newest) if r[0] != 8]
    assert merged.partition_range(8) == (0, 0)


def test_deletes_that_arrive_while_sealing_are_left_for_later(store: MemoryStore) -> None:
    schema = schema_of()
    growing = GrowingSegment(schema)
    growing.append(batch_of(schema, [row_of(schema, n) for n in range(10)]), 1)
    growing.delete(keys_of(schema, [1]), 5)
    growing.delete(keys_of(schema, [2]), 9)
    view, _ = seal(store, schema, growing.rows_for_sealing(5))
    assert view.deletes.count == 1
    later = view.deletes.with_deleted(view.segment.find(keys_of(schema, [2]), before=9), 9)
    assert SealedView(view.segment, later).deletes.entries()[0].tolist() == [1, 2]


def test_nothing_left_writes_no_segment(tmp_path: Path) -> None:
    schema = schema_of()
    growing = GrowingSegment(schema)
    assert write_segment(tmp_path, 1, "p", schema, growing.rows_for_sealing(9)) is None
    growing.append(batch_of(schema, [row_of(schema, 1)]), 1)
    growing.delete(keys_of(schema, [1]), 2)
    assert write_segment(tmp_path, 1, "p", schema, growing.rows_for_sealing(9, drop_deleted_before=3)) is None
    assert list(tmp_path.iterdir()) == []


def test_opening_reads_nothing_until_it_is_needed(store: MemoryStore) -> None:
    schema = schema_of()
    growing, newest = grown(schema, 1)
    view, written = seal(store, schema, growing.rows_for_sealing(newest))
    segment = SealedSegment.open(store, written.meta)
    store.delete([written.meta.column_key(105), written.meta.keys_key])
    assert segment.vectors(101).shape == (view.rows, 4)
    assert segment.find(keys_of(schema, [10**6])).tolist() == [], "the manifest's key range answers"
    with pytest.raises(KeyNotFound):
        segment.column(105)
    with pytest.raises(KeyNotFound):
        segment.find(keys_of(schema, [50]))


def test_every_file_of_a_segment_verifies_and_is_named_by_its_manifest_entry(store: MemoryStore) -> None:
    schema = schema_of(DataType.VARCHAR)
    growing, newest = grown(schema, 2)
    _, written = seal(store, schema, growing.rows_for_sealing(newest))
    assert set(written.meta.keys()) == set(written.files)
    sizes = {key: store.size(key) for key in written.files}
    assert sum(sizes.values()) == written.meta.bytes
    for key in sizes:
        verify_file(store.local_path(key))
    assert {key.rsplit("/")[-1] for key in sizes} == {
        "1.column", "100.column", "101.column", "102.column", "103.column", "104.column", "105.column", "106.column",
        "keys.index",
    }  # fmt: skip


def test_an_index_builder_maps_the_vectors_of_a_segment(store: MemoryStore) -> None:
    schema = schema_of()
    growing, newest = grown(schema, 1)
    view, _ = seal(store, schema, growing.rows_for_sealing(newest))
    path = view.segment.path(101)
    np.testing.assert_array_equal(
        np.memmap(path, np.float32, "r", data_offset(path), (view.rows, 4)), view.vectors(101)
    )


def test_a_file_with_other_rows_is_noticed(store: MemoryStore) -> None:
    schema = schema_of()
    one, newest = grown(schema, 1)
    view, written = seal(store, schema, one.rows_for_sealing(newest))
    other, _ = grown(schema, 2)
    wrong, _ = seal(store, schema, other.rows_for_sealing(newest))
    store.local_path(written.meta.column_key(103)).write_bytes(wrong.segment.path(103).read_bytes())
    with pytest.raises(CorruptData, match=f"103.column: it holds {wrong.rows} values for the segment's {view.rows}"):
        SealedSegment.open(store, written.meta).column(103)


def test_a_field_added_later_has_its_default(store: MemoryStore) -> None:
    old = schema_of()
    growing, newest = grown(old, 4)
    view, written = seal(store, old, growing.rows_for_sealing(newest))
    score = Field("score", DataType.DOUBLE, id=200, default=0.5, nullable=True)
    new = Schema((*old.fields, score, Field("note", DataType.VARCHAR, id=201, nullable=True)), version=2)
    newer = SealedView(view.segment, view.deletes, new)
    assert newer.column(200).to_pylist() == [0.5] * view.rows
    assert newer.column(201).null_count == view.rows
    assert not newer.has(200)
    with pytest.raises(LookupError, match="field 200"):
        view.column(200)
    merged, _ = seal(store, new, SegmentRows.of([view], newest))
    assert merged.column(200).to_pylist() == [0.5] * view.rows
    assert merged.segment.meta.schema_version == 2
    assert 200 not in written.meta.columns


def test_rows_that_never_grew_are_written_too(store: MemoryStore) -> None:
    schema = schema_of()
    rows = [row_of(schema, n) for n in (5, 3, 4, 1)]
    batch = batch_of(schema, rows)
    columns = {f.id: batch.arrow(f.id) for f in schema.fields}
    source = ColumnsInMemory(columns, np.full(4, 9, np.uint64), np.array([8, 8, 7, 7]))
    view, _ = seal(store, schema, SegmentRows.of([source], LATE))
    assert [(p, row["key"]) for p, _, row in rows_of(view, schema, LATE)] == [(7, 1), (7, 4), (8, 3), (8, 5)]
    assert view.deletes == Deletes.none(4)


def test_a_very_long_key_does_not_fill_the_manifest(store: MemoryStore) -> None:
    schema = schema_of(DataType.VARCHAR)
    growing = GrowingSegment(schema)
    keys = ["ü" * 30_000, "z" * 60_000, "ü" * 30_000 + "x"]
    growing.append(batch_of(schema, [row_of(schema, 1) | {"key": k} for k in keys]), 1)
    view, written = seal(store, schema, growing.rows_for_sealing(1))
    assert len(json.dumps(written.meta.to_dict())) < 2_000
    segment = SealedSegment.open(store, written.meta)
    assert segment.find(pa.array(keys, pa.large_string())).tolist() == [0, 1, 2]
    assert view.key_column.to_pylist() == sorted(keys, key=str.encode)


def test_many_threads_may_touch_a_segment_first(store: MemoryStore) -> None:
    schema = schema_of(DataType.VARCHAR)
    growing, newest = grown(schema, 5)
    view, written = seal(store, schema, growing.rows_for_sealing(newest))
    segment = SealedSegment.open(store, written.meta)
    wanted = keys_of(schema, list(range(100)))
    expected = view.find(wanted).tolist()
    start, answers = threading.Barrier(8), []

    def touch() -> None:
        start.wait()
        answers.append((segment.find(wanted).tolist(), segment.vectors(101).sum(), segment.column(105).to_pylist()))

    threads = [threading.Thread(target=touch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(expected, view.vectors(101).sum(), view.column(105).to_pylist())] * 8
