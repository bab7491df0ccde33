"""Collections: made, found, described, renamed, dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from elanus.catalog import state as catalog_state
from elanus.catalog.state import CollectionAdded, CollectionEntry
from elanus.engine.manifest import DEFAULT_PARTITION, MAX_PARTITIONS, IndexDefinition, Manifest
from elanus.engine.query import count
from elanus.model.denial import Deed, check_allowed
from elanus.model.errors import InvalidParameter, WriterStopped
from elanus.model.names import check_name
from elanus.model.properties import MAX_FIELD_ID, check_created
from elanus.model.schema import Schema
from elanus.model.types import Consistency, OnDuplicateKey
from elanus.service import timezones
from elanus.service.context import RequestContext
from elanus.service.indexes import IndexRequest, define
from elanus.service.instance import Instance
from elanus.text import functions
from elanus.text.declared import check_texts

PARTITIONS = 16
"""Of a collection with a partition key that says no other number."""


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """`created`, and `updated` (of the schema), are hybrid timestamps; `name` is the real one, also where an alias was
    asked for. `max_field_id` is the largest id that a field has or had.
    """

    name: str
    database: str
    id: int
    created: int
    schema: Schema
    on_duplicate_key: OnDuplicateKey
    properties: Mapping[str, str]
    partitions: tuple[str, ...]
    aliases: tuple[str, ...]
    indexes: tuple[str, ...]
    consistency: Consistency
    shards: int
    updated: int
    max_field_id: int


def create(
    ctx: RequestContext,
    instance: Instance,
    name: str,
    schema: Schema,
    properties: Mapping[str, str] | None = None,
    on_duplicate_key: OnDuplicateKey = OnDuplicateKey.KEEP,
    indexes: Sequence[IndexRequest] = (),
    consistency: Consistency = Consistency.BOUNDED,
    shards: int = 1,
    partitions: int = 0,
) -> CollectionInfo:
    """Make a collection, with `indexes` where they are known already.

    With a partition key it has as many `partitions`, 16 where that is 0.

    The same again (schema, `on_duplicate_key`, and no other index where one is asked for) is no error and changes
    nothing. `schema` need not have ids.
    Raises `InvalidParameter` for a bad name, a bad schema, or a name in use by another collection,
    `AliasNameTaken`, `CollectionLimit`, `DatabaseNotFound`.
    """
    instance.begin(ctx)
    check_allowed(instance.catalog.database(ctx.database).properties, Deed.COLLECTION)
    check_name(name, "collection")
    given = timezones.inherited(properties or {}, instance.catalog.database(ctx.database).properties)
    given.pop(MAX_FIELD_ID, None)  # clients are told it, and may send what they were told
    timezones.check(given)
    checked = timezones.with_defaults_read(schema, timezones.zone_of(given)).checked()
    check_created(given, checked)
    check_texts(checked.fields)
    functions.check(checked)
    dealt = _partitions(checked, partitions)
    definitions = [define(checked, request) for request in indexes]
    instance.catalog.tell()
    while True:
        existing = instance.catalog.database(ctx.database).collections.get(name)
        if existing is not None:
            return _same_or_refuse(ctx, instance, existing, checked, on_duplicate_key, definitions, dealt)
        collection_id = instance.ids.reserve(1)
        # Would raise what the commit below would, before anything is written.
        catalog_state.apply(instance.catalog.state, CollectionAdded(ctx.database, name, collection_id, collection_id))
        # The manifest first: a collection that the catalog names is whole.
        collection = instance.engine.create_collection(
            collection_id, checked, given, on_duplicate_key, definitions, consistency, shards, dealt
        )
        try:
            entry = instance.catalog.add_collection(ctx.database, name, collection_id)
        except InvalidParameter:
            instance.discard(collection_id)
            if name in instance.catalog.database(ctx.database).collections:
                continue  # another thread has made it meanwhile
            raise
        except BaseException as error:
            # What a bucket did not answer to may have been done all the same, or be done yet.
            excluded = instance.engine.excludes or isinstance(error, WriterStopped)
            if excluded and collection_id not in instance.catalog.state.collection_ids():
                instance.discard(collection_id)
            raise
        return _info(ctx, instance, entry, collection.manifest)


def drop(ctx: RequestContext, instance: Instance, name: str, purge: bool = False) -> None:
    """Drop a collection; an absent one is no error. Raises `InvalidParameter` for an alias and for one with aliases.

    Its files are deleted when they are older than the retention time, or at once with `purge`.
    """
    instance.begin(ctx)
    check_allowed(instance.catalog.database(ctx.database).properties, Deed.COLLECTION)
    check_name(name, "collection")
    dropped = instance.catalog.drop_collection(ctx.database, name, instance.engine.oracle.next())
    if dropped is not None:
        instance.engine.drop_collection(dropped.id)
        if purge:
            instance.purge(dropped.id)
        instance.purge_old()


def has(ctx: RequestContext, instance: Instance, name: str) -> bool:
    """Whether there is a collection with this name or alias."""
    instance.begin(ctx)
    check_name(name, "collection")
    return instance.catalog.find(ctx.database, name) is not None


def describe(ctx: RequestContext, instance: Instance, name: str) -> CollectionInfo:
    """Raises `CollectionNotFound`."""
    manifest = instance.collection(ctx, name).manifest
    return _info(ctx, instance, instance.catalog.resolve(ctx.database, name), manifest)


def list_all(ctx: RequestContext, instance: Instance) -> list[CollectionEntry]:
    """The collections of the database, by name. None is opened for it."""
    instance.begin(ctx)
    return [entry for _, entry in sorted(instance.catalog.database(ctx.database).collections.items())]


def real_name(ctx: RequestContext, instance: Instance, name: str) -> str:
    """The name of the collection that a name or alias stands for. Raises `CollectionNotFound`."""
    instance.begin(ctx)
    return instance.catalog.resolve(ctx.database, name).name


def named(ctx: RequestContext, instance: Instance, name: str, collection_id: int) -> str:
    """`name`, or where that is empty the name of the collection with `collection_id`. Raises `CollectionNotFound`."""
    if name or not collection_id:
        return name
    for entry in list_all(ctx, instance):
        if entry.id == collection_id:
            return entry.name
    raise catalog_state.not_found(ctx.database, collection_id)


def rename(ctx: RequestContext, instance: Instance, name: str, new_name: str, new_database: str | None = None) -> None:
    """Rename a collection, also into another database. Aliases go along within one.

    Raises `CollectionNotFound`, `AliasNameTaken` where one of the names is an alias, `InvalidParameter` where the new
    name is in use or the collection has aliases and would leave its database.
    """
    instance.begin(ctx)
    instance.catalog.rename_collection(ctx.database, name, new_name, new_database)


def truncate(ctx: RequestContext, instance: Instance, name: str) -> None:
    """Drop every row written so far; schema, partitions, indexes and properties stay."""
    instance.collection(ctx, name).truncate()


def flush(ctx: RequestContext, instance: Instance, name: str) -> None:
    """Seal the rows written so far into segment files. They were durable before: this is not needed for that."""
    instance.collection(ctx, name, Deed.FLUSH).flush()


def compact(ctx: RequestContext, instance: Instance, name: str) -> None:
    """Merge the segments as far as the size limit allows, and return when that and their indexes are done."""
    instance.collection(ctx, name, Deed.COMPACTION).compact()


def row_count(ctx: RequestContext, instance: Instance, name: str) -> int:
    """The rows that are there now, exactly."""
    return count(instance.collection(ctx, name).snapshot())


def _same_or_refuse(
    ctx: RequestContext,
    instance: Instance,
    entry: CollectionEntry,
    schema: Schema,
    on_duplicate_key: OnDuplicateKey,
    definitions: Sequence[IndexDefinition],
    dealt: Mapping[str, int] | None,
) -> CollectionInfo:
    manifest = instance.engine.collection(entry.id).manifest
    same = _without_ids(manifest.schema) == _without_ids(schema)
    same &= dealt is None or manifest.partitions == dealt
    for definition in definitions if same else ():
        field = manifest.schema.field(schema.by_id[definition.field_id].name)
        existing = manifest.index_of(field.id)
        same &= existing is None or replace(existing, id=definition.id, field_id=definition.field_id) == definition
    if not same or manifest.on_duplicate_key is not on_duplicate_key:
        raise InvalidParameter(
            f"create duplicate collection with different parameters, collection: {entry.name}. "
            "Drop it first, or choose another name."
        )
    return _info(ctx, instance, entry, manifest)


def _partitions(schema: Schema, number: int) -> dict[str, int] | None:
    """The partitions of a collection with a partition key, by name; None without one. Raises `InvalidParameter`."""
    if schema.partition_key is None:
        if number > 1:
            raise InvalidParameter("num_partitions should only be specified with partition key field enabled")
        return None
    if number < 0:
        raise InvalidParameter("the specified partitions should be greater than 0 if partition key is used")
    if number > MAX_PARTITIONS:
        raise InvalidParameter(f"partition number ({number}) exceeds max configuration ({MAX_PARTITIONS})")
    return {f"{DEFAULT_PARTITION}_{i}": i + 1 for i in range(number or PARTITIONS)}


def _without_ids(schema: Schema) -> tuple[object, ...]:
    """What clients say of a schema: ids and their order depend on what it was before."""
    fields = sorted((replace(f, id=0) for f in schema.fields), key=lambda f: f.name)
    made_by = sorted((replace(f, id=0) for f in schema.functions), key=lambda f: f.name)
    return fields, schema.enable_dynamic_field, schema.description, made_by


def _info(ctx: RequestContext, instance: Instance, entry: CollectionEntry, manifest: Manifest) -> CollectionInfo:
    return CollectionInfo(
        name=entry.name,
        database=ctx.database,
        id=entry.id,
        created=entry.created,
        schema=manifest.schema,
        on_duplicate_key=manifest.on_duplicate_key,
        properties=dict(manifest.properties),
        partitions=tuple(manifest.partitions),
        aliases=tuple(instance.catalog.database(ctx.database).aliases_of(entry.name)),
        indexes=tuple(manifest.indexes),
        consistency=manifest.consistency,
        shards=manifest.shards,
        updated=manifest.schema_changed or entry.created,
        max_field_id=manifest.next_field_id - 1,
    )
