"""What a predicate asks of an index: its operand, the values it looks for, and arithmetic of runs of values."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.expr.like import Pattern, Shape
from elanus.expr.tree import Value
from elanus.expr.typed import Column, Compare, CompareJson, JsonPath, Junction, Like, Member, MemberJson, Predicate
from elanus.scalar.sections import Source

Spans = npt.NDArray[np.int64]
"""(k, 2): runs of values by their numbers, the first of each and the one behind its last; rising, none empty."""


class Class(StrEnum):
    """Values of different classes do not compare."""

    BOOL = "bool"
    NUMBER = "number"
    STRING = "string"


def class_of(value: Value) -> Class:
    if isinstance(value, bool):
        return Class.BOOL
    return Class.STRING if isinstance(value, str) else Class.NUMBER


def reads_only(node: Predicate, source: Source) -> bool:
    """Whether all that `node` looks at is what the index is of; true only of predicates that an index may know."""
    match node:
        case Compare() | CompareJson() | Member() | MemberJson() | Like():
            operand = node.operand
            if isinstance(operand, Column):
                return operand.field.id == source.field_id and not source.steps
            return (
                isinstance(operand, JsonPath)
                and operand.field.id == source.field_id
                and operand.steps == source.steps
                and source.is_json
            )
        case Junction():
            return all(reads_only(term, source) for term in node.terms)
    return False


def comparison_of(node: Compare | CompareJson, values: Class) -> tuple[str, Any] | bool | None:
    """(operator, value in the index's terms), or what it is for all that have a value; None where classes differ."""
    value = node.value
    if class_of(value) is not values:
        return None
    if isinstance(value, str):
        return node.op, value.encode()
    if isinstance(node, CompareJson) and values is Class.NUMBER:
        return node.for_doubles
    return node.op, value


def values_of(node: Member | MemberJson, values: Class) -> pa.Array | None:
    """The values of a list in the index's terms; None where the list has values of other classes too."""
    if isinstance(node, Member):
        return node.values
    classes = {Class.STRING: node.strings, Class.NUMBER: node.doubles, Class.BOOL: pa.array(node.bools, pa.bool_())}
    there = [of for of, listed in classes.items() if listed is not None and (of is not Class.BOOL or node.bools)]
    return classes[values] if there == [values] else None


def prefix_of(pattern: Pattern) -> bytes | None:
    """What all that matches begins with, where that is all it takes."""
    return pattern.needle.encode() if pattern.shape is Shape.PREFIX else None


def whole_of(pattern: Pattern) -> bytes | None:
    """The one value that matches."""
    return pattern.needle.encode() if pattern.shape is Shape.WHOLE else None


def spans(*runs: tuple[int, int]) -> Spans:
    return np.array([run for run in runs if run[0] < run[1]], np.int64).reshape(-1, 2)


def spans_of(numbers: npt.NDArray[np.int64]) -> Spans:
    """Rising, distinct numbers as runs."""
    if not len(numbers):
        return spans()
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    begins = numbers[np.concatenate([[0], breaks])]
    ends = numbers[np.concatenate([breaks - 1, [len(numbers) - 1]])] + 1
    return np.stack([begins, ends], axis=1)


def others(chosen: Spans, count: int) -> Spans:
    """The values of `count` that are in none of `chosen`."""
    begins = np.concatenate([[0], chosen[:, 1]])
    ends = np.concatenate([chosen[:, 0], [count]])
    return np.stack([begins, ends], axis=1)[begins < ends]


def intersection(each: list[Spans | None]) -> Spans | None:
    """The values in every one; None where one is not known."""
    result: Spans | None = None
    for chosen in each:
        if chosen is None:
            return None
        if result is None:
            result = chosen
            continue
        begins = np.maximum.outer(result[:, 0], chosen[:, 0]).ravel()
        ends = np.minimum.outer(result[:, 1], chosen[:, 1]).ravel()
        result = np.stack([begins, ends], axis=1)[begins < ends]
    return result
