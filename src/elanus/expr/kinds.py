"""What operands of filters give, and what that is in Arrow and in numpy."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa

from elanus.model.types import FLOATS, INTEGERS, DataType


class Type(StrEnum):
    """What an operand gives. INT is computed in int64, FLOAT in float32; JSON is whatever each row holds."""

    BOOL = "Bool"
    INT = "Int64"
    FLOAT = "Float"
    DOUBLE = "Double"
    STRING = "VarChar"
    JSON = "JSON"
    TIME = "Timestamptz"
    ARRAY = "Array"
    GEOMETRY = "Geometry"


NUMERIC = frozenset({Type.INT, Type.FLOAT, Type.DOUBLE})
ARROW_OF = {
    Type.BOOL: pa.bool_(),
    Type.INT: pa.int64(),
    Type.FLOAT: pa.float32(),
    Type.DOUBLE: pa.float64(),
    Type.STRING: pa.large_string(),
    Type.TIME: pa.int64(),
}
NUMPY_OF: dict[Type, Callable[[Any], np.generic]] = {
    Type.INT: np.int64,
    Type.FLOAT: np.float32,
    Type.DOUBLE: np.float64,
}


_TYPE_OF = {
    DataType.BOOL: Type.BOOL,
    DataType.VARCHAR: Type.STRING,
    DataType.JSON: Type.JSON,
    DataType.ARRAY: Type.ARRAY,
    DataType.TIMESTAMPTZ: Type.TIME,
    DataType.GEOMETRY: Type.GEOMETRY,
}


def type_of(dtype: DataType) -> Type:
    if dtype in INTEGERS:
        return Type.INT
    if dtype in FLOATS:
        return Type.FLOAT if dtype is DataType.FLOAT else Type.DOUBLE
    return _TYPE_OF[dtype]
