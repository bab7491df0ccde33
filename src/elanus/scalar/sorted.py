"""Sorted values: the distinct values of a column in order, and for each the rows that hold it.

It serves INVERTED, BITMAP, STL_SORT, Trie and AUTOINDEX: equality, lists, ranges and prefixes are binary searches among
the values, other patterns are tried on each distinct value. Of arrays the values are the elements, and a row holds
several (`elements`). Sections, of a column of n rows and d distinct values:

    values                   (d,) numbers, booleans as uint8, pairs as complex128 (`exact`), rising; of strings
    values.offsets, .data    their UTF-8 end to end, rising by bytes, which is the order of code points
    offsets                  (d + 1,) uint32: value i stands in offsets[i + 1] - offsets[i] rows
    rows                     uint32, the rows of value 0, rising, then those of value 1 …; where d is small instead
    bitmaps                  (d, (n + 7) // 8) uint8: for each value its rows, one bit a row
    valid                    (n + 7) // 8 uint8: the rows that are not null; not there where all are not

How many rows a predicate is true for is known from `offsets` before any bit is set: where they are many, the bits of
the others are cleared instead, and where both are many a scan is quicker.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr.numbers import distinct
from elanus.expr.typed import Compare, CompareJson, Junction, Like, Member, MemberJson, Predicate
from elanus.scalar import asked
from elanus.scalar.asked import Class, Spans, spans
from elanus.scalar.exact import keys_of, pair, rests_of
from elanus.scalar.sections import Array, ScalarIndex, Sections, Source, bits_of, strings_from, strings_to

Bits = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

MOST_BITMAPS = 100
"""Of so many distinct values a bitmap each is kept, as Milvus draws the line: at most 12.5 bytes a row."""

SET_BIT_NS = 1.0
"""One row's bit set, at the place that its number says. Measured on a million rows, as are the others."""

EVERY_ROW_NS = 0.01
"""What all rows cost together with it: room for their bits."""

BITMAP_ROW_NS = 0.015
"""One row of one bitmap joined to the others."""

FEW_VALUES = 2
"""A pattern is tried on the distinct values where they are so many times fewer than the rows."""


def build(column: pa.Array, params: Mapping[str, Any]) -> Sections:
    arrays: dict[str, Array] = {}
    rows = len(column)
    holders = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)).astype(np.uint32)
    if len(holders) < rows:
        arrays["valid"] = bits_of(column)
        column = column.drop_null()
    if pa.types.is_large_list(column.type):
        holders = np.repeat(holders, np.diff(column.offsets.to_numpy()))
        column = column.flatten()
    count, codes = _add_values(arrays, column)
    order = np.argsort(codes, kind="stable")
    codes, holders = codes[order], holders[order]
    first = np.ones(len(codes), np.bool_)
    first[1:] = (codes[1:] != codes[:-1]) | (holders[1:] != holders[:-1])
    codes, holders = codes[first], holders[first]
    ends = np.cumsum(np.bincount(codes, minlength=count))
    arrays["offsets"] = np.concatenate([[0], ends]).astype(np.uint32)
    if count > MOST_BITMAPS:
        arrays["rows"] = holders
        return Sections({}, arrays)
    bitmaps = arrays["bitmaps"] = np.empty((count, (rows + 7) // 8), np.uint8)
    for number, of_value in enumerate(np.split(holders, ends[:-1]) if count else ()):
        held = np.zeros(rows, np.bool_)
        held[of_value] = True
        bitmaps[number] = np.packbits(held, bitorder="little")
    return Sections({}, arrays)


def _add_values(arrays: dict[str, Array], column: pa.Array) -> tuple[int, npt.NDArray[np.int64]]:
    """Add the distinct values of `column`, which has no nulls; returns how many, and which of them each row holds."""
    if pa.types.is_large_string(column.type):
        encoded = column.dictionary_encode()
        distinct = encoded.dictionary.cast(pa.large_binary())
        order = pc.array_sort_indices(distinct).to_numpy()
        strings_to(arrays, "values", distinct.take(pa.array(order)))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return len(order), rank[encoded.indices.to_numpy()]
    numbers = keys_of(column)
    values, codes = np.unique(numbers.view(np.uint8) if numbers.dtype == np.bool_ else numbers, return_inverse=True)
    arrays["values"] = values
    return len(values), codes


def open_index(sections: Sections, source: Source) -> ScalarIndex:
    if source.is_array:
        from elanus.scalar.elements import Elements

        return Elements(sections, source)
    return SortedValues(sections, source)


class SortedValues:
    """See the module. Values are known by their numbers."""

    def __init__(self, sections: Sections, source: Source) -> None:
        arrays = sections.arrays
        self._source = source
        self._rows = source.rows
        self._offsets = arrays["offsets"]
        self._count = len(self._offsets) - 1
        self._numbers = arrays.get("values")
        self._strings = strings_from(arrays, "values") if self._numbers is None else None
        self._places = arrays.get("rows")
        self._bitmaps = arrays.get("bitmaps")
        self._valid = arrays.get("valid")
        self._pairs = self._numbers is not None and self._numbers.dtype.kind == "c"
        if self._numbers is None:
            self._class = Class.STRING
        else:
            self._class = Class.BOOL if self._numbers.dtype == np.uint8 else Class.NUMBER

    def answer(self, node: Predicate) -> pa.BooleanArray | None:
        found = self._spans(node) if asked.reads_only(node, self._source) else None
        return None if found is None else self._with(found, node.cost)

    # --- which values ----------------------------------------------------------------------------------------------

    def _spans(self, node: Predicate) -> Spans | None:
        match node:
            case Compare() | CompareJson():
                return self._compared(node)
            case Member() | MemberJson():
                values = asked.values_of(node, self._class)
                if values is not None and self._pairs:
                    return asked.spans_of(self._numbers_among(_pairs_of(node)))
                return None if values is None else self._among(values)
            case Like():
                return self._like(node)
            case Junction(op="and"):
                return asked.intersection([self._spans(term) for term in node.terms])
        return None

    def _compared(self, node: Compare | CompareJson) -> Spans | None:
        comparison = asked.comparison_of(node, self._class)
        if comparison is not None and self._pairs:
            comparison = node.op, pair(node.value)  # type: ignore[arg-type]
        if comparison is None:
            return None
        if isinstance(comparison, bool):
            return spans((0, self._count)) if comparison else spans()
        op, value = comparison
        low = self._first(value)
        high = low + (low < self._count and self._at(low) == value)
        match op:
            case "==":
                return spans((low, high))
            case "!=":
                return spans((0, low), (high, self._count))
            case "<":
                return spans((0, low))
            case "<=":
                return spans((0, high))
            case ">":
                return spans((high, self._count))
            case _:
                return spans((low, self._count))

    def _first(self, value: Any) -> int:
        """The number of the first value that is not below `value`."""
        if self._numbers is None:
            return bisect_left(range(self._count), value, key=self._at)
        return int(np.searchsorted(self._numbers, self._numbers.dtype.type(value)))

    def _at(self, number: int) -> Any:
        if self._strings is not None:
            return self._strings[number].as_py()
        assert self._numbers is not None
        return self._numbers[number]

    def _among(self, values: pa.Array) -> Spans:
        """Spans of those values of the index that are among `values`."""
        return asked.spans_of(self._numbers_of(values))

    def _numbers_of(self, values: pa.Array) -> Numbers:
        """The numbers of those values of the index that are among `values`, rising."""
        if self._strings is None:
            return self._numbers_among(values.to_numpy(zero_copy_only=False))
        if not len(values) or not self._count:
            return np.empty(0, np.int64)
        wanted = values.cast(pa.large_binary())
        places = _first_of_each(self._strings, wanted)
        inside = np.minimum(places, self._count - 1)
        there = pc.equal(self._strings.take(pa.array(inside)), wanted).to_numpy(zero_copy_only=False)
        return distinct(inside[there])

    def _numbers_among(self, listed: Array) -> Numbers:
        """As `_numbers_of`, of numbers as they are sorted."""
        assert self._numbers is not None
        if not len(listed) or not self._count:
            return np.empty(0, np.int64)
        listed = listed.astype(self._numbers.dtype, copy=False)
        inside = np.minimum(np.searchsorted(self._numbers, listed), self._count - 1)
        return distinct(inside[self._numbers[inside] == listed])

    def _like(self, node: Like) -> Spans | None:
        if self._strings is None:
            return None
        prefix = asked.prefix_of(node.pattern)
        if prefix is not None:
            return spans((self._first(prefix), self._after(prefix)))
        whole = asked.whole_of(node.pattern)
        if whole is not None:
            low = self._first(whole)
            return spans((low, low + (low < self._count and self._at(low) == whole)))
        if self._count * FEW_VALUES > self._rows:
            return None
        matching = node.pattern.match(self._strings.cast(pa.large_string())).to_numpy(zero_copy_only=False)
        return asked.spans_of(np.flatnonzero(matching))

    def _after(self, prefix: bytes) -> int:
        """The number of the first value behind all that begin with `prefix`."""
        shortened = prefix.rstrip(b"\xff")
        if not shortened:
            return self._count
        return self._first(shortened[:-1] + bytes([shortened[-1] + 1]))

    # --- which rows ------------------------------------------------------------------------------------------------

    def _with(self, chosen: Spans, scan_ns: float) -> pa.BooleanArray | None:
        """The rows that hold a value of `chosen`, unless a scan at `scan_ns` a row is quicker."""
        known, held = int(self._offsets[-1]), self._held(chosen)
        inverted = held * 2 > known
        if inverted:
            chosen, held = asked.others(chosen, self._count), known - held
        values = int((chosen[:, 1] - chosen[:, 0]).sum())
        if self._bitmaps is not None:
            if values > 1 and BITMAP_ROW_NS * values > scan_ns:
                return None
        elif SET_BIT_NS * held + EVERY_ROW_NS * self._rows > scan_ns * self._rows:
            return None
        bits = self._joined(chosen) if self._bitmaps is not None else self._set(chosen)
        if inverted:
            bits = ~bits if self._valid is None else ~bits & self._valid
        return self._truth(bits)

    def _truth(self, bits: Bits) -> pa.BooleanArray:
        validity = None if self._valid is None else pa.py_buffer(self._valid)
        return pa.Array.from_buffers(pa.bool_(), self._rows, [validity, pa.py_buffer(bits)])

    def _held(self, chosen: Spans) -> int:
        """How many rows hold a value of `chosen`."""
        return int((self._offsets[chosen[:, 1]].astype(np.int64) - self._offsets[chosen[:, 0]]).sum())

    def _joined(self, chosen: Spans) -> Bits:
        assert self._bitmaps is not None
        if len(chosen) == 1 and chosen[0, 1] - chosen[0, 0] == 1:
            only: Bits = self._bitmaps[chosen[0, 0]]
            return only
        bits = np.zeros((self._rows + 7) // 8, np.uint8)
        for begin, end in chosen.tolist():  # at most as many as there are bitmaps
            np.bitwise_or(bits, np.bitwise_or.reduce(self._bitmaps[begin:end], axis=0), out=bits)
        return bits

    def _set(self, chosen: Spans) -> Bits:
        from elanus.model.bit_kernels import set_runs

        assert self._places is not None
        bits = np.zeros((self._rows + 7) // 8, np.uint8)
        set_runs(self._places, self._offsets[chosen[:, 0]], self._offsets[chosen[:, 1]], bits)
        return bits


def _pairs_of(node: Member | MemberJson) -> Array:
    """The numbers of a list as pairs."""
    assert isinstance(node, MemberJson)
    assert node.ints is not None
    assert node.doubles is not None
    ints, doubles = (numbers.to_numpy(zero_copy_only=False) for numbers in (node.ints, node.doubles))
    pairs: Array = np.concatenate([ints + 1j * rests_of(ints), doubles.astype(np.complex128)])
    return pairs


def _first_of_each(sorted_values: pa.Array, wanted: pa.Array) -> Numbers:
    """For each of `wanted` the number of the first of `sorted_values` that is not below it, all searched at once."""
    low = np.zeros(len(wanted), np.int64)
    high = np.full(len(wanted), len(sorted_values), np.int64)
    for _ in range(len(sorted_values).bit_length()):
        middle = np.minimum((low + high) >> 1, len(sorted_values) - 1)
        below = pc.less(sorted_values.take(pa.array(middle)), wanted).to_numpy(zero_copy_only=False) & (low < high)
        low = np.where(below, middle + 1, low)
        high = np.where(below, high, np.minimum(middle, high))
    return low
