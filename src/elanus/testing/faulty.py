"""A disk that fails when told to.

disk = FaultyDisk(LocalDisk(folder))
full = disk.fail("write", "log/*", errno.ENOSPC, written=100)    # from now on, after 100 bytes
disk.fail("sync", errno=errno.EIO, skip=2, times=1)              # the third sync, once
disk.fail(CHANGES, skip=40)                                      # the disk changes 40 times more, then never again
full.heal()
"""

from __future__ import annotations

import errno as errnos
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from elanus.store.disk import Disk, DiskFile, Piece

Operation = Literal[
    "create", "open", "write", "sync", "preallocate", "truncate", "read", "size", "list", "make_folder",
    "remove_folder", "link", "unlink", "sync_folder",
]  # fmt: skip

CHANGES: frozenset[Operation] = frozenset(
    {
        "create", "write", "sync", "preallocate", "truncate", "make_folder", "remove_folder", "link", "unlink",
        "sync_folder",
    }
)  # fmt: skip
"""Every operation that changes the disk or makes a change durable."""


class Fault:
    """One scripted failure: of operations of some kinds on names that match, skipping `skip`, `times` times."""

    def __init__(
        self, kinds: Collection[Operation], pattern: str, errno: int, skip: int, times: int | None, written: int
    ) -> None:
        self.kinds = kinds
        self.pattern = pattern
        self.errno = errno
        self.written = written
        self.hits = 0
        """How often it has struck."""
        self._skip = skip
        self._times = times

    def heal(self) -> None:
        """Strike no more."""
        self._times = self.hits

    def strikes(self, kind: Operation, name: str) -> bool:
        if kind not in self.kinds or not fnmatchcase(name, self.pattern):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if self._times is not None and self.hits >= self._times:
            return False
        self.hits += 1
        return True


class FaultyDisk:
    """`disk`, but for what has been scripted with `fail`. `sync` faults strike `sync_file` too."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def fail(
        self,
        kind: Operation | Collection[Operation],
        pattern: str = "*",
        errno: int = errnos.EIO,
        *,
        skip: int = 0,
        times: int | None = None,
        written: int = 0,
    ) -> Fault:
        """From now on fail operations of one `kind`, or several, on names that match `pattern`, with `errno`.

        A link is matched by its target. A failing write has written its first `written` bytes; all other failing
        operations have done nothing.
        """
        kinds = (kind,) if isinstance(kind, str) else kind
        fault = Fault(kinds, pattern, errno, skip, times, written)
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def struck(self, kind: Operation, name: str) -> Fault | None:
        with self._lock:
            return next((fault for fault in self._faults if fault.strikes(kind, name)), None)

    def check(self, kind: Operation, name: str) -> None:
        """Raise the `OSError` of a fault that strikes."""
        fault = self.struck(kind, name)
        if fault is not None:
            raise OSError(fault.errno, os.strerror(fault.errno), name)

    def create(self, name: str) -> DiskFile:
        self.check("create", name)
        return _FaultyFile(self, name, self._disk.create(name))

    def open(self, name: str) -> DiskFile:
        self.check("open", name)
        return _FaultyFile(self, name, self._disk.open(name))

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.check("read", name)
        return self._disk.read(name, offset, length)

    def size(self, name: str) -> int:
        self.check("size", name)
        return self._disk.size(name)

    def names(self, folder: str) -> list[str]:
        self.check("list", folder)
        return self._disk.names(folder)

    def folders(self, folder: str) -> list[str]:
        self.check("list", folder)
        return self._disk.folders(folder)

    def make_folder(self, name: str) -> None:
        self.check("make_folder", name)
        self._disk.make_folder(name)

    def remove_folder(self, name: str) -> None:
        self.check("remove_folder", name)
        self._disk.remove_folder(name)

    def link(self, source: str, target: str) -> None:
        self.check("link", target)
        self._disk.link(source, target)

    def unlink(self, name: str) -> None:
        self.check("unlink", name)
        self._disk.unlink(name)

    def sync_file(self, name: str) -> None:
        self.check("sync", name)
        self._disk.sync_file(name)

    def sync_folder(self, name: str) -> None:
        self.check("sync_folder", name)
        self._disk.sync_folder(name)

    def path(self, name: str) -> Path:
        return self._disk.path(name)


class _FaultyFile:
    def __init__(self, disk: FaultyDisk, name: str, file: DiskFile) -> None:
        self._disk = disk
        self._name = name
        self._file = file

    def write(self, offset: int, pieces: Sequence[Piece]) -> None:
        fault = self._disk.struck("write", self._name)
        if fault is None:
            self._file.write(offset, pieces)
            return
        if fault.written:
            self._file.write(offset, [b"".join(pieces)[: fault.written]])
        raise OSError(fault.errno, os.strerror(fault.errno), self._name)

    def sync(self) -> None:
        self._disk.check("sync", self._name)
        self._file.sync()

    def preallocate(self, length: int) -> None:
        self._disk.check("preallocate", self._name)
        self._file.preallocate(length)

    def truncate(self, length: int) -> None:
        self._disk.check("truncate", self._name)
        self._file.truncate(length)

    def close(self) -> None:
        self._file.close()


@contextmanager
def no_more_files() -> Iterator[None]:
    """While it lasts this process can open no file: the limit is what it has open now."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 4096), before[1]))
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError as error:
                if error.errno != errnos.EMFILE:
                    raise
                break
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
