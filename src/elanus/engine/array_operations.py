"""Operations on arrays: what a partial update makes of the array that a row holds and the one that it is given.

All rows at once, on Arrow lists: no array is touched one by one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.arrays import listed, packed, unpacked
from elanus.model.errors import SchemaMismatch
from elanus.model.layout import offsets_of, places
from elanus.model.schema import Field
from elanus.model.types import ArrayOperation

Numbers = npt.NDArray[np.int64]


def operated(
    field: Field, operation: ArrayOperation, held: pa.LargeBinaryArray, given: pa.LargeBinaryArray
) -> pa.LargeBinaryArray:
    """The arrays of `field` after `operation`: those `held` with those `given` appended, or without their elements.

    Where none is given what is held stays, and none held is an empty array. Raises `SchemaMismatch` for one that
    becomes too long.
    """
    assert field.element is not None
    old, new = unpacked(field.element, held), unpacked(field.element, given)
    offsets, elements = (_appended if operation is ArrayOperation.APPEND else _remaining)(old, new)
    touched = given.is_valid().to_numpy(zero_copy_only=False)
    too_long = touched & (np.diff(offsets) > (field.max_capacity or 0))
    if operation is ArrayOperation.APPEND and too_long.any():
        row = int(np.argmax(too_long))
        raise SchemaMismatch(
            f"array length {offsets[row + 1] - offsets[row]} exceeds max_capacity {field.max_capacity}: "
            f'field "{field.name}", row {row}. Append fewer elements.'
        )
    return packed(listed(offsets, elements, touched | held.is_valid().to_numpy(zero_copy_only=False)))


def _appended(old: pa.LargeListArray, new: pa.LargeListArray) -> tuple[Numbers, pa.Array]:
    """(offsets, elements)."""
    before, more = _lengths(old), _lengths(new)
    offsets = offsets_of(before + more)
    elements = pa.concat_arrays([old.flatten(), new.flatten()])
    source = np.empty(len(elements), np.int64)
    source[places(offsets[:-1], before)] = np.arange(before.sum())
    source[places(offsets[:-1] + before, more)] = np.arange(before.sum(), len(elements))
    return offsets, elements.take(pa.array(source))


def _remaining(old: pa.LargeListArray, new: pa.LargeListArray) -> tuple[Numbers, pa.Array]:
    rows, gone = _rows(_lengths(old)), _rows(_lengths(new))
    elements = old.flatten()
    codes, kinds = _codes(pa.concat_arrays([elements, new.flatten()]))
    mine, others = codes[: len(rows)] + rows * kinds, codes[len(rows) :] + gone * kinds
    stays = ~np.isin(mine, others)
    return offsets_of(np.bincount(rows[stays], minlength=len(old))), elements.filter(pa.array(stays))


def _codes(elements: pa.Array) -> tuple[Numbers, int]:
    """(a number for each element, equal for equal ones; how many there are)."""
    if pa.types.is_floating(elements.type):
        elements = pc.add(elements, pa.scalar(0.0, elements.type))  # of the two zeros one
    elif pa.types.is_boolean(elements.type):
        elements = elements.cast(pa.int8())
    encoded = elements.dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), max(1, len(encoded.dictionary))


def _lengths(lists: pa.LargeListArray) -> Numbers:
    lengths: Numbers = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return lengths


def _rows(lengths: Numbers) -> Numbers:
    """The row of each element."""
    return np.repeat(np.arange(len(lengths)), lengths)
