"""The engine: one log, many collections, and the jobs behind them.

Opening reads the log's tail and nothing else. Records are kept by collection, as the bytes they are, until that
collection is first touched; only then its manifest is read, its segments are mapped and its records applied. Ten
thousand idle collections cost ten thousand small entries of a dict.

The log is one for all collections. It is cut when it grows too long or too old: large owners of its bytes are sealed,
the records of small ones are copied forward, timestamps and all, in one carry record. So is what named writes did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain

from elanus.engine.builders import Builders
from elanus.engine.collection import Collection
from elanus.engine.config import EngineConfig
from elanus.engine.edits import IndexDefined, apply
from elanus.engine.host import Host, collection_prefix, manifest_of, not_there
from elanus.engine.jobs import policy
from elanus.engine.jobs.board import JobBoard
from elanus.engine.manifest import DEFAULT_PARTITION, IndexDefinition, Manifest
from elanus.log.base import Log, LogRecord
from elanus.log.carry import CarryRecord
from elanus.log.commit import GroupCommit, Record
from elanus.log.outcomes import outcomes_record
from elanus.log.position import Position
from elanus.log.record import CATALOG_ID, ChangeRecord, RawRecord, WriteRecord
from elanus.model.errors import CollectionNotFound
from elanus.model.schema import Schema
from elanus.model.timestamps import Clock, TimestampOracle, milliseconds_of
from elanus.model.types import Consistency, OnDuplicateKey
from elanus.store.base import Store


class Engine:
    """Made by `Engine.open`; one per store and process. Safe to call from any thread."""

    def __init__(self, store: Store, log: Log, config: EngineConfig, clock: Clock, builders: Builders) -> None:
        self.config = config
        self.clock = clock
        self.oracle = TimestampOracle(clock)
        self._log_file = log
        self._log = GroupCommit(log, self.oracle, self._apply)
        self._jobs = JobBoard(config, clock, builders, self._cut_log)
        self._host = Host(store, config, clock, self.oracle, self._log, self._jobs, log.epoch)
        self._opening = threading.Lock()
        self._collections: dict[int, Collection] = {}
        self._tails: dict[int, list[RawRecord]] = {}
        self._dropped: set[int] = set()
        self._written_since_cut = False

    @classmethod
    def open(
        cls,
        store: Store,
        log: Log,
        config: EngineConfig,
        clock: Clock,
        builders: Builders,
        known: Container[int] | None = None,
    ) -> Engine:
        """Open for writing over a recovered `log`, whose epoch is this writer's number.

        `known` are the ids of the collections that there are: what the log still holds of dropped ones is passed over.
        """
        engine = cls(store, log, config, clock, builders)
        for _, record in log.read():
            engine._keep(record, known)
        engine._jobs.start()
        return engine

    def close(self) -> None:
        """Finish what is in flight and stop. Nothing is sealed: the log has it all, and is short."""
        self._log_file.begin_close()
        self._jobs.close()
        self._log.close()

    @property
    def failure(self) -> str | None:
        """Why writes are refused; None while they are not."""
        return self._log.failure

    @property
    def replaced(self) -> bool:
        """Whether another process is known to write in place of this one: what is read here may be of the past."""
        return self._log_file.replaced

    @property
    def excludes(self) -> bool:
        """Whether no other process can write what this engine writes."""
        return self._log_file.excludes

    # --- collections -----------------------------------------------------------------------------------------------

    def create_collection(
        self,
        collection_id: int,
        schema: Schema,
        properties: Mapping[str, str],
        on_duplicate_key: OnDuplicateKey = OnDuplicateKey.KEEP,
        indexes: Sequence[IndexDefinition] = (),
        consistency: Consistency = Consistency.BOUNDED,
        shards: int = 1,
        partitions: Mapping[str, int] | None = None,
    ) -> Collection:
        """Write the first manifest of a collection. It exists for users once the catalog names its id."""
        partitions = partitions or {DEFAULT_PARTITION: 1}
        manifest = Manifest(
            schemas=(schema,),
            partitions=partitions,
            next_partition_id=len(partitions) + 1,
            properties=dict(properties),
            on_duplicate_key=on_duplicate_key,
            committed_ms=self.clock.now_ms(),
            consistency=consistency,
            shards=shards,
        )
        for definition in indexes:
            manifest = apply(manifest, IndexDefined(definition))
        versions = manifest_of(self._host, collection_id)
        versions.create(manifest)
        collection = Collection(self._host, collection_id, versions)
        with self._opening:
            self._collections[collection_id] = collection
        return collection

    def opened(self, collection_id: int) -> Collection | None:
        """The collection with this id, where it is open."""
        return self._collections.get(collection_id)

    def collection(self, collection_id: int) -> Collection:
        """The collection with this id, opened at its first touch. Raises `CollectionNotFound`, `CorruptData`."""
        found = self._collections.get(collection_id)
        if found is not None:
            return found
        with self._opening:
            if collection_id in self._dropped:
                raise CollectionNotFound(f"collection not found[collection={collection_id}]: it was dropped")
            if collection_id not in self._collections:
                self._collections[collection_id] = self._open_collection(collection_id)
            return self._collections[collection_id]

    def drop_collection(self, collection_id: int) -> None:
        """Forget a collection; its files stay until `purge_collection`."""
        with self._opening:
            self._dropped.add(collection_id)
            self._tails.pop(collection_id, None)
            collection = self._collections.pop(collection_id, None)
        if collection is not None:
            with collection.write_mutex:
                collection.dropped = True
            self._jobs.forget(collection)

    def purge_collection(self, collection_id: int) -> None:
        """Delete every file of a dropped collection."""
        store = self._host.store
        store.delete(store.keys(f"{collection_prefix(collection_id)}/"))

    def _open_collection(self, collection_id: int) -> Collection:
        versions = manifest_of(self._host, collection_id)
        if not versions.exists():
            raise not_there(collection_id)
        versions.load()
        if not self.excludes:
            versions.fence()
        collection = Collection(self._host, collection_id, versions)
        manifest = versions.state
        self.oracle.advance_to(max(manifest.sealed_to, *manifest.segments, 0))
        collection.replay(self._tails.get(collection_id, ()))
        self._jobs.opened(collection)
        self._tails.pop(collection_id, None)
        return collection

    # --- the log ---------------------------------------------------------------------------------------------------

    @contextmanager
    def changing_names(self) -> Iterator[Callable[[int], None]]:
        """Inside, the catalog is changed; what it yields has those who follow the log look at the version."""
        with self._log.change():
            yield self._tell_names

    def _tell_names(self, version: int) -> None:
        self._log.append(ChangeRecord(CATALOG_ID, version))

    def _keep(self, record: LogRecord, known: Container[int] | None) -> None:
        """Recovery: remember a record until its collection is touched."""
        self.oracle.advance_to(record.timestamp)
        if isinstance(record, CarryRecord):
            for records in record.sections.values():
                for raw in records:
                    self._keep(raw, known)
        elif isinstance(record, RawRecord) and (known is None or record.collection_id in known):
            self._tails.setdefault(record.collection_id, []).append(record)
            self._written_since_cut = True

    def _apply(self, records: Sequence[tuple[Position, Record]]) -> None:
        """Called by the leader of a group commit, in log order, once the group is durable."""
        writes: dict[int, list[WriteRecord]] = {}
        changed: list[Collection] = []
        for _, record in records:
            if isinstance(record, WriteRecord):
                writes.setdefault(record.collection_id, []).append(record)
            elif isinstance(record, ChangeRecord):
                self._written_since_cut = True
                collection = self._collections.get(record.collection_id)
                if collection is not None:
                    if record.collection_id in writes:
                        collection.follower.prepare(writes[record.collection_id])
                        writes[record.collection_id] = []
                    collection.prepare_announced()
                    changed.append(collection)
        written = [(c, rest) for i, rest in writes.items() if (c := self._collections.get(i)) is not None]
        for collection, rest in written:
            collection.follower.prepare(rest)
        self._log_file.publish()
        for collection in changed:
            collection.follower.show()
        for collection, _ in written:
            collection.follower.show()
            self._jobs.rows_arrived(collection)
            self._written_since_cut = True

    def _cut_log(self) -> float | None:
        """Shorten the log if it is due; returns in how many seconds it will be, None while nothing was written."""
        config = self.config
        if not self._written_since_cut:
            return None
        age_s = (self.clock.now_ms() - (self._log_file.oldest_ms or self.clock.now_ms())) / 1000
        # With nothing to keep a log is due soonest: only then is it worth asking all collections what they need of it.
        due = policy.should_cut_log(self._log_file.byte_size, 0, age_s, config)
        if due and policy.should_cut_log(self._log_file.byte_size, self._needed_of_log(), age_s, config):
            self.cut_log()
            return config.log_age_s
        return config.log_age_s - age_s if age_s < config.log_age_s else config.log_age_s

    def _needed_of_log(self) -> int:
        """How many bytes only the log holds, about."""
        for collection_id, owned_bytes in self._log_owners().items():
            if owned_bytes > self.config.carry_bytes and collection_id not in self._collections:
                # Only its manifest knows how much of that is in segments already.
                with suppress(CollectionNotFound):
                    self.collection(collection_id)
        return sum(self._log_owners().values())

    def cut_log(self) -> None:
        """Free all of the log written before this call: seal large owners, carry small ones forward."""
        self._written_since_cut = False
        cut = self._log_file.rotate()
        self._log.barrier()
        to_seal, to_carry = policy.cut_log(self._log_owners(), config=self.config)
        for collection_id in to_seal:
            with suppress(CollectionNotFound):  # dropped meanwhile: nothing of it has to be kept
                self._jobs.flush(self.collection(collection_id))
        carried = self._carried(cut, frozenset(to_carry)) if to_carry else {}
        for collection_id, outcomes in self._outcomes():
            carried.setdefault(collection_id, []).append(outcomes)
        if carried:
            self._log.append(CarryRecord(carried))
        self._log_file.drop_before(cut)

    def _log_owners(self) -> dict[int, int]:
        """Collection id → bytes that only the log holds, about."""
        with self._opening:
            owners = {i: sum(raw.byte_size for raw in tail) for i, tail in self._tails.items()}
            opened = dict(self._collections)
        return owners | {i: c.follower.growing_bytes for i, c in opened.items() if c.follower.has_unsealed()}

    def _carried(self, cut: int, wanted: frozenset[int]) -> dict[int, list[RawRecord]]:
        """By collection, the records in log files before `cut` that no segment holds yet, each once, in order.

        Of collections that are not open also the outcomes that still count; `_outcomes` has those of open ones.
        """
        found: dict[int, dict[tuple[int, bool], RawRecord]] = {}
        for position, record in self._log_file.read():
            if position.sequence >= cut:
                break
            nested = chain(*record.sections.values()) if isinstance(record, CarryRecord) else (record,)
            for raw in nested:
                if isinstance(raw, RawRecord) and raw.collection_id in wanted and self._is_needed(raw):
                    found.setdefault(raw.collection_id, {})[raw.timestamp, raw.is_write] = raw
        return {i: [raw for _, raw in sorted(records.items())] for i, records in found.items()}

    def _is_needed(self, raw: RawRecord) -> bool:
        collection = self._collections.get(raw.collection_id)
        if collection is not None:
            return raw.is_write and raw.timestamp > collection.manifest.sealed_to
        oldest_ms = self.clock.now_ms() - self.config.retry_s * 1000
        return raw.is_write or milliseconds_of(raw.timestamp) >= oldest_ms

    def _outcomes(self) -> Iterator[tuple[int, RawRecord]]:
        """By id of an open collection, a record of what its recent named writes did whose rows are in segments."""
        with self._opening:
            opened = list(self._collections.values())
        for collection in opened:
            outcomes = collection.recent.known(collection.manifest.sealed_to)
            if outcomes:
                yield collection.id, outcomes_record(collection.id, outcomes)
