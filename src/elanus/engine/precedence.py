"""Searches go first.

A search lets go of the interpreter while it is in compiled code, and cannot go on before it has it back. A write keeps
it from the moment it comes until it waits for the disk, and from then until its rows are seen: 250 and 180 µs where it
comes after a pause, with nothing of it left in the caches. So while there are searches in compiled code, writes give
way between their steps, 60 µs each time.

With a thread that searches and one that inserts ten rows a hundred times a second, the slowest hundredth of the
searches took .49 ms without and .40 so, for inserts that take 5 to 10 % longer (decision 0019).
"""

from __future__ import annotations

import time

IN_COMPILED_CODE: set[int] = set()
"""The threads that search there. To add one and to discard one are one step each."""

GIVE_WAY_S = 5e-6
"""The system makes some 60 µs of it, in which a thread that waits for the interpreter wakes up and takes it."""


def give_way() -> None:
    """Between two steps of a write."""
    if IN_COMPILED_CODE:
        time.sleep(GIVE_WAY_S)
