"""Generated collections for the oracle: schemas, rows with awkward values, and filters that fit the schema.

Everything is drawn from a `random.Random`, so a seed says it all. Values come from small pools in which the awkward
ones sit (see also `filter_cases`), so that rows and filters meet often.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from elanus.model.schema import DYNAMIC_FIELD, Field, Schema
from elanus.model.types import FLOATS, INTEGERS, NUMPY_OF, DataType, arrow_type
from tests import oracle_expressions
from tests.filter_cases import INTS, KEYS, REALS, TEXTS, quoted
from tests.oracle_expressions import Filter

Row = dict[str, Any]

ARRAYS_OF = {
    "flags": DataType.BOOL,
    "tinies": DataType.INT8,
    "bigs": DataType.INT64,
    "singles": DataType.FLOAT,
    "reals": DataType.DOUBLE,
    "texts": DataType.VARCHAR,
}
CAPACITY = 9

SCALARS = {
    "tiny": DataType.INT8,
    "small": DataType.INT16,
    "medium": DataType.INT32,
    "big": DataType.INT64,
    "single": DataType.FLOAT,
    "real": DataType.DOUBLE,
    "text": DataType.VARCHAR,
    "flag": DataType.BOOL,
    "doc": DataType.JSON,
    **dict.fromkeys(ARRAYS_OF, DataType.ARRAY),
}

INT_KEYS = [*range(-4, 60), 2**63 - 1, -(2**63), 2**53, 2**53 + 1]
LONG = "z" * 64
"""Segments keep so many characters of their smallest and largest key."""
TEXT_KEYS = [
    *(f"key {i}" for i in range(45)), "", " ", "\0", "a\0", "a", "A", "é", "e\u0301", "日本", "😀", "\uffff", "a\nb",
    '"', "'", LONG, LONG + "a", LONG + "b", LONG[:-1], "é" * 90, "\x7f",
]  # fmt: skip
LONG_TEXTS = ["x" * 300, "é" * 150, "a b " * 60]
SINGLES = [1e-45, 1.1754944e-38, 3.4028234e38, -3.4028234e38, 0.1, 16777217.0, 1e-7]
DOUBLES = [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308, 1e300, 1e-300]
TEXT_BYTES = 300


# --- schemas ---------------------------------------------------------------------------------------------------------


def a_schema(random: Random) -> Schema:
    """A key, one or two vectors, and some scalar fields, each required, nullable or with a default, in any order."""
    dtype = random.choice([DataType.INT64, DataType.VARCHAR])
    key = Field(
        "id",
        dtype,
        is_primary=True,
        auto_id=random.random() < 0.2,
        max_length=TEXT_BYTES if dtype is DataType.VARCHAR else None,
    )
    fields = [key, Field("vector", DataType.FLOAT_VECTOR, dim=random.choice([2, 3, 8, 16]))]
    if random.random() < 0.25:
        fields.append(Field("second", DataType.FLOAT_VECTOR, dim=4))
    for name in random.sample(sorted(SCALARS), random.randint(0, len(SCALARS))):
        fields.append(_a_scalar_field(random, name, SCALARS[name]))
    random.shuffle(fields)
    return Schema(tuple(fields), enable_dynamic_field=random.random() < 0.5)


def _a_scalar_field(random: Random, name: str, dtype: DataType) -> Field:
    with_default = dtype not in (DataType.JSON, DataType.ARRAY) and random.random() < 0.25
    return Field(
        name,
        dtype,
        nullable=random.random() < 0.5,
        default=random.choice(_pool(dtype)) if with_default else None,
        max_length=TEXT_BYTES if DataType.VARCHAR in (dtype, ARRAYS_OF.get(name)) else None,
        element=ARRAYS_OF.get(name),
        max_capacity=CAPACITY if name in ARRAYS_OF else None,
    )


def _pool(dtype: DataType) -> list[Any]:
    """The awkward values of a type."""
    if dtype in INTEGERS:
        limit = 1 << (NUMPY_OF[dtype].itemsize * 8 - 1)
        return [*(v for v in INTS if -limit <= v < limit), limit - 1, -limit]
    if dtype is DataType.FLOAT:
        return [*(v for v in REALS if abs(v) < 3e38), *SINGLES]
    if dtype is DataType.DOUBLE:
        return REALS + DOUBLES
    if dtype is DataType.VARCHAR:
        return TEXTS + LONG_TEXTS
    return [True, False]


# --- rows ------------------------------------------------------------------------------------------------------------


class Values:
    """Draws the values of rows of one schema."""

    def __init__(self, schema: Schema, random: Random, vectors: str) -> None:
        """`vectors` is one of `VECTORS`."""
        self.schema = schema
        self.random = random
        self.numbers = np.random.default_rng(random.getrandbits(32))
        self.vectors = vectors

    def keys(self, count: int, distinct: bool) -> list[Any]:
        pool: Sequence[Any] = INT_KEYS if self.schema.primary.dtype is DataType.INT64 else TEXT_KEYS
        return self.random.sample(pool, min(count, len(pool))) if distinct else self.random.choices(pool, k=count)

    def rows(self, count: int) -> list[Row]:
        """Rows without keys. Fields that need not be given are sometimes left out, or None."""
        with_meta = self.schema.dynamic is not None and self.random.random() < 0.2
        return [self._row(with_meta) for _ in range(count)]

    def _row(self, with_meta: bool) -> Row:
        row: Row = {}
        for f in self.schema.fields:
            if f.is_primary:
                continue
            if f.is_dynamic:
                extra = {name: self.json(2) for name in KEYS if self.random.random() < 0.4}
                row |= {DYNAMIC_FIELD: self._encoded(extra)} if with_meta else extra
            elif f.is_vector:
                row[f.name] = self.vector(f.dim or 0)
            elif (f.nullable or f.default is not None) and self.random.random() < 0.25:
                if self.random.random() < 0.6:
                    row[f.name] = None
            else:
                row[f.name] = self.array(f.element) if f.element is not None else self.scalar(f.dtype)
        return row

    def array(self, element: DataType) -> list[Any]:
        return [self.scalar(element) for _ in range(self.random.choice([0, 1, 2, 3, CAPACITY]))]

    def scalar(self, dtype: DataType) -> Any:
        if dtype is DataType.JSON:
            return self._encoded(self.json(3))
        if self.random.random() < 0.4:
            return self.random.choice(_pool(dtype))
        if dtype in INTEGERS:
            return self.random.randint(-3, 12)
        if dtype in FLOATS:
            return self.random.choice([self.random.randint(-3, 12), self.random.randint(-12, 12) / 4])
        return self.random.choice(["a", "b", "ab", "ba", "abc", "é"] if dtype is DataType.VARCHAR else [True, False])

    def json(self, depth: int) -> Any:
        """A JSON value; the same path has values of several types in different rows."""
        kind = self.random.random()
        if depth and kind < 0.25:
            return {key: self.json(depth - 1) for key in KEYS if self.random.random() < 0.4}
        if depth and kind < 0.35:
            return [self.json(depth - 1) for _ in range(self.random.randint(0, 3))]
        if kind < 0.6:
            return self.random.choice([self.random.randint(-3, 12), self.random.choice(INTS)])
        if kind < 0.75:
            return self.random.choice([self.random.randint(-12, 12) / 4, self.random.choice(REALS)])
        if kind < 0.9:
            return self.random.choice(TEXTS)
        return self.random.choice([True, False, None])

    def _encoded(self, value: Any) -> Any:
        """A JSON value as one of the forms it may be given in; None is no value, so a JSON null is given as text."""
        if value is None or self.random.random() < 0.3:
            separators = self.random.choice([(",", ":"), (", ", ": "), (" ,\n", "\t: ")])
            return json.dumps(value, ensure_ascii=self.random.random() < 0.5, separators=separators).encode()
        return value

    def vector(self, dim: int) -> list[float]:
        drawn: npt.NDArray[np.float32]
        if self.vectors == "grid":
            drawn = self.numbers.integers(-3, 4, dim).astype(np.float32)
        elif self.vectors == "far":
            drawn = (100 + self.numbers.normal(size=dim)).astype(np.float32)
        else:
            drawn = self.numbers.normal(size=dim).astype(np.float32)
        if self.random.random() < 0.05:
            drawn[:] = 0
        return drawn.tolist()


VECTORS = ("grid", "normal", "far")
"""Small integers, whose scores are exact and often equal; a cloud around nothing; a small cloud far away."""


FORMS = ("rows", "columns", "arrow")


def in_form(form: str, rows: list[Row], schema: Schema) -> Any:
    """`rows` in one of the forms in which a write takes them."""
    if form == "rows" or not rows:
        return rows
    names = dict.fromkeys(name for row in rows for name in row if schema.get(name) is not None)
    columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names}
    if schema.dynamic is not None and DYNAMIC_FIELD not in columns:
        columns[DYNAMIC_FIELD] = [
            {name: value for name, value in row.items() if schema.get(name) is None} for row in rows
        ]
    for name, values in columns.items():
        f = schema.field(name)
        if f.is_vector:
            columns[name] = np.array(values, np.float32)
        elif form == "arrow":
            if f.dtype is DataType.JSON:
                values = [v if v is None or isinstance(v, bytes) else orjson.dumps(v) for v in values]
            element = arrow_type(f.element) if f.element is not None else None
            columns[name] = pa.array(values, f.arrow_type if element is None else pa.list_(element))
    if form == "columns":
        return columns
    arrays = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(column.ravel()), type=schema.field(name).arrow_type)
        if isinstance(column, np.ndarray)
        else column
        for name, column in columns.items()
    }
    return pa.table(arrays)


# --- filters ---------------------------------------------------------------------------------------------------------


def a_filter(random: Random, schema: Schema) -> Filter:
    """A filter that binds to `schema`, and what fills its templates."""
    return oracle_expressions.a_filter(random, schema, pools_of(schema))


def pools_of(schema: Schema) -> dict[str, list[Any]]:
    """The awkward values of each field, by its name."""
    keys: list[Any] = INT_KEYS if schema.primary.dtype is DataType.INT64 else TEXT_KEYS
    pools = {
        f.name: _pool(f.element or f.dtype) for f in schema.fields if not f.is_vector and f.dtype is not DataType.JSON
    }
    return {**pools, schema.primary.name: keys}


# --- indexes ---------------------------------------------------------------------------------------------------------


def a_scalar_index(random: Random, f: Field) -> tuple[str, str, dict[str, Any]]:
    """(kind, field or dynamic key, parameters) of an index that `f` may have."""
    if f.dtype is DataType.JSON:
        name, key = (random.choice(["a", "b"]), "") if f.is_dynamic else (f.name, f"[{quoted(random.choice(KEYS))}]")
        cast = random.choice(["DOUBLE", "VARCHAR", "BOOL"])
        below = random.choice(["", "", f"[{quoted(random.choice(KEYS))}]", "[0]"])
        return "INVERTED", name, {"json_path": f"{name}{key}{below}", "json_cast_type": cast}
    kinds = ["INVERTED", "AUTOINDEX"]
    if f.dtype is DataType.VARCHAR:
        kinds += ["Trie", "NGRAM", "NGRAM"]
    kind = random.choice(kinds)
    return kind, f.name, {"min_gram": random.randint(1, 2), "max_gram": 3} if kind == "NGRAM" else {}


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """An index and how it is searched: `wide` are parameters under which a small collection is searched whole."""

    kind: str
    params: dict[str, int]
    wide: dict[str, int]
    narrow: dict[str, int]


INDEXES = (
    IndexChoice("FLAT", {}, {}, {}),
    IndexChoice("IVF_FLAT", {"nlist": 4}, {"nprobe": 4}, {"nprobe": 1}),
    IndexChoice("HNSW", {"M": 8, "efConstruction": 64}, {"ef": 512}, {}),
    IndexChoice("AUTOINDEX", {}, {"ef": 512}, {}),
)
