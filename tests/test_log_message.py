"""A batch laid out as a message is what Arrow would write, and Arrow reads it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from elanus.log.message import message_of
from elanus.model.canonical import Batch

TEXTS = ["", "a", "ü" * 9, "12345678", "x" * 300]


def column(kind: str, rows: int, rng: np.random.Generator, nulls: bool) -> pa.Array:
    mask = rng.random(rows) < 0.3 if nulls else None
    if kind == "bool":
        truth = rng.random(rows) < 0.5
        return pa.array(truth if mask is None else truth & ~mask, mask=mask)  # beneath a null nothing is set
    if kind == "vector":
        dim = int(rng.integers(1, 9))
        return pa.FixedSizeListArray.from_arrays(pa.array(rng.random(rows * dim, np.float32)), dim)
    if kind == "text":
        texts = [TEXTS[i] for i in rng.integers(0, len(TEXTS), rows)]
        return pa.array(texts, pa.large_string(), mask=mask)
    if kind == "json":
        return pa.array([b'{"a": %d}' % i for i in range(rows)], pa.large_binary(), mask=mask)
    return pa.array(rng.integers(-100, 100, rows).astype(kind), mask=mask)


def batch_of_arrays(columns: list[pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(columns, [str(100 + i) for i in range(len(columns))])


KINDS = ["bool", "vector", "text", "json", "int8", "int16", "int32", "int64", "float32", "float64"]


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 64, 1000])
@pytest.mark.parametrize("nulls", [False, True])
def test_a_message_is_what_arrow_writes(rows: int, nulls: bool) -> None:
    rng = np.random.default_rng(rows)
    for _ in range(20):
        kinds = rng.choice(KINDS, int(rng.integers(1, 12))).tolist()
        batch = batch_of_arrays([column(kind, rows, rng, nulls) for kind in kinds])
        assert message_of(Batch.of(batch)) == bytes(memoryview(batch.serialize())), kinds


def test_numpy_and_arrow_columns_give_the_same_message() -> None:
    rng = np.random.default_rng(0)
    numbers, truth, vectors = rng.integers(0, 9, 5), rng.random(5) < 0.5, rng.random((5, 3), np.float32)
    held = Batch({100: numbers, 101: truth, 102: vectors}, 5)
    assert message_of(held) == bytes(memoryview(batch_of_arrays([held.arrow(i) for i in held.columns]).serialize()))


@pytest.mark.parametrize("begin", [1, 3, 8, 13])
@pytest.mark.parametrize("nulls", [False, True])
def test_of_slices_only_what_they_show_is_written(begin: int, nulls: bool) -> None:
    rng = np.random.default_rng(begin)
    batch = batch_of_arrays([column(kind, 40, rng, nulls) for kind in KINDS]).slice(begin, 11)
    message = message_of(Batch.of(batch))
    read = pa.ipc.read_record_batch(pa.py_buffer(message), batch.schema)
    read.validate(full=True)
    assert read.equals(batch)
    compact = batch_of_arrays([pa.concat_arrays([c, c.slice(0, 0)]) for c in batch.columns])
    assert len(message) == len(message_of(Batch.of(compact)))
