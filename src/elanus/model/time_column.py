"""Columns of Timestamptz: from texts, datetimes and Arrow's timestamps to moments.

What says no offset is what clocks of a time zone show: texts without one, naive datetimes, numpy's datetime64 and
Arrow's timestamps without a zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import repeat
from operator import is_
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model import instants
from elanus.model.errors import SchemaMismatch
from elanus.model.schema import Field
from elanus.model.timezones import Zone

_MILLION = 1_000_000


def moments(field: Field, values: Any, zone: Zone) -> Any:
    """`values`, a list, numpy or Arrow array, as int64 moments, numpy or with nulls. Raises `SchemaMismatch`."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind != "M":
            raise _wrong(field, values[0].item() if len(values) else values.dtype, 0)
        return _of_arrow(field, pa.array(values.astype("M8[us]")), zone)
    if isinstance(values, pa.Array):
        return _of_arrow(field, values, zone)
    return _of_texts(field, _texts(field, values), zone)


def _texts(field: Field, values: Sequence[Any]) -> pa.Array:
    kinds = set(map(type, values)) - {type(None)}
    wrong = {kind for kind in kinds if not issubclass(kind, (str, datetime))}
    if wrong:
        row = next(row for row, value in enumerate(values) if type(value) in wrong)
        raise _wrong(field, values[row], row)
    try:
        if kinds <= {str}:
            return pa.array(values, pa.large_string())
        missing = np.fromiter(map(is_, values, repeat(None)), np.bool_, len(values))
        return pa.array(list(map(str, values)), pa.large_string(), mask=missing)
    except UnicodeEncodeError as error:
        raise SchemaMismatch(f'field "{field.name}" holds Timestamptz; a text is not valid UTF-8: {error}') from error


def _of_arrow(field: Field, values: pa.Array, zone: Zone) -> Any:
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.int64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _of_texts(field, values.cast(pa.large_string()), zone)
    if not pa.types.is_timestamp(kind):
        raise _wrong(field, kind, None)
    try:
        array = values.cast(pa.timestamp("us", kind.tz), safe=kind.unit != "ns").cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise SchemaMismatch(f'field "{field.name}" holds Timestamptz; {error}') from error
    micros = array.fill_null(0).to_numpy(zero_copy_only=False)
    outside = (micros < instants.FIRST) | (micros > instants.LAST)
    if outside.any():
        row = int(np.argmax(outside))
        raise SchemaMismatch(
            f'field "{field.name}" holds Timestamptz, of the years 0000 to 9999; got {micros[row]} µs in row {row}'
        )
    if kind.tz is None:
        seconds = micros // _MILLION
        micros = zone.moment_of(seconds) * _MILLION + (micros - seconds * _MILLION)
    return _with_nulls(micros, array)


def _of_texts(field: Field, texts: pa.Array, zone: Zone) -> Any:
    micros, kinds = instants.read(texts, zone)
    wrong = instants.is_wrong(kinds)
    if texts.null_count:
        wrong &= texts.is_valid().to_numpy(zero_copy_only=False)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise SchemaMismatch(
            f"got invalid timestamptz string '{texts[row].as_py()}': invalid timezone name; must be a valid IANA Time "
            f"Zone ID (e.g., 'Asia/Shanghai' or 'UTC'), or it is no time as in 2025-01-31T10:00:00+08:00 (field "
            f"{field.name}, row {row})"
        )
    return _with_nulls(micros, texts)


def _with_nulls(micros: npt.NDArray[np.int64], given: pa.Array) -> Any:
    if not given.null_count:
        return micros
    return pa.array(micros, mask=given.is_null().to_numpy(zero_copy_only=False))


def _wrong(field: Field, value: Any, row: int | None) -> SchemaMismatch:
    place = "" if row is None else f" in row {row}"
    return SchemaMismatch(
        f'timestamptz field data must be a string array: field "{field.name}" holds Timestamptz; got '
        f"{repr(value)[:60]}{place}. Send texts as 2025-01-31T10:00:00+08:00, or datetimes."
    )
