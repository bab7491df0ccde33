"""A collection, as its users hold it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from elanus.model.batch import Rows
from elanus.model.errors import InvalidParameter
from elanus.model.functions import Function
from elanus.model.schema import Field, Schema
from elanus.model.types import ArrayOperation
from elanus.native.insight import Insight, queries_of
from elanus.native.results import SearchResults
from elanus.native.rows import Row, to_rows
from elanus.service import (
    collections,
    fields,
    functions,
    indexes,
    partitions,
    properties,
    query,
    rows,
    search,
)
from elanus.service.collections import CollectionInfo
from elanus.service.context import RequestContext
from elanus.service.indexes import IndexInfo
from elanus.service.instance import Instance
from elanus.service.query import EVERYTHING
from elanus.service.rows import WriteResult

DEFAULT_PARTITION = "_default"


class Collection(Insight):
    """A collection by its name or alias; got from `Database.collection` or `create_collection`.

    The name is looked up at each call, so an alias that is pointed elsewhere takes effect at once. Every method raises
    `CollectionNotFound` when there is no such collection (any more), and `Closed` after `close`. Writes are durable,
    and seen by every read that begins later, when they return. Safe to use from any thread.
    """

    def __init__(self, instance: Instance, ctx: RequestContext, name: str) -> None:
        super().__init__(instance, ctx, name)

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, database={self._ctx.database!r})"

    def describe(self) -> CollectionInfo:
        """Schema, partitions, aliases, indexes, properties."""
        return collections.describe(self._ctx, self._instance, self.name)

    @property
    def schema(self) -> Schema:
        return self.describe().schema

    # --- writing ---------------------------------------------------------------------------------------------------

    def insert(self, data: Rows, *, partition: str = DEFAULT_PARTITION) -> WriteResult:
        """Insert rows, all of them or none; returns `keys` (Arrow, in the order of the rows), `count`, `timestamp`.

        `data` is a list of dicts, one dict, a dict of columns (lists, numpy or Arrow arrays; vectors of shape
        (rows, dim)), an Arrow table or batch, or a data frame. With autoID the keys are left out and made. Names that
        are no fields become dynamic keys where the collection has them.

        Vectors of half-width floats are numbers, their bits (uint16) or bytes; of bits uint8 (rows, dim / 8), bool
        (rows, dim) or bytes; sparse ones dicts from index to value, lists of pairs, or scipy's. A nullable one may be
        None.

        What happens to a key that exists is the collection's `on_duplicate_key`. Raises `SchemaMismatch` naming the
        field, the value and the row that do not fit; `DuplicateKey`; `PartitionNotFound`; `StoreError`.
        """
        return rows.insert(self._ctx, self._instance, self.name, data, partition)

    def upsert(
        self,
        data: Rows,
        *,
        partition: str = DEFAULT_PARTITION,
        partial: bool = False,
        array_operations: Mapping[str, str] | None = None,
    ) -> WriteResult:
        """Insert rows, replacing those with the same keys; all at one moment.

        Takes what `insert` takes, with keys also under autoID, where replaced rows get new keys (returned). `partial`
        rows name their keys and some fields, all the same ones: what else the replaced rows hold stays, and dynamic
        keys are joined. So it is with `array_operations`: "append" or "remove" by array field, where the elements
        given are appended to those that a row holds, or removed wherever they stand among them.
        Raises as `insert` does, and `InvalidParameter` when a key stands twice.
        """
        try:
            operations = {name: ArrayOperation(asked) for name, asked in (array_operations or {}).items()}
        except ValueError as error:
            raise InvalidParameter(f"an operation on arrays is append or remove: {error}") from None
        return rows.upsert(
            self._ctx, self._instance, self.name, data, partition, partial=partial, operations=operations
        )

    def delete(
        self,
        keys: Any = None,
        *,
        filter: str | None = None,  # noqa: A002 - the word that users know
        filter_params: Mapping[str, Any] | None = None,
        partitions: Sequence[str] = (),
    ) -> int:
        """Delete by `keys` (one, a list, numpy or Arrow) or by `filter`, one of the two.

        A key's copies all go. Returns how many keys: those named, there or not, or those of the rows that matched.
        Raises `InvalidParameter` for both or neither, an empty filter and one that is always true;
        `PartitionNotFound`.
        """
        if (keys is None) == (filter is None):
            raise InvalidParameter("delete takes keys or a filter: send one of them")
        if filter is None:
            return rows.delete_keys(self._ctx, self._instance, self.name, keys, partitions).count
        return rows.delete_where(self._ctx, self._instance, self.name, filter, filter_params, partitions).count

    def truncate(self) -> None:
        """Delete every row; schema, partitions, indexes and properties stay."""
        collections.truncate(self._ctx, self._instance, self.name)

    # --- fields ----------------------------------------------------------------------------------------------------

    def add_field(self, field: Field) -> None:
        """Add a field, which has to be nullable. Rows that are there hold its default, or null; none is rewritten.

        Raises `InvalidParameter` for a field that cannot be, or cannot be added.
        """
        fields.add(self._ctx, self._instance, self.name, field)

    def drop_field(self, name: str) -> None:
        """Drop a field with its indexes. Raises `InvalidParameter` for the key and the last vector field."""
        fields.drop(self._ctx, self._instance, self.name, name)

    def add_function(self, function: Function, field: Field) -> None:
        """Add `field` with the `function` that makes its values, and an AUTOINDEX of it, at once.

        Rows that are there have the values, too; none is rewritten. Raises `InvalidParameter` for what cannot be.
        """
        functions.add(self._ctx, self._instance, self.name, function, field, indexes.IndexRequest(field.name))

    def drop_function(self, name: str) -> None:
        """Drop a function with the field whose values it makes. Raises `InvalidParameter` for the last vectors."""
        functions.drop(self._ctx, self._instance, self.name, name)

    # --- reading ---------------------------------------------------------------------------------------------------

    def get(self, keys: Any, *, output_fields: Sequence[str] = EVERYTHING, partitions: Sequence[str] = ()) -> list[Row]:
        """The rows with these keys, in rising key order; keys that are not there are left out.

        Dynamic keys stand beside the fields, JSON is decoded. Raises `SchemaMismatch` for keys of the wrong type.
        """
        return to_rows(
            query.get(self._ctx, self._instance, self.name, keys, output_fields=output_fields, partitions=partitions)
        )

    def query(
        self,
        filter: str = "",  # noqa: A002
        *,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] = EVERYTHING,
        limit: int | None = None,
        offset: int = 0,
        partitions: Sequence[str] = (),
        order_by: str | Sequence[str] = (),
    ) -> pa.Table:
        """The rows that match, in rising key order, as a table: the key, then `output_fields`.

        `output_fields` are names of fields, `*` for all, or dynamic keys. JSON comes as text (large_binary), dynamic
        keys as one JSON column `$meta`; `elanus.to_rows(table)` makes dicts of it. `filter_params` fill the
        `{placeholders}` of the filter. offset + limit is at most 16,384; without a limit all rows come. Vectors come as
        they are stored: half-width floats as their bits, sparse ones as packed pairs, with the type in the metadata.
        `order_by` sorts them by other fields, of which the first counts most: `"price"`, `"price:desc"`,
        `"price:desc:nulls_last"`; null is larger than any value where that is not said.
        Raises `InvalidParameter` for a filter that cannot be parsed, limits, unknown fields; `PartitionNotFound`.
        """
        return query.query(
            self._ctx,
            self._instance,
            self.name,
            expression=filter,
            expression_params=filter_params,
            output_fields=output_fields,
            limit=limit,
            offset=offset,
            partitions=partitions,
            order_by=_names(order_by),
        )

    def count(
        self,
        filter: str = "",  # noqa: A002
        *,
        filter_params: Mapping[str, Any] | None = None,
        partitions: Sequence[str] = (),
    ) -> int:
        """How many rows match, exactly."""
        return query.count(
            self._ctx,
            self._instance,
            self.name,
            expression=filter,
            expression_params=filter_params,
            partitions=partitions,
        )

    def query_iterator(
        self,
        filter: str = "",  # noqa: A002
        *,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] = EVERYTHING,
        batch_size: int = 1000,
        limit: int | None = None,
        partitions: Sequence[str] = (),
    ) -> Iterator[pa.Table]:
        """The rows that match, page after page of at most `batch_size` (1..16,384), in rising key order.

        They are the rows as of this call: what is written while the iterator runs is not seen. `limit` bounds all
        pages together and may be of any size. Raises as `query` does.
        """
        return query.iterate(
            self._ctx,
            self._instance,
            self.name,
            batch_rows=batch_size,
            expression=filter,
            expression_params=filter_params,
            output_fields=output_fields,
            limit=limit,
            partitions=partitions,
        )

    def search(
        self,
        vectors: Any = None,
        *,
        ids: Any = None,
        limit: int = 10,
        offset: int = 0,
        filter: str = "",  # noqa: A002
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] = (),
        partitions: Sequence[str] = (),
        field: str | None = None,
        metric: str | None = None,
        params: Mapping[str, Any] | None = None,
        radius: float | None = None,
        range_filter: float | None = None,
        group_by: str | Sequence[str] = (),
        group_size: int = 1,
        order_by: str | Sequence[str] = (),
    ) -> SearchResults:
        """The `limit` nearest rows to each of `vectors`, nearest first, after the first `offset`.

        `vectors` is (queries, dim) or one vector (dim,); of other types than FloatVector what `insert` takes, one or a
        list; of what BM25 makes they are texts. `field` names the vector field where there are several. Rows whose
        vector is null are not found. In place of vectors `ids` names rows, one key or several, each once: what is near
        to each of them is searched for, themselves among it, in the order of the keys. One whose vector is null finds
        nothing, and of what BM25 makes the row's text is searched for.

        `metric` (L2, IP, COSINE; of bits HAMMING, JACCARD, SUBSTRUCTURE, SUPERSTRUCTURE) need not be given; where the
        field has an index it must be the index's. `params` are the index kind's, such as `{"ef": 128}` or
        `{"nprobe": 16}`; a segment that can hold only a small part of the answer is searched with less, down to half.
        `{"target_recall": 0.95}` (0 < … <= 1; 1 is an exact scan) takes what such searches have needed (`calibrate`).
        Scores are exact: L2 squared, IP as it is, COSINE in [-1, 1].

        With `radius`, and `range_filter`, only hits in range are found: range_filter <= score < radius where the
        smaller score is nearer, else radius < score <= range_filter.

        With `group_by`, a field, several, or a path of a JSON one such as `about["author"]`, `limit` and `offset` count
        groups of rows that have one value there, null being one of them. A group is as near as its nearest row, and the
        `group_size` (1..10) nearest rows of each come together, nearest first. `order_by` sorts the limit + offset
        nearest rows, or groups by their nearest rows, as in `query`, also by paths of JSON and dynamic keys.

        Raises `InvalidParameter` for limits (1..16,384, also with the offset), a wrong dim, another metric, unknown
        fields, a filter that cannot be parsed, keys that no row of the `partitions` has; `PartitionNotFound`.
        """
        return SearchResults(
            search.search(
                self._ctx,
                self._instance,
                self.name,
                queries_of(vectors, ids),
                field=field,
                limit=limit,
                offset=offset,
                expression=filter,
                expression_params=filter_params,
                output_fields=output_fields,
                partitions=partitions,
                metric=metric,
                params=params,
                bounds=_bounds(radius, range_filter),
                group_by=_groups(group_by, group_size),
                order_by=_names(order_by),
            )
        )

    # --- partitions ------------------------------------------------------------------------------------------------

    def create_partition(self, name: str) -> None:
        """One that exists is no error. Raises `InvalidParameter` for a bad name and above 1,024 partitions."""
        partitions.create(self._ctx, self._instance, self.name, name)

    def drop_partition(self, name: str) -> None:
        """Drop a partition with its rows; an absent one is no error. Raises `InvalidParameter` for `_default`."""
        partitions.drop(self._ctx, self._instance, self.name, name)

    def has_partition(self, name: str) -> bool:
        return partitions.has(self._ctx, self._instance, self.name, name)

    def list_partitions(self) -> list[str]:
        """Their names, `_default` first, then as they were made."""
        return [p.name for p in partitions.list_all(self._ctx, self._instance, self.name)]

    # --- indexes ---------------------------------------------------------------------------------------------------

    def create_index(
        self,
        field: str,
        kind: str = "AUTOINDEX",
        *,
        metric: str | None = None,
        params: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> None:
        """Define an index on a vector field: FLAT, IVF_FLAT, HNSW or AUTOINDEX.

        It is built in the background, by other processes; searches are right meanwhile, and scan. `metric` may be left
        out for AUTOINDEX (COSINE). `params` are `{"M": …, "efConstruction": …}` for HNSW, `{"nlist": …}` for IVF_FLAT.
        The same again is no error. Raises `InvalidParameter`.
        """
        request = indexes.IndexRequest(field, kind, metric, params, name)
        indexes.create(self._ctx, self._instance, self.name, request)

    def drop_index(self, name: str) -> None:
        """Drop an index by its name (the field's unless given); an absent one is no error."""
        indexes.drop(self._ctx, self._instance, self.name, name)

    def list_indexes(self) -> list[IndexInfo]:
        """Every index with its state and how many rows it covers."""
        return indexes.list_all(self._ctx, self._instance, self.name)

    def describe_index(self, name: str) -> IndexInfo:
        """Raises `IndexNotFound`."""
        return indexes.describe(self._ctx, self._instance, self.name, name)

    def wait_for_indexes(self) -> None:
        """Return when every sealed segment large enough for an index has it. Raises what the last build failed of."""
        indexes.wait(self._ctx, self._instance, self.name)

    # --- upkeep ----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Seal the rows written so far into segment files. Nothing depends on it: written rows are durable."""
        collections.flush(self._ctx, self._instance, self.name)

    def compact(self) -> None:
        """Seal and merge as far as the size limit allows; returns when that and the indexes are done."""
        collections.compact(self._ctx, self._instance, self.name)

    @property
    def properties(self) -> dict[str, str]:
        """The collection's properties; a copy."""
        return properties.get(self._ctx, self._instance, self.name)

    def set_properties(self, values: Mapping[str, str]) -> None:
        """Set some properties, text by name; the others stay. Raises `InvalidParameter`."""
        properties.alter(self._ctx, self._instance, self.name, values)

    def drop_properties(self, names: Sequence[str]) -> None:
        """Take properties away; absent ones are no error."""
        properties.alter(self._ctx, self._instance, self.name, None, names)


def _groups(names: str | Sequence[str], size: int) -> search.GroupBy | None:
    fields = _names(names)
    return search.GroupBy(fields, size) if fields else None


def _bounds(radius: float | None, range_filter: float | None) -> search.Bounds | None:
    return None if radius is None and range_filter is None else search.Bounds(radius, range_filter)


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
