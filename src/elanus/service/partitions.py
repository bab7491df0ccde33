"""Partitions: named parts of a collection that a write goes to and a read may be bound to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from elanus.engine.manifest import DEFAULT_PARTITION
from elanus.engine.query import count
from elanus.model.denial import Deed
from elanus.model.errors import InvalidParameter
from elanus.model.names import check_name
from elanus.model.schema import Schema
from elanus.service.context import RequestContext
from elanus.service.instance import Instance


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    name: str
    id: int


def check_unnamed(schema: Schema, names: Collection[str]) -> None:
    """Raise `InvalidParameter` where a request names partitions though rows are dealt out by a partition key."""
    if schema.partition_key is not None and set(names) - {DEFAULT_PARTITION}:
        raise InvalidParameter("not support manually specifying the partition names if partition key mode is used")


def refuse(schema: Schema, what: str) -> None:
    """Raise `InvalidParameter` where there is a partition key, for `what` cannot be done to partitions then."""
    if schema.partition_key is not None:
        raise InvalidParameter(f"disable {what} if partition key mode is used")


def create(ctx: RequestContext, instance: Instance, collection: str, name: str) -> None:
    """One that exists is no error. Raises `InvalidParameter` for a bad name and above 1,024 partitions."""
    found = instance.collection(ctx, collection, Deed.PARTITION)
    refuse(found.schema, "create partition")
    found.create_partition(name)


def drop(ctx: RequestContext, instance: Instance, collection: str, name: str) -> None:
    """Drop a partition with its rows; an absent one is no error. Raises `InvalidParameter` for `_default`."""
    found = instance.collection(ctx, collection, Deed.PARTITION)
    refuse(found.schema, "drop partition")
    check_name(name, "partition")
    found.drop_partition(name)


def has(ctx: RequestContext, instance: Instance, collection: str, name: str) -> bool:
    found = instance.collection(ctx, collection)
    check_name(name, "partition")
    return name in found.manifest.partitions


def list_all(ctx: RequestContext, instance: Instance, collection: str) -> list[PartitionInfo]:
    """All partitions, `_default` first, then as they were made."""
    partitions = instance.collection(ctx, collection).manifest.partitions
    return [PartitionInfo(name, number) for name, number in sorted(partitions.items(), key=lambda item: item[1])]


def check_named(ctx: RequestContext, instance: Instance, collection: str, names: Iterable[str]) -> None:
    """Raise `PartitionNotFound` unless all of `names` are there."""
    manifest = instance.collection(ctx, collection).manifest
    for name in names:
        manifest.partition_id(name)


def row_count(ctx: RequestContext, instance: Instance, collection: str, name: str) -> int:
    """The rows of one partition, exactly. Raises `PartitionNotFound`."""
    return count(instance.collection(ctx, collection).snapshot(), None, (name,))
