"""The Store that lives as long as the process: for tests and for databases that need not stay.

Small objects are bytes in memory. Published files stay files, in a temporary folder that goes with the Store, and so
does every object that was asked for by `local_path`.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path

from elanus.model.errors import KeyExists, KeyNotFound
from elanus.store.base import check_key


class MemoryStore:
    """A `Store` in memory. `close` removes its temporary folder; so does the end of the process."""

    fetches = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, bytes | Path] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="elanus-"))
        self._numbers = count()
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def close(self) -> None:
        self._remove()

    def get(self, key: str) -> bytes:
        held = self._find(key)
        return held.read_bytes() if isinstance(held, Path) else held

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self._check_free((key,))
            self._objects[key] = bytes(data)

    def publish(self, files: Mapping[str, Path]) -> None:
        with self._lock:
            self._check_free(files)
            for key, path in files.items():
                self._objects[key] = path.rename(self._new_path())

    def keys(self, prefix: str) -> list[str]:
        with self._lock:
            return sorted(key for key in self._objects if key.startswith(prefix))

    def settle(self, prefix: str) -> None:
        check_key(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._lock:
                held = self._objects.pop(key, None)
            if isinstance(held, Path):
                held.unlink()

    def local_path(self, key: str) -> Path:
        held = self._find(key)
        if isinstance(held, Path):
            return held
        path = self._new_path()
        path.write_bytes(held)
        with self._lock:
            self._objects[key] = path
        return path

    def sparse(self, key: str) -> None:
        """Everything is here."""

    def size(self, key: str) -> int:
        held = self._find(key)
        return held.stat().st_size if isinstance(held, Path) else len(held)

    def scratch(self) -> Path:
        path = self._new_path()
        path.mkdir()
        return path

    def _new_path(self) -> Path:
        return self._folder / str(next(self._numbers))

    def _find(self, key: str) -> bytes | Path:
        check_key(key)
        with self._lock:
            held = self._objects.get(key)
        if held is None:
            raise KeyNotFound(f"there is no object {key}: it was never put, or has been deleted")
        return held

    def _check_free(self, keys: Iterable[str]) -> None:
        for key in keys:
            check_key(key)
            if key in self._objects:
                raise KeyExists(f"{key} exists: objects are put once and never changed")
