"""The log stays short: large owners are sealed, the rows of small collections are carried forward."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elanus import Elanus
from elanus.engine.builders import InlineBuilders
from elanus.engine.query import count
from elanus.log.carry import CarryRecord
from elanus.log.record import ChangeRecord, FenceRecord
from elanus.service.instance import Instance
from tests.engine_case import COLLECTION_ID, EngineCase, config
from tests.native_case import QUIET, until


def log_files(case: EngineCase) -> list[str]:
    return sorted(path.name for path in (case.folder / "log").iterdir())


def test_small_collections_are_carried_and_nothing_is_lost(quick_path: Path) -> None:
    case = EngineCase(quick_path)
    case.insert(range(10))
    case.delete([3])
    before = log_files(case)
    case.engine.cut_log()
    assert not set(before) & set(log_files(case))
    assert not case.collection.manifest.segments
    case.check()
    case.upsert([4, 5], value=2)
    case.engine.cut_log()
    case.engine.cut_log()
    case.check()
    case.reopen()
    case.check()
    case.delete([0])
    case.reopen()
    case.check()


def test_a_collection_that_was_not_touched_since_opening_is_carried_unread(quick_path: Path) -> None:
    case = EngineCase(quick_path)
    case.insert(range(10))
    case.reopen()
    case.engine.cut_log()
    assert COLLECTION_ID not in case.engine._collections
    case.reopen()
    case.check()


def test_large_owners_are_sealed_and_leave_the_log(quick_path: Path) -> None:
    case = EngineCase(quick_path, config(carry_bytes=0))
    case.insert(range(10))
    case.delete([3])
    case.engine.cut_log()
    assert sum(entry.meta.rows for entry in case.collection.manifest.segments.values()) >= 9
    assert not [r for _, r in case.engine._log_file.read() if isinstance(r, CarryRecord)]
    case.reopen()
    case.check()


def test_rows_sealed_after_they_were_carried_do_not_come_twice(quick_path: Path) -> None:
    case = EngineCase(quick_path)
    case.insert(range(10))
    case.engine.cut_log()
    case.collection.flush()
    case.insert(range(10, 12))
    case.reopen()
    assert count(case.collection.snapshot()) == 12
    case.check()


def test_deletes_of_sealed_rows_survive_the_cut(quick_path: Path) -> None:
    case = EngineCase(quick_path)
    case.insert(range(10))
    case.collection.flush()
    case.delete([1, 2])
    case.engine.cut_log()
    case.reopen()
    case.check()
    case.collection.flush()
    case.engine.cut_log()
    case.reopen()
    case.check()


def test_the_log_of_a_busy_database_stays_under_its_bound(quick_path: Path) -> None:
    case = EngineCase(quick_path, config(log_bytes=1 << 20, carry_bytes=1 << 10))
    case.engine._log_file._file_bytes = 1 << 18
    for round_number in range(40):
        case.insert(range(1000 * round_number, 1000 * round_number + 500))
        case.engine._cut_log()
    assert case.engine._log_file.byte_size < 2 << 20
    case.reopen()
    assert count(case.collection.snapshot()) == 40 * 500


def test_a_log_that_is_in_segments_already_goes_and_one_that_is_not_stays(quick_path: Path) -> None:
    case = EngineCase(quick_path, config(log_waste_bytes=1 << 14, carry_bytes=1 << 12))
    case.insert(range(1000))
    before = log_files(case)
    case.engine._cut_log()
    assert log_files(case) == before
    case.collection.flush()
    case.insert(range(1000, 1010))
    case.engine._cut_log()
    assert not set(before) & set(log_files(case))
    case.reopen()
    case.check()


@pytest.mark.parametrize("reopens", [False, True])
def test_a_flush_frees_the_log_also_when_the_process_ends_before(quick_path: Path, reopens: bool) -> None:
    limits = replace(QUIET, log_waste_bytes=1 << 14, carry_bytes=1 << 12, seal_idle_s=0.1)
    first = quick_path / "log" / f"{1:020}.log"
    with closing(Instance.open(quick_path, replace(limits, background=not reopens))) as instance:
        collection = Elanus(instance).create_collection("c", dimension=4)
        collection.insert({"id": np.arange(1000), "vector": np.zeros((1000, 4), np.float32)})
        collection.flush()
        if not reopens:
            until(lambda: not first.exists())
    assert first.exists() == reopens
    with closing(Instance.open(quick_path, replace(limits, background=True))) as instance:
        until(lambda: not first.exists())
        assert Elanus(instance).collection("c").count() == 1000


def test_records_of_a_collection_dropped_in_an_earlier_life_do_not_keep_the_log_from_being_cut(
    quick_path: Path,
) -> None:
    limits = replace(QUIET, carry_bytes=0, retention_s=0.0)

    def reopened() -> Instance:
        return Instance.open(quick_path, limits, builders=InlineBuilders())

    with closing(reopened()) as instance:
        db = Elanus(instance)
        for name in ("kept", "dropped", "purged"):
            db.create_collection(name, dimension=4).insert([{"id": 1, "vector": [1.0, 0.0, 0.0, 0.0]}])
        db.drop_collection("dropped")
        db.drop_collection("purged", purge=True)
    with closing(reopened()) as instance:
        instance.engine.cut_log()
        assert not [r for _, r in instance.engine._log_file.read() if not isinstance(r, (FenceRecord, ChangeRecord))]
        assert Elanus(instance).collection("kept").count() == 1
