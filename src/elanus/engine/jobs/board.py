"""When jobs run: two background threads, one that seals and cuts the log, one that merges, builds and collects.

Sealing bounds memory and the log, so it never waits behind an index build. Each thread sleeps until a write or a
commit wakes it, or until the next deadline it knows of; a quiet database uses no CPU. A job that fails leaves
everything as it was, is remembered as the collection's `job_error`, and is tried again after a pause that doubles.

With `config.background` off nothing runs by itself: `flush`, `compact` and `run_due` do the same work in the
caller's thread, which is how tests reach every state without waiting.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from elanus.engine.config import EngineConfig
from elanus.engine.jobs import policy
from elanus.engine.jobs.collect import collect
from elanus.engine.jobs.cover import COVER_ROWS, cover
from elanus.engine.jobs.improve import (
    build_index,
    due_build,
    due_merge,
    lost_paths,
    merge,
    restore_paths,
    segment_facts,
)
from elanus.engine.jobs.seal import seal
from elanus.engine.trust.sampler import Sampler
from elanus.model.errors import ElanusError, MemoryLimit
from elanus.model.timestamps import Clock

if TYPE_CHECKING:
    from elanus.engine.builders import Builders
    from elanus.engine.collection import Collection

_log = logging.getLogger("elanus.jobs")

RETRY_FIRST_S, RETRY_MOST_S = 1.0, 60.0
MAKE_ROOM_TIMEOUT_S = 60.0


def run(job: Iterator[str]) -> None:
    """Run a job to its end."""
    for _ in job:
        pass


class JobBoard:
    def __init__(
        self, config: EngineConfig, clock: Clock, builders: Builders, cut_log: Callable[[], float | None]
    ) -> None:
        """`cut_log` shortens the log if it is due and returns in how many seconds it will be, None if never."""
        self.config = config
        self.clock = clock
        self.builders = builders
        self._cut_log = cut_log
        self._changed = threading.Condition()
        self._to_seal: dict[Collection, float] = {}
        self._to_improve: dict[Collection, float] = {}
        self._waiting = 0
        self._closing = False
        self.sampler = Sampler(config.recall_cpu_ms)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        if not self.config.background:
            return
        for name, work, queue in (
            ("elanus-seal", self._seal_due, self._to_seal),
            ("elanus-improve", self._improve_due, self._to_improve),
        ):
            thread = threading.Thread(target=self._loop, args=(work, queue), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        self.sampler.start()

    def close(self) -> None:
        """Stop after the steps under way; what is not committed is garbage, nothing is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.sampler.close()
        self.builders.close()
        for thread in self._threads:
            thread.join()

    # --- asked for -------------------------------------------------------------------------------------------------

    def rows_arrived(self, collection: Collection) -> None:
        """Called after every group commit: cheap, wakes the sealer only when there may be something to do."""
        step = 2 * collection.follower.growing_rows // COVER_ROWS  # chunks do not begin at multiples of it
        if step != collection.cover_step or self._seal_in_s(collection) == 0:
            collection.cover_step = step
            self._put(self._to_seal, collection, self.clock.monotonic_s())
        elif collection not in self._to_seal:
            self._put(self._to_seal, collection, self.clock.monotonic_s() + self.config.seal_idle_s)

    def opened(self, collection: Collection) -> None:
        """Called at a collection's first touch: work that was left over by an earlier process is taken up again."""
        if collection.follower.growing_rows:
            self.rows_arrived(collection)
        expires = collection.expiry.look_again_s(collection.snapshot()) is not None
        if expires or due_merge(collection) or due_build(collection) is not None:
            self.wake(collection)

    def wake(self, collection: Collection) -> None:
        """Something changed that may call for a merge, an index or a collection of garbage."""
        self._put(self._to_improve, collection, self.clock.monotonic_s())

    def flush(self, collection: Collection) -> None:
        """Seal everything written before this call. Raises what sealing failed of; the rows stay in the log then."""
        with collection.seal_mutex:
            run(seal(collection))
            if collection.follower.has_unsealed():
                run(seal(collection))
        self._put(self._to_seal, collection, self.clock.monotonic_s())  # the log may be cut now
        self.wake(collection)

    def compact(self, collection: Collection) -> None:
        """Merge all sealed segments as far as the size limit allows, and build what indexes are missing."""
        self.flush(collection)
        with self._awaited(), collection.improve_mutex:
            chosen = tuple(collection.manifest.segments)
            if len(chosen) > 1 or any(s.dead for s in segment_facts(collection)):
                run(merge(collection, chosen, self.builders))
            self._build_missing(collection)

    def wait_for_indexes(self, collection: Collection) -> None:
        with self._awaited(), collection.improve_mutex:
            self._build_missing(collection)

    def run_due(self, collection: Collection) -> None:
        """Do all improvements that are due for `collection`, now, in this thread.

        Once it is dropped nothing is: what is committed then is not shown any more, and would be due for ever.
        """
        with collection.improve_mutex:
            while not collection.dropped:
                chosen = due_merge(collection)
                if chosen:
                    run(merge(collection, chosen, self.builders))
                    continue
                build = due_build(collection)
                if build is None:
                    break
                run(build_index(collection, *build, self.builders))
            self._restore_lost(collection)
            run(collect(collection))

    def make_room(self, collection: Collection) -> None:
        """Wait until growing memory is under its bound. Raises `MemoryLimit` when sealing does not keep up."""
        if collection.follower.growing_bytes < self.config.unsealed_bytes:
            return
        if not self.config.background:
            self.flush(collection)
            return
        with self._changed:
            self._to_seal[collection] = self.clock.monotonic_s()
            self._changed.notify_all()
            room = self._changed.wait_for(
                lambda: collection.follower.growing_bytes < self.config.unsealed_bytes, MAKE_ROOM_TIMEOUT_S
            )
        if not room:
            raise MemoryLimit(
                f"{collection.follower.growing_bytes >> 20} MiB of rows wait to be sealed, the bound is "
                f"{self.config.unsealed_bytes >> 20} MiB: {collection.job_error or 'the disk does not keep up'}. "
                "Try again later."
            )

    @contextmanager
    def _awaited(self) -> Iterator[None]:
        """Let builders compete for the processor while a caller waits for them: at idle priority they may never end."""
        with self._changed:
            self._waiting += 1
            self.builders.raise_priority(urgent=True)
        try:
            yield
        finally:
            with self._changed:
                self._waiting -= 1
                self.builders.raise_priority(urgent=self._waiting > 0)

    # --- the two threads -------------------------------------------------------------------------------------------

    def forget(self, collection: Collection) -> None:
        """It was dropped: let go of it, and of the rows that it holds in memory, before its next job is due."""
        self.sampler.forget(collection)
        with self._changed:
            for queue in (self._to_seal, self._to_improve):
                queue.pop(collection, None)

    def _put(self, queue: dict[Collection, float], collection: Collection, due_s: float) -> None:
        with self._changed:
            queue[collection] = min(due_s, queue.get(collection, due_s))
            self._changed.notify_all()

    def _loop(self, work: Callable[[Collection], float | None], queue: dict[Collection, float]) -> None:
        pauses: dict[Collection | None, float] = {}
        log_due_s: float | None = None
        if queue is self._to_seal:
            log_due_s = self.clock.monotonic_s() + self.config.seal_idle_s  # what an earlier process left of it
        while True:
            with self._changed:
                while not self._closing:
                    now_s = self.clock.monotonic_s()
                    next_s = min([*queue.values(), *([] if log_due_s is None else [log_due_s])], default=None)
                    if next_s is not None and next_s <= now_s:
                        break
                    self._changed.wait(None if next_s is None else next_s - now_s)
                if self._closing:
                    return
                due = [c for c, at in queue.items() if at <= now_s]
                for collection in due:
                    del queue[collection]
            for collection in due:
                if collection.dropped:
                    continue
                again_s = self._guarded(partial(work, collection), collection, pauses)
                if again_s is not None:
                    self._put(queue, collection, self.clock.monotonic_s() + again_s)
            if queue is self._to_seal:
                wait_s = self._guarded(self._cut_log, None, pauses)
                log_due_s = None if wait_s is None else self.clock.monotonic_s() + wait_s
                with self._changed:
                    self._changed.notify_all()

    def _guarded(
        self, work: Callable[[], float | None], collection: Collection | None, pauses: dict[Collection | None, float]
    ) -> float | None:
        """Do `work`; a failure is remembered and tried again later. Returns in how many seconds to come back.

        Whatever is raised, the thread has to live on: without it nothing would be sealed any more.
        """
        try:
            again_s = work()
        except Exception as error:  # noqa: BLE001 - see above; nothing is hidden, it is logged and kept as `job_error`
            if self._closing:
                return None
            pause_s = pauses[collection] = min(RETRY_MOST_S, 2 * pauses.get(collection, RETRY_FIRST_S / 2))
            if collection is not None:
                collection.job_error = error
            whose = f"of collection {collection.id}" if collection is not None else "on the log"
            _log.warning("job %s failed, next try in %g s: %s", whose, pause_s, error, exc_info=not _expected(error))
            return pause_s
        pauses.pop(collection, None)
        if collection is not None:
            collection.job_error = None
        return again_s

    def _seal_due(self, collection: Collection) -> float | None:
        if self._seal_in_s(collection) == 0 or collection.follower.is_frozen:
            with collection.seal_mutex:
                run(seal(collection))
            self.wake(collection)
        run(cover(collection))
        return self._seal_in_s(collection)

    def _seal_in_s(self, collection: Collection) -> float | None:
        follower = collection.follower
        age_s = (self.clock.now_ms() - follower.growing_since_ms) / 1000
        return policy.seal_in_s(follower.growing_rows, follower.growing_bytes, age_s, self.config)

    def _improve_due(self, collection: Collection) -> float | None:
        self.run_due(collection)
        return collection.expiry.look_again_s(collection.snapshot())

    def _build_missing(self, collection: Collection) -> None:
        while not collection.dropped and (build := due_build(collection)) is not None:
            run(build_index(collection, *build, self.builders))
        self._restore_lost(collection)

    def _restore_lost(self, collection: Collection) -> None:
        for segment, field_id in lost_paths(collection):
            run(restore_paths(collection, segment, field_id))


def _expected(error: Exception) -> bool:
    """Whether an error says all there is to say; others are logged with their traceback."""
    return isinstance(error, (ElanusError, OSError, MemoryError))
