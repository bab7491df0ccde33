"""What an index file holds, whoever writes and maps it, and what an opened one can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr.json_path import Path
from elanus.expr.typed import Predicate

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sections:
    """`meta` is JSON-ready; `arrays` are of any dtype and shape, read-only and mapped where they come from a file."""

    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Source:
    """What an index was built of: a field, or what lies at the path `steps` of a JSON one, in a segment of `rows`; or
    the elements of a field of arrays.

    `column` gives the field's own column, for candidates that have to be looked at.
    """

    field_id: int
    is_json: bool
    steps: Path
    rows: int
    is_array: bool
    column: Callable[[], pa.Array]


class ScalarIndex(Protocol):
    """An opened index file. Any thread may ask at any time."""

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        """`node` for every row of the segment, as a scan would say it; None where it cannot tell or a scan is quicker.

        It is asked about every predicate that reads its field, and has to see itself whether that reads nothing else.
        """
        ...


class ScalarKind(Protocol):
    """A module of this package."""

    def build(self, column: pa.Array, params: Mapping[str, Any]) -> Sections:
        """The index of `column`, with a row at least: of a JSON path values of the cast type, of arrays lists."""
        ...

    def open_index(self, sections: Sections, source: Source) -> ScalarIndex: ...


def bits_of(column: pa.Array) -> npt.NDArray[np.uint8]:
    """Where `column` is not null, one bit a row, least significant bit first."""
    return np.packbits(column.is_valid().to_numpy(zero_copy_only=False), bitorder="little")


def strings_to(arrays: dict[str, Array], name: str, values: pa.Array) -> None:
    """Add the strings `values`, without nulls, to `arrays`."""
    values = values.cast(pa.large_binary()) if values.type != pa.large_binary() else values
    values = pa.concat_arrays([values])  # from place 0 on
    _, offsets, data = values.buffers()
    count = len(values)
    ends = np.frombuffer(offsets, np.int64)[: count + 1] if count else np.zeros(1, np.int64)
    arrays[f"{name}.offsets"] = ends
    size = int(ends[-1])
    arrays[f"{name}.data"] = np.frombuffer(data, np.uint8)[:size] if size else np.empty(0, np.uint8)


def strings_from(arrays: Mapping[str, Array], name: str) -> pa.LargeBinaryArray:
    """What `strings_to` added, without a copy."""
    offsets, data = arrays[f"{name}.offsets"], arrays[f"{name}.data"]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
