"""Collections with an array field of every element type, and rows with awkward arrays in them."""

from __future__ import annotations

from typing import Any

from elanus import DataType, Field, Schema

DIM = 4
CAPACITY = 8

ELEMENTS: dict[str, DataType] = {
    "flags": DataType.BOOL,
    "bytes8": DataType.INT8,
    "shorts": DataType.INT16,
    "ints": DataType.INT32,
    "longs": DataType.INT64,
    "singles": DataType.FLOAT,
    "reals": DataType.DOUBLE,
    "texts": DataType.VARCHAR,
}

VALUES: dict[str, list[Any]] = {
    "flags": [True, False],
    "bytes8": [0, 1, -1, 127, -128],
    "shorts": [0, 1, -1, 32767, -32768],
    "ints": [0, 1, -1, 2**31 - 1, -(2**31)],
    "longs": [0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)],
    "singles": [0.0, -0.0, 1.0, 1.5, -2.5, 16777216.0],
    "reals": [0.0, -0.0, 0.1, 1.0, 1.5, 2.0**53, 1e300],
    "texts": ["", "a", "ab", "é", "日本", "a\0b", "x" * 40],
}

ARRAYS = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=DIM),
        *(
            Field(
                name,
                DataType.ARRAY,
                element=element,
                max_capacity=CAPACITY,
                max_length=64 if element is DataType.VARCHAR else None,
                nullable=True,
            )
            for name, element in ELEMENTS.items()
        ),
    ),
    enable_dynamic_field=True,
)


def row(number: int, **values: Any) -> dict[str, Any]:
    """Of every field another window of its awkward values: empty, null and full ones come by, too."""
    out: dict[str, Any] = {"id": number, "vector": [float(number), 1.0, 0.0, 0.0]}
    for place, (name, pool) in enumerate(VALUES.items()):
        turn = number + place
        wanted = [pool[(turn + i) % len(pool)] for i in range(turn % (CAPACITY + 1))]
        out[name] = None if turn % 7 == 6 else wanted
    return {**out, **values}


def rows(numbers: Any, **values: Any) -> list[dict[str, Any]]:
    return [row(number, **values) for number in numbers]
