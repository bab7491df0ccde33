"""Where a database lies: a folder, or a bucket of an object store.

A folder holds

    lock                 who has it open for writing
    log/                 the write-ahead log
    store/catalog/       versions of the catalog
    store/collections/   manifests and segments, by collection id

and a bucket the same without the lock: there the log itself lets one writer go on.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import xxhash

from elanus.engine.config import EngineConfig
from elanus.log.base import Log
from elanus.log.file import FileLog
from elanus.store.base import Store
from elanus.store.disk import Disk, LocalDisk
from elanus.store.folder_lock import FolderLock
from elanus.store.local import LocalStore
from elanus.store.reasons import store_error

_log = logging.getLogger("elanus.service")

LOG_PATIENCE_S = 600.0
"""A bucket that does not answer is asked for so long before the writer stops: then it has to be opened again."""


PROBE_PATIENCE_S = 10.0
"""An opening says sooner that it gets no answer: the URL or the credentials may be wrong."""


class Storage(NamedTuple):
    store: Store
    log: Log


def is_url(path: str | os.PathLike[str]) -> bool:
    return "://" in os.fspath(path)


def open_folder(root: Path, disk: Disk | None, closing: ExitStack) -> Storage:
    """The folder `root`, for writing; made where there is none. `closing` gets what has to be closed.

    Raises `AlreadyOpen` while another process has it open, `CorruptData`, `StoreError`.
    """
    disk = disk or LocalDisk(root)
    try:
        disk.make_folder("")
    except OSError as error:
        raise store_error(error, "make the folder", str(root)) from error
    lock = FolderLock(root)
    closing.callback(lock.release)
    store = LocalStore(disk)
    log = FileLog.open(disk)
    closing.callback(log.close)
    if log.cut is not None:
        name, tail = log.cut
        _log.warning(
            "%s: a torn tail of %d bytes at byte %d was cut, which no acknowledged write leaves: %s",
            name, tail.byte_count, tail.offset, tail.reason,
        )  # fmt: skip
    return Storage(store, log)


def open_bucket(url: str, settings: EngineConfig, closing: ExitStack) -> Storage:
    """The database at `url`, for writing. Whoever had it open before can write no more.

    Raises `InvalidParameter` for what names no bucket, `CorruptData`, and `StoreError` also for a store whose
    conditional puts do not exclude.
    """
    from elanus.log.objects import ObjectLog  # they load what only buckets need
    from elanus.store.bucket import Bucket
    from elanus.store.cache import Cache
    from elanus.store.remote import RemoteStore

    url = url.rstrip("/")
    Bucket(url, patience_s=PROBE_PATIENCE_S).probe()
    folder = Path(settings.cache_folder) if settings.cache_folder else _cache_folder()
    cache = Cache(folder.expanduser() / xxhash.xxh3_64_hexdigest(url.encode()), settings.cache_bytes)
    closing.callback(cache.close)
    store = RemoteStore(Bucket(f"{url}/store"), cache)
    log = ObjectLog.open(Bucket(f"{url}/log", patience_s=LOG_PATIENCE_S))
    closing.callback(log.close)
    return Storage(store, log)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "elanus"
