"""Merge, build and restore: what makes searches faster and changes no answer.

A merge writes the live rows of several segments as one and brings its indexes along: the graph of the largest input is
extended, so that nobody searches the merged segment without one. A build makes the index of one segment. Both run
their heavy part in a builder process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elanus.engine.builders import Builders, BuildJob
from elanus.engine.config import EngineConfig
from elanus.engine.edits import IndexBuilt, Replaced
from elanus.engine.jobs import policy
from elanus.engine.jobs.seal import sealed_entry
from elanus.engine.manifest import IndexDefinition, Manifest
from elanus.engine.snapshot import Snapshot, Unit
from elanus.segment.blocks import PAYLOAD_OFFSET, wrap_payload
from elanus.segment.column import data_offset, open_column
from elanus.segment.indexed import build_memory
from elanus.segment.meta import SegmentMeta
from elanus.segment.paths import write_paths
from elanus.segment.posting_file import build_memory as posting_memory
from elanus.segment.rows import SegmentRows
from elanus.segment.sealed import SealedSegment, WrittenSegment, write_segment
from elanus.store.header import FileKind
from elanus.store.reasons import store_error
from elanus.vector.cost import BUILDER_BYTES, build_bytes

if TYPE_CHECKING:
    from elanus.engine.collection import Collection


def segment_facts(collection: Collection) -> list[policy.SegmentFacts]:
    """The sealed segments of `collection` as the policies see them: rows count as dead once history lets them go."""
    snapshot, retained_ts = collection.snapshot(), collection.retention_timestamp()
    return [
        policy.SegmentFacts(unit.sealed.id, unit.view.rows, snapshot.droppable_rows(unit, retained_ts))
        for unit in snapshot.sealed
        if unit.sealed is not None
    ]


def due_merge(collection: Collection) -> tuple[int, ...]:
    """The segments to merge next, none when all is well."""
    return policy.pick_merge(segment_facts(collection), collection.host.config)


def due_build(collection: Collection) -> tuple[int, IndexDefinition] | None:
    """The next segment without the file of an index it is large enough for, or with one that is lost or damaged: the
    largest first.
    """
    manifest = collection.manifest
    units = collection.follower.snapshot.sealed
    unusable: set[str | None] = {None}.union(*(unit.lost for unit in units))
    missing = [
        (entry.meta.rows, entry.meta.id, definition)
        for entry in manifest.segments.values()
        for definition in manifest.definitions.values()
        if entry.indexes.get(definition.id) in unusable
        and wants_index(manifest, entry.meta, definition, collection.host.config)
    ]
    if not missing:
        return None
    _, segment_id, definition = max(missing, key=lambda m: m[:2])
    return segment_id, definition


def wants_index(manifest: Manifest, meta: SegmentMeta, definition: IndexDefinition, config: EngineConfig) -> bool:
    """Whether a segment gets a file for `definition`: not where a scan is as good, nor of a field that it has not."""
    if definition.field_id not in meta.columns or not manifest.builds(definition):
        return False
    return meta.rows - meta.null_vectors.get(definition.field_id, 0) >= config.index_min_rows


def build_index(
    collection: Collection, segment_id: int, definition: IndexDefinition, builders: Builders
) -> Iterator[str]:
    """Build the file of an index for one segment and name it in the manifest."""
    entry = collection.manifest.segments.get(segment_id)
    if entry is None:
        return
    store, threads = collection.store, collection.host.config.build_threads
    prefix = index_prefix(collection, entry.meta.prefix)
    column = store.local_path(entry.meta.column_key(definition.field_id))
    with collection.pending(prefix), collection.scratch() as scratch:
        bare = scratch / "index"
        job = _column_job(collection, definition, column, entry.meta, bare)
        if job is not None:
            builders.run(job)
        else:
            vectors = _column(collection, column, definition, bare.with_suffix(".present"))
            builders.run(_job("vector.build", definition, vectors, {"output": str(bare)}, threads))
        yield "built"
        key = f"{prefix}.index"
        store.publish({key: _wrapped(bare, definition)})
        yield "published"
        collection.commit(IndexBuilt(segment_id, definition.id, key))
        yield "committed"


def lost_paths(collection: Collection) -> list[tuple[SealedSegment, int]]:
    """The segments, and in each the JSON field, whose columns of paths were found to be lost or damaged."""
    segments = [unit.sealed for unit in collection.follower.snapshot.sealed if unit.sealed is not None]
    return [(segment, field_id) for segment in segments for field_id in sorted(segment.lost_paths)]


def restore_paths(collection: Collection, segment: SealedSegment, field_id: int) -> Iterator[str]:
    """Write the columns of a JSON field's paths anew, in place of what is there: nobody has that mapped."""
    key, store = segment.meta.paths_key(field_id), collection.store
    with collection.pending(segment.meta.prefix), collection.scratch() as scratch:
        path = scratch / "paths"
        is_written = write_paths(path, field_id, segment.column(field_id)) > 0
        yield "written"
        store.delete([key])
        if is_written:
            store.publish({key: path})
        segment.restored(field_id, is_written)
        yield "published"


def merge(collection: Collection, chosen: Sequence[int], builders: Builders) -> Iterator[str]:
    """Write the live rows of the segments `chosen`, the largest first, as one segment with the indexes it inherits.

    Rows that history lets go are left out. Does nothing where a chosen segment is gone.
    """
    follower, store = collection.follower, collection.store
    with follower.remembering() as deletes_known_to:
        snapshot = follower.snapshot
        units = {unit.sealed.id: unit for unit in snapshot.sealed if unit.sealed is not None}
        if not chosen or not all(i in units for i in chosen):
            return
        inputs = [units[i] for i in chosen]
        rows = SegmentRows.of(
            [unit.view for unit in inputs],
            deletes_known_to,
            collection.retention_timestamp(),
            snapshot.manifest.live_partitions,
            collection.expiry.now(snapshot),
        )
        yield "chosen"
        segment_id = collection.new_id()
        prefix = collection.segment_prefix(segment_id)
        with collection.pending(prefix), collection.scratch() as scratch:
            written = write_segment(scratch, segment_id, prefix, collection.schema, rows)
            yield "written"
            indexes: dict[int, str] = {}
            if written is not None:
                inherited = _inherited(collection, snapshot, inputs, rows, written, builders)
                indexes = {index_id: key for index_id, (key, _) in inherited.items()}
                yield "indexed"
                store.publish({**written.files, **dict(inherited.values())})
            yield "published"
            with collection.commit_mutex:
                entry = None
                if written is not None:
                    entry = replace(sealed_entry(collection, written, deletes_known_to), indexes=indexes)
                collection.commit_locked(Replaced(tuple(chosen), entry))
            yield "committed"


def _inherited(
    collection: Collection,
    snapshot: Snapshot,
    inputs: Sequence[Unit],
    rows: SegmentRows,
    written: WrittenSegment,
    builders: Builders,
) -> dict[int, tuple[str, Path]]:
    """For each index that an input has a file of: its id, and the Store key and file of the merged segment's."""
    store, manifest = collection.store, snapshot.manifest
    new_rows = rows.new_rows(written.order)
    made: dict[int, tuple[str, Path]] = {}
    for definition in manifest.definitions.values():
        if not wants_index(manifest, written.meta, definition, collection.host.config):
            continue
        entries = [manifest.segments[unit.sealed.id] for unit in inputs if unit.sealed is not None]
        having = [i for i, entry in enumerate(entries) if definition.id in entry.indexes]
        if not having:
            continue
        key = f"{index_prefix(collection, written.meta.prefix)}.index"
        path = written.files[written.meta.column_key(definition.field_id)]
        bare = path.with_name(f"index-{definition.id}")
        job = _column_job(collection, definition, path, written.meta, bare)
        if job is not None:
            builders.run(job)
            made[definition.id] = (key, _wrapped(bare, definition))
            continue
        base = max(having, key=lambda i: entries[i].meta.rows)
        bare = path.with_suffix(".extended")
        moves = bare.with_suffix(".moves")
        try:
            moves.write_bytes(new_rows[base].astype(np.int64).tobytes())
        except OSError as error:
            raise store_error(error, "write", str(moves)) from error
        more = {
            "output": str(bare),
            "old": {"path": str(store.local_path(entries[base].indexes[definition.id])), "offset": PAYLOAD_OFFSET},
            "new_of_old": {"path": str(moves), "offset": 0, "rows": len(new_rows[base])},
        }
        column = _column(collection, path, definition, bare.with_suffix(".present"))
        builders.run(_job("vector.extend", definition, column, more, collection.host.config.build_threads))
        moves.unlink()
        made[definition.id] = (key, _wrapped(bare, definition))
    return made


def index_prefix(collection: Collection, segment_prefix: str) -> str:
    """The beginning of the Store key of a new index file of a segment."""
    return f"{segment_prefix}/{collection.host.epoch}-{collection.new_id()}"


def _column(collection: Collection, path: Path, definition: IndexDefinition, present: Path) -> dict[str, Any]:
    """Where a builder finds the vectors of a column file; `present` is a file for the rows that have one."""
    column = open_column(path, definition.field_id)
    dim = collection.schema.by_id[definition.field_id].dim
    found: dict[str, Any] = {"path": str(path), "offset": data_offset(path), "rows": len(column), "dim": dim}
    if column.null_count:
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        try:
            rows.tofile(present)
        except OSError as error:
            raise store_error(error, "write", str(present)) from error
        found["present"] = {"path": str(present), "rows": len(rows)}
    return found


def _job(
    task: str, definition: IndexDefinition, column: Mapping[str, Any], more: Mapping[str, Any], threads: int
) -> BuildJob:
    spec = definition.spec
    arguments = {
        "spec": spec.to_dict(), "metric": definition.vector_metric.value, "column": column, "threads": threads, **more
    }  # fmt: skip
    memory = build_bytes(spec, column["rows"], column["dim"], spread="present" in column)
    return BuildJob(task, arguments, memory_bytes=memory)


def _column_job(
    collection: Collection, definition: IndexDefinition, column: Path, meta: SegmentMeta, output: Path
) -> BuildJob | None:
    """What builds an index from a column file alone: that of a scalar field or of sparse vectors; None for others."""
    field_id = definition.field_id
    if definition.metric is not None:
        if collection.schema.by_id[field_id].is_dense:
            return None
        source = {"path": str(column), "field_id": field_id}
        arguments = {"metric": definition.metric.value, "column": source, "output": str(output)}
        memory = posting_memory(meta.columns[field_id])
        return BuildJob("sparse.build", arguments, memory_bytes=BUILDER_BYTES + memory)
    of = definition.of(collection.schema)
    memory = build_memory(of, meta.rows, meta.columns[definition.field_id])
    return BuildJob("scalar.build", of.to_arguments(column, output), memory_bytes=BUILDER_BYTES + memory)


def _wrapped(bare: Path, definition: IndexDefinition) -> Path:
    """The payload `bare` with a file's header and checksums."""
    path = bare.with_suffix(".wrapped")
    wrap_payload(bare, path, FileKind.INDEX, definition.field_id)
    bare.unlink()
    return path
