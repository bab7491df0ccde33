"""Seal: growing rows become a sealed segment, and the log is no longer needed for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from elanus.engine.edits import Sealed
from elanus.engine.manifest import DeleteFile, SegmentEntry
from elanus.segment.deletes import Deletes
from elanus.segment.sealed import SealedSegment, WrittenSegment, write_segment

if TYPE_CHECKING:
    from elanus.engine.collection import Collection


def seal(collection: Collection) -> Iterator[str]:
    """Write what the log alone holds into a segment and delete files, and commit how far the log is sealed.

    Rows deleted before the retention time are left behind. Deletes that arrive while the segment is written are
    applied to it by key before it is swapped in.
    """
    follower, store = collection.follower, collection.store
    with follower.remembering() as deletes_known_to:
        frozen = follower.freeze()
        if frozen is None:
            return
        yield "frozen"
        segment_id = collection.new_id()
        rows = frozen.segment.rows_for_sealing(deletes_known_to, collection.retention_timestamp())
        prefix = collection.segment_prefix(segment_id)
        with collection.pending(prefix), collection.scratch() as scratch:
            written = write_segment(scratch, segment_id, prefix, collection.schema, rows)
            yield "written"
            if written is not None:
                store.publish(written.files)
            yield "published"
            with collection.commit_mutex:
                applied_to, unsaved = follower.unsaved_deletes()
                entry = None if written is None else sealed_entry(collection, written, deletes_known_to)
                files = {i: save_deletes(collection, collection.manifest.segments[i], d) for i, d in unsaved.items()}
                collection.commit_locked(Sealed(entry, files, applied_to, frozen.sealed_to))
            yield "committed"


def sealed_entry(collection: Collection, written: WrittenSegment, deletes_known_to: int) -> SegmentEntry:
    """The manifest entry of a published segment, with all deletes up to now applied and saved.

    The caller holds `commit_mutex`, and has had deletes remembered since `deletes_known_to`.
    """
    segment = SealedSegment.open(collection.store, written.meta)
    applied_to, deletes = collection.follower.missed_deletes(segment, written.deletes, deletes_known_to)
    entry = SegmentEntry(written.meta, deletes_applied_to=applied_to)
    return replace(entry, deletes=save_deletes(collection, entry, deletes)) if deletes.count else entry


def save_deletes(collection: Collection, entry: SegmentEntry, deletes: Deletes) -> DeleteFile:
    """Write a delete file of a segment."""
    key = f"{entry.meta.prefix}/{collection.host.epoch}-{collection.new_id()}.deletes"
    collection.store.put(key, deletes.to_bytes())
    return DeleteFile(key, deletes.count)
