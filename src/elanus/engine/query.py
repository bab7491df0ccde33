"""Reads by condition: count, query, keys that match, and pages on a held snapshot.

Rows are found first, as (unit, row) pairs in key order, and only then are output fields fetched, for those rows
alone. Where copies of a key exist (`on_duplicate_key="keep"`), a query answers with the newest copy that matches;
`count` counts every copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.engine import masks
from elanus.engine.masks import Mask, Rows
from elanus.engine.snapshot import Snapshot, Unit
from elanus.expr.bind import BoundFilter
from elanus.expr.evaluate import evaluate
from elanus.expr.prune import arranged, prune
from elanus.model.arrays import unpacked
from elanus.model.canonical import taken
from elanus.model.schema import TIMESTAMP_FIELD_ID, Field, Schema
from elanus.segment.clustering import Span
from elanus.segment.sealed import SealedSegment, SealedView
from elanus.segment.view import missing_column

FEW_SHARE = 0.1
"""Below this share of a segment's rows a condition is asked of each row by its number, above it of all at once."""


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """What to read: the rows that match `condition` in `partitions` (empty: all), `offset` skipped, at most `limit`.

    Rows come in rising key order. `output_fields` are names of fields of the schema; the key is always returned.
    """

    condition: BoundFilter | None = None
    partitions: tuple[str, ...] = ()
    output_fields: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a snapshot in some order: `units[i]` is an index into `snapshot.units`, `rows[i]` a row of that unit.

    `units` is a single number where all rows are of one unit, as they are in most searches.
    """

    units: npt.NDArray[np.int32] | int
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def unit_of_each(self) -> npt.NDArray[np.int32]:
        """`units` as an array, one for each row."""
        return np.broadcast_to(np.int32(self.units), len(self)) if isinstance(self.units, int) else self.units

    def __getitem__(self, part: slice | npt.NDArray[np.int64]) -> Found:
        return Found(self.units if isinstance(self.units, int) else self.units[part], self.rows[part])


def select(snapshot: Snapshot, unit: Unit, condition: BoundFilter | None, partitions: frozenset[int]) -> Mask | None:
    """The rows of `unit` that a read with `condition` sees; None when that is every row. A sample is drawn anew."""
    mask = _matching(snapshot, unit, condition, partitions)
    if condition is None or condition.sample is None:
        return mask
    rows = unit.view.rows
    return masks.sample(mask if mask is not None else masks.from_ranges([(0, rows)], rows), rows, condition.sample)


def _matching(snapshot: Snapshot, unit: Unit, condition: BoundFilter | None, partitions: frozenset[int]) -> Mask | None:
    """The rows of `unit` that are to be seen and for which `condition` is true; None when that is every row."""
    if condition is None or condition.always is True:
        return snapshot.visible(unit, partitions)
    if condition.always is not None:
        return np.zeros((unit.view.rows + 7) // 8, np.uint8)
    decided = foreseen(unit, condition)
    if decided is not None:
        return snapshot.visible(unit, partitions) if decided else np.zeros((unit.view.rows + 7) // 8, np.uint8)
    if condition.narrowed is not None:
        keys, rest = condition.narrowed
        return masks.both(snapshot.visible(unit, partitions), _rows_of(unit, unit.view.find(keys), rest))
    if condition.tenants is not None and unit.sealed is not None:
        tenants, rest = condition.tenants
        within = _in_ranges(unit, unit.sealed.tenant_ranges(tenants, partitions), rest)
        if within is not None:
            return masks.both(snapshot.alive(unit), within)
    if condition.ordered is not None and unit.sealed is not None:
        within = _within(unit, unit.sealed, condition, partitions)
        if within is not None:
            return masks.both(snapshot.alive(unit), within)
    visible = snapshot.visible(unit, partitions)
    root = condition.root
    if isinstance(unit.view, SealedView):
        root = arranged(root, unit.view.statistics, unit.view.rows)
    return masks.both(visible, masks.from_arrow(evaluate(root, unit.view, unit.view.rows, unit.indexed)))


def foreseen(unit: Unit, condition: BoundFilter) -> bool | None:
    """What the statistics of a sealed segment say of a condition: true in all of its rows, in none, or None."""
    view = unit.view
    return prune(condition.root, view.statistics, view.rows) if isinstance(view, SealedView) else None


def _within(unit: Unit, segment: SealedSegment, condition: BoundFilter, partitions: frozenset[int]) -> Mask | None:
    """The rows of `partitions` that match, where those within the bounds of the clustering key lie together."""
    assert condition.ordered is not None
    assert condition.clustering_key is not None
    bounds, rest = condition.ordered
    ranges = segment.rows_within(condition.clustering_key.id, Span.of(bounds), partitions)
    return _in_ranges(unit, ranges, rest)


def _in_ranges(unit: Unit, ranges: Sequence[tuple[int, int]] | None, rest: BoundFilter | None) -> Mask | None:
    """The rows of `ranges` for which `rest` is true; None where there are no ranges."""
    if ranges is None:
        return None
    rows = unit.view.rows
    if rest is not None and sum(stop - start for start, stop in ranges) < rows * FEW_SHARE:
        some = np.concatenate([np.arange(start, stop) for start, stop in ranges]) if ranges else np.empty(0, np.int64)
        return _rows_of(unit, some, rest)
    within = masks.from_ranges(ranges, rows)
    return within if rest is None else within & masks.from_arrow(rest.evaluate(unit.view, rows))


def select_vectors(
    snapshot: Snapshot, unit: Unit, condition: BoundFilter | None, partitions: frozenset[int], field: Field
) -> Mask | None:
    """The rows that `select` gives and whose vector in `field` is not null: those that a search finds."""
    return _with_vectors(unit, select(snapshot, unit, condition, partitions), field)


def select_run(
    snapshot: Snapshot, unit: Unit, condition: BoundFilter | None, partitions: frozenset[int], field: Field
) -> tuple[tuple[int, int], Mask | None] | None:
    """(run, mask): what `select_vectors` gives, where that is those of a run (start, stop) of rows that `mask` lets
    pass. None where it is not known to be one.
    """
    if condition is None or condition.tenants is None or unit.sealed is None or condition.sample is not None:
        return None
    tenants, rest = condition.tenants
    if rest is not None:
        return None
    ranges = unit.sealed.tenant_ranges(tenants, partitions)
    if ranges is None or len(ranges) > 1:
        return None
    return ranges[0] if ranges else (0, 0), _with_vectors(unit, snapshot.alive(unit), field)


def _with_vectors(unit: Unit, mask: Mask | None, field: Field) -> Mask | None:
    """`mask` without the rows whose vector in `field` is null."""
    if not field.nullable:
        return mask
    if not unit.view.has(field.id):
        return np.zeros((unit.view.rows + 7) // 8, np.uint8)
    column = unit.view.column(field.id)
    return masks.both(mask, masks.from_arrow(column.is_valid())) if column.null_count else mask


def _rows_of(unit: Unit, rows: Rows, condition: BoundFilter | None) -> Mask:
    """Those of `rows` for which `condition` is true."""
    if condition is not None and len(rows):
        rows = rows[condition.evaluate_at(unit.view, rows).fill_null(False).to_numpy(zero_copy_only=False)]
    return masks.of_rows(rows, unit.view.rows)


def count(snapshot: Snapshot, condition: BoundFilter | None = None, partitions: Sequence[str] = ()) -> int:
    """How many rows match, copies of a key counted each."""
    wanted = snapshot.partition_ids(partitions, condition)
    total = 0
    for unit in snapshot.units:
        mask = select(snapshot, unit, condition, wanted)
        total += unit.view.rows if mask is None else masks.count(mask)
    return total


def query(snapshot: Snapshot, request: QueryRequest) -> pa.Table:
    """The rows asked for, as a table with the key column first and then `output_fields`, named by field name."""
    need = None if request.limit is None else request.offset + request.limit
    found = find(snapshot, request.condition, request.partitions, need)
    return fetch(snapshot, found[request.offset : need], request.output_fields)


def pages(snapshot: Snapshot, request: QueryRequest, batch_rows: int) -> Iterator[pa.Table]:
    """The rows of `request` in pages of `batch_rows`, all from this one snapshot whatever is written meanwhile."""
    need = None if request.limit is None else request.offset + request.limit
    found = find(snapshot, request.condition, request.partitions, need)[request.offset : need]
    for start in range(0, len(found), batch_rows):
        yield fetch(snapshot, found[start : start + batch_rows], request.output_fields)


def matching_keys(snapshot: Snapshot, condition: BoundFilter | None, partitions: Sequence[str] = ()) -> pa.Array:
    """The distinct keys of the rows that match, rising."""
    return keys_of(snapshot, find(snapshot, condition, partitions, None))


def existing_keys(snapshot: Snapshot, keys: pa.Array) -> pa.Array:
    """Those of `keys` that some visible row has."""
    found = []
    for unit in snapshot.units:
        visible = snapshot.visible(unit, snapshot.manifest.live_partitions)
        rows = unit.view.find(keys)
        if visible is not None and len(rows):
            rows = rows[masks.bits(visible, rows)]
        found.append(unit.view.key_column.take(pa.array(rows)))
    return pc.unique(pa.concat_arrays(found)) if found else keys[:0]


def find(snapshot: Snapshot, condition: BoundFilter | None, partitions: Sequence[str], need: int | None) -> Found:
    """The matching rows in key order, one a key, at least the first `need` of them (None: all)."""
    wanted = snapshot.partition_ids(partitions, condition)
    units: list[npt.NDArray[np.int32]] = []
    rows: list[Rows] = []
    for number, unit in enumerate(snapshot.units):
        mask = select(snapshot, unit, condition, wanted)
        matching = np.arange(unit.view.rows) if mask is None else masks.rows_of(mask)
        if need is not None:
            matching = _first_of_each_run(unit, matching, need)
        if len(matching):
            rows.append(matching)
            units.append(np.full(len(matching), number, np.int32))
    if not rows:
        return Found(np.empty(0, np.int32), np.empty(0, np.int64))
    return _in_key_order(snapshot, Found(np.concatenate(units), np.concatenate(rows)))


def _first_of_each_run(unit: Unit, matching: Rows, need: int) -> Rows:
    """Enough of `matching` for its first `need` keys: a sealed segment holds each partition's rows in key order, unless
    there is a partition key.
    """
    segment = unit.sealed
    if segment is None or not segment.meta.unique or segment.meta.clustered_by or len(matching) <= need:
        return matching
    ends = np.cumsum([rows for _, _, rows in segment.meta.partitions])
    return np.concatenate([run[:need] for run in np.split(matching, np.searchsorted(matching, ends[:-1]))])


def _in_key_order(snapshot: Snapshot, found: Found) -> Found:
    keys = keys_of(snapshot, found)
    order = sort_order(keys)
    keys, found = keys.take(pa.array(order)), found[order]
    repeated = equal_to_next(keys)
    if not repeated.any():
        return found
    # Of each run of equal keys the newest row is kept: sort by (key rank, timestamp) and take the last of a rank.
    rank = np.concatenate(([0], np.cumsum(~repeated[:-1]))) if len(repeated) else repeated
    newest = np.lexsort((column_of(snapshot, found, TIMESTAMP_FIELD_ID).to_numpy(zero_copy_only=False), rank))
    return found[newest[np.append(np.flatnonzero(np.diff(rank[newest])), len(newest) - 1)]]


def sort_order(keys: pa.Array) -> Rows:
    """The permutation that sorts `keys`, stable."""
    if pa.types.is_integer(keys.type):
        return np.argsort(keys.to_numpy(), kind="stable")
    order: Rows = pc.array_sort_indices(keys).to_numpy().astype(np.int64)
    return order


def equal_to_next(keys: pa.Array) -> npt.NDArray[np.bool_]:
    """For sorted `keys`: whether each equals the one after it; the last never does."""
    if len(keys) < 2:
        return np.zeros(len(keys), np.bool_)
    same = pc.equal(keys[:-1], keys[1:]).to_numpy(zero_copy_only=False)
    return np.append(same, False)


# --- fetching ------------------------------------------------------------------------------------------------------


def keys_of(snapshot: Snapshot, found: Found) -> pa.Array:
    return column_of(snapshot, found, snapshot.manifest.schema.primary.id)


def key_values(snapshot: Snapshot, found: Found) -> npt.NDArray[Any]:
    """`keys_of` for those who read them one by one: (rows,) int64, or objects (str)."""
    if isinstance(found.units, int):
        numbers = snapshot.units[found.units].view.key_numbers
        if numbers is not None:
            return numbers[found.rows]
    values: npt.NDArray[Any] = keys_of(snapshot, found).to_numpy(zero_copy_only=False)
    return values


def column_of(snapshot: Snapshot, found: Found, field_id: int) -> pa.Array:
    """The values of one field for the rows of `found`, in its order."""
    units = snapshot.units
    if isinstance(found.units, int):
        return _take(units[found.units], snapshot.manifest.schema, field_id, found.rows)
    used = np.unique(found.units)
    if len(used) == 0:
        return pa.array([], snapshot.manifest.schema.by_id[field_id].arrow_type)
    parts, places = [], []
    for number in used:
        place = np.flatnonzero(found.units == number)
        parts.append(_take(units[int(number)], snapshot.manifest.schema, field_id, found.rows[place]))
        places.append(place)
    if len(used) == 1:
        return parts[0]
    back = np.empty(len(found), np.int64)
    back[np.concatenate(places)] = np.arange(len(found))
    return taken(pa.concat_arrays(parts), back)


def _take(unit: Unit, schema: Schema, field_id: int, rows: Rows) -> pa.Array:
    if not unit.view.has(field_id):
        return missing_column(schema, schema.by_id[field_id], len(rows), lambda i: _take(unit, schema, i, rows))
    column = unit.view.column(field_id)
    if column.type == pa.int64() and not column.null_count:
        return pa.array(column.to_numpy()[rows])  # several times faster than Arrow's take of a few rows
    return taken(column, rows)


def fetch(snapshot: Snapshot, found: Found, output_fields: Sequence[str]) -> pa.Table:
    """The key and `output_fields` of the rows of `found`, in its order, as a table named by field name.

    Values are as users see them: arrays are Arrow lists. A column comes with what `Field.metadata` says of it. Raises
    `InvalidParameter` for a name the schema does not have.
    """
    schema = snapshot.manifest.schema
    fields = [schema.field(name) for name in dict.fromkeys((schema.primary.name, *output_fields))]
    columns = {field.name: shown(field, column_of(snapshot, found, field.id)) for field in fields}
    table = pa.table(columns)
    if any(field.metadata for field in fields):
        told = [pa.field(field.name, columns[field.name].type, metadata=field.metadata) for field in fields]
        table = pa.Table.from_arrays(table.columns, schema=pa.schema(told))
    return table


def shown(field: Field, column: pa.Array) -> pa.Array:
    """The values of a field as users see them."""
    return unpacked(field.element, column) if field.element is not None else column
