"""The few file operations that durability rests on.

Everything Elanus writes goes through a `Disk`, so that `testing.RecordingDisk` sees all that matters after a power
failure and `testing.FaultyDisk` can make any of it fail. What may be relied on, and nothing more:

* `DiskFile.sync` and `Disk.sync_file` make the bytes and the length of one file durable, not its name;
* `Disk.sync_folder` makes the names in one folder durable (created, linked, unlinked), not what they name;
* `link` is atomic and fails with `FileExistsError` where the name is taken;
* everything else may be lost, in part and in any order, until the sync that covers it has returned;
* a sync that failed says nothing: what it should have covered is in doubt until it has been written again.

Names are relative to the disk's root and separated by "/"; "" is the root itself. Failures are `OSError`s: they are
told to the user by the Store or the Log, which know what was being done (see `reasons`).
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

Piece = bytes | bytearray | memoryview
"""One of the buffers of a gathered write; a memoryview here is flat and of single bytes."""

NOT_BEGUN = frozenset({errno.EMFILE, errno.ENFILE})
"""A sync by name that fails with one of these found no descriptor: nothing was tried, so nothing is in doubt."""

_FULL_FSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: there `fsync` leaves the bytes in the drive's cache, which a power failure empties."""

_MAX_PIECES: int = os.sysconf("SC_IOV_MAX") if "SC_IOV_MAX" in os.sysconf_names else 1024
_NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.ENODEV})


class DiskFile(Protocol):
    """A file open for writing. Not for two threads at once."""

    def write(self, offset: int, pieces: Sequence[Piece]) -> None:
        """Write all of `pieces`, one after the other, from `offset` on; on an error any part may have been written."""
        ...

    def sync(self) -> None:
        """Return when what was written before, and the length, are durable."""
        ...

    def preallocate(self, length: int) -> None:
        """Make the file at least `length` bytes long, the new ones zero, so that writing there needs no new space.

        Where the file system cannot, nothing happens. A sync of preallocated space is cheaper: the length stays.
        """
        ...

    def truncate(self, length: int) -> None: ...

    def close(self) -> None: ...


class Disk(Protocol):
    def create(self, name: str) -> DiskFile:
        """A new, empty file; `FileExistsError` where the name is taken."""
        ...

    def open(self, name: str) -> DiskFile:
        """An existing file, for writing."""
        ...

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes from `offset`, to the end or at most `length` of them."""
        ...

    def size(self, name: str) -> int: ...

    def names(self, folder: str) -> list[str]:
        """The files in `folder`, sorted, without its name; none where there is no such folder."""
        ...

    def folders(self, folder: str) -> list[str]:
        """The folders in `folder`, sorted, without its name; none where there is no such folder."""
        ...

    def make_folder(self, name: str) -> None:
        """One new folder in an existing one; a folder that is there is left as it is."""
        ...

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder."""
        ...

    def link(self, source: str, target: str) -> None:
        """Give the file `source` the second name `target`."""
        ...

    def unlink(self, name: str) -> None: ...

    def sync_file(self, name: str) -> None:
        """As `DiskFile.sync`, for a file that another library wrote."""
        ...

    def sync_folder(self, name: str) -> None: ...

    def path(self, name: str) -> Path: ...


def parent(name: str) -> str:
    """The folder that holds `name`."""
    return name.rpartition("/")[0]


def make_durable_folder(disk: Disk, name: str) -> None:
    """Make the folder `name` with those above it, and their names durable, whoever made them.

    A folder that was found may be one that a killed process had made and not synced, so each one is synced.
    """
    if name:
        make_durable_folder(disk, parent(name))
    disk.make_folder(name)
    if name:
        disk.sync_folder(parent(name))


class LocalDisk:
    """Files under the folder `root`, which `make_folder("")` makes."""

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root).absolute()

    def create(self, name: str) -> DiskFile:
        return _LocalFile(os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))

    def open(self, name: str) -> DiskFile:
        return _LocalFile(os.open(self.path(name), os.O_RDWR))

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        descriptor = os.open(self.path(name), os.O_RDONLY)
        try:
            left = max(os.fstat(descriptor).st_size - offset, 0)
            if length is not None:
                left = min(left, length)
            parts: list[bytes] = []
            while left and (part := os.pread(descriptor, left, offset)):  # one call reads 2 GiB at most
                parts.append(part)
                offset += len(part)
                left -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            os.close(descriptor)

    def size(self, name: str) -> int:
        return os.stat(self.path(name)).st_size

    def names(self, folder: str) -> list[str]:
        return self._list(folder, files=True)

    def folders(self, folder: str) -> list[str]:
        return self._list(folder, files=False)

    def _list(self, folder: str, files: bool) -> list[str]:
        try:
            with os.scandir(self.path(folder)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() is not files)
        except FileNotFoundError:
            return []

    def make_folder(self, name: str) -> None:
        path = self.path(name)
        if name:
            try:
                os.mkdir(path)
            except FileExistsError:
                if not path.is_dir():
                    raise
        else:
            _make_root(path)

    def remove_folder(self, name: str) -> None:
        os.rmdir(self.path(name))

    def link(self, source: str, target: str) -> None:
        os.link(self.path(source), self.path(target))

    def unlink(self, name: str) -> None:
        os.unlink(self.path(name))

    def sync_file(self, name: str) -> None:
        _sync_path(self.path(name))

    def sync_folder(self, name: str) -> None:
        _sync_path(self.path(name))

    def path(self, name: str) -> Path:
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r} is no name on a disk: it has to lie below the root")
        return self._root / name if name else self._root


class _LocalFile:
    """A `DiskFile` over one descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, offset: int, pieces: Sequence[Piece]) -> None:
        left = [memoryview(piece) for piece in pieces if len(piece)]
        while left:
            written = os.pwritev(self._descriptor, left[:_MAX_PIECES], offset)
            if not written:
                raise OSError(errno.EIO, "the operating system wrote nothing and gave no reason")
            offset += written
            done = 0
            while done < len(left) and written >= len(left[done]):
                written -= len(left[done])
                done += 1
            del left[:done]
            if written:
                left[0] = left[0][written:]

    def sync(self) -> None:
        _sync(self._descriptor)

    def preallocate(self, length: int) -> None:
        allocate = getattr(os, "posix_fallocate", None)
        if allocate is None:
            return
        try:
            allocate(self._descriptor, 0, length)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise

    def truncate(self, length: int) -> None:
        os.ftruncate(self._descriptor, length)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    __del__ = close


def _sync(descriptor: int) -> None:
    if _FULL_FSYNC is not None:
        fcntl.fcntl(descriptor, _FULL_FSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def _sync_path(path: Path) -> None:
    """Sync a file or a folder by name: a sync covers the file, not the descriptor that wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _FULL_FSYNC is not None:
            fcntl.fcntl(descriptor, _FULL_FSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_root(path: Path) -> None:
    """Make `path` with the folders above it, and the names of those that were missing durable."""
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
    if path.is_dir() and not missing:
        _sync_path(path.parent)
    for folder in missing:
        _sync_path(folder.parent)
