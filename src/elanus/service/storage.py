"""Where a database lies: a folder, or a bucket of an object store.

A folder holds

    lock                 who has it open for writing
    acknowledged         how far the log is acknowledged, for those who read
    log/                 the write-ahead log
    store/catalog/       versions of the catalog
    store/collections/   manifests and segments, by collection id

and a bucket the same without these two, but with

    writer/              who has it open for writing

There the log itself lets one writer go on. With a local log (see `log/uploaded.py`) it is in a folder first.
"""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from elanus.catalog.catalog import PREFIX as CATALOG
from elanus.engine.config import EngineConfig
from elanus.log.acknowledged import NAME, Acknowledged, AcknowledgedView
from elanus.log.base import Log, LogReader
from elanus.log.file import FileLog
from elanus.log.file_reader import FileLogReader
from elanus.model.errors import InvalidParameter, StoreError
from elanus.store.base import Store
from elanus.store.disk import Disk, LocalDisk
from elanus.store.folder_lock import FolderLock
from elanus.store.local import LocalStore
from elanus.store.reasons import store_error

if TYPE_CHECKING:
    from elanus.store.cache import Cache

_log = logging.getLogger("elanus.service")

LOG_PATIENCE_S = 600.0
"""A bucket that does not answer is asked for so long before the writer stops: then it has to be opened again."""


PROBE_PATIENCE_S = 10.0
"""An opening says sooner that it gets no answer: the URL or the credentials may be wrong."""


_ID, _ID_LENGTH = "id", 32
"""The file in a folder for a local log that says what it is known by, and how long that is."""


class Storage(NamedTuple):
    store: Store
    log: Log


class ReadingStorage(NamedTuple):
    store: Store
    log: LogReader


def is_url(path: str | os.PathLike[str]) -> bool:
    return "://" in os.fspath(path)


def open_folder(root: Path, disk: Disk | None, closing: ExitStack, *, take_over: bool = False) -> Storage:
    """The folder `root`, for writing; made where there is none. `closing` gets what has to be closed.

    Raises `AlreadyOpen` while another process has it open, unless this one is to `take_over`, which ends that one;
    `CorruptData`, `StoreError`.
    """
    disk = disk or LocalDisk(root)
    try:
        disk.make_folder("")
    except OSError as error:
        raise store_error(error, "make the folder", str(root)) from error
    lock = FolderLock(root, take_over=take_over)
    closing.callback(lock.release)
    store = LocalStore(disk)
    log = FileLog.open(disk)
    closing.callback(log.close)
    log.publish_to(_acknowledged(root, log, closing))
    if log.cut is not None:
        name, tail = log.cut
        _log.warning(
            "%s: a torn tail of %d bytes at byte %d was cut, which no acknowledged write leaves: %s",
            name, tail.byte_count, tail.offset, tail.reason,
        )  # fmt: skip
    return Storage(store, log)


def read_folder(root: Path, closing: ExitStack) -> ReadingStorage:
    """The folder `root`, for reading, beside the process that writes if there is one.

    Raises `StoreError` where there is no database.
    """
    if not (root / "store" / CATALOG).is_dir():
        raise no_database(root)
    log = FileLogReader(root / "log", AcknowledgedView(root))
    closing.callback(log.close)
    return ReadingStorage(LocalStore(LocalDisk(root), writable=False), log)


def no_database(place: Path | str) -> StoreError:
    return StoreError(f"{place} is no database: there is no store/{CATALOG}. Name one that Elanus has made.")


def _acknowledged(folder: Path, log: Log, closing: ExitStack) -> Acknowledged:
    try:
        acknowledged = Acknowledged(folder, log.end)
    except OSError as error:
        raise store_error(error, "write", str(folder / NAME)) from error
    closing.callback(acknowledged.close)
    return acknowledged


def open_bucket(
    url: str, settings: EngineConfig, closing: ExitStack, told: Path | None = None, *, take_over: bool = False
) -> Storage:
    """The database at `url`, for writing. Whoever had it open before can write no more.

    In the folder `told`, if one is given, readers on this machine are told what is acknowledged.
    Raises `AlreadyOpen` where another process writes, unless this one is to `take_over`.
    Raises `InvalidParameter` for what names no bucket, and for a local log where others are told; `CorruptData`;
    `StoreError` also for a store whose conditional puts do not exclude, and where the writer before had another local
    log, unless this one is to `take_over`.
    """
    from elanus.log.objects import ObjectLog  # they load what only buckets need
    from elanus.log.uploaded import UploadedLog
    from elanus.store.bucket import Bucket
    from elanus.store.holder import Holder
    from elanus.store.remote import RemoteStore

    if settings.local_log and told is not None:
        raise InvalidParameter(
            "a local log goes with one worker: others read the log in the bucket, which is behind it"
        )
    url = url.rstrip("/")
    local = _local_log(url, settings, closing, take_over=take_over)
    Bucket(url, patience_s=PROBE_PATIENCE_S).probe()
    store = RemoteStore(Bucket(f"{url}/store"), _cache(url, settings, closing))
    closing.callback(store.close)
    about = (settings.local_log, local.id) if local is not None else ("", "")
    holder = Holder(Bucket(f"{url}/writer", patience_s=PROBE_PATIENCE_S), *about)
    if not take_over:
        holder.check_free()
    holder.check_local_log(take_over=take_over)
    bucket = Bucket(f"{url}/log", patience_s=LOG_PATIENCE_S)
    log: Log
    if local is not None:
        log = uploaded = UploadedLog.open(local.disk, bucket, settings.log_kept_s, settings.local_log_s)
        closing.callback(log.close)
        store.before_put = uploaded.settle
        closing.callback(lambda: holder.release(uploaded.has_left))
        closing.callback(uploaded.finish)
    else:
        log = objects = ObjectLog.open(bucket, settings.log_kept_s)
        closing.callback(log.close)
        if told is not None:
            objects.publish_to(_acknowledged(told, log, closing))
        closing.callback(holder.release)
    holder.hold(log.epoch, log.check_writer)
    return Storage(store, log)


class _LocalLog(NamedTuple):
    """The folder for the log of a database in a bucket, and what it is known by wherever it is mounted."""

    disk: LocalDisk
    id: str


def _local_log(url: str, settings: EngineConfig, closing: ExitStack, *, take_over: bool) -> _LocalLog | None:
    """The folder for the log of the database at `url`, locked; None where the bucket alone has the log."""
    if not settings.local_log:
        return None
    if settings.local_log_s <= 0:
        raise InvalidParameter(f"local_log_s is a time in seconds, more than 0; got {settings.local_log_s}")
    folder = _folder_of(url, Path(settings.local_log))
    disk = LocalDisk(folder)
    try:
        disk.make_folder("")
        closing.callback(FolderLock(folder, take_over=take_over).release)
        with suppress(FileNotFoundError):
            known = disk.read(_ID).decode()
            if len(known) == _ID_LENGTH:
                return _LocalLog(disk, known)
            disk.unlink(_ID)  # its process was killed in the middle of the next lines
        made = secrets.token_hex(_ID_LENGTH // 2)
        file = disk.create(_ID)
        try:
            file.write(0, [made.encode()])
            file.sync()
        finally:
            file.close()
        disk.sync_folder("")
    except OSError as error:
        raise store_error(error, "make the folder", str(folder)) from error
    return _LocalLog(disk, made)


def _folder_of(url: str, folder: Path) -> Path:
    """The part of `folder` that belongs to the database at `url`."""
    return folder.expanduser().absolute() / xxhash.xxh3_64_hexdigest(url.encode())


def read_bucket(url: str, settings: EngineConfig, closing: ExitStack, told: Path | None = None) -> ReadingStorage:
    """The database at `url`, for reading; `told` as in `open_bucket`.

    Raises `InvalidParameter`, `StoreError` where there is no database.
    """
    from elanus.log.object_reader import ObjectLogReader
    from elanus.store.bucket import Bucket
    from elanus.store.remote import RemoteStore

    url = url.rstrip("/")
    store = RemoteStore(Bucket(f"{url}/store"), _cache(url, settings, closing), writable=False)
    closing.callback(store.close)
    if not Bucket(f"{url}/store", patience_s=PROBE_PATIENCE_S).keys(f"{CATALOG}/"):
        raise no_database(url)
    log = ObjectLogReader(Bucket(f"{url}/log"), AcknowledgedView(told) if told is not None else None)
    closing.callback(log.close)
    return ReadingStorage(store, log)


def _cache(url: str, settings: EngineConfig, closing: ExitStack) -> Cache:
    from elanus.store.cache import Cache

    folder = Path(settings.cache_folder) if settings.cache_folder else _cache_folder()
    cache = Cache(_folder_of(url, folder), settings.cache_bytes)
    closing.callback(cache.close)
    return cache


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "elanus"
