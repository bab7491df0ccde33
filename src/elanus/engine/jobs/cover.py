"""Cover: interim lists over rows that have no graph yet, so that a search need not scan all of them.

Growing rows are covered in whole blocks, which do not change any more; a sealed segment that waits for its index is
covered as one. Interim lists live in memory only. They belong to the snapshot that they were published with, and are
left behind with the rows they cover: once a segment has its index, nobody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from elanus.engine.snapshot import Unit, place_of

if TYPE_CHECKING:
    from elanus.engine.collection import Collection
    from elanus.engine.manifest import IndexDefinition

COVER_ROWS = 2_048
"""Rows are covered in steps of so many. With what the first, small chunks of a growing segment hold, fewer than twice
as many stay uncovered, which a search scans in about 70 µs at 128 dimensions."""


def cover(collection: Collection) -> Iterator[str]:
    """Cover what is uncovered, block by block, and publish."""
    waiting = list(_uncovered(collection))
    if not waiting:
        return
    from elanus.vector.interim import BLOCK_ROWS, InterimIndex

    for unit, definition in waiting:
        table = dict(collection.snapshot().interims)
        vectors = unit.view.vectors(definition.field_id)
        place = place_of(unit, definition.field_id)
        index = collection.snapshot().interim(unit, definition.field_id, definition.vector_metric)
        index = index or InterimIndex.train(definition.vector_metric, vectors[:BLOCK_ROWS])
        end = _coverable_rows(unit)
        for start in range(index.rows, end, BLOCK_ROWS):
            index = index.with_block(vectors[start : min(start + BLOCK_ROWS, end)])
        yield "covered"
        table[place] = index
        collection.follower.publish_interims(table)
    yield "published"


def _uncovered(collection: Collection) -> Iterator[tuple[Unit, IndexDefinition]]:
    snapshot = collection.snapshot()
    for definition in snapshot.manifest.indexes.values():
        if not definition.has_file:
            continue
        waiting = [unit for unit in snapshot.units if definition.field_id not in unit.indexes]
        if sum(unit.view.rows for unit in waiting) < 2 * COVER_ROWS:
            continue
        for unit in waiting:
            rows = _coverable_rows(unit)
            index = snapshot.interim(unit, definition.field_id, definition.vector_metric)
            if rows > (index.rows if index is not None else 0):
                yield unit, definition


def _coverable_rows(unit: Unit) -> int:
    """Growing rows count in steps, since covered ones must not change; a sealed segment is covered whole."""
    rows = unit.view.rows
    whole = rows - rows % COVER_ROWS
    return rows if unit.sealed is not None and whole else whole
