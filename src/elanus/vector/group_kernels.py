"""The compiled side of grouping: the costs by which rows are among the nearest of their group."""

from __future__ import annotations

from typing import Any

from elanus.model.compiled import compiled


@compiled
def nearest_of_groups(costs: Any, codes: Any, nearest: Any) -> None:
    """The lowest `costs` (n,) float32 of each group, rising, in `nearest` (groups, size), which came full of
    infinities; `codes` (n,) say of which group each is.
    """
    size = nearest.shape[1]
    for i in range(len(costs)):
        of_group = nearest[codes[i]]
        cost = costs[i]
        if cost >= of_group[size - 1]:
            continue
        place = size - 1
        while place > 0 and of_group[place - 1] > cost:
            of_group[place] = of_group[place - 1]
            place -= 1
        of_group[place] = cost
