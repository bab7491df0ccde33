"""Follows the log in local files that another process of this machine writes.

Files are mapped, so the records that are kept for later are no memory of this process's own. What is read was
acknowledged (see `acknowledged`); what lies behind that is not looked at, since it may be torn, cut or written again.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from elanus.log.acknowledged import AcknowledgedView
from elanus.log.base import LogGap, LogRecord, typed
from elanus.log.position import Position
from elanus.log.tail import FIRST_FRAME, LogFileHeader, find_tail, is_unborn, name_of, read_frames, sequence_of
from elanus.model.errors import CorruptData, StoreError
from elanus.store.header import HEADER_BYTES
from elanus.store.reasons import store_error

_LOOKS = 3
"""The oldest file may be dropped while it is looked for, and a frame be written while one looks for the last."""


class FileLogReader:
    """A `LogReader` over `folder`; `acknowledged` says how far the log is."""

    look_s: float | None = None

    def __init__(self, folder: Path, acknowledged: AcknowledgedView) -> None:
        self._folder = folder
        self._acknowledged = acknowledged
        self._read_to: int | None = None
        """The word up to which what there is was read and is seen; None before there was one."""
        self._word: int | None = None
        self._found_end: Position | None = None
        """Where the log ends, while nobody has said how far it is acknowledged."""
        self._at = Position(0, 0)
        self._header: LogFileHeader | None = None
        self._view = memoryview(b"")
        self.oldest = 0

    def is_behind(self, as_of_s: float | None) -> bool:
        return self._acknowledged.word() != self._read_to

    def read(self) -> Iterator[tuple[Position, LogRecord]]:
        end = self._end() if self._acknowledged.word() is None else Position(0, 0)
        word = self._acknowledged.word()  # a writer that has come since says more, and what it writes is not synced yet
        until = end if word is None else self._acknowledged.position_of(word)
        if not self._at.sequence:
            self._begin()
        while self._at < until:
            sequence, offset = self._at
            stop = until.offset if sequence == until.sequence else self._header_of(sequence + 1).previous_end
            yield from self._records(sequence, offset, stop)
            if sequence < until.sequence:
                self._enter(sequence + 1)
        self._word = word

    def done(self) -> None:
        self._read_to = self._word

    def restart(self) -> None:
        self._at = Position(0, 0)
        self._read_to = None

    def close(self) -> None:
        """What was read stays readable."""
        self._view = memoryview(b"")

    def _records(self, sequence: int, start: int, end: int) -> Iterator[tuple[Position, LogRecord]]:
        if len(self._view) < end:
            self._view = self._map(sequence, end)
        assert self._header is not None, "entered"
        view = self._view[:end]
        for frame in read_frames(view, self._header, self._name(sequence), end, start):
            for offset, raw in frame.raw(view):
                yield Position(sequence, offset), typed(raw)
            self._at = Position(sequence, frame.end)

    def _begin(self) -> None:
        for _ in range(_LOOKS):
            sequences = self._sequences()
            if not sequences:
                break
            try:
                self._enter(sequences[0])
            except LogGap:
                continue
            return
        raise StoreError(f"{self._folder} holds no log that can be read: open the database for writing once.")

    def _enter(self, sequence: int) -> None:
        """Go on with the file `sequence`."""
        self._view = self._map(sequence, HEADER_BYTES)
        self._header = LogFileHeader.unpack(self._view, sequence, self._name(sequence))
        self._at = Position(sequence, FIRST_FRAME)
        self.oldest = min(self._sequences(), default=0)

    def _header_of(self, sequence: int) -> LogFileHeader:
        return LogFileHeader.unpack(self._map(sequence, HEADER_BYTES), sequence, self._name(sequence))

    def _end(self) -> Position:
        """The end of the whole frames there are, in a log that nobody has written to since the system was booted."""
        if self._found_end is None:
            for look in range(_LOOKS):
                try:
                    self._found_end = self._look_for_end()
                    break
                except (CorruptData, LogGap):  # a writer has come, and is at it
                    if look == _LOOKS - 1:
                        raise
        assert self._found_end is not None
        return self._found_end

    def _look_for_end(self) -> Position:
        for sequence in reversed(self._sequences()):
            try:
                data = Path(self._name(sequence)).read_bytes()  # not mapped: a writer that opens may cut it
            except FileNotFoundError:
                raise LogGap from None
            if not is_unborn(data):
                header = LogFileHeader.unpack(data, sequence, self._name(sequence))
                return Position(sequence, find_tail(data, header, self._name(sequence)).end)
        return Position(0, 0)

    def _sequences(self) -> list[int]:
        try:
            found = map(sequence_of, os.listdir(self._folder))
            return sorted(sequence for sequence in found if sequence is not None)
        except OSError as error:
            raise store_error(error, "list", str(self._folder)) from error

    def _map(self, sequence: int, least: int) -> memoryview:
        """The file `sequence` as it is, which has at least so many bytes. Raises `LogGap` where it is gone."""
        name = self._name(sequence)
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise LogGap from None
        except OSError as error:
            raise store_error(error, "read", name) from error
        try:
            length = os.fstat(descriptor).st_size
            if length < least:
                raise CorruptData(
                    f"{name}: damaged: it has {length} bytes, and {least} were acknowledged. Restore it from a backup."
                )
            return memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)) if length else memoryview(b"")
        finally:
            os.close(descriptor)

    def _name(self, sequence: int) -> str:
        return str(self._folder / name_of(sequence))
