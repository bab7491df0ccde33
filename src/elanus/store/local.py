"""The Store in a local folder.

    <root>/store/<key>     the objects
    <root>/scratch/…       files being written, folders of C++ libraries

A put is: write a scratch file, sync it, link it to its key (atomic, fails where the key is taken), sync the key's
folder, unlink the scratch name. So a key never names bytes that are not durable, and once `put` has returned the
name is durable too. What is left in `scratch` was never an object and is removed when the Store is opened for writing.

Invariant: `_durable` holds folders whose own names, up to the root, this process has synced. A folder that merely
exists is not trusted: the process that made it may have been killed before it could sync.

Names found at an opening are not trusted either: `settle` syncs them before a writer builds on what they name.

A folder sync that failed leaves it open which names will be there after a power loss. Nothing is put after that:
the Store raises `WriterStopped` until it has been opened anew.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from elanus.model.errors import InvalidParameter, KeyExists, KeyNotFound, ReadOnly, WriterStopped
from elanus.store.base import check_key
from elanus.store.disk import NOT_BEGUN, Disk, make_durable_folder, parent
from elanus.store.reasons import reason, store_error

OBJECTS = "store"
SCRATCH = "scratch"


class LocalStore:
    """A `Store` over a `Disk`. Safe to use from any thread; one process at a time may open it for writing."""

    fetches = False

    def __init__(self, disk: Disk, writable: bool = True) -> None:
        self._disk = disk
        self._writable = writable
        self._names = threading.Lock()
        """Held where names come and go, so that no folder is removed between a link into it and its sync."""
        self._durable = {OBJECTS}
        self._failure: str | None = None
        if writable:
            try:
                make_durable_folder(disk, OBJECTS)
                make_durable_folder(disk, SCRATCH)
                self._empty(SCRATCH)
            except OSError as error:
                raise store_error(error, "open for writing", str(disk.path(""))) from error

    def get(self, key: str) -> bytes:
        check_key(key)
        try:
            return self._disk.read(f"{OBJECTS}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            raise _not_found(key) from None
        except OSError as error:
            raise store_error(error, "read", key) from error

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        self._check_writable()
        scratch = f"{SCRATCH}/{secrets.token_hex(8)}"
        try:
            try:
                file = self._disk.create(scratch)
                try:
                    file.write(0, [data])
                    file.sync()
                finally:
                    file.close()
                self._link({key: scratch})
            finally:
                with suppress(OSError):  # what is left is removed at the next opening
                    self._disk.unlink(scratch)
        except OSError as error:
            raise store_error(error, "write", key) from error

    def publish(self, files: Mapping[str, Path]) -> None:
        self._check_writable()
        sources = {key: self._scratch_name(path) for key, path in files.items()}
        key = ""
        try:
            for key, source in sources.items():
                check_key(key)
                self._disk.sync_file(source)
            self._link(sources)
        except OSError as error:
            raise store_error(error, "publish", key) from error
        with suppress(OSError):
            for source in sources.values():
                self._disk.unlink(source)
            for folder in {parent(source) for source in sources.values()}:
                if not self._disk.names(folder) and not self._disk.folders(folder):
                    self._disk.remove_folder(folder)

    def keys(self, prefix: str) -> list[str]:
        folder = parent(f"{OBJECTS}/{prefix}")
        try:
            return sorted(key for key in self._walk(folder) if key.startswith(prefix))
        except OSError as error:
            raise store_error(error, "list", folder) from error

    def settle(self, prefix: str) -> None:
        check_key(prefix)
        self._check_writable()
        folder = f"{OBJECTS}/{prefix}"
        try:
            with self._names:
                if self._disk.names(folder):
                    self._sync_folder(folder)
        except OSError as error:
            raise store_error(error, "sync the folder", prefix) from error

    def delete(self, keys: Iterable[str]) -> None:
        self._check_writable()
        folders: set[str] = set()
        key = ""
        try:
            for key in keys:
                check_key(key)
                with suppress(FileNotFoundError):
                    self._disk.unlink(f"{OBJECTS}/{key}")
                folders.add(parent(f"{OBJECTS}/{key}"))
            with self._names:
                for folder in folders:
                    self._prune(folder)
        except OSError as error:
            raise store_error(error, "delete", key) from error

    def local_path(self, key: str) -> Path:
        self.size(key)
        return self._disk.path(f"{OBJECTS}/{key}")

    def sparse(self, key: str) -> None:
        """Everything is here."""

    def size(self, key: str) -> int:
        check_key(key)
        try:
            return self._disk.size(f"{OBJECTS}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            raise _not_found(key) from None
        except OSError as error:
            raise store_error(error, "look at", key) from error

    def scratch(self) -> Path:
        self._check_writable()
        name = f"{SCRATCH}/{secrets.token_hex(8)}"
        try:
            self._disk.make_folder(name)
        except OSError as error:
            raise store_error(error, "make the scratch folder", name) from error
        return self._disk.path(name)

    def _link(self, sources: Mapping[str, str]) -> None:
        """Give synced scratch files their keys, all or (where one exists) none, and make the names durable."""
        targets = {f"{OBJECTS}/{key}": source for key, source in sources.items()}
        folders = sorted({parent(target) for target in targets})
        linked: list[str] = []
        with self._names:
            self._check_writable()
            try:
                for folder in folders:
                    self._make_durable(folder)
                for target, source in targets.items():
                    self._disk.link(source, target)
                    linked.append(target)
                for folder in folders:
                    self._sync_folder(folder)
            except OSError as error:
                self._take_back(linked, folders)
                if isinstance(error, FileExistsError):
                    taken = list(targets)[len(linked)].removeprefix(f"{OBJECTS}/")
                    raise KeyExists(f"{taken} exists: objects are put once and never changed") from None
                raise

    def _take_back(self, linked: Sequence[str], folders: Sequence[str]) -> None:
        """Unname what was linked, for good: after a power loss a name could be back, of what was given up since."""
        try:
            for target in linked:
                self._disk.unlink(target)
            for folder in folders if linked else ():
                self._disk.sync_folder(folder)
        except OSError as error:
            self._failure = f"{linked[0]} could not be taken back: {reason(error)}"
            self._check_writable()

    def _make_durable(self, folder: str) -> None:
        if folder not in self._durable:
            self._make_durable(parent(folder))
            self._disk.make_folder(folder)
            self._sync_folder(parent(folder))
            self._durable.add(folder)

    def _sync_folder(self, folder: str) -> None:
        try:
            self._disk.sync_folder(folder)
        except OSError as error:
            if error.errno in NOT_BEGUN:
                raise
            self._failure = f"syncing the folder {folder} failed: {reason(error)}"
            self._check_writable()

    def _check_writable(self) -> None:
        if not self._writable:
            raise ReadOnly(f"{self._disk.path('')} was opened for reading only: open it for writing to change it")
        if self._failure is not None:
            raise WriterStopped(
                f"nothing more is written to {self._disk.path('')}, because {self._failure}; the last objects may or "
                "may not be there after a power loss. Check the disk, then open the database again."
            )

    def _scratch_name(self, path: Path) -> str:
        root = self._disk.path(SCRATCH)
        if not path.is_relative_to(root):
            raise InvalidParameter(f"{path} cannot be published: it does not lie in a folder given by scratch()")
        return f"{SCRATCH}/{path.relative_to(root).as_posix()}"

    def _walk(self, folder: str) -> Iterator[str]:
        within = folder.removeprefix(OBJECTS).removeprefix("/")
        for name in self._disk.names(folder):
            yield f"{within}/{name}" if within else name
        for name in self._disk.folders(folder):
            yield from self._walk(f"{folder}/{name}")

    def _prune(self, folder: str) -> None:
        """Remove `folder` and those above it as far as they are empty."""
        while folder != OBJECTS and not self._disk.names(folder) and not self._disk.folders(folder):
            self._durable.discard(folder)
            with suppress(FileNotFoundError):
                self._disk.remove_folder(folder)
            folder = parent(folder)

    def _empty(self, folder: str) -> None:
        for name in self._disk.names(folder):
            self._disk.unlink(f"{folder}/{name}")
        for name in self._disk.folders(folder):
            self._empty(f"{folder}/{name}")
            self._disk.remove_folder(f"{folder}/{name}")


def _not_found(key: str) -> KeyNotFound:
    return KeyNotFound(f"there is no object {key}: it was never put, or has been deleted")
