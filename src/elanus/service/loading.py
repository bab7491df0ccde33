"""Loading, as Milvus clients know it: what they have loaded may be searched and queried, the rest may not.

Elanus needs no loading: every row can be read as soon as it is written, and the native API does not ask for it. The
state is kept because clients rely on its errors, and it survives a restart as it does in Milvus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from elanus.engine.collection import Collection
from elanus.engine.edits import LoadSet
from elanus.engine.manifest import DEFAULT_PARTITION, Loaded, Manifest, partition_not_found
from elanus.model.denial import Deed
from elanus.model.errors import CollectionNotLoaded, IndexNotFound, InvalidParameter, PartitionNotLoaded
from elanus.model.names import check_name
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.service.partitions import refuse


class LoadState(IntEnum):
    """The values are the protocol's."""

    NOT_EXIST = 0
    NOT_LOAD = 1
    LOADING = 2
    LOADED = 3


@dataclass(frozen=True, slots=True)
class LoadInfo:
    """The names and the ids of the partitions that are loaded."""

    replicas: int
    partitions: tuple[str, ...]
    partition_ids: frozenset[int]


def load(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    partitions: Sequence[str] | None = None,
    replicas: int = 1,
    fields: Sequence[str] = (),
) -> None:
    """Load a collection, or some of its partitions; it is done when this returns. Again is no error.

    `fields` are those that a client means to use: all are readable anyhow, but they must be there.
    Raises `IndexNotFound` where there is no index at all, `InvalidParameter` where some vector field has none, for no
    partitions and for more replicas than there are nodes, `PartitionNotFound`, `CollectionNotFound`.
    """
    found = instance.collection(ctx, collection, Deed.COLLECTION if partitions is None else Deed.PARTITION)
    manifest = found.manifest
    _check_indexes(manifest, collection)
    _check_fields(manifest, fields)
    if partitions is not None:
        refuse(manifest.schema, "load partitions")
    if replicas > 1:
        raise InvalidParameter(
            f"there are {replicas} replicas asked for and one node: a single node holds one replica. Ask for one."
        )
    if partitions is None:
        wanted = None
    else:
        if not partitions:
            raise InvalidParameter("due to no partition specified: name the partitions to load")
        wanted = frozenset(_named(manifest, name) for name in partitions)
    found.prefetch()  # also where it is loaded already: perhaps from another machine
    with found.commit_mutex:
        before = found.manifest.loaded
        if before is not None and before.partitions is None:
            return
        if wanted is not None and before is not None and before.partitions is not None:
            wanted |= before.partitions
        found.commit_locked(LoadSet(Loaded(wanted)))


def release(ctx: RequestContext, instance: Instance, collection: str, partitions: Sequence[str] | None = None) -> None:
    """Release a collection, or some of its partitions. What is not loaded is no error.

    Raises `InvalidParameter` for no partitions, `PartitionNotFound`, `CollectionNotFound`.
    """
    found = instance.collection(ctx, collection, Deed.COLLECTION if partitions is None else Deed.PARTITION)
    if partitions is not None:
        refuse(found.schema, "release partitions")
        if not partitions:
            raise InvalidParameter("due to no partition specified: name the partitions to release")
    with found.commit_mutex:
        manifest = found.manifest
        rest: frozenset[int] = frozenset()
        if partitions is not None:
            gone = {manifest.partition_id(name) for name in partitions}
            rest = loaded_partitions(manifest) - gone
        loaded = Loaded(rest) if rest else None
        if loaded != manifest.loaded:
            found.commit_locked(LoadSet(loaded))


def check_droppable(ctx: RequestContext, instance: Instance, collection: str, partition: str) -> None:
    """Raise `InvalidParameter` where a partition is loaded: clients release it before they drop it."""
    manifest = instance.collection(ctx, collection, Deed.PARTITION).manifest
    refuse(manifest.schema, "drop partition")
    if partition != DEFAULT_PARTITION and manifest.partitions.get(partition) in loaded_partitions(manifest):
        raise InvalidParameter("partition cannot be dropped, partition is loaded, please release it first")


def state(
    ctx: RequestContext, instance: Instance, collection: str, partitions: Sequence[str] | None = None
) -> LoadState:
    """An absent collection is no error. Raises `PartitionNotFound`."""
    instance.begin(ctx)
    if instance.catalog.find(ctx.database, collection) is None:
        check_name(collection, "collection")
        return LoadState.NOT_EXIST
    manifest = instance.collection(ctx, collection).manifest
    return LoadState.LOADED if _all_loaded(manifest, partitions or ()) else LoadState.NOT_LOAD


def progress(ctx: RequestContext, instance: Instance, collection: str, partitions: Sequence[str] | None = None) -> int:
    """In percent: 100, since loading ends at once. Raises `CollectionNotLoaded`, `CollectionNotFound`."""
    manifest = instance.collection(ctx, collection).manifest
    if not _all_loaded(manifest, partitions or ()):
        raise _not_loaded(collection)
    return 100


def info(ctx: RequestContext, instance: Instance, collection: str) -> LoadInfo | None:
    """What is loaded of a collection, None for nothing. Raises `CollectionNotFound`."""
    manifest = instance.collection(ctx, collection).manifest
    if manifest.loaded is None:
        return None
    ids = loaded_partitions(manifest)
    return LoadInfo(manifest.loaded.replicas, tuple(name for name, i in manifest.partitions.items() if i in ids), ids)


def require(collection: Collection, name: str, partitions: Sequence[str] = (), doing: str = "query") -> None:
    """Raise unless a read of `partitions` (none named: of all that are loaded) may go on, which is `doing` something.

    Raises `CollectionNotLoaded`, `PartitionNotLoaded`.
    """
    loaded = collection.manifest.loaded
    if loaded is None:
        raise CollectionNotLoaded(f"failed to {doing}: {_not_loaded(name).message}")
    if loaded.partitions is not None:
        manifest = collection.manifest
        for partition in partitions:
            if manifest.partition_id(partition, reads=True) not in loaded.partitions:
                raise PartitionNotLoaded(f"partition not loaded[collection={name}][partition={partition}]: load it")


def readable_partitions(collection: Collection, partitions: Sequence[str]) -> Sequence[str]:
    """The partitions that a read which names `partitions` looks at: those, or all that are loaded."""
    manifest = collection.manifest
    if partitions or manifest.loaded is None or manifest.loaded.partitions is None:
        return partitions
    ids = manifest.loaded.partitions
    return [name for name, number in manifest.partitions.items() if number in ids]


def loaded_partitions(manifest: Manifest) -> frozenset[int]:
    if manifest.loaded is None:
        return frozenset()
    if manifest.loaded.partitions is None:
        return frozenset(manifest.partitions.values())
    return manifest.loaded.partitions


def _all_loaded(manifest: Manifest, partitions: Sequence[str]) -> bool:
    ids = frozenset(manifest.partition_id(name) for name in partitions)
    return manifest.loaded is not None and ids <= loaded_partitions(manifest)


def _named(manifest: Manifest, name: str) -> int:
    """The id of a partition to load: a name that could be none is looked for like any other."""
    found = manifest.partitions.get(name)
    if found is None:
        raise partition_not_found(name)
    return found


def _check_indexes(manifest: Manifest, collection: str) -> None:
    if not manifest.indexes:
        raise IndexNotFound(f"index not found[collection={collection}]: create an index on its vector field first")
    missing = [f.name for f in manifest.schema.vectors if manifest.index_of(f.id) is None]
    if missing:
        raise InvalidParameter(f"there is no vector index on field: [{' '.join(missing)}], please create index firstly")


def _check_fields(manifest: Manifest, fields: Sequence[str]) -> None:
    if not fields:
        return
    schema = manifest.schema
    wanted = [schema.field(name) for name in fields]
    if not any(f.is_primary for f in wanted):
        raise InvalidParameter(
            f"load field list {list(fields)} does not contain primary key field {schema.primary.name}"
        )
    if not any(f.is_vector for f in wanted):
        raise InvalidParameter(f"load field list {list(fields)} does not contain vector field")


def _not_loaded(collection: str) -> CollectionNotLoaded:
    return CollectionNotLoaded(f"collection not loaded[collection={collection}]: load it first")
