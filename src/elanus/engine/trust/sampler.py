"""The sampler: a thread that measures the recall of live searches, within a budget.

Of each collection it takes one query, measures it on the newest picture as it would be answered now, and opens the
watch of the collection for the next one. What it spends is `recall_cpu_ms` of processor time in each second: after each
piece of work (see `measure`) it waits as long as that piece has to last for. Once a case is well known a tenth has to
do. Before a piece it lets searches go first that are in compiled code.

The thread has the priority of any other: it holds the interpreter for some microseconds now and then, and one that the
system passes over while it does would stop everybody.

What cannot be measured without harm is not: vectors that are still being fetched from a bucket, and those that take
more than `MEMORY_SHARE` of the memory, since reading all of them drives out what searches need.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from elanus.engine.precedence import IN_COMPILED_CODE
from elanus.engine.trust.evidence import KEPT
from elanus.model.errors import ElanusError
from elanus.segment.sealed import SealedView

if TYPE_CHECKING:
    from elanus.engine.collection import Collection
    from elanus.engine.planner import SearchRequest
    from elanus.engine.snapshot import Snapshot
    from elanus.model.schema import Schema

_log = logging.getLogger("elanus.jobs")

MOST_WAITING = 1_024
"""Queries that wait, of all collections together: a few megabytes."""

SETTLED = 10
"""So many times less is spent on a case of which `KEPT` queries were measured."""

MEMORY_SHARE = 0.5

GIVE_WAY_S = 0.001
MOST_GIVEN_WAY = 3
"""How often it waits for searches to leave compiled code, before a piece of work. There may always be some."""


class _Stopped(Exception):
    """The database is being closed, or the collection was dropped."""


class Budget:
    """`spend` is called after each piece of work, in the thread that did it, and returns when it is paid for."""

    def __init__(self, cpu_ms_per_s: float, stopped: threading.Event) -> None:
        self._rate = cpu_ms_per_s / 1000
        self._stopped = stopped
        self._began_cpu_s = self._began_s = 0.0
        self.spent_s = 0.0
        """Processor time of all pieces together."""

    def begin(self) -> None:
        """A piece of work begins."""
        self._began_cpu_s, self._began_s = time.thread_time(), time.monotonic()

    def spend(self, times: float = 1.0) -> None:
        """Wait until the last piece is paid for, `times` over. Raises `_Stopped`."""
        used_s = time.thread_time() - self._began_cpu_s
        self.spent_s += used_s
        if self._stopped.wait(max(0.0, self._began_s + times * used_s / self._rate - time.monotonic())):
            raise _Stopped
        given_way = 0
        while IN_COMPILED_CODE and given_way < MOST_GIVEN_WAY:
            given_way += 1
            if self._stopped.wait(GIVE_WAY_S):
                raise _Stopped
        self.begin()


class Sampler:
    """Any thread may call `take`; `cpu_ms_per_s` 0 measures nothing."""

    def __init__(self, cpu_ms_per_s: float) -> None:
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Collection, SearchRequest, Schema]] = deque()
        self._thread: threading.Thread | None = None
        self.budget = Budget(cpu_ms_per_s, self._stopped) if cpu_ms_per_s > 0 else None

    def watch(self, collection: Collection) -> None:
        """Measure searches of `collection` from now on."""
        if self.budget is not None:
            collection.watch.begin(partial(self.take, collection))

    def start(self) -> None:
        if self.budget is not None:
            self._thread = threading.Thread(target=self._loop, name="elanus-recall", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def take(self, collection: Collection, request: SearchRequest, schema: Schema) -> bool:
        """Called by a search, with one of its queries and the schema it is of; whether it is taken."""
        if len(self._waiting) >= MOST_WAITING or self._stopped.is_set():
            return False
        with self._changed:
            self._waiting.append((collection, request, schema))
            self._changed.notify_all()
        return True

    def forget(self, collection: Collection) -> None:
        """It was dropped."""
        collection.watch.end()
        with self._changed:
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not collection)

    def run(self) -> None:
        """Measure all that waits, now, in this thread, whatever it takes."""
        while self._waiting:
            self._measure(*self._waiting.popleft(), None)

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopped.is_set():
                    self._changed.wait()
                if self._stopped.is_set():
                    return
                collection, request, schema = self._waiting.popleft()
            try:
                self._measure(collection, request, schema, self.budget)
            except _Stopped:
                continue
            except Exception as error:  # noqa: BLE001 - the thread has to live on, and nothing is hidden
                _log.warning("a search of collection %d was not measured: %s", collection.id, error, exc_info=True)

    def _measure(self, collection: Collection, request: SearchRequest, schema: Schema, budget: Budget | None) -> None:
        """Measure one query, and let the collection offer another one."""
        times, watch = 1.0, collection.watch

        def rest() -> None:
            if watch.is_over:
                raise _Stopped
            if budget is not None:
                budget.spend(times)

        from elanus.engine.trust.measure import measured

        try:
            if budget is not None:
                budget.begin()
            snapshot = collection.snapshot()
            if snapshot.manifest.schema == schema and measurable(snapshot, request.vector_field.id):
                case, found = measured(snapshot, request, rest, was_asked=True)
                watch.add(case, found)
                times = SETTLED if len(watch.evidence(case)) >= KEPT else 1.0
            rest()
        except _Stopped:
            if self._stopped.is_set():
                raise
        except ElanusError as error:  # what it asks for may be gone; a search says so
            _log.debug("a search of collection %d was not measured: %s", collection.id, error)
        finally:
            watch.open()


def measurable(snapshot: Snapshot, field_id: int) -> bool:
    """Whether all vectors of a field can be read without harm."""
    size = 0
    for unit in snapshot.units:
        if isinstance(unit.view, SealedView) and unit.view.has(field_id):
            field = snapshot.manifest.schema.by_id[field_id]
            if field.is_dense:
                vectors, fetched = unit.view.sparse_vectors(field_id)
                if fetched is not None and not fetched.is_whole:
                    return False
                size += vectors.nbytes
    return size <= MEMORY_SHARE * memory_bytes()


@lru_cache(maxsize=1)
def memory_bytes() -> int:
    """The memory of this machine, or what a control group leaves this process of it."""
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            group = Path("/sys/fs/cgroup") / line.rpartition(":")[2].lstrip("/")
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError):  # there is none, or it says "max"
                    least = min(least, int((folder / "memory.max").read_text()))
    return least
