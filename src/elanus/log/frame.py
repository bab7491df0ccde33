r"""The frame: what one group commit writes.

Little-endian, at a multiple of 8:

     0   8  magic "ELFRAME\n"
     8   8  sequence of the file the frame is in
    16   8  offset of the frame in that file
    24   8  epoch of the writer
    32   8  length of the records together, n
    40   8  timestamp of the first record
    48   4  number of records
    52   4  the low half of the xxh3_64 of the 52 bytes above, seeded with the file's salt
    56   8  xxh3_64 of the 56 bytes above and of every record's header, seeded with the file's salt
    64   n  records

A record's header holds its body's checksum, so the frame's checksum vouches for every byte, while the thread that
writes for all hashes headers only. A frame knows its own place and is salted with a number that was drawn when its
file was made: bytes that a user stored are never taken for a frame, not even those of another log.

A frame is begun only when the one before has been synced. So at most one frame is torn, the last; and a frame header
that holds proves, whatever follows it, that everything before it was durable.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import xxhash

from elanus.log.record import RECORD_HEADER_BYTES, EncodedRecord, RawRecord, RecordHeader, body_holds, header_at
from elanus.store.disk import Piece

MAGIC = b"ELFRAME\n"
FRAME_HEADER_BYTES = 64

_FIELDS = struct.Struct("<8sQQQQQI")
_CHECK = struct.Struct("<I")
_CHECKSUM = struct.Struct("<Q")
_CHECKED_BYTES = _FIELDS.size + _CHECK.size
_COPY_BELOW = 64 * 1024
"""Smaller pieces are joined before they are written: copying them costs less than one more buffer in the call."""


class FilePlace(NamedTuple):
    """What frames need to know of their file."""

    sequence: int
    salt: int


class FrameHeader(NamedTuple):
    epoch: int
    body_bytes: int
    first_timestamp: int
    record_count: int


class Frame(NamedTuple):
    """A frame that holds, from `offset` to `end`; `records` are (offset in the file, header)."""

    offset: int
    end: int
    epoch: int
    records: list[tuple[int, RecordHeader]]

    def raw(self, view: memoryview) -> Iterator[tuple[int, RawRecord]]:
        """Its records, each with its offset; `view` is the file."""
        for offset, header in self.records:
            yield offset, RawRecord(header, view[offset : offset + RECORD_HEADER_BYTES + header.body_bytes])

    @property
    def first_timestamp(self) -> int:
        """0 for the fence that opening writes; no other record lacks a timestamp."""
        return self.records[0][1].timestamp

    @property
    def last_timestamp(self) -> int:
        return self.records[-1][1].timestamp


class Flaw(NamedTuple):
    """Why there is no frame at a place."""

    reason: str


def build_frame(
    place: FilePlace, offset: int, epoch: int, records: Sequence[tuple[EncodedRecord, int]]
) -> tuple[list[Piece], list[int]]:
    """The bytes of a frame of `records` (each with its timestamp) at `offset`, and every record's offset."""
    headers = [record.header(timestamp) for record, timestamp in records]
    length = 0
    offsets: list[int] = []
    for record, _ in records:
        offsets.append(offset + FRAME_HEADER_BYTES + length)
        length += record.byte_size
    fields = _FIELDS.pack(MAGIC, place.sequence, offset, epoch, length, records[0][1], len(records))
    fields += _CHECK.pack(xxhash.xxh3_64_intdigest(fields, place.salt) & 0xFFFFFFFF)
    pieces: list[Piece] = [fields, _CHECKSUM.pack(_digest(place.salt, fields, b"".join(headers)))]
    for header, (record, _) in zip(headers, records, strict=True):
        pieces.append(header)
        pieces.extend(record.body)
    return _coalesced(pieces), offsets


def read_frame_header(view: bytes | memoryview, offset: int, place: FilePlace, at: int = 0) -> FrameHeader | Flaw:
    """The header of the frame at `offset` of the file, or why there is none. `view` begins at byte `at` of the file."""
    start = offset - at
    if start + FRAME_HEADER_BYTES > len(view):
        return Flaw("the file ends before a frame's header does")
    magic, sequence, its_offset, epoch, length, timestamp, count = _FIELDS.unpack_from(view, start)
    if magic != MAGIC:
        return Flaw("no frame begins there")
    (check,) = _CHECK.unpack_from(view, start + _FIELDS.size)
    if check != xxhash.xxh3_64_intdigest(view[start : start + _FIELDS.size], place.salt) & 0xFFFFFFFF:
        return Flaw("the checksum of the frame's header does not hold")
    if (sequence, its_offset) != (place.sequence, offset):
        return Flaw(f"the frame there belongs to offset {its_offset} of log file {sequence}")
    return FrameHeader(epoch, length, timestamp, count)


def read_frame(view: memoryview, offset: int, place: FilePlace) -> Frame | Flaw:
    """The frame at `offset` of the file `view`, every byte of it checked, or why there is none."""
    header = read_frame_header(view, offset, place)
    if isinstance(header, Flaw):
        return header
    at = offset + FRAME_HEADER_BYTES
    end = at + header.body_bytes
    records: list[tuple[int, RecordHeader]] = []
    headers: list[memoryview] = []
    for _ in range(header.record_count):
        record = header_at(view, at)
        if record is None:
            return Flaw(f"the header of the record at offset {at} does not hold")
        records.append((at, record))
        headers.append(view[at : at + RECORD_HEADER_BYTES])
        at += RECORD_HEADER_BYTES + record.body_bytes
    (checksum,) = _CHECKSUM.unpack_from(view, offset + _CHECKED_BYTES)
    if at != end or checksum != _digest(place.salt, view[offset : offset + _CHECKED_BYTES], b"".join(headers)):
        return Flaw("the checksum of the frame's record headers does not hold")
    for at, record in records:
        if not body_holds(record, view, at):
            return Flaw(f"the checksum of the record at offset {at} does not hold")
    return Frame(offset, end, header.epoch, records)


def _digest(salt: int, fields: bytes | memoryview, headers: bytes) -> int:
    checksum = xxhash.xxh3_64(fields, seed=salt)
    checksum.update(headers)
    return int(checksum.intdigest())


def _coalesced(pieces: list[Piece]) -> list[Piece]:
    """The same bytes in fewer pieces."""
    out: list[Piece] = []
    small: list[Piece] = []
    for piece in pieces:
        if len(piece) < _COPY_BELOW:
            small.append(piece)
        else:
            out += [b"".join(small), piece]
            small = []
    out.append(b"".join(small))
    return out
