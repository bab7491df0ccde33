"""Cover: interim lists over rows that have no graph yet, so that a search need not scan all of them.

Growing rows are covered in blocks, which do not change any more; a sealed segment that waits for its index is covered
as one. Interim lists live in memory only. They belong to the snapshot that they were published with, and are
left behind with the rows they cover: once a segment has its index, nobody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from elanus.engine.snapshot import Unit, place_of

if TYPE_CHECKING:
    from elanus.engine.collection import Collection
    from elanus.engine.manifest import IndexDefinition

COVER_ROWS = 1_024
"""Rows are covered in steps of so many. With what the first, small chunks of a growing segment hold, fewer than twice
as many stay uncovered, which a search scans in some 50 µs at 128 dimensions."""


def cover(collection: Collection) -> Iterator[str]:
    """Cover what is uncovered, block by block, and publish."""
    waiting = list(_uncovered(collection))
    if not waiting:
        return
    from elanus.vector.interim import InterimIndex

    for unit, definition, ends in waiting:
        table = dict(collection.snapshot().interims)
        vectors = unit.view.vectors(definition.field_id)
        place = place_of(unit, definition.field_id)
        index = collection.snapshot().interim(unit, definition.field_id, definition.vector_metric)
        if index is None or index.outgrown(ends[-1]):
            index = InterimIndex.train(definition.vector_metric, vectors[: ends[-1]])
        table[place] = index.over(vectors, ends)
        yield "covered"
        collection.follower.publish_interims(table)
    yield "published"


def _uncovered(collection: Collection) -> Iterator[tuple[Unit, IndexDefinition, list[int]]]:
    """What to cover, for which index, and where its blocks should end."""
    snapshot = collection.snapshot()
    for definition in snapshot.manifest.indexes.values():
        if not snapshot.manifest.covers(definition):
            continue
        field_id = definition.field_id
        waiting = [unit for unit in snapshot.units if field_id not in unit.indexes and unit.view.has(field_id)]
        if sum(unit.view.rows for unit in waiting) < 2 * COVER_ROWS:
            continue
        for unit in waiting:
            ends = _block_ends(unit)
            index = snapshot.interim(unit, definition.field_id, definition.vector_metric)
            if ends[-1] > (index.rows if index is not None else 0):
                yield unit, definition, ends


def _block_ends(unit: Unit) -> list[int]:
    """The rows of `unit` where blocks should end, at least one; the last is how many rows can be covered now.

    A sealed segment is one block. Growing rows count in steps, since covered ones must not change; each block is the
    longest power of two of steps that is left, so all but the last few rows lie in few blocks, and a row is coded
    again only when its block doubles.
    """
    if unit.sealed is not None:
        return [unit.view.rows if unit.view.rows >= COVER_ROWS else 0]
    ends = [0]
    while (steps := (unit.view.rows - ends[-1]) // COVER_ROWS) > 0:
        ends.append(ends[-1] + COVER_ROWS * (1 << (steps.bit_length() - 1)))
    return ends[1:] or ends
