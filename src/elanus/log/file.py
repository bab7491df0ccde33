"""The log in local files.

    <folder>/<sequence, 20 digits>.log     see `tail` for a file, `frame` and `record` for what is in it

Sequences are contiguous; new frames go to the last file, until it is full or `rotate` is called. A file grows in
preallocated, zeroed steps that double, so that most syncs have no new length to make durable.

The order of things, each step durable before the next is begun:

* a new file: header, sync, sync of the folder; frames only then;
* a frame: written, synced, and only then the next one (at most one is ever torn);
* dropping files: the oldest first, one at a time, so that no gap can appear.

Opening for write (one process at a time: the caller holds the folder's lock) finds the end by the torn-tail rule and
cuts a torn tail. It then writes the file's header and its last frame once more, as they are, and syncs: a killed
process, or one whose sync had failed, may have left them in the page cache only, and nothing may rest on that. Last
it fences: the first frame of an opening is a fence with its epoch, one above every epoch before it.

What an error leaves behind:

* a write that failed (no space, say): the file is cut back to the last synced frame, the caller gets `StoreError`,
  and later calls may succeed;
* a sync or that cut failed: what is on the disk is in doubt. `WriterStopped`, for this call and all later ones.

Other processes that read the log are told how far it is acknowledged, where there is a place for it (`publish_to`).

Invariant: `_end` is the end of the last synced frame. It and `_files` move under `_mutex` alone, and may be read
without it.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NoReturn

from elanus.log.acknowledged import Acknowledged
from elanus.log.base import LogRecord, check_usable, typed
from elanus.log.frame import FRAME_HEADER_BYTES, Flaw, build_frame, read_frame_header
from elanus.log.position import Position
from elanus.log.record import EncodedRecord, FenceRecord
from elanus.log.tail import (
    FIRST_FRAME,
    CutTail,
    LogFileHeader,
    Tail,
    find_tail,
    is_unborn,
    name_of,
    read_frames,
    sequence_of,
)
from elanus.model.errors import CorruptData, StoreError, WriterStopped
from elanus.model.timestamps import milliseconds_of
from elanus.store.disk import NOT_BEGUN, Disk, DiskFile, make_durable_folder
from elanus.store.header import HEADER_BYTES
from elanus.store.reasons import reason, store_error

FILE_BYTES = 64 << 20
"""How long a file gets before the next is begun: what can be dropped at once, and read at once by recovery."""

FIRST_STEP_BYTES = 1 << 20
"""The first preallocation: a small database stays small, and opening it has little to read."""


@dataclass(frozen=True, slots=True)
class _LogFile:
    """A file of the log. `end` is where its frames end; of the last file, where they ended when it was opened."""

    header: LogFileHeader
    end: int
    first_timestamp: int

    @property
    def sequence(self) -> int:
        return self.header.sequence


@dataclass(frozen=True, slots=True)
class EndedFile:
    """A file before the last, which gets no more frames; `data` are its bytes to where they end."""

    header: LogFileHeader
    first_timestamp: int
    data: bytes


class FileLog:
    """The log of one writer, open for writing; made by `open`. Safe to use from any thread."""

    excludes = True
    replaced = False

    def __init__(self, disk: Disk, folder: str, file_bytes: int, epoch: int) -> None:
        self._disk = disk
        self._folder = folder
        self._file_bytes = file_bytes
        self._mutex = threading.Lock()
        self._dropping = threading.Lock()
        self._files: tuple[_LogFile, ...] = ()
        self._file: DiskFile | None = None
        self._allocated = 0
        self._end = Position(0, 0)
        self._failure: str | None = None
        self._closed = False
        self.epoch = epoch
        """This opening's, one above those of all before."""
        self._acknowledged: Acknowledged | None = None
        self._appended = self._end
        """The end after the last append, which is what others are told of."""
        self.cut: tuple[str, CutTail] | None = None
        """The torn tail that opening cut, with the name of its file."""

    @classmethod
    def open(
        cls,
        disk: Disk,
        folder: str = "log",
        file_bytes: int = FILE_BYTES,
        *,
        first: int = 1,
        epoch: int = 1,
        fences: bool = True,
    ) -> FileLog:
        """Open for write, recover and fence. Raises `CorruptData` when acknowledged records are damaged.

        Where there is no file yet, `first` is the sequence and `epoch` the epoch of the first one. Without `fences` the
        caller sees to it that epochs differ.
        """
        log = cls(disk, folder, file_bytes, epoch)
        try:
            make_durable_folder(disk, folder)
            log._recover(first)
            if fences:
                log.append([(FenceRecord(log.epoch).encode(), 0)])
        except OSError as error:
            log.close()
            raise store_error(error, "open the log", str(disk.path(folder))) from error
        except BaseException:
            log.close()
            raise
        return log

    def publish_to(self, acknowledged: Acknowledged) -> None:
        """Tell other processes here; it says where the log ends now."""
        self._acknowledged = acknowledged

    # --- what there is ---------------------------------------------------------------------------------------------

    @property
    def end(self) -> Position:
        """After the last durable record."""
        return self._end

    @property
    def oldest(self) -> Position:
        """Where the oldest file begins."""
        return Position(self._files[0].sequence, 0)

    @property
    def byte_size(self) -> int:
        """The length of all files, without what is preallocated."""
        return sum(file.end for file in self._files[:-1]) + self._end.offset

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest record was written, in milliseconds since 1970; None when there is none but fences."""
        first = next((file.first_timestamp for file in self._files if file.first_timestamp), None)
        return None if first is None else milliseconds_of(first)

    # --- writing ---------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[tuple[EncodedRecord, int]]) -> list[Position]:
        """Write `records`, each with its timestamp, as one frame, sync it, and return where they lie."""
        with self._mutex:
            self._check_usable()
            length = FRAME_HEADER_BYTES + sum(record.byte_size for record, _ in records)
            if self._end.offset + length > self._file_bytes and self._end.offset > FIRST_FRAME:
                self._new_file(self._end.sequence + 1, self._end.offset)
            sequence, offset = self._end
            pieces, offsets = build_frame(self._files[-1].header.place, offset, self.epoch, records)
            self._write(offset, pieces, offset + length)
            self._sync(self._file, self._name(sequence))
            self._end = self._appended = Position(sequence, offset + length)
            if not self._files[-1].first_timestamp:
                self._files = (*self._files[:-1], replace(self._files[-1], first_timestamp=records[0][1]))
            return [Position(sequence, at) for at in offsets]

    def rotate(self) -> int:
        """Begin a new file, unless the last one has no records, and return the last one's sequence.

        Everything written before lies in files of a lower sequence.
        """
        with self._mutex:
            self._check_usable()
            if self._end.offset > FIRST_FRAME:
                self._new_file(self._end.sequence + 1, self._end.offset)
            return self._end.sequence

    def drop_before(self, sequence: int) -> None:
        """Delete the files below `sequence`, but never the last one."""
        with self._dropping:
            for file in self._files[:-1]:
                if file.sequence >= sequence:
                    return
                with self._mutex:
                    self._check_usable()
                name = self._name(file.sequence)
                try:
                    with suppress(FileNotFoundError):  # deleted by a call that could not sync
                        self._disk.unlink(name)
                except OSError as error:
                    raise store_error(error, "delete", name) from error
                with self._mutex:
                    self._sync_folder()
                    self._files = self._files[1:]

    def publish(self) -> None:
        if self._acknowledged is not None:
            try:
                self._acknowledged.put(self._appended)
            except OSError as error:
                with self._mutex:
                    self._stop("telling readers what is acknowledged failed", error)

    def is_published(self) -> bool:
        return self._acknowledged is not None and self._acknowledged.is_at(self._appended)

    def check_writer(self) -> None:
        """Nobody takes over a folder that is locked."""

    def begin_close(self) -> None:
        """Nothing waits here but for the device."""

    def close(self) -> None:
        """Later calls raise `Closed`. What `append` returned for is durable already."""
        with self._mutex:
            self._closed = True
            if self._file is not None:
                self._file.close()

    # --- reading ---------------------------------------------------------------------------------------------------

    def read(self, start: Position = Position(0, 0)) -> Iterator[tuple[Position, LogRecord]]:
        """The records at `start` and after it, as far as they are durable now, file by file and checked.

        Raises `CorruptData` that names file, offset and what is lost, and `StoreError` for a file dropped meanwhile.
        """
        end = self._end  # before the files, which may have become more when they are looked at
        for file in self._files:
            if not start.sequence <= file.sequence <= end.sequence:
                continue
            name = self._name(file.sequence)
            until = end.offset if file.sequence == end.sequence else file.end
            data = self._read(name, 0, until)
            view = memoryview(data)
            for frame in read_frames(data, file.header, name, until):
                for offset, raw in frame.raw(view):
                    position = Position(file.sequence, offset)
                    if position >= start:
                        yield position, typed(raw)

    def ended(self, first: int = 0, *, with_last: bool = False) -> Iterator[EndedFile]:
        """The files from the sequence `first` on, but for the last, unless it is asked for and has records; unchecked.

        Raises `StoreError`.
        """
        end = self._end
        for file in self._files:
            if file.sequence < first or (
                file.sequence == end.sequence and not (with_last and end.offset > FIRST_FRAME)
            ):
                continue
            name, length = self._name(file.sequence), end.offset if file.sequence == end.sequence else file.end
            data = self._read(name, 0, length)
            if len(data) < length:
                raise CorruptData(f"{name} has lost its end: it has {len(data)} bytes of {length}.")
            yield EndedFile(file.header, file.first_timestamp, data)

    # --- opening ---------------------------------------------------------------------------------------------------

    def _recover(self, first: int) -> None:
        sequences = self._sequences()
        if sequences and is_unborn(data := self._disk.read(self._name(sequences[-1]))):
            first = sequences.pop()
            self._disk.unlink(self._name(first))
            if sequences:
                data = self._disk.read(self._name(sequences[-1]))
        if not sequences:
            self._new_file(first, 0)
        else:
            headers = [self._header(sequence) for sequence in sequences]
            for header, successor in pairwise(headers):
                end = successor.previous_end
                self._check_ends(header, end)
                self._files += (_LogFile(header, end, self._first_timestamp(header, end)),)
            self._continue(data, headers[-1])

    def _sequences(self) -> list[int]:
        found = map(sequence_of, self._disk.names(self._folder))
        sequences = sorted(sequence for sequence in found if sequence is not None)
        for before, after in pairwise(sequences):
            if after != before + 1:
                raise CorruptData(
                    f"{self._name(before + 1)} is missing, though {self._name(after)} is there: every record in the "
                    f"{after - before - 1} files between is lost. Restore them from a backup or a copy."
                )
        return sequences

    def _continue(self, data: bytes, header: LogFileHeader) -> None:
        """Make the last file, whose bytes are `data`, ready for the next frame."""
        name = self._name(header.sequence)
        tail = find_tail(data, header, name)
        self._end = Position(header.sequence, tail.end)
        self._file = self._disk.open(name)
        self._allocated = len(data)
        if tail.cut is not None:
            self.cut = (name, tail.cut)
            self._file.truncate(tail.end)
            self._allocated = tail.end
        self._rewrite(data, tail)
        self._sync(self._file, name)
        self._sync_folder()
        self._files += (_LogFile(header, tail.end, tail.first_timestamp),)
        self.epoch = max(header.epoch, tail.last.epoch if tail.last else 0) + 1

    def _rewrite(self, data: bytes, tail: Tail) -> None:
        """Write again what the sync before might not have reached; see the module."""
        assert self._file is not None
        self._file.write(0, [data[:HEADER_BYTES]])
        if tail.last is not None:
            self._file.write(tail.last.offset, [memoryview(data)[tail.last.offset : tail.last.end]])

    def _header(self, sequence: int) -> LogFileHeader:
        name = self._name(sequence)
        return LogFileHeader.unpack(self._disk.read(name, 0, HEADER_BYTES), sequence, name)

    def _check_ends(self, header: LogFileHeader, end: int) -> None:
        """Raise `CorruptData` when the file goes on after the end that its successor names."""
        name = self._name(header.sequence)
        found = read_frame_header(self._disk.read(name, end, FRAME_HEADER_BYTES), end, header.place, end)
        if not isinstance(found, Flaw):
            raise CorruptData(
                f"{name}: a frame was begun at offset {end}, where {self._name(header.sequence + 1)} says that it "
                "ends: files of different copies of this log lie together, and the records from there on would be "
                "lost. Restore the folder as a whole from one backup or copy."
            )

    def _first_timestamp(self, header: LogFileHeader, end: int) -> int:
        """Of the first record that has one. A damaged file says 0 here, and what is wrong when it is read."""
        name = self._name(header.sequence)
        offset = FIRST_FRAME
        while offset < end:
            data = self._disk.read(name, offset, FRAME_HEADER_BYTES)
            frame = read_frame_header(data, offset, header.place, offset)
            if isinstance(frame, Flaw):
                return 0
            if frame.first_timestamp:
                return frame.first_timestamp
            offset += FRAME_HEADER_BYTES + frame.body_bytes
        return 0

    # --- steps, all under `_mutex` or while opening -------------------------------------------------------------------

    def _new_file(self, sequence: int, previous_end: int) -> None:
        """Begin file `sequence`; until it is durable nothing changes.

        An interrupt on the way leaves the log stopped: the file may be there, and then the one before it has ended.
        """
        name = self._name(sequence)
        header = LogFileHeader(sequence, secrets.randbits(64), previous_end, self.epoch)
        self._failure = f"beginning the log file {name} was interrupted"
        try:
            file = self._make_file(name, header)
        except WriterStopped:
            raise
        except StoreError:
            self._failure = None
            raise
        if self._file is not None:
            self._file.close()
        if self._files:
            self._files = (*self._files[:-1], replace(self._files[-1], end=previous_end))
        self._files += (_LogFile(header, FIRST_FRAME, 0),)
        self._file, self._allocated = file, HEADER_BYTES
        self._end = Position(sequence, FIRST_FRAME)
        self._failure = None

    def _make_file(self, name: str, header: LogFileHeader) -> DiskFile:
        """A durable file with nothing but its header, or no file at all."""
        try:
            file = self._disk.create(name)
        except OSError as error:
            raise store_error(error, "create the log file", name) from error
        try:
            file.write(0, [header.pack()])
            self._sync(file, name)
            self._sync_folder()
        except WriterStopped:
            file.close()
            raise
        except (OSError, StoreError) as error:
            file.close()
            self._discard(name)
            if isinstance(error, OSError):
                raise store_error(error, "begin the log file", name) from error
            raise
        return file

    def _discard(self, name: str) -> None:
        """Take back a file that could not be begun, for good: were it found again, it would end the one before it."""
        try:
            self._disk.unlink(name)
            self._disk.sync_folder(self._folder)
        except OSError as error:
            self._stop(f"the file {name} could not be taken back", error)

    def _write(self, offset: int, pieces: Sequence[bytes | bytearray | memoryview], needed: int) -> None:
        assert self._file is not None
        try:
            self._reserve(self._file, needed)
            self._file.write(offset, pieces)
        except OSError as error:
            name = self._name(self._end.sequence)
            try:
                # For good: a failed write may have written all of the frame, and would be found after a power failure,
                # behind the end that the next file names or as a record that was refused.
                self._file.truncate(offset)
                self._file.sync()
            except OSError as second:
                self._stop(f"{name} could not be cut back after a failed write ({reason(error)})", second)
            self._allocated = offset
            raise store_error(error, "append to", name) from error

    def _reserve(self, file: DiskFile, needed: int) -> None:
        if needed <= self._allocated:
            return
        wanted = max(needed, min(2 * self._allocated, self._file_bytes), FIRST_STEP_BYTES)
        try:
            file.preallocate(wanted)
        except OSError:
            file.preallocate(needed)  # the last free bytes of a disk are good enough
            wanted = needed
        self._allocated = wanted

    def _sync(self, file: DiskFile | None, name: str) -> None:
        assert file is not None
        try:
            file.sync()
        except OSError as error:
            self._stop(f"syncing {name} failed", error)

    def _sync_folder(self) -> None:
        try:
            self._disk.sync_folder(self._folder)
        except OSError as error:
            if error.errno in NOT_BEGUN:
                raise store_error(error, "sync the folder", self._folder) from error
            self._stop(f"syncing the folder {self._folder} failed", error)

    def _stop(self, what: str, error: OSError) -> NoReturn:
        self._failure = f"{what}: {reason(error)}"
        self._check_usable()
        raise AssertionError("a log that failed is not usable")

    def _check_usable(self) -> None:
        check_usable(self._closed, self._failure, "check the disk, then open the database again.")

    def _read(self, name: str, offset: int, length: int) -> bytes:
        try:
            return self._disk.read(name, offset, length)
        except OSError as error:
            raise store_error(error, "read", name) from error

    def _name(self, sequence: int) -> str:
        return f"{self._folder}/{name_of(sequence)}"
