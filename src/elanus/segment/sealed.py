"""Sealed segments: rows in files that never change, mapped into memory at their first touch.

A segment is a folder in the Store: `<field id>.column` for each field (`column.py`), `1.column` for the timestamps,
`keys.index` (`keys.py`). Rows are sorted by (partition, primary key, timestamp), so a partition is a run of rows, and
the runs, known to the manifest's `SegmentMeta`, stand for a partition column.

Opening one does no I/O. What is first asked for is mapped, checked for its header and footer, and kept; two threads
that ask first may both do so, and one mapping is kept. Nobody waits for a lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr import json_path
from elanus.model.canonical import vectors_of
from elanus.model.errors import CorruptData, FormatTooNew, KeyNotFound, StoreError
from elanus.model.schema import PARTITION_FIELD_ID, TIMESTAMP_FIELD_ID, Field, Schema
from elanus.model.statistics import FieldStatistics
from elanus.segment import tenants
from elanus.segment.clustering import Span, ranges_of
from elanus.segment.column import open_column
from elanus.segment.deletes import Deletes
from elanus.segment.keys import KeyIndex
from elanus.segment.matches import Places
from elanus.segment.meta import SegmentMeta
from elanus.segment.paths import StoredPaths
from elanus.segment.sparse import SparseVectors
from elanus.segment.statistics import statistics_of_absent
from elanus.segment.view import Mask, Rows, Timestamps, Vectors, missing_column
from elanus.segment.write import WrittenSegment, write_segment
from elanus.store.base import Store

__all__ = ["SealedSegment", "SealedView", "SegmentMeta", "WrittenSegment", "write_segment"]

_log = logging.getLogger("elanus.segments")


class SealedSegment:
    """The files of one sealed segment. Deletes are not its business: see `SealedView`."""

    def __init__(self, store: Store, meta: SegmentMeta, on_lost: Callable[[], None]) -> None:
        self.meta = meta
        self._store = store
        self._columns: dict[int, pa.Array] = {}
        self._vectors: dict[int, Vectors] = {}
        self._sparse: dict[int, SparseVectors] = {}
        self.derived: dict[int, pa.Array] = {}
        """What functions that were added after the segment was written make of it, by field."""
        self._paths: dict[int, StoredPaths] = {}
        self.lost_paths: set[int] = set()
        """The JSON fields whose paths' file was found to be lost or damaged: a job writes it anew."""
        self._on_lost = on_lost
        self._key_numbers: Rows | None = None
        self._key_ranks: Rows | None = None
        self._keys: KeyIndex | None = None

    @classmethod
    def open(cls, store: Store, meta: SegmentMeta, on_lost: Callable[[], None] = lambda: None) -> SealedSegment:
        """The segment that `meta` names. Nothing is read before it is needed.

        `on_lost` is called when a file turns out to be lost or damaged that is needed for speed alone.
        """
        return cls(store, meta, on_lost)

    @property
    def id(self) -> int:
        return self.meta.id

    @property
    def rows(self) -> int:
        return self.meta.rows

    def path(self, field_id: int) -> Path:
        """The local file of a column, for builders that map it themselves (`column.data_offset`)."""
        return self._store.local_path(self.meta.column_key(field_id))

    def has(self, field_id: int) -> bool:
        """Whether there is a file for the field (or a run for the partition), so that `column` can answer."""
        return field_id in self.meta.columns or field_id == PARTITION_FIELD_ID

    def column(self, field_id: int) -> pa.Array:
        """All values of a field that the segment has. Raises `CorruptData`, `KeyNotFound` and other `StoreError`s."""
        array = self._columns.get(field_id)
        if array is None:
            array = self._columns[field_id] = self._open_column(field_id)
        return array

    def _open_column(self, field_id: int) -> pa.Array:
        if field_id == PARTITION_FIELD_ID:
            ids = np.array([partition for partition, _, _ in self.meta.partitions], np.int64)
            return pa.array(np.repeat(ids, [count for _, _, count in self.meta.partitions]))
        if field_id not in self.meta.columns:
            raise LookupError(f"segment {self.id} has no file for field {field_id}: it was written before the field")
        sparse = self._sparse.get(field_id)
        if sparse is not None:  # what is mapped already stays where it is
            sparse.fetch_all()
            return sparse.column
        return self._checked(open_column(self.path(field_id), field_id), field_id)

    def _checked(self, array: pa.Array, field_id: int) -> pa.Array:
        if len(array) != self.meta.rows:
            raise CorruptData(
                f"{self.meta.column_key(field_id)}: it holds {len(array)} values for the segment's {self.meta.rows} "
                "rows. Restore the file from a copy."
            )
        return array

    def extracted(self, field_id: int, steps: json_path.Path) -> json_path.Extraction | None:
        """What rows hold at a path of a JSON field, where that was extracted when the segment was written."""
        if field_id not in self.meta.paths:
            return None
        stored = self._paths.get(field_id)
        if stored is None:
            stored = self._paths[field_id] = self._open_paths(field_id)
        return stored.at(steps)

    def _open_paths(self, field_id: int) -> StoredPaths:
        try:
            path = self._store.local_path(self.meta.paths_key(field_id))
            return StoredPaths.open(path, field_id, self.meta.rows)
        except (CorruptData, FormatTooNew, KeyNotFound) as error:
            _log.warning("columns of JSON paths are left aside, filters read the texts instead: %s", error)
            if not isinstance(error, FormatTooNew):
                self.lost_paths.add(field_id)
                self._on_lost()
            return StoredPaths(None)

    def restored(self, field_id: int, is_written: bool) -> None:
        """The file of a field's paths was written anew, and is asked again; or there are none."""
        if is_written:
            self._paths.pop(field_id, None)
        self.lost_paths.discard(field_id)

    def vectors(self, field_id: int) -> Vectors:
        vectors = self._vectors.get(field_id)
        if vectors is None:
            vectors = self._vectors[field_id] = vectors_of(self.column(field_id))
        return vectors

    def sparse_vectors(self, field_id: int) -> tuple[Vectors, SparseVectors | None]:
        """The vectors of a field, and what has to be asked for those that are read; None where all are there."""
        sparse = self._sparse.get(field_id)
        if sparse is None and field_id not in self._columns:
            file = self._store.sparse(self.meta.column_key(field_id))
            if file is not None:
                try:
                    sparse = SparseVectors.open(file, field_id)
                except StoreError:
                    if not file.is_whole:
                        raise
                    return self.vectors(field_id), None  # it has come, and was renamed, in this moment
                self._checked(sparse.column, field_id)
                sparse = self._sparse.setdefault(field_id, sparse)
        if sparse is None or sparse.is_whole:
            return self.vectors(field_id), None
        return vectors_of(sparse.column), sparse

    @property
    def key_column(self) -> pa.Array:
        return self.column(self.meta.key_field)

    @property
    def key_numbers(self) -> Rows | None:
        numbers = self._key_numbers
        if numbers is None and isinstance(self.meta.min_key, int):
            numbers = self._key_numbers = self.key_column.to_numpy(zero_copy_only=True)
        return numbers

    @property
    def key_ranks(self) -> Rows:
        """A number for each row that compares as its key does, for keys that are text; kept, since it means sorting."""
        ranks = self._key_ranks
        if ranks is None:
            ranks = pc.rank(self.key_column, tiebreaker="dense").to_numpy().astype(np.int64)
            self._key_ranks = ranks
        return ranks

    @property
    def timestamps(self) -> Timestamps:
        timestamps: Timestamps = self.column(TIMESTAMP_FIELD_ID).to_numpy(zero_copy_only=True)
        return timestamps

    @property
    def partitions(self) -> Rows:
        partitions: Rows = self.column(PARTITION_FIELD_ID).to_numpy(zero_copy_only=True)
        return partitions

    @property
    def keys(self) -> KeyIndex:
        """The key index."""
        index = self._keys
        if index is None:
            column = None if isinstance(self.meta.min_key, int) else self.key_column
            index = self._keys = KeyIndex.open(self._store.local_path(self.meta.keys_key), column)
        return index

    def open_keys(self, keys: pa.Array) -> None:
        """Map what `find` needs for `keys`, so that what it could raise is raised here."""
        if self._keys is None and len(keys) and self._may_hold(keys):
            self._keys = self.keys

    def find(self, keys: pa.Array, before: int | None = None, partitions: Sequence[int] = ()) -> Rows:
        """Every row that holds one of `keys`, rising; all copies of a key, deleted or not.

        Only rows written before the timestamp `before`, and in one of `partitions`, unless those are left out.
        """
        if not len(keys) or not self._may_hold(keys):
            return np.empty(0, np.int64)
        rows = self.keys.find(keys)
        if len(rows) and before is not None and self.meta.max_timestamp >= before:
            rows = rows[self.timestamps[rows] < before]
        if len(rows) and partitions and not {run[0] for run in self.meta.partitions} <= set(partitions):
            rows = rows[np.isin(self._partitions_of(rows), np.asarray(partitions, np.int64))]
        return rows

    def find_pairs(self, keys: pa.Array) -> tuple[Places, Rows]:
        """(index into `keys`, row) of every pair of a key and a row that holds it, in no order."""
        if not len(keys) or not self._may_hold(keys):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return self.keys.find_pairs(keys)

    def tenant_ranges(self, values: pa.Array, partitions: Iterable[int]) -> list[tuple[int, int]] | None:
        """Ranges of the rows in `partitions` with one of these values of the partition key; None where they lie
        anywhere.
        """
        if not self.meta.clustered_by:
            return None
        runs = map(self.meta.partition_range, sorted(partitions))
        return tenants.ranges_of(self.column(self.meta.clustered_by), values, runs)

    def rows_within(self, field_id: int, span: Span, partitions: Iterable[int]) -> list[tuple[int, int]] | None:
        """Ranges of the rows in `partitions` whose clustering key `field_id` is within `span`; None where they are not
        sorted by it, as before there was one.
        """
        if self.meta.clustered_by != field_id:
            return None
        return ranges_of(self.column(field_id), span, map(self.meta.partition_range, sorted(partitions)))

    def partition_range(self, partition: int) -> tuple[int, int] | None:
        return self.meta.partition_range(partition)

    def partition_mask(self, partitions: frozenset[int]) -> Mask | None:
        wanted = np.zeros(self.rows, np.bool_)
        for partition, start, count in self.meta.partitions:
            if partition in partitions:
                wanted[start : start + count] = True
        return None if wanted.all() else np.packbits(wanted, bitorder="little")

    def _may_hold(self, keys: pa.Array) -> bool:
        """Whether the range of keys allows it. Once the key index is open its own range does this better."""
        if self._keys is not None:
            return True
        bounds = pc.min_max(keys).as_py()
        if self.meta.max_key is not None and bounds["min"] > self.meta.max_key:
            return False
        return bool(bounds["max"] >= self.meta.min_key)

    def _partitions_of(self, rows: Rows) -> Rows:
        ids = np.array([partition for partition, _, _ in self.meta.partitions], np.int64)
        starts = np.array([start for _, start, _ in self.meta.partitions], np.int64)
        return ids[np.searchsorted(starts, rows, side="right") - 1]


class SealedView:
    """A sealed segment with the deletes of one moment: a `SegmentView`. Immutable.

    `schema` is that of the moment: it says what a field holds that was added after the segment was written.
    """

    __slots__ = ("_absent", "_schema", "_statistics", "deletes", "segment")

    def __init__(self, segment: SealedSegment, deletes: Deletes, schema: Schema | None = None) -> None:
        assert deletes.segment_rows == segment.rows, "deletes of another segment"
        self.segment = segment
        self.deletes = deletes
        self._schema = schema
        self._absent: dict[int, pa.Array] = {}
        self._statistics: Mapping[int, FieldStatistics] | None = None

    @property
    def statistics(self) -> Mapping[int, FieldStatistics]:
        """What is known of fields, by id, those that were added after the segment was written among them."""
        known = self._statistics
        if known is None:
            fields = () if self._schema is None else self._schema.fields
            added = {f.id: statistics_of_absent(f, self.rows) for f in fields if not self.has(f.id)}
            known = self._statistics = {**self.segment.meta.statistics, **{i: s for i, s in added.items() if s}}
        return known

    @property
    def rows(self) -> int:
        return self.segment.rows

    def has(self, field_id: int) -> bool:
        return self.segment.has(field_id)

    def column(self, field_id: int) -> pa.Array:
        if self.segment.has(field_id):
            return self.segment.column(field_id)
        array = self._absent.get(field_id)
        if array is None:
            field = self._schema.by_id.get(field_id) if self._schema is not None else None
            if field is None:
                raise LookupError(f"segment {self.segment.id} has no field {field_id}, and the view's schema has none")
            array = self._absent[field_id] = self._missing(field)
        return array

    def _missing(self, field: Field) -> pa.Array:
        """What functions make is made once for a segment, and kept as long as any view's schema has it."""
        assert self._schema is not None, "a field of a schema"
        made = self.segment.derived.get(field.id)
        if made is None:
            made = missing_column(self._schema, field, self.rows, self.column)
            if field.id in self._schema.outputs:
                kept = {i: column for i, column in self.segment.derived.items() if i in self._schema.outputs}
                self.segment.derived = {**kept, field.id: made}
        return made

    def extracted(self, field_id: int, steps: json_path.Path) -> json_path.Extraction | None:
        """As that of the segment."""
        return self.segment.extracted(field_id, steps)

    def vectors(self, field_id: int) -> Vectors:
        return self.segment.vectors(field_id) if self.segment.has(field_id) else vectors_of(self.column(field_id))

    def sparse_vectors(self, field_id: int) -> tuple[Vectors, SparseVectors | None]:
        """As those of the segment, where it has the field."""
        if self.segment.has(field_id):
            return self.segment.sparse_vectors(field_id)
        return self.vectors(field_id), None

    @property
    def key_column(self) -> pa.Array:
        return self.segment.key_column

    @property
    def key_numbers(self) -> Rows | None:
        return self.segment.key_numbers

    @property
    def timestamps(self) -> Timestamps:
        return self.segment.timestamps

    @property
    def partitions(self) -> Rows:
        return self.segment.partitions

    def alive(self, timestamp: int) -> Mask | None:
        mask = self.deletes.alive_at(timestamp)
        if timestamp >= self.segment.meta.max_timestamp:
            return mask
        written = np.packbits(self.timestamps <= timestamp, bitorder="little")
        return written if mask is None else mask & written

    def deletions(self, up_to: int) -> tuple[Rows, Timestamps]:
        return self.deletes.entries(up_to=up_to)

    def partition_mask(self, partitions: frozenset[int]) -> Mask | None:
        return self.segment.partition_mask(partitions)

    def partition_range(self, partition: int) -> tuple[int, int] | None:
        return self.segment.partition_range(partition)

    def find(self, keys: pa.Array) -> Rows:
        return self.segment.find(keys)
