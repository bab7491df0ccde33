"""Aliases: second names of collections, which can be pointed elsewhere at one stroke."""

from __future__ import annotations

from dataclasses import dataclass

from elanus.model.errors import AliasNotFound
from elanus.model.names import check_name
from elanus.service.context import RequestContext
from elanus.service.instance import Instance


@dataclass(frozen=True, slots=True)
class AliasInfo:
    alias: str
    collection: str
    database: str


def create(ctx: RequestContext, instance: Instance, alias: str, collection: str) -> None:
    """The same alias of the same collection again is no error.

    Raises `AliasExists` where it stands for another, `AliasNameTaken` for the name of a collection,
    `CollectionNotFound`, `InvalidParameter` for a bad name.
    """
    instance.begin(ctx)
    instance.catalog.create_alias(ctx.database, alias, collection)


def alter(ctx: RequestContext, instance: Instance, alias: str, collection: str) -> None:
    """Point an existing alias at `collection`. Raises `AliasNotFound`, `CollectionNotFound`."""
    instance.begin(ctx)
    instance.catalog.alter_alias(ctx.database, alias, collection)


def drop(ctx: RequestContext, instance: Instance, alias: str) -> None:
    """Raises `AliasNotFound`."""
    instance.begin(ctx)
    instance.catalog.drop_alias(ctx.database, alias)


def describe(ctx: RequestContext, instance: Instance, alias: str) -> AliasInfo:
    """Raises `AliasNotFound`."""
    instance.begin(ctx)
    target = instance.catalog.database(ctx.database).aliases.get(alias)
    if target is None:
        check_name(alias, "alias")
        raise AliasNotFound(f"alias not found[database={ctx.database}][alias={alias}]")
    return AliasInfo(alias, target, ctx.database)


def list_all(ctx: RequestContext, instance: Instance, collection: str | None = None) -> list[AliasInfo]:
    """The aliases of one collection, or of the whole database. Raises `CollectionNotFound`."""
    instance.begin(ctx)
    database = instance.catalog.database(ctx.database)
    target = None if collection is None else database.entry(collection).name
    return [
        AliasInfo(alias, name, database.name)
        for alias, name in sorted(database.aliases.items())
        if target is None or name == target
    ]
