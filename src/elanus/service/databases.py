"""Databases: namespaces of collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elanus.catalog.state import Database
from elanus.model.errors import InvalidParameter
from elanus.model.names import check_name
from elanus.model.properties import check_database
from elanus.service import timezones
from elanus.service.context import RequestContext
from elanus.service.instance import Instance


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """`created` is a hybrid timestamp."""

    name: str
    id: int
    created: int
    properties: Mapping[str, str]
    collections: int


def create(ctx: RequestContext, instance: Instance, name: str, properties: Mapping[str, str] | None = None) -> None:
    """Raises `InvalidDatabaseName`, `DatabaseLimit` above 64, `InvalidParameter` for a name in use."""
    instance.begin(ctx)
    timezones.check(properties or {})
    instance.catalog.add_database(name, instance.ids.reserve(1), properties or {})


def drop(ctx: RequestContext, instance: Instance, name: str) -> None:
    """Drop an empty database; an absent one is no error.

    Raises `InvalidParameter` for `default` and for a full one, `InvalidDatabaseName`.
    """
    instance.begin(ctx)
    check_name(name, "database")
    instance.catalog.drop_database(name)


def alter(
    ctx: RequestContext,
    instance: Instance,
    name: str,
    properties: Mapping[str, str] | None = None,
    removed: Sequence[str] = (),
) -> None:
    """Set properties or take some away, one of the two. Raises `DatabaseNotFound`, `InvalidParameter`."""
    instance.begin(ctx)
    if bool(properties) == bool(removed):
        raise InvalidParameter("alter database needs properties to set or keys to delete: send one of them, not both")
    check_database(properties or {}, removed)
    timezones.check(properties or {})
    instance.catalog.alter_database(name, properties or {}, removed)


def describe(ctx: RequestContext, instance: Instance, name: str) -> DatabaseInfo:
    """Raises `DatabaseNotFound`."""
    instance.begin(ctx)
    return _info(instance.catalog.database(name))


def list_all(ctx: RequestContext, instance: Instance) -> list[DatabaseInfo]:
    """All databases, by name."""
    instance.begin(ctx)
    return [_info(database) for _, database in sorted(instance.catalog.state.databases.items())]


def _info(database: Database) -> DatabaseInfo:
    return DatabaseInfo(
        database.name, database.id, database.created, dict(database.properties), len(database.collections)
    )
