"""What a read sees of a run of rows, whether they are a growing segment's chunk or a sealed segment.

A view never changes: rows `0 .. rows-1` hold the same values for as long as anyone holds it. Accessors are lazy and
may be called from any thread; two threads that ask for the same thing first may both make it, and one result is kept.

A mask is a `np.ndarray[uint8]`, one bit a row, least significant bit first, spare bits of the last byte zero; None
stands for "every row".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.canonical import Batch, arrow_of, null_vectors
from elanus.model.schema import PARTITION_FIELD_ID, Field, Schema
from elanus.text.functions import derived

Mask = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
Timestamps = npt.NDArray[np.uint64]
Vectors = npt.NDArray[Any]
"""Of float vectors float32; of others what `NUMPY_OF` says."""


class RowSource(Protocol):
    """Rows that a segment can be written from."""

    @property
    def rows(self) -> int: ...

    def has(self, field_id: int) -> bool:
        """Whether values of the field were written; where not, the schema in force says what rows hold for it."""
        ...

    def column(self, field_id: int) -> pa.Array:
        """All values of a field in one array; of fields 1 (timestamp, uint64) and 2 (partition id, int64) too."""
        ...

    def deletions(self, up_to: int) -> tuple[Rows, Timestamps]:
        """The rows deleted at `up_to` or before, rising, and when each was deleted."""
        ...


class SegmentView(RowSource, Protocol):
    """What the planner and queries work on."""

    def vectors(self, field_id: int) -> Vectors:
        """The dense vectors of a field, (rows, width), C-contiguous, not a copy and not to be written to. A null one is
        zeros.
        """
        ...

    @property
    def key_column(self) -> pa.Array:
        """The primary keys: int64 or large_string."""
        ...

    @property
    def key_numbers(self) -> Rows | None:
        """`key_column` as (rows,) int64 over the same memory; None where keys are text."""
        ...

    @property
    def timestamps(self) -> Timestamps:
        """When each row was written, (rows,)."""
        ...

    @property
    def partitions(self) -> Rows:
        """The partition id of each row, (rows,)."""
        ...

    def alive(self, timestamp: int) -> Mask | None:
        """The rows written at `timestamp` or before, and not deleted by then."""
        ...

    def partition_mask(self, partitions: frozenset[int]) -> Mask | None:
        """The rows that belong to any of `partitions`."""
        ...

    def partition_range(self, partition: int) -> tuple[int, int] | None:
        """The run (start, stop) of rows that is exactly `partition`, (0, 0) when it has none here.

        None when the partition's rows do not lie together: use `partition_mask`.
        """
        ...

    def find(self, keys: pa.Array) -> Rows:
        """Every row that holds one of `keys`, rising; deleted rows and all copies of a key included."""
        ...


def absent_column(field: Field, rows: int) -> pa.Array:
    """What rows written before `field` was added hold for it: its default, or null; no dynamic keys."""
    if field.is_dense:
        return null_vectors(field, rows)
    value = b"{}" if field.is_dynamic else field.held_default
    if value is None:
        return pa.nulls(rows, field.arrow_type)
    return pa.repeat(pa.scalar(value, field.arrow_type), rows)


def missing_column(schema: Schema, field: Field, rows: int, column: Callable[[int], pa.Array]) -> pa.Array:
    """What rows that were written without `field` hold for it: what its function makes of their other fields, which
    `column` gives by id, or what `absent_column` says.
    """
    return derived(schema, field, column) if field.id in schema.outputs else absent_column(field, rows)


def fitted(rows: Batch, schema: Schema) -> Batch:
    """`rows`, which may be of another schema, with the columns of `schema`; that of the partitions stays.

    A field that they do not have (added since, or made by a function) is made up; what is no field (dropped since) is
    left out.
    """

    def column(field_id: int) -> pa.Array:
        held = rows.columns.get(field_id)
        return arrow_of(held) if held is not None else absent_column(schema.by_id[field_id], rows.num_rows)

    columns = {f.id: rows.columns.get(f.id) for f in schema.fields}
    held = {
        i: missing_column(schema, schema.by_id[i], rows.num_rows, column) if c is None else c
        for i, c in columns.items()
    }
    if PARTITION_FIELD_ID in rows.columns:
        held[PARTITION_FIELD_ID] = rows.columns[PARTITION_FIELD_ID]
    return Batch(held, rows.num_rows)
