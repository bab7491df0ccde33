"""Deletes of a sealed segment: each row once, at its first delete, for readers of any time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus.model.errors import CorruptData
from elanus.segment.deletes import Deletes
from tests.segment_case import bools

STEPS = st.lists(
    st.tuples(st.lists(st.integers(0, 199), max_size=30), st.integers(1, 50)),
    max_size=25,
)


def check(deletes: Deletes, expected: dict[int, int], rows: int) -> None:
    assert deletes.count == len(expected)
    for timestamp in (0, 1, *sorted(set(expected.values())), 10**6):
        dead = {row for row, deleted_at in expected.items() if deleted_at <= timestamp}
        alive = bools(deletes.alive_at(timestamp), rows)
        assert set(np.flatnonzero(~alive).tolist()) == dead
        entries = deletes.entries(up_to=timestamp)
        assert dict(zip(*(part.tolist() for part in entries), strict=True)) == {r: expected[r] for r in dead}
        later = deletes.entries(after=timestamp)
        assert set(later[0].tolist()) == set(expected) - dead
    assert set(np.flatnonzero(~bools(deletes.alive, rows)).tolist()) == set(expected)


@given(STEPS)
def test_a_row_stays_deleted_since_its_first_delete(steps: list[tuple[list[int], int]]) -> None:
    deletes, expected, now = Deletes.none(200), {}, 0
    older = []
    for rows, elapsed in steps:
        now += elapsed
        deletes = deletes.with_deleted(np.array(rows, np.int64), now)
        for row in rows:
            expected.setdefault(row, now)
        older.append((deletes, dict(expected)))
    for made, then in older:
        check(made, then, 200)


@given(STEPS)
def test_a_delete_file_is_read_as_it_was_written(steps: list[tuple[list[int], int]]) -> None:
    deletes, now = Deletes.none(200), 0
    for rows, elapsed in steps:
        now += elapsed
        deletes = deletes.with_deleted(np.array(rows, np.int64), now)
    again = Deletes.from_bytes(deletes.to_bytes(), "x.deletes")
    rows, timestamps = deletes.entries()
    check(again, dict(zip(rows.tolist(), timestamps.tolist(), strict=True)), 200)
    assert again.segment_rows == 200
    assert again.last_timestamp == deletes.last_timestamp


def test_nothing_new_makes_nothing_new() -> None:
    deletes = Deletes.none(10).with_deleted(np.array([3, 5]), 7)
    assert deletes.with_deleted(np.array([5, 3, 5]), 9) is deletes
    assert deletes.with_deleted(np.array([], np.int64), 9) is deletes
    assert Deletes.none(10).alive is None


def test_a_row_given_twice_is_deleted_at_the_earlier_time() -> None:
    deletes = Deletes.of(10, np.array([4, 4, 2]), np.array([9, 5, 7], np.uint64))
    assert [part.tolist() for part in deletes.entries()] == [[2, 4], [7, 5]]


def test_many_small_deletes_leave_few_runs() -> None:
    deletes = Deletes.none(100_000)
    for i in range(3000):
        deletes = deletes.with_deleted(np.array([i * 7919 % 100_000]), i + 1)
    assert deletes.count == 3000
    assert len(deletes._runs) <= 12


@pytest.mark.parametrize("rows", [[10], [-1], [0, 10]])
def test_rows_outside_the_segment_are_refused(rows: list[int]) -> None:
    with pytest.raises(IndexError, match="10 rows"):
        Deletes.none(10).with_deleted(np.array(rows), 1)


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_damaged_delete_file_is_noticed(at: int, bit: int) -> None:
    data = bytearray(Deletes.of(100, np.arange(0, 100, 3), np.arange(1, 35, dtype=np.uint64)).to_bytes())
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(CorruptData, match=r"x\.deletes"):
        Deletes.from_bytes(bytes(data), "x.deletes")
