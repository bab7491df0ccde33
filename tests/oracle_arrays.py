"""Arrays for the oracle of filters, in plain Python; it shares nothing with the engine.

An array is a list of Python values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from elanus.model.schema import Field
from elanus.model.types import FLOATS, INTEGERS, DataType

Equal = Callable[[Any, Any], bool]
"""Whether an element equals a constant."""


def contains(how: str, found: Any, asked: Any, equal: Equal) -> bool | None:
    """Whether what a row holds has what was asked (`how` is ""), `_all` or `_any` of it; unknown if it is no array."""
    if not isinstance(found, list):
        return None
    wanted = list(asked) if how else [asked]
    there = [any(equal(element, constant) for element in found) for constant in wanted]
    return all(there) if how == "_all" else any(there)


def same(found: Any, asked: Sequence[Any], equal: Equal) -> bool | None:
    """Whether an array holds exactly what was asked."""
    if found is None:
        return None
    return len(found) == len(asked) and all(map(equal, found, asked))


def json_equal(element: Any, constant: Any) -> bool:
    """By value and class: 1 is 1.0 and not true; a list is an array of the same; null is nothing."""
    if isinstance(constant, (list, tuple)):
        return isinstance(element, list) and len(element) == len(constant) and all(map(json_equal, element, constant))
    if isinstance(element, int) and not isinstance(element, bool) and not -(2**63) <= element < 2**63:
        element = float(element)
    numbers = (int, float)
    for kind in (bool, str, numbers):
        if isinstance(constant, kind) or isinstance(element, kind):
            return isinstance(constant, kind) and isinstance(element, kind) and constant == element
    return False


# --- filters ---------------------------------------------------------------------------------------------------------

Write = Callable[[Any], str]


def on_array(random: Random, f: Field, values: Sequence[Any], write: Write) -> str:
    """A condition on an array field, whose elements are often among `values`."""

    def some(least: int = 0, most: int = 3) -> str:
        return f"[{', '.join(map(write, random.choices(values, k=random.randint(least, most))))}]"

    at = f"{f.name}[{random.randint(0, 3)}]"
    one = write(random.choice(values))
    conditions = [
        f"array_contains({f.name}, {one})",
        f"ARRAY_CONTAINS_ANY({f.name}, {some()})",
        f"array_contains_all({f.name}, {some()})",
        f"array_contains_all({f.name}, {some(5, 7)})",
        f"json_contains_any({f.name}, {some(5, 7)})",
        f"array_length({f.name}) {random.choice(['<', '>=', '==', '!='])} {random.randint(0, 5)}",
        f"1 <= array_length({f.name}) < {random.randint(2, 5)}",
        f"array_length({f.name}) * 2 in [0, 4, {random.randint(1, 9)}]",
        f"{f.name} {random.choice(['==', '!='])} {some(0, 2)}",
        f"{f.name} {random.choice(['in', 'not in'])} [{some(0, 2)}, {some(0, 1)}]",
        f"{at} {random.choice(['==', '!='])} {one}",
        f"{at} {random.choice(['in', 'not in'])} {some()}",
        f"{f.name} {random.choice(['is null', 'is not null'])}",
    ]
    if f.element is not DataType.BOOL:
        conditions.append(f"{at} {random.choice(['<', '<=', '>', '>='])} {one}")
    if f.element is DataType.VARCHAR:
        conditions.append(f"{at} like {write(random.choice(['a%', '%b', '_', '%', '%é%']))}")
    if f.element in INTEGERS | FLOATS:
        conditions.append(f"{at} * 2 {random.choice(['<', '>='])} 3")
    return random.choice(conditions)


def on_json_array(random: Random, path: str, values: Sequence[Any], write: Write) -> str:
    """A condition on what may be an array in JSON."""

    def some(depth: int) -> str:
        items = [
            some(depth - 1) if depth and random.random() < 0.2 else write(random.choice(values))
            for _ in range(random.randint(0, 3))
        ]
        return f"[{', '.join(items)}]"

    one = random.choice([write(random.choice(values)), some(1)])
    return random.choice(
        [
            f"json_contains({path}, {one})",
            f"JSON_CONTAINS_ANY({path}, {some(2)})",
            f"json_contains_all({path}, {some(1)})",
            f"array_contains_any({path}, {some(0)})",
            f"array_length({path}) {random.choice(['<', '>=', '=='])} {random.randint(0, 3)}",
        ]
    )
