"""What an index of a JSON path is built of: the values there that are of its cast type; and where there are any at all.

A cast changes no value: a row whose value is of another type is not in the index, and null in what it answers. Beside
the kind's own sections an index of a path has

    present    (n + 7) // 8 uint8: the rows that have something at the path, one bit a row, to answer `exists`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr import json_path
from elanus.expr.json_arrays import BLOCK_ROWS
from elanus.expr.json_path import Documents, Extraction, Kind
from elanus.expr.typed import IsNull, JsonPath, Predicate
from elanus.model.arrays import listed
from elanus.model.layout import offsets_of
from elanus.scalar.exact import column_of
from elanus.scalar.registry import JSON_CAST_TYPE
from elanus.scalar.sections import ScalarIndex, Source

PRESENT = "present"

Bits = npt.NDArray[np.uint8]
Truths = npt.NDArray[np.bool_]


WHOLE = "JSON"
"""All that lies below the path: see `documents`."""

SCALARS = ("BOOL", "DOUBLE", "VARCHAR")
_ARRAY_OF = "ARRAY_"


def is_array(params: Mapping[str, Any]) -> bool:
    """Whether the index is of the elements of arrays."""
    return str(params.get(JSON_CAST_TYPE, "")).startswith(_ARRAY_OF)


def at_path(column: pa.Array, steps: json_path.Path, params: Mapping[str, Any]) -> tuple[pa.Array, Bits]:
    """(the values of the cast type at a path of a JSON column, of ARRAY types lists of them, null where there is none;
    the bits of the rows that have something there).
    """
    found = json_path.extract(column, steps)
    present = np.packbits(found.kinds > Kind.NULL, bitorder="little")
    cast = str(params[JSON_CAST_TYPE])
    if not is_array(params):
        return values_of(found, cast), present
    texts = json_path.documents(column)
    return lists_of(texts, steps, cast.removeprefix(_ARRAY_OF), found.kinds == Kind.ARRAY), present


def are_of(found: Extraction, cast: str) -> Truths:
    """Which of the values are of a scalar cast type."""
    if cast == "DOUBLE":
        chosen: Truths = (found.kinds == Kind.INT) | (found.kinds == Kind.DOUBLE)
    else:
        chosen = found.kinds == (Kind.STRING if cast == "VARCHAR" else Kind.BOOL)
    return chosen


def values_of(found: Extraction, cast: str) -> pa.Array:
    """The values of a scalar cast type, null in place of the others."""
    if cast == "VARCHAR":
        return found.strings
    others = ~are_of(found, cast)
    if cast == "BOOL":
        return pa.array(found.ints == 1, mask=others)
    return column_of(found.ints, found.doubles, found.kinds == Kind.INT, others)


def lists_of(texts: Documents, steps: json_path.Path, cast: str, known: Truths) -> pa.Array:
    """The elements of a scalar cast type of the arrays at a path; null for texts that are not `known` to have one."""
    counts: list[npt.NDArray[np.int64]] = []
    blocks: list[tuple[Any, ...]] = []
    for begin in range(0, len(known), BLOCK_ROWS):
        block = slice(begin, begin + BLOCK_ROWS)
        offsets, found, _ = json_path.elements_at(texts.rows(block), steps)
        chosen = are_of(found, cast) & np.repeat(known[block], np.diff(offsets))
        counts.append(np.diff(offsets_of(chosen)[offsets]))
        numbers = [part[chosen] for part in (found.kinds, found.ints, found.doubles)]
        strings = found.strings.filter(pa.array(chosen)) if cast == "VARCHAR" else pa.nulls(0, pa.large_string())
        blocks.append((*numbers, strings))
    *parts, texts_of = zip(*blocks, strict=True)
    kinds, ints, doubles = map(np.concatenate, parts)
    elements = json_path.extracted(kinds, ints, doubles, pa.concat_arrays(texts_of))
    return listed(offsets_of(np.concatenate(counts)), values_of(elements, cast), known)


class AtPath:
    """An index of a JSON path, which also says where there is something at the path."""

    def __init__(self, index: ScalarIndex, present: Bits, source: Source) -> None:
        self._index = index
        self._present = present
        self._source = source

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        if not isinstance(node, IsNull):
            return self._index.answer(node)
        operand, source = node.operand, self._source
        if not isinstance(operand, JsonPath) or (operand.field.id, operand.steps) != (source.field_id, source.steps):
            return None
        bits = self._present if node.negated else ~self._present
        return pa.Array.from_buffers(pa.bool_(), source.rows, [None, pa.py_buffer(bits)])
