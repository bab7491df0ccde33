"""Taking dropped rows out of a graph without building it anew.

A merge leaves deleted rows behind, so their nodes have to go. Every node that had a link to a dropped one gets, in
its place, links to the neighbours of the dropped one that are nearest to itself: the way through it stays a way. The
other links are kept as they are. What that costs in recall stands with `build.extend`.

A node is *kept* if `new_of[node] >= 0`; that is then its number afterwards, rising with the old one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from elanus.model.types import Metric
from elanus.vector.kernels import _before, _cost, _square, compiled, f32, i32, i64, readable, void, writable
from elanus.vector.metrics import CODE_OF, Rows, Vectors
from elanus.vector.payload import Array


@compiled(
    void(
        i64,
        i64,
        readable(i64, 1),
        readable(i32, 1),
        readable(i64, 1),
        readable(i64, 1),
        readable(f32, 2),
        readable(i64, 1),
        readable(i64, 1),
        writable(i32, 1),
    )
)
def _relink(
    metric: int,
    m: int,
    slots: Any,
    neighbors: Any,
    levels: Any,
    new_of: Any,
    vectors: Any,
    row_of: Any,
    new_slots: Any,
    relinked: Any,
) -> None:
    width = 2 * m
    limit = width * width + width
    found = np.empty(limit, np.int64)
    costs = np.empty(limit, np.float32)
    for node in range(levels.shape[0]):
        if new_of[node] < 0:
            continue
        square = _square(vectors, row_of[node])
        for level in range(levels[node] + 1):
            begin = slots[node] + (0 if level == 0 else m + level * m)
            size = width if level == 0 else m
            out = new_slots[new_of[node]] + (begin - slots[node])
            kept = 0
            dropped = 0
            for i in range(begin, begin + size):
                if neighbors[i] < 0:
                    break
                if new_of[neighbors[i]] >= 0:
                    found[kept] = neighbors[i]
                    kept += 1
                else:
                    dropped += 1
            total = kept
            if dropped:
                for i in range(begin, begin + size):
                    gone = neighbors[i]
                    if gone < 0:
                        break
                    if new_of[gone] >= 0:
                        continue
                    there = slots[gone] + (0 if level == 0 else m + level * m)
                    for j in range(there, there + size):
                        other = neighbors[j]
                        if other < 0:
                            break
                        if other == node or new_of[other] < 0:
                            continue
                        known = False
                        for t in range(total):
                            if found[t] == other:
                                known = True
                                break
                        if not known:
                            found[total] = other
                            costs[total] = _cost(metric, vectors, row_of[node], square, vectors, row_of[other])
                            total += 1
            count = min(size, kept + dropped)
            for place in range(kept, min(count, total)):
                best = place
                for t in range(place + 1, total):
                    if _before(costs[t], found[t], costs[best], found[best]):
                        best = t
                found[place], found[best] = found[best], found[place]
                costs[place], costs[best] = costs[best], costs[place]
            for i in range(size):
                relinked[out + i] = new_of[found[i]] if i < min(count, total) else -1


def without_dropped(
    metric: Metric,
    m: int,
    levels: Array,
    slots: Rows,
    neighbors: Array,
    kept: Array,
    vectors: Vectors,
    row_of: Rows,
) -> tuple[Array, Array, int, int]:
    """The graph of the kept nodes: levels, links, entry node and top level.

    `kept` (n,) says which nodes stay; `row_of` (n,) is each kept node's row in `vectors`. At least one node is kept.
    """
    new_of = np.where(kept, np.cumsum(kept) - 1, -1)
    new_levels = levels[kept]
    sizes = 2 * m + m * new_levels.astype(np.int64)
    new_slots = np.zeros(len(new_levels) + 1, np.int64)
    np.cumsum(sizes, out=new_slots[1:])
    relinked = np.empty(int(new_slots[-1]), np.int32)
    _relink(CODE_OF[metric], m, slots, neighbors, levels.astype(np.int64), new_of, vectors, row_of, new_slots, relinked)
    entry = int(np.argmax(new_levels))
    return new_levels, relinked, entry, int(new_levels[entry])
