"""Numbers of JSON as keys: doubles, or where an integer among them is no double, pairs.

A pair is a complex number: the double that is nearest, and what is to be added to it. numpy orders complex numbers by
the first part, then by the second, so pairs are sorted, made distinct and searched as doubles are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_LIMIT = 2.0**63
"""The first double that is beyond int64."""


def pair(number: float) -> complex:
    """Of an int or a float."""
    nearest = float(number)
    return complex(nearest, number - int(nearest) if isinstance(number, int) else 0.0)


def rests_of(ints: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """What each is more than the double that is nearest; at most half a thousand."""
    nearest = ints.astype(np.float64)
    beyond = nearest >= _LIMIT
    whole = np.where(beyond, 0.0, nearest).astype(np.int64)
    rests: npt.NDArray[np.float64] = np.where(beyond, ints - np.int64(2**63 - 1) - 1, ints - whole).astype(np.float64)
    return rests


def column_of(
    ints: npt.NDArray[np.int64], doubles: npt.NDArray[np.float64], is_int: npt.NDArray[np.bool_], mask: Any = None
) -> pa.Array:
    """Numbers, integers where `is_int`, as a column of doubles or of pairs, two fields; null where `mask`."""
    numbers = np.where(is_int, ints.astype(np.float64), doubles)
    rests = np.where(is_int, rests_of(ints), 0.0)
    if mask is not None:
        rests[mask] = 0.0
    if not rests.any():
        return pa.array(numbers, mask=mask)
    parts = [pa.array(numbers), pa.array(rests)]
    return pa.StructArray.from_arrays(parts, ["nearest", "rest"], mask=None if mask is None else pa.array(mask))


def keys_of(column: pa.Array) -> npt.NDArray[Any]:
    """The numbers of a column without nulls as they are sorted: those that `column_of` has paired as pairs."""
    if not pa.types.is_struct(column.type):
        numbers: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return numbers
    keys: npt.NDArray[np.complex128] = np.empty(len(column), np.complex128)
    keys.real, keys.imag = (part.to_numpy(zero_copy_only=False) for part in column.flatten())
    return keys
