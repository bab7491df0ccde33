"""Edits of the manifest: what a commit changes, as frozen values.

`apply` makes the next state, and `rebase` says whether an edit still holds after it lost a race. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from elanus.engine.manifest import (
    MAX_PARTITIONS,
    DeleteFile,
    IndexDefinition,
    Loaded,
    Manifest,
    SegmentEntry,
)
from elanus.model.errors import IndexNotFound, InvalidParameter
from elanus.model.functions import Function
from elanus.model.schema import Field, Schema
from elanus.model.types import Consistency


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
class FieldAdded:
    """The schema has one field more from `timestamp` on, and rows written before hold its default or null.

    `field` has the next id. A dynamic one makes the schema dynamic.
    """

    field: Field
    timestamp: int


@dataclass(frozen=True, slots=True)
class FieldDropped:
    """The schema is without this field from `timestamp` on, and so are indexes of it. Files that have it stay."""

    field_id: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class FunctionAdded:
    """The schema has a function more from `timestamp` on, with the `field` whose values it makes, also of the rows
    that are there, and the index of that. `field` has the next id.
    """

    function: Function
    field: Field
    definition: IndexDefinition
    timestamp: int


@dataclass(frozen=True, slots=True)
class FunctionDropped:
    """The schema is without this function from `timestamp` on, and without the fields that it makes, and their
    indexes.
    """

    name: str
    timestamp: int


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
class DescriptionSet:
    """The schema's description. Its version stays: rows are as they were."""

    text: str


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
    | FieldAdded
    | FieldDropped
    | FunctionAdded
    | FunctionDropped
    | PartitionAdded
    | PartitionDropped
    | Truncated
    | PropertiesSet
    | ConsistencySet
    | DescriptionSet
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
        case FieldAdded(field, timestamp):
            return _with_schema(state, state.schema.with_field(field), timestamp)
        case FieldDropped(field_id, timestamp):
            return _with_schema(_without_indexes(state, field_id), state.schema.without(field_id), timestamp)
        case FunctionAdded(function, field, definition, timestamp):
            state = _with_schema(state, state.schema.with_function(field, function), timestamp)
            return _define_index(state, definition)
        case FunctionDropped(name, timestamp):
            schema = state.schema
            for field_id in [i for i, function in schema.outputs.items() if function.name == name]:
                state = _without_indexes(state, field_id)
            return _with_schema(state, schema.without_function(name), timestamp)
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
        case DescriptionSet(text):
            return replace(state, schemas=(*state.schemas[:-1], replace(state.schema, description=text)))
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


def _with_schema(state: Manifest, schema: Schema, timestamp: int) -> Manifest:
    return replace(state, schemas=(*state.schemas, schema), schema_changed=timestamp)


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
    indexes = {n: d for n, d in state.indexes.items() if n != name}
    return replace(_without_files(state, dropped.id), indexes=indexes)


def _without_indexes(state: Manifest, field_id: int) -> Manifest:
    for definition in [d for d in state.definitions.values() if d.field_id == field_id]:
        state = _without_files(state, definition.id)
        state = replace(state, indexes={n: d for n, d in state.indexes.items() if d.id != definition.id})
    return state


def _without_files(state: Manifest, index_id: int) -> Manifest:
    segments = {
        segment_id: replace(entry, indexes={i: key for i, key in entry.indexes.items() if i != index_id})
        for segment_id, entry in state.segments.items()
    }
    return replace(state, segments=segments)


def rebase(state: Manifest, edit: Edit) -> Edit | None:
    """`edit`, made against an older version, as it holds against `state`; None when its work has become garbage.

    A built index holds if its segment and its definition are still there, a replacement if all its inputs are,
    a sealed segment unless the collection was truncated past its rows.
    """
    match edit:
        case IndexBuilt(segment_id, index_id, _):
            known = segment_id in state.segments and index_id in state.definitions
            return edit if known else None
        case Replaced(inputs, output):
            if not all(i in state.segments for i in inputs):
                return None
            if output is None:
                return edit
            kept = {i: key for i, key in output.indexes.items() if i in state.definitions}
            return replace(edit, output=replace(output, indexes=kept))
        case Sealed(_, _, _, sealed_to):
            return edit if sealed_to > state.sealed_to else None
        case IndexDefined(definition):
            return edit if definition.field_id in state.schema.by_id else None
        case FieldDropped(field_id, _):
            return edit if field_id in state.schema.by_id else None
        case FunctionDropped(name, _):
            return edit if any(f.name == name for f in state.schema.functions) else None
        case IndexDropped(name) | IndexAltered(name, _, _):
            return edit if name in state.indexes else None
        case PartitionAdded(name):
            return None if name in state.partitions else edit
        case PartitionDropped(name):
            return edit if name in state.partitions else None
        case _:
            return edit
