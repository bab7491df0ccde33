"""One column: from what a user gives to the values a field is held in, checked.

A column is a list of Python values, a numpy array or an Arrow array. `convert` makes of it what a canonical batch
holds, in which nulls stand only where the field is nullable and has no default. It refuses what does not fit instead of
bending it: no text for numbers, no fractions for integers, no truth values for either, no NaN or infinity, nothing too
long. An error names the field, the value and the first row that is wrong.

Where the memory already fits (contiguous numpy of the right dtype, Arrow of the right type) the result shares it.

JSON: Python values are encoded, a `str` as a JSON string. `bytes` and Arrow binary are taken as JSON text that is
encoded already, and are checked. Arrow's `json` extension is text too. NaN inside a JSON value becomes null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from operator import is_
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model import vector_columns
from elanus.model.arrays import array_column
from elanus.model.canonical import Values
from elanus.model.errors import SchemaMismatch
from elanus.model.geometry_column import geometry_column
from elanus.model.schema import MAX_JSON_BYTES, MAX_TEXT_BYTES, MAX_VECTOR_SQUARE, Field
from elanus.model.time_column import moments
from elanus.model.timezones import UTC, Zone
from elanus.model.types import FLOATS, INTEGERS, NUMPY_OF, TYPE_NAMES, DataType

Column = Any
"""A list of Python values, a numpy array, or an Arrow array."""

_WANTED: dict[DataType, tuple[type, ...]] = {
    DataType.BOOL: (bool, np.bool_),
    **dict.fromkeys(INTEGERS, (int, np.integer)),
    **dict.fromkeys(FLOATS, (float, int, np.floating, np.integer)),
    DataType.VARCHAR: (str,),
    DataType.TEXT: (str,),
}

_ADVICE: dict[DataType, str] = {
    DataType.BOOL: "Send True or False.",
    **dict.fromkeys(INTEGERS, "Send an integer."),
    **dict.fromkeys(FLOATS, "Send a number."),
    DataType.VARCHAR: "Send a string.",
    DataType.TEXT: "Send a string.",
}

_encode: Callable[[Any], bytes] = partial(orjson.dumps, option=orjson.OPT_SERIALIZE_NUMPY)


def convert(field: Field, values: Column, zone: Zone = UTC) -> Values:
    """`values` as a canonical batch holds them; times without an offset are those of clocks of `zone`.

    Raises `SchemaMismatch` for the first row that does not fit.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if field.dtype is DataType.SPARSE_FLOAT_VECTOR:
        return _resolve_nulls(field, vector_columns.sparse(field, values))
    if isinstance(values, pa.Array):
        values = _plain_arrow(values)
    elif isinstance(values, np.ma.MaskedArray) or (isinstance(values, np.ndarray) and values.dtype.kind in "OUST"):
        values = values.tolist()
    elif isinstance(values, np.ndarray):
        wide = field.is_vector or field.dtype is DataType.ARRAY
        if values.ndim != (2 if wide else 1):
            shape = "(rows, dim)" if wide else "(rows,)"
            raise SchemaMismatch(f'field "{field.name}" takes an array of shape {shape}; got {values.shape}')
        if not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
    elif not isinstance(values, list):
        values = list(values)
    if field.dtype is DataType.TIMESTAMPTZ:
        converted = moments(field, values, zone)
        return converted if isinstance(converted, np.ndarray) else _resolve_nulls(field, converted)
    converter = _CONVERTERS[field.dtype]
    if field.nullable and field.is_dense:
        return vector_columns.with_nulls(field, values, converter)
    converted = converter(field, values)
    return converted if isinstance(converted, np.ndarray) else _resolve_nulls(field, converted)


def json_array(values: list[Any]) -> pa.Array:
    """Python values, already known to be encodable, as JSON text (large_binary)."""
    return pa.array(list(map(_encode, values)), pa.large_binary())


def check_json_length(name: str, texts: pa.Array) -> None:
    """Raise `SchemaMismatch` where a JSON text is longer than 65,536 bytes."""
    _check_length(name, "JSON", texts, MAX_JSON_BYTES)


def shown(value: Any) -> str:
    """A value as an error message quotes it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- shared steps ----------------------------------------------------------------------------------------------------


def _plain_arrow(values: pa.Array) -> pa.Array:
    """Without extension, dictionary and view types, which say how values are kept and not what they are."""
    if isinstance(values, pa.ExtensionArray) and not _is_json(values.type):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.large_string())
    return values


def _is_json(arrow_type: pa.DataType) -> bool:
    return isinstance(arrow_type, pa.BaseExtensionType) and arrow_type.extension_name == "arrow.json"


def _resolve_nulls(field: Field, array: pa.Array) -> pa.Array:
    if not array.null_count:
        return array
    if field.default is not None:
        return array.fill_null(pa.scalar(field.held_default, field.arrow_type))
    if field.nullable:
        return array
    row = pc.index(array.is_null(), True).as_py()
    raise SchemaMismatch(
        f'field "{field.name}" is not nullable and has no default; row {row} has no value for it. Send one.'
    )


def _mismatch(field: Field, value: Any, row: int, advice: str = "") -> SchemaMismatch:
    return SchemaMismatch(
        f'field "{field.name}" holds {TYPE_NAMES[field.dtype]}; got {shown(value)} in row {row}. '
        f"{advice or _ADVICE[field.dtype]}"
    )


def _first(rows: Iterable[bool]) -> int:
    """The first row for which something holds; only for wording an error."""
    return next(row for row, wrong in enumerate(rows) if wrong)


def _check_types(field: Field, values: list[Any]) -> bool:
    """Raise unless every value is of a type the field takes, or None. Returns whether there is a None."""
    kinds = set(map(type, values))
    with_nulls = type(None) in kinds
    wanted = _WANTED[field.dtype]
    wrong = {
        kind
        for kind in kinds
        if kind is not type(None) and not (issubclass(kind, wanted) and (kind is not bool or bool in wanted))
    }
    if wrong:
        row = _first(type(value) in wrong for value in values)
        raise _mismatch(field, values[row], row)
    return with_nulls


def _wrong_arrow(field: Field, values: pa.Array) -> SchemaMismatch:
    return SchemaMismatch(
        f'field "{field.name}" holds {TYPE_NAMES[field.dtype]}; got an Arrow column of {values.type}. '
        f"{_ADVICE.get(field.dtype, '')}"
    )


def _check_length(name: str, what: str, texts: pa.Array, most: int) -> None:
    if not len(texts):
        return
    offsets = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, texts.offset * 8)
    if offsets[-1] - offsets[0] <= most:
        return  # all of them together are short enough: the usual case of a single row
    lengths = np.diff(offsets)
    if lengths.max() > most:
        row = int(np.argmax(lengths > most))
        raise SchemaMismatch(
            f"length of {what} field {name} exceeds max length, row number: {row}, length: {lengths[row]}, "
            f"max length: {most}. Lengths count bytes of UTF-8; send a shorter value."
        )


# --- numbers ---------------------------------------------------------------------------------------------------------


def _bools(field: Field, values: Column) -> Values:
    if isinstance(values, list):
        with_nulls = _check_types(field, values)
        return pa.array(values, pa.bool_()) if with_nulls else np.array(values, np.bool_)
    if isinstance(values, np.ndarray):
        if values.dtype.kind != "b":
            raise _mismatch(field, values[0].item() if len(values) else values.dtype, 0)
        return np.ascontiguousarray(values)
    if not pa.types.is_boolean(values.type) and not pa.types.is_null(values.type):
        raise _wrong_arrow(field, values)
    return values.cast(pa.bool_())


def _integers(field: Field, values: Column) -> Values:
    if isinstance(values, pa.Array):
        if not pa.types.is_integer(values.type) and not pa.types.is_null(values.type):
            raise _wrong_arrow(field, values)
    elif isinstance(values, list):
        if not _check_types(field, values):
            numbers = np.array(values) if values else np.empty(0, np.int64)
            if numbers.dtype.kind in "iu":  # not where some are beyond 64 bits, or of several types
                return _fitting(field, values, numbers)
    elif values.dtype.kind in "iu":
        return _fitting(field, values, values)
    else:
        raise _mismatch(field, values[0].item() if len(values) else values.dtype, 0)
    try:
        return values.cast(field.arrow_type) if isinstance(values, pa.Array) else pa.array(values, field.arrow_type)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise _out_of_range(field, values) from error


def _fitting(field: Field, values: Column, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`numbers`, which numpy made of `values`, in the field's own dtype."""
    dtype = NUMPY_OF[field.dtype]
    if len(numbers) and not np.can_cast(numbers.dtype, dtype):
        range_of = np.iinfo(dtype)
        if int(numbers.min()) < range_of.min or int(numbers.max()) > range_of.max:
            raise _out_of_range(field, values)
    return np.ascontiguousarray(numbers, dtype)


def _out_of_range(field: Field, values: Column) -> SchemaMismatch:
    bound = 1 << (NUMPY_OF[field.dtype].itemsize * 8 - 1)
    numbers = values.to_pylist() if isinstance(values, pa.Array) else values
    row = _first(value is not None and not -bound <= int(value) < bound for value in numbers)
    return SchemaMismatch(
        f'field "{field.name}" holds {TYPE_NAMES[field.dtype]}, [{-bound}, {bound - 1}]; got {int(numbers[row])} in '
        f"row {row}: out of range. Send a smaller number, or declare a wider type."
    )


def _floats(field: Field, values: Column) -> Values:
    dtype = NUMPY_OF[field.dtype]
    missing: npt.NDArray[np.bool_] | None = None
    if isinstance(values, pa.Array):
        if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_null(values.type)):
            raise _wrong_arrow(field, values)
        if values.null_count:
            missing = values.is_null().to_numpy(zero_copy_only=False)
            values = values.fill_null(0) if not pa.types.is_null(values.type) else pa.array(np.zeros(len(values)))
        values = values.to_numpy(zero_copy_only=False)
    elif isinstance(values, list):
        if _check_types(field, values):
            missing = np.fromiter(map(is_, values, repeat(None)), np.bool_, len(values))
    elif values.dtype.kind not in "fiu":
        raise _mismatch(field, values[0].item() if len(values) else values.dtype, 0)
    try:
        with np.errstate(over="ignore"):
            numbers = np.asarray(values, dtype)
    except OverflowError as error:
        row = _first(isinstance(value, int) and abs(value) > 1 << 1023 for value in values)
        raise _not_finite(field, values[row], row) from error
    finite = np.isfinite(numbers)
    if missing is not None:
        finite |= missing
    if not finite.all():
        row = int(np.argmin(finite))
        raise _not_finite(field, values[row], row)
    return np.ascontiguousarray(numbers) if missing is None else pa.array(numbers, mask=missing)


def _not_finite(field: Field, value: Any, row: int) -> SchemaMismatch:
    got = value.item() if isinstance(value, np.generic) else value
    return SchemaMismatch(
        f'field "{field.name}" holds {TYPE_NAMES[field.dtype]}; got {shown(got)} in row {row}: '
        "it is not a number or infinity in this type. Send finite numbers."
    )


# --- text and JSON ---------------------------------------------------------------------------------------------------


def _strings(field: Field, values: Column) -> pa.Array:
    if isinstance(values, list):
        _check_types(field, values)
        try:
            texts = pa.array(values, pa.large_string())
        except UnicodeEncodeError as error:
            row = _first(value is not None and not _is_utf8(value) for value in values)
            raise _mismatch(field, values[row], row, "It is not valid UTF-8: send whole characters.") from error
    elif isinstance(values, np.ndarray):
        raise _mismatch(field, values[0].item() if len(values) else values.dtype, 0)
    else:
        if not (
            pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_null(values.type)
        ):
            raise _wrong_arrow(field, values)
        texts = values.cast(pa.large_string())
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise SchemaMismatch(
                f'field "{field.name}" holds {TYPE_NAMES[field.dtype]}; the column is not UTF-8: {error}'
            ) from error
    if field.dtype is DataType.TEXT:
        _check_length(field.name, "text", texts, field.max_length or MAX_TEXT_BYTES)
    elif field.max_length is not None:
        _check_length(field.name, "varchar", texts, field.max_length)
    return texts


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json(field: Field, values: Column) -> pa.Array:
    if isinstance(values, pa.Array):
        if _is_json(values.type):
            texts = values.storage.cast(pa.large_binary())
        elif pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            texts = values.cast(pa.large_binary())
        else:
            return _json(field, values.to_pylist())
        _check_encoded(field, texts.to_pylist())
    elif isinstance(values, np.ndarray):
        return _json(field, values.tolist())
    else:
        texts = pa.array(_encoded(field, values), pa.large_binary())
    check_json_length(field.name, texts)
    return texts


def _encoded(field: Field, values: list[Any]) -> list[bytes | None]:
    kinds = set(map(type, values))
    if bytes not in kinds and type(None) not in kinds:
        try:
            return list(map(_encode, values))
        except TypeError as error:
            row = _first(not _is_encodable(value) for value in values)
            raise _mismatch(field, values[row], row, f"It has no JSON form: {error}.") from error
    if kinds <= {bytes, type(None)}:
        _check_encoded(field, values)
        return values
    given = [value for value in values if value is not None]
    _check_encoded(field, [value if isinstance(value, bytes) else None for value in values])
    try:
        made = iter([value if isinstance(value, bytes) else _encode(value) for value in given])
    except TypeError as error:
        row = _first(not isinstance(v, bytes) and not _is_encodable(v) for v in values)
        raise _mismatch(field, values[row], row, f"It has no JSON form: {error}.") from error
    return [None if value is None else next(made) for value in values]


def _is_encodable(value: Any) -> bool:
    try:
        _encode(value)
    except TypeError:
        return False
    return True


def _check_encoded(field: Field, texts: list[bytes | None]) -> None:
    """Raise unless every text that is there is JSON."""
    try:
        for _ in map(orjson.loads, [text for text in texts if text is not None]):
            pass
    except orjson.JSONDecodeError as error:
        row = _first(text is not None and not _is_json_text(text) for text in texts)
        raise _mismatch(field, texts[row], row, f"It is not JSON: {error}.") from error


def _is_json_text(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


# --- vectors ---------------------------------------------------------------------------------------------------------


def _vectors(field: Field, values: Column) -> Values:
    if isinstance(values, pa.Array):
        given = _arrow_vectors(field, values)
    elif isinstance(values, np.ndarray):
        given = values
    else:
        given = _stacked(field, values)
    if given.dtype.kind not in "fiu":
        raise _mismatch(field, given.dtype, 0, f"Send {field.dim} numbers a row.")
    if given.ndim != 2 or given.shape[1] != field.dim:
        raise _wrong_dim(field, given.shape[1] if given.ndim == 2 else 0, 0)
    vectors = given if given.dtype == np.float32 and given.flags.c_contiguous else _single(given)
    # Their square sum is small only if every number is finite and no row is too long: the cheapest pass that says so.
    # `dot` would warn of large ones, and lets go of the interpreter for the shortest, too.
    flat = vectors.reshape(-1)
    if not np.vdot(flat, flat) <= MAX_VECTOR_SQUARE:
        finite = np.isfinite(vectors)
        if not finite.all():
            row = int(np.argmin(finite.all(axis=1)))
            raise _not_finite(field, given[row][np.argmin(finite[row])], row)
        vector_columns.check_lengths(field, vectors)
    return vectors


def _single(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(vectors, np.float32)


def _wrong_dim(field: Field, got: int, row: int) -> SchemaMismatch:
    return SchemaMismatch(
        f"the length({got}) of float data should divide the dim({field.dim}): vector dimension mismatch: "
        f'field "{field.name}" has dim {field.dim}; got {got} numbers in row {row}. '
        f"Send {field.dim}."
    )


def _arrow_vectors(field: Field, values: pa.Array) -> npt.NDArray[Any]:
    kind = values.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise _wrong_arrow(field, values)
    if values.null_count:
        row = pc.index(values.is_null(), True).as_py()
        raise SchemaMismatch(f'field "{field.name}" holds FloatVector; row {row} has none. Send {field.dim} numbers.')
    if pa.types.is_fixed_size_list(kind):
        if kind.list_size != field.dim:
            raise _wrong_dim(field, kind.list_size, 0)
    else:
        lengths = values.value_lengths().to_numpy()
        if (lengths != field.dim).any():
            row = int(np.argmax(lengths != field.dim))
            raise _wrong_dim(field, int(lengths[row]), row)
    flat = values.flatten()
    if flat.null_count:
        row = pc.index(flat.is_null(), True).as_py() // field.dim
        raise SchemaMismatch(f'field "{field.name}" holds FloatVector; a number is missing in row {row}.')
    numbers: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    return numbers.reshape(len(values), field.dim or 0)


def _stacked(field: Field, rows: list[Any]) -> npt.NDArray[Any]:
    """A list of vectors as one array; its dtype is left to numpy, so that text and None are seen for what they are."""
    if not rows:
        return np.empty((0, field.dim or 0), np.float32)
    try:
        stacked = np.asarray(rows)
    except ValueError:
        stacked = np.empty(0, object)
    if stacked.ndim == 2 and stacked.dtype.kind in "fiu":
        return stacked
    for row, vector in enumerate(rows):  # something is wrong: find it
        one = np.asarray(vector) if isinstance(vector, (list, tuple, np.ndarray)) else np.asarray(None)
        if one.ndim != 1 or one.dtype.kind not in "fiu":
            raise _mismatch(field, vector, row, f"Send {field.dim} numbers.")
        if len(one) != field.dim:
            raise _wrong_dim(field, len(one), row)
    return stacked


_CONVERTERS: dict[DataType, Callable[[Field, Column], Values]] = {
    DataType.BOOL: _bools,
    **dict.fromkeys(INTEGERS, _integers),
    **dict.fromkeys(FLOATS, _floats),
    DataType.VARCHAR: _strings,
    DataType.TEXT: _strings,
    DataType.JSON: _json,
    DataType.GEOMETRY: geometry_column,
    DataType.FLOAT_VECTOR: _vectors,
    DataType.FLOAT16_VECTOR: vector_columns.half_floats,
    DataType.BFLOAT16_VECTOR: vector_columns.half_floats,
    DataType.INT8_VECTOR: vector_columns.small_integers,
    DataType.BINARY_VECTOR: vector_columns.bits,
    DataType.ARRAY: partial(array_column, convert=convert),
}
