"""One writer per folder: an advisory lock on the file `lock`, which names the process that holds it.

The kernel drops the lock when its process ends, however it ends, so nothing is ever left locked. The pid in the file is
for the message, and for whoever takes over: it ends that process, once the kernel has confirmed that it holds the lock.
A process that no longer runs writes nothing more, so that fences it for good.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from elanus.model.errors import AlreadyOpen
from elanus.store.reasons import store_error

GRACE_S = 10.0
"""A process that is asked to end has so long to finish what it is at."""

_LOOK_S = 0.02


class FolderLock:
    """Held from construction to `release`.

    Raises `AlreadyOpen`, naming the holder's pid, when another process has it, also where it is to `take_over` and
    cannot end that process, and `StoreError` when the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, take_over: bool = False) -> None:
        try:
            self._fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise store_error(error, "open for writing", str(folder)) from error
        if not (self._is_free() or (take_over and self._end_holder())):
            holder = self._holder() or "unknown"
            os.close(self._fd)
            raise AlreadyOpen(
                f"{folder} is open for writing in process {holder}"
                + (
                    ", which cannot be ended from here: close it there"
                    if take_over
                    else ": close it there, open it read-only, or take over (--take-over), which ends that process"
                )
            )
        self._pid = os.getpid()
        about = f"{self._pid}\n".encode()
        os.pwrite(self._fd, about, 0)
        os.truncate(self._fd, len(about))

    def release(self) -> None:
        """Give the folder free, also where a forked process still has the file open; a forked one frees nothing."""
        if os.getpid() == self._pid:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)

    def _is_free(self) -> bool:
        """Whether the lock is now held by this process."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _holder(self) -> str:
        return os.pread(self._fd, 32, 0).decode(errors="replace").strip()

    def _end_holder(self) -> bool:
        """Ask the holder to end, and make it where it does not; whether the lock is now held by this process."""
        holder = self._holder()
        if not holder.isdecimal() or int(holder) == os.getpid() or not hasattr(os, "pidfd_open"):
            return False
        try:
            process = os.pidfd_open(int(holder))
        except OSError:
            return self._is_free()
        try:
            if not self._holds(int(holder)):
                return self._is_free()
            with suppress(OSError):
                signal.pidfd_send_signal(process, signal.SIGTERM)
                if _within(0 if _is_stopped(int(holder)) else GRACE_S, self._is_free):
                    return True
                signal.pidfd_send_signal(process, signal.SIGKILL)
            return _within(GRACE_S, self._is_free)
        finally:
            os.close(process)

    def _holds(self, pid: int) -> bool:
        """Whether the kernel says that this process took the lock, and has the file open."""
        about = os.fstat(self._fd)
        inode = about.st_ino
        if not _has_open(pid, about):
            return False  # a later process with its number: a forked one still holds the lock
        with suppress(OSError):
            locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
            return any(
                fields[1] == "FLOCK" and fields[4] == str(pid) and fields[5].rpartition(":")[2] == str(inode)
                for fields in locks
                if len(fields) > 5
            )
        return False


def _has_open(pid: int, about: os.stat_result) -> bool:
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                if os.path.samestat(file.stat(), about):
                    return True
    return False


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK_S)
    return True


def _is_stopped(pid: int) -> bool:
    """Whether a process has been stopped by a signal, and hears no other but SIGKILL."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    return False
