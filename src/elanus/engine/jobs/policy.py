"""What to do next and why: when to seal, what to merge, which index to build, how to cut the log.

Functions without I/O on plain facts, so that every decision can be read, tested and explained on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from elanus.engine.config import EngineConfig


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """A sealed segment as the policies see it; `dead` counts rows that a merge would leave out."""

    id: int
    rows: int
    dead: int

    @property
    def live(self) -> int:
        return self.rows - self.dead


def seal_in_s(rows: int, size_bytes: int, age_s: float, config: EngineConfig) -> float | None:
    """In how many seconds a growing segment of `rows` and `size_bytes`, begun `age_s` seconds ago, is due: 0 for now,
    None for never if nothing more is written.
    """
    fullness = max(rows / config.seal_rows, size_bytes / config.seal_bytes)
    if fullness >= 2 or 2 * size_bytes >= config.unsealed_bytes:
        return 0.0
    if fullness < 1 and rows < config.seal_idle_rows:
        return None
    patience_s = config.seal_idle_s if fullness < 1 else min(config.seal_burst_s, config.seal_idle_s)
    return max(0.0, patience_s - age_s)


def pick_merge(segments: Iterable[SegmentFacts], config: EngineConfig) -> tuple[int, ...]:
    """Ids of the segments to merge next, the largest first; empty when all is well.

    A segment with too many dead rows is rewritten alone. Otherwise segments are merged as soon as `merge_fan_in` of
    them lie within one size class, and small ones join the largest as soon as together they are a quarter of it: a
    search walks every graph, so few large ones are worth some rewriting (one graph answers 3-4 times faster than
    several over the same rows).
    """
    by_size = sorted(segments, key=lambda s: (-s.live, s.id))
    for s in by_size:
        if s.dead > config.rebuild_dead_share * s.rows:
            return (s.id,)
    candidates = [s for s in by_size if s.live <= config.merge_max_rows // 2]
    for start, largest in enumerate(candidates):
        group = _within(candidates[start:], config.merge_max_rows)
        smaller = sum(s.live for s in group[1:])
        if len(group) > 1 and smaller * 4 >= largest.live and (len(group) >= config.merge_fan_in or start == 0):
            return tuple(s.id for s in group)
    return ()


def _within(segments: Sequence[SegmentFacts], max_rows: int) -> list[SegmentFacts]:
    """As many of `segments`, in order, as fit into `max_rows` together."""
    group: list[SegmentFacts] = []
    rows = 0
    for s in segments:
        if rows + s.live <= max_rows:
            group.append(s)
            rows += s.live
    return group


def should_cut_log(log_bytes: int, needed_bytes: int, age_s: float, config: EngineConfig) -> bool:
    """Whether the log is too long; or what it has to keep is easily carried, and much of it is waste or it is old.

    Age alone is no reason: ten thousand small collections would be sealed for it, one by one, to shorten nothing much.
    """
    if log_bytes >= config.log_bytes:
        return True
    wasteful = log_bytes - needed_bytes >= config.log_waste_bytes or age_s >= config.log_age_s
    return wasteful and needed_bytes <= config.carry_bytes


def cut_log(owners: Mapping[int, int], config: EngineConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How to free the log of `owners` (collection id → bytes that only the log holds): (to seal, to carry forward).

    The smallest owners are carried in one record while they fit into `carry_bytes` together; the others are sealed.
    Ten thousand small collections cost one record, not ten thousand files.
    """
    carried: list[int] = []
    room = config.carry_bytes
    for collection_id, size_bytes in sorted(owners.items(), key=lambda owner: (owner[1], owner[0])):
        if size_bytes > room:
            break
        room -= size_bytes
        carried.append(collection_id)
    kept = frozenset(carried)
    return tuple(c for c in owners if c not in kept), tuple(carried)
