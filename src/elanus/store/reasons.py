"""From an `OSError` to a `StoreError` that says what was being done, why it failed and what to do."""

from __future__ import annotations

import errno
import os

from elanus.model.errors import StoreError

_ADVICE = {
    errno.ENOSPC: "The disk is full: free space on it and try again.",
    errno.EDQUOT: "The disk quota is used up: free space or raise the quota, and try again.",
    errno.EMFILE: "This process has too many files open: raise the limit (ulimit -n) and start it again.",
    errno.ENFILE: "The system has too many files open: close some or raise fs.file-max, and try again.",
    errno.EACCES: "Give the user who runs Elanus the right to read and write this folder.",
    errno.EPERM: "Give the user who runs Elanus the right to read and write this folder.",
    errno.EROFS: "The file system is mounted read-only: mount it for writing, or open for reading only.",
    errno.EIO: "The device failed: look into the system's log, check the disk, and have a backup at hand.",
    errno.ENOENT: "The file or its folder is gone: nothing but Elanus may move or remove files below its root.",
}


def store_error(error: OSError, doing: str, name: str) -> StoreError:
    """The error to raise `from error` when `doing` something to the file `name` failed."""
    return StoreError(f"cannot {doing} {name}: {reason(error)}.{advice(error)}")


def reason(error: OSError) -> str:
    """The operating system's words for `error`."""
    if error.errno is None:
        return str(error)
    return f"{error.strerror or os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"


def advice(error: OSError) -> str:
    """What to do, as a sentence that begins with a space; empty where there is nothing to say."""
    known = _ADVICE.get(error.errno) if error.errno is not None else None
    return f" {known}" if known else ""
