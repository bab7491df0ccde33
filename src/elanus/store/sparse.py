"""A file of a remote object that is filled while it is in use: what is asked for comes first, the rest behind.

The file has its full length from the beginning and may be mapped; where nothing has come yet it is zero. Whoever reads
from it asks before (`need`). A thread fetches what is missing; when all is there, `keep` gets the file and may rename
it. It stays the same file, so whatever is mapped stays true.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elanus.model.errors import Closed, StoreError
from elanus.store.reasons import store_error

_log = logging.getLogger("elanus.store")

BLOCK_BYTES = 64 << 10
"""What is fetched at least: a request takes as long for less."""

PIECE_BYTES = 8 << 20
"""What the thread asks for at once."""

REST_S = 5.0
"""After a failure the thread waits so long."""

AT_ONCE = 8

Fetch = Callable[[int, int], bytes]
"""(begin, length) -> those bytes of the object."""


class SparseFile:
    """Made with its length and how to fetch; safe to use from any thread."""

    def __init__(self, path: Path, size: int, fetch: Fetch, keep: Callable[[Path], object]) -> None:
        """Make the file. Raises `StoreError`."""
        self.path = path
        self._size = size
        self._fetch = fetch
        self._keep = keep
        self._has = np.zeros(-(-size // BLOCK_BYTES), np.bool_)
        self._closing = threading.Event()
        self._whole = threading.Event()
        self._writing = threading.Lock()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.truncate(self._file, size)
        except OSError as error:
            raise store_error(error, "make", str(path)) from error
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="elanus-fetch")
        self._filler = threading.Thread(target=self._fill, name="elanus-fill", daemon=True)

    def start(self) -> None:
        """Begin to fetch what nobody has asked for: when the file has been mapped, since then it may be renamed."""
        with self._writing:
            if self._filler.ident is None and not self._closing.is_set():
                self._filler.start()

    @property
    def is_whole(self) -> bool:
        return self._whole.is_set()

    def present(self) -> npt.NDArray[np.bool_]:
        """Of each block, whether it is there now."""
        return self._has.copy()

    def lacks(self, begins: npt.NDArray[np.int64], length: int, present: npt.NDArray[np.bool_]) -> bool:
        """Whether of the `length` bytes from each of `begins` on some are in blocks that are not `present`."""
        if length > BLOCK_BYTES:
            return not present[_blocks(begins, length)].all()
        return not (present[begins // BLOCK_BYTES].all() and present[(begins + length - 1) // BLOCK_BYTES].all())

    def need(self, begins: npt.NDArray[np.int64], length: int) -> None:
        """Return when the `length` bytes from each of `begins` on are there. Raises `StoreError`, `Closed`."""
        if self.is_whole:
            return
        blocks = np.unique(_blocks(begins, length))
        missing = blocks[~self._has[blocks]].tolist()
        if missing:
            list(self._submit(lambda block: self._get(block * BLOCK_BYTES, BLOCK_BYTES), missing))

    def need_all(self) -> None:
        """Return when everything is there."""
        if not self.is_whole:
            list(self._submit(lambda piece: self._get(*piece), list(self._pieces())))
            self._finish()

    def close(self) -> None:
        """Fetch no more. What is mapped stays readable as far as it came."""
        self._closing.set()
        if self._filler.is_alive():
            self._filler.join()
        self._pool.shutdown(cancel_futures=True)
        with self._writing:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _submit(self, work: Callable[..., None], items: list[object]) -> Iterator[None]:
        try:
            return self._pool.map(work, items)
        except RuntimeError as error:  # the pool is shut down
            if self.is_whole:
                return iter(())
            raise Closed("the database has been closed: open it again") from error

    def _pieces(self) -> Iterator[tuple[int, int]]:
        """What is missing, in stretches of `PIECE_BYTES` at most."""
        per_piece = PIECE_BYTES // BLOCK_BYTES
        for start in range(0, len(self._has), per_piece):
            missing = np.flatnonzero(~self._has[start : start + per_piece])
            if len(missing):
                first, last = start + int(missing[0]), start + int(missing[-1])
                yield first * BLOCK_BYTES, (last + 1 - first) * BLOCK_BYTES

    def _get(self, begin: int, length: int) -> None:
        """Fetch so many bytes, whole blocks, or up to the end."""
        data = self._fetch(begin, min(length, self._size - begin))
        with self._writing:
            if self._whole.is_set():
                return
            if self._file < 0:
                raise Closed("the database has been closed: open it again")
            try:
                os.pwrite(self._file, data, begin)
            except OSError as error:
                raise store_error(error, "write", str(self.path)) from error
        self._has[begin // BLOCK_BYTES : -(-(begin + len(data)) // BLOCK_BYTES)] = True

    def _finish(self) -> None:
        with self._writing:
            if self._whole.is_set() or not self._has.all():
                return
            try:
                self._keep(self.path)
            except StoreError as error:
                _log.warning("%s is not kept in the cache: %s", self.path, error)
            self._whole.set()
            os.close(self._file)
            self._file = -1
        self._pool.shutdown(wait=False)

    def _fill(self) -> None:
        while not self._closing.is_set():
            try:
                for begin, length in self._pieces():
                    if self._closing.is_set():
                        return
                    self._get(begin, length)
                self._finish()
            except Closed:
                return
            except StoreError as error:
                _log.warning("%s is fetched on in a while: %s", self.path.name, error)
            if self.is_whole or self._closing.wait(REST_S):
                return


def _blocks(begins: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """The blocks (n, most) that hold the `length` bytes from each of `begins` (n,) on; some more than once."""
    first, last = begins // BLOCK_BYTES, (begins + length - 1) // BLOCK_BYTES
    most = int((last - first).max(initial=0)) + 1
    blocks: npt.NDArray[np.int64] = np.minimum(first[:, None] + np.arange(most), last[:, None])
    return blocks
