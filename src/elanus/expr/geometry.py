"""Functions of geometries: how a field lies to a geometry given as WKT, in the plane.

    st_within(f, "POLYGON ((0 0, 10 0, 10 10, 0 10, 0 0))")     the field first: it lies within the polygon
    st_dwithin(f, "POINT (13.4 52.5)", 1000)                    at most 1000 metres from the point
    st_isvalid(f)

Distances are Milvus's: from point to point along the great circle of a sphere with a radius of 6,371,000 m, x being the
longitude; from the point to anything else the distance in the plane of degrees, of which one is 111,320 m times
√((1 + cos²φ) / 2) at the point's latitude φ. A row without a geometry is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr import tree, truth
from elanus.expr.binding import BindCall, Binding, Constant, check_count
from elanus.expr.errors import Refused
from elanus.expr.kinds import Type
from elanus.expr.typed import Column, Function, Predicate, Rows, shown
from elanus.model import geometries

_RADIUS_M = 6_371_000.0
_DEGREE_M = 111_320.0

_SLACK = 1e-7
"""Radians, 0.6 m. The haversine formula is off by most near the antipodes, 1e-8."""

_MIRRORED = {"contains": "within", "within": "contains"}
"""A relation as it is from the other side; the others are the same from both."""

Truths = npt.NDArray[np.bool_]


class _Test(Function):
    """A condition on the geometry of one field."""

    __slots__ = ()

    operand: Column

    def fields(self) -> Iterator[int]:
        return self.operand.fields()

    def truth(self, rows: Rows) -> pa.BooleanArray:
        column = rows.column(self.operand)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if not column.null_count:
            return truth.pack(self.of(column))
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        true = np.zeros(len(column), np.bool_)
        true[valid] = self.of(column.drop_null())
        return truth.pack(true, valid)

    def of(self, column: pa.Array) -> Truths:
        """Whether each row of a column without nulls passes."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Related(_Test):
    """`relation` of shapely's to a geometry, whose WKB is kept: each evaluation prepares it for itself.

    What GEOS keeps of a prepared one is made when it is first asked, and not safe for several threads.
    """

    operand: Column
    relation: str
    wkb: bytes
    text: str
    """Its normal form."""

    @property
    def cost(self) -> float:
        return 1000.0

    def of(self, column: pa.Array) -> Truths:
        import shapely

        query = shapely.from_wkb(self.wkb)
        shapely.prepare(query)
        mirrored = getattr(shapely, _MIRRORED.get(self.relation, self.relation))  # what is prepared has to come first
        points = geometries.points_of(column)
        if points is None or shapely.is_empty(query) or np.isnan(points).any():
            related: Truths = mirrored(query, geometries.loaded(column))
            return related
        low_x, low_y, high_x, high_y = shapely.bounds(query)
        x, y = points[:, 0], points[:, 1]
        near: Truths = (x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)
        near[near] = mirrored(query, shapely.points(points[near]))
        return near

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Near(_Test):
    """At most `metres` from a point."""

    operand: Column
    x: float
    y: float
    metres: float
    text: str
    """Its normal form."""

    @property
    def cost(self) -> float:
        return 300.0

    def of(self, column: pa.Array) -> Truths:
        import shapely

        if math.isnan(self.x):  # an empty point
            return np.zeros(len(column), np.bool_)
        points = geometries.points_of(column)
        if points is not None:
            return self._along_the_sphere(points)
        found = geometries.loaded(column)
        is_point = (shapely.get_type_id(found) == shapely.GeometryType.POINT) & ~shapely.is_empty(found)
        near = np.zeros(len(found), np.bool_)
        near[is_point] = self._along_the_sphere(shapely.get_coordinates(found[is_point]))
        flat = shapely.distance(found[~is_point], shapely.Point(self.x, self.y)) * _degree_m(self.y)
        near[~is_point] = flat <= self.metres  # NaN of empty ones
        return near

    def boxes(self) -> npt.NDArray[np.float64] | None:
        """(k, 4): boxes (low x, low y, high x, high y) of which each geometry so near meets one, where all coordinates
        are longitudes up to 180 and latitudes up to 90; None where the point's are not.

        For points the sides of the circle on the sphere, of which what is beyond 180 comes in from the other side; for
        others the circle in the plane. All are wider by far more than distances are rounded.
        """
        if math.isnan(self.x):
            return np.empty((0, 4))
        if abs(self.x) > 180 or abs(self.y) > 90:
            return None
        angle = self.metres / _RADIUS_M
        latitude = math.radians(self.y)
        wide = 360.0
        if abs(latitude) + angle + _SLACK < math.pi / 2:  # or else a pole is within it, where all meridians meet
            wide = math.degrees(math.asin(min(math.sin(angle + _SLACK) / math.cos(latitude), 1.0)) + _SLACK)
        high = math.degrees(angle + _SLACK)
        flat = self.metres / _degree_m(self.y) + math.degrees(_SLACK)
        sides = [(x, wide, high) for x in (self.x, self.x - 360, self.x + 360)] + [(self.x, flat, flat)]
        return np.array([[x - dx, self.y - dy, x + dx, self.y + dy] for x, dx, dy in sides])

    def _along_the_sphere(self, points: npt.NDArray[np.float64]) -> Truths:
        """By the haversine formula; what is empty is near to nothing."""
        x, y = np.radians(points[:, 0]), np.radians(points[:, 1])
        at_x, at_y = math.radians(self.x), math.radians(self.y)
        half = np.sin((y - at_y) / 2) ** 2 + math.cos(at_y) * np.cos(y) * np.sin((x - at_x) / 2) ** 2
        near: Truths = 2 * _RADIUS_M * np.arcsin(np.sqrt(np.clip(half, 0, 1))) <= self.metres
        return near

    def __str__(self) -> str:
        return self.text


def _degree_m(latitude: float) -> float:
    """What Milvus takes a degree in the plane for, in metres."""
    return _DEGREE_M * math.sqrt((1 + math.cos(math.radians(latitude)) ** 2) / 2)


@dataclass(frozen=True, slots=True)
class IsValid(_Test):
    """Whether a geometry keeps the rules of its kind: rings that do not cross, and so on."""

    operand: Column

    @property
    def cost(self) -> float:
        return 2000.0

    def of(self, column: pa.Array) -> Truths:
        import shapely

        valid: Truths = shapely.is_valid(geometries.loaded(column))
        return valid

    def __str__(self) -> str:
        return f"st_isvalid({self.operand})"


def _related(relation: str) -> BindCall:
    def bind(binding: Binding, node: tree.Call) -> Predicate:
        check_count(node, 2, 2)
        operand = _operand(binding, node, "spatial")
        query, text = _geometry(binding, node.arguments[1])
        return Related(operand, relation, geometries.wkb_of(query), f"{node.name.lower()}({operand}, {text})")

    return bind


def _dwithin(binding: Binding, node: tree.Call) -> Predicate:
    check_count(node, 3, 3)
    operand = _operand(binding, node, "ST_DWITHIN")
    query, text = _geometry(binding, node.arguments[1])
    point = geometries.geometry_of(query)
    if point.geom_type != "Point":
        raise Refused(f"only supports POINT geometry: {text[:200]}", node.arguments[1].position)
    given = binding.value(node.arguments[2])
    metres = given.value if isinstance(given, Constant) else None
    if isinstance(metres, (bool, str)) or metres is None:
        raise Refused("distance parameter must be a numeric value (int or float)", node.arguments[2].position)
    if not metres >= 0:
        raise Refused(f"distance parameter must be non-negative, got: {metres}", node.arguments[2].position)
    x, y = (math.nan, math.nan) if point.is_empty else (point.x, point.y)
    return Near(operand, x, y, float(metres), f"{node.name.lower()}({operand}, {text}, {shown(metres)})")


def _is_valid(binding: Binding, node: tree.Call) -> Predicate:
    check_count(node, 1, 1)
    return IsValid(_operand(binding, node, "STIsValid"))


def _operand(binding: Binding, node: tree.Call, what: str) -> Column:
    operand = binding.operand(node.arguments[0], what)
    if not isinstance(operand, Column) or operand.type is not Type.GEOMETRY:
        raise Refused(
            f"{what} operation are only supported on geometry fields now, got: {operand} of type {operand.type_name}",
            node.position,
        )
    return operand


def _geometry(binding: Binding, node: tree.Node) -> tuple[str, str]:
    """A constant that is WKT, and how a filter writes it."""
    given = binding.value(node)
    if not isinstance(given, Constant) or not isinstance(given.value, str):
        raise Refused("a geometry is given as a WKT string, as in 'POINT (13.4 52.5)'", node.position)
    try:
        geometries.geometry_of(given.value)
    except ValueError as error:
        raise Refused(f"invalid WKT: {error}", node.position) from None
    return given.value, shown(given.value)


CALLS: dict[str, BindCall] = {
    **{
        f"st_{relation}": _related(relation)
        for relation in ("equals", "touches", "overlaps", "crosses", "contains", "intersects", "within")
    },
    "st_dwithin": _dwithin,
    "st_isvalid": _is_valid,
}
"""These functions by their names."""
