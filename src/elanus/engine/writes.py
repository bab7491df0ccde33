"""Writes: what a request asks, turned into one log record that says what happens.

A record holds outcomes (keys, whole rows), never the question. A write that has to read first holds the collection's
`write_mutex` from its read to its place in the log, and waits before it reads for everything that was put into the
log before it; a plain insert takes the mutex only to take its place.

Each takes the `identity` of its request (see `retries`): one that was done before is answered as it was then and
writes nothing, one that is under way is waited for. A delete by filter that found nothing has written nothing, so sent
again it looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elanus.engine.collection import Collection
from elanus.engine.manifest import DEFAULT_PARTITION
from elanus.engine.partial import merged
from elanus.engine.query import existing_keys, matching_keys
from elanus.engine.retries import NO_IDENTITY
from elanus.expr.bind import BoundFilter
from elanus.log.commit import Ticket
from elanus.log.record import WriteRecord
from elanus.model.canonical import Batch, Values, arrow_of
from elanus.model.errors import CollectionNotFound, DuplicateKey, InvalidParameter
from elanus.model.schema import PARTITION_FIELD_ID, Schema
from elanus.model.types import ArrayOperation, OnDuplicateKey
from elanus.segment.tenants import partitions_of
from elanus.segment.view import fitted

Settle = Callable[[Ticket], object]
"""Sees to it that nobody hears of a write before it is durable: by default by waiting."""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write did: the keys of the rows written or deleted, how many, and the timestamp it happened at.

    Of a delete by filter that was done before, the keys are not known any more: there are none, and `count` stands.
    """

    key_values: Values
    count: int
    timestamp: int

    @property
    def keys(self) -> pa.Array:
        return arrow_of(self.key_values)


def insert(
    collection: Collection,
    rows: Batch,
    partition: str = DEFAULT_PARTITION,
    identity: bytes = NO_IDENTITY,
    settle: Settle = Ticket.wait,
) -> WriteResult:
    """Insert `rows`, a canonical batch; durable and visible when this returns.

    What happens to a key that exists already is the collection's `on_duplicate_key`. Raises `DuplicateKey` under
    "reject", `PartitionNotFound`, `StoreError` where the log cannot take the record.
    """
    manifest = collection.manifest
    key_id = manifest.schema.primary.id
    if manifest.on_duplicate_key is OnDuplicateKey.KEEP:
        values = rows.columns[key_id]
        return _commit(collection, identity, values, lambda: _record(collection, rows, partition), settle)
    keys = rows.arrow(key_id)
    if manifest.on_duplicate_key is OnDuplicateKey.REPLACE:
        rows = _last_of_each_key(rows, keys)
        keys = rows.arrow(key_id)
        return _commit(collection, identity, keys, lambda: _record(collection, rows, partition, keys), settle)

    def new_rows() -> WriteRecord:
        collection.log.barrier()
        return _record(collection, rows, partition, _refuse_duplicates(collection, keys))

    return _commit(collection, identity, keys, new_rows, settle)


def upsert(
    collection: Collection,
    rows: Batch,
    partition: str = DEFAULT_PARTITION,
    replaces: pa.Array | None = None,
    identity: bytes = NO_IDENTITY,
    settle: Settle = Ticket.wait,
) -> WriteResult:
    """Delete every row with one of the keys and insert `rows`, at one timestamp.

    `replaces` are the keys to delete where they are not those of `rows` (autoID gives a replaced row a new key).
    Raises `InvalidParameter` when a key stands twice in the batch.
    """
    keys = rows.arrow(collection.schema.primary.id)
    old = keys if replaces is None else replaces
    if len(old) != pc.count_distinct(old).as_py():
        raise InvalidParameter("duplicate primary keys are not allowed in the same batch: send each key once")
    return _commit(collection, identity, keys, lambda: _record(collection, rows, partition, old), settle)


def partial_upsert(
    collection: Collection,
    given: Batch,
    condition: Callable[[Schema], BoundFilter],
    partition: str = DEFAULT_PARTITION,
    new_keys: Values | None = None,
    identity: bytes = NO_IDENTITY,
    settle: Settle = Ticket.wait,
    operations: Mapping[int, ArrayOperation] = MappingProxyType({}),
) -> WriteResult:
    """`upsert` of rows of which `given` has the keys and some columns; the others stay as they are.

    `condition` is true for the rows with these keys. `new_keys` are those that replaced rows get (autoID). `operations`
    say of array fields, by id, what is done with what the rows hold.
    Raises as `upsert` does, and `SchemaMismatch` where a key is new and lacks what it needs.
    """
    key_id = collection.schema.primary.id
    old = given.arrow(key_id)
    if len(old) != pc.count_distinct(old).as_py():
        raise InvalidParameter("duplicate primary keys are not allowed in the same batch: send each key once")

    def whole() -> WriteRecord:
        collection.log.barrier()
        snapshot = collection.snapshot()
        rows = merged(snapshot, given, condition(snapshot.manifest.schema), operations)
        if new_keys is not None:
            rows = rows.with_column(key_id, new_keys)
        return _record(collection, rows, partition, old)

    return _commit(collection, identity, old if new_keys is None else new_keys, whole, settle)


def delete_keys(
    collection: Collection,
    keys: pa.Array,
    partitions: Sequence[str] = (),
    identity: bytes = NO_IDENTITY,
    settle: Settle = Ticket.wait,
) -> WriteResult:
    """Delete every row with one of `keys`, in `partitions` or everywhere. The count is that of the keys named."""
    return _commit(collection, identity, keys, lambda: _deletion(collection, keys, partitions), settle)


def delete_where(
    collection: Collection,
    condition: Callable[[Schema], BoundFilter],
    partitions: Sequence[str] = (),
    identity: bytes = NO_IDENTITY,
    settle: Settle = Ticket.wait,
) -> WriteResult:
    """Delete the rows that match `condition` as the collection stands at one moment. The count is of their keys.

    `condition` is made for the schema of that moment.
    """

    def matching() -> WriteRecord:
        collection.log.barrier()
        snapshot = collection.snapshot()
        keys = matching_keys(snapshot, condition(snapshot.manifest.schema), partitions)
        return _deletion(collection, keys, partitions)

    return _commit(collection, identity, None, matching, settle)


def _commit(
    collection: Collection,
    identity: bytes,
    keys: Values | None,
    decide: Callable[[], WriteRecord],
    settle: Settle,
) -> WriteResult:
    """Write the record that `decide` makes, which is called with `write_mutex` held, unless it was written before.

    `keys` are those of the answer where the request says them; None where they are the ones that the record deletes.
    """
    collection.tell()
    with collection.write_mutex:
        if identity:
            done = collection.recent.claim(identity, settle=collection.log.barrier)
            if done is not None:
                schema = collection.schema
                named = pa.array([], schema.primary.arrow_type) if keys is None else keys
                return WriteResult(done.keys(schema, named), done.count, done.timestamp)
        record = decide()
        if keys is None:
            keys = record.delete_keys
            assert keys is not None
            if not len(keys):
                return WriteResult(keys, 0, collection.snapshot().timestamp)
        ticket = _put(collection, replace(record, identity=identity) if identity else record)
    if record.rows is not None:
        collection.follower.expect_rows(record.rows.num_rows)
    settle(ticket)
    return WriteResult(keys, len(keys), ticket.timestamp)


def _record(collection: Collection, rows: Batch, partition: str, delete_keys: pa.Array | None = None) -> WriteRecord:
    manifest = collection.manifest
    if rows.columns.keys() != manifest.schema.by_id.keys():  # it changed since they were checked
        rows = fitted(rows, manifest.schema)
    dealt_by = manifest.schema.partition_key
    if dealt_by is not None:
        partitions = partitions_of(rows.columns[dealt_by.id], len(manifest.partitions))
    else:
        partitions = np.full(rows.num_rows, manifest.partition_id(partition), np.int64)
    return WriteRecord(
        collection.id,
        manifest.schema.version,
        rows=rows.with_column(PARTITION_FIELD_ID, partitions),
        delete_keys=delete_keys,
    )


def _deletion(collection: Collection, keys: pa.Array, partitions: Sequence[str]) -> WriteRecord:
    return WriteRecord(
        collection.id,
        collection.schema.version,
        delete_keys=keys,
        delete_partitions=tuple(collection.manifest.partition_id(name) for name in partitions),
    )


def _put(collection: Collection, record: WriteRecord) -> Ticket:
    """Give `record` its place in the log; the caller holds `write_mutex`."""
    if collection.dropped:
        raise CollectionNotFound(f"collection not found[collection={collection.id}]: it was dropped")
    collection.host.jobs.make_room(collection)
    if record.delete_keys is not None:
        # A record that cannot be applied once it is durable stops the writer, so files are opened before.
        for unit in collection.snapshot().sealed:
            if unit.sealed is not None:
                unit.sealed.open_keys(record.delete_keys)
    return collection.log.enqueue(record)


def _last_of_each_key(rows: Batch, keys: pa.Array) -> Batch:
    """`rows` without those whose key comes again later in the batch."""
    if pc.count_distinct(keys).as_py() == len(keys):
        return rows
    table = pa.table({"key": keys, "row": np.arange(len(keys))})
    last = table.group_by("key").aggregate([("row", "max")]).column("row_max").combine_chunks()
    return rows.take(np.sort(last.to_numpy()))


def _refuse_duplicates(collection: Collection, keys: pa.Array) -> pa.Array | None:
    """Raise `DuplicateKey` where one of `keys` is there already.

    Returns those whose rows have expired, None for no key: these rows have to go, lest a longer time show both.
    """
    if pc.count_distinct(keys).as_py() != len(keys):
        raise DuplicateKey("duplicate primary keys are not allowed in the same batch: send each key once")
    held = existing_keys(collection.follower.snapshot, keys)
    if not len(held):
        return None
    taken = existing_keys(collection.snapshot(), held)
    if len(taken):
        raise DuplicateKey(
            f"primary key {taken[0].as_py()!r} exists already"
            + (f", and {len(taken) - 1} more of the batch" if len(taken) > 1 else "")
            + ': the collection has on_duplicate_key="reject". Upsert to replace.'
        )
    return held
