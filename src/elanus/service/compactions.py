"""The compactions that clients have started by hand, for as long as they ask how far these are."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class Compactions:
    """The compactions that clients have started; `known` moves under `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    known: dict[int, Compaction] = field(default_factory=dict)

    def put(self, compaction: Compaction) -> None:
        with self.lock:
            self.known[compaction.id] = compaction
            while len(self.known) > MAX_COMPACTIONS:
                del self.known[next(iter(self.known))]
