"""The engine of a process that only reads: it follows the log that another process writes.

What the writer does is in its log in the order in which it did it: writes, and from which moment on a new version of
a manifest or of the catalog is in force. So a reader that has applied the log up to a place sees what the writer saw
there, and there is no picture that the writer has not had.

`catch_up` is called before every read. In a folder it compares two numbers, and reads on where more has been
acknowledged: a read sees everything that was acknowledged before it began. In a bucket that takes a request, so there
a thread looks now and then, and only who asks for it waits for a look of its own.

A collection is opened at its first touch: the log is read to its end, then the newest manifest that was told of, then
the log again, so that nothing that the manifest was made of, or lacks, is missing. Until then its records are kept, as
far as the log still needs them.

Where the log has been cut faster than it was read, or another writer has taken over, everything is opened anew. Reads
that are under way keep their snapshots.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from elanus.engine.collection import Collection
from elanus.engine.config import EngineConfig
from elanus.engine.host import Host, manifest_of, not_there, opened_to_read
from elanus.engine.jobs.covering import CoverBoard
from elanus.log.base import LogGap, LogReader, LogRecord, now_s
from elanus.log.carry import CarryRecord
from elanus.log.record import CATALOG_ID, ChangeRecord, FenceRecord, RawRecord
from elanus.model.errors import CorruptData
from elanus.model.schema import Schema
from elanus.model.timestamps import Clock, TimestampOracle
from elanus.store.base import Store

_log = logging.getLogger("elanus.engine")

Names = Callable[[int | None], frozenset[int]]
"""Looks at this version of the catalog, None at the newest, and returns the ids of the collections that there are."""

_Kept = RawRecord | ChangeRecord


RESTS_S = (0.0, 0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Between attempts to read a log in which what comes next is gone: a writer cuts it, or an opener halts one."""


class _Anew(Exception):
    """Nothing that is open can be followed any further."""


class ReadingEngine:
    """Made by `open`; one per store and process. Safe to call from any thread."""

    failure: str | None = None
    replaced = False
    excludes = True

    def __init__(self, store: Store, log: LogReader, config: EngineConfig, clock: Clock, names: Names) -> None:
        self.config = config
        self.clock = clock
        self.oracle = TimestampOracle(clock)
        self._log = log
        self._names = names
        self._known: frozenset[int] = frozenset()
        self._jobs = CoverBoard(config, clock)
        self._host = Host(store, config, clock, self.oracle, None, self._jobs, 0)
        self._reading = threading.Lock()
        """Held by whoever reads the log; guards all that follows."""
        self._collections: dict[int, Collection] = {}
        self._tails: dict[int, list[tuple[int, _Kept]]] = {}
        """Of collections that are not open, by id: sequence and record."""
        self._waiting: dict[int, list[RawRecord]] = {}
        """Of open ones: what was read and is to be applied."""
        self._newest = 0
        """The newest timestamp that was read."""
        self._sequence = 0
        """Where the record lay that was read last."""
        self._life = 0
        """How often everything was left behind."""
        self._anew = True
        """Whether what is in memory is to be left behind: it cannot be followed, or something went wrong with it."""
        self._closing = threading.Event()
        self._follower: threading.Thread | None = None

    @classmethod
    def open(cls, store: Store, log: LogReader, config: EngineConfig, clock: Clock, names: Names) -> ReadingEngine:
        engine = cls(store, log, config, clock, names)
        with engine._reading:
            engine._read()
        engine._jobs.start()
        if log.look_s is not None:
            engine._follower = threading.Thread(target=engine._follow, args=(log.look_s,), name="elanus-follow")
            engine._follower.daemon = True
            engine._follower.start()
        return engine

    def close(self) -> None:
        self._closing.set()
        self._jobs.close()
        if self._follower is not None:
            self._follower.join()
        self._log.close()

    @property
    def is_local(self) -> bool:
        """Whether every read sees all that was acknowledged before it, and to find out takes no request."""
        return self._log.look_s is None

    def catch_up(self, exactly: bool = False) -> None:
        """See what was acknowledged before this call; in a bucket only if it is to be `exactly` so, else lately.

        Raises `StoreError` where that cannot be found out.
        """
        as_of_s = now_s() if exactly else None
        if self._log.is_behind(as_of_s) or self._anew:
            with self._reading:
                if self._log.is_behind(as_of_s) or self._anew:
                    self._read()
                    self._forget_old()

    def opened(self, collection_id: int) -> Collection | None:
        """The collection with this id, where it is open."""
        return self._collections.get(collection_id)

    def collection(self, collection_id: int) -> Collection:
        """The collection with this id, opened at its first touch. Raises `CollectionNotFound`, `CorruptData`."""
        found = self._collections.get(collection_id)
        if found is None:
            with self._reading:
                found = self._collections.get(collection_id) or self._open_collection(collection_id)
        return found

    # --- what only a writer can ------------------------------------------------------------------------------------

    def create_collection(self, collection_id: int, schema: Schema, *rest: object) -> Collection:
        raise opened_to_read()

    def drop_collection(self, collection_id: int) -> None:
        raise opened_to_read()

    def purge_collection(self, collection_id: int) -> None:
        raise opened_to_read()

    # --- under `_reading` ------------------------------------------------------------------------------------------

    def _open_collection(self, collection_id: int) -> Collection:
        """The log is read to its end before the manifest and after it, and nothing is forgotten between: so there is
        all that the manifest lacks, and the newest version that was told of by then.
        """
        while True:
            self._read()
            life = self._life
            versions = manifest_of(self._host, collection_id)
            if not versions.exists():
                raise not_there(collection_id)
            versions.load()
            self._read()
            if self._life != life:
                continue
            if collection_id not in self._known:
                raise not_there(collection_id)
            kept = [record for _, record in self._tails.get(collection_id, ())]
            told = max((record.version for record in kept if isinstance(record, ChangeRecord)), default=0)
            if told and told < versions.version:
                versions.go_back(told)  # what is newer is not told of yet
            collection = Collection(self._host, collection_id, versions)
            collection.replay(record for record in kept if isinstance(record, RawRecord))
            if collection.follow(told):
                break
        self._tails.pop(collection_id, None)
        self._jobs.opened(collection)
        self._collections[collection_id] = collection
        return collection

    def _read(self) -> None:
        """Read the log as far as it is acknowledged, and apply it."""
        for rest_s in RESTS_S:
            if self._anew:
                self._begin_anew()
            try:
                for position, record in self._log.read():
                    if position.sequence != self._sequence:  # what has come so far need not wait for the next
                        self._apply()
                        self._sequence = position.sequence
                    self._take(position.sequence, record)
                self._apply()
                self._log.done()
            except (LogGap, _Anew) as gap:
                self._anew = True
                if isinstance(gap, LogGap):
                    self._closing.wait(rest_s)
            except BaseException:
                self._apply()
                raise
            else:
                return
        raise CorruptData(
            "the log cannot be read: again and again something is missing that comes next, or it ends before what was "
            "acknowledged. Open the database for writing, which says what it is."
        )

    def _forget_old(self) -> None:
        """Let go of records that the log does not need any more: they are in segments, or were carried forward."""
        oldest = self._log.oldest
        for collection_id in [i for i, kept in self._tails.items() if kept[0][0] < oldest]:
            kept = [entry for entry in self._tails.pop(collection_id) if entry[0] >= oldest]
            if kept:
                self._tails[collection_id] = kept

    def _begin_anew(self) -> None:
        for collection in self._collections.values():
            self._jobs.forget(collection)
        self._collections = {}
        self._tails = {}
        self._waiting = {}
        self._log.restart()
        self._known = self._names(None)
        self._anew = False
        self._life += 1

    def _take(self, sequence: int, record: LogRecord) -> None:
        self._newest = max(self._newest, record.timestamp)
        match record:
            case ChangeRecord(collection_id=collection_id) if collection_id == CATALOG_ID:
                self._know(self._names(record.version))
            case RawRecord() | ChangeRecord():
                self._take_one(sequence, record.collection_id, record)
            case CarryRecord():
                for collection_id, records in record.sections.items():
                    if collection_id not in self._collections:  # one that is open has had them
                        for raw in records:
                            self._take_one(sequence, collection_id, raw)
            case FenceRecord():
                if self._collections:
                    raise _Anew
                self._know(self._names(None))

    def _take_one(self, sequence: int, collection_id: int, record: _Kept) -> None:
        collection = self._collections.get(collection_id)
        if collection is None:
            self._tails.setdefault(collection_id, []).append((sequence, record))
        elif isinstance(record, RawRecord):
            self._waiting.setdefault(collection_id, []).append(record)
        else:
            self._apply_to(collection, self._waiting.pop(collection_id, ()))
            try:
                followed = collection.follow(record.version)
            except BaseException:
                self._anew = True
                raise
            if not followed:
                raise _Anew

    def _know(self, known: frozenset[int]) -> None:
        """These are the collections that have names. One that never had may have one soon: its records stay."""
        for collection_id in self._known - known:
            self._tails.pop(collection_id, None)
            self._waiting.pop(collection_id, None)
            collection = self._collections.pop(collection_id, None)
            if collection is not None:
                self._jobs.forget(collection)
        self._known = known

    def _apply(self) -> None:
        while self._waiting:
            collection_id, writes = self._waiting.popitem()
            self._apply_to(self._collections[collection_id], writes)
        self.oracle.advance_to(self._newest)  # from now on a read that asks for it sees it

    def _apply_to(self, collection: Collection, writes: Sequence[RawRecord]) -> None:
        try:
            collection.apply(writes)
        except BaseException:
            self._anew = True
            raise
        if writes:
            self._jobs.rows_arrived(collection)

    # --- the thread that follows a bucket --------------------------------------------------------------------------

    def _follow(self, look_s: float) -> None:
        told = False
        while not self._closing.wait(look_s):
            try:
                self.catch_up(exactly=True)
                told = False
            except Exception as error:  # noqa: BLE001 - the thread has to live on; reads find out for themselves
                if not told:
                    _log.warning("following the log failed, and is tried on: %s", error)
                told = True
