"""Arrays: from what a user gives to the bytes in which they are held, and back. No array is touched one by one.

A column of arrays is Arrow's large_binary wherever it lies: log, memory, files. A value is one array. Of booleans and
numbers it is their little-endian bytes end to end (a boolean a byte), so that offsets divided by the size of an element
are those of Arrow's lists. Of strings, so that each is found without reading those before it, it is

    uint32 count | uint32 ends[count] | UTF-8 bytes      ends count from where the bytes begin

also when there are none; only null has no bytes at all. All integers are little-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.errors import SchemaMismatch
from elanus.model.layout import Bytes, Layout, Offsets, layout, offsets_of, places
from elanus.model.schema import Field
from elanus.model.types import NUMPY_OF, TYPE_NAMES, DataType, arrow_type

Convert = Callable[[Field, Any], Any]
"""`columns.convert`, which this module cannot import: arrays are columns whose elements are a column."""

Truths = npt.NDArray[np.bool_]


# --- from lists to bytes and back ------------------------------------------------------------------------------------


def packed(lists: pa.LargeListArray) -> pa.LargeBinaryArray:
    """Arrow lists, in which no element is null, as they are held."""
    offsets, elements = _flat(lists)
    known = lists.is_valid().to_numpy(zero_copy_only=False) if lists.null_count else None
    if pa.types.is_large_string(elements.type):
        ends, data = _packed_strings(offsets, elements, known)
    else:
        numbers = np.ascontiguousarray(elements.to_numpy(zero_copy_only=False))
        ends, data = offsets * numbers.itemsize, numbers.view(np.uint8)
    validity = None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(pa.large_binary(), len(lists), [validity, pa.py_buffer(ends), pa.py_buffer(data)])


def unpacked(element: DataType, column: pa.LargeBinaryArray) -> pa.LargeListArray:
    """Arrays of `element` as Arrow lists."""
    held = layout(column)
    known = None
    if column.null_count:
        known = column.is_valid().to_numpy(zero_copy_only=False)
        if (np.diff(held.offsets)[~known] != 0).any():
            held = layout(column.fill_null(b""))
    if element is DataType.VARCHAR:
        offsets, elements = _unpacked_strings(held)
    else:
        kind = NUMPY_OF[element]
        elements = pa.array(
            numbers_of(held, kind)[held.offsets[0] // kind.itemsize : held.offsets[-1] // kind.itemsize]
        )
        offsets = (held.offsets - held.offsets[0]) // kind.itemsize
    return listed(offsets, elements, known)


def listed(offsets: Offsets, elements: pa.Array, known: Truths | None) -> pa.LargeListArray:
    """Arrow lists: row i has the elements from `offsets[i]` to `offsets[i + 1]`; null where not `known`."""
    mask = None if known is None else pa.array(~known)
    return pa.LargeListArray.from_arrays(pa.array(offsets), elements, mask=mask)


def numbers_of(held: Layout, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """All elements of arrays of numbers or booleans, those before the first row too, so that offsets fit."""
    data = held.data[: len(held.data) - len(held.data) % kind.itemsize]
    numbers = data.view(kind)
    return numbers if numbers.flags.aligned else numbers.copy()


def string_counts(held: Layout) -> npt.NDArray[np.int64]:
    """How many strings each array holds; 0 for null."""
    counts = np.zeros(len(held.offsets) - 1, np.int64)
    there = np.flatnonzero(np.diff(held.offsets))
    if len(there):
        words = held.offsets[there][:, None] + np.arange(4)
        counts[there] = np.ascontiguousarray(held.data[words]).view("<u4")[:, 0]
    return counts


def _packed_strings(offsets: Offsets, texts: pa.LargeStringArray, known: Truths | None) -> tuple[Offsets, Bytes]:
    """(offsets, bytes) of a column of arrays, row i of which has the texts from `offsets[i]` to `offsets[i + 1]`."""
    data, ends = layout(texts)
    data, ends = data[ends[0] : ends[-1]], ends - ends[0]
    there = np.ones(len(offsets) - 1, np.bool_) if known is None else known
    counts = np.diff(offsets)
    sizes = np.where(there, 4 + 4 * counts, 0)
    out_offsets = offsets_of(sizes + np.diff(ends[offsets]))
    out = np.empty(int(out_offsets[-1]), np.uint8)
    header = places(out_offsets[:-1], sizes)
    words = np.empty(len(header) // 4, "<u4")
    is_end = np.ones(len(words), np.bool_)
    is_end[(np.cumsum(sizes)[there] - sizes[there]) // 4] = False
    words[~is_end] = counts[there]
    words[is_end] = ends[1:] - np.repeat(ends[offsets[:-1]], counts)
    out[header] = words.view(np.uint8)
    is_text = np.ones(len(out), np.bool_)
    is_text[header] = False
    out[is_text] = data
    return out_offsets, out


def _unpacked_strings(held: Layout) -> tuple[Offsets, pa.LargeStringArray]:
    data, starts = held.data[held.offsets[0] : held.offsets[-1]], held.offsets - held.offsets[0]
    counts = string_counts(held)
    sizes = np.where(np.diff(starts) > 0, 4 + 4 * counts, 0)
    header = places(starts[:-1], sizes)
    words = np.ascontiguousarray(data[header]).view("<u4")
    is_end = np.ones(len(words), np.bool_)
    there = sizes > 0
    is_end[(np.cumsum(sizes)[there] - sizes[there]) // 4] = False
    is_text = np.ones(len(data), np.bool_)
    is_text[header] = False
    before = np.cumsum(np.diff(starts) - sizes) - (np.diff(starts) - sizes)
    ends = np.concatenate(([0], words[is_end].astype(np.int64) + np.repeat(before, counts)))
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(data[is_text])]
    texts = pa.Array.from_buffers(pa.large_string(), len(ends) - 1, buffers)
    return offsets_of(counts), texts


def _flat(lists: pa.Array) -> tuple[Offsets, pa.Array]:
    """(offsets, elements) of Arrow lists of any kind; the offsets begin with 0, and null has no elements."""
    lengths = np.where(
        lists.is_valid().to_numpy(zero_copy_only=False),
        lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64),
        0,
    )
    return offsets_of(lengths), lists.flatten()


# --- from what a user gives ------------------------------------------------------------------------------------------


def array_column(field: Field, values: Any, convert: Convert) -> pa.LargeBinaryArray:
    """A list of lists, a matrix, or Arrow lists as a column of arrays.

    Raises `SchemaMismatch` for an array that is too long, an element that is missing, that is of another type than the
    field says or too long, naming its row.
    """
    assert field.element is not None
    known: Truths | None = None
    given: Any
    if isinstance(values, pa.Array):
        kind = values.type
        if pa.types.is_null(kind):
            return pa.nulls(len(values), pa.large_binary())
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            raise SchemaMismatch(f"{_holds(field)}; got an Arrow column of {kind}. Send a column of lists.")
        known = values.is_valid().to_numpy(zero_copy_only=False) if values.null_count else None
        offsets, given = _flat(values)
    elif isinstance(values, np.ndarray):
        offsets, given = np.arange(len(values) + 1) * values.shape[1], values.reshape(-1)
    else:
        known, offsets, given = _chained(field, values)
    _check_capacity(field, offsets)
    elements = _elements(field, offsets, given, convert)
    return packed(listed(offsets, elements, known))


def _chained(field: Field, rows: list[Any]) -> tuple[Truths | None, Offsets, list[Any]]:
    """(which are no null, offsets, elements) of lists."""
    kinds = set(map(type, rows))
    known = None
    if np.ndarray in kinds:
        rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
        kinds = set(map(type, rows))
    if type(None) in kinds:
        known = np.fromiter((row is not None for row in rows), np.bool_, len(rows))
        rows = [() if row is None else row for row in rows]
    for kind in kinds - {type(None)}:
        if not issubclass(kind, (list, tuple)):
            wrong = next(row for row, value in enumerate(rows) if type(value) is kind)
            raise SchemaMismatch(f"{_holds(field)}; got {str(rows[wrong])[:60]!r} in row {wrong}. Send a list.")
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return known, offsets_of(lengths), list(chain.from_iterable(rows))


def _elements(field: Field, offsets: Offsets, given: Any, convert: Convert) -> pa.Array:
    """The elements, checked, as an Arrow array of their type without nulls."""
    assert field.element is not None
    one = Field(field.name, field.element, nullable=True)
    try:
        converted = convert(one, given)
    except SchemaMismatch:
        _say_which(field, one, offsets, given, convert)
        raise
    elements = pa.array(converted) if isinstance(converted, np.ndarray) else converted
    if elements.null_count:
        place = int(np.argmin(elements.is_valid().to_numpy(zero_copy_only=False)))
        row = _row_of(offsets, place)
        raise SchemaMismatch(
            f"{_holds(field)}; element {place - int(offsets[row])} of row {row} is missing: leave it out."
        )
    if field.max_length is not None:
        _check_lengths(field, offsets, elements)
    return elements.cast(arrow_type(field.element))


def _say_which(field: Field, one: Field, offsets: Offsets, given: Any, convert: Convert) -> None:
    """Raise for the first array whose elements cannot be converted; only for wording an error."""
    for row in range(len(offsets) - 1):
        try:
            convert(one, given[offsets[row] : offsets[row + 1]])
        except SchemaMismatch as error:
            raise SchemaMismatch(f"{_holds(field)}; the array in row {row} does not fit: {error}") from error


def _check_capacity(field: Field, offsets: Offsets) -> None:
    lengths = np.diff(offsets)
    if field.max_capacity is not None and lengths.max(initial=0) > field.max_capacity:
        row = int(np.argmax(lengths > field.max_capacity))
        _too_long(field, int(lengths[row]), row)


def _too_long(field: Field, length: int, row: int) -> NoReturn:
    raise SchemaMismatch(
        f"the length ({length}) of {row}th array exceeds max capacity ({field.max_capacity}): field {field.name}"
        "[expected=valid length array][actual=array length exceeds max capacity]"
    )


def _check_lengths(field: Field, offsets: Offsets, texts: pa.LargeStringArray) -> None:
    lengths = np.diff(layout(texts).offsets)
    if lengths.max(initial=0) > (field.max_length or 0):
        place = int(np.argmax(lengths > (field.max_length or 0)))
        row = _row_of(offsets, place)
        raise SchemaMismatch(
            f'length of Array array field "{field.name}" exceeds max length, row number: {row}, array index: '
            f"{place - int(offsets[row])}, length: {lengths[place]}, max length: {field.max_length}"
        )


def _row_of(offsets: Offsets, place: int) -> int:
    return int(np.searchsorted(offsets, place, "right")) - 1


def _holds(field: Field) -> str:
    assert field.element is not None
    return f'field "{field.name}" holds Array of {TYPE_NAMES[field.element]}'
