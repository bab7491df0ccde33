"""Rows: inserted, replaced, deleted. Durable and visible to every later read when the call returns.

A write whose context names the request (`RequestContext.request_id`) may be sent again under the same name while its
answer is missing: it is done once, and the answer is the first one's. See `engine.retries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any

import orjson
import pyarrow as pa

from elanus.engine import writes
from elanus.engine.collection import Collection
from elanus.engine.manifest import DEFAULT_PARTITION
from elanus.engine.precedence import give_way
from elanus.engine.retries import NO_IDENTITY, WriteKind, identity_of
from elanus.engine.writes import WriteResult
from elanus.expr.bound import BoundFilter
from elanus.expr.compile import compile_filter
from elanus.model.batch import Rows, canonical_batch
from elanus.model.canonical import Values, arrow_of
from elanus.model.columns import convert
from elanus.model.denial import Deed
from elanus.model.digest import digest_of
from elanus.model.errors import InvalidParameter, SchemaOutdated
from elanus.model.properties import ALLOW_AUTO_ID, is_set
from elanus.model.schema import Schema
from elanus.model.types import TYPE_NAMES, ArrayOperation
from elanus.service import loading
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.service.partitions import check_unnamed
from elanus.service.timezones import timezone_of, zone_of
from elanus.text.functions import with_outputs

__all__ = [
    "DEFAULT_PARTITION",
    "WriteResult",
    "delete_keys",
    "delete_where",
    "insert",
    "key_array",
    "schema_for",
    "upsert",
]


def insert(
    ctx: RequestContext, instance: Instance, collection: str, rows: Rows, partition: str = DEFAULT_PARTITION
) -> WriteResult:
    """Insert `rows` (see `model.batch`), all of them or none. An empty batch writes nothing.

    The result's keys are those of the rows, in order, also where autoID made them; with the property
    `allow_insert_auto_id` those that are given are taken. Raises `SchemaMismatch`,
    `DuplicateKey` under `on_duplicate_key="reject"`, `PartitionNotFound`, `CollectionNotFound`, `StoreError`.
    """
    found = instance.collection(ctx, collection, Deed.WRITING)
    check_unnamed(found.schema, [partition])
    schema = found.schema
    primary, zone = schema.primary, zone_of(found.manifest.properties)
    made = False

    def make_keys(count: int) -> Values:
        nonlocal made
        made = True
        return instance.ids.keys(primary.dtype, count)

    may_be_given = is_set(found.manifest.properties, ALLOW_AUTO_ID)
    making = make_keys if primary.auto_id else None
    batch = canonical_batch(rows, schema, making, keys_given=may_be_given, zone=zone)
    if not batch.num_rows:
        return _nothing(found)
    give_way()
    asked = batch.without(primary.id) if made else batch
    identity = _identity(ctx, found, WriteKind.INSERT, asked.columns.values(), [partition])
    return writes.insert(found, with_outputs(batch, schema), partition, identity, ctx.settle)


def upsert(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    rows: Rows,
    partition: str = DEFAULT_PARTITION,
    *,
    partial: bool = False,
    operations: Mapping[str, ArrayOperation] = MappingProxyType({}),
    loaded_only: bool = False,
) -> WriteResult:
    """Replace the rows that have the keys of `rows`, and insert those that are new, at one moment.

    Keys have to be given, also with autoID, where a replaced row gets a new key: the result's keys are the new ones.
    With `partial`, and with `operations` on array fields, what `rows` do not name stays as it is; where `loaded_only`,
    clients need to have loaded it for that.
    Raises as `insert` does, and `InvalidParameter` when a key stands twice in the batch.
    """
    found = instance.collection(ctx, collection, Deed.WRITING)
    check_unnamed(found.schema, [partition])
    partial = partial or bool(operations)
    _check_operations(found.schema, operations)
    if partial and loaded_only:
        loading.require(found, collection)
    schema = found.schema
    primary = schema.primary
    batch = canonical_batch(rows, schema, partial=partial, zone=zone_of(found.manifest.properties))
    if not batch.num_rows:
        return _nothing(found)
    for name in operations:
        if found.schema.field(name).id not in batch.columns:
            raise InvalidParameter(f'partial-update op targets field "{name}" not present in fields_data: send it')
    give_way()
    if partial:
        identity = _identity(
            ctx,
            found,
            WriteKind.UPSERT,
            batch.columns.values(),
            [partition, *map(str, batch.columns), *chain.from_iterable(sorted(operations.items()))],
        )
        keys = batch.arrow(primary.id)
        new_keys = instance.ids.keys(primary.dtype, len(keys)) if primary.auto_id else None
        return writes.partial_upsert(
            found,
            batch,
            lambda schema: key_condition(schema, keys),
            partition,
            new_keys,
            identity,
            ctx.settle,
            {found.schema.field(name).id: operation for name, operation in operations.items()},
        )
    identity = _identity(ctx, found, WriteKind.UPSERT, batch.columns.values(), [partition])
    batch = with_outputs(batch, schema)
    if not primary.auto_id:
        return writes.upsert(found, batch, partition, identity=identity, settle=ctx.settle)
    made = batch.with_column(primary.id, instance.ids.keys(primary.dtype, batch.num_rows))
    return writes.upsert(found, made, partition, batch.arrow(primary.id), identity, ctx.settle)


def _check_operations(schema: Schema, operations: Mapping[str, ArrayOperation]) -> None:
    """Raise `InvalidParameter` where an operation is of a field that is no array."""
    for name, operation in operations.items():
        field = schema.get(name)
        asked = f"ARRAY_{operation.name}"
        if field is None or field.is_dynamic:
            raise InvalidParameter(f'field "{name}" not found in collection schema: {asked} needs an array field')
        if field.is_primary:
            raise InvalidParameter(f'field "{name}" is the primary key and cannot carry a partial-update op')
        if field.element is None:
            raise InvalidParameter(f'op {asked} requires Array field, but field "{name}" is {TYPE_NAMES[field.dtype]}')


def delete_keys(
    ctx: RequestContext, instance: Instance, collection: str, keys: Any, partitions: Sequence[str] = ()
) -> WriteResult:
    """Delete the rows with these keys, in `partitions` or everywhere. The count is that of the keys, there or not.

    Raises `SchemaMismatch` for keys of the wrong type, `PartitionNotFound`.
    """
    found = instance.collection(ctx, collection, Deed.WRITING)
    check_unnamed(found.schema, partitions)
    array = key_array(found.schema, keys)
    if not len(array):
        return _nothing(found)
    identity = _identity(ctx, found, WriteKind.DELETE, [array], partitions)
    return writes.delete_keys(found, array, tuple(partitions), identity, ctx.settle)


def delete_where(
    ctx: RequestContext,
    instance: Instance,
    collection: str,
    expression: str,
    params: Mapping[str, Any] | None = None,
    partitions: Sequence[str] = (),
    *,
    loaded_only: bool = False,
) -> WriteResult:
    """Delete the rows that match a filter, and with them all copies of their keys. The count is that of the keys.

    Where the filter does nothing but name keys, these are counted, there or not. Any other reads rows: with
    `loaded_only` that raises `CollectionNotLoaded` where clients have not loaded the collection.
    Raises `InvalidParameter` for an empty filter, one that is always true, and one that cannot be parsed.
    """
    if not expression or not expression.strip():
        raise InvalidParameter("delete needs a filter: name keys, or truncate the collection to empty it")
    found = instance.collection(ctx, collection, Deed.WRITING)
    check_unnamed(found.schema, partitions)
    timezone = timezone_of(found.manifest.properties)
    condition = compile_filter(expression, found.schema, params, timezone)
    if condition.always is True:
        raise InvalidParameter(
            f"delete plan can't be empty or always true: {expression}. Truncate the collection to empty it."
        )
    identity = _identity(ctx, found, WriteKind.DELETE, (expression, params), partitions)
    if condition.key_lookup is not None:
        return writes.delete_keys(found, condition.key_lookup, tuple(partitions), identity, ctx.settle)
    if loaded_only:
        loading.require(found, collection, partitions)
    return writes.delete_where(
        found,
        lambda schema: compile_filter(expression, schema, params, timezone),
        tuple(partitions),
        identity,
        ctx.settle,
    )


def schema_for(ctx: RequestContext, instance: Instance, collection: str, known: int) -> Schema:
    """The schema that rows of a client have to fit. `known` is the timestamp of the one it has, 0 if it does not say.

    Raises `SchemaOutdated` where that is another: the client asks for the schema again, and sends its rows anew.
    """
    found = instance.collection(ctx, collection)
    if known and known != schema_timestamp(found):
        raise SchemaOutdated(f"collection schema mismatch[collection={collection}]: describe it again")
    return found.schema


def schema_timestamp(collection: Collection) -> int:
    """When the collection's schema last changed."""
    return collection.manifest.schema_changed or collection.id


def key_condition(schema: Schema, keys: pa.Array) -> BoundFilter:
    """The filter that lets the rows with `keys` pass."""
    return compile_filter(f"{schema.primary.name} in {{keys}}", schema, {"keys": keys.to_pylist()})


def key_array(schema: Schema, keys: Any) -> pa.Array:
    """Keys in any shape (one key, a list, numpy, Arrow) as an array of the key field's type.

    Raises `SchemaMismatch` for keys of another type.
    """
    if isinstance(keys, (str, int)):
        keys = [keys]
    # A key longer than any that may be stored names no row; it is not an error to ask for one.
    return arrow_of(convert(replace(schema.primary, max_length=None, auto_id=False), keys))


def _identity(
    ctx: RequestContext,
    collection: Collection,
    kind: WriteKind,
    asked: Iterable[Values] | tuple[str, Mapping[str, Any] | None],
    partitions: Sequence[str],
) -> bytes:
    """Of a request for `asked`: columns, or a filter with its values."""
    if not ctx.request_id:
        return NO_IDENTITY
    if isinstance(asked, tuple):
        what = orjson.dumps(asked, default=repr, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    else:
        what = digest_of(asked)
    return identity_of(collection.id, kind, ctx.request_id, what, *map(str.encode, partitions))


def _nothing(collection: Collection) -> WriteResult:
    return WriteResult(pa.array([], collection.schema.primary.arrow_type), 0, collection.snapshot().timestamp)
