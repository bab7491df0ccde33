"""Parameters of indexes and of searches: what may be given for each, and what is read of it.

They arrive as text or as numbers. Messages are Milvus's where its clients look at them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from elanus.model.errors import InvalidParameter


class InvalidSearchParameter(InvalidParameter):
    """A search parameter that the index refuses; Milvus passes on its kernel's error, which has no code of its own."""

    code = 65535


@dataclass(frozen=True, slots=True)
class Parameter:
    """An integer parameter with its range and default, both ends included."""

    name: str
    low: int
    high: int
    default: int

    def read(self, given: Any, error: type[InvalidParameter], prefix: str = "") -> int:
        try:
            value = int(given) if not isinstance(given, (bool, float)) or given == int(given) else None
        except (TypeError, ValueError):
            value = None
        if value is None or isinstance(given, bool):
            raise error(f"{prefix}param '{self.name}' ({given}) should be an integer in [{self.low}, {self.high}]")
        if not self.low <= value <= self.high:
            raise error(f"{prefix}param '{self.name}' ({value}) should be in range [{self.low}, {self.high}]")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter that is one of some names, in capitals or not."""

    name: str
    names: tuple[str, ...]
    default: str

    def read(self, given: Any, error: type[InvalidParameter], prefix: str = "") -> str:
        value = str(given).upper()
        if value not in self.names:
            raise error(f"{prefix}param '{self.name}' ({given}) should be one of {', '.join(self.names)}")
        return value


@dataclass(frozen=True, slots=True)
class Ratio:
    """A parameter that is a number above 0, at most `high`."""

    name: str
    high: float
    default: float

    def read(self, given: Any, error: type[InvalidParameter], prefix: str = "") -> float:
        value = number_of(given)
        if not 0 < value <= self.high:
            raise error(f"{prefix}param '{self.name}' ({given}) should be in range (0, {self.high}]")
        return value


AnyParameter = Parameter | Choice | Ratio


def number_of(given: Any) -> float:
    """What is given as a number; nan where it is none."""
    try:
        return float(given)
    except (TypeError, ValueError):
        return math.nan
