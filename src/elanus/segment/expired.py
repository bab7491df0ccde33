"""Which rows are over: those written long enough ago, and those whose own time has come.

`collection.ttl.seconds` gives all rows of a collection the same time from when they were written; `ttl_field` names a
field of times at which each row ends, of which null is never. A collection has one of the two at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from elanus.model.schema import TIMESTAMP_FIELD_ID
from elanus.segment.view import RowSource

NEVER = 2**63 - 1
"""Behind every moment that a row may name."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Rows written before the timestamp `before`; rows that hold `moment` (microseconds) or earlier in the field
    `field_id`, where that is not 0.
    """

    before: int = 0
    field_id: int = 0
    moment: int = 0

    def __bool__(self) -> bool:
        return bool(self.before or self.field_id)

    def rows_left(self, source: RowSource) -> npt.NDArray[np.bool_]:
        """Which rows of `source`, which has the field, are not over."""
        left: npt.NDArray[np.bool_] = source.column(TIMESTAMP_FIELD_ID).to_numpy() >= self.before
        if self.field_id:
            over = pc.less_equal(source.column(self.field_id), self.moment).fill_null(False)
            left &= ~over.to_numpy(zero_copy_only=False)
        return left


NOTHING = Expired()


def first_end_in(source: RowSource, field_id: int) -> int:
    """The first moment in the field `field_id` of `source`; `NEVER` where all are null."""
    first = pc.min(source.column(field_id)).as_py()
    return NEVER if first is None else int(first)
