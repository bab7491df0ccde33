"""Growing segments against a plain list of rows: what a view shows, it shows for ever."""

from __future__ import annotations

import platform
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus.model.canonical import Batch
from elanus.model.schema import PARTITION_FIELD_ID, Field, Schema
from elanus.model.types import DataType
from elanus.segment.growing import MAX_CHUNK_ROWS, GrowingSegment, GrowingView
from tests.batch_case import part_of
from tests.segment_case import PARTITIONS, Row, batch_of, bools, keys_of, row_of, rows_of, schema_of

KEYS = st.sampled_from([DataType.INT64, DataType.VARCHAR])
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 300), st.sampled_from(PARTITIONS)),
        st.tuples(st.just("append"), st.integers(1, 3), st.sampled_from(PARTITIONS)),
        st.tuples(st.just("mixed"), st.integers(1, 40), st.just(0)),
        st.tuples(st.just("delete"), st.integers(1, 60), st.sampled_from(((), (7,), (8, 9)))),
    ),
    max_size=25,
)


class Model:
    """Rows as a list: [partition, timestamp, row, deleted at or None]."""

    def __init__(self) -> None:
        self.rows: list[list[object]] = []

    def append(self, rows: list[Row], partitions: list[int], timestamp: int) -> None:
        self.rows += [[p, timestamp, row, None] for row, p in zip(rows, partitions, strict=True)]

    def delete(self, keys: set[object], timestamp: int, partitions: tuple[int, ...]) -> int:
        hit = [r for r in self.rows if r[3] is None and r[2]["key"] in keys and (not partitions or r[0] in partitions)]
        for r in hit:
            r[3] = timestamp
        return len(hit)

    def alive(self, timestamp: int) -> list[tuple[object, object, object]]:
        return [(p, t, row) for p, t, row, d in self.rows if t <= timestamp and (d is None or d > timestamp)]


def shown(view: GrowingView, schema: Schema, timestamp: int) -> list[tuple[int, int, Row]]:
    return [row for chunk in view.chunks for row in rows_of(chunk, schema, timestamp)]


@given(KEYS, ACTIONS, st.integers(0, 2**32))
def test_a_growing_segment_holds_what_a_list_would(
    key: DataType, actions: list[tuple[str, int, object]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    schema, model = schema_of(key), Model()
    growing, timestamp = GrowingSegment(schema), 100
    taken = []
    for action, count, where in actions:
        timestamp += 10
        numbers = rng.integers(0, 150, count).tolist()
        if action == "delete":
            keys = keys_of(schema, numbers)
            hit = growing.delete(keys, timestamp, where)
            assert hit == model.delete(set(keys.to_pylist()), timestamp, where)
        else:
            partitions = rng.choice(PARTITIONS, count).tolist() if action == "mixed" else [where] * count
            rows = [row_of(schema, n, timestamp) for n in numbers]
            growing.append(batch_of(schema, rows, partitions), timestamp)
            model.append(rows, partitions, timestamp)
        taken.append((growing.view(), timestamp))
    assert growing.rows == len(model.rows)
    assert growing.deleted_rows == sum(r[3] is not None for r in model.rows)
    for view, then in taken[:: max(1, len(taken) // 5)]:
        for moment in (then, then - 10, then - 25):
            assert shown(view, schema, moment) == model.alive(moment)
    if taken:
        check_lookups(taken[-1][0], schema, model, rng)
        check_partitions(taken[-1][0])


def check_lookups(view: GrowingView, schema: Schema, model: Model, rng: np.random.Generator) -> None:
    for count in (1, 20):
        keys = keys_of(schema, rng.integers(0, 200, count).tolist())
        asked = set(keys.to_pylist())
        chunks, rows = view.find(keys)
        starts = np.array([chunk.first_row for chunk in view.chunks], np.int64)
        found = (starts[chunks] + rows).tolist() if len(rows) else []
        assert found == [i for i, r in enumerate(model.rows) if r[2]["key"] in asked]
        by_chunk = [starts[i] + row for i, chunk in enumerate(view.chunks) for row in chunk.find(keys).tolist()]
        assert found == by_chunk


def check_partitions(view: GrowingView) -> None:
    for chunk in view.chunks:
        for wanted in (frozenset({7}), frozenset({8, 9}), frozenset({1}), frozenset()):
            expected = np.isin(chunk.partitions, list(wanted))
            np.testing.assert_array_equal(bools(chunk.partition_mask(wanted), chunk.rows), expected)
        for partition in (*PARTITIONS, 1):
            run = chunk.partition_range(partition)
            if run is not None:
                assert np.flatnonzero(chunk.partitions == partition).tolist() == list(range(*run))


def test_chunks_grow_from_small_to_large() -> None:
    schema = schema_of()
    growing = GrowingSegment(schema)
    growing.append(batch_of(schema, [row_of(schema, 0)]), 1)
    assert len(growing.view().chunks) == 1
    for i in range(12):
        growing.append(batch_of(schema, [row_of(schema, n) for n in range(100)]), i + 2)
    assert [chunk.rows for chunk in growing.view().chunks] == [256, 945]
    some = batch_of(schema, [row_of(schema, n) for n in range(1000)])
    growing.append(some.take(np.arange(150_000) % 1000), 99)
    sizes = [chunk.rows for chunk in growing.view().chunks]
    assert sizes == [256, 4096, MAX_CHUNK_ROWS, MAX_CHUNK_ROWS, 151_201 - 256 - 4096 - 2 * MAX_CHUNK_ROWS]
    assert growing.rows == 151_201
    last = growing.view().chunks[-1]
    assert last.column(100).to_pylist()[-1] == 999
    assert last.vectors(101).shape == (last.rows, 4)


def test_the_first_chunk_is_a_large_one_where_there_are_many_rows_already() -> None:
    schema = schema_of()
    for before, capacity in (
        (0, 256),
        (1_000, 256),
        (10_000, 2_048),
        (200_000, 32_768),
        (10**9, MAX_CHUNK_ROWS),
    ):
        growing = GrowingSegment(schema, rows_before=before)
        some = batch_of(schema, [row_of(schema, 1)])
        growing.append(some.take(np.zeros(capacity, np.int64)), 1)
        assert [chunk.rows for chunk in growing.view().chunks] == [capacity]
        growing.append(some, 2)
        assert [chunk.rows for chunk in growing.view().chunks] == [capacity, 1]


def test_a_view_does_not_see_later_rows_deletes_or_texts() -> None:
    schema = schema_of()
    growing = GrowingSegment(schema)
    rows = [row_of(schema, n) for n in range(10)]
    growing.append(batch_of(schema, rows), 1)
    view = growing.view()
    early = view.chunks[0].column(105)
    for i in range(30):
        # Long texts, so that the byte buffer is replaced several times.
        growing.append(batch_of(schema, [row_of(schema, 100 + i) | {"text": "long " * 200}]), 2 + 2 * i)
        growing.delete(keys_of(schema, [i % 10]), 3 + 2 * i)
    assert [row for _, _, row in shown(view, schema, 1)] == rows
    assert early.to_pylist() == [row["text"] for row in rows]
    assert view.chunks[0].vectors(101).tolist() == [row["vector"] for row in rows]
    assert view.chunks[0].alive(1) is None
    assert view.find(keys_of(schema, [100]))[1].tolist() == []


def test_views_of_full_chunks_are_made_once() -> None:
    schema = schema_of()
    growing = GrowingSegment(schema)
    growing.append(batch_of(schema, [row_of(schema, n) for n in range(256)]), 1)
    growing.append(batch_of(schema, [row_of(schema, 1)]), 2)
    assert growing.view().chunks[0] is growing.view().chunks[0]
    assert growing.view().chunks[0].column(100) is growing.view().chunks[0].column(100)


def test_vectors_are_not_copied_and_cannot_be_written() -> None:
    schema = schema_of()
    growing = GrowingSegment(schema)
    growing.append(batch_of(schema, [row_of(schema, n) for n in range(9)]), 1)
    chunk = growing.view().chunks[0]
    assert chunk.vectors(101).ctypes.data == chunk.column(101).values.buffers()[1].address
    with pytest.raises(ValueError, match="read-only"):
        chunk.vectors(101)[0] = 0


def test_rows_of_one_record_are_not_hit_by_its_own_delete() -> None:
    schema = schema_of()
    growing = GrowingSegment(schema)
    growing.append(batch_of(schema, [row_of(schema, 1)]), 5)
    assert growing.delete(keys_of(schema, [1]), 6) == 1
    growing.append(batch_of(schema, [row_of(schema, 1, 2)]), 6)
    assert growing.delete(keys_of(schema, [1]), 6) == 0
    assert [t for _, t, _ in shown(growing.view(), schema, 6)] == [6]
    assert [t for _, t, _ in shown(growing.view(), schema, 5)] == [5]


def test_sliced_columns_are_taken_as_they_are() -> None:
    schema = schema_of()
    rows = [row_of(schema, n) for n in range(40)]
    growing = GrowingSegment(schema)
    growing.append(part_of(batch_of(schema, rows), 3, 30), 1)
    assert [row for _, _, row in shown(growing.view(), schema, 1)] == rows[3:33]


def test_an_added_field_has_its_default_in_older_rows() -> None:
    old = schema_of()
    added = (
        Field("score", DataType.INT32, id=200, default=5, nullable=True),
        Field("note", DataType.VARCHAR, id=201, nullable=True, max_length=9),
    )
    new = Schema((*old.fields, *added), version=2)
    growing = GrowingSegment(old)
    rows = [row_of(old, n) for n in range(3)]
    growing.append(batch_of(old, rows), 1)
    growing.evolve(new)
    newer = row_of(old, 9) | {"score": 7, "note": "n"}
    growing.append(batch_of(new, [newer]), 2)
    growing.append(batch_of(old, [row_of(old, 10)]), 3)
    absent = {"score": 5, "note": None}
    expected = [row | absent for row in rows] + [newer, row_of(old, 10) | absent]
    assert [row for _, _, row in shown(growing.view(), new, 3)] == expected
    assert not growing.view().chunks[0].has(200)


def test_a_column_of_a_dropped_field_is_left_out() -> None:
    old = schema_of()
    new = Schema(tuple(f for f in old.fields if f.name != "number"), version=2)
    growing = GrowingSegment(new)
    growing.append(batch_of(old, [row_of(old, 1)]), 1)
    expected = {name: value for name, value in row_of(old, 1).items() if name != "number"}
    assert [row for _, _, row in shown(growing.view(), new, 1)] == [expected]


def test_sizes_and_timestamps_follow_the_rows() -> None:
    schema = schema_of()
    growing = GrowingSegment(schema)
    assert (growing.rows, growing.byte_size, growing.min_timestamp, growing.max_timestamp) == (0, 0, 0, 0)
    growing.append(batch_of(schema, [row_of(schema, 1) | {"text": "x" * 500, "$meta": b"y" * 300}]), 11)
    growing.append(batch_of(schema, [row_of(schema, 2) | {"text": "", "$meta": None}]), 17)
    growing.delete(keys_of(schema, [1]), 20)
    assert (growing.min_timestamp, growing.max_timestamp, growing.view().timestamp) == (11, 17, 20)
    fixed = 8 + 16 + 1 + 1 + 8 + 8 + 8 + 24
    assert growing.byte_size == 2 * fixed + 800


def test_readers_see_whole_records_while_the_writer_writes() -> None:
    """A record is 10 rows with one number in all columns; its predecessor's rows are deleted with it."""
    schema = schema_of()
    growing = GrowingSegment(schema)
    published: list[tuple[GrowingView, int]] = [(growing.view(), 0)]
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            view, timestamp = published[0]
            alive = shown_numbers(view, timestamp)
            if alive != ([timestamp] * 10 if timestamp else []):
                wrong.append((timestamp, alive))
                return

    def shown_numbers(view: GrowingView, timestamp: int) -> list[float]:
        found = []
        for chunk in view.chunks:
            alive = bools(chunk.alive(timestamp), chunk.rows)
            numbers = chunk.column(104).to_numpy(zero_copy_only=False)[alive]
            firsts = chunk.vectors(101)[alive][:, 0]
            assert (numbers == firsts).all()
            found += numbers.tolist()
        return found

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for timestamp in range(1, 400):
        row = row_of(schema, 0) | {"vector": [float(timestamp)] * 4, "number": float(timestamp)}
        growing.delete(keys_of(schema, list(range(10))), timestamp)
        growing.append(batch_of(schema, [row | {"key": n} for n in range(10)]), timestamp)
        published[0] = (growing.view(), timestamp)
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


WIDE = Schema(
    (Field("key", DataType.INT64, is_primary=True), Field("vector", DataType.FLOAT_VECTOR, dim=256))
).checked()


def wide_batch(first: int, count: int) -> Batch:
    key, vector = WIDE.fields
    numbers = np.arange(first, first + count)
    vectors = np.repeat(numbers.astype(np.float32), 256).reshape(count, 256)
    return Batch({key.id: numbers, vector.id: vectors, PARTITION_FIELD_ID: np.full(count, 7)}, count)


def _asks_ahead() -> bool:
    """Linux can be asked for memory ahead since 5.14."""
    return sys.platform.startswith("linux") and [int(n) for n in platform.release().split(".")[:2]] >= [5, 14]


@pytest.mark.skipif(not _asks_ahead(), reason="the system cannot be asked for memory ahead")
def test_what_is_expected_finds_memory_ready() -> None:
    import resource  # not there on Windows

    growing = GrowingSegment(WIDE, rows_before=200_000)
    growing.append(wide_batch(0, 10), 100)
    faults = []
    for number in range(10):
        if number % 2:
            growing.expect(2_000)
        batch = wide_batch(10 + 2_000 * number, 2_000)
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        growing.append(batch, 101 + number)
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
    assert max(faults[1::2]) < max(faults[0::2]) / 2


def test_expecting_at_any_time_changes_nothing() -> None:
    """More than comes, less, too late, beyond the end of a chunk; while rows are appended."""
    growing = GrowingSegment(WIDE)
    done = threading.Event()

    def expect() -> None:
        rng = np.random.default_rng(1)
        while not done.is_set():
            growing.expect(int(rng.integers(1, 5_000)))

    threads = [threading.Thread(target=expect) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(60):
            growing.append(wide_batch(300 * number, 300), 100 + number)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    vector = WIDE.fields[1].id
    vectors = np.concatenate([chunk.vectors(vector) for chunk in growing.view().chunks])
    assert (vectors == np.arange(60 * 300, dtype=np.float32)[:, None]).all()
