"""The decisions behind the jobs: when to seal, what to merge, how to cut the log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus.engine.config import EngineConfig
from elanus.engine.jobs.policy import SegmentFacts, cut_log, pick_merge, seal_in_s, should_cut_log

CONFIG = EngineConfig()


def segments(*rows: int) -> list[SegmentFacts]:
    return [SegmentFacts(number, count, dead=0) for number, count in enumerate(rows)]


def test_a_segment_is_sealed_when_it_is_large_or_old_enough_and_not_before() -> None:
    slow_s = CONFIG.seal_burst_s
    assert seal_in_s(CONFIG.seal_rows, 0, slow_s, CONFIG) == 0
    assert seal_in_s(1, CONFIG.seal_bytes, slow_s, CONFIG) == 0
    assert seal_in_s(CONFIG.seal_idle_rows, 0, CONFIG.seal_idle_s, CONFIG) == 0
    assert seal_in_s(CONFIG.seal_idle_rows - 1, 0, 3600.0, CONFIG) is None
    assert seal_in_s(CONFIG.seal_rows - 1, 0, 10.0, CONFIG) == CONFIG.seal_idle_s - 10


def test_what_was_filled_in_a_burst_is_sealed_at_twice_the_size_or_soon_after() -> None:
    rest_s = CONFIG.seal_burst_s - 0.5
    assert seal_in_s(CONFIG.seal_rows, 0, 0.5, CONFIG) == rest_s
    assert seal_in_s(2 * CONFIG.seal_rows - 1, 0, 0.5, CONFIG) == rest_s
    assert seal_in_s(2 * CONFIG.seal_rows, 0, 0.5, CONFIG) == 0
    assert seal_in_s(1, CONFIG.seal_bytes, 0.5, CONFIG) == rest_s
    assert seal_in_s(1, 2 * CONFIG.seal_bytes, 0.5, CONFIG) == 0
    assert seal_in_s(1, CONFIG.seal_bytes, 0.5, replace(CONFIG, unsealed_bytes=2 * CONFIG.seal_bytes)) == 0
    assert seal_in_s(CONFIG.seal_rows, 0, 0.5, replace(CONFIG, seal_idle_s=0.6)) == pytest.approx(0.1)


def test_small_segments_join_the_largest_once_they_are_a_quarter_of_it() -> None:
    assert pick_merge(segments(100_000, 10_000), CONFIG) == ()
    assert pick_merge(segments(100_000, 10_000, 15_000), CONFIG) == (0, 2, 1)


def test_many_small_segments_beside_a_large_one_are_merged_with_each_other() -> None:
    assert pick_merge(segments(1_000_000, 10_000, 10_000, 10_000), CONFIG) == ()
    assert pick_merge(segments(1_000_000, 10_000, 10_000, 10_000, 10_000), CONFIG) == (1, 2, 3, 4)


def test_a_segment_with_many_dead_rows_is_rewritten_alone() -> None:
    mostly_dead = SegmentFacts(1, 1_000, dead=300)
    assert pick_merge([SegmentFacts(0, 500_000, 0), mostly_dead], CONFIG) == (1,)


@given(st.lists(st.integers(1, 10_000_000), max_size=20))
def test_no_merge_exceeds_the_size_limit_and_merging_ends(rows: list[int]) -> None:
    left = segments(*rows)
    for merges in range(200):
        chosen = pick_merge(left, CONFIG)
        if not chosen:
            break
        merged = sum(s.rows for s in left if s.id in chosen)
        assert merged <= CONFIG.merge_max_rows
        assert len(chosen) > 1
        left = [s for s in left if s.id not in chosen] + [SegmentFacts(1_000 + merges, merged, 0)]
    assert not pick_merge(left, CONFIG)


@given(st.dictionaries(st.integers(1, 50), st.integers(0, 1 << 26)))
def test_cutting_the_log_takes_every_owner_along_and_carries_no_more_than_fits(owners: dict[int, int]) -> None:
    to_seal, to_carry = cut_log(owners, CONFIG)
    assert sorted((*to_seal, *to_carry)) == sorted(owners)
    assert sum(owners[i] for i in to_carry) <= CONFIG.carry_bytes
    assert all(owners[small] <= owners[large] for small in to_carry for large in to_seal)


@pytest.mark.parametrize(
    ("log_mib", "needed_mib", "age_s", "cut"),
    [
        (255, 255, 1, False),
        (256, 256, 1, True),
        (80, 10, 1, True),
        (80, 20, 1, False),
        (20, 10, 700, True),
        (60, 60, 700, False),
    ],
)
def test_a_log_is_cut_when_it_is_long_or_when_it_costs_little_and_gains_something(
    log_mib: int, needed_mib: int, age_s: float, cut: bool
) -> None:
    assert should_cut_log(log_mib << 20, needed_mib << 20, age_s, CONFIG) is cut
