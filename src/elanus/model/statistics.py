"""What is known of a field's values in a run of rows without looking at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Bound = bool | int | float | str


@dataclass(frozen=True, slots=True)
class FieldStatistics:
    """`nulls` rows hold null; the others about `distinct` different values, none below `low` or above `high`.

    A bound that is None is not known. Bounds need not be values: long texts are shortened, and rows may be gone.
    """

    nulls: int
    distinct: int
    low: Bound | None
    high: Bound | None

    def to_list(self) -> list[Any]:
        """A JSON-ready form."""
        return [self.nulls, self.distinct, self.low, self.high]

    @classmethod
    def from_list(cls, data: list[Any]) -> FieldStatistics:
        return cls(*data)
