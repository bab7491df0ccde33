"""A column file: one field of one segment.

The form is that of `blocks.py` with kind COLUMN. The payload is an Arrow IPC file, not compressed, of exactly one
record batch with one column, which is named by its field id; any Arrow reads it. Its first buffer lies at a multiple
of 64 bytes in the file, for which the schema's metadata "pad" is as long as it has to be: so the vectors of a field
are one aligned matrix, which builders and indexes use where it lies (`data_offset`). Where some are null it lies
behind their validity, at a multiple of 8.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.errors import CorruptData
from elanus.segment.blocks import PAYLOAD_OFFSET, BlockWriter, map_payload
from elanus.segment.view import Vectors
from elanus.store.header import FileKind

_ALIGNMENT = 64
_OPTIONS = pa.ipc.IpcWriteOptions(allow_64bit=True)
"""More than 2^31 floats in a column are ordinary: 1 M rows of 4,096."""


def write_column(path: Path, field_id: int, values: pa.Array) -> int:
    """Write the column file of `values` and return its length in bytes. Raises `StoreError`."""
    with BlockWriter(path, FileKind.COLUMN, field_id) as out, pa.PythonFile(out, mode="w") as sink:
        _write_ipc(sink, _batch(field_id, values, _padding(field_id, values)))
    return out.file_bytes


def write_vectors(
    path: Path,
    field_id: int,
    vector_type: pa.DataType,
    rows: int,
    blocks: Iterable[Vectors],
    valid: npt.NDArray[np.bool_] | None = None,
) -> int:
    """`write_column` for `rows` vectors that come in `blocks`, one after the other and never all in memory.

    Those that are not `valid` (None: all are) are null.

    Arrow lays the file out for a matrix of untouched memory, which costs nothing; where it would write that, the
    blocks are written.
    """
    element = vector_type.value_type
    size = rows * vector_type.list_size * element.bit_width // 8
    if not size:
        return write_column(path, field_id, pa.array([], vector_type))
    with BlockWriter(path, FileKind.COLUMN, field_id) as out:
        untouched = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
        matrix = pa.py_buffer(untouched)
        flat = pa.Array.from_buffers(element, rows * vector_type.list_size, [None, matrix], 0)
        bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
        values = pa.Array.from_buffers(vector_type, rows, [bits], children=[flat])
        swapped = _Swapped(out, matrix, blocks)
        with pa.PythonFile(swapped, mode="w") as sink:
            _write_ipc(sink, _batch(field_id, values, _padding(field_id, values)))
        assert swapped.swapped == size, f"{swapped.swapped} bytes of vectors came, {size} were announced"
    return out.file_bytes


class _Swapped:
    """A sink that writes `blocks` where Arrow writes `matrix`."""

    closed = False

    def __init__(self, out: BlockWriter, matrix: pa.Buffer, blocks: Iterable[Vectors]) -> None:
        self._out = out
        self._matrix = matrix
        self._blocks = blocks
        self.swapped = 0

    def write(self, data: Any) -> int:
        if not (isinstance(data, pa.Buffer) and data.address == self._matrix.address):
            return self._out.write(data)
        for block in self._blocks:
            self.swapped += self._out.write(block)
        return int(data.size)

    def tell(self) -> int:
        return self._out.tell()

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Arrow closes its sink; the file ends with its `with` block."""


def open_column(path: Path, field_id: int | None = None) -> pa.Array:
    """The column at `path` over the mapped file, without a copy; of the field `field_id` unless that is None.

    Header, length and footer are checked, values are not (`blocks.verify_file`). Raises `CorruptData`,
    `FormatTooNew` and `StoreError`.
    """
    return _column(path, map_payload(path, FileKind.COLUMN, field_id))


def data_offset(path: Path) -> int:
    """Where in the file the matrix of a vector column begins, in bytes from the file's beginning."""
    payload = map_payload(path, FileKind.COLUMN)
    column = _column(path, payload)
    return PAYLOAD_OFFSET + _values_address(column) - int(payload.address)


def _column(path: Path, payload: pa.Buffer) -> pa.Array:
    try:
        with pa.ipc.open_file(payload) as file:
            if file.num_record_batches == 1 and len(file.schema) == 1:
                return file.get_batch(0).column(0)
            held = f"{file.num_record_batches} batches of {len(file.schema)} columns"
    except pa.ArrowException as error:
        raise CorruptData(f"{path}: it is not the Arrow file it should be: {error}. Restore it from a copy.") from error
    raise CorruptData(f"{path}: it holds {held}, and a column file holds one of one. Restore it from a copy.")


def _padding(field_id: int, values: pa.Array) -> int:
    """How long "pad" has to be for the values to be aligned.

    The place where they begin depends on type and name, not on how many they are, so one row tells; eight bytes of
    metadata move it by eight.
    """
    sink = pa.BufferOutputStream()
    _write_ipc(sink, _batch(field_id, values.slice(0, 1), 0))
    sample = sink.getvalue()
    column = pa.ipc.open_file(sample).get_batch(0).column(0)
    first = min((b.address for b in column.buffers() if b is not None and b.size), default=sample.address)
    return int(sample.address - first) % _ALIGNMENT


def _batch(field_id: int, values: pa.Array, padding: int) -> pa.RecordBatch:
    schema = pa.schema([pa.field(str(field_id), values.type)], metadata={"pad": " " * padding})
    return pa.RecordBatch.from_arrays([values], schema=schema)


def _write_ipc(sink: pa.NativeFile, batch: pa.RecordBatch) -> None:
    with pa.ipc.new_file(sink, batch.schema, options=_OPTIONS) as file:
        file.write_batch(batch)


def _values_address(column: pa.Array) -> int:
    return int(column.buffers()[-1].address)
