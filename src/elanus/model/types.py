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
    ARRAY = 22
    JSON = 23
    GEOMETRY = 24
    TEXT = 25
    TIMESTAMPTZ = 26
    BINARY_VECTOR = 100
    FLOAT_VECTOR = 101
    FLOAT16_VECTOR = 102
    BFLOAT16_VECTOR = 103
    SPARSE_FLOAT_VECTOR = 104
    INT8_VECTOR = 105


class Metric(StrEnum):
    """How two vectors are compared. Of IP, COSINE, BM25 and MHJACCARD the larger is nearer, of the others the smaller.

    L2 is the squared distance. Of vectors of bits HAMMING counts those that differ; JACCARD is their share of the bits
    that either has; SUBSTRUCTURE finds rows that have all bits of the query, SUPERSTRUCTURE those whose bits the query
    has all, both with the score 0; MHJACCARD takes them for hashes of 32 bits, and is the share of those that agree.
    BM25 says how well a text fits words, by what a function made of it.
    """

    L2 = "L2"
    IP = "IP"
    COSINE = "COSINE"
    HAMMING = "HAMMING"
    JACCARD = "JACCARD"
    SUBSTRUCTURE = "SUBSTRUCTURE"
    SUPERSTRUCTURE = "SUPERSTRUCTURE"
    BM25 = "BM25"
    MHJACCARD = "MHJACCARD"

    @property
    def larger_is_nearer(self) -> bool:
        return self in (Metric.IP, Metric.COSINE, Metric.BM25, Metric.MHJACCARD)


class OnDuplicateKey(StrEnum):
    """What an insert does with a key that the collection already holds."""

    KEEP = "keep"
    REJECT = "reject"
    REPLACE = "replace"


class ArrayOperation(StrEnum):
    """What a partial update does with the array that a row holds, by the one that it is given."""

    APPEND = "append"
    REMOVE = "remove"


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
NUMERIC_VECTORS = frozenset(
    {DataType.FLOAT_VECTOR, DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR, DataType.INT8_VECTOR}
)
DENSE_VECTORS = NUMERIC_VECTORS | {DataType.BINARY_VECTOR}
"""Those that are rows of a matrix; sparse ones have a length of their own each."""
VECTORS = DENSE_VECTORS | {DataType.SPARSE_FLOAT_VECTOR}
KEYS = frozenset({DataType.INT64, DataType.VARCHAR})
ELEMENTS = NUMBERS | {DataType.BOOL, DataType.VARCHAR}
"""What arrays may be of."""

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
    DataType.ARRAY: "Array",
    DataType.JSON: "JSON",
    DataType.GEOMETRY: "Geometry",
    DataType.TEXT: "Text",
    DataType.TIMESTAMPTZ: "Timestamptz",
    DataType.BINARY_VECTOR: "BinaryVector",
    DataType.FLOAT_VECTOR: "FloatVector",
    DataType.FLOAT16_VECTOR: "Float16Vector",
    DataType.BFLOAT16_VECTOR: "BFloat16Vector",
    DataType.SPARSE_FLOAT_VECTOR: "SparseFloatVector",
    DataType.INT8_VECTOR: "Int8Vector",
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
    DataType.TIMESTAMPTZ: np.dtype(np.int64),
    DataType.BINARY_VECTOR: np.dtype(np.uint8),
    DataType.FLOAT_VECTOR: np.dtype(np.float32),
    DataType.FLOAT16_VECTOR: np.dtype(np.uint16),
    DataType.BFLOAT16_VECTOR: np.dtype(np.uint16),
    DataType.INT8_VECTOR: np.dtype(np.int8),
}
"""Element dtype of the types whose values have a fixed width: of half-width floats their bits, of bits eight a byte."""

METRICS_OF: dict[DataType, tuple[Metric, ...]] = {
    **dict.fromkeys(NUMERIC_VECTORS, (Metric.COSINE, Metric.L2, Metric.IP)),
    DataType.BINARY_VECTOR: (
        Metric.HAMMING,
        Metric.JACCARD,
        Metric.SUBSTRUCTURE,
        Metric.SUPERSTRUCTURE,
        Metric.MHJACCARD,
    ),
    DataType.SPARSE_FLOAT_VECTOR: (Metric.IP,),
}
"""The metrics of each vector type, the one first that stands where none is named."""

MAX_OF = {DataType.FLOAT: float(np.finfo(np.float32).max), DataType.DOUBLE: float(np.finfo(np.float64).max)}
"""The largest finite number of each type of floats."""

_ARROW_OF: dict[DataType, pa.DataType] = {
    DataType.BOOL: pa.bool_(),
    DataType.INT8: pa.int8(),
    DataType.INT16: pa.int16(),
    DataType.INT32: pa.int32(),
    DataType.INT64: pa.int64(),
    DataType.FLOAT: pa.float32(),
    DataType.DOUBLE: pa.float64(),
    # Microseconds since 1970, UTC.
    DataType.TIMESTAMPTZ: pa.int64(),
    DataType.VARCHAR: pa.large_string(),
    DataType.TEXT: pa.large_string(),
    # The elements of one array, see `arrays`.
    DataType.ARRAY: pa.large_binary(),
    # UTF-8 text of one JSON value; large offsets because a segment may hold more than 2 GiB of it.
    DataType.JSON: pa.large_binary(),
    # WKB, see `geometries`.
    DataType.GEOMETRY: pa.large_binary(),
    # Pairs of an index (uint32) and a value (float32), little-endian, by rising index: what Milvus has on the wire.
    DataType.SPARSE_FLOAT_VECTOR: pa.large_binary(),
}


def arrow_type(dtype: DataType, dim: int | None = None) -> pa.DataType:
    """The Arrow type in which values of `dtype` are held in memory, in the log and in segment files."""
    if dtype in DENSE_VECTORS:
        if dim is None:
            raise ValueError(f"{dtype.name} needs a dim")
        return list_type(NUMPY_OF[dtype], dim // 8 if dtype is DataType.BINARY_VECTOR else dim)
    return _ARROW_OF[dtype]


def list_type(element: np.dtype[Any], width: int) -> pa.DataType:
    """The type of dense vectors of `width` such elements."""
    return pa.list_(pa.field("item", pa.from_numpy_dtype(element), nullable=False), width)
