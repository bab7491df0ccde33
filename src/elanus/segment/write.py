"""Writing a sealed segment: sort the rows, write a file for each field and the key index.

Rows are sorted by (partition, primary key, timestamp): a partition is a run, and the copies of a key lie together,
oldest first. Where there is a partition key its values come before the primary key, so that what belongs to one tenant
lies together, and behind them those of a clustering key (`clustering.py`). A table is sorted by several columns with
one stable sort for each, the least important first; columns that are in order already, as timestamps and generated
keys are, cost one comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.canonical import numbers_of
from elanus.model.schema import TIMESTAMP_FIELD_ID, Schema
from elanus.model.statistics import FieldStatistics
from elanus.model.types import DataType
from elanus.segment.column import write_column, write_vectors
from elanus.segment.deletes import Deletes
from elanus.segment.keys import write_keys
from elanus.segment.meta import KEYS_FILE, SegmentMeta, column_file, paths_file
from elanus.segment.paths import write_paths
from elanus.segment.rows import SegmentRows
from elanus.segment.statistics import statistics_of
from elanus.segment.view import Rows, Timestamps


@dataclass(frozen=True, slots=True)
class WrittenSegment:
    """A segment written to scratch: `files` by Store key, ready for `Store.publish`.

    `order[i]` is the number, among the rows given, of the segment's row i; None when they were in order already
    (`SegmentRows.new_rows` takes it).
    """

    meta: SegmentMeta
    files: Mapping[str, Path]
    deletes: Deletes
    order: Rows | None


def write_segment(
    folder: Path, segment_id: int, prefix: str, schema: Schema, rows: SegmentRows
) -> WrittenSegment | None:
    """Write `rows` as segment `segment_id` into `folder`, for Store keys below `prefix`.

    None when there are no rows: there are no empty segments. Raises `StoreError` when the disk does not take it.
    """
    if not rows.count:
        return None
    rows = replace(rows, schema=schema)
    timestamps, partitions = rows.timestamps, rows.partitions
    order = sort_order(
        rows.column(schema.primary), timestamps, partitions, [rows.column(field) for field in schema.sorted_by]
    )
    if order is not None:
        timestamps, partitions = timestamps[order], partitions[order]
    files = {TIMESTAMP_FIELD_ID: folder / column_file(TIMESTAMP_FIELD_ID)}
    statistics: dict[int, FieldStatistics] = {}
    paths: dict[int, int] = {}
    path_files: dict[int, Path] = {}
    sizes = {TIMESTAMP_FIELD_ID: write_column(files[TIMESTAMP_FIELD_ID], TIMESTAMP_FIELD_ID, pa.array(timestamps))}
    keys = rows.column(schema.primary, order)
    null_vectors: dict[int, int] = {}
    for field in schema.fields:
        path = files[field.id] = folder / column_file(field.id)
        if field.is_dense:
            blocks, valid = rows.vector_blocks(field, order), rows.valid(field, order)
            sizes[field.id] = write_vectors(path, field.id, field.arrow_type, rows.count, blocks, valid)
            if valid is not None:
                null_vectors[field.id] = rows.count - int(valid.sum())
        else:
            column = keys if field.is_primary else rows.column(field, order)
            sizes[field.id] = write_column(path, field.id, column)
            known = statistics_of(column)
            if known is not None:
                statistics[field.id] = known
            if field.dtype is DataType.JSON:
                path = folder / paths_file(field.id)
                size = write_paths(path, field.id, column)
                if size:
                    paths[field.id], path_files[field.id] = size, path
    index_path = folder / KEYS_FILE
    index = write_keys(index_path, schema.primary.id, keys)
    of_keys = statistics[schema.primary.id]
    assert isinstance(of_keys.low, (int, str))  # there are rows, and no key is null
    assert of_keys.high is None or isinstance(of_keys.high, (int, str))
    meta = SegmentMeta(
        id=segment_id,
        prefix=prefix,
        rows=rows.count,
        schema_version=schema.version,
        key_field=schema.primary.id,
        columns=sizes,
        keys_bytes=index.bytes,
        min_timestamp=int(timestamps.min()),
        max_timestamp=int(timestamps.max()),
        partitions=_runs(partitions),
        min_key=of_keys.low,
        max_key=of_keys.high,
        unique=index.unique,
        clustered_by=schema.sorted_by[0].id if schema.sorted_by else 0,
        null_vectors=null_vectors,
        statistics=statistics,
        paths=paths,
    )
    by_key = {meta.column_key(field_id): path for field_id, path in files.items()} | {meta.keys_key: index_path}
    by_key |= {meta.paths_key(field_id): path for field_id, path in path_files.items()}
    return WrittenSegment(meta, by_key, _deletes(rows, order), order)


def sort_order(
    keys: pa.Array, timestamps: Timestamps, partitions: Rows, before_keys: Sequence[pa.Array] = ()
) -> Rows | None:
    """The permutation that sorts rows by (partition, `before_keys`, key, timestamp); None when they are sorted."""
    order = _stable(timestamps, None)
    order = _stable_keys(keys, order)
    for column in reversed(before_keys):
        order = _stable_keys(column, order)
    return _stable(partitions, order)


def _stable(values: npt.NDArray[Any], order: Rows | None) -> Rows | None:
    """`order`, sorted by `values` where it does not keep them rising already."""
    values = values if order is None else values[order]
    if (values[1:] >= values[:-1]).all():
        return order
    return _then(order, np.argsort(values, kind="stable"))


def _stable_keys(keys: pa.Array, order: Rows | None) -> Rows | None:
    if not keys.null_count and not pa.types.is_large_string(keys.type):
        return _stable(numbers_of(keys, keys.type.to_pandas_dtype()), order)
    keys = keys if order is None else keys.take(pa.array(order))
    if not keys.null_count and pc.all(pc.greater_equal(keys[1:], keys[:-1]), min_count=0).as_py():
        return order
    # Arrow's sort of one array is stable, and puts nulls at the end.
    return _then(order, pc.array_sort_indices(keys).to_numpy().astype(np.int64))


def _then(first: Rows | None, second: npt.NDArray[np.int64]) -> Rows:
    if first is None:
        return second
    composed: Rows = first[second]
    return composed


def _runs(partitions: Rows) -> tuple[tuple[int, int, int], ...]:
    """(partition id, first row, rows) of the runs of sorted `partitions`."""
    ids, starts, counts = np.unique(partitions, return_index=True, return_counts=True)
    return tuple(zip(ids.tolist(), starts.tolist(), counts.tolist(), strict=True))


def _deletes(rows: SegmentRows, order: Rows | None) -> Deletes:
    deleted = rows.deleted
    if order is not None and len(deleted):
        new = np.empty(rows.count, np.int64)
        new[order] = np.arange(rows.count)
        deleted = new[deleted]
    return Deletes.of(rows.count, deleted, rows.deleted_at)
