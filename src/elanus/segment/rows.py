"""The rows that go into a new sealed segment: some of the rows of a few sources, taken column by column.

Nothing is copied until a column is asked for, and then only that column: sealing and merging need memory for one
column at a time. Rows are numbered twice: a source's own rows from 0, and the kept rows of all sources, in the order
of the sources, from 0 to `count - 1`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.canonical import taken, vectors_of
from elanus.model.schema import PARTITION_FIELD_ID, TIMESTAMP_FIELD_ID, Field, Schema
from elanus.model.types import NUMPY_OF
from elanus.segment.expired import NOTHING, Expired
from elanus.segment.view import Rows, RowSource, Timestamps, Vectors, absent_column, missing_column

_BLOCK_BYTES = 8 << 20
"""Vectors gathered at a time: sealing a million of them needs this much memory for them, not gigabytes."""


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """`kept` rows (None: all) of `sources`, numbered as if the sources lay end to end, source i from `starts[i]` on.

    `deleted` are kept rows that are deleted, by their kept number, rising, and `deleted_at` when. `schema`, where it is
    said, is that of the segment: it says what functions make of rows that were written before these were added.
    """

    sources: tuple[RowSource, ...]
    starts: Rows
    kept: Rows | None
    deleted: Rows
    deleted_at: Timestamps
    schema: Schema | None = None

    @staticmethod
    def of(
        sources: Sequence[RowSource],
        up_to: int,
        drop_deleted_before: int = 0,
        partitions: frozenset[int] | None = None,
        expired: Expired = NOTHING,
    ) -> SegmentRows:
        """All rows of `sources` with their deletes up to timestamp `up_to`.

        Left out are rows deleted before `drop_deleted_before` (no read may go back behind that), rows of partitions
        other than `partitions` unless that is None, and rows that have `expired`.
        """
        sizes = np.array([source.rows for source in sources], np.int64)
        starts = np.cumsum(sizes) - sizes
        total = int(sizes.sum())
        parts = [source.deletions(up_to) for source in sources]
        none = np.empty(0, np.int64)
        deleted = np.concatenate([none, *(rows + start for (rows, _), start in zip(parts, starts, strict=True))])
        deleted_at = np.concatenate([none.view(np.uint64), *(timestamps for _, timestamps in parts)])
        keep = np.ones(total, np.bool_)
        keep[deleted[deleted_at < drop_deleted_before]] = False
        if partitions is not None:
            wanted = np.fromiter(partitions, np.int64, len(partitions))
            for source, start in zip(sources, starts, strict=True):
                ids = source.column(PARTITION_FIELD_ID).to_numpy()
                keep[start : start + source.rows] &= np.isin(ids, wanted)
        if expired:
            for source, start in zip(sources, starts, strict=True):
                keep[start : start + source.rows] &= expired.rows_left(source)
        if keep.all():
            return SegmentRows(tuple(sources), starts, None, deleted, deleted_at)
        kept = np.flatnonzero(keep)
        stay = keep[deleted]
        deleted = np.searchsorted(kept, deleted[stay])
        return SegmentRows(tuple(sources), starts, kept, deleted, deleted_at[stay])

    @property
    def count(self) -> int:
        return self._total if self.kept is None else len(self.kept)

    @property
    def _total(self) -> int:
        return sum(source.rows for source in self.sources)

    @property
    def timestamps(self) -> Timestamps:
        timestamps: Timestamps = self._column(TIMESTAMP_FIELD_ID, None).to_numpy()
        return timestamps

    @property
    def partitions(self) -> Rows:
        partitions: Rows = self._column(PARTITION_FIELD_ID, None).to_numpy()
        return partitions

    def column(self, field: Field, order: Rows | None = None) -> pa.Array:
        """The values of `field`: of row `order[0]`, `order[1]`, …, or of all rows in turn where `order` is None.

        A source that was written before the field was added answers with its default or null.
        """
        arrays = [_column_of(source, field, self.schema) for source in self.sources]
        return _taken(arrays, self._picked(order))

    def vector_blocks(self, field: Field, order: Rows | None = None) -> Iterator[Vectors]:
        """The dense vectors of `field` in the order of `column`, some MiB at a time: matrices (rows, width).

        A block may be overwritten by the next one.
        """
        picked = self._picked(order)
        matrices = [vectors_of(_column_of(source, field, self.schema)) for source in self.sources]
        if picked is None:
            yield from matrices
            return
        dtype = NUMPY_OF[field.dtype]
        block = np.empty((max(1, _BLOCK_BYTES // (dtype.itemsize * field.width)), field.width), dtype)
        for first in range(0, len(picked), len(block)):
            rows = picked[first : first + len(block)]
            yield self._gathered(matrices, rows, block[: len(rows)])

    def valid(self, field: Field, order: Rows | None = None) -> npt.NDArray[np.bool_] | None:
        """Which values of `field` are not null, in the order of `column`; None where none is."""
        columns = [_column_of(source, field, self.schema) for source in self.sources] if field.nullable else []
        if not any(column.null_count for column in columns):
            return None
        valid = np.concatenate([column.is_valid().to_numpy(zero_copy_only=False) for column in columns])
        picked = self._picked(order)
        if picked is not None:
            valid = valid[picked]
        return None if valid.all() else valid

    def _gathered(self, matrices: list[Vectors], rows: Rows, out: Vectors) -> Vectors:
        """`rows`, in the numbering of all `matrices` end to end, written into `out`."""
        if len(matrices) == 1:
            # mode="clip" lets numpy write into `out` itself; the rows are in range.
            np.take(matrices[0], rows, axis=0, out=out, mode="clip")
            return out
        of_source = np.searchsorted(self.starts, rows, side="right") - 1
        for i in np.unique(of_source):
            (here,) = (of_source == i).nonzero()
            out[here] = np.take(matrices[i], rows[here] - self.starts[i], axis=0)
        return out

    def new_rows(self, order: Rows | None) -> tuple[Rows, ...]:
        """For each source, the new row of each of its rows when rows are written in `order`; -1 for one left out.

        With it a graph over an input's rows is turned into one over the output's.
        """
        new = np.arange(self.count) if order is None else np.empty(self.count, np.int64)
        if order is not None:
            new[order] = np.arange(self.count)
        if self.kept is not None:
            everything = np.full(self._total, -1, np.int64)
            everything[self.kept] = new
            new = everything
        return tuple(new[start : start + s.rows] for start, s in zip(self.starts, self.sources, strict=True))

    def _picked(self, order: Rows | None) -> Rows | None:
        """`order` in the numbering of the sources end to end; None for all rows in turn."""
        if self.kept is None or order is None:
            return order if self.kept is None else self.kept
        picked: Rows = self.kept[order]
        return picked

    def _column(self, field_id: int, order: Rows | None) -> pa.Array:
        return _taken([source.column(field_id) for source in self.sources], self._picked(order))


class ColumnsInMemory:
    """Rows that never were in a segment, such as an import's: a `RowSource` without deletes.

    `columns` by field id; `timestamps` and `partitions` one a row.
    """

    def __init__(self, columns: dict[int, pa.Array], timestamps: Timestamps, partitions: Rows) -> None:
        self.rows = len(timestamps)
        self._columns = {
            **columns, TIMESTAMP_FIELD_ID: pa.array(timestamps), PARTITION_FIELD_ID: pa.array(partitions)
        }  # fmt: skip

    def has(self, field_id: int) -> bool:
        return field_id in self._columns

    def column(self, field_id: int) -> pa.Array:
        return self._columns[field_id]

    def deletions(self, up_to: int) -> tuple[Rows, Timestamps]:
        return np.empty(0, np.int64), np.empty(0, np.uint64)


def _column_of(source: RowSource, field: Field, schema: Schema | None) -> pa.Array:
    if source.has(field.id):
        return source.column(field.id)
    if schema is None:
        return absent_column(field, source.rows)
    return missing_column(schema, field, source.rows, lambda i: _column_of(source, schema.by_id[i], schema))


def _taken(arrays: list[pa.Array], picked: Rows | None) -> pa.Array:
    array = arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
    return array if picked is None else taken(array, picked)
