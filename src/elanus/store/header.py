r"""The 64 bytes every file begins with, and the form of small files.

Little-endian; this layout, its checksum included, is the same in all format versions, so that an old Elanus can tell
a newer file from a damaged one:

     0   8  magic "ELANUS\r\n": a transfer that mangles line ends is noticed at once
     8   2  format version
    10   2  kind (`FileKind`)
    12   1  encryption: 0, none
    13   3  zero
    16   8  field id of a column, key or index file; sequence of a log file; else 0
    24   8  payload length in bytes; 0 in a file that grows
    32  24  belongs to the kind; zero where the kind says nothing of it
    56   8  xxh3_64 of the 56 bytes above

A small file is read whole and checked at every read:

     0  64  header
    64   n  payload
    64+n 8  xxh3_64 of the payload
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

import xxhash

from elanus.model.errors import CorruptData, FormatTooNew

MAGIC = b"ELANUS\r\n"
FORMAT_VERSION = 1
HEADER_BYTES = 64
OWN_BYTES = 24
"""How many bytes of the header belong to the kind."""

_FIELDS = struct.Struct(f"<8sHHB3xQQ{OWN_BYTES}s")
_CHECKSUM = struct.Struct("<Q")


class FileKind(enum.IntEnum):
    """What a file holds. The numbers are format."""

    CATALOG = 1
    MANIFEST = 2
    LOG = 3
    COLUMN = 4
    KEYS = 5
    DELETES = 6
    INDEX = 7
    MARKER = 8
    PATHS = 9


@dataclass(frozen=True, slots=True)
class FileHeader:
    kind: FileKind
    field_id: int = 0
    payload_bytes: int = 0
    own: bytes = bytes(OWN_BYTES)

    def pack(self) -> bytes:
        fields = _FIELDS.pack(
            MAGIC, FORMAT_VERSION, self.kind, 0, self.field_id, self.payload_bytes, self.own.ljust(OWN_BYTES, b"\0")
        )
        return fields + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(fields))


def unpack_header(kind: FileKind, data: bytes | memoryview, name: str) -> FileHeader:
    """The header at the beginning of `data`, the file `name`, which has to be of `kind`.

    Raises `CorruptData` and `FormatTooNew`, naming the file and what does not hold.
    """
    if len(data) < HEADER_BYTES:
        raise CorruptData(f"{name}: it is {len(data)} bytes long, but a header alone has {HEADER_BYTES}. {_RESTORE}")
    magic, version, found, encryption, field_id, payload_bytes, own = _FIELDS.unpack_from(data)
    if magic != MAGIC:
        raise CorruptData(f"{name}: it begins with {magic!r}, which is not how a file of Elanus begins. {_RESTORE}")
    (checksum,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
    if checksum != xxhash.xxh3_64_intdigest(data[: _FIELDS.size]):
        raise CorruptData(f"{name}: the checksum of its header does not hold. {_RESTORE}")
    if version > FORMAT_VERSION:
        raise FormatTooNew(
            f"{name}: it has format version {version}, and this Elanus reads versions up to {FORMAT_VERSION}. "
            "Open it with a newer Elanus."
        )
    if encryption:
        raise FormatTooNew(
            f"{name}: it is encrypted (scheme {encryption}), which this Elanus cannot read. Open it with a newer one."
        )
    if found != kind:
        held = FileKind(found).name if found in FileKind.__members__.values() else f"kind {found}"
        raise CorruptData(f"{name}: it holds {held} where {kind.name} belongs: another file took its name. {_RESTORE}")
    return FileHeader(kind, field_id, payload_bytes, own)


def pack_small(kind: FileKind, payload: bytes) -> bytes:
    """The bytes of a small file."""
    header = FileHeader(kind, payload_bytes=len(payload)).pack()
    return b"".join((header, payload, _CHECKSUM.pack(xxhash.xxh3_64_intdigest(payload))))


def unpack_small(kind: FileKind, data: bytes, name: str) -> bytes:
    """The payload of the small file `name`; raises `CorruptData` and `FormatTooNew` as `unpack_header` does."""
    header = unpack_header(kind, data, name)
    expected = HEADER_BYTES + header.payload_bytes + _CHECKSUM.size
    if len(data) != expected:
        raise CorruptData(f"{name}: it is {len(data)} bytes long and should have {expected}. {_RESTORE}")
    payload = data[HEADER_BYTES : -_CHECKSUM.size]
    (checksum,) = _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)
    if checksum != xxhash.xxh3_64_intdigest(payload):
        raise CorruptData(f"{name}: the checksum of its {len(payload)} bytes does not hold. {_RESTORE}")
    return payload


_RESTORE = "Restore the file from a backup or a copy."
