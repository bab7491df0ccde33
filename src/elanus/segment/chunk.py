"""A chunk of a growing segment, and the view of it that reads work on.

What is true between calls; one thread, the leader of the group commit, is the only one that writes:

- rows `0 .. rows-1` are written and never change; behind them is free memory;
- `timestamps` do not fall: rows come in the log's order;
- `deleted_at[row]` is MAX_TIMESTAMP while the row is alive. It is the one thing written in place: a delete at D
  replaces MAX_TIMESTAMP by D once. A reader at T compares with T, and no reader has T >= D before the write of D has
  been published, so whichever of the two values it meets, both are later than T and mean the same;
- `first_delete` and `last_delete` bound the timestamps in `deleted_at`, and are widened *before* it is written to: a
  reader at T < `first_delete` need not look, and a mask made for T >= `last_delete` holds for every later T for as
  long as `last_delete` stands still.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.canonical import Values, numbers_of, vectors_of
from elanus.model.schema import PARTITION_FIELD_ID, TIMESTAMP_FIELD_ID, Schema
from elanus.model.timestamps import MAX_TIMESTAMP
from elanus.segment.growing_columns import Column, FixedColumn, VectorColumn, new_column
from elanus.segment.view import Mask, Rows, Timestamps, Vectors, missing_column

SYSTEM_BYTES = 8 + 8 + 8
"""Timestamp, partition and delete timestamp of a row."""


class Chunk:
    """`capacity` rows of memory, `rows` of them written; the first is row `first_row` of the segment."""

    __slots__ = (
        "capacity",
        "columns",
        "deleted_at",
        "expected",
        "first_delete",
        "first_row",
        "last_delete",
        "latest_mask",
        "partition",
        "partitions",
        "rows",
        "timestamps",
    )

    def __init__(self, schema: Schema, capacity: int, first_row: int) -> None:
        self.capacity = capacity
        self.first_row = first_row
        self.rows = 0
        self.expected = 0
        """Rows that memory was made ready for."""
        self.columns: dict[int, Column] = {f.id: new_column(f, capacity) for f in schema.fields}
        self.timestamps: Timestamps = np.empty(capacity, np.uint64)
        self.partitions: Rows = np.empty(capacity, np.int64)
        self.partition: int | None = None
        """The partition of all rows; None when there are several."""
        self.deleted_at: Timestamps = np.empty(capacity, np.uint64)
        self.first_delete = MAX_TIMESTAMP
        self.last_delete = 0
        self.latest_mask: tuple[int, int, Mask] | None = None
        """(rows, last_delete, mask): what `alive` was for that many rows and from that timestamp on."""

    def append(self, values: Mapping[int, Values], count: int, timestamp: int | Timestamps) -> int:
        """Write `count` rows: values for every column and for the partition, of one timestamp or each of its own.

        Returns their size in bytes.
        """
        start = self.rows
        stop = start + count
        size = count * SYSTEM_BYTES
        for field_id, column in self.columns.items():
            size += column.append(values[field_id], start)
        self.timestamps[start:stop] = timestamp
        self.deleted_at[start:stop] = MAX_TIMESTAMP
        self._append_partitions(numbers_of(values[PARTITION_FIELD_ID], np.int64), start)
        self.rows = stop
        return size

    def expect(self, count: int) -> None:
        """Make memory ready for `count` rows more, as far as they go in here. Any thread may call this at any time."""
        begin = max(self.rows, self.expected)
        self.expected = end = min(begin + count, self.capacity)
        for column in self.columns.values():
            if isinstance(column, VectorColumn):
                column.expect(begin, end - begin)

    def _append_partitions(self, partitions: Rows, start: int) -> None:
        self.partitions[start : start + len(partitions)] = partitions
        first = int(partitions[0])
        if start == 0:
            self.partition = first
        if self.partition is not None and (
            first != self.partition or (len(partitions) > 1 and not (partitions == first).all())
        ):
            self.partition = None

    def delete(self, rows: Rows, timestamp: int, partitions: npt.NDArray[np.int64] | None) -> int:
        """Mark those of `rows` that are alive, older than `timestamp` and in `partitions` (None: in any).

        Returns how many were marked.
        """
        hit = (self.deleted_at[rows] == MAX_TIMESTAMP) & (self.timestamps[rows] < timestamp)
        if partitions is not None:
            hit &= np.isin(self.partitions[rows], partitions)
        rows = rows[hit]
        if len(rows):
            self.first_delete = min(self.first_delete, timestamp)
            self.last_delete = max(self.last_delete, timestamp)
            self.deleted_at[rows] = timestamp
        return len(rows)

    def set_deleted(self, start: int, deleted_at: Timestamps) -> int:
        """Say when the rows from `start` on were deleted, before anybody reads them. Returns how many were."""
        deleted = deleted_at[deleted_at != MAX_TIMESTAMP]
        if len(deleted):
            self.first_delete = min(self.first_delete, int(deleted.min()))
            self.last_delete = max(self.last_delete, int(deleted.max()))
            self.deleted_at[start : start + len(deleted_at)] = deleted_at
        return len(deleted)


class ChunkView:
    """The first `rows` rows of a chunk: a `SegmentView`."""

    __slots__ = ("_chunk", "_columns", "_rows", "_schema")

    def __init__(self, chunk: Chunk, rows: int, schema: Schema) -> None:
        self._chunk = chunk
        self._rows = rows
        self._schema = schema
        self._columns: dict[int, pa.Array] = {}

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def first_row(self) -> int:
        """The number of this chunk's first row in the growing segment."""
        return self._chunk.first_row

    def has(self, field_id: int) -> bool:
        return field_id in self._chunk.columns or field_id in (TIMESTAMP_FIELD_ID, PARTITION_FIELD_ID)

    def column(self, field_id: int) -> pa.Array:
        made = self._columns.get(field_id)
        if made is None:
            made = self._columns[field_id] = self._make(field_id)
        return made

    def _make(self, field_id: int) -> pa.Array:
        if field_id == TIMESTAMP_FIELD_ID:
            return pa.array(self.timestamps)
        if field_id == PARTITION_FIELD_ID:
            return pa.array(self.partitions)
        column = self._chunk.columns.get(field_id)
        if column is None:
            return missing_column(self._schema, self._schema.by_id[field_id], self._rows, self.column)
        return column.array(self._rows)

    def vectors(self, field_id: int) -> Vectors:
        column = self._chunk.columns.get(field_id)
        if isinstance(column, VectorColumn):
            return column.vectors(self._rows)
        return vectors_of(self.column(field_id))

    @property
    def key_column(self) -> pa.Array:
        return self.column(self._schema.primary.id)

    @property
    def key_numbers(self) -> Rows | None:
        column = self._chunk.columns[self._schema.primary.id]
        return column.numbers(self._rows) if isinstance(column, FixedColumn) else None

    @property
    def timestamps(self) -> Timestamps:
        return self._chunk.timestamps[: self._rows]

    @property
    def deleted_at(self) -> Timestamps:
        """When each row was deleted, MAX_TIMESTAMP for one that was not; later deletes come in here as well."""
        return self._chunk.deleted_at[: self._rows]

    @property
    def partitions(self) -> Rows:
        return self._chunk.partitions[: self._rows]

    def alive(self, timestamp: int) -> Mask | None:
        chunk, rows = self._chunk, self._rows
        if rows and timestamp < int(chunk.timestamps[rows - 1]):
            written = int(np.searchsorted(self.timestamps, np.uint64(timestamp), side="right"))
            alive = chunk.deleted_at[:rows] > timestamp
            alive[written:] = False
            return np.packbits(alive, bitorder="little")
        if timestamp < chunk.first_delete:
            return None
        # Read once, before the deletes: the mask is then of the deletes up to there, whatever comes meanwhile.
        last_delete = chunk.last_delete
        known = chunk.latest_mask
        if known is not None and known[0] == rows and known[1] == last_delete <= timestamp:
            return known[2]
        mask = np.packbits(chunk.deleted_at[:rows] > min(timestamp, last_delete), bitorder="little")
        if timestamp >= last_delete:
            chunk.latest_mask = (rows, last_delete, mask)
        return mask

    def deletions(self, up_to: int) -> tuple[Rows, Timestamps]:
        deleted_at = self._chunk.deleted_at[: self._rows]
        rows = np.flatnonzero(deleted_at <= up_to)
        return rows, deleted_at[rows]

    def partition_mask(self, partitions: frozenset[int]) -> Mask | None:
        whole = self._chunk.partition
        if whole is not None and whole in partitions:
            return None
        wanted = np.isin(self.partitions, np.fromiter(partitions, np.int64, len(partitions)))
        return None if wanted.all() else np.packbits(wanted, bitorder="little")

    def partition_range(self, partition: int) -> tuple[int, int] | None:
        whole = self._chunk.partition
        if whole is None:
            return None
        return (0, self._rows) if whole == partition else (0, 0)

    def find(self, keys: pa.Array) -> Rows:
        """As `SegmentView.find`. It reads the whole chunk: for all chunks together `GrowingView.find` is faster."""
        hit = pc.is_in(self.key_column, value_set=keys).to_numpy(zero_copy_only=False)
        return np.flatnonzero(hit)
