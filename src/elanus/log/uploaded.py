"""The log in local files, which go up to a bucket behind the writes: the weaker mode of a database in a bucket.

A write is acknowledged when it is synced to the local disk, in the time of a sync and not of a request. A thread puts
what has come since it last did into the bucket, each local file as one object, and then deletes the file. So the bucket
has a log as `objects` describes it, and of the writes a prefix.

What can be lost, and what cannot:

* a process that is killed, or a machine that starts again with its disk, loses nothing: the next opening with the same
  disk puts what was left into the bucket, before it does anything else;
* with the disk is lost what was not in the bucket yet. The oldest of that is at most `behind_s` old when it is joined
  by another write, which waits otherwise. So all of it was acknowledged within so long a time;
* the same is lost, also with the disk whole, where another process has taken over before it was in the bucket. Then
  that is said, and the files are set aside.

Whatever else is put into the bucket waits for the log (`settle`): no manifest has what the log lacks.

The files of one opening lie in a folder of their own, which is called by the number and the salt of the fence that this
opening has put. Fences stay for ever: where there is another, the files belong to another database.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from elanus.log.base import LogRecord, check_open, now_s
from elanus.log.file import EndedFile, FileLog
from elanus.log.object_reader import header_of, lengths
from elanus.log.objects import NOTHING, ObjectLog, relabelled
from elanus.log.position import Position
from elanus.log.record import EncodedRecord, RawRecord
from elanus.log.tail import name_of
from elanus.model.errors import Closed, KeyExists, KeyNotFound, StoreError, WriterStopped
from elanus.model.timestamps import milliseconds_of
from elanus.store.bucket import Bucket
from elanus.store.disk import Disk
from elanus.store.reasons import store_error

_log = logging.getLogger("elanus.log")

KEPT, LOST = "log-", "lost-"
"""What the folders of files are called that are to be put, and of those that cannot be any more."""

FILE_BYTES = 8 << 20
"""How long a local file gets, and so an object."""

CLOSE_S = 30.0
"""So long closing waits for the bucket. What is not there then stays on the disk, for the next opening."""

REST_S = 0.2
"""Before what the local disk refused is tried again."""


class Writes(NamedTuple):
    """How many writes there are somewhere, and the timestamps of the first and the last."""

    number: int
    first: int
    last: int

    def __str__(self) -> str:
        if not self.number:
            return "no writes"
        first, last = (
            datetime.fromtimestamp(milliseconds_of(at) / 1000, UTC).isoformat(" ", "milliseconds")
            for at in (self.first, self.last)
        )
        return f"{self.number:,} {'write' if self.number == 1 else 'writes'} acknowledged between {first} and {last}"


class UploadedLog:
    """A `Log` over local files and the `ObjectLog` that they go to; made by `open`. Safe to use from any thread."""

    excludes = False

    def __init__(self, place: Path, files: FileLog, objects: ObjectLog, behind_s: float) -> None:
        self.epoch = objects.epoch
        self._place = place
        self._files = files
        self._objects = objects
        self._behind_s = behind_s
        self._changed = threading.Condition()
        self._since_s: dict[int, float] = {}
        """By the sequence of each local file that has something to put, when the first of it came."""
        self._refused: StoreError | None = None
        """Why the local disk does not give what is to be put."""
        self._failure: str | None = None
        self._closing_s: float | None = None
        """When closing began."""
        self._finishing = False
        self._closed = False
        self._thread = threading.Thread(target=self._upload, name="elanus-upload", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, disk: Disk, bucket: Bucket, kept_s: float, behind_s: float) -> UploadedLog:
        """Put into the bucket what an earlier process has left on `disk`, then open for write, and fence.

        The caller holds the lock of the disk's root. What another process keeps from being put is set aside, and that
        is said. Raises `CorruptData` where files or objects are damaged, `StoreError`, also where what was left belongs
        to another database.
        """
        for folder in disk.folders(""):
            if folder.startswith(KEPT):
                _put_left(disk, folder, bucket)
        objects = ObjectLog.open(bucket, kept_s)
        fence = objects.end.sequence
        folder = f"{KEPT}{fence}-{header_of(bucket, fence).salt:016x}"
        files = FileLog.open(disk, folder, FILE_BYTES, first=fence + 1, epoch=objects.epoch, fences=False)
        return cls(disk.path(folder), files, objects, behind_s)

    # --- what there is ---------------------------------------------------------------------------------------------

    @property
    def end(self) -> Position:
        return self._files.end

    @property
    def byte_size(self) -> int:
        return self._objects.byte_size + self._files.byte_size

    @property
    def oldest_ms(self) -> int | None:
        return self._objects.oldest_ms or self._files.oldest_ms

    @property
    def replaced(self) -> bool:
        return self._objects.replaced

    @property
    def has_left(self) -> bool:
        """Whether something is not in the bucket yet."""
        return bool(self._since_s)

    # --- writing ---------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[tuple[EncodedRecord, int]]) -> list[Position]:
        """As `Log.append`, durable on the local disk. Waits while the bucket is more than `behind_s` behind."""
        with self._changed:
            self._wait(lambda: now_s() - min(self._since_s.values(), default=now_s()) <= self._behind_s)
            began_s = now_s()
            positions = self._files.append(records)
            self._since_s.setdefault(positions[0].sequence, began_s)
            self._changed.notify_all()
            return positions

    def publish(self) -> None:
        """Those who follow read the bucket."""

    def is_published(self) -> bool:
        return True

    def settle(self) -> None:
        """Return when all that was appended before is in the bucket. Raises `WriterStopped`, `StoreError`, `Closed`."""
        with self._changed:
            last = max(self._since_s, default=0)
            self._wait(lambda: min(self._since_s, default=last + 1) > last)

    def rotate(self) -> int:
        with self._changed:
            self._check_usable()
            return self._files.rotate()

    def drop_before(self, sequence: int) -> None:
        self.settle()  # what was carried forward comes before the object that gives up what it was carried from
        if self._objects.give_up(sequence):
            self.append([NOTHING])
            self.settle()
            self._objects.delete_dropped()

    def check_writer(self) -> None:
        self._objects.check_writer()

    def begin_close(self) -> None:
        """From now on nothing waits for the bucket longer than `CLOSE_S`."""
        with self._changed:
            self._closing_s = now_s()
            self._changed.notify_all()

    def finish(self) -> None:
        """Put what there is; nothing is appended any more. What is not in the bucket after `CLOSE_S` stays here."""
        with self._changed:
            if self._finishing:
                return
            self._finishing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S)
        if self.has_left:
            _log.warning(
                "not in the bucket yet, but in %s, are %s: the next opening with this folder puts them there",
                self._place, self._left(),
            )  # fmt: skip

    def close(self) -> None:
        self.finish()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._files.close()
        if not self._thread.is_alive():
            self._objects.close()

    # --- reading ---------------------------------------------------------------------------------------------------

    def read(self, start: Position = Position(0, 0)) -> Iterator[tuple[Position, LogRecord]]:
        """As `Log.read`, out of the bucket."""
        self.settle()
        yield from self._objects.read(start)

    # --- the thread that puts --------------------------------------------------------------------------------------

    def _upload(self) -> None:
        try:
            while self._wait_for_more():
                self._put_all()
        except Closed:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, writers must not wait for this thread
            self._stop(error)

    def _wait_for_more(self) -> bool:
        """Whether there is something to put; False when there will be nothing more."""
        with self._changed:
            self._changed.wait_for(lambda: self._since_s or self._finishing)
            return bool(self._since_s)

    def _put_all(self) -> None:
        """Put what there is now; what comes meanwhile goes into the next file."""
        refused = _refusal(self.rotate)  # of a full disk, say: what goes up frees some of it
        refused = _refusal(self._put_ended) or refused
        if refused is not None:
            with self._changed:
                self._refused = refused
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed, REST_S)
                check_open(self._closed)

    def _put_ended(self) -> None:
        self._drop()  # where that failed before
        for file in self._files.ended(self._objects.end.sequence + 1):
            self._objects.put_file(file)
            with self._changed:
                self._since_s.pop(file.header.sequence, None)
                self._changed.notify_all()
                check_open(self._closed)
            self._drop()

    def _drop(self) -> None:
        """Delete the files that are in the bucket. Where that cannot be done it is tried again with the next ones."""
        error = _refusal(lambda: self._files.drop_before(self._objects.end.sequence + 1))
        if error is not None:
            _log.info("what is in the bucket stays in %s for now: %s", self._place, error)

    def _stop(self, error: BaseException) -> None:
        with self._changed:
            if self._closed:  # the folder may be another opening's already
                return
            self._failure = (
                "another process has taken over"
                if self.replaced
                else self._objects.failure or f"putting it into the bucket failed: {error}"
            )
            self._changed.notify_all()
        left = self._left()
        if self.replaced:
            self._failure += f". Lost are {left}, which are only in {self._place}"
            _log.error("%s: the next opening with this folder sets them aside", self._failure)
        else:
            self._failure += f". Only in {self._place} are {left}: the next opening with this folder puts them there"
            _log.error("%s", self._failure, exc_info=None if isinstance(error, WriterStopped) else error)

    def _left(self) -> str:
        """What is not in the bucket, in words."""
        try:
            return str(_writes(self._files, self._objects.end.sequence + 1))
        except StoreError as error:
            return f"writes that cannot be read ({error})"

    # --- steps, all under `_changed` -------------------------------------------------------------------------------

    def _wait(self, done: Callable[[], bool]) -> None:
        self._check_usable()
        before = self._refused
        while not done():
            left_s = None if self._closing_s is None else self._closing_s + CLOSE_S - now_s()
            check_open(left_s is not None and left_s <= 0)
            self._changed.wait(left_s)
            self._check_usable()
            if self._refused is not before and not done():
                raise StoreError(str(self._refused))

    def _check_usable(self) -> None:
        check_open(self._closed)
        failure = self._failure or self._objects.failure
        if failure is not None:
            raise WriterStopped(f"nothing more is acknowledged, because {failure}")


def _refusal(step: Callable[[], object]) -> StoreError | None:
    """What `step` failed of, where it may be tried again. Raises `WriterStopped`, `Closed`."""
    try:
        step()
    except (WriterStopped, Closed):
        raise
    except StoreError as error:
        return error
    return None


def _put_left(disk: Disk, folder: str, bucket: Bucket) -> None:
    """Put what an earlier process has left in `folder`, or set it aside; then `folder` is gone."""
    files = FileLog.open(disk, folder, FILE_BYTES, fences=False)
    try:
        if files.cut is not None:
            _log.warning("a torn tail was cut from %s, which no acknowledged write leaves: %s", *files.cut)
        left, lost = _writes(files), Writes(0, 0, 0)  # this reads it all, and finds what is damaged
        if left.number:
            _log.info("in %s the process before has left %s", disk.path(folder), left)
            _check_database(disk, folder, bucket)
            for file in files.ended(with_last=True):
                if not _put(file, bucket):
                    lost = _writes(files, file.header.sequence)
                    break
                files.drop_before(file.header.sequence + 1)
    finally:
        files.close()
    try:
        if lost.number:
            aside = folder.replace(KEPT, LOST)
            _log.error(
                "lost are %s: another process took over before they were in %s. They are set aside in %s",
                lost, bucket.url, disk.path(aside),
            )  # fmt: skip
            disk.path(folder).rename(disk.path(aside))
        else:
            for name in disk.names(folder):
                disk.unlink(f"{folder}/{name}")
            disk.remove_folder(folder)
        disk.sync_folder("")
    except OSError as error:
        raise store_error(error, "clear", str(disk.path(folder))) from error


def _check_database(disk: Disk, folder: str, bucket: Bucket) -> None:
    """Raise `StoreError` unless the bucket has the fence that `folder` is called by."""
    sequence, _, salt = folder.removeprefix(KEPT).partition("-")
    with suppress(KeyNotFound):
        if header_of(bucket, int(sequence)).salt == int(salt, 16):
            return
    raise StoreError(
        f"{disk.path(folder)} holds writes to another database that was at {bucket.url}: open that one, or name "
        "another folder for this one"
    )


def _put(file: EndedFile, bucket: Bucket) -> bool:
    """Put a file where it belongs, unless it has been put before; False where another process has taken its place."""
    sequence = file.header.sequence
    try:
        oldest = header_of(bucket, sequence - 1).previous_end
    except KeyNotFound:
        # It has been given up, and this one may have been, too; what says so comes after it.
        if max(lengths(bucket)) > sequence:
            return True
        raise
    try:
        bucket.put(name_of(sequence), relabelled(file, oldest))
    except KeyExists:
        return header_of(bucket, sequence).salt == file.header.salt
    return True


def _writes(files: FileLog, first: int = 0) -> Writes:
    """Those in the files from the sequence `first` on."""
    found = Writes(0, 0, 0)
    for _, record in files.read(Position(first, 0)):
        if isinstance(record, RawRecord):
            found = Writes(found.number + 1, found.first or record.timestamp, record.timestamp)
    return found
