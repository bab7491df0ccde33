"""Arrays at paths of JSON: their lengths, and what they contain.

A value of another kind at the path, or none, is unknown. Numbers are equal by value, whichever way they are written;
null and objects equal nothing; lists equal arrays of equal elements in the same order.

Elements are read a block of rows at a time, so that what is made of them stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr import truth
from elanus.expr.binding import Literal
from elanus.expr.constants import MIN_INT64, Moment
from elanus.expr.errors import Refused
from elanus.expr.json_path import Extraction, Kind, documents, elements_at, lengths_at
from elanus.expr.kinds import Type
from elanus.expr.lexer import MAX_INT64
from elanus.expr.typed import (
    LISTED_IN_TEXT,
    Column,
    Derived,
    Function,
    JsonPath,
    Rows,
    shown,
    shown_list,
)

BLOCK_ROWS = 16_384

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class JsonLength(Derived):
    """How many elements the array at a path has."""

    path: JsonPath

    @property
    def type(self) -> Type:
        return Type.INT

    @property
    def nullable(self) -> bool:
        return True

    @property
    def cost(self) -> float:
        return self.path.cost

    def fields(self) -> Iterator[int]:
        return self.path.fields()

    def values(self, rows: Rows) -> pa.Array:
        column = rows.column(Column(self.path.field, Type.JSON))
        lengths = lengths_at(documents(column), self.path.steps)
        missing = lengths < 0
        if column.null_count:
            missing |= column.is_null().to_numpy(zero_copy_only=False)
        return pa.array(lengths, mask=missing)

    def __str__(self) -> str:
        return f"array_length({self.path})"


@dataclass(frozen=True, slots=True)
class ContainsJson(Function):
    """Whether the array at a path has one of the values wanted, or all of them."""

    path: JsonPath
    wanted: Wanted
    all_of_them: bool

    @classmethod
    def of(cls, path: JsonPath, listed: tuple[Literal, ...], all_of_them: bool, position: int) -> ContainsJson:
        """Raises `Refused` for times, and for strings that are no UTF-8."""
        if _has_moment(listed):
            raise Refused("a JSON value is no Timestamptz: look for numbers, strings or booleans", position)
        try:
            return cls(path, Wanted.of(listed), all_of_them)
        except UnicodeEncodeError:
            raise Refused("a string holds half of a surrogate pair, which UTF-8 cannot", position) from None

    @property
    def cost(self) -> float:
        return self.path.cost + 100

    def fields(self) -> Iterator[int]:
        return self.path.fields()

    def truth(self, rows: Rows) -> pa.BooleanArray:
        from elanus.expr import array_kernel  # numba takes 0.35 s and 120 MB to load

        column = rows.column(Column(self.path.field, Type.JSON))
        held, known = np.zeros(len(column), np.bool_), np.empty(len(column), np.bool_)
        whole = documents(column)
        for begin in range(0, len(column), BLOCK_ROWS):
            block = slice(begin, begin + BLOCK_ROWS)
            offsets, elements, known[block] = elements_at(whole.rows(block), self.path.steps)
            codes = self.wanted.codes(elements)
            if self.all_of_them:
                array_kernel.all_in_rows(codes, self.wanted.count, offsets, held[block])
            else:
                array_kernel.any_in_rows(codes >= 0, offsets, held[block])
        if column.null_count:
            known &= column.is_valid().to_numpy(zero_copy_only=False)
        return truth.pack(held, known)

    def __str__(self) -> str:
        how = "all" if self.all_of_them else "any"
        return f"json_contains_{how}({self.path}, {_shown(self.wanted.values)})"


@dataclass(frozen=True)
class Wanted:
    """Values to be found among the elements of arrays. The code of a value is its place among the distinct ones."""

    values: tuple[Literal, ...]

    @classmethod
    def of(cls, listed: Iterable[Literal]) -> Wanted:
        """Raises `UnicodeEncodeError` for a string that is no UTF-8."""
        wanted = cls(tuple({_key(value): value for value in listed}.values()))
        _ = wanted._strings, wanted._lists  # fails here rather than while rows are read
        return wanted

    @property
    def count(self) -> int:
        return len(self.values)

    def codes(self, elements: Extraction) -> Codes:
        """The code of the value that each element equals, -1 where there is none."""
        codes = np.full(len(elements.kinds), -1, np.int64)
        ints, doubles = self._numbers
        if len(ints[0]) or len(doubles[0]):
            is_int, numbers = _whole_numbers(elements)
            _look_up(codes, is_int, numbers, *ints)
            _look_up(codes, (elements.kinds == Kind.DOUBLE) & ~is_int, elements.doubles, *doubles)
        for code, value in self._bools:
            codes[(elements.kinds == Kind.BOOL) & (elements.ints == value)] = code
        texts, text_codes = self._strings
        if len(texts):
            found = pc.index_in(elements.strings, value_set=texts)
            there = found.is_valid().to_numpy(zero_copy_only=False)
            codes[there] = text_codes[found.drop_null().to_numpy()]
        if self._lists is not None:
            self._code_lists(codes, elements)
        return codes

    def _code_lists(self, codes: Codes, elements: Extraction) -> None:
        """Set the codes of those elements that are arrays and equal one of the lists."""
        assert self._lists is not None
        items, sequences = self._lists
        arrays = np.flatnonzero(elements.kinds == Kind.ARRAY)
        offsets, inner, _ = elements_at(elements.documents(arrays), ())
        inner_codes = items.codes(inner)
        lengths = np.diff(offsets)
        for code, sequence in sequences:
            long_enough = np.flatnonzero(lengths == len(sequence))
            places = offsets[:-1][long_enough][:, None] + np.arange(len(sequence))
            codes[arrays[long_enough[(inner_codes[places] == sequence).all(axis=1)]]] = code

    @cached_property
    def _numbers(self) -> tuple[tuple[npt.NDArray[np.int64], Codes], tuple[npt.NDArray[np.float64], Codes]]:
        """((integers, codes), (the doubles that are none, codes)), sorted."""
        coded = [(_key(value), code) for code, value in enumerate(self.values)]
        ints = sorted((key[1], code) for key, code in coded if key[0] == "int")
        doubles = sorted((key[1], code) for key, code in coded if key[0] == "double")
        return (
            (np.array([v for v, _ in ints], np.int64), np.array([c for _, c in ints], np.int64)),
            (np.array([v for v, _ in doubles], np.float64), np.array([c for _, c in doubles], np.int64)),
        )

    @cached_property
    def _bools(self) -> list[tuple[int, bool]]:
        return [(code, value) for code, value in enumerate(self.values) if isinstance(value, bool)]

    @cached_property
    def _strings(self) -> tuple[pa.Array, Codes]:
        coded = [(value, code) for code, value in enumerate(self.values) if isinstance(value, str)]
        return pa.array([v for v, _ in coded], pa.large_string()), np.array([c for _, c in coded], np.int64)

    @cached_property
    def _lists(self) -> tuple[Wanted, list[tuple[int, Codes]]] | None:
        """The items of all lists, and each list by its code as the codes of its items; None where there is no list."""
        coded = [(code, value) for code, value in enumerate(self.values) if isinstance(value, tuple)]
        if not coded:
            return None
        items = Wanted.of(item for _, value in coded for item in value)
        place = {_key(value): code for code, value in enumerate(items.values)}
        return items, [(code, np.array([place[_key(item)] for item in value], np.int64)) for code, value in coded]


def _has_moment(listed: Iterable[Literal]) -> bool:
    return any(_has_moment(v) if isinstance(v, tuple) else isinstance(v, Moment) for v in listed)


def _key(value: Literal) -> tuple[str, Any]:
    """Equal for equal values alone: 1 is 1.0 and not true."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, str):
        return "string", value
    if isinstance(value, tuple):
        return "list", tuple(map(_key, value))
    if isinstance(value, int) or (value.is_integer() and MIN_INT64 <= value <= MAX_INT64):
        return "int", int(value)
    return "double", value


def _whole_numbers(elements: Extraction) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """(which elements are whole numbers of 64 bits, however they are written; these numbers)."""
    is_int = elements.kinds == Kind.INT
    doubles = elements.doubles
    whole = (
        (elements.kinds == Kind.DOUBLE) & (doubles == np.floor(doubles)) & (doubles >= -(2.0**63)) & (doubles < 2.0**63)
    )
    if not whole.any():
        return is_int, elements.ints
    return is_int | whole, np.where(whole, np.where(whole, doubles, 0).astype(np.int64), elements.ints)


def _look_up(
    codes: Codes, among: npt.NDArray[np.bool_], numbers: npt.NDArray[Any], wanted: npt.NDArray[Any], own: Codes
) -> None:
    """Set the codes of those `among` the elements whose number is one of the sorted `wanted`."""
    if not len(wanted):
        return
    if len(wanted) == 1:
        codes[among & (numbers == wanted[0])] = own[0]
        return
    places = np.minimum(np.searchsorted(wanted, numbers), len(wanted) - 1)
    found = among & (wanted[places] == numbers)
    codes[found] = own[places[found]]


def _shown(value: Literal) -> str:
    if isinstance(value, tuple):
        return shown_list(value[:LISTED_IN_TEXT], len(value), _shown)
    return shown(value)
