"""One open database: its catalog and its engine, composed.

It lies in a folder or in a bucket (see `storage`). One process may have it open for writing, any number for reading.
Opening reads the catalog and the log's tail; collections are opened at their first touch.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from elanus.catalog.catalog import Catalog
from elanus.catalog.state import not_found
from elanus.engine.builders import Builders, FixedBudget, ProcessBuilders
from elanus.engine.collection import Collection
from elanus.engine.config import EngineConfig
from elanus.engine.engine import Engine
from elanus.engine.reading import ReadingEngine
from elanus.model.denial import Deed, check_allowed
from elanus.model.errors import Closed, CorruptData, InvalidParameter, StoreError, WriterStopped
from elanus.model.ids import AutoIds
from elanus.model.timestamps import Clock, SystemClock, compose
from elanus.model.types import Consistency
from elanus.service import storage
from elanus.service.compactions import MAX_COMPACTIONS, Compaction
from elanus.service.context import RequestContext
from elanus.service.iteration import Iterations
from elanus.service.last_used import LastUsed
from elanus.store.disk import Disk

_log = logging.getLogger("elanus.service")

Settings = EngineConfig


class Instance:
    """Made by `Instance.open`. Safe to use from any thread; `close` waits for what is in flight."""

    def __init__(self, catalog: Catalog, engine: Engine | ReadingEngine, closing: ExitStack) -> None:
        """`closing` closes the engine, then what lies below it."""
        self.catalog = catalog
        self.engine = engine
        self.reader = engine if isinstance(engine, ReadingEngine) else None
        """The engine where it only reads."""
        self.ids = AutoIds(engine.oracle)
        self.compactions: LastUsed[int, Compaction] = LastUsed(MAX_COMPACTIONS)
        """The compactions that clients have started, by id."""
        self.iterations = Iterations()
        self._closing = closing
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        builders: Builders | None = None,
        read_only: bool = False,
        take_over: bool = False,
        told: Path | None = None,
        local_log: str = "",
    ) -> Instance:
        """Open the folder or the URL `path` for writing, and make a database there where there is none.

        With `take_over` another process that has it open for writing is ended, or kept from writing in a bucket.
        With `read_only` it is opened beside the process that writes, and has to be there. The processes of one machine
        that have a bucket open tell each other in the folder `told`. `local_log` goes before that of `settings`.
        `clock`, `disk` and `builders` are for tests.
        Raises what the functions of `storage` raise, and `FormatTooNew`.
        """
        clock = clock or SystemClock()
        settings = settings or Settings()
        if local_log:
            settings = replace(settings, local_log=local_log)
        if read_only and settings.local_log:
            raise InvalidParameter("a local log is for the process that writes: who only reads has none")
        if read_only:
            return cls._open_to_read(path, settings, clock, told)
        with ExitStack() as closing:
            if storage.is_url(path):
                store, log = storage.open_bucket(os.fspath(path), settings, closing, told, take_over=take_over)
            elif settings.local_log:
                raise InvalidParameter("a local log is for a database in a bucket: in a folder the log is local")
            else:
                store, log = storage.open_folder(Path(path).expanduser(), disk, closing, take_over=take_over)
            if builders is None:
                builders = ProcessBuilders(FixedBudget(settings.build_memory_bytes), idle_s=settings.builder_idle_s)
            try:
                catalog = Catalog.open(store, log.epoch, compose(clock.now_ms()))
                engine = Engine.open(store, log, settings, clock, builders, catalog.state.collection_ids())
            except CorruptData:
                log.check_writer()  # who has been replaced meanwhile sees what is not meant for it
                raise
            closing.callback(engine.close)
            # Ids are timestamps: the newest ever given must lie behind the clock, also after the clock stepped back.
            engine.oracle.advance_to(catalog.state.last_id)
            catalog.announce(engine.changing_names)
            instance = cls(catalog, engine, closing.pop_all())
        instance.purge_old()
        return instance

    @classmethod
    def _open_to_read(
        cls, path: str | os.PathLike[str], settings: Settings, clock: Clock, told: Path | None
    ) -> Instance:
        with ExitStack() as closing:
            if storage.is_url(path):
                store, log = storage.read_bucket(os.fspath(path), settings, closing, told)
            else:
                store, log = storage.read_folder(Path(path).expanduser(), closing)
            catalog = Catalog.read(store)
            engine = ReadingEngine.open(
                store, log, settings, clock, lambda version: catalog.follow(version).collection_ids()
            )
            closing.callback(engine.close)
            return cls(catalog, engine, closing.pop_all())

    def close(self) -> None:
        """Finish what is in flight and give the folder free. Closing again is no error."""
        if not self._closed:
            self._closed = True
            self._closing.close()

    @property
    def is_closed(self) -> bool:
        return self._closed

    def collection(self, ctx: RequestContext, name: str, deed: Deed | None = None) -> Collection:
        """The open collection with this name or alias, in a database where `deed` is allowed.

        Raises `QuotaExceeded`, `CollectionNotFound`, `DatabaseNotFound`, `DeadlineExceeded`, `Closed`.
        """
        self.begin(ctx)
        database = self.catalog.database(ctx.database)
        entry = database.entry(name)
        if deed is not None:
            check_allowed(database.properties, deed)
        return self._open(ctx, entry.id)

    def readable(self, ctx: RequestContext, name: str, deed: Deed = Deed.READING) -> Collection:
        """As `collection`, for reads: what cannot be a name is a collection that is not there, as it is in Milvus."""
        self.begin(ctx)
        database = self.catalog.database(ctx.database)
        entry = database.find(name)
        if entry is None:
            raise not_found(ctx.database, name)
        check_allowed(database.properties, deed)
        return self._open(ctx, entry.id)

    def _open(self, ctx: RequestContext, collection_id: int) -> Collection:
        collection = self.engine.collection(collection_id)
        if self.reader is None or ctx.consistency is not None:
            return collection
        if collection.manifest.consistency is Consistency.STRONG:
            self.reader.catch_up(exactly=True)
            return self.engine.collection(collection_id)  # it may have been opened anew
        return collection

    def refresh(self) -> None:
        """See everything that was acknowledged before this call, also where that takes a request to a bucket."""
        if self.reader is not None:
            self.reader.catch_up(exactly=True)

    def begin(self, ctx: RequestContext) -> None:
        """Every request begins here. Raises `Closed`, `DeadlineExceeded`, and `WriterStopped` where another process has
        taken over a bucket.
        """
        if self._closed:
            raise Closed("the database has been closed: open it again")
        if self.reader is not None:
            self.reader.catch_up(ctx.consistency is Consistency.STRONG)
        elif self.engine.replaced:
            raise WriterStopped(
                "another process has taken over, and what this one has is of the past: open the database again"
            )
        if ctx.deadline is not None:
            ctx.check_deadline()

    def discard(self, collection_id: int) -> None:
        """Take back a collection that did not make it into the catalog."""
        self.engine.drop_collection(collection_id)
        self.engine.purge_collection(collection_id)

    def purge(self, collection_id: int) -> None:
        """Delete the files of a dropped collection. Raises `StoreError`; then it is tried again later."""
        self.engine.purge_collection(collection_id)
        self.catalog.purged(collection_id)

    def purge_old(self) -> None:
        """Delete the files of collections that were dropped longer ago than history reaches.

        Nobody waits for it: what cannot be deleted now is left for the next time.
        """
        retention_ms = int(self.engine.config.retention_s * 1000)
        for collection_id in self.catalog.dropped_before(compose(max(0, self.engine.clock.now_ms() - retention_ms))):
            try:
                self.purge(collection_id)
            except StoreError as error:
                _log.warning("the files of dropped collection %d stay for now: %s", collection_id, error)
                return
