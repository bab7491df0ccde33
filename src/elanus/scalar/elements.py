"""Sorted elements: which rows of a column of arrays hold each value, for `array_contains` and its kin."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from elanus.expr.arrays import Contains
from elanus.expr.typed import Predicate
from elanus.scalar import asked
from elanus.scalar.sorted import Bits, Numbers, SortedValues


class Elements(SortedValues):
    """See `sorted`. A row holds a value once, however often its array has it."""

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        if not isinstance(node, Contains) or node.column.field.id != self._source.field_id:
            return None
        numbers = self._numbers_of(node.values)
        if node.all_of_them:
            return self._truth(self._with_all(numbers) if len(numbers) == len(node.values) else self._none())
        chosen = asked.spans_of(numbers)
        return self._truth(self._joined(chosen) if self._bitmaps is not None else self._set(chosen, self._held(chosen)))

    def _none(self) -> Bits:
        return np.zeros((self._rows + 7) // 8, np.uint8)

    def _with_all(self, numbers: Numbers) -> Bits:
        """The rows that hold each of the values with these numbers, of which there is at least one."""
        if self._bitmaps is not None:
            held: Bits = np.bitwise_and.reduce(self._bitmaps[numbers], axis=0)
            return held
        assert self._places is not None
        begins, ends = self._offsets[numbers], self._offsets[numbers + 1]
        chosen = np.argsort(ends - begins)
        rows = self._places[begins[chosen[0]] : ends[chosen[0]]]
        for i in chosen[1:].tolist():
            if not len(rows):
                break
            rows = np.intersect1d(rows, self._places[begins[i] : ends[i]], assume_unique=True)
        truth = np.zeros(self._rows, np.bool_)
        truth[rows] = True
        return np.packbits(truth, bitorder="little")
