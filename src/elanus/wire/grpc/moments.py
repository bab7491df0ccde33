"""Columns of Timestamptz on their way out: as texts, or taken apart into numbers.

A table holds them as Arrow's timestamps, whose type names the time zone that they are told in.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pymilvus.grpc_gen import schema_pb2

from elanus.model.errors import InvalidParameter
from elanus.model.instants import PARTS, parts_of, written
from elanus.model.timezones import zone_named


def time_fields_of(text: str) -> tuple[str, ...]:
    """The parts that the parameter `time_fields` names, with commas or spaces between. Raises `InvalidParameter`."""
    names = tuple(text.replace(",", " ").split(" "))
    names = tuple(dict.fromkeys(name.lower() for name in names if name))
    for name in names:
        if name not in PARTS:
            raise InvalidParameter(
                f"unsupported field for extraction: {name}, fields should be seprated by ',' or ' ', and are: "
                f"{', '.join(PARTS)}"
            )
    return names


def write(array: pa.Array, parts: tuple[str, ...], out: schema_pb2.FieldData) -> None:
    """Write moments into `out`, as texts, or where `parts` are named as a list of these for each row."""
    zone = zone_named(array.type.tz)
    micros = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    if not parts:
        out.scalars.string_data.SetInParent()
        out.scalars.string_data.data.extend(written(micros, zone).to_pylist())
        return
    out.type = schema_pb2.Array
    rows = out.scalars.array_data
    rows.element_type = schema_pb2.Int64
    rows.MergeFromString(_lists(parts_of(micros, zone, parts)))


def _lists(numbers: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> bytes:
    """The field `data` of an ArrayArray: for each row of `numbers`, below 2**21, a ScalarField with `long_data`.

    All numbers have the same width, seven bits a byte: all but the last byte have the eighth bit set, also where only
    zeros follow. A year before 0000 is negative and takes all ten bytes.
    """
    width = 3 if numbers.min(initial=0) >= 0 else 10
    size = width * numbers.shape[1]
    head = bytes([_message(schema_pb2.LongArray.DATA_FIELD_NUMBER), size])
    head = bytes([_message(schema_pb2.ScalarField.LONG_DATA_FIELD_NUMBER), len(head) + size]) + head
    head = bytes([_message(schema_pb2.ArrayArray.DATA_FIELD_NUMBER), len(head) + size]) + head
    out = np.empty((len(numbers), len(head) + size), np.uint8)
    out[:, : len(head)] = np.frombuffer(head, np.uint8)
    shifts = np.arange(0, 7 * width, 7).astype(np.uint64)
    more = np.array([0x80] * (width - 1) + [0], np.uint64)
    bits = (numbers.view(np.uint64)[:, :, None] >> shifts) & np.uint64(0x7F) | more
    out[:, len(head) :] = bits.reshape(len(numbers), size)
    return out.tobytes()


def _message(number: int) -> int:
    return number << 3 | 2
