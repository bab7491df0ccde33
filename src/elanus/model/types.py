"""The data types of fields: Milvus's codes, and what each is in Arrow and in numpy."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
import pyarrow as pa


class DataType(IntEnum):
    """A field's type; the values are the protocol's codes."""

    BOOL = 1
    INT8 = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    FLOAT = 10
    DOUBLE = 11
    VARCHAR = 21
    JSON = 23
    TEXT = 25
    FLOAT_VECTOR = 101


class Metric(StrEnum):
    """How two vectors are compared. L2 is the squared distance, smaller is nearer; for the others larger is nearer."""

    L2 = "L2"
    IP = "IP"
    COSINE = "COSINE"

    @property
    def larger_is_nearer(self) -> bool:
        return self is not Metric.L2


class OnDuplicateKey(StrEnum):
    """What an insert does with a key that the collection already holds."""

    KEEP = "keep"
    REJECT = "reject"
    REPLACE = "replace"


class Consistency(IntEnum):
    """Which writes a read has to see; the values are the protocol's codes.

    Elanus answers every level with everything acknowledged before the read began; the level is kept for clients.
    """

    STRONG = 0
    SESSION = 1
    BOUNDED = 2
    EVENTUALLY = 3
    CUSTOMIZED = 4


INTEGERS = frozenset({DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64})
FLOATS = frozenset({DataType.FLOAT, DataType.DOUBLE})
NUMBERS = INTEGERS | FLOATS
VECTORS = frozenset({DataType.FLOAT_VECTOR})
KEYS = frozenset({DataType.INT64, DataType.VARCHAR})

CLUSTERING_KEYS = NUMBERS | {DataType.VARCHAR}

TYPE_NAMES: dict[DataType, str] = {
    DataType.BOOL: "Bool",
    DataType.INT8: "Int8",
    DataType.INT16: "Int16",
    DataType.INT32: "Int32",
    DataType.INT64: "Int64",
    DataType.FLOAT: "Float",
    DataType.DOUBLE: "Double",
    DataType.VARCHAR: "VarChar",
    DataType.JSON: "JSON",
    DataType.TEXT: "Text",
    DataType.FLOAT_VECTOR: "FloatVector",
}
"""The types as Milvus writes them."""

NUMPY_OF: dict[DataType, np.dtype[Any]] = {
    DataType.BOOL: np.dtype(np.bool_),
    DataType.INT8: np.dtype(np.int8),
    DataType.INT16: np.dtype(np.int16),
    DataType.INT32: np.dtype(np.int32),
    DataType.INT64: np.dtype(np.int64),
    DataType.FLOAT: np.dtype(np.float32),
    DataType.DOUBLE: np.dtype(np.float64),
    DataType.FLOAT_VECTOR: np.dtype(np.float32),
}
"""Element dtype of the types whose values have a fixed width."""

_ARROW_OF: dict[DataType, pa.DataType] = {
    DataType.BOOL: pa.bool_(),
    DataType.INT8: pa.int8(),
    DataType.INT16: pa.int16(),
    DataType.INT32: pa.int32(),
    DataType.INT64: pa.int64(),
    DataType.FLOAT: pa.float32(),
    DataType.DOUBLE: pa.float64(),
    DataType.VARCHAR: pa.large_string(),
    DataType.TEXT: pa.large_string(),
    # UTF-8 text of one JSON value; large offsets because a segment may hold more than 2 GiB of it.
    DataType.JSON: pa.large_binary(),
}


def arrow_type(dtype: DataType, dim: int | None = None) -> pa.DataType:
    """The Arrow type in which values of `dtype` are held in memory, in the log and in segment files."""
    if dtype in VECTORS:
        if dim is None:
            raise ValueError(f"{dtype.name} needs a dim")
        return pa.list_(pa.field("item", pa.float32(), nullable=False), dim)
    return _ARROW_OF[dtype]
