"""Rows for the tests of segments: a schema with every type, batches from plain Python rows, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from elanus.model.canonical import Batch
from elanus.model.schema import Field, Schema
from elanus.model.types import DataType
from elanus.segment.view import Mask, SegmentView

DIM = 4
PARTITIONS = (7, 8, 9)

Row = dict[str, Any]


def schema_of(key: DataType = DataType.INT64) -> Schema:
    return Schema(
        fields=(
            Field("key", key, is_primary=True, max_length=65_535 if key is DataType.VARCHAR else None),
            Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
            Field("flag", DataType.BOOL, nullable=True),
            Field("small", DataType.INT8),
            Field("number", DataType.DOUBLE, nullable=True),
            Field("text", DataType.VARCHAR, max_length=1000, nullable=True),
        ),
        enable_dynamic_field=True,
    ).checked()


def key_of(schema: Schema, number: int) -> int | str:
    return number if schema.primary.dtype is DataType.INT64 else f"key {number}"


def row_of(schema: Schema, number: int, salt: int = 0) -> Row:
    """A row whose values follow from the key's number and `salt`; some are null."""
    seed = number * 31 + salt
    return {
        "key": key_of(schema, number),
        "vector": [float(seed % 1000 + i) for i in range(DIM)],
        "flag": None if seed % 5 == 0 else seed % 2 == 0,
        "small": seed % 100,
        "number": None if seed % 7 == 0 else seed / 4,
        "text": None if seed % 3 == 0 else "ü" * (seed % 9),
        "$meta": None if seed % 4 == 0 else b'{"a": %d}' % seed,
    }


def batch_of(schema: Schema, rows: Sequence[Row], partition: int | Sequence[int] = PARTITIONS[0]) -> Batch:
    """The canonical batch, as it comes out of the log: decoded from an IPC message."""
    partitions = [partition] * len(rows) if isinstance(partition, int) else list(partition)
    columns = [pa.array([row[f.name] for row in rows], f.arrow_type) for f in schema.fields]
    full = schema.arrow_schema.append(pa.field("2", pa.int64()))
    batch = pa.RecordBatch.from_arrays([*columns, pa.array(partitions, pa.int64())], schema=full)
    return Batch.of(pa.ipc.read_record_batch(batch.serialize(), full))


def keys_of(schema: Schema, numbers: Sequence[int]) -> pa.Array:
    return pa.array([key_of(schema, n) for n in numbers], schema.primary.arrow_type)


def rows_of(view: SegmentView, schema: Schema, timestamp: int) -> list[tuple[int, int, Row]]:
    """(partition, row timestamp, row) of every row of a view that is alive at `timestamp`, in its order."""
    alive = bools(view.alive(timestamp), view.rows)
    columns = {f.name: view.column(f.id).to_pylist() for f in schema.fields}
    partitions, timestamps = view.partitions.tolist(), view.timestamps.tolist()
    return [
        (partitions[i], timestamps[i], {name: values[i] for name, values in columns.items()})
        for i in range(view.rows)
        if alive[i]
    ]


def bools(mask: Mask | None, rows: int) -> np.ndarray:
    if mask is None:
        return np.ones(rows, np.bool_)
    assert len(mask) == (rows + 7) // 8
    bits = np.unpackbits(mask, bitorder="little")
    assert not bits[rows:].any(), "spare bits are zero"
    return bits[:rows].astype(np.bool_)


def in_order(rows: list[tuple[int, int, Row]]) -> list[tuple[int, int, Row]]:
    """Sorted as a sealed segment is."""
    return sorted(rows, key=lambda r: (r[0], key_bytes(r[2]["key"]), r[1]))


def key_bytes(key: int | str) -> int | bytes:
    return key.encode() if isinstance(key, str) else key
