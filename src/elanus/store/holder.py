"""Who writes to a bucket: a note that the writer keeps fresh, and that whoever opens looks at first.

    <epoch, 20 digits>     JSON: host, namespace, pid, started, beat, held, local_log, local_log_id

The note only warns: what keeps a replaced writer from writing is the log. It is written anew every `BEAT_S`, and when
the writer closes. Of several notes that of the highest epoch counts; the others are of writers that were replaced.

A writer on the same machine that has died is known to be dead, one elsewhere when its note has not changed for
`SILENT_S`: whoever opens waits for that.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import orjson

from elanus.model.errors import AlreadyOpen, KeyNotFound, StoreError, WriterStopped
from elanus.store.bucket import Bucket
from elanus.store.machine import namespace, start_time

_log = logging.getLogger("elanus.store")

BEAT_S = 12.0
"""Two requests each: ten a minute while nothing goes on."""

SILENT_S = 30.0
"""A writer that has missed two beats is taken for dead."""

LOOK_S = 2.5


@dataclass(frozen=True, slots=True)
class Note:
    """`namespace` and `started` say which process `pid` is (see `machine`)."""

    host: str
    namespace: str
    pid: int
    started: str
    beat: int = 0
    held: bool = True
    local_log: str = ""
    local_log_id: str = ""
    """The folder that may hold what the log in the bucket lacks, and what it is known by; "" where none does."""

    @classmethod
    def here(cls) -> Note:
        return cls(platform.node(), namespace(), os.getpid(), start_time(os.getpid()) or "")

    @property
    def is_near(self) -> bool:
        """Whether it can be known at once if its process has ended."""
        return bool(self.namespace) and self.namespace == namespace()

    @property
    def is_dead(self) -> bool:
        return self.is_near and start_time(self.pid) != self.started


class Holder:
    """The notes in a bucket."""

    def __init__(self, bucket: Bucket, local_log: str = "", local_log_id: str = "") -> None:
        self._bucket = bucket
        self._local_log = local_log
        self._local_log_id = local_log_id
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._key = ""
        self._note = Note.here()
        self._check: Callable[[], object] = lambda: None

    def check_free(self, sleep: Callable[[float], object] = time.sleep) -> None:
        """Raise `AlreadyOpen` where another process writes. It may take `SILENT_S` to find out."""
        found = self._newest()
        if found is not None and found.held and not found.is_near:
            _log.info("process %d on %s had %s open: waiting whether it has", found.pid, found.host, self._bucket.url)
            before, waited_s = found, 0.0
            while found == before:
                if waited_s >= SILENT_S:
                    return
                sleep(LOOK_S)
                waited_s += LOOK_S
                found = self._newest()
        if found is None or found.is_dead or not found.held:
            return
        raise AlreadyOpen(
            f"{self._bucket.url} is open for writing in process {found.pid} on {found.host}: close it there, open it "
            "read-only, or take over (--take-over), after which that process writes no more"
        )

    def check_local_log(self, *, take_over: bool) -> None:
        """Raise `StoreError` where the writer before may have acknowledged what is only in a folder that is not ours.

        Whoever is to `take_over` goes on without it, and that is said.
        """
        found = self._newest()
        if found is None or not found.local_log_id or found.local_log_id == self._local_log_id:
            return
        about = (
            f"{self._bucket.url} was written with a local log: what was acknowledged last may be only in "
            f"{found.local_log} on {found.host}"
        )
        if not take_over:
            raise StoreError(f"{about}. Open it with that folder, or take over (--take-over), which gives that up")
        _log.warning("%s, and is given up", about)

    def hold(self, epoch: int, check: Callable[[], object] = lambda: None) -> None:
        """Say that this process writes, until `release`, or until `check` raises because another one does."""
        self._key = f"{epoch:020d}"
        self._check = check
        self._note = replace(Note.here(), local_log=self._local_log, local_log_id=self._local_log_id)
        self._put()
        old = [key for key in self._bucket.keys("") if key < self._key]
        self._bucket.delete(old)
        self._thread = threading.Thread(target=self._beat, name="elanus-beat", daemon=True)
        self._thread.start()

    def release(self, has_left: bool = False) -> None:
        """Say that nobody writes; `has_left` is whether the local log has what the bucket lacks."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._note = replace(self._note, held=False, local_log_id=self._local_log_id if has_left else "")
            with suppress(StoreError):
                self._put()

    def _beat(self) -> None:
        while not self._closing.wait(BEAT_S):
            self._note = replace(self._note, beat=self._note.beat + 1)
            try:
                self._check()
                self._put()
            except WriterStopped:
                return
            except StoreError:  # what stops the writer is not that it cannot say that it is there
                continue

    def _put(self) -> None:
        self._bucket.overwrite(self._key, orjson.dumps(asdict(self._note)))

    def _newest(self) -> Note | None:
        keys = self._bucket.keys("")
        try:
            return Note(**orjson.loads(self._bucket.get(keys[-1]))) if keys else None
        except (KeyNotFound, orjson.JSONDecodeError, TypeError):  # replaced in this moment, or of a later Elanus
            return None
