"""The Store in a bucket, with the files that are mapped in a cache on the local disk.

Small values are read and written in one request each. Files are written in the cache's scratch, go up when they are
published, and stay in the cache under their key, so that who wrote them does not fetch them. A large one may be used
while it is being fetched (`sparse`).

Several files cannot be put in one step. They go up one after the other; where a key is taken those before it are taken
back. A process killed in between leaves objects that no manifest names, which are garbage.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from elanus.model.errors import KeyExists, ReadOnly, StoreError
from elanus.store.base import check_key
from elanus.store.bucket import Bucket
from elanus.store.cache import Cache
from elanus.store.sparse import SparseFile

SPARSE_BYTES = 16 << 20
"""A smaller object is fetched whole, in the time of a few requests."""


class RemoteStore:
    """A `Store` over a `Bucket`. Safe to use from any thread and from any number of processes."""

    fetches = True

    def __init__(self, bucket: Bucket, cache: Cache, writable: bool = True) -> None:
        self._bucket = bucket
        self._cache = cache
        self._writable = writable
        self._lock = threading.Lock()
        self._filling: dict[str, SparseFile] = {}
        self.before_put: Callable[[], object] = lambda: None
        """What has to be done before a manifest, say, is put; it raises where that cannot be."""

    def get(self, key: str) -> bytes:
        check_key(key)
        found = self._cache.find(key)
        if found is not None:
            with suppress(OSError):  # removed in this moment
                return found.read_bytes()
        return self._bucket.get(key)

    def put(self, key: str, data: bytes) -> None:
        check_key(key)
        self._check_writable()
        self.before_put()
        self._bucket.put(key, data)

    def publish(self, files: Mapping[str, Path]) -> None:
        self._check_writable()
        done: list[str] = []
        for key in files:
            check_key(key)
        try:
            for key, path in files.items():
                self._bucket.upload(key, path)
                done.append(key)
        except KeyExists:
            self.delete(done)
            raise
        for key, path in files.items():
            with suppress(StoreError):  # a full disk, say: it will be fetched when it is wanted
                self._cache.take_over(key, path)
        for folder in {path.parent for path in files.values()}:
            with suppress(OSError):
                folder.rmdir()

    def keys(self, prefix: str) -> list[str]:
        return self._bucket.keys(prefix)

    def settle(self, prefix: str) -> None:
        """What can be read from a bucket is durable."""
        check_key(prefix)
        self._check_writable()

    def delete(self, keys: Iterable[str]) -> None:
        self._check_writable()
        wanted = list(keys)
        self._bucket.delete(wanted)
        for key in wanted:
            self._cache.remove(key)

    def local_path(self, key: str) -> Path:
        check_key(key)
        filling = self._filling.get(key)
        if filling is not None:
            filling.need_all()
        return self._cache.get(key, lambda path: self._bucket.download(key, path))

    def sparse(self, key: str) -> SparseFile | None:
        check_key(key)
        with self._lock:
            filling = self._filling.get(key)
            if filling is None and self._cache.find(key) is None and (size := self._bucket.size(key)) >= SPARSE_BYTES:

                def keep(path: Path) -> None:
                    self._cache.take_over(key, path)
                    self._filling.pop(key, None)

                path = self._cache.scratch() / "filling"
                filling = SparseFile(path, size, partial(self._bucket.get_range, key), keep)
                self._filling[key] = filling
            return filling

    def close(self) -> None:
        """Fetch no more."""
        with self._lock:
            for filling in list(self._filling.values()):
                filling.close()

    def size(self, key: str) -> int:
        check_key(key)
        found = self._cache.find(key)
        if found is not None:
            with suppress(OSError):
                return found.stat().st_size
        return self._bucket.size(key)

    def scratch(self) -> Path:
        self._check_writable()
        return self._cache.scratch()

    def _check_writable(self) -> None:
        if not self._writable:
            raise ReadOnly("this store is open for reading only: open it for writing")
