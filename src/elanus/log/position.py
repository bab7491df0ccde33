"""Where a record lies in the log."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """Byte `offset` in the log file `sequence`; always where a record or a file's data begins or ends.

    Positions order as the records were written. `Position(0, 0)` is before everything.
    """

    sequence: int
    offset: int
