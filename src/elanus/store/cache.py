"""Files of remote objects on the local disk: fetched once, mapped from there, and the longest unused given up first.

    <folder>/objects/<key>         a whole object, never changed
    <folder>/scratch/<name>/       files that are being fetched or written, of one process
    <folder>/scratch/<name>.lock   locked for as long as that process lives

Processes of a machine share a cache without knowing of each other. A file appears by a rename, whole and synced, so
neither a kill nor a power failure leaves half of one under its key; what dead processes have left in `scratch` is
removed at every opening. A file that is removed while it is mapped stays readable there, and its bytes stay taken until
nobody maps it. Its time of last change is when it was last asked for.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from elanus.store.reasons import store_error

KEPT_S = 60.0
"""Who has asked for a file maps it at once, or has a builder map it soon: so long it stays, whatever else is wanted."""

_LOCK = ".lock"


class Cache:
    """A cache in `folder` of about `most_bytes`. Safe to use from any thread and any process."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._objects = folder / "objects"
        self._scratch = folder / "scratch"
        self._most_bytes = most_bytes
        self._fetching: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._room = 0
        """Bytes that may still come before it is worth looking at what is there."""
        try:
            self._objects.mkdir(parents=True, exist_ok=True)
            self._scratch.mkdir(exist_ok=True)
            self._remove_left()
            self._own, self._held = self._claim()
        except OSError as error:
            raise store_error(error, "open the cache", str(folder)) from error

    def close(self) -> None:
        """Remove what this process was writing; the files stay."""
        shutil.rmtree(self._own, ignore_errors=True)
        self._own.with_suffix(_LOCK).unlink(missing_ok=True)
        os.close(self._held)

    def scratch(self) -> Path:
        """A new empty folder, on the same disk."""
        path = self._own / secrets.token_hex(8)
        try:
            path.mkdir()
        except OSError as error:
            raise store_error(error, "make the scratch folder", str(path)) from error
        return path

    def find(self, key: str) -> Path | None:
        """The file of an object; None where it is not here."""
        path = self._objects / key
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    def get(self, key: str, fetch: Callable[[Path], object]) -> Path:
        """The file of an object, which `fetch` writes to the path it is given where it is not here."""
        found = self.find(key)
        if found is not None:
            return found
        with self._lock:
            one_fetches = self._fetching.setdefault(key, threading.Lock())
        with one_fetches:
            try:
                found = self.find(key)
                if found is not None:
                    return found
                fetched = self._own / secrets.token_hex(8)
                try:
                    fetch(fetched)
                    return self.take_over(key, fetched)
                except OSError as error:
                    raise store_error(error, "fetch", key) from error
                finally:
                    fetched.unlink(missing_ok=True)
            finally:
                with self._lock:
                    self._fetching.pop(key, None)

    def take_over(self, key: str, file: Path) -> Path:
        """Make `file`, on the same disk, the file of an object."""
        path = self._objects / key
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            self._make_room(size)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.utime(file)
            file.rename(path)
        except OSError as error:
            raise store_error(error, "keep", str(path)) from error
        return path

    def remove(self, key: str) -> None:
        with suppress(OSError):
            (self._objects / key).unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Remove the files that were not asked for longest, until `size` more bytes fit."""
        with self._lock:
            self._room -= size
            if self._room >= 0:
                return
            found = sorted(self._files())
            free = shutil.disk_usage(self._objects).free
            self._room = min(self._most_bytes - sum(length for _, length, _ in found), free) - size
            used_since = time.time() - KEPT_S
            for used, length, path in found:
                if self._room >= 0 or used > used_since:
                    return
                with suppress(OSError):  # another process was faster
                    path.unlink()
                    self._room += length

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """When each file was last asked for, its length, and where it is."""
        for folder, _, names in os.walk(self._objects):
            for name in names:
                path = Path(folder, name)
                with suppress(OSError):
                    about = path.stat()
                    yield about.st_mtime, about.st_size, path

    def _claim(self) -> tuple[Path, int]:
        """A scratch folder of this process's own, and the descriptor of its lock."""
        while True:
            own = self._scratch / secrets.token_hex(8)
            lock = own.with_suffix(_LOCK)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if lock.exists():  # not taken for a dead process's before it was locked
                own.mkdir()
                return own, descriptor
            os.close(descriptor)

    def _remove_left(self) -> None:
        """Remove the scratch folders of processes that have ended."""
        for lock in self._scratch.glob(f"*{_LOCK}"):
            with suppress(OSError):
                descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink()
                finally:
                    os.close(descriptor)
