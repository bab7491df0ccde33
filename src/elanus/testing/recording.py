"""A disk that remembers: every operation that matters after a power failure, in order, with its bytes.

    disk = RecordingDisk(LocalDisk(folder))
    …                                       # use it
    disk.recording.mark(("acknowledged", 17))

A recording is what `crash.crash_states` makes disks of. Files that a C++ library wrote by path enter it with their
bytes when they are synced by name; until then they are not there.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from elanus.store.disk import Disk, DiskFile, Piece, parent


@dataclass(frozen=True, slots=True)
class Named:
    """`name` names file `file` now; None: it is a folder."""

    name: str
    file: int | None


@dataclass(frozen=True, slots=True)
class Unnamed:
    name: str


@dataclass(frozen=True, slots=True)
class Wrote:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resized:
    """The file was preallocated (`grow`: never shorter than before) or truncated to `length`."""

    file: int
    length: int
    grow: bool


@dataclass(frozen=True, slots=True)
class Synced:
    file: int


@dataclass(frozen=True, slots=True)
class SyncFailed:
    """What was written since the last sync will be read by this machine, and reaches the disk by no later sync."""

    file: int


@dataclass(frozen=True, slots=True)
class SyncedFolder:
    name: str


Recorded = Named | Unnamed | Wrote | Resized | Synced | SyncFailed | SyncedFolder


@dataclass(slots=True)
class Recording:
    """`operations` in order, and `marks`: (how many operations were done, what the test attached).

    `folders` and `files` (name to number and bytes) are what was there, durably, when the recording began.
    """

    folders: list[str] = field(default_factory=list)
    files: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    operations: list[Recorded] = field(default_factory=list)
    marks: list[tuple[int, Any]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def mark(self, what: Any) -> None:
        """Remember that by now `what` has happened: a state of a later moment knows it."""
        with self.lock:
            self.marks.append((len(self.operations), what))


class RecordingDisk:
    """`disk`, with a `recording`. One operation at a time, so that the recorded order is the one that happened."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._numbers = count(1)
        self._files: dict[str, int] = {}
        self.recording = Recording()
        self._read_folder("")

    def create(self, name: str) -> DiskFile:
        with self.recording.lock:
            file = self._disk.create(name)
            self._files[name] = number = next(self._numbers)
            self.recording.operations.append(Named(name, number))
            return _RecordingFile(self, name, number, file)

    def open(self, name: str) -> DiskFile:
        with self.recording.lock:
            return _RecordingFile(self, name, self._files[name], self._disk.open(name))

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._disk.read(name, offset, length)

    def size(self, name: str) -> int:
        return self._disk.size(name)

    def names(self, folder: str) -> list[str]:
        return self._disk.names(folder)

    def folders(self, folder: str) -> list[str]:
        return self._disk.folders(folder)

    def make_folder(self, name: str) -> None:
        with self.recording.lock:
            existed = not name or name.rpartition("/")[2] in self._disk.folders(parent(name))
            self._disk.make_folder(name)
            if not existed:
                self.recording.operations.append(Named(name, None))

    def remove_folder(self, name: str) -> None:
        with self.recording.lock:
            self._disk.remove_folder(name)
            self.recording.operations.append(Unnamed(name))

    def link(self, source: str, target: str) -> None:
        with self.recording.lock:
            self._disk.link(source, target)
            self._files[target] = self._files[source]
            self.recording.operations.append(Named(target, self._files[source]))

    def unlink(self, name: str) -> None:
        with self.recording.lock:
            self._disk.unlink(name)
            if self._files.pop(name, None) is not None:
                self.recording.operations.append(Unnamed(name))

    def sync_file(self, name: str) -> None:
        with self.recording.lock:
            self._disk.sync_file(name)
            if name not in self._files:
                self._files[name] = number = next(self._numbers)
                self.recording.operations += [Named(name, number), Wrote(number, 0, self._disk.read(name))]
            self.recording.operations.append(Synced(self._files[name]))

    def sync_folder(self, name: str) -> None:
        with self.recording.lock:
            self._disk.sync_folder(name)
            self.recording.operations.append(SyncedFolder(name))

    def path(self, name: str) -> Path:
        return self._disk.path(name)

    def _read_folder(self, folder: str) -> None:
        prefix = f"{folder}/" if folder else ""
        for name in self._disk.names(folder):
            self._files[prefix + name] = number = next(self._numbers)
            self.recording.files[prefix + name] = (number, self._disk.read(prefix + name))
        for name in self._disk.folders(folder):
            self.recording.folders.append(prefix + name)
            self._read_folder(prefix + name)


class _RecordingFile:
    def __init__(self, disk: RecordingDisk, name: str, number: int, file: DiskFile) -> None:
        self._disk = disk
        self._recording = disk.recording
        self._name = name
        self._number = number
        self._file = file

    def write(self, offset: int, pieces: Sequence[Piece]) -> None:
        with self._recording.lock:
            data = b"".join(pieces)
            try:
                self._file.write(offset, [data])
            except OSError:
                data = self._disk.read(self._name, offset, len(data))  # what it did write
                raise
            finally:
                self._recording.operations.append(Wrote(self._number, offset, data))

    def sync(self) -> None:
        with self._recording.lock:
            try:
                self._file.sync()
            except OSError:
                self._recording.operations.append(SyncFailed(self._number))
                raise
            self._recording.operations.append(Synced(self._number))

    def preallocate(self, length: int) -> None:
        with self._recording.lock:
            self._file.preallocate(length)
            self._recording.operations.append(Resized(self._number, length, grow=True))

    def truncate(self, length: int) -> None:
        with self._recording.lock:
            self._file.truncate(length)
            self._recording.operations.append(Resized(self._number, length, grow=False))

    def close(self) -> None:
        self._file.close()
