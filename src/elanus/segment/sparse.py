"""A vector column whose file is still being filled: mapped, and read where it was asked for."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.canonical import vectors_of
from elanus.segment.blocks import BLOCK_BYTES, PAYLOAD_OFFSET
from elanus.segment.column import data_offset, open_column
from elanus.segment.view import Rows
from elanus.store.header import HEADER_BYTES
from elanus.store.sparse import SparseFile

TAIL_BYTES = 4096
"""What Arrow writes behind the values of one column, and more."""


class SparseVectors:
    """`column` is mapped; of its vectors those may be read that were fetched. Safe to use from any thread."""

    def __init__(self, file: SparseFile, column: pa.Array, first: int, row_bytes: int) -> None:
        self.column = column
        self._file = file
        self._first = first
        self._row_bytes = row_bytes

    @classmethod
    def open(cls, file: SparseFile, field_id: int) -> Self:
        """Raises `CorruptData` and `StoreError`."""
        size = file.path.stat().st_size
        tail = min(size, TAIL_BYTES + 8 * (size // BLOCK_BYTES + 2))
        file.need(np.array([0]), HEADER_BYTES + PAYLOAD_OFFSET)
        file.need(np.array([size - tail]), tail)
        column = open_column(file.path, field_id)
        first = data_offset(file.path)
        return cls(file, column, first, vectors_of(column).strides[0])

    @property
    def is_whole(self) -> bool:
        return self._file.is_whole

    def present(self) -> npt.NDArray[np.bool_]:
        """What is here now, for `lacks`."""
        return self._file.present()

    def lacks(self, rows: Rows, present: npt.NDArray[np.bool_]) -> bool:
        """Whether the vector of any of `rows` was not here when that was what was `present`."""
        return self._file.lacks(self._first + rows * self._row_bytes, self._row_bytes, present)

    def fetch(self, rows: Rows) -> None:
        """Return when the vectors of `rows` are here. Raises `StoreError`, `Closed`."""
        self._file.need(self._first + rows * self._row_bytes, self._row_bytes)
        self._file.start()  # the rest comes when a first search has been answered

    def fetch_all(self) -> None:
        self._file.need_all()
