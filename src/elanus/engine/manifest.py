"""The manifest: everything of one collection, as a value with a history.

A version of the manifest is the collection as it was: schema history, partitions, index definitions, properties,
segments with their files, and the timestamp up to which the log is in them. Nothing here does I/O: states are
frozen, edits are frozen, `apply` makes the next state and `rebase` says whether an edit still holds after it lost
a race. `store.versioned.VersionedState` keeps the versions.

Invariant: manifest + the log's records later than `sealed_to` = the collection. An edit moves `sealed_to` to T only
together with every segment frozen before T and a delete file for every segment whose rows were deleted up to T. Records
are told apart by timestamp, which rises with their place in the log, so a record that was carried to a later place
stays the same record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from elanus.model.errors import IndexNotFound, InvalidParameter, PartitionNotFound
from elanus.model.names import check_name
from elanus.model.schema import Schema
from elanus.model.types import Consistency, Metric, OnDuplicateKey
from elanus.segment.sealed import SegmentMeta
from elanus.vector.registry import resolve

DEFAULT_PARTITION = "_default"
MAX_PARTITIONS = 1024

JSON_PATH = "json_path"
"""The parameter of an index of a JSON field that says what in it is indexed."""


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """An index a user asked for: `kind` and `params` as given, `metric` resolved, None for that of a scalar field.

    `id` tells two definitions of one name apart: files built for a dropped index are never taken for a new one.
    """

    name: str
    field_id: int
    kind: str
    metric: Metric | None
    params: Mapping[str, Any]
    id: int = 0

    @property
    def place(self) -> tuple[int, str]:
        """What is indexed: a field, or a path into a JSON field."""
        return self.field_id, str(self.params.get(JSON_PATH, ""))

    @property
    def vector_metric(self) -> Metric:
        """The metric of an index that is known to be one of vectors."""
        assert self.metric is not None, f"{self.name} indexes a scalar field"
        return self.metric

    @property
    def has_file(self) -> bool:
        """Whether there is anything to build: scans are as good as FLAT and as indexes of scalar fields."""
        return self.metric is not None and resolve(self.kind, self.params).has_file

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "field_id": self.field_id,
            "kind": self.kind,
            "metric": self.metric and self.metric.value,
            "params": dict(self.params),
            "id": self.id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> IndexDefinition:
        return cls(**{**data, "metric": data["metric"] and Metric(data["metric"])})


@dataclass(frozen=True, slots=True)
class Loaded:
    """What Milvus clients have loaded: all partitions (None), or those with these ids; `replicas` as they asked.

    Nothing in the engine depends on it: rows can be read as soon as they are written.
    """

    partitions: frozenset[int] | None = None
    replicas: int = 1

    def to_dict(self) -> dict[str, Any]:
        return {
            "partitions": None if self.partitions is None else sorted(self.partitions),
            "replicas": self.replicas,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Loaded:
        partitions = data["partitions"]
        return cls(None if partitions is None else frozenset(partitions), data["replicas"])


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Where the deletes of a segment are stored, and how many rows they are."""

    key: str
    rows: int


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A sealed segment as the manifest knows it.

    `indexes` maps an index definition's id to the Store key of the file built for it; `deletes` names
    the delete file, None while no row is deleted. Every delete with a timestamp up to
    `deletes_applied_to` is in that file.
    """

    meta: SegmentMeta
    deletes: DeleteFile | None = None
    deletes_applied_to: int = 0
    indexes: Mapping[int, str] = field(default_factory=dict)

    def keys(self) -> frozenset[str]:
        """Every Store key this entry names."""
        named = set(self.meta.keys()) | set(self.indexes.values())
        if self.deletes is not None:
            named.add(self.deletes.key)
        return frozenset(named)

    def to_dict(self) -> dict[str, Any]:
        return {
            "meta": self.meta.to_dict(),
            "deletes": self.deletes and [self.deletes.key, self.deletes.rows],
            "deletes_applied_to": self.deletes_applied_to,
            "indexes": {str(index_id): key for index_id, key in self.indexes.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SegmentEntry:
        return cls(
            meta=SegmentMeta.from_dict(data["meta"]),
            deletes=data["deletes"] and DeleteFile(*data["deletes"]),
            deletes_applied_to=data["deletes_applied_to"],
            indexes={int(index_id): key for index_id, key in data["indexes"].items()},
        )


@dataclass(frozen=True)
class Manifest:
    """One version of a collection. `schemas` is its history, oldest first; the last one is in force."""

    schemas: tuple[Schema, ...]
    partitions: Mapping[str, int] = field(default_factory=lambda: {DEFAULT_PARTITION: 1})
    next_partition_id: int = 2
    indexes: Mapping[str, IndexDefinition] = field(default_factory=dict)
    next_index_id: int = 1
    properties: Mapping[str, str] = field(default_factory=dict)
    on_duplicate_key: OnDuplicateKey = OnDuplicateKey.KEEP
    segments: Mapping[int, SegmentEntry] = field(default_factory=dict)
    sealed_to: int = 0
    committed_ms: int = 0
    consistency: Consistency = Consistency.BOUNDED
    shards: int = 1
    loaded: Loaded | None = None

    @property
    def schema(self) -> Schema:
        return self.schemas[-1]

    @cached_property
    def live_partitions(self) -> frozenset[int]:
        return frozenset(self.partitions.values())

    def schema_of(self, version: int) -> Schema:
        return next(s for s in self.schemas if s.version == version)

    def partition_id(self, name: str) -> int:
        """Raises `PartitionNotFound` for a name the collection does not have, `InvalidParameter` for what is none."""
        found = self.partitions.get(name)
        if found is None:
            check_name(name, "partition")  # what no partition can be called was not looked for
            raise partition_not_found(name)
        return found

    def index_of(self, field_id: int) -> IndexDefinition | None:
        return next((d for d in self.indexes.values() if d.field_id == field_id), None)

    def keys(self) -> frozenset[str]:
        """Every Store key this version names."""
        return frozenset().union(*(entry.keys() for entry in self.segments.values()))

    def to_dict(self) -> dict[str, Any]:
        return {
            "schemas": [s.to_dict() for s in self.schemas],
            "partitions": dict(self.partitions),
            "next_partition_id": self.next_partition_id,
            "indexes": [d.to_dict() for d in self.indexes.values()],
            "next_index_id": self.next_index_id,
            "properties": dict(self.properties),
            "on_duplicate_key": self.on_duplicate_key.value,
            "segments": [entry.to_dict() for entry in self.segments.values()],
            "sealed_to": self.sealed_to,
            "committed_ms": self.committed_ms,
            "consistency": int(self.consistency),
            "shards": self.shards,
            "loaded": self.loaded and self.loaded.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        entries = [SegmentEntry.from_dict(entry) for entry in data["segments"]]
        definitions = [IndexDefinition.from_dict(d) for d in data["indexes"]]
        return cls(
            schemas=tuple(Schema.from_dict(s) for s in data["schemas"]),
            partitions=data["partitions"],
            next_partition_id=data["next_partition_id"],
            indexes={d.name: d for d in definitions},
            next_index_id=data["next_index_id"],
            properties=data["properties"],
            on_duplicate_key=OnDuplicateKey(data["on_duplicate_key"]),
            segments={entry.meta.id: entry for entry in entries},
            sealed_to=data["sealed_to"],
            committed_ms=data["committed_ms"],
            # Manifests written before these were there hold for them what was true then.
            consistency=Consistency(data.get("consistency", Consistency.BOUNDED)),
            shards=data.get("shards", 1),
            loaded=Loaded.from_dict(data["loaded"]) if data.get("loaded") else None,
        )


def partition_not_found(name: str) -> PartitionNotFound:
    """The error for a partition that a collection does not have; clients look for these words."""
    return PartitionNotFound(f"partition name {name} not found: partition not found[partition={name}]")


# --- edits ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stamp:
    """When the version was committed; every commit carries one, so that retention can count from it."""

    committed_ms: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """Growing rows became `segment` (None if all were gone); `deletes` are the new delete files of other segments.

    With them every segment has all deletes up to `deletes_applied_to`.
    """

    segment: SegmentEntry | None
    deletes: Mapping[int, DeleteFile]
    deletes_applied_to: int
    sealed_to: int


@dataclass(frozen=True, slots=True)
class Replaced:
    """`inputs` were merged into `output` (None if no row was left)."""

    inputs: tuple[int, ...]
    output: SegmentEntry | None


@dataclass(frozen=True, slots=True)
class IndexBuilt:
    segment_id: int
    index_id: int
    key: str


@dataclass(frozen=True, slots=True)
class IndexDefined:
    definition: IndexDefinition


@dataclass(frozen=True, slots=True)
class IndexDropped:
    name: str


@dataclass(frozen=True, slots=True)
class IndexAltered:
    """Parameters of an index that say nothing about its files: `params` are set, `removed` are taken away."""

    name: str
    params: Mapping[str, Any]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PartitionAdded:
    name: str


@dataclass(frozen=True, slots=True)
class PartitionDropped:
    name: str


@dataclass(frozen=True, slots=True)
class Truncated:
    """Every row written up to `sealed_to` is gone."""

    sealed_to: int


@dataclass(frozen=True, slots=True)
class FieldAltered:
    """What a field's stored values do not depend on: None leaves a thing as it is, `params` as in `IndexAltered`.

    The schema keeps its version: rows written before it are decoded as they were.
    """

    field_id: int
    max_length: int | None
    description: str | None
    params: Mapping[str, str]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PropertiesSet:
    """`properties` are set, `removed` are taken away."""

    properties: Mapping[str, str]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConsistencySet:
    """The level of reads that name none."""

    consistency: Consistency


@dataclass(frozen=True, slots=True)
class LoadSet:
    """What clients have loaded from now on; None for nothing."""

    loaded: Loaded | None


Edit = (
    Stamp
    | Sealed
    | Replaced
    | IndexBuilt
    | IndexDefined
    | IndexDropped
    | IndexAltered
    | FieldAltered
    | PartitionAdded
    | PartitionDropped
    | Truncated
    | PropertiesSet
    | ConsistencySet
    | LoadSet
)


def apply(state: Manifest, edit: Edit) -> Manifest:
    """The manifest after `edit`. Raises an `ElanusError` where the edit asks for what cannot be."""
    match edit:
        case Stamp(committed_ms):
            return replace(state, committed_ms=committed_ms)
        case Sealed(segment, deletes, applied_to, sealed_to):
            segments = {
                i: replace(
                    entry,
                    deletes=deletes.get(i, entry.deletes),
                    deletes_applied_to=max(entry.deletes_applied_to, applied_to),
                )
                for i, entry in state.segments.items()
            }
            if segment is not None:
                segments[segment.meta.id] = segment
            return replace(state, segments=segments, sealed_to=max(state.sealed_to, sealed_to))
        case Replaced(inputs, output):
            segments = {i: entry for i, entry in state.segments.items() if i not in inputs}
            if output is not None:
                segments[output.meta.id] = output
            return replace(state, segments=segments)
        case IndexBuilt(segment_id, index_id, key):
            entry = state.segments[segment_id]
            entry = replace(entry, indexes={**entry.indexes, index_id: key})
            return replace(state, segments={**state.segments, segment_id: entry})
        case IndexDefined(definition):
            return _define_index(state, definition)
        case IndexDropped(name):
            return _drop_index(state, name)
        case IndexAltered(name, params, removed):
            altered = state.indexes[name]
            kept = {key: value for key, value in altered.params.items() if key not in removed}
            altered = replace(altered, params={**kept, **params})
            return replace(state, indexes={**state.indexes, name: altered})
        case FieldAltered():
            return _alter_field(state, edit)
        case PartitionAdded(name):
            if len(state.partitions) >= MAX_PARTITIONS:
                raise InvalidParameter(
                    f"partition number ({len(state.partitions)}) exceeds max configuration ({MAX_PARTITIONS}): "
                    "drop a partition or use a partition key"
                )
            partitions = {**state.partitions, name: state.next_partition_id}
            return replace(state, partitions=partitions, next_partition_id=state.next_partition_id + 1)
        case PartitionDropped(name):
            return _drop_partition(state, name)
        case Truncated(sealed_to):
            return replace(state, segments={}, sealed_to=max(state.sealed_to, sealed_to))
        case PropertiesSet(properties, removed):
            kept = {key: value for key, value in state.properties.items() if key not in removed}
            return replace(state, properties={**kept, **properties})
        case ConsistencySet(consistency):
            return replace(state, consistency=consistency)
        case LoadSet(loaded):
            return replace(state, loaded=loaded)


def _alter_field(state: Manifest, edit: FieldAltered) -> Manifest:
    field = state.schema.by_id[edit.field_id]
    kept = {key: value for key, value in field.params.items() if key not in edit.removed}
    altered = replace(
        field,
        max_length=field.max_length if edit.max_length is None else edit.max_length,
        description=field.description if edit.description is None else edit.description,
        params={**kept, **edit.params},
    )
    fields = tuple(altered if f.id == field.id else f for f in state.schema.fields)
    return replace(state, schemas=(*state.schemas[:-1], replace(state.schema, fields=fields)))


def _drop_partition(state: Manifest, name: str) -> Manifest:
    loaded = state.loaded
    if loaded is not None and loaded.partitions is not None:
        rest = loaded.partitions - {state.partitions[name]}
        loaded = replace(loaded, partitions=rest) if rest else None
    return replace(state, partitions={n: i for n, i in state.partitions.items() if n != name}, loaded=loaded)


def _define_index(state: Manifest, definition: IndexDefinition) -> Manifest:
    numbered = replace(definition, id=state.next_index_id)
    return replace(state, indexes={**state.indexes, definition.name: numbered}, next_index_id=state.next_index_id + 1)


def _drop_index(state: Manifest, name: str) -> Manifest:
    dropped = state.indexes.get(name)
    if dropped is None:
        raise IndexNotFound(f"index not found[indexName={name}]")
    segments = {
        segment_id: replace(entry, indexes={i: key for i, key in entry.indexes.items() if i != dropped.id})
        for segment_id, entry in state.segments.items()
    }
    indexes = {n: d for n, d in state.indexes.items() if n != name}
    return replace(state, indexes=indexes, segments=segments)


def rebase(state: Manifest, edit: Edit) -> Edit | None:
    """`edit`, made against an older version, as it holds against `state`; None when its work has become garbage.

    A built index holds if its segment and its definition are still there, a replacement if all its inputs are,
    a sealed segment unless the collection was truncated past its rows.
    """
    match edit:
        case IndexBuilt(segment_id, index_id, _):
            known = segment_id in state.segments and any(d.id == index_id for d in state.indexes.values())
            return edit if known else None
        case Replaced(inputs, output):
            if not all(i in state.segments for i in inputs):
                return None
            if output is None:
                return edit
            defined = {d.id for d in state.indexes.values()}
            kept = {i: key for i, key in output.indexes.items() if i in defined}
            return replace(edit, output=replace(output, indexes=kept))
        case Sealed(_, _, _, sealed_to):
            return edit if sealed_to > state.sealed_to else None
        case IndexDropped(name) | IndexAltered(name, _, _):
            return edit if name in state.indexes else None
        case PartitionAdded(name):
            return None if name in state.partitions else edit
        case PartitionDropped(name):
            return edit if name in state.partitions else None
        case _:
            return edit
