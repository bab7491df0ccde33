"""How a log file begins, and where its last one ends: the torn-tail rule. No I/O.

A log file is a file header (`store.header`, kind LOG, its field id being the sequence) and frames, one after the
other, from byte 64 on; what lies past the last frame is zero. Of the header belong to the log, little-endian:

    32   8  salt, drawn at random when the file was made
    40   8  where the frames of the file before end; 0 in the first file
    48   8  epoch of the writer that made the file

**The torn-tail rule.** A power failure tears at most the last frame (see `frame`). So bytes that are no frame are
a torn tail only in the last file, and only with no frame after them: they were never acknowledged and are cut. If a
frame follows, what lies before it had been acknowledged and is damaged: the log is not opened for writing. In a file
that has a successor, frames reach exactly to the end that the successor names.

A last file that is all zero, or too short for a header, was being made when the power failed: a header is durable
before anything is written after it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from elanus.log.frame import MAGIC, FilePlace, Flaw, Frame, read_frame, read_frame_header
from elanus.log.record import ALIGNMENT
from elanus.model.errors import CorruptData
from elanus.store.header import HEADER_BYTES, FileHeader, FileKind, unpack_header

FIRST_FRAME = HEADER_BYTES
_NAME = re.compile(r"(\d{20})\.log")
_OWN = struct.Struct("<QQQ")


def name_of(sequence: int) -> str:
    """The name of a log file, or of an object of the log."""
    return f"{sequence:020d}.log"


def sequence_of(name: str) -> int | None:
    """The sequence of the file with this name; None where it is none of the log."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


class LogFileHeader(NamedTuple):
    sequence: int
    salt: int
    previous_end: int
    epoch: int

    @property
    def place(self) -> FilePlace:
        return FilePlace(self.sequence, self.salt)

    def pack(self) -> bytes:
        own = _OWN.pack(self.salt, self.previous_end, self.epoch)
        return FileHeader(FileKind.LOG, field_id=self.sequence, own=own).pack()

    @classmethod
    def unpack(cls, data: bytes | memoryview, sequence: int, name: str) -> LogFileHeader:
        """The header of file `sequence`; raises `CorruptData` and `FormatTooNew`."""
        header = unpack_header(FileKind.LOG, data, name)
        if header.field_id != sequence:
            raise CorruptData(
                f"{name}: it says that it is log file {header.field_id}: it was copied or renamed. "
                "Give it its name back."
            )
        return cls(sequence, *_OWN.unpack(header.own))


class CutTail(NamedTuple):
    """A torn tail: `byte_count` bytes at `offset` of the file that were never acknowledged, and why they are none."""

    offset: int
    byte_count: int
    reason: str


class Tail(NamedTuple):
    """How the last file ends: `end` is where the next frame goes, `last` the last frame."""

    end: int
    last: Frame | None
    first_timestamp: int
    """Of the first record that has one; 0 when none has."""
    cut: CutTail | None


def is_unborn(data: bytes) -> bool:
    """Whether the last log file never got its header."""
    return len(data) < HEADER_BYTES or not np.frombuffer(data, np.uint8).any()


def find_tail(data: bytes, header: LogFileHeader, name: str) -> Tail:
    """The end of the last log file `name`, by the torn-tail rule; raises `CorruptData` where it says so."""
    view = memoryview(data)
    end, last, first_timestamp = FIRST_FRAME, None, 0
    while isinstance(found := read_frame(view, end, header.place), Frame):
        end, last = found.end, found
        first_timestamp = first_timestamp or found.first_timestamp
    if not np.frombuffer(data, np.uint8)[end:].any():
        return Tail(end, last, first_timestamp, None)
    later = _frame_after(data, end, header.place)
    if later is not None:
        raise _damaged(data, header, name, end, found, last, later)
    return Tail(end, last, first_timestamp, CutTail(end, len(data[end:].rstrip(b"\0")), found.reason))


def read_frames(
    data: bytes | memoryview, header: LogFileHeader, name: str, until: int, start: int = FIRST_FRAME
) -> Iterator[Frame]:
    """The frames of a file from `start` on, that are known to reach to `until`; raises `CorruptData` where they do
    not.
    """
    view = memoryview(data)[:until]
    offset = start
    last: Frame | None = None
    while offset < until:
        found = read_frame(view, offset, header.place)
        if isinstance(found, Flaw):
            later = _frame_after(bytes(view), offset, header.place)
            raise _damaged(bytes(data), header, name, offset, found, last, later)
        yield found
        offset, last = found.end, found


def _frame_after(data: bytes, offset: int, place: FilePlace) -> int | None:
    """Where the first frame was begun after `offset`, whole or torn."""
    at = data.find(MAGIC, offset + 1)
    while at >= 0:
        if at % ALIGNMENT == 0 and not isinstance(read_frame_header(data, at, place), Flaw):
            return at
        at = data.find(MAGIC, at + 1)
    return None


def _damaged(
    data: bytes, header: LogFileHeader, name: str, offset: int, flaw: Flaw, last: Frame | None, later: int | None
) -> CorruptData:
    since = f" after timestamp {last.last_timestamp}" if last is not None and last.last_timestamp else ""
    if later is None:
        return CorruptData(
            f"{name}: damaged at offset {offset}: {flaw.reason}. Lost is every record from there to the end of the "
            f"file, acknowledged writes{since}. Restore the file from a backup or a copy."
        )
    frames = records = before = 0
    at = later
    while isinstance(found := read_frame(memoryview(data), at, header.place), Frame):
        before = before or found.first_timestamp
        frames, records, at = frames + 1, records + len(found.records), found.end
    until = f" before timestamp {before}" if before else ""
    return CorruptData(
        f"{name}: damaged at offset {offset}: {flaw.reason}. This is no torn tail, for a frame was begun after it, at "
        f"offset {later} (whole ones from there: {frames}, with {records} records). Lost is what lay in the "
        f"{later - offset} bytes between, acknowledged writes{since}{until}. Restore the file from a backup or a copy."
    )
