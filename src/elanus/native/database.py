"""`elanus.open` and what it returns: a folder of databases, and in each the collections by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import orjson

from elanus.model.errors import InvalidParameter
from elanus.model.schema import Field, Schema
from elanus.model.types import DataType, OnDuplicateKey
from elanus.native.collection import Collection
from elanus.service import aliases, analyzers, collections, databases, recall
from elanus.service.analyzers import Token
from elanus.service.context import RequestContext
from elanus.service.databases import DatabaseInfo
from elanus.service.indexes import IndexRequest
from elanus.service.instance import Instance, Settings
from elanus.service.recall import Gauge

__all__ = ["Database", "Elanus", "Settings", "open"]

KEY_MAX_LENGTH = 512
"""Bytes of a VarChar key of the quick form."""


def open(  # noqa: A001 - `elanus.open`, as one opens a file
    path: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    read_only: bool = False,
    take_over: bool = False,
) -> Elanus:
    """Open the databases in the folder or at the URL `path`, and make it where there is none; close them with `close`
    or `with`.

    One process may have it open for writing. Raises `AlreadyOpen` naming the process that has, `CorruptData`,
    `FormatTooNew`, `StoreError`. With `take_over` the place is this process's: the one that has a folder is ended, and
    the one that has a bucket (`s3://bucket/path`, also `gs` and `az`) writes no more and stops with `WriterStopped`.

    With `read_only` any number of processes may open it beside the one that writes. In a folder they see what was
    acknowledged before each call, in a bucket what was some seconds before (see `Elanus.refresh`).
    """
    return Elanus(Instance.open(path, settings, read_only=read_only, take_over=take_over))


class Database:
    """The collections of one database, by name. Safe to use from any thread."""

    def __init__(self, instance: Instance, ctx: RequestContext) -> None:
        self._instance = instance
        self._ctx = ctx

    @property
    def name(self) -> str:
        return self._ctx.database

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    # --- collections -----------------------------------------------------------------------------------------------

    def create_collection(
        self,
        name: str,
        schema: Schema | None = None,
        *,
        dimension: int | None = None,
        metric: str = "COSINE",
        key_type: DataType = DataType.INT64,
        auto_id: bool = False,
        on_duplicate_key: OnDuplicateKey | str = OnDuplicateKey.KEEP,
        properties: Mapping[str, str] | None = None,
        num_partitions: int = 0,
    ) -> Collection:
        """Make a collection, from a `schema` or, quickly, from the `dimension` of its vectors.

        The quick form has a key `id` (Int64, or VarChar by `key_type`), a FloatVector `vector`, dynamic keys, and an
        AUTOINDEX by `metric`; these and `auto_id` go with it alone. `on_duplicate_key` says what an insert does with a
        key that exists: "keep" both, "reject" the insert, or "replace" the row; it cannot be changed later.

        Where a field of the schema is a partition key, rows are dealt out by it to `num_partitions` partitions (0: 16).

        The same again is no error. Raises `InvalidParameter` for a bad name or schema, and where another collection
        has the name; `AliasNameTaken`; `CollectionLimit`.
        """
        if (schema is None) == (dimension is None):
            raise InvalidParameter("create_collection takes a schema or a dimension: send one of them")
        if schema is not None and (metric != "COSINE" or key_type is not DataType.INT64 or auto_id):
            raise InvalidParameter(
                "metric, key_type and auto_id go with dimension: with a schema, say it in its fields"
            )
        indexes = []
        if schema is None:
            schema = _quick_schema(dimension or 0, key_type, auto_id)
            indexes.append(IndexRequest("vector", metric=metric))
        try:
            duplicates = OnDuplicateKey(on_duplicate_key)
        except ValueError:
            known = ", ".join(OnDuplicateKey)
            raise InvalidParameter(f"on_duplicate_key is one of {known}; got {on_duplicate_key!r}") from None
        collections.create(
            self._ctx, self._instance, name, schema, properties, duplicates, indexes, partitions=num_partitions
        )
        return Collection(self._instance, self._ctx, name)

    def collection(self, name: str) -> Collection:
        """The collection with this name or alias. Raises `CollectionNotFound`."""
        if not self.has_collection(name):
            collections.describe(self._ctx, self._instance, name)
        return Collection(self._instance, self._ctx, name)

    def has_collection(self, name: str) -> bool:
        """Whether there is a collection with this name or alias."""
        return collections.has(self._ctx, self._instance, name)

    def list_collections(self) -> list[str]:
        """Their names, in order."""
        return [entry.name for entry in collections.list_all(self._ctx, self._instance)]

    def drop_collection(self, name: str, *, purge: bool = False) -> None:
        """Drop a collection; an absent one is no error. `purge` frees its files at once, else they go after a while.

        Raises `InvalidParameter` for an alias, and for a collection that has aliases.
        """
        collections.drop(self._ctx, self._instance, name, purge)

    def rename_collection(self, name: str, new_name: str, *, database: str | None = None) -> None:
        """Rename a collection, also into another `database`. Aliases go along within one database.

        Raises `CollectionNotFound`, `AliasNameTaken`, `InvalidParameter` where the new name is in use.
        """
        collections.rename(self._ctx, self._instance, name, new_name, database)

    # --- analyzers -------------------------------------------------------------------------------------------------

    def run_analyzer(
        self,
        texts: Sequence[str],
        params: Mapping[str, Any] | None = None,
        *,
        collection: str = "",
        field: str = "",
        names: Sequence[str] = (),
    ) -> list[list[Token]]:
        """The tokens of each text, by the analyzer that `params` describes or by that of a `collection`'s `field`;
        where this has several, by those with `names`, one for all texts or one for each.

        Raises `InvalidParameter`, `CollectionNotFound`.
        """
        if not collection:
            described = "" if params is None else orjson.dumps(dict(params)).decode()
            return analyzers.run(self._ctx, self._instance, texts, described)
        if params is not None:
            raise InvalidParameter("run_analyzer takes params or a collection's field: send one of them")
        return analyzers.run_of_field(self._ctx, self._instance, texts, collection, field, names)

    # --- aliases ---------------------------------------------------------------------------------------------------

    def create_alias(self, alias: str, collection: str) -> None:
        """The same again is no error. Raises `AliasExists`, `AliasNameTaken`, `CollectionNotFound`."""
        aliases.create(self._ctx, self._instance, alias, collection)

    def alter_alias(self, alias: str, collection: str) -> None:
        """Point an alias at another collection, at one stroke. Raises `AliasNotFound`, `CollectionNotFound`."""
        aliases.alter(self._ctx, self._instance, alias, collection)

    def drop_alias(self, alias: str) -> None:
        """Raises `AliasNotFound`."""
        aliases.drop(self._ctx, self._instance, alias)

    def list_aliases(self, collection: str | None = None) -> dict[str, str]:
        """From alias to collection, of one collection or of all."""
        return {info.alias: info.collection for info in aliases.list_all(self._ctx, self._instance, collection)}


class Elanus(Database):
    """Everything in one folder. It is itself the database `default`; `database(name)` gives the others."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance, RequestContext())

    def database(self, name: str) -> Database:
        """Raises `DatabaseNotFound`."""
        databases.describe(self._ctx, self._instance, name)
        return Database(self._instance, replace(self._ctx, database=name))

    def create_database(self, name: str, properties: Mapping[str, str] | None = None) -> Database:
        """Raises `InvalidDatabaseName`, `DatabaseLimit` above 64, `InvalidParameter` for a name in use."""
        databases.create(self._ctx, self._instance, name, properties)
        return self.database(name)

    def drop_database(self, name: str) -> None:
        """Drop an empty database; an absent one is no error. Raises `InvalidParameter`."""
        databases.drop(self._ctx, self._instance, name)

    def list_databases(self) -> list[str]:
        """Their names, in order."""
        return [info.name for info in databases.list_all(self._ctx, self._instance)]

    def describe_database(self, name: str) -> DatabaseInfo:
        """Raises `DatabaseNotFound`."""
        return databases.describe(self._ctx, self._instance, name)

    def alter_database(
        self, name: str, properties: Mapping[str, str] | None = None, *, drop: Sequence[str] = ()
    ) -> None:
        """Set properties, or `drop` some. Raises `DatabaseNotFound`, `InvalidParameter`."""
        databases.alter(self._ctx, self._instance, name, properties, drop)

    def metrics(self) -> list[Gauge]:
        """Figures as they are now, each with a name, labels and a value: the recall of searches of all collections."""
        return recall.metrics(self._ctx, self._instance)

    def refresh(self) -> None:
        """See everything that was acknowledged before this call. Only of a bucket that is open `read_only` one may
        otherwise see less. Raises `StoreError` where the bucket does not answer.
        """
        self._instance.refresh()

    def close(self) -> None:
        """Finish what is in flight and give the folder free. Closing again is no error."""
        self._instance.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _quick_schema(dimension: int, key_type: DataType, auto_id: bool) -> Schema:
    key = Field(
        "id",
        key_type,
        is_primary=True,
        auto_id=auto_id,
        max_length=KEY_MAX_LENGTH if key_type is DataType.VARCHAR else None,
    )
    return Schema((key, Field("vector", DataType.FLOAT_VECTOR, dim=dimension)), enable_dynamic_field=True)
