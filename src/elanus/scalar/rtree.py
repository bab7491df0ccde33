"""An R-tree of a column's bounding boxes: which geometries may lie to another one as a filter asks.

It is packed once and never changed, by sort-tile-recurse (Leutenegger, Lopez, Edgington, "STR: a simple and efficient
algorithm for R-tree packing", ICDE 1997): the boxes are sorted by the middle of their x, cut into slices of about the
square root of the number of nodes, and each slice is sorted by the middle of y. Sixteen boxes, end to end, are a node,
and sixteen nodes one of the next level. Sections, of a column of n rows of which m are neither null nor empty:

    rows       (m,) uint32: the rows of the boxes, in the order of the leaves
    boxes.0    (ceil(m / 16), 4, 16) float32: of each leaf the low x of its boxes, low y, high x, high y; NaN behind the
               last box
    boxes.1    the same of the boxes around leaves, and so on to a level of one node; no level where m is 0
    valid      (n + 7) // 8 uint8: the rows that are not null; not there where all are not

Boxes are rounded outwards to float32, and so is what they are compared with. Rounding keeps the order of numbers, so no
box that should be found is missed.

It knows no answers: asked where a predicate is `Possible`, it says so, and the geometries there are looked at. Left to
a scan are predicates that many points may pass, those of an empty geometry, and distances where coordinates are not all
degrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr.geometry import Near, Related
from elanus.expr.typed import Possible, Predicate
from elanus.model import geometries
from elanus.scalar.sections import Array, Sections, Source, bits_of

Boxes = npt.NDArray[Any]
"""(count, 4): low x, low y, high x and high y."""

NODE = 16
"""Boxes of a node: 256 bytes of them."""

FEWEST_POINTS, FEWEST_OTHERS = 8, 2
"""A scan is as quick where more than one row in so many is possible: other geometries take longer to look at."""

FEW = 4096
"""So many boxes are looked at whatever comes of it."""

_COVERING = frozenset({"contains", "equals"})
"""Relations of which the row's box covers the other one's."""
_COVERED = frozenset({"within", "equals"})
"""Relations of which it is covered."""

_LOW, _HIGH = slice(0, 2), slice(2, 4)


def build(column: pa.Array, params: Mapping[str, Any]) -> Sections:
    arrays: dict[str, Array] = {}
    if column.null_count:
        arrays["valid"] = bits_of(column)
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)).astype(np.uint32)
    values = column.drop_null()
    bounds = geometries.bounds_of(values)
    there = np.flatnonzero(~np.isnan(bounds[:, 0]))
    there = there[_tiled(bounds[there])]
    arrays["rows"] = rows[there]
    boxes, level = _outwards(bounds[there]), 0
    while len(boxes) > 1 or (level == 0 and len(boxes)):
        nodes = np.full((-(-len(boxes) // NODE) * NODE, 4), np.nan, np.float32)
        nodes[: len(boxes)] = boxes
        held = nodes.reshape(-1, NODE, 4).transpose(0, 2, 1)
        arrays[f"boxes.{level}"] = np.ascontiguousarray(held)
        boxes = np.concatenate([np.nanmin(held[:, _LOW], axis=2), np.nanmax(held[:, _HIGH], axis=2)], axis=1)
        level += 1
    return Sections({"levels": level, "points": geometries.points_of(values) is not None}, arrays)


def _tiled(bounds: Boxes) -> npt.NDArray[np.int64]:
    """The order in which boxes that lie close together follow each other."""
    nodes = -(-len(bounds) // NODE)
    of_slice = max(math.ceil(math.sqrt(nodes)), 1) * NODE
    middle = bounds[:, _LOW] / 2 + bounds[:, _HIGH] / 2
    order = np.argsort(middle[:, 0])
    return order[np.lexsort((middle[order, 1], np.arange(len(order)) // of_slice))]


def _outwards(boxes: Boxes) -> npt.NDArray[np.float32]:
    """The least boxes of float32 around those of float64."""
    with np.errstate(over="ignore"):
        rounded: npt.NDArray[np.float32] = boxes.astype(np.float32)
    low, high = rounded[:, _LOW], rounded[:, _HIGH]
    low[low > boxes[:, _LOW]] = np.nextafter(low, np.float32(-np.inf))[low > boxes[:, _LOW]]
    high[high < boxes[:, _HIGH]] = np.nextafter(high, np.float32(np.inf))[high < boxes[:, _HIGH]]
    return rounded


def open_index(sections: Sections, source: Source) -> RTree:
    return RTree(sections, source)


class RTree:
    """See the module."""

    def __init__(self, sections: Sections, source: Source) -> None:
        self._source = source
        self._rows = sections.arrays["rows"]
        self._levels = [sections.arrays[f"boxes.{level}"] for level in range(sections.meta["levels"])]
        self._most = source.rows // (FEWEST_POINTS if sections.meta["points"] else FEWEST_OTHERS)
        self._valid = sections.arrays.get("valid")

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        if not isinstance(node, Possible):
            return None
        boxes, relation = self._asked(node.term)
        if boxes is None or np.isnan(boxes).any():
            return None
        places = self._found(_outwards(boxes), relation)
        if places is None:
            return None
        truth = np.zeros(self._source.rows, np.bool_)
        truth[self._rows[places]] = True
        validity = None if self._valid is None else pa.py_buffer(self._valid)
        bits = pa.py_buffer(np.packbits(truth, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(truth), [validity, bits])

    def _asked(self, term: Predicate) -> tuple[Boxes | None, str]:
        """The boxes to one of which a row's has to lie as it does where this relation holds; None where not known."""
        if isinstance(term, Related) and term.operand.field.id == self._source.field_id:
            return geometries.bounds_of(pa.array([term.wkb], pa.large_binary())), term.relation
        if isinstance(term, Near) and term.operand.field.id == self._source.field_id and self._is_of_degrees():
            return term.boxes(), "intersects"
        return None, ""

    def _is_of_degrees(self) -> bool:
        """Whether all boxes are within those of longitudes and latitudes."""
        return all((np.nanmax(np.abs(top), axis=(0, 2)) <= [180, 90, 180, 90]).all() for top in self._levels[-1:])

    def _found(self, boxes: Boxes, relation: str) -> npt.NDArray[np.int64] | None:
        """The places of the boxes that lie to one of `boxes` as `relation` needs it; None where they are too many."""
        found = np.zeros(1 if self._levels else 0, np.int64)
        for height in range(len(self._levels) - 1, -1, -1):
            if not height and len(found) * NODE > max(self._most, FEW):
                return None
            of_nodes = self._levels[height][found]
            node, place = np.nonzero(_lying(of_nodes, boxes, relation, is_leaf=not height))
            found = found[node] * NODE + place
        return found if len(found) <= self._most else None


def _lying(nodes: Array, boxes: Boxes, relation: str, is_leaf: bool) -> npt.NDArray[np.bool_]:
    """(len(nodes), 16): which boxes of `nodes` may lie so to one of `boxes`, or hold one that does."""
    lying = np.zeros((len(nodes), NODE), np.bool_)
    for box in boxes:
        low, high = box[_LOW, None], box[_HIGH, None]
        if relation in _COVERING:
            near = (nodes[:, _LOW] <= low) & (nodes[:, _HIGH] >= high)
        else:
            near = (nodes[:, _LOW] <= high) & (nodes[:, _HIGH] >= low)
        if is_leaf and relation in _COVERED:
            near &= (nodes[:, _LOW] >= low) & (nodes[:, _HIGH] <= high)
        lying |= near.all(axis=1)
    return lying
