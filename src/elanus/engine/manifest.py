"""The manifest: everything of one collection, as a value with a history.

A version of the manifest is the collection as it was: schema history, partitions, index definitions, properties,
segments with their files, and the timestamp up to which the log is in them. Nothing here does I/O: states are
frozen, `edits` makes the next one of one. `store.versioned.VersionedState` keeps the versions.

Invariant: manifest + the log's records later than `sealed_to` = the collection. An edit moves `sealed_to` to T only
together with every segment frozen before T and a delete file for every segment whose rows were deleted up to T. Records
are told apart by timestamp, which rises with their place in the log, so a record that was carried to a later place
stays the same record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from elanus.model.canonical import Values
from elanus.model.errors import PartitionNotFound
from elanus.model.names import MAX_NAME_BYTES, check_name
from elanus.model.schema import Field, Schema
from elanus.model.types import Consistency, DataType, Metric, OnDuplicateKey
from elanus.scalar import registry
from elanus.scalar.paths import place_of, steps_of
from elanus.segment.indexed import IndexOf
from elanus.segment.sealed import SegmentMeta
from elanus.segment.tenants import partitions_of
from elanus.text.declared import ANALYZER, is_matched
from elanus.vector.registry import IndexSpec, resolve

DEFAULT_PARTITION = "_default"
MAX_PARTITIONS = 1024

JSON_PATH = "json_path"
"""The parameter of an index of a JSON field that says what in it is indexed."""


@dataclass(frozen=True)
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

    @classmethod
    def of_text(cls, field: Field) -> IndexDefinition:
        """That of the words of a field with `enable_match`. Its id is that of no index that was created."""
        params = {key: field.params[key] for key in (ANALYZER,) if key in field.params}
        return cls(f"text({field.name})", field.id, registry.TEXT, None, params, id=-field.id)

    @property
    def place(self) -> tuple[int, str]:
        """What is indexed: a field, or a path into a JSON field."""
        return self.field_id, place_of(str(self.params.get(JSON_PATH, "")))

    @property
    def vector_metric(self) -> Metric:
        """The metric of an index that is known to be one of vectors."""
        assert self.metric is not None, f"{self.name} indexes a scalar field"
        return self.metric

    @property
    def has_file(self) -> bool:
        """Whether there is anything to build: a scan is as good as FLAT."""
        if self.metric is None:
            return registry.has_file(self.kind)
        return self.spec.has_file

    @cached_property
    def spec(self) -> IndexSpec:
        """What an index of vectors is built as."""
        return resolve(self.kind, self.params)

    def of(self, schema: Schema) -> IndexOf:
        """What a file of an index of a scalar field is built for."""
        field = schema.by_id[self.field_id]
        steps = None
        if field.dtype is DataType.JSON:
            steps = steps_of(str(self.params.get(JSON_PATH, "")), is_dynamic=field.is_dynamic)
        kind = registry.RTREE if field.dtype is DataType.GEOMETRY else self.kind
        return IndexOf(kind, self.params, self.field_id, steps, field.element)

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
    schema_changed: int = 0
    """The timestamp at which the last one came into force; 0 for the first."""
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

    @property
    def next_field_id(self) -> int:
        """An id that no field has had."""
        return 1 + max(f.id for schema in self.schemas for f in schema.fields)

    def schema_of(self, version: int) -> Schema:
        return next(s for s in self.schemas if s.version == version)

    def partition_id(self, name: str, *, reads: bool = False) -> int:
        """Raises `PartitionNotFound` for a name the collection does not have, `InvalidParameter` for what is none; of a
        read (`reads`) only for one that is empty or too long.
        """
        found = self.partitions.get(name)
        if found is None:
            if not reads or not 0 < len(name.encode()) <= MAX_NAME_BYTES:
                check_name(name, "partition")  # what no partition can be called was not looked for
            raise partition_not_found(name)
        return found

    def partitions_of(self, tenants: Values) -> frozenset[int]:
        """The partitions that these values of the partition key are in."""
        return frozenset(partitions_of(tenants, len(self.partitions)).tolist())

    @cached_property
    def definitions(self) -> Mapping[int, IndexDefinition]:
        """By their ids, all that there may be files of: those that were created, and those that the schema declares."""
        texts = (IndexDefinition.of_text(f) for f in self.schema.fields if is_matched(f))
        return {d.id: d for d in (*self.indexes.values(), *texts)}

    def index_of(self, field_id: int) -> IndexDefinition | None:
        return next((d for d in self.indexes.values() if d.field_id == field_id), None)

    def builds(self, definition: IndexDefinition) -> bool:
        """Whether there is anything to build for an index: of vectors of those of float32 and sparse ones alone."""
        if not definition.has_file:
            return False
        indexed = self.schema.by_id.get(definition.field_id)
        if indexed is None:
            return False
        return indexed.dtype is DataType.FLOAT_VECTOR or not indexed.is_dense

    def covers(self, definition: IndexDefinition) -> bool:
        """Whether rows that wait for an index get interim lists: those of float32 vectors."""
        indexed = self.schema.by_id.get(definition.field_id)
        return indexed is not None and indexed.dtype is DataType.FLOAT_VECTOR and definition.has_file

    def keys(self) -> frozenset[str]:
        """Every Store key this version names."""
        return frozenset().union(*(entry.keys() for entry in self.segments.values()))

    def to_dict(self) -> dict[str, Any]:
        return {
            "schemas": [s.to_dict() for s in self.schemas],
            "schema_changed": self.schema_changed,
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
            schema_changed=data.get("schema_changed", 0),
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
