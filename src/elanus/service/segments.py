"""Segments as Milvus clients ask about them, and compaction as they start it and ask how far it is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from elanus.engine.collection import Collection
from elanus.engine.manifest import Manifest
from elanus.model.denial import Deed
from elanus.model.errors import ElanusError, InvalidParameter
from elanus.service import loading
from elanus.service.compactions import Compaction
from elanus.service.context import RequestContext
from elanus.service.instance import Instance

_log = logging.getLogger("elanus.service")


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """The rows that one segment holds of one partition, deleted ones among them.

    `bytes` is the size of its files; `index` the name of a vector index that it has, empty for none.
    """

    id: int
    collection_id: int
    partition_id: int
    rows: int
    bytes: int
    sealed: bool
    index: str


def list_all(ctx: RequestContext, instance: Instance, collection: str) -> list[SegmentInfo]:
    """Every segment, sealed and growing, partition by partition. Raises `CollectionNotFound`."""
    found = instance.collection(ctx, collection)
    return list(_segments(found))


def list_loaded(ctx: RequestContext, instance: Instance, collection: str) -> list[SegmentInfo]:
    """Those that reads of Milvus clients look at. Raises `CollectionNotLoaded`."""
    found = instance.collection(ctx, collection)
    loading.require(found, collection)
    loaded = loading.loaded_partitions(found.manifest)
    return [segment for segment in _segments(found) if segment.partition_id in loaded]


def start_compaction(ctx: RequestContext, instance: Instance, collection: str) -> tuple[int, int]:
    """Begin to merge a collection's segments; returns the compaction's id and how many merges it is.

    The id is -1 where there is nothing to merge. Raises `CollectionNotFound`.
    """
    found = instance.collection(ctx, collection, Deed.COMPACTION)
    sources = tuple(found.manifest.segments)
    if not sources and not found.follower.growing_rows:
        return -1, 0
    begun = Compaction(instance.engine.oracle.next(), sources)
    instance.compactions.put(begun.id, begun)
    # A daemon: what a merge has not committed when the process ends is garbage, and nothing is lost.
    threading.Thread(target=_compact, args=(instance, found, begun), name="elanus-compact", daemon=True).start()
    return begun.id, begun.plans


def compaction(ctx: RequestContext, instance: Instance, compaction_id: int) -> Compaction:
    """How far a compaction is. Raises `InvalidParameter` for an id that none has."""
    instance.begin(ctx)
    if compaction_id == -1:
        return Compaction(-1, (), plans=0, done=True)
    found = instance.compactions.get(compaction_id)
    if found is None:
        raise InvalidParameter(f"there is no compaction {compaction_id}: it was never started, or long ago")
    return found


def _compact(instance: Instance, collection: Collection, begun: Compaction) -> None:
    try:
        collection.compact()
    except ElanusError as error:
        ended = replace(begun, done=True, error=error.message)
    except Exception as error:  # noqa: BLE001 - whoever asks for it is told that it has ended
        _log.exception("the compaction of collection %s failed", collection.id)
        ended = replace(begun, done=True, error=f"internal error: {type(error).__name__}; see the log")
    else:
        made = max(collection.manifest.segments, default=0)
        ended = replace(begun, done=True, target=0 if made in begun.sources else made)
    instance.compactions.put(begun.id, ended)


def _segments(collection: Collection) -> Iterator[SegmentInfo]:
    snapshot = collection.snapshot()
    manifest = snapshot.manifest
    for unit in snapshot.sealed:
        segment = unit.sealed
        assert segment is not None, "a sealed unit has a segment"
        meta = segment.meta
        live = [(partition, count) for partition, _, count in meta.partitions if partition in manifest.live_partitions]
        for partition, count in live:
            yield SegmentInfo(
                meta.id,
                collection.id,
                partition,
                count,
                meta.bytes * count // meta.rows,
                sealed=True,
                index=_index_name(manifest, frozenset(manifest.segments[meta.id].indexes)),
            )
    # A growing segment has no number of its own: it is told apart by the timestamp of its first row.
    for view in snapshot.growing:
        for partition in sorted(manifest.live_partitions):
            rows = sum(int(np.count_nonzero(chunk.partitions == partition)) for chunk in view.chunks)
            if rows:
                yield SegmentInfo(
                    int(view.chunks[0].timestamps[0]), collection.id, partition, rows, 0, sealed=False, index=""
                )


def _index_name(manifest: Manifest, built: frozenset[int]) -> str:
    return next((d.name for d in manifest.indexes.values() if d.id in built and d.metric is not None), "")
