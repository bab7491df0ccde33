"""Three-valued truth as Arrow holds it: a bit for true, a validity bit that is off for unknown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.model.bits import Rows, of_arrow, rows_of, trimmed, true_in

Bools = npt.NDArray[np.bool_]


def pack(truth: Bools, known: Bools | None = None) -> pa.BooleanArray:
    """Bit-packed `truth`, unknown where `known` is false."""
    validity = None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))
    values = pa.py_buffer(np.packbits(truth, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(truth), [validity, values])


def true_rows(array: pa.BooleanArray) -> Rows:
    """The rows that are true, rising."""
    return rows_of(true_in(array))


def rows_not(value: bool, array: pa.BooleanArray) -> Rows:
    """The rows that are not `value`: the other, or unknown; rising."""
    values, known = of_arrow(array)
    others = ~values if value else values
    if known is not None:
        others = others | ~known
    return rows_of(trimmed(others, len(array)))


def put(array: pa.BooleanArray, rows: Rows, answers: pa.BooleanArray) -> pa.BooleanArray:
    """`array` with the truth of `rows` as `answers` says."""
    from elanus.model.bit_kernels import put_bits

    values, known = of_arrow(array)
    held, are_known = unpack(answers)
    values = values.copy()
    put_bits(rows, held, values)
    if known is None and not answers.null_count:
        validity = None
    else:
        known = np.full(len(values), 0xFF, np.uint8) if known is None else known.copy()
        put_bits(rows, are_known, known)
        validity = pa.py_buffer(known)
    return pa.Array.from_buffers(pa.bool_(), len(array), [validity, pa.py_buffer(values)])


def unpack(array: pa.BooleanArray) -> tuple[Bools, Bools]:
    """(true, known) of each row, both as bytes; `true` is false where unknown."""
    truth = _bits(array, 1)
    if not array.null_count:
        return truth, np.ones(len(array), np.bool_)
    known = _bits(array, 0)
    return truth & known, known


def _bits(array: pa.BooleanArray, buffer: int) -> Bools:
    packed = np.frombuffer(array.buffers()[buffer], np.uint8)
    bits = np.unpackbits(packed, count=array.offset + len(array), bitorder="little")
    return bits[array.offset :].view(np.bool_)


def everywhere(truth: bool, rows: int) -> pa.BooleanArray:
    values = np.full((rows + 7) // 8, 0xFF if truth else 0, np.uint8)
    return pa.Array.from_buffers(pa.bool_(), rows, [None, pa.py_buffer(values)])


def where_known(truth: bool, column: pa.Array) -> pa.BooleanArray:
    """`truth` in the rows where `column` has a value, unknown in the others."""
    constant = everywhere(truth, len(column))
    return unknown_where_null(constant, column)


def unknown_where_null(result: pa.BooleanArray, column: pa.Array) -> pa.BooleanArray:
    """`result` with the rows unknown where `column` is null."""
    if not column.null_count:
        return result
    return pc.if_else(column.is_valid(), result, pa.scalar(None, pa.bool_()))
