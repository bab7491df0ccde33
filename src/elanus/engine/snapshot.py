"""The immutable picture of one collection that a read works on.

A read takes `follower.snapshot` once, a plain reference, and never looks back: whatever writers and jobs do
afterwards, the manifest, the sealed segments with their deletes, and the growing rows it holds stay as they were.
A held snapshot keeps its files: a segment's files are collected only after the last snapshot that holds it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from elanus.engine import masks
from elanus.engine.manifest import Manifest
from elanus.engine.masks import Mask
from elanus.engine.remembered import RememberedPlans
from elanus.engine.trust.watch import Watch
from elanus.expr.bound import BoundFilter
from elanus.model.types import Metric
from elanus.segment.expired import NEVER, NOTHING, Expired, first_end_in
from elanus.segment.growing import GrowingView
from elanus.segment.indexed import Indexed
from elanus.segment.posting_file import PostingFile
from elanus.segment.sealed import SealedSegment, SealedView
from elanus.segment.view import SegmentView
from elanus.vector.payload import address

if TYPE_CHECKING:  # they load compilers and kernels, which only searches need
    from elanus.vector.interim import InterimIndex
    from elanus.vector.open import VectorIndex


class IndexHandle:
    """The index file of one segment and field, opened at its first search.

    `open` may run twice when two first searches meet; both get a working index and one of them is kept.
    """

    def __init__(self, opener: Callable[[], VectorIndex]) -> None:
        self._opener = opener
        self._index: VectorIndex | None = None

    def open(self) -> VectorIndex:
        index = self._index
        if index is None:
            index = self._index = self._opener()
        return index


Place = tuple[int, int]
"""Field id and memory address of a unit's vectors. An interim index keeps them alive, so no other vectors get there."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A run of rows that the planner treats on its own: a sealed segment, or one chunk of a growing one.

    `indexes` maps a dense vector field's id to the index built for it, `postings` a sparse one's, `indexed` are those
    of scalar fields; growing chunks have none.
    """

    view: SegmentView
    indexes: Mapping[int, IndexHandle] = field(default_factory=dict)
    indexed: Indexed | None = None
    postings: Mapping[int, PostingFile] = field(default_factory=dict)
    _partition_masks: dict[frozenset[int], Mask | None] = field(default_factory=dict, compare=False, repr=False)
    _unexpired: dict[Expired, Mask] = field(default_factory=dict, compare=False, repr=False)
    _first_ends: dict[int, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def sealed(self) -> SealedSegment | None:
        """The sealed segment this is, None for a growing chunk."""
        return self.view.segment if isinstance(self.view, SealedView) else None

    @property
    def lost(self) -> set[str]:
        """The Store keys of index files that were found to be lost or damaged."""
        of_fields = self.indexed.lost if self.indexed is not None else set()
        return of_fields | {file.key for file in self.postings.values() if file.is_lost}

    @property
    def has_unique_keys(self) -> bool:
        """Whether no key stands twice among all its rows, deleted ones included; growing chunks do not know."""
        return self.sealed is not None and self.sealed.meta.unique

    @property
    def oldest(self) -> int:
        """No row was written before this timestamp."""
        return self.sealed.meta.min_timestamp if self.sealed is not None else int(self.view.timestamps[0])

    def first_end(self, field_id: int) -> int:
        """No row ends before this moment by its time in the field `field_id`; `NEVER` where none does."""
        end = self._first_ends.get(field_id)
        if end is None:
            known = self.view.statistics.get(field_id) if isinstance(self.view, SealedView) else None
            if known is None:
                end = first_end_in(self.view, field_id)
            else:
                end = NEVER if known.low is None else int(known.low)
            self._first_ends[field_id] = end
        return end

    def may_hold(self, expired: Expired) -> bool:
        """Whether any of its rows may have expired."""
        if self.oldest < expired.before:
            return True
        return bool(expired.field_id) and self.first_end(expired.field_id) <= expired.moment

    def unexpired(self, expired: Expired) -> Mask | None:
        """The rows that have not expired; None for all. The last answer is kept: what has expired moves in steps."""
        if not expired or not self.may_hold(expired):
            return None
        mask = self._unexpired.get(expired)
        if mask is None:
            mask = masks.from_bools(expired.rows_left(self.view))
            self._unexpired.clear()
            self._unexpired[expired] = mask
        return mask

    def partition_mask(self, partitions: frozenset[int]) -> Mask | None:
        """The rows that belong to `partitions`; remembered, since the same few sets come back."""
        if partitions not in self._partition_masks:
            self._partition_masks[partitions] = self.view.partition_mask(partitions)
        return self._partition_masks[partitions]


def source_of(unit: Unit, number: int = 0) -> str:
    """A unit in words; `number` is its place in the snapshot, by which growing chunks are known."""
    return f"segment {unit.sealed.id}" if unit.sealed is not None else f"growing chunk {number}"


def place_of(unit: Unit, field_id: int) -> Place:
    return field_id, address(unit.view.vectors(field_id))


def _nothing_worked_out() -> dict[str, Any]:
    return {"plans": RememberedPlans(), "earlier_plans": RememberedPlans(), "counts": {}}


@dataclass(frozen=True)
class Snapshot:
    """`units` in the order sealed, then growing; `timestamp` is the newest write it includes.

    `interims` are lists over rows that have no graph yet, by where the vectors they cover lie (`place_of`).
    """

    manifest: Manifest
    timestamp: int
    sealed: tuple[Unit, ...]
    growing: tuple[GrowingView, ...]
    interims: Mapping[Place, InterimIndex] = field(default_factory=dict)
    plans: RememberedPlans = field(default_factory=RememberedPlans, compare=False, repr=False)
    """What searches have worked out about this picture, by what they ask."""

    earlier_plans: RememberedPlans = field(default_factory=RememberedPlans, compare=False, repr=False)
    """The same of the picture before, of the same manifest: most of it still holds."""

    expired: Expired = NOTHING
    """These rows are not seen (see `expiry`)."""

    counts: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was counted of the words of texts (`full_text`), by field."""

    tallies: dict[int, Any] = field(default_factory=dict, compare=False, repr=False)
    """By field id, how searches have fared; the same for all pictures of a collection."""

    watch: Watch = field(default_factory=Watch, compare=False, repr=False)
    """What is known of the recall of searches; the same for all pictures of a collection."""

    def at(self, timestamp: int) -> Snapshot:
        """This picture as it was at an earlier `timestamp`: without what was written or deleted since.

        Exact as long as nothing that was deleted after `timestamp` has been left behind by a merge, which happens when
        it is older than the retention time.
        """
        return replace(self, timestamp=min(timestamp, self.timestamp), **_nothing_worked_out())

    def without(self, expired: Expired) -> Snapshot:
        """This picture without the rows that have `expired`, and with those that have not."""
        return replace(self, expired=expired, **_nothing_worked_out())

    def aside(self) -> Snapshot:
        """This picture for searches that nobody asked for: what they work out is not kept with it."""
        return replace(self, tallies={key: copy(tally) for key, tally in self.tallies.items()}, **_nothing_worked_out())

    @cached_property
    def without_growing(self) -> Snapshot:
        """This picture without the rows that are in no segment yet."""
        return replace(self, growing=(), **_nothing_worked_out()) if self.growing else self

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        return self.sealed + tuple(Unit(chunk) for view in self.growing for chunk in view.chunks if chunk.rows)

    def interim(self, unit: Unit, field_id: int, metric: Metric) -> InterimIndex | None:
        """The interim lists over the first rows of `unit`, if there are any for `metric`.

        There may be some of an index that was dropped: a job that began before has published them since.
        """
        index = None
        if self.interims and unit.view.has(field_id):
            index = self.interims.get(place_of(unit, field_id))
        return index if index is not None and index.metric is metric else None

    def partition_ids(self, names: Sequence[str], condition: BoundFilter | None = None) -> frozenset[int]:
        """The ids of `names`, or of every partition where none is named; without those where `condition` names its
        tenants and they are not. Raises `PartitionNotFound`.
        """
        ids = self.manifest.live_partitions
        if names:
            ids = frozenset(self.manifest.partition_id(name, reads=True) for name in names)
        if condition is not None and condition.tenants is not None:
            ids &= self.manifest.partitions_of(condition.tenants[0])
        return ids

    def visible(self, unit: Unit, partitions: frozenset[int]) -> Mask | None:
        """The rows of `unit` in `partitions` that are not deleted; None when that is all of them."""
        return masks.both(unit.partition_mask(partitions), self.alive(unit))

    def alive(self, unit: Unit) -> Mask | None:
        """The rows of `unit` that are neither deleted nor expired, whatever their partition; None for all of them."""
        return masks.both(unit.view.alive(self.timestamp), unit.unexpired(self.expired))

    def droppable_rows(self, unit: Unit, timestamp: int) -> int:
        """How many rows of `unit` a merge may leave out: deleted before `timestamp`, expired, or of a dropped
        partition.
        """
        deleted, _ = unit.view.deletions(timestamp)
        kept = masks.both(unit.partition_mask(self.manifest.live_partitions), unit.unexpired(self.expired))
        if kept is None:
            return len(deleted)
        in_kept = int(masks.bits(kept, deleted).sum())
        return unit.view.rows - masks.count(kept) + in_kept
