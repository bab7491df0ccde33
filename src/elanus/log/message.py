"""A canonical batch as an Arrow IPC message (a record batch without its schema), laid out here.

Arrow's own writer makes the same bytes, which a test compares. It wants an Arrow batch first, and each of the calls on
the way lets go of the interpreter: with many writers of single rows most of a write's time went into getting it back.

A message is a prefix (a mark and the length of what follows), a flatbuffer that says how long the batch and each of its
buffers is, and the buffers, each padded with zeros to a multiple of 8 bytes. The flatbuffer differs between batches of
the same shape in nothing but numbers, so that one that Arrow wrote serves as the form that is filled in:

    Message { version, header type, header: RecordBatch, body length: int64 }
    RecordBatch { length: int64, nodes: [{length: int64, nulls: int64}], buffers: [{offset: int64, length: int64}] }

A column has a node and two buffers (validity, values) or, of texts, three (validity, offsets, bytes). A column of dense
vectors has a node and a validity buffer for the rows, and a node and two buffers for their numbers. A validity buffer
is empty where nothing is null.

Sources: "Serialization and Interprocess Communication" of the Arrow columnar format; the layout of tables and vectors
from "FlatBuffers internals".
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.canonical import Batch, Values, numbers_of, vectors_of

PADDED_TO = 8

_PAIR = struct.Struct("<qq")
_U16, _U32, _I32, _I64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<i"), struct.Struct("<q")
_PREFIX_BYTES = 8
_NOTHING = memoryview(b"")
_PADDING = [bytes(-length % PADDED_TO) for length in range(PADDED_TO)]


class _Laid(NamedTuple):
    """A column: (length, nulls) of its nodes, one after the other, and the bytes of its buffers."""

    kind: str
    nodes: tuple[int, ...]
    buffers: tuple[memoryview, ...]


class _Form(NamedTuple):
    """A message without its buffers, and where its numbers are."""

    head: bytes
    body_length: int
    length: int
    nodes: int
    buffers: int


def message_of(batch: Batch) -> bytes:
    """`batch`, at least one row, as a message; its length is a multiple of 8."""
    kinds = ""
    nodes: list[int] = []
    lengths: list[int] = []
    pieces: list[bytes | memoryview] = [b""]
    for values in batch.columns.values():
        laid = _laid(values, batch.num_rows)
        kinds += laid.kind
        nodes += laid.nodes
        for buffer in laid.buffers:
            length = buffer.nbytes
            lengths.append(length)
            pieces += (buffer, _PADDING[length % PADDED_TO])
    pieces[0] = _head(kinds, batch.num_rows, tuple(nodes), tuple(lengths))
    return b"".join(pieces)


@lru_cache(maxsize=256)
def _head(kinds: str, rows: int, nodes: tuple[int, ...], lengths: tuple[int, ...]) -> bytes:
    """All that comes before the buffers, which are so long; batches of a client's rows are often of one size."""
    form = _form(kinds)
    head = bytearray(form.head)
    at = 0
    for i, length in enumerate(lengths):
        _PAIR.pack_into(head, form.buffers + _PAIR.size * i, at, length)
        at += length + -length % PADDED_TO
    _I64.pack_into(head, form.body_length, at)
    _I64.pack_into(head, form.length, rows)
    struct.pack_into(f"<{len(nodes)}q", head, form.nodes, *nodes)
    return bytes(head)


def _laid(values: Values, rows: int) -> _Laid:
    if isinstance(values, np.ndarray):
        if values.ndim == 2:
            return _Laid("v", (rows, 0, values.size, 0), (_NOTHING, _NOTHING, values.data))
        return _Laid("n", (rows, 0), (_NOTHING, _bits(values) if values.dtype == np.bool_ else values.data))
    nulls = values.null_count
    valid = _bits(values.is_valid().to_numpy(zero_copy_only=False)) if nulls else _NOTHING
    kind = values.type
    if pa.types.is_fixed_size_list(kind):
        vectors = vectors_of(values)
        return _Laid("v", (rows, nulls, vectors.size, 0), (valid, _NOTHING, vectors.data))
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        _, ends, data = values.buffers()
        offsets = np.frombuffer(ends, np.int64, rows + 1, 8 * values.offset)
        begin, end = offsets[[0, rows]].tolist()
        text = memoryview(data)[begin:end] if end > begin else _NOTHING
        return _Laid("t", (rows, nulls), (valid, (offsets - begin if begin else offsets).data, text))
    if pa.types.is_boolean(kind):
        return _Laid("n", (rows, nulls), (valid, _bits(values.fill_null(False).to_numpy(zero_copy_only=False))))
    return _Laid("n", (rows, nulls), (valid, numbers_of(values, kind.to_pandas_dtype()).data))


def _bits(truth: npt.NDArray[np.bool_]) -> memoryview:
    return np.packbits(truth, bitorder="little").data


_OF_KIND = {
    "n": pa.array([1], pa.int64()),
    "t": pa.array(["1"], pa.large_string()),
    "v": pa.FixedSizeListArray.from_arrays(pa.array([1.0], pa.float32()), 1),
}
"""A value of a column of each kind. None is 0 or empty: flatbuffers leave out numbers that are."""


@lru_cache(maxsize=256)
def _form(kinds: str) -> _Form:
    """The form for columns of these kinds."""
    written = pa.RecordBatch.from_arrays([_OF_KIND[kind] for kind in kinds], list(map(str, range(len(kinds)))))
    whole = memoryview(written.serialize())
    head = bytes(whole[: _PREFIX_BYTES + _I32.unpack_from(whole, 4)[0]])
    message = _follow(head, _PREFIX_BYTES)
    _, _, header, body_length = _fields(head, message, 4)
    length, nodes, buffers = _fields(head, _follow(head, header), 3)
    return _Form(head, body_length, length, _follow(head, nodes) + 4, _follow(head, buffers) + 4)


def _follow(head: bytes, at: int) -> int:
    """Where the offset that stands at `at` leads."""
    return at + int(_U32.unpack_from(head, at)[0])


def _fields(head: bytes, table: int, count: int) -> list[int]:
    """Where the first `count` fields of a table are; each is there."""
    offsets = table - _I32.unpack_from(head, table)[0]
    return [table + _U16.unpack_from(head, offsets + 4 + 2 * i)[0] for i in range(count)]
