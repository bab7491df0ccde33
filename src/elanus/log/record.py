"""The records of the log, and their bytes.

Little-endian. A record is a header of 64 bytes and a body, padded with zeros to a multiple of 8:

     0   8  body length n in bytes, padding included
     8   8  xxh3_64 of the body
    16   8  timestamp
    24   8  collection id
    32   4  schema version
    36   4  rows
    40   4  delete keys
    44   4  delete partitions
    48   8  bytes of the delete keys in the body, a multiple of 8
    56   1  kind: 1 write, 2 carry, 3 fence, 4 outcomes, 5 change
    57   1  type of the delete keys: 0 there are none, 1 Int64, 2 VarChar
    58   1  words of 8 bytes at the beginning of the body that say which request it was: 0 or 2
    59   1  zero
    60   4  the low half of the xxh3_64 of the 60 bytes above
    64   n  body

The body of a **write**: the identity of the request, where its client may send it again (16 bytes or none); the
delete partitions (8 bytes each), the delete keys as an Arrow IPC message (a batch of one column), the rows as an Arrow
IPC message without its schema. How an identity is made is no part of the format: two of them are equal or not.
A **carry** is described in `carry`, **outcomes** in `outcomes`. A **fence** holds 8 bytes, the epoch of the writer that
begins here. A **change** holds 16: the id of a collection, 0 for the catalog, and a version that has been committed of
its manifest. Whoever follows the log looks at it then; recovery, which reads the newest, passes it over.

The body's checksum is computed before the record's place and timestamp are known, so it is no work for the thread
that writes for all, and a record that is carried to a later place keeps its own. Rows are decoded where they lie:
the arrays of a decoded record are views of the bytes that were read.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash

from elanus.log.message import message_of
from elanus.model.canonical import Batch
from elanus.model.errors import CorruptData
from elanus.store.disk import Piece

RECORD_HEADER_BYTES = 64
ALIGNMENT = 8
IDENTITY_BYTES = 16

_FIELDS = struct.Struct("<QQQqIIIIQBBBx")
_CHECK = struct.Struct("<I")
_EPOCH = struct.Struct("<Q")
_CHANGE = struct.Struct("<qQ")


class RecordKind(enum.IntEnum):
    """The numbers are format."""

    WRITE = 1
    CARRY = 2
    FENCE = 3
    OUTCOMES = 4
    CHANGE = 5


_KEY_SCHEMAS = {1: pa.schema([pa.field("key", pa.int64())]), 2: pa.schema([pa.field("key", pa.large_string())])}
_KEY_TYPES = {schema.field(0).type: number for number, schema in _KEY_SCHEMAS.items()}


class RecordHeader(NamedTuple):
    body_bytes: int
    body_checksum: int
    timestamp: int
    collection_id: int = 0
    schema_version: int = 0
    row_count: int = 0
    key_count: int = 0
    partition_count: int = 0
    key_bytes: int = 0
    kind: int = 0
    key_type: int = 0
    identity_words: int = 0


class EncodedRecord:
    """A record's bytes, but for the timestamp, which it gets when its place in the order is given."""

    __slots__ = ("_header", "body", "byte_size")

    def __init__(self, header: RecordHeader, body: tuple[Piece, ...]) -> None:
        self._header = header
        self.body = body
        self.byte_size = RECORD_HEADER_BYTES + header.body_bytes

    def header(self, timestamp: int) -> bytes:
        fields = _FIELDS.pack(*self._header[:2], timestamp, *self._header[3:])
        return fields + _CHECK.pack(xxhash.xxh3_64_intdigest(fields) & 0xFFFFFFFF)

    def raw(self, timestamp: int) -> RawRecord:
        """As it would be read from the log."""
        return RawRecord.parse(memoryview(b"".join((self.header(timestamp), *self.body))), 0)


def encode_body(pieces: list[Piece], **fields: int) -> EncodedRecord:
    """The encoded record with these header fields, and `pieces`, padded, for a body."""
    length = sum(map(len, pieces))
    if length % ALIGNMENT:
        pieces.append(bytes(-length % ALIGNMENT))
        length += -length % ALIGNMENT
    checksum = xxhash.xxh3_64()
    for piece in pieces:
        checksum.update(piece)
    return EncodedRecord(RecordHeader(length, checksum.intdigest(), 0, **fields), tuple(pieces))


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """One request: it is in the log wholly or not at all.

    First the rows with `delete_keys` (Int64 or VarChar) and an earlier timestamp are deleted, in
    `delete_partitions` (none named: in all); then `rows` are added, canonical columns with the partition ids last.
    No rows and None are the same. `identity` says which request it was: `IDENTITY_BYTES`, or none where nobody asks.
    """

    collection_id: int
    schema_version: int
    rows: Batch | None = None
    delete_keys: pa.Array | None = None
    delete_partitions: tuple[int, ...] = ()
    timestamp: int = 0
    identity: bytes = b""

    def at(self, timestamp: int) -> WriteRecord:
        return WriteRecord(
            self.collection_id,
            self.schema_version,
            self.rows,
            self.delete_keys,
            self.delete_partitions,
            timestamp,
            self.identity,
        )

    def encode(self) -> EncodedRecord:
        partitions, keys, rows = self.delete_partitions, self.delete_keys, self.rows
        body: list[Piece] = [self.identity] if self.identity else []
        key_count = key_bytes = key_type = row_count = 0
        if partitions:
            body.append(struct.pack(f"<{len(partitions)}q", *partitions))
        if keys is not None and len(keys):
            key_count, key_type = len(keys), _KEY_TYPES[keys.type]
            message = message_of(Batch({0: keys}, key_count))
            key_bytes = len(message)
            body.append(message)
        if rows is not None and rows.num_rows:
            row_count = rows.num_rows
            body.append(message_of(rows))
        return encode_body(
            body,
            collection_id=self.collection_id,
            schema_version=self.schema_version,
            row_count=row_count,
            key_count=key_count,
            partition_count=len(partitions),
            key_bytes=key_bytes,
            kind=RecordKind.WRITE,
            key_type=key_type,
            identity_words=len(self.identity) // ALIGNMENT,
        )


@dataclass(frozen=True, slots=True)
class FenceRecord:
    """From here on the log is written by the writer of `epoch`."""

    epoch: int
    timestamp: int = 0

    def at(self, timestamp: int) -> FenceRecord:
        return FenceRecord(self.epoch, timestamp)

    def encode(self) -> EncodedRecord:
        return encode_body([_EPOCH.pack(self.epoch)], kind=RecordKind.FENCE)


CATALOG_ID = 0
"""Stands in a change for the catalog; no collection has it."""


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """What was committed before is seen from here on: `version` of a collection's manifest, or of the catalog."""

    collection_id: int
    version: int
    timestamp: int = 0

    def at(self, timestamp: int) -> ChangeRecord:
        return ChangeRecord(self.collection_id, self.version, timestamp)

    def encode(self) -> EncodedRecord:
        return encode_body([_CHANGE.pack(self.collection_id, self.version)], kind=RecordKind.CHANGE)


@dataclass(frozen=True, slots=True, eq=False)
class RawRecord:
    """A record as it lies in the bytes that were read: the header parsed, the body untouched.

    `data` (header and body) is a view; it keeps what it is a view of alive, a whole log file when read by `read`.
    """

    header: RecordHeader
    data: memoryview

    @classmethod
    def parse(cls, view: memoryview, offset: int) -> RawRecord:
        """The record at `offset`, where one is known to be: nothing is checked."""
        header = RecordHeader._make(_FIELDS.unpack_from(view, offset))
        return cls(header, view[offset : offset + RECORD_HEADER_BYTES + header.body_bytes])

    @property
    def collection_id(self) -> int:
        return self.header.collection_id

    @property
    def schema_version(self) -> int:
        return self.header.schema_version

    @property
    def timestamp(self) -> int:
        return self.header.timestamp

    @property
    def is_write(self) -> bool:
        """Whether it can be decoded; otherwise it holds outcomes of writes."""
        return self.header.kind == RecordKind.WRITE

    @property
    def row_count(self) -> int:
        return self.header.row_count

    @property
    def delete_count(self) -> int:
        return self.header.key_count

    @property
    def has_identity(self) -> bool:
        return self.header.identity_words > 0

    @property
    def byte_size(self) -> int:
        return len(self.data)

    @property
    def body(self) -> memoryview:
        return self.data[RECORD_HEADER_BYTES:]

    def decode(self, schema: pa.Schema) -> WriteRecord:
        """The write whose rows have the columns of `schema`: the canonical ones of its schema version, and "2".

        The arrays are views of `data`. Raises `CorruptData` when the body does not fit the header or the schema.
        """
        header, body = self.header, self.body
        partitions_at = ALIGNMENT * header.identity_words
        keys_at = partitions_at + ALIGNMENT * header.partition_count
        rows_at = keys_at + header.key_bytes
        rows = keys = None
        try:
            if header.key_type:
                keys = _read_batch(body[keys_at:rows_at], _KEY_SCHEMAS[header.key_type]).column(0)
            if header.row_count:
                rows = Batch.of(_read_batch(body[rows_at:], schema))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise CorruptData(
                f"a record of collection {header.collection_id}, written at {header.timestamp} with schema version "
                f"{header.schema_version}, cannot be decoded: {error}. Its bytes are whole, so the schema is not the "
                "one it was written with. Restore the collection's manifest from a backup."
            ) from error
        return WriteRecord(
            header.collection_id,
            header.schema_version,
            rows,
            keys,
            struct.unpack_from(f"<{header.partition_count}q", body, partitions_at),
            header.timestamp,
            bytes(body[:partitions_at]),
        )


def header_at(view: memoryview, offset: int) -> RecordHeader | None:
    """The record header at `offset`; None when there is none that holds."""
    if offset + RECORD_HEADER_BYTES > len(view):
        return None
    (check,) = _CHECK.unpack_from(view, offset + _FIELDS.size)
    if check != xxhash.xxh3_64_intdigest(view[offset : offset + _FIELDS.size]) & 0xFFFFFFFF:
        return None
    return RecordHeader._make(_FIELDS.unpack_from(view, offset))


def body_holds(header: RecordHeader, view: memoryview, offset: int) -> bool:
    """Whether the body of the record at `offset` is in `view` and is what its header says."""
    start = offset + RECORD_HEADER_BYTES
    end = start + header.body_bytes
    return end <= len(view) and header.body_checksum == xxhash.xxh3_64_intdigest(view[start:end])


def fence_of(raw: RawRecord) -> FenceRecord:
    return FenceRecord(_EPOCH.unpack_from(raw.body)[0], raw.timestamp)


def change_of(raw: RawRecord) -> ChangeRecord:
    collection_id, version = _CHANGE.unpack_from(raw.body)
    return ChangeRecord(collection_id, version, raw.timestamp)


def _read_batch(message: memoryview, schema: pa.Schema) -> Any:
    return pa.ipc.read_record_batch(pa.py_buffer(message), schema)
