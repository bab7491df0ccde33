"""The catalog as a value: databases, the names of their collections, aliases; its edits, and what each asks for.

Nothing here does I/O: states and edits are frozen, `apply` makes the next state or raises where an edit asks for what
cannot be, `rebase` says whether there is anything left to do. `store.versioned.VersionedState` keeps the versions.

Invariants of every state:

- there is a database `default`;
- within a database a name is that of one collection, or of one alias, or free;
- an alias names a collection of its own database;
- `last_id` is at least every id that was ever given to a database or a collection, also to dropped ones, so that ids
  are never reused;
- a dropped collection stays in `dropped` until its files have been deleted: what the catalog names nowhere has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from elanus.model.errors import (
    AliasExists,
    AliasNameTaken,
    AliasNotFound,
    CollectionLimit,
    CollectionNotFound,
    DatabaseLimit,
    DatabaseNotFound,
    InvalidParameter,
)
from elanus.model.names import check_name

DEFAULT_DATABASE = "default"
DEFAULT_DATABASE_ID = 1
MAX_DATABASES = 64
MAX_COLLECTIONS = 65_536
MAX_COLLECTIONS_PROPERTY = "database.max.collections"


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """A collection's name, its id, and the hybrid timestamp at which it was made."""

    name: str
    id: int
    created: int


@dataclass(frozen=True, slots=True)
class Database:
    """`collections` by name; `aliases` from alias to the name of the collection it stands for."""

    name: str
    id: int
    created: int
    properties: Mapping[str, str] = field(default_factory=dict)
    collections: Mapping[str, CollectionEntry] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> CollectionEntry | None:
        """The collection with this name or alias."""
        found = self.collections.get(name)
        if found is None and (target := self.aliases.get(name)) is not None:
            found = self.collections[target]
        return found

    def entry(self, name: str) -> CollectionEntry:
        """`find`, but raises `CollectionNotFound`, and `InvalidParameter` for what cannot be a name."""
        found = self.find(name)
        if found is None:
            check_name(name, "collection")  # what no collection can be called was not looked for
            raise not_found(self.name, name)
        return found

    def aliases_of(self, collection: str) -> list[str]:
        return sorted(alias for alias, target in self.aliases.items() if target == collection)

    @property
    def max_collections(self) -> int:
        return int(self.properties.get(MAX_COLLECTIONS_PROPERTY, MAX_COLLECTIONS))


@dataclass(frozen=True, slots=True)
class CatalogState:
    """`epoch` is the number of the newest writer, above those of all before it.

    `dropped` has the ids of dropped collections whose files are still there, and the hybrid timestamp of each drop.
    """

    databases: Mapping[str, Database]
    epoch: int = 0
    last_id: int = DEFAULT_DATABASE_ID
    dropped: Mapping[int, int] = field(default_factory=dict)

    def database(self, name: str) -> Database:
        """Raises `DatabaseNotFound`."""
        found = self.databases.get(name)
        if found is None:
            raise DatabaseNotFound(f"database not found[database={name}]")
        return found

    def collection_ids(self) -> frozenset[int]:
        """Of all collections that have a name."""
        return frozenset(entry.id for database in self.databases.values() for entry in database.collections.values())


def not_found(database: str, collection: str | int) -> CollectionNotFound:
    """The error for a collection, by name or id, that a database does not have; clients look for these words."""
    return CollectionNotFound(f"collection not found[database={database}][collection={collection}]")


def initial() -> CatalogState:
    return CatalogState({DEFAULT_DATABASE: Database(DEFAULT_DATABASE, DEFAULT_DATABASE_ID, created=0)})


# --- edits -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WriterStarted:
    """A process opened for writing: from now on edits of lower epochs are void."""

    epoch: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class DatabaseAdded:
    name: str
    id: int
    created: int
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DatabaseAltered:
    name: str
    properties: Mapping[str, str]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatabaseDropped:
    name: str


@dataclass(frozen=True, slots=True)
class CollectionAdded:
    database: str
    name: str
    id: int
    created: int


@dataclass(frozen=True, slots=True)
class CollectionDropped:
    database: str
    name: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class CollectionPurged:
    """The files of a dropped collection are gone."""

    id: int


@dataclass(frozen=True, slots=True)
class CollectionRenamed:
    database: str
    name: str
    new_database: str
    new_name: str


@dataclass(frozen=True, slots=True)
class AliasCreated:
    database: str
    alias: str
    collection: str


@dataclass(frozen=True, slots=True)
class AliasAltered:
    database: str
    alias: str
    collection: str


@dataclass(frozen=True, slots=True)
class AliasDropped:
    database: str
    alias: str


Edit = (
    WriterStarted
    | DatabaseAdded
    | DatabaseAltered
    | DatabaseDropped
    | CollectionAdded
    | CollectionDropped
    | CollectionPurged
    | CollectionRenamed
    | AliasCreated
    | AliasAltered
    | AliasDropped
)


def rebase(edit: Edit, state: CatalogState) -> Edit | None:
    """None when `edit` is done already, so that dropping what is gone and repeating an alias are no errors."""
    match edit:
        case WriterStarted():
            return edit if edit.epoch > state.epoch else None
        case DatabaseDropped():
            return edit if edit.name in state.databases else None
        case CollectionDropped():
            return edit if state.database(edit.database).find(edit.name) is not None else None
        case CollectionPurged():
            return edit if edit.id in state.dropped else None
        case AliasCreated():
            database = state.database(edit.database)
            target = database.aliases.get(edit.alias)
            return None if target is not None and database.find(edit.collection) == database.find(target) else edit
        case _:
            return edit


def apply(state: CatalogState, edit: Edit) -> CatalogState:
    """The catalog after `edit`. Raises the `ElanusError` that says why it cannot be."""
    match edit:
        case WriterStarted():
            default = state.databases[DEFAULT_DATABASE]
            if not default.created:
                state = _with(state, replace(default, created=edit.timestamp))
            return replace(state, epoch=edit.epoch)
        case DatabaseAdded():
            return _add_database(state, edit)
        case DatabaseAltered():
            database = state.database(edit.name)
            kept = {key: value for key, value in database.properties.items() if key not in edit.removed}
            return _with(state, replace(database, properties={**kept, **edit.properties}))
        case DatabaseDropped():
            return _drop_database(state, edit.name)
        case CollectionAdded():
            return _add_collection(state, edit)
        case CollectionDropped():
            return _drop_collection(state, edit)
        case CollectionPurged():
            return replace(state, dropped={i: t for i, t in state.dropped.items() if i != edit.id})
        case CollectionRenamed():
            return _rename_collection(state, edit)
        case AliasCreated() | AliasAltered():
            return _set_alias(state, edit)
        case AliasDropped():
            database = state.database(edit.database)
            _alias_target(database, edit.alias)
            aliases = {alias: target for alias, target in database.aliases.items() if alias != edit.alias}
            return _with(state, replace(database, aliases=aliases))


def _with(state: CatalogState, *databases: Database) -> CatalogState:
    return replace(state, databases={**state.databases, **{d.name: d for d in databases}})


def _add_database(state: CatalogState, edit: DatabaseAdded) -> CatalogState:
    if edit.name in state.databases:
        raise InvalidParameter(f"database already exist: {edit.name}. Choose another name.")
    if len(state.databases) >= MAX_DATABASES:
        raise DatabaseLimit(
            f"database[{edit.name}]: exceeded the limit number of database[limit={MAX_DATABASES}]: drop one first"
        )
    added = Database(edit.name, edit.id, edit.created, dict(edit.properties))
    return replace(_with(state, added), last_id=max(state.last_id, edit.id))


def _drop_database(state: CatalogState, name: str) -> CatalogState:
    if name == DEFAULT_DATABASE:
        raise InvalidParameter("can not drop default database: every name without a database lives there")
    if count := len(state.database(name).collections):
        raise InvalidParameter(
            f"database:{name} not empty, must drop all collections before drop database: it has {count}"
        )
    return replace(state, databases={n: d for n, d in state.databases.items() if n != name})


def _add_collection(state: CatalogState, edit: CollectionAdded) -> CatalogState:
    database = state.database(edit.database)
    _check_free(database, edit.name)
    _check_room(state, database)
    collections = {**database.collections, edit.name: CollectionEntry(edit.name, edit.id, edit.created)}
    return replace(_with(state, replace(database, collections=collections)), last_id=max(state.last_id, edit.id))


def _check_free(database: Database, name: str) -> None:
    if name in database.aliases:
        raise AliasNameTaken(
            f"collection name [{name}] conflicts with an existing alias, please choose a unique name: "
            f"alias and collection name conflict[database={database.name}][alias={name}]"
        )
    if name in database.collections:
        raise InvalidParameter(f"collection {name} already exists in database {database.name}: choose another name")


def _check_room(state: CatalogState, database: Database) -> None:
    limit = database.max_collections
    if (
        len(database.collections) >= limit
        or sum(len(d.collections) for d in state.databases.values()) >= MAX_COLLECTIONS
    ):
        raise CollectionLimit(
            f"exceeded the limit number of collections[database={database.name}][limit={limit}]: drop one first"
        )


def _drop_collection(state: CatalogState, edit: CollectionDropped) -> CatalogState:
    database = state.database(edit.database)
    if edit.name in database.aliases:
        raise InvalidParameter(
            f"cannot drop the collection via alias = {edit.name}: name the collection, {database.aliases[edit.name]}"
        )
    if aliases := database.aliases_of(edit.name):
        raise InvalidParameter(
            f"unable to drop the collection [{edit.name}] because it has associated aliases {aliases}, "
            "please remove all aliases before dropping the collection"
        )
    dropped = {**state.dropped, database.entry(edit.name).id: edit.timestamp}
    collections = {name: entry for name, entry in database.collections.items() if name != edit.name}
    return replace(_with(state, replace(database, collections=collections)), dropped=dropped)


def _rename_collection(state: CatalogState, edit: CollectionRenamed) -> CatalogState:
    source, target = state.database(edit.database), state.database(edit.new_database)
    if edit.name in source.aliases:
        raise AliasNameTaken(
            f"unsupported use an alias to rename collection, alias:{edit.name}: name the collection, "
            f"{source.aliases[edit.name]}"
        )
    entry = source.find(edit.name)
    if entry is None:
        raise not_found(source.name, edit.name)
    if (edit.database, edit.name) == (edit.new_database, edit.new_name):
        raise InvalidParameter("collection name or database name should be different: the new name is the old one")
    if edit.new_name in target.aliases:
        raise AliasNameTaken(
            f"cannot rename collection to an existing alias: {edit.new_name}: "
            f"alias and collection name conflict[database={edit.new_database}][alias={edit.new_name}]"
        )
    if edit.new_name in target.collections:
        raise InvalidParameter(
            f"duplicated new collection name {edit.new_database}:{edit.new_name} with other collection name or alias"
        )
    renamed = replace(entry, name=edit.new_name)
    remaining = {name: kept for name, kept in source.collections.items() if name != edit.name}
    if source is target:
        moved = {alias: edit.new_name if name == edit.name else name for alias, name in source.aliases.items()}
        return _with(state, replace(source, collections={**remaining, edit.new_name: renamed}, aliases=moved))
    if aliases := source.aliases_of(edit.name):
        raise InvalidParameter(f"fail to rename collection to a different database, must drop all aliases {aliases}")
    if len(target.collections) >= target.max_collections:
        raise CollectionLimit(
            f"exceeded the limit number of collections[database={target.name}][limit={target.max_collections}]"
        )
    return _with(
        state,
        replace(source, collections=remaining),
        replace(target, collections={**target.collections, edit.new_name: renamed}),
    )


def _set_alias(state: CatalogState, edit: AliasCreated | AliasAltered) -> CatalogState:
    database = state.database(edit.database)
    where = f"[database={database.name}][alias={edit.alias}]"
    if edit.alias in database.collections:
        raise AliasNameTaken(f"alias and collection name conflict{where}: choose another alias")
    if isinstance(edit, AliasAltered) and database.find(edit.collection) is None:
        check_name(edit.collection, "collection")
        # In these words, other than where any other call names what is not there.
        raise CollectionNotFound(f"collection not found[collection={edit.collection}]")
    target = database.entry(edit.collection).name
    if isinstance(edit, AliasAltered):
        _alias_target(database, edit.alias)
    elif edit.alias in database.aliases:
        raise AliasExists(
            f"{edit.alias} is alias to another collection: {database.aliases[edit.alias]}: alias already exist{where}. "
            "Alter it to point it elsewhere."
        )
    return _with(state, replace(database, aliases={**database.aliases, edit.alias: target}))


def _alias_target(database: Database, alias: str) -> str:
    target = database.aliases.get(alias)
    if target is None:
        check_name(alias, "alias")
        raise AliasNotFound(f"alias not found[database={database.name}][alias={alias}]")
    return target
