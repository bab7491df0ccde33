"""Fields of a collection that is there already: added, dropped, altered. No row is rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from elanus.engine.edits import FieldAdded, FieldAltered, FieldDropped
from elanus.model.errors import CollectionLoaded, InvalidParameter
from elanus.model.properties import COLLECTION_WARMUPS, MMAP, TTL_FIELD, WARMUP, check_warmup, flag
from elanus.model.schema import (
    DYNAMIC,
    MAX_FIELDS,
    MAX_VECTOR_FIELDS,
    RESERVED_FIELD_NAMES,
    Field,
    Schema,
    check_clusters,
    check_field,
)
from elanus.model.types import DataType
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.service.timezones import with_default_read, zone_of
from elanus.text import functions
from elanus.text.declared import ANALYZER, ENABLE_ANALYZER, check_texts, is_matched

MAX_LENGTH = "max_length"
DESCRIPTION = "field.description"

LOADING = frozenset({MMAP, WARMUP, *COLLECTION_WARMUPS})
"""Parameters that say how Milvus loads a field. Elanus maps all files and keeps these for clients."""

ANALYSIS = frozenset({ANALYZER, ENABLE_ANALYZER})
"""Parameters that say how texts are cut, where nothing was made of their words yet."""

ALTERABLE = frozenset({MAX_LENGTH, DESCRIPTION}) | LOADING | ANALYSIS


def add(ctx: RequestContext, instance: Instance, collection: str, field: Field) -> None:
    """Add a field. Rows that are there hold its default, or null; every read that begins later has it.

    Raises `InvalidParameter` for a field that no schema may have or that cannot be added: one that is not nullable, a
    key, a name in use; `CollectionNotFound`.
    """
    found = instance.collection(ctx, collection)
    found.tell()
    with found.commit_mutex:
        manifest = found.versions.state
        field = with_default_read(field, zone_of(manifest.properties))
        check_added(manifest.schema, field)
        if not field.nullable:
            raise InvalidParameter(f"added field must be nullable, please check it, field name = {field.name}")
        found.commit_locked(FieldAdded(replace(field, id=manifest.next_field_id), found.new_id()))


def drop(ctx: RequestContext, instance: Instance, collection: str, name: str = "", field_id: int = 0) -> None:
    """Drop the field with this name or id, with its indexes. One that is added under its name later is another.

    Raises `InvalidParameter` where there is none, for the key, the last vector field and the dynamic field, which is
    turned off by a property; `CollectionNotFound`.
    """
    found = instance.collection(ctx, collection)
    found.tell()
    with found.commit_mutex:
        manifest = found.versions.state
        schema = manifest.schema
        dropped = schema.by_id.get(field_id) if field_id else schema.get(name)
        if dropped is None or dropped.is_dynamic:
            raise InvalidParameter(f"field not found with id: {field_id}" if field_id else f"field not found: {name}")
        if dropped.is_primary:
            raise InvalidParameter(f"cannot drop primary key field: {dropped.name}")
        if dropped.is_partition_key:
            raise InvalidParameter(f"cannot drop partition key field: {dropped.name}")
        if dropped.is_clustering_key:
            raise InvalidParameter(f"cannot drop clustering key field: {dropped.name}")
        if manifest.properties.get(TTL_FIELD) == dropped.name:
            raise InvalidParameter(
                f"cannot drop field {dropped.name} because it is referenced by collection property {TTL_FIELD}, "
                "drop the property first"
            )
        if schema.vectors == (dropped,):
            raise InvalidParameter(f"cannot drop the last vector field: {dropped.name}")
        functions.check_field_droppable(schema, dropped)
        found.commit_locked(FieldDropped(dropped.id, found.new_id()))


def set_dynamic(ctx: RequestContext, instance: Instance, collection: str, *, enabled: bool) -> None:
    """Let rows carry keys that are no fields, or no more: then those that they carry are gone."""
    found = instance.collection(ctx, collection)
    found.tell()
    with found.commit_mutex:
        manifest = found.versions.state
        dynamic = manifest.schema.dynamic
        if enabled and dynamic is None:
            found.commit_locked(FieldAdded(replace(DYNAMIC, id=manifest.next_field_id), found.new_id()))
        elif not enabled and dynamic is not None:
            found.commit_locked(FieldDropped(dynamic.id, found.new_id()))


def check_added(schema: Schema, field: Field) -> None:
    name = field.name
    if len(schema.fields) - (schema.dynamic is not None) >= MAX_FIELDS:
        raise InvalidParameter(f"The number of fields has reached the maximum value {MAX_FIELDS}")
    if name in RESERVED_FIELD_NAMES:
        raise InvalidParameter(f"not support to add system field, field name = {name}")
    if field.is_primary:
        raise InvalidParameter(f"not support to add pk field, field name = {name}")
    if field.is_partition_key:
        raise InvalidParameter(f"not support to add partition key field, field name  = {name}")
    if field.auto_id:
        raise InvalidParameter(f"only primary field can speficy AutoID with true, field name = {name}")
    if field.is_vector and len(schema.vectors) >= MAX_VECTOR_FIELDS:
        raise InvalidParameter(f"maximum vector field's number should be limited to {MAX_VECTOR_FIELDS}")
    if field.is_clustering_key:
        check_clusters(field)
        if schema.clustering_key is not None:
            raise InvalidParameter(
                f"already has another clustering key field, field name: {schema.clustering_key.name}"
            )
    check_field(field)
    check_warmup(field.params)
    check_texts((*schema.fields, field))
    if schema.get(name) is not None:
        raise InvalidParameter(f"duplicated field name {name}")


def alter(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    field: str,
    params: Mapping[str, str],
    removed: Sequence[str] = (),
) -> None:
    """Set some of the `ALTERABLE` parameters of `field`, or take away some of `LOADING` and `ANALYSIS`.

    Rows stay as they are.

    A shorter `max_length` holds for rows to come. Raises `InvalidParameter` for other parameters and a field that is
    not there, `CollectionNotFound`, and `CollectionLoaded` for `LOADING` while clients have the collection loaded.
    """
    found = instance.collection(ctx, collection)
    params = {_named(key): value for key, value in params.items()}
    removed = [_named(key) for key in removed]
    for key in params:
        if key not in ALTERABLE:
            raise InvalidParameter(f"{key} does not allow update in collection field param: {field} keeps its own")
    for key in removed:
        if key not in LOADING | ANALYSIS:
            raise InvalidParameter(f"{key} is not allowed to drop in collection field param: {field} keeps its own")
    check_warmup(params)
    with found.commit_mutex:
        altered = found.schema.get(field)
        if altered is None or altered.is_dynamic:
            raise InvalidParameter(f"field {field} does not exist in collection {collection}")
        if not LOADING.isdisjoint((*params, *removed)) and found.manifest.loaded is not None:
            doing = "drop" if removed else "alter"
            what = WARMUP if doing == "alter" and MMAP not in params else "collection field properties"
            raise CollectionLoaded(
                f"can not {doing} {what} if collection loaded[collection={collection}]: release it first"
            )
        if not ANALYSIS.isdisjoint((*params, *removed)):
            _check_analysis(found.schema, altered, params, removed)
        max_length = _length(altered.dtype, params[MAX_LENGTH]) if MAX_LENGTH in params else None
        if max_length is not None:
            check_field(replace(altered, max_length=max_length))
        kept = {key: value for key, value in params.items() if key in LOADING | ANALYSIS}
        found.commit_locked(FieldAltered(altered.id, max_length, params.get(DESCRIPTION), kept, tuple(removed)))


def _check_analysis(schema: Schema, field: Field, params: Mapping[str, str], removed: Sequence[str]) -> None:
    """Raise `InvalidParameter` unless the texts of `field` may be cut as it then says."""
    if field.dtype not in (DataType.VARCHAR, DataType.TEXT):
        raise InvalidParameter(f"can not alter analyzer params for non-string field {field.name}")
    if is_matched(field) or any(field.name in function.inputs for function in schema.functions):
        raise InvalidParameter(
            f"can not alter analyzer params for field {field.name} after text match is enabled "
            "or a BM25/MinHash function depends on it: add a field with the other analyzer"
        )
    if flag(params.get(ENABLE_ANALYZER, "true")) is None:
        raise InvalidParameter(f"{ENABLE_ANALYZER} should be a boolean, but got {params[ENABLE_ANALYZER]}")
    kept = {key: value for key, value in {**field.params, **params}.items() if key not in removed}
    check_texts(replace(other, params=kept) if other.id == field.id else other for other in schema.fields)


def _named(key: str) -> str:
    """The name of a parameter that clients also write in another way."""
    return MMAP if key == "mmap_enabled" else key


def _length(dtype: DataType, text: str) -> int:
    if dtype is not DataType.VARCHAR:
        raise InvalidParameter(f"can not modify the maxlength for non-string types: it holds {dtype.name}")
    try:
        return int(text)
    except ValueError:
        raise InvalidParameter(f"{MAX_LENGTH} should be an integer, but got {text!r}") from None
