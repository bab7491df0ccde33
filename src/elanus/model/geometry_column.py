"""Columns of Geometry: from WKT and shapely's objects to what a batch holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from elanus.model import geometries
from elanus.model.errors import SchemaMismatch
from elanus.model.schema import Field


def geometry_column(field: Field, values: Any) -> pa.Array:
    """`values`, a list, numpy or Arrow array of WKT, or a list of shapely's geometries, as WKB with nulls.

    Raises `SchemaMismatch` for the first row that is no geometry.
    """
    import shapely  # late: it is slow to import

    if isinstance(values, pa.Array):
        kind = values.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise _wrong(field, kind, None)
        given = values.to_numpy(zero_copy_only=False).astype(object)
    elif isinstance(values, np.ndarray):
        raise _wrong(field, values[0].item() if len(values) else values.dtype, 0)
    else:
        given = np.empty(len(values), object)
        given[:] = values
    wrong = {kind for kind in set(map(type, given)) if not issubclass(kind, (str, shapely.Geometry, type(None)))}
    if wrong:
        row = next(row for row, value in enumerate(given) if type(value) in wrong)
        raise _wrong(field, given[row], row)
    shapes = shapely.is_geometry(given)
    texts = given.copy()
    texts[shapes] = None
    found, unread = geometries.parsed(texts)
    if unread.any():
        row = int(np.argmax(unread))
        raise _invalid(field, geometries.why_wrong(given[row]), row)
    if shapes.any():
        found[shapes] = given[shapes]
        deep = geometries.is_deep(found)
        if deep.any():
            raise _invalid(field, geometries.TOO_DEEP, int(np.argmax(deep)))
        unbounded = geometries.is_unbounded(found)
        if unbounded.any():
            raise _invalid(field, "coordinates are finite numbers", int(np.argmax(unbounded)))
    return geometries.held(found)


def _invalid(field: Field, why: str, row: int) -> SchemaMismatch:
    return SchemaMismatch(
        f'invalid Geometry data, transform to wkb failed: {why} (field "{field.name}", row {row}). Send WKT, as in '
        "POINT (13.4 52.5)"
    )


def _wrong(field: Field, value: Any, row: int | None) -> SchemaMismatch:
    place = "" if row is None else f" in row {row}"
    return SchemaMismatch(
        f'geometry field "{field.name}" is illegal, array type mismatch: need geometry array, got '
        f"{repr(value)[:60]}{place}. Send WKT, as in POINT (13.4 52.5), or shapely's geometries."
    )
