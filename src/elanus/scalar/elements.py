"""Sorted elements: which rows of a column of arrays hold each value, for `array_contains` and its kin.

Of arrays at a JSON path those elements are there that are of the cast type, and it is asked for such alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from elanus.expr.arrays import Contains
from elanus.expr.json_arrays import ContainsJson
from elanus.expr.typed import Predicate
from elanus.scalar import asked
from elanus.scalar.asked import Class
from elanus.scalar.exact import pair
from elanus.scalar.sorted import Bits, Numbers, SortedValues


class Elements(SortedValues):
    """See `sorted`. A row holds a value once, however often its array has it."""

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        source = self._source
        if isinstance(node, Contains) and not source.is_json and node.column.field.id == source.field_id:
            return self._with_values(self._numbers_of(node.values), len(node.values), node.all_of_them)
        if isinstance(node, ContainsJson) and source.is_json:
            path, listed = node.path, node.wanted.values
            if (path.field.id, path.steps) == (source.field_id, source.steps) and listed:
                numbers = self._numbers_wanted(listed)
                return None if numbers is None else self._with_values(numbers, len(listed), node.all_of_them)
        return None

    def _numbers_wanted(self, listed: Sequence[Any]) -> Numbers | None:
        """The numbers of those values that are among `listed`; None where some of these are of another type."""
        if any(isinstance(value, tuple) or asked.class_of(value) is not self._class for value in listed):
            return None
        if self._class is Class.STRING:
            return self._numbers_of(pa.array(listed, pa.large_string()))
        if self._pairs:
            return self._numbers_among(np.array([pair(number) for number in listed]))
        return self._numbers_among(np.array([float(number) for number in listed if float(number) == number]))

    def _with_values(self, numbers: Numbers, count: int, all_of_them: bool) -> pa.BooleanArray:
        """The rows that hold one of the values with these numbers, or all `count`, of which the others are nowhere."""
        if all_of_them:
            return self._truth(self._with_all(numbers) if len(numbers) == count else self._none())
        chosen = asked.spans_of(numbers)
        return self._truth(self._joined(chosen) if self._bitmaps is not None else self._set(chosen))

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
