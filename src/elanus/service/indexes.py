"""Indexes: defined at once, built behind the caller's back, never needed for a right answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from elanus.engine.collection import Collection
from elanus.engine.jobs.improve import wants_index
from elanus.engine.manifest import JSON_PATH, IndexDefinition
from elanus.model.denial import Deed
from elanus.model.errors import CollectionLoaded, IndexNotFound, InvalidParameter
from elanus.model.names import check_name
from elanus.model.properties import MMAP, WARMUP, WARMUP_POLICIES, check_warmup, flag, wrong_warmup
from elanus.model.schema import Field, Schema
from elanus.model.types import DataType, Metric
from elanus.scalar.paths import steps_of
from elanus.service import scalar_indexes
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.vector import sparse_params
from elanus.vector.registry import IndexKind, check_dim, check_fits, metric_for, resolve


class IndexState(StrEnum):
    """`IN_PROGRESS` while segments large enough for an index have none yet; searches scan those."""

    IN_PROGRESS = "InProgress"
    FINISHED = "Finished"


ALTERABLE = frozenset({"mmap.enabled", "indexoffsetcache.enabled", "warmup"})
"""Parameters that say how Milvus loads an index, and may be changed. Elanus maps every index file; it keeps them."""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index and how far it is: `total_rows` in sealed segments and growing, `indexed_rows` of them done.

    Segments too small to be worth an index, and rows that are not sealed yet, count as done.
    """

    name: str
    id: int
    field: str
    kind: str
    metric: Metric | None
    params: Mapping[str, Any]
    state: IndexState
    total_rows: int
    indexed_rows: int


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """An index on `field`, as it is asked for. `name` is the field's where none is given."""

    field: str
    kind: str = IndexKind.AUTOINDEX
    metric: str | None = None
    params: Mapping[str, Any] | None = None
    name: str = ""


def define(schema: Schema, request: IndexRequest) -> IndexDefinition:
    """The definition that `request` asks for, every check passed. `schema` has ids.

    Raises `InvalidParameter` for an unknown kind or one that does not fit the field, a parameter out of range, and a
    missing metric of a vector index (only AUTOINDEX has one of its own, and what a function makes); `NotSupported` for
    kinds that Milvus has and Elanus has not yet.
    """
    field = schema.get(request.field) or schema.dynamic
    if field is None:
        raise InvalidParameter(f"cannot create index on non-exist field: {request.field}")
    kind = request.kind or IndexKind.AUTOINDEX
    check_loading(kind, request.params or {})
    if not field.is_vector:
        return scalar_indexes.define(field, request.field, request.kind, request.params or {}, request.name)
    spec = resolve(request.kind, request.params or {})
    metrics = schema.metrics_of(field)
    if request.metric is None and spec.kind is not IndexKind.AUTOINDEX and field.id not in schema.outputs:
        raise InvalidParameter(f"metric type not set for vector index: choose one of {', '.join(metrics)}")
    name = request.name or field.name
    check_name(name, "index")
    metric = metric_for(field.dtype, request.metric, metrics)
    check_fits(spec, field.dtype, metric)
    check_dim(spec, field.dim or 0)
    if field.dtype is DataType.SPARSE_FLOAT_VECTOR:
        sparse_params.check_build(request.params or {}, metric)
    return IndexDefinition(name, field.id, spec.kind.value, metric, dict(request.params or {}))


def check_loading(kind: str, params: Mapping[str, Any]) -> None:
    """Raise `InvalidParameter` for a value of one of `ALTERABLE` that Milvus does not know, or not for this kind."""
    flags = {key: flag(str(params[key]).lower()) for key in (MMAP, "indexoffsetcache.enabled") if key in params}
    for key, value in flags.items():
        if value is None:
            raise InvalidParameter(f"invalid {key} value: {params[key]}, expected: true, false")
    if flags.get(MMAP) and kind.upper() in scalar_indexes.NEVER_MAPPED:
        raise InvalidParameter(f"invalid mmap type params: index type {kind} does not support mmap")
    if flags.get("indexoffsetcache.enabled") and kind != "BITMAP":
        raise InvalidParameter("only bitmap index support indexoffsetcache.enabled now")
    if params.get(WARMUP, "sync") not in WARMUP_POLICIES:
        raise InvalidParameter(f"invalid warmup params: {wrong_warmup(params[WARMUP])}")


def create(ctx: RequestContext, instance: Instance, collection: str, request: IndexRequest) -> None:
    """Define an index; the same again is no error. See `define` for what is checked.

    Raises `InvalidParameter` also where the field or the name has another index.
    """
    found = instance.readable(ctx, collection, Deed.INDEX)
    found.create_index(define(found.schema, request))


def drop(ctx: RequestContext, instance: Instance, collection: str, name: str) -> None:
    """Drop an index; an absent one is no error."""
    instance.collection(ctx, collection, Deed.INDEX).drop_index(name)


def check_droppable(ctx: RequestContext, instance: Instance, collection: str, info: IndexInfo) -> None:
    """Raise `InvalidParameter` for a vector index that Milvus clients have loaded: they release it first."""
    found = instance.collection(ctx, collection, Deed.INDEX)
    if info.metric is not None and found.manifest.loaded is not None:
        raise InvalidParameter("vector index cannot be dropped on loaded collection: release it first")


def alter(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    name: str,
    params: Mapping[str, Any],
    removed: Sequence[str] = (),
) -> None:
    """Set some of the `ALTERABLE` parameters or take some away, one of the two.

    Raises `InvalidParameter` for others, `IndexNotFound`, `CollectionLoaded` while clients have it loaded.
    """
    found = instance.collection(ctx, collection)
    if bool(params) == bool(removed):
        raise InvalidParameter("alter index needs parameters to set or keys to delete: send one of them, not both")
    check_warmup(params)
    if MMAP in params and flag(str(params[MMAP])) is None:
        raise InvalidParameter(f"invalid mmap.enabled value: {params[MMAP]}, expected: true, false")
    for key in (*params, *removed):
        if key not in ALTERABLE:
            raise InvalidParameter(f"{key} is not a configable index property: {', '.join(sorted(ALTERABLE))} are")
    if found.manifest.loaded is not None:
        raise CollectionLoaded(
            "can't alter index on loaded collection, please release the collection first: "
            f"collection already loaded[collection={collection}]"
        )
    if name not in found.manifest.indexes:
        raise IndexNotFound(f"index not found[indexName={name}][collection={collection}]")
    check_loading(found.manifest.indexes[name].kind, params)
    found.alter_index(name, params, removed)


def wait(ctx: RequestContext, instance: Instance, collection: str) -> None:
    """Return when every sealed segment that is large enough has its indexes. Raises what the last build failed of."""
    instance.collection(ctx, collection).wait_for_indexes()


def describe(ctx: RequestContext, instance: Instance, collection: str, name: str) -> IndexInfo:
    """Raises `IndexNotFound`."""
    found = instance.collection(ctx, collection)
    definition = found.manifest.indexes.get(name)
    if definition is None:
        raise IndexNotFound(f"index not found[indexName={name}][collection={collection}]")
    return _info(found, definition)


def list_all(ctx: RequestContext, instance: Instance, collection: str) -> list[IndexInfo]:
    """All indexes, by name."""
    found = instance.collection(ctx, collection)
    return [_info(found, definition) for _, definition in sorted(found.manifest.indexes.items())]


def _info(collection: Collection, definition: IndexDefinition) -> IndexInfo:
    snapshot = collection.snapshot()
    manifest = snapshot.manifest
    config = collection.host.config
    pending = sum(
        entry.meta.rows
        for entry in manifest.segments.values()
        if definition.id not in entry.indexes and wants_index(manifest, entry.meta, definition, config)
    )
    total = sum(unit.view.rows for unit in snapshot.units)
    return IndexInfo(
        name=definition.name,
        id=definition.id,
        field=_field_name(manifest.schema.by_id[definition.field_id], definition),
        kind=definition.kind,
        metric=definition.metric,
        params=dict(definition.params),
        state=IndexState.IN_PROGRESS if pending else IndexState.FINISHED,
        total_rows=total,
        indexed_rows=total - pending,
    )


def _field_name(field: Field, definition: IndexDefinition) -> str:
    """The field's name; of the dynamic one, the key that is indexed."""
    if not field.is_dynamic:
        return field.name
    steps = steps_of(str(definition.params[JSON_PATH]), is_dynamic=True)
    return str(steps[0]) if steps else field.name
