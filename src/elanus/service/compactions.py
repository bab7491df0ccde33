"""The compactions that clients have started by hand, for as long as they ask how far these are."""

from __future__ import annotations

from dataclasses import dataclass

MAX_COMPACTIONS = 1024
"""Compactions remembered after they have ended; a client polls for one as long as it runs, and a little after."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """How far a compaction is. It merges `sources` into `target` (0: there was nothing to merge)."""

    id: int
    sources: tuple[int, ...]
    plans: int = 1
    target: int = 0
    done: bool = False
    error: str = ""
