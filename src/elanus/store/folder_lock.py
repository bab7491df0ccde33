"""One writer per folder: an advisory lock on the file `lock`, which names the process that holds it.

The kernel drops the lock when its process ends, however it ends, so nothing is ever left locked. The pid in the file is
for the message alone.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from elanus.model.errors import AlreadyOpen
from elanus.store.reasons import store_error


class FolderLock:
    """Held from construction to `release`.

    Raises `AlreadyOpen`, naming the holder's pid, when another process has it, and `StoreError` when the folder
    cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise store_error(error, "open for writing", str(folder)) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise AlreadyOpen(
                f"{folder} is open for writing in process {holder}: close it there, or open it read-only"
            ) from error
        self._pid = os.getpid()
        os.truncate(self._fd, 0)
        os.pwrite(self._fd, f"{self._pid}\n".encode(), 0)

    def release(self) -> None:
        """Give the folder free, also where a forked process still has the file open; a forked one frees nothing."""
        if os.getpid() == self._pid:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
