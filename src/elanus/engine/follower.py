"""Builds a collection's rows by following its log and its manifest.

The writer, recovery from the log's tail, and a process that only reads all go through here: there is one code path
from records to rows. `prepare` takes log records in log order, `adopt` takes a newer manifest, and each ends by
publishing one new immutable `Snapshot` reference. Readers take that reference and nothing else.

What `prepare` was given is seen from the moment at which processes that follow the log may see it (`is_published`), and
from `show` on without asking for that: so no reader, in whatever process, sees what a later one does not.

Invariants, between calls (`_lock` guards all of them; readers never take it):

- rows = segments of `_manifest` + `_frozen` + `_growing`, each row once;
- sealed segments hold the rows of records up to `_manifest.sealed_to`, `_frozen` and `_growing` those of later ones;
- `_deletes_since` holds every delete of records later than `_manifest.sealed_to`, and those after the moment at which
  the oldest running job took its picture (`remembering`), so that a segment made from rows as they were earlier can
  be given the deletes it missed;
- `_timestamp` is that of the newest record applied;
- `_next` is the picture with what was prepared and not yet shown, None while there is nothing;
- `_recent` knows the requests of all records that were shown, and of none before its rows are published: whoever sends
  one again is answered only when a read that follows finds it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from elanus.engine.manifest import IndexDefinition, Manifest, SegmentEntry
from elanus.engine.precedence import give_way
from elanus.engine.remembered import RememberedPlans
from elanus.engine.retries import RecentWrites
from elanus.engine.snapshot import IndexHandle, Place, Snapshot, Unit, place_of
from elanus.log.record import WriteRecord
from elanus.model.schema import Schema
from elanus.model.timestamps import milliseconds_of
from elanus.segment.deletes import Deletes
from elanus.segment.growing import GrowingSegment
from elanus.segment.index_file import LazyIndexFile
from elanus.segment.indexed import Indexed, IndexFile
from elanus.segment.posting_file import PostingFile
from elanus.segment.sealed import SealedSegment, SealedView
from elanus.store.base import Store

if TYPE_CHECKING:
    from elanus.vector.interim import InterimIndex

Handle = IndexHandle | IndexFile | PostingFile
"""The index file of dense vectors, of a scalar field, or of sparse vectors."""

IndexOpener = Callable[[SealedSegment, IndexDefinition, Schema, str], Handle]
"""Makes the handle of an index file: (its segment, what it was built for, the schema, its Store key) -> handle."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A growing segment that takes no more rows, and the timestamp up to which it holds them."""

    segment: GrowingSegment
    sealed_to: int


@dataclass(frozen=True, slots=True)
class _Delete:
    timestamp: int
    keys: pa.Array
    partitions: tuple[int, ...]


@dataclass(slots=True)
class _Sealed:
    """A sealed segment in memory. `saved` counts the deletes that its delete file already holds."""

    segment: SealedSegment
    deletes: Deletes
    saved: int
    unit: Unit | None
    indexes: dict[int, Handle]


class Opened(NamedTuple):
    """A manifest, and its segments in memory."""

    manifest: Manifest
    segments: dict[int, _Sealed]


class LogFollower:
    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        open_index: IndexOpener,
        recent: RecentWrites,
        is_published: Callable[[], bool],
        on_lost: Callable[[], None],
    ) -> None:
        """`on_lost` is called when a file turns out to be lost or damaged that no answer needs."""
        self._store = store
        self._recent = recent
        self._is_published = is_published
        self._open_index = open_index
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._manifest = manifest
        self._timestamp = manifest.sealed_to
        self._growing = _growing(manifest)
        self._frozen: Frozen | None = None
        self._sealed: dict[int, _Sealed] = {}
        self._interims: Mapping[Place, InterimIndex] = {}
        self._deletes_since: list[_Delete] = []
        self._remembered_since: list[int] = []
        self._segments_in_use: weakref.WeakSet[SealedSegment] = weakref.WeakSet()
        self._manifests_in_use: weakref.WeakValueDictionary[int, Manifest] = weakref.WeakValueDictionary()
        self._snapshot = Snapshot(manifest, manifest.sealed_to, (), ())
        self._next: Snapshot | None = None
        self._preparing = False
        self._to_learn: list[WriteRecord] = []
        self.adopt(manifest)

    @property
    def snapshot(self) -> Snapshot:
        """The newest published picture: every record that anybody may see, nothing else."""
        following = self._next
        if following is not None and self._is_published():
            return following
        return self._snapshot

    @property
    def timestamp(self) -> int:
        """That of the newest record applied."""
        return self._timestamp

    @property
    def is_frozen(self) -> bool:
        """Whether rows are being sealed, or wait for it after a failure."""
        return self._frozen is not None

    @property
    def growing_rows(self) -> int:
        return self._growing.rows

    @property
    def growing_bytes(self) -> int:
        frozen = self._frozen
        return self._growing.byte_size + (frozen.segment.byte_size if frozen else 0)

    def expect_rows(self, count: int) -> None:
        """`count` rows are on their way through the log. Any thread may call this at any time."""
        self._growing.expect(count)

    @property
    def growing_since_ms(self) -> int:
        """When the oldest growing row was written; 0 while there is none."""
        return milliseconds_of(self._growing.min_timestamp)

    def keys_in_use(self) -> frozenset[str]:
        """Every Store key that a read under way may still open: those of the manifests and segments that are held."""
        held = [manifest.keys() for manifest in list(self._manifests_in_use.values())]
        return frozenset().union(*held, *(segment.meta.keys() for segment in list(self._segments_in_use)))

    def has_unsealed(self) -> bool:
        """Whether anything would be lost with the log: rows not sealed, or deletes not in a delete file."""
        with self._lock:
            return self._has_unsealed()

    def apply(self, records: Sequence[WriteRecord]) -> None:
        """`prepare` and `show`."""
        self.prepare(records)
        self.show()

    def prepare(self, records: Sequence[WriteRecord]) -> None:
        """Apply `records`, in log order. Those that were applied or sealed before are skipped.

        Whose requests they were is learned of all of them.
        """
        with self._lock:
            self._preparing = True
            for record in records:
                if record.timestamp <= self._timestamp:
                    continue
                if record.delete_keys is not None:
                    delete = _Delete(record.timestamp, record.delete_keys, record.delete_partitions)
                    self._deletes_since.append(delete)
                    self._delete(delete)
                if record.rows is not None:
                    self._growing.append(record.rows, record.timestamp)
                self._timestamp = record.timestamp
            give_way()
            self._publish()
            self._to_learn += [record for record in records if record.identity]

    def show(self) -> None:
        """What was prepared is seen from now on."""
        with self._lock:
            if self._next is not None:
                self._snapshot, self._next = self._next, None
            self._preparing = False
            for record in self._to_learn:
                self._recent.learn(record, self._manifest.schema)
            self._to_learn = []

    def freeze(self) -> Frozen | None:
        """Take the growing rows out of the writers' way for sealing; None when there is nothing to seal.

        Rows frozen before, whose sealing failed, come first and alone.
        """
        with self._lock:
            if self._frozen is None and self._has_unsealed():
                self._frozen = Frozen(self._growing, self._timestamp)
                self._growing = _growing(self._manifest)
                self._publish()
            return self._frozen

    @contextmanager
    def remembering(self) -> Iterator[int]:
        """Keep all deletes from now on within reach of `missed_deletes`; yields the timestamp of the picture shown.

        A job takes its picture of the rows inside, and commits inside. What is applied but not shown yet is not in that
        picture, so it counts as missed.
        """
        with self._lock:
            since = self._snapshot.timestamp
            self._remembered_since.append(since)
        try:
            yield since
        finally:
            with self._lock:
                self._remembered_since.remove(since)
                self._forget_deletes()

    def publish_interims(self, interims: Mapping[Place, InterimIndex]) -> None:
        """Give searches `interims`, without those whose rows nobody sees any more."""
        with self._lock:
            self._set_interims(interims)

    def unsaved_deletes(self) -> tuple[int, dict[int, Deletes]]:
        """The newest timestamp applied, and the deletes of every segment whose delete file does not have them all."""
        with self._lock:
            unsaved = {i: s.deletes for i, s in self._sealed.items() if s.deletes.count > s.saved}
            return self._timestamp, unsaved

    def missed_deletes(self, segment: SealedSegment, deletes: Deletes, since: int) -> tuple[int, Deletes]:
        """`deletes` of a segment not yet adopted, with all that were applied after `since` added.

        Returns the timestamp up to which the result is complete.
        """
        with self._lock:
            return self._timestamp, self._caught_up(segment, deletes, since)

    def adopt(self, manifest: Manifest) -> None:
        """Follow the manifest to a newer version and publish.

        Segments that appear are opened and given the deletes they missed; rows that moved into segments, or were
        truncated, leave the growing ones.
        """
        self._adopt(self.opened(manifest))

    def opened(self, manifest: Manifest) -> Opened:
        """`manifest` with its files open, for `prepare_to_adopt`. One thread at a time may be between the two."""
        known = dict(self._sealed)
        segments = {i: self._open(entry, known.get(i), manifest) for i, entry in manifest.segments.items()}
        return Opened(manifest, segments)

    def prepare_to_adopt(self, opened: Opened) -> None:
        """`adopt`, to be seen together with what else is prepared."""
        with self._lock:
            self._preparing = True
        self._adopt(opened)

    def _adopt(self, opened: Opened) -> None:
        manifest, segments = opened
        with self._lock:
            if manifest.schema.version != self._manifest.schema.version:
                for growing in (self._growing, *((self._frozen.segment,) if self._frozen is not None else ())):
                    growing.evolve(manifest.schema)
            self._manifest = manifest
            for i, sealed in segments.items():
                current = self._sealed.get(i)
                if current is not None:
                    sealed.deletes = current.deletes
                else:
                    applied_to = manifest.segments[i].deletes_applied_to
                    sealed.deletes = self._caught_up(sealed.segment, sealed.deletes, applied_to)
            self._sealed = segments
            self._segments_in_use.update(s.segment for s in segments.values())
            self._manifests_in_use[id(manifest)] = manifest
            if self._frozen is not None and self._frozen.sealed_to <= manifest.sealed_to:
                self._frozen = None
            if self._growing.rows and self._growing.min_timestamp <= manifest.sealed_to:
                # A writer has frozen what it seals; who only follows finds it among what came later.
                self._growing = self._growing.after(manifest.sealed_to, _rows_of(manifest))
            elif self._timestamp <= manifest.sealed_to:
                self._growing = _growing(manifest)
            self._forget_deletes()
            self._timestamp = max(self._timestamp, manifest.sealed_to)
            self._publish()
            if self._interims:
                self._set_interims(self._interims)

    # --- under `_lock` ---------------------------------------------------------------------------------------------

    def _has_unsealed(self) -> bool:
        newest_delete = self._deletes_since[-1].timestamp if self._deletes_since else 0
        return self._frozen is not None or self._growing.rows > 0 or newest_delete > self._manifest.sealed_to

    def _forget_deletes(self) -> None:
        since = min([self._manifest.sealed_to, *self._remembered_since])
        self._deletes_since = [d for d in self._deletes_since if d.timestamp > since]

    def _delete(self, delete: _Delete) -> None:
        self._growing.delete(delete.keys, delete.timestamp, delete.partitions)
        if self._frozen is not None:
            self._frozen.segment.delete(delete.keys, delete.timestamp, delete.partitions)
        for sealed in self._sealed.values():
            deletes = _with_delete(sealed.segment, sealed.deletes, delete)
            if deletes is not sealed.deletes:
                sealed.deletes, sealed.unit = deletes, None

    def _caught_up(self, segment: SealedSegment, deletes: Deletes, since: int) -> Deletes:
        for delete in self._deletes_since:
            if delete.timestamp > since:
                deletes = _with_delete(segment, deletes, delete)
        return deletes

    def _set_interims(self, interims: Mapping[Place, InterimIndex]) -> None:
        definitions = self._manifest.indexes.values() if interims else ()
        fields = {d.field_id for d in definitions if self._manifest.covers(d)}
        units = (self._next or self._snapshot).units
        seen = {place_of(unit, f) for unit in units for f in fields if f not in unit.indexes and unit.view.has(f)}
        self._interims = {place: index for place, index in interims.items() if place in seen}
        self._publish()

    def _publish(self) -> None:
        units = []
        for sealed in self._sealed.values():
            if sealed.unit is None:
                sealed.unit = Unit(
                    SealedView(sealed.segment, sealed.deletes, self._manifest.schema),
                    self._by_field(sealed.indexes),
                    self._indexed(sealed.indexes),
                    self._postings(sealed.indexes),
                )
            units.append(sealed.unit)
        growing = (self._frozen.segment, self._growing) if self._frozen is not None else (self._growing,)
        before = self._next or self._snapshot
        is_same = before.manifest is self._manifest
        made = Snapshot(
            self._manifest,
            self._timestamp,
            tuple(units),
            tuple(g.view() for g in growing if g.rows),
            self._interims,
            earlier_plans=before.plans or before.earlier_plans if is_same else RememberedPlans(),
            tallies=before.tallies,
            watch=before.watch,
        )
        if self._preparing:
            self._next = made
        else:
            self._snapshot = made

    def _by_field(self, handles: Mapping[int, Handle]) -> dict[int, IndexHandle]:
        fields = {d.id: d.field_id for d in self._manifest.indexes.values()}
        vectors = {index_id: handle for index_id, handle in handles.items() if isinstance(handle, IndexHandle)}
        return {fields[index_id]: handle for index_id, handle in vectors.items() if index_id in fields}

    def _indexed(self, handles: Mapping[int, Handle]) -> Indexed | None:
        known = self._manifest.definitions
        files = {known[i].name: file for i, file in handles.items() if i in known and isinstance(file, IndexFile)}
        return Indexed(files) if files else None

    def _postings(self, handles: Mapping[int, Handle]) -> dict[int, PostingFile]:
        known = self._manifest.definitions
        return {f.field_id: f for i, f in handles.items() if i in known and isinstance(f, PostingFile)}

    # --- outside it ------------------------------------------------------------------------------------------------

    def _open(self, entry: SegmentEntry, known: _Sealed | None, manifest: Manifest) -> _Sealed:
        """A segment as `entry` names it, reusing what is open already."""
        saved = entry.deletes.rows if entry.deletes is not None else 0
        handles: dict[int, Handle] = {}
        if known is not None:
            segment, deletes, handles = known.segment, known.deletes, known.indexes
        else:
            segment = SealedSegment.open(self._store, entry.meta, self._on_lost)
            deletes = Deletes.none(entry.meta.rows)
            if entry.deletes is not None:
                deletes = Deletes.from_bytes(self._store.get(entry.deletes.key), entry.deletes.key)
        indexes = {
            i: _of_key(handles.get(i), key) or self._open_index(segment, manifest.definitions[i], manifest.schema, key)
            for i, key in entry.indexes.items()
        }
        return _Sealed(segment, deletes, saved, None, indexes)


def _of_key(handle: Handle | None, key: str) -> Handle | None:
    """`handle`, unless the file was built anew since."""
    return None if isinstance(handle, LazyIndexFile) and handle.key != key else handle


def _growing(manifest: Manifest) -> GrowingSegment:
    return GrowingSegment(manifest.schema, _rows_of(manifest))


def _rows_of(manifest: Manifest) -> int:
    return sum(entry.meta.rows for entry in manifest.segments.values())


def _with_delete(segment: SealedSegment, deletes: Deletes, delete: _Delete) -> Deletes:
    """`deletes` after `delete`: every row of its keys and partitions written before it. Same object if none is new."""
    rows = segment.find(delete.keys, before=delete.timestamp, partitions=delete.partitions)
    return deletes.with_deleted(rows, delete.timestamp) if len(rows) else deletes
