"""One open collection: its manifest, its rows, and the definitions that change it.

Writes are in `writes.py`, reads in `search.py` and `query.py`, background work in `jobs/`; they all meet here.

Locks, in the order in which they may be taken: `write_mutex` (a write's read-to-append, held briefly by every write),
`commit_mutex` (manifest commits, one at a time), the follower's own. No reader takes any of them. `seal_mutex` and
`improve_mutex` admit one sealing, one merge or build at a time, and are taken before all others.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from elanus.engine.edits import (
    ConsistencySet,
    DescriptionSet,
    Edit,
    IndexAltered,
    IndexDefined,
    IndexDropped,
    PartitionAdded,
    PartitionDropped,
    PropertiesSet,
    Stamp,
    Truncated,
)
from elanus.engine.expiry import Expiry
from elanus.engine.follower import LogFollower, Opened
from elanus.engine.host import Host, collection_prefix, opened_to_read
from elanus.engine.index import index_opener
from elanus.engine.manifest import DEFAULT_PARTITION, IndexDefinition, Manifest
from elanus.engine.retries import RecentWrites
from elanus.engine.snapshot import Snapshot
from elanus.log.commit import GroupCommit
from elanus.log.outcomes import outcomes_of
from elanus.log.record import ChangeRecord, RawRecord
from elanus.model.errors import ElanusError, InvalidParameter
from elanus.model.names import check_name
from elanus.model.schema import PARTITION_FIELD_ID, Schema
from elanus.model.timestamps import compose
from elanus.model.types import Consistency
from elanus.store.base import Store
from elanus.store.versioned import VersionedState

_log = logging.getLogger("elanus.engine")


class Collection:
    """A collection as the engine runs it. Made by `Engine.collection`."""

    def __init__(self, host: Host, collection_id: int, versions: VersionedState[Manifest, Edit]) -> None:
        self.id = collection_id
        self.host = host
        self.write_mutex = threading.Lock()
        self.commit_mutex = threading.Lock()
        self.seal_mutex = threading.Lock()
        self.improve_mutex = threading.Lock()
        self.job_error: Exception | None = None
        self.versions = versions
        self._announced = versions.version
        self._opened: Opened | None = None
        """What is being committed, between the Store and the log."""
        self._pending: list[str] = []
        self.recent = RecentWrites(host.config.retry_writes, host.config.retry_s, host.clock)
        is_published = host.log.is_published if host.log is not None else _always
        opener = index_opener(host.store, self._wake)
        self.follower = LogFollower(host.store, versions.state, opener, self.recent, is_published, self._wake)
        self.watch = self.follower.snapshot.watch
        host.jobs.sampler.watch(self)
        self.expiry = Expiry(host.clock)
        self.cover_step = 0
        """How many steps of growing rows there were when the sealer was last woken to cover them."""
        self.dropped = False

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        return self.host.store

    @property
    def manifest(self) -> Manifest:
        return self.follower.snapshot.manifest

    @property
    def schema(self) -> Schema:
        return self.manifest.schema

    def snapshot(self) -> Snapshot:
        """The newest picture: everything acknowledged before this call that has not expired. Taken without a lock."""
        return self.expiry.shown(self.follower.snapshot)

    @property
    def log(self) -> GroupCommit:
        if self.host.log is None:
            raise opened_to_read()
        return self.host.log

    # --- names for files -------------------------------------------------------------------------------------------

    def new_id(self) -> int:
        """An id no segment, job or file had before, also in earlier lives of the database."""
        return self.host.oracle.next()

    def segment_prefix(self, segment_id: int) -> str:
        return f"{collection_prefix(self.id)}/segments/{self.host.epoch}-{segment_id}"

    @contextmanager
    def pending(self, prefix: str) -> Iterator[None]:
        """Keep what a job writes below `prefix` from garbage collection until its commit has named it."""
        self._pending.append(prefix)
        try:
            yield
        finally:
            self._pending.remove(prefix)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder for a job's files. It goes in the end with all that was not published: also a failed job's."""
        folder = self.store.scratch()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def is_pending(self, key: str) -> bool:
        return key.startswith(tuple(self._pending))

    def retention_timestamp(self) -> int:
        """What was deleted before this time is no longer history and may be left behind."""
        return compose(int(self.host.clock.now_ms() - self.host.config.retention_s * 1000))

    # --- definitions -----------------------------------------------------------------------------------------------

    def commit(self, *edits: Edit) -> Manifest:
        """Commit `edits` to the manifest and publish the collection as it then is."""
        with self.commit_mutex:
            return self.commit_locked(*edits)

    def commit_locked(self, *edits: Edit) -> Manifest:
        """`commit` for a caller that holds `commit_mutex`."""
        log = self.log
        with log.change():
            log.barrier()  # whoever reads the new version may read the log as far as it was made of
            state = self.versions.commit([Stamp(self.host.clock.now_ms()), *edits])
            self._tell()
            return state

    def tell(self) -> None:
        """Where a version was committed and telling of it failed, do it now: before anything that follows from it."""
        if self.versions.version != self._announced:
            with self.commit_mutex, self.log.change():
                self._tell()

    def _tell(self) -> None:
        """Have those who follow the log look at the newest version, and show it. Under `commit_mutex`."""
        state, version = self.versions.state, self.versions.version
        if version == self._announced:
            return
        try:
            self._opened = self.follower.opened(state)
            self.log.append(ChangeRecord(self.id, version))
            self._announced = version
        except BaseException:
            self.follower.adopt(state)  # it is in force all the same
            raise
        finally:
            self._opened = None

    def prepare_announced(self) -> None:
        """The version that was committed has its place in the log: prepare to show it."""
        if self._opened is not None:
            self.follower.prepare_to_adopt(self._opened)

    # --- what the log holds of it ----------------------------------------------------------------------------------

    def replay(self, kept: Iterable[RawRecord]) -> None:
        """Apply what was kept of the log before this collection was opened, in any order, and each as often as may be.

        Raises `CorruptData` for what cannot be decoded.
        """
        records = list(kept)
        self.recent.recall(chain.from_iterable(outcomes_of(raw) for raw in records if not raw.is_write))
        writes = sorted({raw.timestamp: raw for raw in records if raw.is_write}.items())
        sealed_to = self.manifest.sealed_to
        self.apply([raw for timestamp, raw in writes if timestamp > sealed_to or raw.has_identity])

    def apply(self, writes: Sequence[RawRecord]) -> None:
        """Apply records in the order of the log. Raises `CorruptData`."""
        if writes:
            manifest = self.manifest
            schemas = {v: log_schema(manifest.schema_of(v)) for v in {raw.schema_version for raw in writes}}
            self.follower.apply([raw.decode(schemas[raw.schema_version]) for raw in writes])

    def follow(self, version: int) -> bool:
        """Adopt a version of the manifest that another process has committed; False where the way there is gone."""
        if version > self.versions.version:
            if not self.versions.follow(version):
                return False
            self.follower.adopt(self.versions.state)
        return True

    def create_partition(self, name: str) -> None:
        """Raises `InvalidParameter` for a bad name or more than 1024 partitions; one that exists is fine."""
        check_name(name, "partition")
        self.tell()
        with self.commit_mutex:
            if name not in self.versions.state.partitions:
                self.commit_locked(PartitionAdded(name))

    def drop_partition(self, name: str) -> None:
        """Drop a partition and its rows; one that does not exist is fine, the default one cannot go."""
        if name == DEFAULT_PARTITION:
            raise InvalidParameter("default partition cannot be deleted: drop or truncate the collection instead")
        self.tell()
        # An upsert into it that is under way comes wholly before: what it replaces elsewhere goes when its rows do.
        with self.write_mutex:
            self.log.barrier()
            with self.commit_mutex:
                if name in self.versions.state.partitions:
                    self.commit_locked(PartitionDropped(name))
        self._wake()

    def create_index(self, definition: IndexDefinition) -> None:
        """Define an index; its files are built behind the caller's back, and until then searches scan.

        The same definition again is fine. Raises `InvalidParameter` for a second index on a field or a name in use.
        """
        self.tell()
        with self.commit_mutex:
            manifest = self.versions.state
            there = (d for d in manifest.indexes.values() if d.name == definition.name or d.place == definition.place)
            for existing in there:
                if _same_index(existing, definition):
                    return
                if existing.name != definition.name:
                    raise InvalidParameter(
                        "CreateIndex failed: creating multiple indexes on same field is not supported; field "
                        f"{manifest.schema.by_id[existing.field_id].name} has index {existing.name}. Drop it first."
                    )
                raise InvalidParameter(
                    "CreateIndex failed: at most one distinct index is allowed per field; field "
                    f"{manifest.schema.by_id[existing.field_id].name} has index {existing.name} "
                    f"({existing.kind}, {existing.metric or 'scalar'}). Drop it first."
                )
            self.commit_locked(IndexDefined(definition))
        self._wake()

    def drop_index(self, name: str) -> None:
        """Drop an index; one that does not exist is fine."""
        self.tell()
        with self.commit_mutex:
            if name in self.versions.state.indexes:
                self.commit_locked(IndexDropped(name))

    def alter_index(self, name: str, params: Mapping[str, Any], removed: Sequence[str] = ()) -> None:
        """Change parameters of an index that its files do not depend on."""
        self.commit(IndexAltered(name, dict(params), tuple(removed)))

    def set_consistency(self, consistency: Consistency) -> None:
        self.commit(ConsistencySet(consistency))

    def set_description(self, text: str) -> None:
        self.commit(DescriptionSet(text))

    def set_properties(self, properties: Mapping[str, str], removed: Sequence[str] = ()) -> None:
        self.commit(PropertiesSet(dict(properties), tuple(removed)))
        self._wake()  # rows may have expired

    def truncate(self) -> None:
        """Drop every row written so far; schema, partitions and indexes stay."""
        with self.write_mutex:
            self.log.barrier()
            self.commit(Truncated(self.follower.timestamp))

    def _wake(self) -> None:
        """Let jobs look at what there is to be improved."""
        self.host.jobs.wake(self)

    # --- background work on request --------------------------------------------------------------------------------

    def flush(self) -> None:
        """Seal everything written before this call; when it returns, the rows are in sealed segments."""
        self.host.jobs.flush(self)

    def prefetch(self) -> None:
        """Begin to fetch what searches need, where files come from elsewhere. Returns at once."""
        if self.store.fetches:
            threading.Thread(target=self._fetch, name="elanus-prefetch", daemon=True).start()

    def _fetch(self) -> None:
        try:
            for unit in self.snapshot().sealed:
                for handle in unit.indexes.values():
                    handle.open()
                for postings in unit.postings.values():
                    postings.open()
                if unit.indexed is not None:
                    unit.indexed.open()
                unit.view.key_column  # noqa: B018 - it is fetched
        except ElanusError as error:  # a search will say so
            _log.info("collection %d was not fetched in advance: %s", self.id, error)

    def compact(self) -> None:
        """Merge the sealed segments into as few as the size limit allows, and wait for it and for their indexes."""
        self.host.jobs.compact(self)

    def wait_for_indexes(self) -> None:
        """Return when every sealed segment large enough has its index files. Raises what the last build failed of."""
        self.host.jobs.wait_for_indexes(self)


def _always() -> bool:
    return True


def log_schema(schema: Schema) -> pa.Schema:
    """The Arrow schema of rows in the log: the canonical batch and the partition of each row."""
    return schema.arrow_schema.append(pa.field(str(PARTITION_FIELD_ID), pa.int64()))


def _same_index(a: IndexDefinition, b: IndexDefinition) -> bool:
    return (a.name, a.field_id, a.kind, a.metric, _texts(a.params)) == (
        b.name,
        b.field_id,
        b.kind,
        b.metric,
        _texts(b.params),
    )


def _texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters arrive as text or as numbers."""
    return {name: str(value) for name, value in params.items()}
