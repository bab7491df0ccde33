"""Columns of vectors that are not float32, and of vectors that may be null: from what a user gives to what is held.

    Float16Vector     numpy of any real dtype (rows, dim), rows of numbers, their bits (uint16), or bytes (2 dim)
    BFloat16Vector    the same; numpy's extension type `bfloat16`, where somebody has it, is its bits
    Int8Vector        whole numbers from -128 to 127, or bytes (dim)
    BinaryVector      uint8 (rows, dim / 8), eight bits a byte, rows of such numbers, bytes; bool (rows, dim), the first
                      of which is the highest bit of the first byte
    SparseFloatVector rows as dicts from index to value, lists of pairs, {"indices": …, "values": …}, rows of scipy's
                      sparse matrices or one such matrix, or bytes as they are stored (`vectors`)

Arrow arrays of lists or of binaries are taken too. Numbers are rounded to the nearest that the type has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, repeat
from operator import is_not, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.canonical import Values, held_vectors, null_vectors
from elanus.model.errors import SchemaMismatch
from elanus.model.layout import offsets_of
from elanus.model.schema import MAX_VECTOR_SQUARE, Field
from elanus.model.types import NUMPY_OF, TYPE_NAMES, DataType
from elanus.model.vectors import MAX_INDEX, PAIR_BYTES, narrowed, pair_bounds, pairs_of, widened

Matrix = npt.NDArray[Any]
Valid = npt.NDArray[np.bool_]

PAIR = np.dtype([("index", np.uint32), ("value", np.float32)])

_BYTES = (bytes, bytearray, memoryview)


def with_nulls(field: Field, values: Any, convert: Callable[[Field, Any], Matrix]) -> Values:
    """A column of a nullable dense field, of which `convert` takes what has no nulls."""
    valid = _present(values)
    if valid is None or valid.all():
        return convert(field, values)
    if not valid.any():
        return null_vectors(field, len(valid))
    return held_vectors(convert(field, _filled(field, values, valid)), valid)


def _present(values: Any) -> Valid | None:
    """Which values are there; None where a column cannot say."""
    if isinstance(values, pa.Array):
        present: Valid = values.is_valid().to_numpy(zero_copy_only=False)
        return present
    if isinstance(values, list):
        return np.fromiter(map(is_not, values, repeat(None)), np.bool_, len(values))
    return None


def _filled(field: Field, values: Any, valid: Valid) -> Any:
    """`values` with something that the field takes wherever there is nothing: so an error tells the right row."""
    if isinstance(values, list):
        first = values[int(np.argmax(valid))]
        filler: Any = bytes(_row_bytes(field)) if isinstance(first, _BYTES) else _zeros_like(field, first)
        return [filler if value is None else value for value in values]
    there = values.drop_null()
    matrix = _matrix_of_arrow(field, there, np.flatnonzero(valid))
    whole = np.zeros((len(values), matrix.shape[1]), matrix.dtype)
    whole[valid] = matrix
    return whole


def _zeros_like(field: Field, vector: Any) -> Matrix:
    dtype = np.asarray(vector).dtype if isinstance(vector, (list, tuple, np.ndarray)) else NUMPY_OF[field.dtype]
    width = field.dim if dtype == np.bool_ and field.dtype is DataType.BINARY_VECTOR else field.width
    return np.zeros(width or 0, dtype)


def _row_bytes(field: Field) -> int:
    return field.width * NUMPY_OF[field.dtype].itemsize


# --- dense vectors ---------------------------------------------------------------------------------------------------


def half_floats(field: Field, values: Any) -> Matrix:
    """Float16 and bfloat16 vectors as their bits, (rows, dim) uint16. Raises `SchemaMismatch`."""
    given = _matrix(field, values)
    is_bits = given.dtype == np.uint16 or given.dtype.kind == "V"
    bits = np.ascontiguousarray(given).view(np.uint16) if is_bits else narrowed(field.dtype, given)
    wide = widened(field.dtype, bits)
    finite = np.isfinite(wide)
    if not finite.all():
        row = int(np.argmin(finite.all(axis=1)))
        raise _not_finite(field, given[row][np.argmin(finite[row])], row)
    if field.dtype is DataType.BFLOAT16_VECTOR:  # float16 has no numbers so large
        check_lengths(field, wide)
    return bits


def check_lengths(field: Field, vectors: npt.NDArray[np.float32]) -> None:
    """Raise `SchemaMismatch` where one of `vectors`, all of them finite, is too long to be scored."""
    flat = vectors.reshape(-1)
    if np.vdot(flat, flat) <= MAX_VECTOR_SQUARE:
        return
    squares = np.square(vectors, dtype=np.float64).sum(axis=1)
    if squares.max() > MAX_VECTOR_SQUARE:
        row = int(np.argmax(squares > MAX_VECTOR_SQUARE))
        raise SchemaMismatch(
            f'field "{field.name}" holds {TYPE_NAMES[field.dtype]}; the one in row {row} has length '
            f"{math.sqrt(squares[row]):g}: scores of vectors longer than {math.sqrt(MAX_VECTOR_SQUARE):.3g} are beyond "
            "float32. Scale them down."
        )


def small_integers(field: Field, values: Any) -> Matrix:
    """Int8 vectors, (rows, dim) int8. Raises `SchemaMismatch`."""
    return _whole(field, _matrix(field, values), np.dtype(np.int8))


def bits(field: Field, values: Any) -> Matrix:
    """Binary vectors, (rows, dim / 8) uint8. Raises `SchemaMismatch`."""
    given = _matrix(field, values)
    if given.dtype == np.bool_:
        return np.packbits(given, axis=1)
    return _whole(field, given, np.dtype(np.uint8))


def _whole(field: Field, given: Matrix, dtype: np.dtype[Any]) -> Matrix:
    """Whole numbers in the `dtype` of a byte."""
    if given.dtype != dtype:
        if given.dtype.kind not in "iu":
            raise _mismatch(field, given.dtype, 0)
        range_of = np.iinfo(dtype)
        outside = (given < range_of.min) | (given > range_of.max)
        if outside.any():
            row = int(np.argmax(outside.any(axis=1)))
            raise _mismatch(field, given[row][np.argmax(outside[row])], row)
    return np.ascontiguousarray(given, dtype)


def _matrix(field: Field, values: Any) -> Matrix:
    """What was given as a matrix with as many columns as it should have, of whatever numbers were given."""
    if isinstance(values, pa.Array):
        if values.null_count:
            row = int(np.argmin(values.is_valid().to_numpy(zero_copy_only=False)))
            raise _missing(field, row)
        given = _matrix_of_arrow(field, values, np.arange(len(values)))
    elif isinstance(values, np.ndarray):
        given = values
    elif not values:
        return np.empty((0, field.width), NUMPY_OF[field.dtype])
    elif isinstance(values[0], _BYTES):
        given = _matrix_of_bytes(field, values)
    else:
        given = _stacked(field, values)
    wanted = field.dim if given.dtype == np.bool_ and field.dtype is DataType.BINARY_VECTOR else field.width
    if given.ndim != 2 or given.shape[1] != wanted:
        raise _wrong_width(field, given.shape[1] if given.ndim == 2 else 0, 0)
    if given.dtype.kind not in "fiu" and given.dtype != np.bool_ and given.dtype.name != "bfloat16":
        raise _mismatch(field, given.dtype, 0)
    if given.dtype == np.bool_ and field.dtype is not DataType.BINARY_VECTOR:
        raise _mismatch(field, given.dtype, 0)
    return given


def _matrix_of_bytes(field: Field, rows: list[Any]) -> Matrix:
    if not all(map(isinstance, rows, repeat(_BYTES))):
        row = next(row for row, value in enumerate(rows) if not isinstance(value, _BYTES))
        raise _missing(field, row) if rows[row] is None else _mismatch(field, rows[row], row)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    size = _row_bytes(field)
    if (lengths != size).any():
        row = int(np.argmax(lengths != size))
        raise _wrong_width(field, int(lengths[row]) // NUMPY_OF[field.dtype].itemsize, row)
    return np.frombuffer(b"".join(rows), NUMPY_OF[field.dtype]).reshape(len(rows), field.width)


def _matrix_of_arrow(field: Field, values: pa.Array, rows: npt.NDArray[np.int64]) -> Matrix:
    """`values` has no nulls; `rows` are their numbers for who gave them."""
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _matrix_of_bytes(field, values.to_pylist())
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise _mismatch(field, kind, 0)
    lengths = (
        np.full(len(values), kind.list_size)
        if pa.types.is_fixed_size_list(kind)
        else values.value_lengths().to_numpy(zero_copy_only=False)
    )
    width = field.dim if pa.types.is_boolean(kind.value_type) else field.width
    if (lengths != width).any():
        at = int(np.argmax(lengths != width))
        raise _wrong_width(field, int(lengths[at]), int(rows[at]))
    flat = values.flatten()
    if flat.null_count:
        missing = int(np.argmin(flat.is_valid().to_numpy(zero_copy_only=False)))
        raise _missing(field, int(rows[missing // (width or 1)]))
    numbers: Matrix = flat.to_numpy(zero_copy_only=False)
    return numbers.reshape(len(values), width or 0)


def _stacked(field: Field, rows: list[Any]) -> Matrix:
    try:
        stacked = np.asarray(rows)
    except ValueError:
        stacked = np.empty(0, object)
    if stacked.ndim == 2 and stacked.dtype.kind in "fiubV":
        return stacked.astype(stacked.dtype.newbyteorder("="), copy=False)
    for row, vector in enumerate(rows):  # something is wrong: find it
        if vector is None:
            raise _missing(field, row)
        one = np.asarray(vector) if isinstance(vector, (list, tuple, np.ndarray)) else np.asarray(None)
        if one.ndim != 1 or one.dtype.kind not in "fiubV":
            raise _mismatch(field, vector, row)
        if len(one) != field.width:
            raise _wrong_width(field, len(one), row)
    return stacked


# --- sparse vectors --------------------------------------------------------------------------------------------------


def sparse(field: Field, values: Any) -> pa.Array:
    """Sparse vectors as stored; nulls stay. Raises `SchemaMismatch` naming the row."""
    if hasattr(values, "tocsr"):
        return _of_matrix(field, values.tocsr())
    if isinstance(values, pa.Array):
        if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            return _checked(field, values.cast(pa.large_binary()))
        values = values.to_pylist()
    rows = list(values)
    kinds = set(map(type, rows)) - {type(None)}
    if kinds <= set(_BYTES):
        return _checked(field, pa.array(rows, pa.large_binary()))
    valid = np.fromiter(map(is_not, rows, repeat(None)), np.bool_, len(rows))
    if kinds == {dict} and valid.all():  # a row as a dict is what most send
        indexes = _numbers(chain.from_iterable(rows))
        if indexes.dtype.kind in "iuf":
            counts = np.fromiter(map(len, rows), np.int64, len(rows))
            numbers = _numbers(chain.from_iterable(map(dict.values, rows)))
            return _packed(field, counts, indexes, numbers, valid)
    numbered = list(map(_pairs_of_row, repeat(field), rows, range(len(rows))))
    counts = np.fromiter(map(len, map(itemgetter(0), numbered)), np.int64, len(rows))
    indexes = _numbers(chain.from_iterable(map(itemgetter(0), numbered)))
    numbers = _numbers(chain.from_iterable(map(itemgetter(1), numbered)))
    return _packed(field, counts, indexes, numbers, valid)


def _numbers(values: Iterable[Any]) -> Matrix:
    """`values` as an array, of objects where they are not all numbers."""
    given = list(values)
    try:
        return np.array(given)
    except ValueError:  # lists among them
        return np.fromiter(given, np.dtype(object), len(given))


def _pairs_of_row(field: Field, row: Any, number: int) -> tuple[Any, Any]:
    """The indexes and the values of a row, in whatever form it came; none where there is no row."""
    if row is None:
        return (), ()
    if isinstance(row, Mapping):
        if row.keys() == {"indices", "values"}:
            indexes, values = (np.atleast_1d(np.asarray(row[name], object)) for name in ("indices", "values"))
            if len(indexes) != len(values):
                raise _mismatch(field, row, number)
            return indexes.tolist(), values.tolist()
        return row.keys(), row.values()
    if isinstance(row, _BYTES) and len(row) % PAIR_BYTES == 0:
        pairs = np.frombuffer(row, PAIR)
        return pairs["index"].tolist(), pairs["value"].tolist()
    if hasattr(row, "tocsr"):
        csr = row.tocsr()
        if csr.ndim == 2 and csr.shape[0] != 1:
            raise _mismatch(field, csr.shape, number, "a matrix of shape")
        return csr.indices.tolist(), csr.data.tolist()
    try:
        return list(map(itemgetter(0), row)), list(map(itemgetter(1), row))
    except (TypeError, IndexError, KeyError):
        raise _mismatch(field, row, number) from None


def _of_matrix(field: Field, matrix: Any) -> pa.Array:
    counts = np.diff(matrix.indptr).astype(np.int64)
    return _packed(field, counts, matrix.indices, matrix.data, np.ones(len(counts), np.bool_))


def _packed(field: Field, counts: npt.NDArray[np.int64], indexes: Matrix, numbers: Matrix, valid: Valid) -> pa.Array:
    """The rows that have so many pairs each, sorted and checked."""
    row_of = np.repeat(np.arange(len(counts)), counts)
    for what, given, kinds in (("index", indexes, "iu"), ("value", numbers, "fiu")):
        if len(given) and (given.dtype.kind not in kinds or given.ndim != 1):
            wrong = _first_wrong(given, kinds)
            raise _mismatch(field, given.tolist()[wrong], int(row_of[wrong]), what)
    outside = (indexes < 0) | (indexes > MAX_INDEX)
    if outside.any():
        raise _bad_index(field, int(row_of[np.argmax(outside)]))
    order = np.lexsort((indexes, row_of))
    pairs = np.empty(len(indexes), PAIR)
    pairs["index"] = indexes[order]
    with np.errstate(over="ignore"):
        pairs["value"] = numbers[order]
    ends = offsets_of(counts) * PAIR_BYTES
    validity = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = [validity, pa.py_buffer(ends), pa.py_buffer(pairs.view(np.uint8))]
    return _checked(field, pa.Array.from_buffers(pa.large_binary(), len(counts), buffers))


def _first_wrong(given: Matrix, kinds: str) -> int:
    wanted = (int, np.integer) if kinds == "iu" else (int, float, np.integer, np.floating)
    values = enumerate(given.tolist())
    return next((at for at, value in values if isinstance(value, bool) or not isinstance(value, wanted)), 0)


def _checked(field: Field, column: pa.Array) -> pa.Array:
    """`column` if every row of it is a sparse vector as stored."""
    if column.null_count:  # whatever stands beneath nulls
        rows = column.drop_null()
        numbers = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    else:
        rows, numbers = column, np.arange(len(column))
    if not len(rows):
        return column
    ends = np.frombuffer(rows.buffers()[1], np.int64, len(rows) + 1, 8 * rows.offset)
    lengths = ends[1:] - ends[:-1]
    broken = lengths % PAIR_BYTES != 0
    if broken.any():
        at = int(np.argmax(broken))
        raise SchemaMismatch(
            f'invalid data length in sparse float vector: {lengths[at]}: field "{field.name}", row {numbers[at]}. Send '
            "pairs of an index and a value, 4 bytes each."
        )
    bounds = pair_bounds(rows)
    words = pairs_of(rows)[2 * bounds[0] : 2 * bounds[-1]]
    indexes, values = words[::2], words.view(np.float32)[1::2]
    row_of = np.repeat(np.arange(len(rows)), np.diff(bounds))
    if (indexes > MAX_INDEX).any():
        raise _bad_index(field, int(numbers[row_of[np.argmax(indexes > MAX_INDEX)]]))
    unsorted = (indexes[1:] <= indexes[:-1]) & (row_of[1:] == row_of[:-1])
    if unsorted.any():
        at = int(np.argmax(unsorted)) + 1
        raise SchemaMismatch(
            f'unsorted or same indices in sparse float vector: field "{field.name}" has index {indexes[at]} behind '
            f"{indexes[at - 1]} in row {numbers[row_of[at]]}. Send each index once."
        )
    if not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        raise _not_finite(field, values[at], int(numbers[row_of[at]]))
    if (values < 0).any():
        at = int(np.argmax(values < 0))
        raise SchemaMismatch(
            f'negative value in sparse float vector: field "{field.name}" has {values[at]:g} in row '
            f"{numbers[row_of[at]]}. Send values that are not negative."
        )
    return column


# --- what is wrong ---------------------------------------------------------------------------------------------------

_WANTED = {
    DataType.FLOAT_VECTOR: "Send {dim} numbers a row.",
    DataType.FLOAT16_VECTOR: "Send {dim} numbers a row, or their {bytes} bytes.",
    DataType.BFLOAT16_VECTOR: "Send {dim} numbers a row, or their {bytes} bytes.",
    DataType.INT8_VECTOR: "Send {dim} whole numbers from -128 to 127 a row.",
    DataType.BINARY_VECTOR: "Send {bytes} bytes a row, eight bits each.",
    DataType.SPARSE_FLOAT_VECTOR: "Send a dict from index to value for each row.",
}


def advice(field: Field) -> str:
    """What rows of a vector field are to be."""
    size = _row_bytes(field) if field.is_dense else 0
    return _WANTED[field.dtype].format(dim=field.dim, bytes=size)


def _mismatch(field: Field, value: Any, row: int, what: str = "") -> SchemaMismatch:
    text = str(value) if isinstance(value, (np.dtype, pa.DataType)) else repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return SchemaMismatch(
        f'field "{field.name}" holds {TYPE_NAMES[field.dtype]}; got {what and what + " "}{text} in row {row}. '
        f"{advice(field)}"
    )


def _missing(field: Field, row: int) -> SchemaMismatch:
    return SchemaMismatch(
        f'field "{field.name}" holds {TYPE_NAMES[field.dtype]}; row {row} has none, or a part of one. {advice(field)}'
    )


def _not_finite(field: Field, value: Any, row: int) -> SchemaMismatch:
    got = value.item() if isinstance(value, np.generic) else value
    return SchemaMismatch(
        f'field "{field.name}" holds {TYPE_NAMES[field.dtype]}; got {got!r} in row {row}: it is not a number or '
        "infinity in this type. Send finite numbers."
    )


def _bad_index(field: Field, row: int) -> SchemaMismatch:
    return SchemaMismatch(
        f'invalid index in sparse float vector: must be less than 2^32-1: field "{field.name}", row {row}. Send '
        f"indexes from 0 to {MAX_INDEX}."
    )


_UNIT = {
    DataType.FLOAT16_VECTOR: "float16 data should divide the dim",
    DataType.BFLOAT16_VECTOR: "bfloat data should divide the dim",
    DataType.INT8_VECTOR: "int8 data should divide the dim",
}


def _wrong_width(field: Field, got: int, row: int) -> SchemaMismatch:
    if field.dtype is DataType.BINARY_VECTOR:
        said = f"the num({8 * got}) of all bits should divide the dim({field.dim})"
    else:
        said = f"the length({got}) of {_UNIT.get(field.dtype, 'float data should divide the dim')}({field.dim})"
    return SchemaMismatch(
        f'{said}: vector dimension mismatch: field "{field.name}" has dim {field.dim}; got another in row {row}. '
        f"{advice(field)}"
    )
