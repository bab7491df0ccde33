"""The catalog, open: who is asked for every name, and the one place where names change.

Reads take the current state, a frozen value, without a lock; whoever needs several answers that fit together takes
`state` once. Changes are edits, committed one at a time through a `VersionedState`; see `state.py` for what each
asks for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from elanus.catalog.rules import CatalogRules
from elanus.catalog.state import (
    MAX_COLLECTIONS_PROPERTY,
    AliasAltered,
    AliasCreated,
    AliasDropped,
    CatalogState,
    CollectionAdded,
    CollectionDropped,
    CollectionEntry,
    CollectionPurged,
    CollectionRenamed,
    Database,
    DatabaseAdded,
    DatabaseAltered,
    DatabaseDropped,
    Edit,
    WriterStarted,
)
from elanus.engine.host import COLLECTIONS, opened_to_read
from elanus.model.errors import CorruptData, InvalidDatabaseName, InvalidParameter
from elanus.model.names import check_name
from elanus.store.base import Store
from elanus.store.header import FileKind
from elanus.store.versioned import VersionedState

PREFIX = "catalog"

KEPT_VERSIONS = 256
"""How many past versions stay when a writer starts; each opening makes one, so they would pile up."""

Changing: TypeAlias = Callable[[], AbstractContextManager[Callable[[int], object]]]

Versions: TypeAlias = VersionedState[CatalogState, Edit]


class Catalog:
    """Made by `Catalog.open` for writing or `Catalog.read` for reading. Safe to use from any thread."""

    def __init__(self, versions: Versions, writable: bool) -> None:
        self._versions = versions
        self._writable = writable
        self._writing = threading.Lock()
        self._changing: Changing = _tells_nobody
        self._announced = versions.version

    @classmethod
    def open(cls, store: Store, epoch: int, timestamp: int) -> Catalog:
        """Open for writing as writer number `epoch`; earlier ones that wake up find their edits void.

        `timestamp` is now, as a hybrid timestamp. Raises `CorruptData` when there are collections but no catalog, and
        when a writer of this epoch or a later one has been here, which the log, where epochs come from, should know.
        """
        versions: Versions = VersionedState(store, PREFIX, CatalogRules(), FileKind.CATALOG, epoch)
        versions.load()
        if not versions.version and store.keys(f"{COLLECTIONS}/"):
            raise CorruptData(
                "there are files of collections, but no catalog that names them: the folder store/catalog is missing. "
                "Restore it from the backup that the rest is from."
            )
        if versions.state.epoch >= epoch:
            raise CorruptData(
                f"the catalog was written by writer {versions.state.epoch}, but the log knows of {epoch - 1} at most: "
                "the log's folder is missing or older than the catalog. Restore both from the same backup."
            )
        versions.commit([WriterStarted(epoch, timestamp)])
        versions.forget(versions.version - KEPT_VERSIONS)
        return cls(versions, writable=True)

    @classmethod
    def read(cls, store: Store) -> Catalog:
        """Open for reading; `refresh` shows what a writer has changed since."""
        versions: Versions = VersionedState(store, PREFIX, CatalogRules(), FileKind.CATALOG)
        versions.load()
        return cls(versions, writable=False)

    @property
    def state(self) -> CatalogState:
        return self._versions.state

    def refresh(self) -> CatalogState:
        return self._versions.refresh()

    def follow(self, version: int | None) -> CatalogState:
        """What was committed up to `version` at least; None is the newest."""
        if version is None or not self._versions.follow(version):
            return self._versions.refresh()
        return self.state

    def announce(self, changing: Changing) -> None:
        """From now on make changes inside of `changing`, and call what it yields with the version before they are
        heard of. What that raises comes out of the change, which has been made all the same.
        """
        self._changing = changing

    # --- asking ----------------------------------------------------------------------------------------------------

    def resolve(self, database: str, name: str) -> CollectionEntry:
        """The collection with this name or alias. Raises `DatabaseNotFound`, `CollectionNotFound`."""
        return self._versions.state.database(database).entry(name)

    def find(self, database: str, name: str) -> CollectionEntry | None:
        """`resolve`, but None where there is no such collection. Raises `DatabaseNotFound`."""
        return self._versions.state.database(database).find(name)

    def database(self, name: str) -> Database:
        """Raises `DatabaseNotFound`."""
        return self._versions.state.database(name)

    # --- databases -------------------------------------------------------------------------------------------------

    def add_database(self, name: str, database_id: int, properties: Mapping[str, str]) -> None:
        """Raises `InvalidDatabaseName`, `DatabaseLimit`, and `InvalidParameter` for a name in use."""
        try:
            check_name(name, "database")
        except InvalidParameter as error:
            raise InvalidDatabaseName(str(error)) from None
        _check_database_properties(properties)
        self._commit(DatabaseAdded(name, database_id, database_id, dict(properties)))

    def alter_database(self, name: str, properties: Mapping[str, str], removed: Sequence[str] = ()) -> None:
        _check_database_properties(properties)
        self._commit(DatabaseAltered(name, dict(properties), tuple(removed)))

    def drop_database(self, name: str) -> None:
        """An absent one is no error. Raises `InvalidParameter` for `default` and for one that has collections."""
        self._commit(DatabaseDropped(name))

    # --- collections -----------------------------------------------------------------------------------------------

    def add_collection(self, database: str, name: str, collection_id: int) -> CollectionEntry:
        """Make a collection real. Raises `AliasNameTaken`, `CollectionLimit`, `InvalidParameter` for a name in use."""
        check_name(name, "collection")
        return (
            self._commit(CollectionAdded(database, name, collection_id, collection_id)).database(database).entry(name)
        )

    def drop_collection(self, database: str, name: str, timestamp: int) -> CollectionEntry | None:
        """What was dropped; an absent one is no error. Raises `InvalidParameter` for an alias or one with aliases.

        Its files stay until it is `purged`.
        """
        with self._writing:
            found = self.find(database, name)
            self._commit_locked(CollectionDropped(database, name, timestamp))
            return found

    def dropped_before(self, timestamp: int) -> list[int]:
        """The ids of dropped collections whose files may be deleted when history reaches back to `timestamp`."""
        return [i for i, dropped in self.state.dropped.items() if dropped < timestamp]

    def purged(self, collection_id: int) -> None:
        """The files of a dropped collection are gone: forget its id."""
        self._commit(CollectionPurged(collection_id))

    def rename_collection(self, database: str, name: str, new_name: str, new_database: str | None = None) -> None:
        """Raises `CollectionNotFound`, `AliasNameTaken` where one of the names is an alias, `InvalidParameter`."""
        check_name(new_name, "collection")
        self._commit(CollectionRenamed(database, name, new_database or database, new_name))

    # --- aliases ---------------------------------------------------------------------------------------------------

    def create_alias(self, database: str, alias: str, collection: str) -> None:
        """The same again is no error. Raises `AliasExists` where it points elsewhere, `AliasNameTaken`."""
        check_name(alias, "alias")
        self._commit(AliasCreated(database, alias, collection))

    def alter_alias(self, database: str, alias: str, collection: str) -> None:
        """Point an alias elsewhere. Raises `AliasNotFound`, `CollectionNotFound`."""
        self._commit(AliasAltered(database, alias, collection))

    def drop_alias(self, database: str, alias: str) -> None:
        """Raises `AliasNotFound`."""
        self._commit(AliasDropped(database, alias))

    def _commit(self, edit: Edit) -> CatalogState:
        with self._writing:
            return self._commit_locked(edit)

    def _commit_locked(self, edit: Edit) -> CatalogState:
        if not self._writable:
            raise opened_to_read()
        with self._changing() as announce:
            state = self._versions.commit([edit])
            self._tell(announce)
            return state

    def tell(self) -> None:
        """Where telling of a change failed, do it now. For who finds everything as it asks for."""
        if self._writable and self._versions.version != self._announced:
            with self._writing, self._changing() as announce:
                self._tell(announce)

    def _tell(self, announce: Callable[[int], object]) -> None:
        version = self._versions.version
        if version != self._announced:
            announce(version)
            self._announced = version


@contextmanager
def _tells_nobody() -> Iterator[Callable[[int], object]]:
    yield lambda _: None


def _check_database_properties(properties: Mapping[str, str]) -> None:
    limit = properties.get(MAX_COLLECTIONS_PROPERTY)
    if limit is not None and not limit.isdecimal():
        raise InvalidParameter(f"{MAX_COLLECTIONS_PROPERTY} is a count of collections; got {limit!r}. Send digits.")
