"""The form of big files that are mapped into memory: a payload with a checksum for each MiB of it.

    0       64   header (`store.header`): kind, field id, payload length n
    64      n    payload
    64+n    8·b  xxh3_64 of each 1 MiB block of the payload, the last one shorter; little-endian, as all here
    …       8    b, the number of blocks
    …       8    xxh3_64 of the 8·b + 8 bytes before

The payload always begins at byte 64, so what is 64-byte aligned in it is so in memory. Opening checks header, length
and the checksum of the checksums, and reads no payload; `verify_file` reads it all and is for builders, backup,
`inspect` and the scrubber.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import xxhash

from elanus.model.errors import CorruptData
from elanus.store.header import HEADER_BYTES, FileHeader, FileKind, unpack_header
from elanus.store.reasons import store_error

BLOCK_BYTES: Final = 1 << 20
PAYLOAD_OFFSET: Final = HEADER_BYTES

_COUNT = struct.Struct("<Q")
_TRAILER_BYTES = 16
_KIND = struct.Struct("<10xH")
_ADVICE = "Restore the file from a backup or a copy."


class BlockWriter:
    """Writes a file of this form from front to back; a file object as far as Arrow needs one.

    The file is whole when the `with` block ends without an error. Syncing it is up to whoever publishes it. Raises
    `StoreError` when the disk does not take it.
    """

    def __init__(self, path: Path, kind: FileKind, field_id: int = 0) -> None:
        self._path = path
        self._kind = kind
        self._field_id = field_id
        self._written = 0
        self._block = xxhash.xxh3_64()
        self._checksums: list[int] = []
        with _storing(path):
            self._file = path.open("xb", buffering=0)
            self._file.write(bytes(HEADER_BYTES))

    def write(self, data: Any) -> int:
        """Append `data`, anything with a buffer; returns its size in bytes."""
        rest = memoryview(data)
        size = rest.nbytes
        # An empty matrix has nothing to cast.
        rest = rest.cast("B") if size else rest[:0]
        while rest:
            part = rest[: BLOCK_BYTES - self._written % BLOCK_BYTES]
            self._block.update(part)
            with _storing(self._path):
                _write_all(self._file.fileno(), part)
            self._written += len(part)
            if self._written % BLOCK_BYTES == 0:
                self._end_block()
            rest = rest[len(part) :]
        return size

    def tell(self) -> int:
        """Bytes of payload so far."""
        return self._written

    def flush(self) -> None:
        """Nothing is held back."""

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        """Arrow closes its sink; the file ends with the `with` block."""

    @property
    def file_bytes(self) -> int:
        """The length of the finished file."""
        blocks = -(-self._written // BLOCK_BYTES)
        return HEADER_BYTES + self._written + 8 * blocks + _TRAILER_BYTES

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self._finish()

    def _end_block(self) -> None:
        self._checksums.append(self._block.intdigest())
        self._block.reset()

    def _finish(self) -> None:
        if self._written % BLOCK_BYTES:
            self._end_block()
        end = np.array([*self._checksums, len(self._checksums)], "<u8").tobytes()
        header = FileHeader(self._kind, self._field_id, self._written).pack()
        with _storing(self._path):
            _write_all(self._file.fileno(), memoryview(end + _COUNT.pack(xxhash.xxh3_64_intdigest(end))))
            os.pwrite(self._file.fileno(), header, 0)


def wrap_payload(bare_path: Path, out_path: Path, kind: FileKind, field_id: int = 0) -> int:
    """Put the file that a library wrote at `bare_path` into this form at `out_path`; returns its length in bytes.

    The bare file stays: it is the caller's to remove. Copied in steps of 1 MiB.
    """
    step = memoryview(bytearray(BLOCK_BYTES))
    with (
        BlockWriter(out_path, kind, field_id) as out,
        _storing(bare_path, "read"),
        bare_path.open("rb", buffering=0) as bare,
    ):
        while read := bare.readinto(step):
            out.write(step[:read])
    return out.file_bytes


def map_payload(path: Path, kind: FileKind, field_id: int | None = None) -> pa.Buffer:
    """The payload of the file at `path`, mapped; of the field `field_id` unless that is None.

    It stays valid for as long as the buffer is held, also when the file is removed. Raises `CorruptData`,
    `FormatTooNew` and `StoreError`.
    """
    mapped = _mapped(path)
    header = unpack_header(kind, memoryview(mapped[:HEADER_BYTES]), str(path))
    if field_id is not None and header.field_id != field_id:
        raise CorruptData(f"{path}: it belongs to field {header.field_id}, not to field {field_id}. {_ADVICE}")
    _checksums(path, header, mapped)
    return mapped.slice(HEADER_BYTES, header.payload_bytes)


def verify_file(path: Path, kind: FileKind | None = None) -> FileHeader:
    """Read the whole file and check every block; raises `CorruptData` naming the file and the first bad block."""
    mapped = _mapped(path)
    beginning = memoryview(mapped[:HEADER_BYTES])
    if kind is None:
        kind = FileKind.COLUMN
        if len(beginning) == HEADER_BYTES and _KIND.unpack_from(beginning)[0] in FileKind.__members__.values():
            kind = FileKind(_KIND.unpack_from(beginning)[0])
    header = unpack_header(kind, beginning, str(path))
    checksums = _checksums(path, header, mapped)  # and that the file is as long as it says
    payload = memoryview(mapped.slice(HEADER_BYTES, header.payload_bytes))
    for block, expected in enumerate(checksums):
        first = block * BLOCK_BYTES
        if xxhash.xxh3_64_intdigest(payload[first : first + BLOCK_BYTES]) != expected:
            raise CorruptData(
                f"{path}: the checksum of block {block} (bytes {HEADER_BYTES + first} and following) does not hold. "
                f"{_ADVICE}"
            )
    return header


def _mapped(path: Path) -> pa.Buffer:
    with _storing(path, "map"):
        if not path.stat().st_size:
            return pa.py_buffer(b"")
        # Closing ends the file descriptor, not the mapping, which lives as long as the buffer: ten thousand open
        # segments then need no ten thousand descriptors.
        with pa.memory_map(str(path)) as file:
            return file.read_buffer()


def _checksums(path: Path, header: FileHeader, mapped: pa.Buffer) -> list[int]:
    """The block checksums at the end of the file, after checking that they and the length hold."""
    blocks = -(-header.payload_bytes // BLOCK_BYTES)
    end = HEADER_BYTES + header.payload_bytes
    expected = end + 8 * blocks + _TRAILER_BYTES
    if mapped.size != expected:
        raise CorruptData(f"{path}: it is {mapped.size} bytes long and should have {expected}. {_ADVICE}")
    listed = memoryview(mapped.slice(end, 8 * blocks + 8))
    (checksum,) = _COUNT.unpack(memoryview(mapped.slice(expected - 8, 8)))
    checksums: list[int] = np.frombuffer(listed, "<u8").tolist()
    count = checksums.pop()
    if checksum != xxhash.xxh3_64_intdigest(listed) or count != blocks:
        raise CorruptData(f"{path}: the checksum of its {blocks} block checksums does not hold. {_ADVICE}")
    return checksums


def _write_all(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


@contextmanager
def _storing(path: Path, doing: str = "write") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store_error(error, doing, str(path)) from error
