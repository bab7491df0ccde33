"""The nearest rows of one unit where vectors are not float32: by a scan, or of sparse ones by their postings.

Both find the same; of equal scores the smallest keys come first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.engine import masks
from elanus.engine.masks import Rows
from elanus.engine.planner import Plan, SearchRequest, Step
from elanus.engine.snapshot import Snapshot, Unit

Answering = Callable[[npt.NDArray[Any]], tuple[npt.NDArray[np.float32], Rows]]
"""Takes queries, and gives scores and rows (nq, k)."""


def answering(snapshot: Snapshot, request: SearchRequest, made: Plan, step: Step, k: int) -> Answering:
    """What finds the `k` nearest rows of a step's unit, as the step says."""
    postings = step.postings
    if postings is None:
        return _scanning(request, made, step, k)
    keys = _key_order(snapshot.units[step.unit], step)
    return lambda queries: postings.search(queries, k, keys, step.mask, request.scoring)


def in_key_order(unit: Unit) -> bool:
    """Whether of two rows the smaller one has the smaller key, so that a part's equal scores are in order."""
    sealed = unit.sealed
    return sealed is not None and len(sealed.meta.partitions) == 1 and not sealed.meta.clustered_by


def _key_order(unit: Unit, step: Step) -> Rows | None:
    """A number for each row of a sealed unit that compares as its key does; None where rows are in that order."""
    if in_key_order(unit):
        return None
    assert unit.sealed is not None, "postings are of sealed segments"
    return step.keys[1] if step.keys[1] is not None else unit.sealed.key_ranks


def _scanning(request: SearchRequest, made: Plan, step: Step, k: int) -> Answering:
    from elanus.vector.exact import top_k

    field, view = request.vector_field, step.view
    stored = view.vectors(field.id) if field.is_dense else view.column(field.id)
    rows = np.arange(*step.run)
    if step.mask is not None:
        whole = len(rows) == step.rows
        rows = masks.rows_of(step.mask) if whole else rows[masks.bits(step.mask, rows)]
    numbers = step.keys[1]

    def keys_at(some: Rows) -> Rows:
        if numbers is not None:
            return numbers[some]
        ranks: Rows = pc.rank(view.key_column.take(pa.array(some)), tiebreaker="dense").to_numpy().astype(np.int64)
        return ranks

    return lambda queries: top_k(field.dtype, made.metric, queries, stored, rows, k, keys_at, request.scoring)
