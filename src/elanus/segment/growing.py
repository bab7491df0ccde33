"""A growing segment: the rows that only the log holds so far, in memory, in the order in which they were written.

Rows live in chunks whose capacity grows sixteenfold from 256 to 65,536, so that ten thousand collections of a few rows
cost little and a scan of a big one runs over few, long stretches of memory; where many rows are sealed already, the
first chunk is a large one. `chunk.py` says what is true of a chunk's memory.

What is true between calls:

- one thread, the leader of the group commit, calls `append`, `delete` and `evolve`; calls come in the log's order, so
  timestamps do not fall;
- all chunks but the last are full, or were closed by `evolve`; their views are made once and kept in `_closed`;
- `_keys` holds the probe of every row, in the order of the rows;
- a `GrowingView` taken from `view()` is immutable: it holds on to chunks, row counts and sorted runs as they were.
  Everything the writer does later is behind those rows, or a delete later than the view's timestamp.

Readers take views without a lock; a frozen segment (one that gets no more rows) may still get deletes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.canonical import Batch, Values, sliced
from elanus.model.schema import PARTITION_FIELD_ID, Schema
from elanus.segment.chunk import Chunk, ChunkView
from elanus.segment.key_runs import KeyRuns, Keys
from elanus.segment.matches import Places, same_keys
from elanus.segment.probe import is_exact, probe
from elanus.segment.rows import SegmentRows
from elanus.segment.view import Rows, fitted

MIN_CHUNK_ROWS = 256
MAX_CHUNK_ROWS = 65_536
CHUNK_GROWTH = 16
"""A search treats each chunk on its own, which costs it some µs, so few long ones are better than many. But a chunk's
address space is set aside at once, and 65,536 × 768 floats are 200 MB of it."""

SHARE_OF_ROWS_BEFORE = 4
"""A first chunk has room for about one of so many rows that the collection has already, at most."""

MAX_ROWS = 1 << 32
"""Row numbers of a growing segment fit into 32 bits."""


class GrowingView:
    """The segment as it was: `chunks` of rows, and the `timestamp` of the newest write in it."""

    __slots__ = ("_keys", "chunks", "rows", "timestamp")

    def __init__(self, chunks: tuple[ChunkView, ...], rows: int, timestamp: int, keys: Keys) -> None:
        self.chunks = chunks
        self.rows = rows
        self.timestamp = timestamp
        self._keys = keys

    def find(self, keys: pa.Array) -> tuple[Places, Rows]:
        """Every row that holds one of `keys`, deleted or not: (index into `chunks`, row within the chunk), rising."""
        _, chunks, rows = self.find_pairs(keys)
        if len(rows) > 1:
            order = np.lexsort((rows, chunks))
            chunks, rows = chunks[order], rows[order]
            first = np.ones(len(rows), np.bool_)
            first[1:] = (chunks[1:] != chunks[:-1]) | (rows[1:] != rows[:-1])
            chunks, rows = chunks[first], rows[first]
        return chunks, rows

    def find_pairs(self, keys: pa.Array) -> tuple[Places, Places, Rows]:
        """(index into `keys`, index into `chunks`, row within the chunk) of every pair of a key and a row with it."""
        if not self.chunks or not len(keys):
            none = np.empty(0, np.int64)
            return none, none, none
        which, rows = self._keys.find(probe(keys))
        starts = np.fromiter((chunk.first_row for chunk in self.chunks), np.int64, len(self.chunks))
        places = np.searchsorted(starts, rows, side="right") - 1
        rows = rows - starts[places]
        if len(rows) and not is_exact(keys.type):
            same = _same_keys(keys, which, self.chunks, places, rows)
            which, places, rows = which[same], places[same], rows[same]
        return which, places, rows


class GrowingSegment:
    """Rows in memory, fed by the log. See the module for who may call what."""

    def __init__(self, schema: Schema, rows_before: int = 0) -> None:
        """`rows_before` are those that the collection has already, and say how many more may come."""
        self._schema = schema
        self._first_capacity = 1 << (rows_before // SHARE_OF_ROWS_BEFORE).bit_length() >> 1
        self._expected = _column_ids(schema)
        self._key_id = schema.primary.id
        self._chunks: list[Chunk] = []
        self._closed: tuple[ChunkView, ...] = ()
        self._keys = KeyRuns()
        self._rows = 0
        self._byte_size = 0
        self._deleted = 0
        self._min_timestamp = 0
        self._max_timestamp = 0
        self._newest = 0

    @property
    def schema(self) -> Schema:
        return self._schema

    @property
    def rows(self) -> int:
        """Rows written, deleted ones included."""
        return self._rows

    @property
    def deleted_rows(self) -> int:
        return self._deleted

    @property
    def byte_size(self) -> int:
        """Bytes of the rows written: memory set aside for later rows costs nothing yet."""
        return self._byte_size

    @property
    def min_timestamp(self) -> int:
        """The timestamp of the first row; 0 while there is none."""
        return self._min_timestamp

    @property
    def max_timestamp(self) -> int:
        """The timestamp of the last row; 0 while there is none."""
        return self._max_timestamp

    def append(self, rows: Batch, timestamp: int) -> None:
        """Add `rows`, a canonical batch with the partition column "2", written at `timestamp`.

        A field that the batch does not have (written before the field was added) gets its default or null; a
        column that is no field of the schema (dropped since) is left out.
        """
        count = rows.num_rows
        if not count:
            return
        assert timestamp >= self._newest, f"rows of {timestamp} come after {self._newest}: not the log's order"
        assert self._rows + count < MAX_ROWS, "seal the segment before"
        values = self._values(rows)
        # Hashed before anything is written, so that a batch that cannot be is refused whole.
        probes = probe(values[self._key_id])
        written = 0
        while written < count:
            chunk = self._chunk_with_room(count - written)
            part = min(count - written, chunk.capacity - chunk.rows)
            piece = values if part == count else {i: sliced(v, written, part) for i, v in values.items()}
            self._byte_size += chunk.append(piece, part, timestamp)
            written += part
        self._keys.append(probes)
        if not self._rows:
            self._min_timestamp = timestamp
        self._rows += count
        self._max_timestamp = self._newest = timestamp

    def expect(self, count: int) -> None:
        """`count` rows are on their way: make memory ready for them. Any thread may call this at any time."""
        for chunk in self._chunks[-1:]:
            chunk.expect(count)

    def delete(self, keys: pa.Array, timestamp: int, partitions: Sequence[int] = ()) -> int:
        """Delete every copy of `keys` that is in `partitions` (none named: in any) and was written before `timestamp`.

        Returns how many rows that were. Keys that are not here are no error.
        """
        self._newest = max(self._newest, timestamp)
        if not self._rows or not len(keys):
            return 0
        places, rows = self.view().find(keys)
        if not len(rows):
            return 0
        within = np.asarray(partitions, np.int64) if partitions else None
        first = int(places[0])
        if len(places) == 1 or (places == first).all():
            hit = self._chunks[first].delete(rows, timestamp, within)
        else:
            hit = sum(
                self._chunks[int(place)].delete(rows[places == place], timestamp, within) for place in np.unique(places)
            )
        self._deleted += hit
        return hit

    def after(self, timestamp: int, rows_before: int = 0) -> GrowingSegment:
        """A new segment with the rows that were written after `timestamp`, and what was deleted of them."""
        rest = GrowingSegment(self._schema, rows_before)
        for view in self.view().chunks:
            start = int(np.searchsorted(view.timestamps, np.uint64(timestamp), side="right"))
            if start < view.rows:
                rest._copy(view, start)
        rest._newest = self._newest
        return rest

    def evolve(self, schema: Schema) -> None:
        """Take rows of `schema` from now on; the rows so far answer for its new fields with default or null."""
        self._schema = schema
        self._expected = _column_ids(schema)
        if self._chunks:
            self._chunks[-1].capacity = self._chunks[-1].rows
        self._closed = tuple(ChunkView(chunk, chunk.rows, schema) for chunk in self._chunks)

    def view(self) -> GrowingView:
        """The segment as it is now."""
        chunks = self._closed
        if len(chunks) < len(self._chunks):
            last = self._chunks[-1]
            chunks = (*chunks, ChunkView(last, last.rows, self._schema))
        return GrowingView(chunks, self._rows, self._newest, self._keys.keys())

    def rows_for_sealing(self, up_to: int, drop_deleted_before: int = 0) -> SegmentRows:
        """The rows, with the deletes up to timestamp `up_to`, for `write_segment`.

        Rows deleted before `drop_deleted_before` are left out. Deletes later than `up_to` may arrive meanwhile and are
        not in the result, wholly: they are for `Deletes.with_deleted` of the segment that is written.
        """
        return SegmentRows.of(self.view().chunks, up_to, drop_deleted_before)

    def _copy(self, view: ChunkView, start: int) -> None:
        """Add the rows of `view` from `start` on."""
        values: dict[int, Values] = {PARTITION_FIELD_ID: view.partitions[start:]}
        for f in self._schema.fields:
            values[f.id] = (
                view.vectors(f.id)[start:] if f.is_dense and not f.nullable else view.column(f.id).slice(start)
            )
        timestamps, deleted_at = view.timestamps[start:], view.deleted_at[start:]
        self._keys.append(probe(values[self._key_id]))
        written, count = 0, len(timestamps)
        while written < count:
            chunk = self._chunk_with_room(count - written)
            part = min(count - written, chunk.capacity - chunk.rows)
            piece = {i: sliced(v, written, part) for i, v in values.items()}
            self._byte_size += chunk.append(piece, part, timestamps[written : written + part])
            self._deleted += chunk.set_deleted(chunk.rows - part, deleted_at[written : written + part])
            written += part
        if not self._rows:
            self._min_timestamp = int(timestamps[0])
        self._rows += count
        self._max_timestamp = int(timestamps[-1])

    def _values(self, rows: Batch) -> dict[int, Values]:
        """The batch's columns by field id, those of the schema."""
        if rows.columns.keys() == self._expected:
            return rows.columns
        return fitted(rows, self._schema).columns

    def _chunk_with_room(self, wanted: int) -> Chunk:
        if self._chunks:
            last = self._chunks[-1]
            if last.rows < last.capacity:
                return last
            self._close(last)
        longest = self._chunks[-1].capacity if self._chunks else 0
        enough = max(MIN_CHUNK_ROWS, self._first_capacity, CHUNK_GROWTH * longest, 1 << (wanted - 1).bit_length())
        capacity = min(enough, MAX_CHUNK_ROWS)
        first_row = self._chunks[-1].first_row + self._chunks[-1].rows if self._chunks else 0
        chunk = Chunk(self._schema, capacity, first_row)
        self._chunks.append(chunk)
        return chunk

    def _close(self, chunk: Chunk) -> None:
        if len(self._closed) < len(self._chunks):
            self._closed = (*self._closed, ChunkView(chunk, chunk.rows, self._schema))


def _column_ids(schema: Schema) -> frozenset[int]:
    return frozenset((PARTITION_FIELD_ID, *(f.id for f in schema.fields)))


def _same_keys(
    keys: pa.Array, which: Places, chunks: tuple[ChunkView, ...], places: Places, rows: Rows
) -> npt.NDArray[np.bool_]:
    """Whether `keys[which[i]]` is the key in row `rows[i]` of chunk `places[i]`, for every i."""
    if len(places) == 1:
        return same_keys(keys, which, chunks[places[0]].key_column, rows)
    same = np.zeros(len(rows), np.bool_)
    for place in np.unique(places):
        here = np.flatnonzero(places == place)
        same[here] = same_keys(keys, which[here], chunks[place].key_column, rows[here])
    return same
