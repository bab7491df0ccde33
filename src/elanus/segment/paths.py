"""Frequent paths of a JSON field, extracted once when a segment is written: what a filter asks of them is a column.

The file has the form of `blocks.py` with kind PATHS and the JSON field's id. Its payload is an Arrow IPC file of one
record batch, whose schema's metadata holds under "paths" a JSON list of the paths, each a list of keys. The columns of
path p, of those that it has values for:

    p.kinds    uint8 (`json_path.Kind`) of each row
    p.ints     int64, of rows that hold an integer or, as 0 and 1, a boolean
    p.doubles  float64
    p.strings  large_string, escapes read; null in rows of other kinds

What a path gives is exactly `json_path.extract` of the column. A segment without the file answers the same, slower, as
does one whose file is damaged or lost, until a job has written it anew. Paths are found in a sample of rows of fixed
size, whatever the number of rows.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from elanus.expr import json_path
from elanus.expr.json_path import Extraction, Kind
from elanus.model.errors import CorruptData
from elanus.segment.blocks import BlockWriter, map_payload
from elanus.store.header import FileKind

SAMPLED_ROWS = 256
LEAST_SHARE = 0.3
"""A path that fewer rows have is read from their texts: a column of it would be mostly empty."""

MOST_PATHS = 16
"""Each costs about 10 bytes a row, and 0.4 µs a row when a segment is written."""

MOST_STEPS = 4
LEAST_ROWS = 1_024
"""Fewer rows are read from their texts in less than a millisecond."""


def frequent_paths(column: pa.Array) -> list[json_path.Path]:
    """The paths to plain values that at least `LEAST_SHARE` of the rows have, the most frequent first."""
    rows = len(column)
    if rows < LEAST_ROWS:
        return []
    sample = column.take(pa.array(np.linspace(0, rows - 1, SAMPLED_ROWS).astype(np.int64)))
    seen: Counter[json_path.Path] = Counter()
    for text in sample.drop_null().to_pylist():
        with contextlib.suppress(orjson.JSONDecodeError):  # it has limits of its own, and decides nothing
            seen.update(_paths_of(orjson.loads(text), ()))
    chosen = [path for path, count in seen.most_common() if count >= LEAST_SHARE * SAMPLED_ROWS]
    return chosen[:MOST_PATHS]


def _paths_of(value: Any, path: json_path.Path) -> Iterator[json_path.Path]:
    if isinstance(value, dict):
        if len(path) < MOST_STEPS:
            for key, inner in value.items():
                yield from _paths_of(inner, (*path, key))
    elif path and not isinstance(value, list):
        yield path


def write_paths(path: Path, field_id: int, column: pa.Array) -> int:
    """Write the file of a JSON column's frequent paths; its length in bytes, 0 where there are none and no file.

    Raises `StoreError`.
    """
    paths = frequent_paths(column)
    return write_chosen(path, field_id, column, paths) if paths else 0


def write_chosen(path: Path, field_id: int, column: pa.Array, paths: Sequence[json_path.Path]) -> int:
    """Write the file of these paths; its length in bytes. Raises `StoreError`."""
    columns: dict[str, pa.Array] = {}
    for number, steps in enumerate(paths):
        found = json_path.extract(column, steps)
        has = np.bincount(found.kinds, minlength=len(Kind)).astype(bool)
        columns[f"{number}.kinds"] = pa.array(found.kinds)
        if has[Kind.INT] or has[Kind.BOOL]:
            columns[f"{number}.ints"] = pa.array(found.ints)
        if has[Kind.DOUBLE]:
            columns[f"{number}.doubles"] = pa.array(found.doubles)
        if has[Kind.STRING]:
            columns[f"{number}.strings"] = found.strings
    schema = pa.schema([(name, array.type) for name, array in columns.items()], {"paths": json.dumps(paths)})
    batch = pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)
    options = pa.ipc.IpcWriteOptions(allow_64bit=True)
    with (
        BlockWriter(path, FileKind.PATHS, field_id) as out,
        pa.PythonFile(out, mode="w") as sink,
        pa.ipc.new_file(sink, schema, options=options) as file,
    ):
        file.write_batch(batch)
    return out.file_bytes


class StoredPaths:
    """The extracted paths of one JSON field of a segment; of None there are none."""

    def __init__(self, batch: pa.RecordBatch | None) -> None:
        self._batch = batch
        paths = [] if batch is None else json.loads(batch.schema.metadata[b"paths"])
        self._numbers = {tuple(steps): number for number, steps in enumerate(paths)}
        self._opened: dict[json_path.Path, Extraction] = {}

    @classmethod
    def open(cls, path: Path, field_id: int, rows: int) -> StoredPaths:
        """Map the file. Raises `CorruptData` and other `StoreError`s."""
        payload = map_payload(path, FileKind.PATHS, field_id)
        try:
            with pa.ipc.open_file(payload) as file:
                batch = file.get_batch(0)
        except pa.ArrowException as error:
            raise CorruptData(f"{path}: it is not a table of JSON paths: {error}") from error
        if batch.num_rows != rows:
            raise CorruptData(f"{path}: it holds {batch.num_rows} rows for the segment's {rows}")
        return cls(batch)

    def at(self, steps: json_path.Path) -> Extraction | None:
        """What rows hold at a path; None where it is not among those extracted."""
        found = self._opened.get(steps)
        number = self._numbers.get(steps)
        if found is not None or number is None:
            return found
        assert self._batch is not None
        held = {name.partition(".")[2]: self._batch.column(name) for name in self._batch.schema.names
                if name.startswith(f"{number}.")}  # fmt: skip
        rows = self._batch.num_rows
        kinds = held["kinds"].to_numpy()
        ints = held["ints"].to_numpy() if "ints" in held else np.broadcast_to(np.int64(0), rows)
        doubles = held["doubles"].to_numpy() if "doubles" in held else np.broadcast_to(np.float64(0), rows)
        strings = held["strings"] if "strings" in held else pa.nulls(rows, pa.large_string())
        found = self._opened[steps] = json_path.extracted(kinds, ints, doubles, strings)
        return found
