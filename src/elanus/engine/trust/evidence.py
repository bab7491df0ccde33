"""What was measured of queries of one sort, and which rung is enough for a wanted recall.

A `Case` is a sort of queries: those of one field and index, for about as many hits, that leave about as many rows.
`Evidence` of a case is a value: adding to it makes another one, so whoever reads it needs no lock.

Queries of one case may be of several sorts all the same, such as questions and sentences, and what is right for the one
is too little for the other. So the queries are put in groups by how far away the last of their true neighbours is, and
the recall that is wanted has to be reached in each of the groups, with a margin for what so few queries may say. Where
the far ones need more than the others they are searched again, so that the others do not pay for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from elanus.engine.trust.ladder import EXACT, RUNGS
from elanus.vector.registry import IndexSpec

if TYPE_CHECKING:
    from elanus.engine.planner import Plan

Floats = npt.NDArray[np.float64]

KEPT = 256
"""Queries of a case that are remembered, the newest: with them a recall of .95 is known to one in a hundred."""

ENOUGH = 48
"""From so many queries on it is known what they need; before that a search that wants a recall is wide."""

OF_GROUP = 16
"""Queries of one group, at least. Of more groups each needs a larger margin; of fewer some hide among others."""

FIXED_MARGIN = 0.25
"""Of what may be missing, the share that is kept as a margin at least."""

GROWTH = 2.0
"""What was measured of a collection of so many times fewer, or more, rows is forgotten."""


ROUNDING = 1e-9


class FilterClass(StrEnum):
    """Sorts of filters, by the share of the rows that are left."""

    NONE = "no filter"
    BROAD = "10 % and more pass"
    SELECTIVE = "1 to 10 % pass"
    VERY_SELECTIVE = "less than 1 % pass"


class Case(NamedTuple):
    """A sort of queries. `size` is the power of two that is not less than `k`. `built` is whether most of the rows that
    pass are found by the index itself, not by what stands in for it while it is built.
    """

    field_id: int
    spec: IndexSpec
    filters: FilterClass
    size: int
    built: bool


def case_of(field_id: int, rows: int, made: Plan) -> Case:
    """The case of a search by `made`, a plan of a picture of so many `rows`."""
    passing = sum(step.passing for step in made.steps)
    by_index = sum(step.passing for step in made.steps if step.index is not None)
    by_interim = sum(step.passing for step in made.steps if step.interim is not None)
    return Case(field_id, made.spec, _class_of(made, rows, passing), (made.k - 1).bit_length(), by_index >= by_interim)


def _class_of(made: Plan, rows: int, passing: int) -> FilterClass:
    if made.condition is None or not rows:
        return FilterClass.NONE
    share = passing / rows
    if share >= 0.1:
        return FilterClass.BROAD
    return FilterClass.SELECTIVE if share >= 0.01 else FilterClass.VERY_SELECTIVE


class Measured(NamedTuple):
    """Some queries beside an exact scan, (nq,) each, and for all of them the `k` and the number of `rows` there were.

    `asked` is the recall as they were answered, NaN where nobody had asked; `widths` what the parameter was then (0: an
    exact scan); `rungs` (nq, RUNGS) the recall on each rung; `costs` how far away the last true neighbour is, NaN where
    there are fewer than k.
    """

    asked: Floats
    widths: npt.NDArray[np.int64]
    rungs: Floats
    costs: Floats
    k: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    @property
    def last(self) -> int:
        """How many rows there were when the newest was measured."""
        return int(self.rows[-1]) if len(self.rows) else 0


NOTHING = Measured(
    np.empty(0), np.empty(0, np.int64), np.empty((0, RUNGS)), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured of one case, the newest last."""

    measured: Measured = NOTHING
    _aims: dict[float, Aim] = field(default_factory=dict, compare=False, repr=False)
    """For each recall that was asked for."""

    def __len__(self) -> int:
        return len(self.measured.asked)

    def with_more(self, more: Measured) -> Evidence:
        """This and `more`, without what is too old to count."""
        rows = more.last
        old = self.measured.rows
        kept = np.flatnonzero((old <= GROWTH * rows) & (rows <= GROWTH * old))
        columns = (np.concatenate((a[kept], b))[-KEPT:] for a, b in zip(self.measured, more, strict=True))
        return Evidence(Measured(*columns))

    def holds_for(self, rows: int) -> bool:
        """Whether there is enough of it for a collection of so many `rows`."""
        known = self.measured.last
        return len(self) >= ENOUGH and known <= GROWTH * rows and rows <= GROWTH * known

    def aim(self, target: float) -> Aim:
        """What it takes that queries of every group find `target`."""
        aim = self._aims.get(target)
        if aim is None:
            aim = self._aims[target] = self._aim(target)
        return aim

    def _aim(self, target: float) -> Aim:
        _, _, rungs, costs, k, _ = self.measured
        if k.sum() * (1 - target) < 1:
            return Aim(EXACT)  # so few neighbours, none of them missed, do not tell this recall from all
        order = np.argsort(costs, kind="stable")
        groups = np.array_split(order, max(1, len(order) // OF_GROUP))
        needed = np.maximum.accumulate([_rung_of(rungs[group], target) for group in groups])
        highest = int(needed[-1])
        if np.isnan(costs).any():  # queries with fewer than k rows to find
            return Aim(highest)
        farthest = float(np.median(costs[groups[-1]]))
        if needed[0] == highest:
            return Aim(highest, highest, farthest=farthest)
        widths = 2.0 ** (needed / 2)  # time goes with the width, on both kinds of rungs
        after = 1 - np.arange(1, len(groups) + 1) / len(groups)
        split = int(np.argmin(widths + after * widths[-1]))
        return Aim(int(needed[split]), highest, float(costs[groups[split][-1]]), farthest)


class Aim(NamedTuple):
    """How closely to look: on `rung`; again on `highest` for a query whose last hit is farther away than `near`; and as
    one of which nothing is known where it is farther than all but a few true neighbours have been, `farthest`.
    """

    rung: int
    highest: int = EXACT
    near: float = math.inf
    farthest: float = math.inf


def _rung_of(recalls: Floats, target: float) -> int:
    """The lowest rung on which queries with these `recalls` (n, RUNGS) find `target` and a margin; or `EXACT`."""
    error = recalls.std(axis=0) / np.sqrt(len(recalls))
    least = recalls.mean(axis=0) - np.maximum(error, FIXED_MARGIN * (1 - target))
    enough = np.flatnonzero(least >= target - ROUNDING)
    return int(enough[0]) if len(enough) else EXACT


def interval(recalls: Floats, k: int) -> float:
    """Half the width of the interval in which the mean of `recalls`, each of `k` neighbours, lies with a chance of
    95 %. Where nothing was missed it is the rule of three.
    """
    if not len(recalls):
        return float("nan")
    if recalls.min() == 1:
        return 3 / (len(recalls) * k)
    return float(1.96 * recalls.std() / np.sqrt(len(recalls)))
