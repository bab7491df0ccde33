"""Geometries: from WKT, in which they come and go, to WKB, in which they are held, and back.

An array of them is Arrow's large_binary of little-endian WKB, an empty point's coordinates NaN, as Milvus keeps it.
Coordinates are finite numbers, two to four of them: what is not finite has no relation to anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# shapely takes a tenth of a second to import, and only those who have geometries need it: each function does it.

POINT_BYTES = 21
"""The length of a point's WKB: byte order, type, and two doubles."""

MOST_NESTED = 100
"""How many collections one geometry may hold, since each may be within the other."""
TOO_DEEP = f"more than {MOST_NESTED} collections in one geometry"
SHORT = 1_000
"""So many characters do not spell more of them than that."""

PIECE = 512
"""How many geometries are read or written while nobody else runs: about a millisecond."""

_POINT_HEAD = np.frombuffer(b"\x01\x01\x00\x00\x00", np.uint8)

_UNREADABLE = (ValueError, NotImplementedError)
"""What shapely raises of curves and of halves of surrogate pairs, whatever it was told of invalid texts."""

Objects = npt.NDArray[np.object_]


def _in_pieces(convert: Callable[[Objects], Objects], values: Objects) -> Objects:
    """`convert(values)`, some of them at a time: shapely holds the interpreter's lock while it makes objects."""
    if len(values) <= PIECE:
        return convert(values)
    return np.concatenate([convert(values[begin : begin + PIECE]) for begin in range(0, len(values), PIECE)])


def parsed(texts: Objects) -> tuple[Objects, npt.NDArray[np.bool_]]:
    """(geometries, wrong): those that `texts`, strings or None, spell. Where one spells none it is wrong, and None."""
    import shapely

    unread = _is_unread(texts)
    if unread.any():
        texts = texts.copy()
        texts[unread] = None
    with np.errstate(invalid="ignore"):
        try:
            found = _in_pieces(partial(shapely.from_wkt, on_invalid="ignore"), texts)
        except (*_UNREADABLE, shapely.errors.ShapelyError):  # one of them cannot even be ignored: find it
            found = np.array([_one(text) for text in texts], object)
    wrong = (texts != np.array(None)) & shapely.is_missing(found)
    return found, wrong | unread | is_unbounded(found)


def _is_unread(texts: Objects) -> npt.NDArray[np.bool_]:
    """Which texts GEOS is not given: it would take what is before a NUL for all, and it recurses into collections, so
    that a process ends with those that are too deep.
    """
    return np.fromiter(map(_has_nul_or_is_deep, texts), np.bool_, len(texts))


def _has_nul_or_is_deep(text: Any) -> bool:
    return isinstance(text, str) and ("\0" in text or (len(text) > SHORT and _collections_of(text) > MOST_NESTED))


def _collections_of(text: str) -> int:
    return text.upper().count("COLLECTION")


def _one(text: str | None) -> Any:
    import shapely

    try:
        return shapely.from_wkt(text, on_invalid="ignore")
    except (*_UNREADABLE, shapely.errors.ShapelyError):
        return None


def is_unbounded(found: Objects) -> npt.NDArray[np.bool_]:
    """Whether each geometry has a coordinate that is no finite number; those of empty ones do not count.

    NaN in the third or fourth place is none, as where only some of a collection have it.
    """
    import shapely

    which = {"include_z": True, "include_m": True} if hasattr(shapely, "has_m") else {"include_z": True}
    coordinates, of = shapely.get_coordinates(found, return_index=True, **which)
    unbounded = np.zeros(len(found), np.bool_)
    unbounded[of[~np.isfinite(coordinates[:, :2]).all(axis=1) | np.isinf(coordinates[:, 2:]).any(axis=1)]] = True
    return unbounded


def is_deep(found: Objects) -> npt.NDArray[np.bool_]:
    """Which geometries are collections within collections, more than `MOST_NESTED` of them."""
    import shapely

    deep = np.zeros(len(found), np.bool_)
    within, of = found, np.arange(len(found))
    for _ in range(MOST_NESTED):
        collections = shapely.get_type_id(within) == shapely.GeometryType.GEOMETRYCOLLECTION
        if not collections.any():
            return deep
        within, places = shapely.get_parts(within[collections], return_index=True)
        of = of[collections][places]
    deep[of[shapely.get_type_id(within) == shapely.GeometryType.GEOMETRYCOLLECTION]] = True
    return deep


def why_wrong(text: str) -> str:
    """What is wrong with a text that spells no geometry."""
    import shapely

    if len(text) > SHORT and _collections_of(text) > MOST_NESTED:
        return f"syntax error in {text[:100]!r}: {TOO_DEEP}"
    if "\0" in text:
        return f"syntax error in {text[:100]!r}: it holds a NUL character"
    try:
        shapely.from_wkt(text)
    except (*_UNREADABLE, shapely.errors.ShapelyError) as error:
        return f"syntax error in {text[:100]!r}: {str(error).strip()}"
    return f"syntax error in {text[:100]!r}: coordinates are finite numbers"


@lru_cache(maxsize=64)
def geometry_of(text: str) -> Any:
    """The geometry that `text` spells. Raises `ValueError`."""
    found, wrong = parsed(np.array([text], object))
    if wrong[0]:
        raise ValueError(why_wrong(text))
    return found[0]


@lru_cache(maxsize=64)
def wkb_of(text: str) -> bytes:
    """The WKB of the geometry that `text` spells. Raises `ValueError`."""
    import shapely

    wkb: bytes = shapely.to_wkb(geometry_of(text), byte_order=1)
    return wkb


def held(found: Objects) -> pa.Array:
    """Geometries, or None, as they are held."""
    import shapely

    return pa.array(_in_pieces(partial(shapely.to_wkb, byte_order=1), found), pa.large_binary())


def loaded(column: pa.Array) -> Objects:
    """What `held` made, as geometries again."""
    import shapely

    return _in_pieces(shapely.from_wkb, column.to_numpy(zero_copy_only=False))


def texts_of(column: pa.Array) -> pa.Array:
    """The WKT of what `held` made, with all digits that matter and no others, null where it is."""
    import shapely

    return pa.array(
        _in_pieces(partial(shapely.to_wkt, rounding_precision=-1, trim=True), loaded(column)), pa.large_string()
    )


def bounds_of(column: pa.Array) -> npt.NDArray[np.float64]:
    """(rows, 4): the low x, low y, high x and high y of each row of a column without nulls, NaN where it is empty."""
    import shapely

    points = points_of(column)
    if points is not None:
        return np.concatenate([points, points], axis=1)
    bounds = np.empty((len(column), 4))
    for begin in range(0, len(column), PIECE):  # geometries are many times as large as their WKB
        bounds[begin : begin + PIECE] = shapely.bounds(loaded(column.slice(begin, PIECE)))
    return bounds


def points_of(column: pa.Array) -> npt.NDArray[np.float64] | None:
    """(rows, 2): the coordinates where every row of a column without nulls is a point of two; else None."""
    rows = len(column)
    offsets = np.frombuffer(column.buffers()[1], np.int64, rows + 1, column.offset * 8)
    if not rows or (np.diff(offsets) != POINT_BYTES).any():
        return None
    data = np.frombuffer(column.buffers()[2], np.uint8, rows * POINT_BYTES, int(offsets[0])).reshape(rows, -1)
    if (data[:, :5] != _POINT_HEAD).any():
        return None
    return np.ascontiguousarray(data[:, 5:]).view("<f8")
