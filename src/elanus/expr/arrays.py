"""Arrays in filters: elements by their index, lengths, what is contained, and whole arrays.

Rules:

- `f[0]` is unknown where the array is shorter, or null. `array_length` of a JSON path is unknown where it is no array.
- Numbers compare by value: an integer array may be asked for 2.0, and has it if it has 2. Milvus's `contains` of an
  integer array takes integers only, its `contains_all` and `contains_any` any number; so do these. A Float array is
  asked for the float32 that the constant is.
- Strings, numbers and booleans never compare with each other: that is refused for typed arrays, and false for JSON.
- Of an empty list nothing is contained in any way (`any`), and all of it everywhere (`all`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elanus.expr import tree, truth
from elanus.expr.binding import Binding, Constant, Literal, Values, check_count
from elanus.expr.constants import classify
from elanus.expr.errors import Refused
from elanus.expr.json_arrays import ContainsJson, JsonLength
from elanus.expr.kinds import ARROW_OF, Type, type_of
from elanus.expr.lookup import ints_among
from elanus.expr.simplify import negated, where_known
from elanus.expr.tree import Value
from elanus.expr.typed import (
    LISTED_IN_TEXT,
    Column,
    Derived,
    Function,
    JsonPath,
    Operand,
    Predicate,
    Rows,
    shown,
    shown_list,
)
from elanus.model import arrays
from elanus.model.arrays import numbers_of, string_counts
from elanus.model.layout import Layout, layout, offsets_of
from elanus.model.schema import Field
from elanus.model.types import FLOATS, INTEGERS, TYPE_NAMES, DataType
from elanus.model.types import NUMPY_OF as DTYPES

_CLASS_OF: dict[DataType, str] = {
    DataType.BOOL: "Bool",
    **dict.fromkeys(INTEGERS | FLOATS, "Number"),
    DataType.VARCHAR: "String",
}
_DIRECTLY = "can not comparisons array fields directly"
_FEW = 4
"""So few values are looked for one by one."""


# --- operands --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Element(Derived):
    """An element of an array field, integers as int64."""

    field: Field
    index: int

    @classmethod
    def of(cls, field: Field, steps: tuple[str | int, ...], position: int) -> Element:
        """Raises `Refused` unless `steps` are one index."""
        if not isinstance(steps[0], int):
            raise Refused("can only access array field with integer index", position)
        if len(steps) > 1:
            raise Refused(f"field {field.name} is an array of {_element_name(field)}, which has no parts", position)
        return cls(field, steps[0])

    @property
    def type(self) -> Type:
        assert self.field.element is not None
        return type_of(self.field.element)

    @property
    def type_name(self) -> str:
        return _element_name(self.field)

    @property
    def nullable(self) -> bool:
        return True

    @property
    def cost(self) -> float:
        return 30.0 if self.type is Type.STRING else 8.0

    def fields(self) -> Iterator[int]:
        yield self.field.id

    def values(self, rows: Rows) -> pa.Array:
        column = rows.column(Column(self.field, Type.ARRAY))
        held = layout(column)
        if self.type is Type.STRING:
            return _strings_at(held, self.index)
        kind = _dtype(self.field)
        starts, ends = held.offsets[:-1] // kind.itemsize, held.offsets[1:] // kind.itemsize
        there = self.index < ends - starts
        numbers = numbers_of(held, kind)
        found = np.zeros(len(there), kind)
        found[there] = numbers[starts[there] + self.index]
        if self.type is not Type.BOOL:
            found = found.astype(ARROW_OF[self.type].to_pandas_dtype(), copy=False)
        return pa.array(found, mask=~there)

    def __str__(self) -> str:
        return f"{self.field.name}[{self.index}]"


@dataclass(frozen=True, slots=True)
class Length(Derived):
    """How many elements an array field has."""

    column: Column

    @property
    def type(self) -> Type:
        return Type.INT

    @property
    def nullable(self) -> bool:
        return self.column.nullable

    @property
    def cost(self) -> float:
        return 4.0

    def fields(self) -> Iterator[int]:
        return self.column.fields()

    def values(self, rows: Rows) -> pa.Array:
        column = rows.column(self.column)
        held = layout(column)
        if self.column.field.element is DataType.VARCHAR:
            lengths = string_counts(held)
        else:
            lengths = np.diff(held.offsets) // _dtype(self.column.field).itemsize
        mask = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        return pa.array(lengths, pa.int64(), mask=mask)

    def __str__(self) -> str:
        return f"array_length({self.column})"


# --- predicates ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contains(Function):
    """Whether an array field has one of `values`, or all of them.

    The values are distinct, sorted, at least one, and of the Arrow type of the elements.
    """

    column: Column
    values: pa.Array
    all_of_them: bool

    @property
    def cost(self) -> float:
        return 60.0 if self.column.field.element is DataType.VARCHAR else 12.0

    def fields(self) -> Iterator[int]:
        return self.column.fields()

    def truth(self, rows: Rows) -> pa.BooleanArray:
        from elanus.expr import array_kernel  # numba takes 0.35 s and 120 MB to load

        column = rows.column(self.column)
        held = layout(column)
        found = np.zeros(len(column), np.bool_)
        if self.column.field.element is DataType.VARCHAR:
            listed = layout(self.values)
            array_kernel.strings_in_rows(held.data, held.offsets, *listed, self.all_of_them, found)
        else:
            kind = _dtype(self.column.field)
            offsets = held.offsets // kind.itemsize
            first, last = int(offsets[0]), int(offsets[-1])
            numbers, values = numbers_of(held, kind)[first:last], self.values.to_numpy(zero_copy_only=False)
            offsets -= first
            if not self.all_of_them:
                array_kernel.any_in_rows(_among(numbers, values), offsets, found)
            elif len(values) > _FEW:
                array_kernel.all_in_rows(_codes(numbers, values), len(values), offsets, found)
            else:
                found[:] = True
                for value in values:
                    has = np.zeros(len(column), np.bool_)
                    array_kernel.any_in_rows(numbers == value, offsets, has)
                    found &= has
        return truth.unknown_where_null(truth.pack(found), column)

    def __str__(self) -> str:
        how = "all" if self.all_of_them else "any"
        listed = shown_list(self.values[:LISTED_IN_TEXT].to_pylist(), len(self.values))
        return f"array_contains_{how}({self.column}, {listed})"


@dataclass(frozen=True, slots=True)
class EqualArray(Function):
    """Whether an array field is exactly `values`, which are of the Arrow type of its elements."""

    column: Column
    values: pa.Array

    @property
    def cost(self) -> float:
        return 6.0

    def fields(self) -> Iterator[int]:
        return self.column.fields()

    def truth(self, rows: Rows) -> pa.BooleanArray:
        column = rows.column(self.column)
        element = self.column.field.element
        if element not in FLOATS:
            one = arrays.packed(arrays.listed(np.array([0, len(self.values)]), self.values, None))
            return pc.equal(column, one[0])
        # Both zeros are equal, though their bytes are not.
        held, kind = layout(column), _dtype(self.column.field)
        starts = held.offsets[:-1] // kind.itemsize
        same = np.diff(held.offsets) == len(self.values) * kind.itemsize
        places = starts[same][:, None] + np.arange(len(self.values))
        same[same] = (numbers_of(held, kind)[places] == self.values.to_numpy()).all(axis=1)
        return truth.unknown_where_null(truth.pack(same), column)

    def __str__(self) -> str:
        return f"{self.column} == [{', '.join(map(shown, self.values.to_pylist()))}]"


@dataclass(frozen=True, slots=True)
class OneOfArrays(Function):
    """Whether an array field is one of `listed`: arrays as they are held, whose zeros have no sign."""

    column: Column
    listed: pa.LargeBinaryArray

    @property
    def cost(self) -> float:
        return 60.0

    def fields(self) -> Iterator[int]:
        return self.column.fields()

    def truth(self, rows: Rows) -> pa.BooleanArray:
        column = held = rows.column(self.column)
        if self.column.field.element in FLOATS:
            data, offsets = layout(column)
            unsigned = numbers_of(Layout(data, offsets), _dtype(self.column.field)) + 0.0
            buffers = [None, pa.py_buffer(offsets), pa.py_buffer(unsigned)]
            held = pa.Array.from_buffers(pa.large_binary(), len(column), buffers)
        return truth.unknown_where_null(pc.is_in(held, value_set=self.listed), column)

    def __str__(self) -> str:
        assert self.column.field.element is not None
        first = arrays.unpacked(self.column.field.element, self.listed[:LISTED_IN_TEXT]).to_pylist()
        return f"{self.column} in {shown_list(map(tuple, first), len(self.listed), _shown)}"


# --- binding ---------------------------------------------------------------------------------------------------------


def is_array(bound: object) -> TypeGuard[Column]:
    """Whether an operand is a whole array field."""
    return isinstance(bound, Column) and bound.type is Type.ARRAY


def bind_length(binding: Binding, node: tree.Call) -> Operand:
    check_count(node, 1, 1)
    operand = binding.value(node.arguments[0])
    if is_array(operand):
        return Length(operand)
    if isinstance(operand, JsonPath):
        return JsonLength(operand)
    raise Refused(
        "array_length operation are only supported on json, array or array-of-vector fields now, got: "
        f"{_shown(operand)}",
        node.position,
    )


def bind_contains(binding: Binding, node: tree.Call) -> Predicate:
    """All six: the two kinds of fields may be asked by the functions of both."""
    check_count(node, 2, 2)
    _, _, how = node.name.lower().partition("_contains")
    operand = binding.value(node.arguments[0])
    if not is_array(operand) and not isinstance(operand, JsonPath):
        raise Refused(
            f"contains{how} operation are only supported on json or array fields now, got: {_shown(operand)}",
            node.position,
        )
    if not isinstance(node.arguments[1], (tree.Literal, tree.LiteralList, tree.ListOf, tree.Template)):
        asked = binding.value(node.arguments[1])
        if not isinstance(asked, (Constant, Values)):
            raise Refused(
                f"contains{how} operation are only supported explicitly specified element, got: {asked}", node.position
            )
    literal = binding.literal(node.arguments[1])
    operation = {"": "Contains", "_all": "ContainsAll", "_any": "ContainsAny"}[how]
    if not how:
        listed: tuple[Literal, ...] = (literal,)
    elif isinstance(literal, tuple):
        listed = literal
    else:
        raise Refused(f"{operation} operation element must be an array", node.arguments[1].position)
    if isinstance(operand, JsonPath):
        return ContainsJson.of(operand, listed, how == "_all", node.position)
    return _contains(operand, operation, listed, node.position)


def _contains(column: Column, operation: str, listed: tuple[Literal, ...], position: int) -> Predicate:
    element = column.field.element
    assert element is not None
    for value in listed:
        if operation == "Contains" and (
            not _fits(element, value) or (element in INTEGERS and not isinstance(value, int))
        ):
            raise Refused(f"cannot cast value to {TYPE_NAMES[element]}, value: {_shown(value)}", position)
        if not _fits(element, value):
            raise Refused(
                f"{operation} operation can't compare between array element type: {TYPE_NAMES[element]} and "
                f"{_type_name(value)}",
                position,
            )
    values = _of_type(element, listed, position)
    all_of_them = operation == "ContainsAll"
    if not listed:
        return where_known(column, all_of_them)
    if values.null_count == len(values) or (all_of_them and values.null_count):
        return where_known(column, False)
    return Contains(column, _distinct(values.drop_null()), all_of_them)


def compared_arrays(
    op: str, left: Constant | Values | Operand, right: Constant | Values | Operand, position: int
) -> Predicate:
    """`left op right`, one of which is a whole array field."""
    column, other = (left, right) if is_array(left) else (right, left)
    assert is_array(column)
    if op not in ("==", "!="):
        raise Refused(_DIRECTLY, position)
    if isinstance(other, Constant):
        raise Refused(f"cannot cast value to Array, value: {shown(other.value)}: compare it with a list", position)
    if not isinstance(other, Values):
        raise Refused("field-to-field comparison involving ARRAY fields is not supported", position)
    found = _equals(column, other.values, position)
    return found if op == "==" else negated(found)


def listed_arrays(column: Column, listed: Literal, position: int) -> Predicate:
    """`column in listed`."""
    if not isinstance(listed, tuple):
        raise Refused("the right-hand side of 'in' must be a list: [[1], [2, 3]]", position)
    wrong = next((value for value in listed if not isinstance(value, tuple)), None)
    if wrong is not None:
        raise Refused(f"value '{_shown(wrong)}' in list cannot be casted to Array", position)
    elements = [_elements(column, value, position) for value in listed if isinstance(value, tuple)]
    wanted = [values for values in elements if not values.null_count]
    if not wanted:
        return where_known(column, False)
    if len(wanted) == 1:
        return EqualArray(column, wanted[0])
    values = pa.concat_arrays(wanted)
    if pa.types.is_floating(values.type):
        values = pa.array(values.to_numpy() + 0.0)
    one_of = arrays.packed(arrays.listed(offsets_of(np.array(list(map(len, wanted)))), values, None))
    return OneOfArrays(column, one_of.unique())


def _equals(column: Column, values: tuple[Literal, ...], position: int) -> Predicate:
    wanted = _elements(column, values, position)
    return where_known(column, False) if wanted.null_count else EqualArray(column, wanted)


def _elements(column: Column, values: tuple[Literal, ...], position: int) -> pa.Array:
    """An array that a filter names, in the type of the elements of `column`; null for what no element equals."""
    element = column.field.element
    assert element is not None
    for value in values:
        if not _fits(element, value):
            raise Refused(
                f"comparisons between Array[{TYPE_NAMES[element]}] and Array[{_type_name(value)}] are not supported",
                position,
            )
    return _of_type(element, values, position)


def _fits(element: DataType, value: Literal) -> TypeGuard[Value]:
    return not isinstance(value, tuple) and classify(value) == _CLASS_OF[element]


def _of_type(element: DataType, values: tuple[Literal, ...], position: int) -> pa.Array:
    """`values`, which fit, in the type of the elements; null for those that no element equals."""
    kind = Field("", element).arrow_type
    if element in INTEGERS:
        limits = np.iinfo(DTYPES[element])
        whole = [int(v) if _is_whole(v) and limits.min <= v <= limits.max else None for v in values]  # type: ignore[operator, arg-type]
        return pa.array(whole, kind)
    if element in FLOATS:
        with np.errstate(over="ignore"):
            return pa.array(np.array(values, np.float64).astype(DTYPES[element]))
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        raise Refused("a string holds half of a surrogate pair, which UTF-8 cannot", position) from None


def _is_whole(value: Literal) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _distinct(values: pa.Array) -> pa.Array:
    """Sorted, none twice, and of the two zeros one."""
    if pa.types.is_floating(values.type):
        return pa.array(np.unique(values.to_numpy() + 0.0))
    if pa.types.is_boolean(values.type):
        return pa.array(np.unique(values.to_numpy(zero_copy_only=False)))
    distinct = values.unique()
    return distinct.take(pc.array_sort_indices(distinct))


def _element_name(field: Field) -> str:
    assert field.element is not None
    return TYPE_NAMES[field.element]


def _type_name(value: Literal) -> str:
    return "Array" if isinstance(value, tuple) else Constant(value).type_name


def _shown(value: object) -> str:
    if isinstance(value, Constant):
        value = value.value
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"[:200]
    return shown(value)[:200] if isinstance(value, (bool, int, float, str)) else str(value)


# --- over columns ----------------------------------------------------------------------------------------------------


def _dtype(field: Field) -> np.dtype[Any]:
    assert field.element is not None
    return DTYPES[field.element]


def _among(numbers: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which of `numbers` are among the sorted `values`."""
    if len(values) > _FEW:
        if numbers.dtype.kind == "i":
            return ints_among(numbers.astype(np.int64, copy=False), values.astype(np.int64, copy=False))
        return _codes(numbers, values) >= 0
    found: npt.NDArray[np.bool_] = numbers == values[0]
    for value in values[1:]:
        found |= numbers == value
    return found


def _codes(numbers: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The place of each of `numbers` among the sorted `values`, -1 for those that are not there."""
    places = np.minimum(np.searchsorted(values, numbers), len(values) - 1)
    return np.where(values[places] == numbers, places, -1)


def _strings_at(held: Layout, index: int) -> pa.LargeStringArray:
    from elanus.expr import array_kernel

    rows = len(held.offsets) - 1
    starts, ends, known = np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(rows, np.bool_)
    array_kernel.string_spans(held.data, held.offsets, index, starts, ends, known)
    offsets, out = np.empty(rows + 1, np.int64), np.empty(int((ends - starts).sum()), np.uint8)
    array_kernel.copy_spans(held.data, starts, ends, offsets, out)
    validity = pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(pa.large_string(), rows, [validity, pa.py_buffer(offsets), pa.py_buffer(out)])
