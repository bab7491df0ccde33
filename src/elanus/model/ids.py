"""Ids nobody had before: keys of autoID fields, ids of collections and databases.

An id is a hybrid timestamp taken from the writer's `TimestampOracle`: a positive int64 that rises with every call and
is never handed out twice, also after a restart. That follows from the order of things: ids are taken before the write
that carries them gets its own timestamp, so that timestamp, which the log and the segments keep, lies above them, and
the oracle starts above every timestamp that was kept.
"""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa

from elanus.model.canonical import Values
from elanus.model.timestamps import TimestampOracle
from elanus.model.types import DataType


class AutoIds:
    """Hands out ids from an oracle; one per oracle, safe to call from any thread."""

    def __init__(self, oracle: TimestampOracle) -> None:
        self._oracle = oracle
        self._lock = threading.Lock()

    def reserve(self, count: int) -> int:
        """The first of `count` consecutive new ids."""
        with self._lock:
            first = self._oracle.next()
            self._oracle.advance_to(first + count - 1)
            return first

    def keys(self, dtype: DataType, count: int) -> Values:
        """`count` new keys, rising: int64, or their decimal text as large_string for VarChar keys."""
        return consecutive_keys(dtype, self.reserve(count) if count else 0, count)


def consecutive_keys(dtype: DataType, first: int, count: int) -> Values:
    """The keys that `AutoIds.keys` makes of `count` ids from `first` on: of a call of it, one number tells all."""
    numbers = np.arange(first, first + count, dtype=np.int64)
    return pa.array(numbers).cast(pa.large_string()) if dtype is DataType.VARCHAR else numbers
