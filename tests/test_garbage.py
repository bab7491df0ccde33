"""Garbage collection: what nothing can reach goes, what anything can reach stays."""

from __future__ import annotations

from pathlib import Path

from elanus.engine.jobs.board import run
from elanus.engine.jobs.collect import collect
from elanus.engine.query import QueryRequest, query
from tests.engine_case import COLLECTION_ID, EngineCase, config


def files(case: EngineCase) -> set[str]:
    return set(case.store.keys(f"collections/{COLLECTION_ID}/segments/"))


def two_segments(case: EngineCase) -> None:
    case.insert(range(10))
    case.collection.flush()
    case.insert(range(10, 20))
    case.collection.flush()


def test_after_a_merge_the_inputs_go_and_every_named_file_stays(quick_path: Path) -> None:
    case = EngineCase(quick_path)
    two_segments(case)
    before = files(case)
    case.collection.compact()
    run(collect(case.collection))
    assert not before & files(case)
    assert files(case) == case.collection.manifest.keys()
    case.reopen()
    case.check()


def test_files_of_retained_versions_stay_until_retention_is_over(quick_path: Path) -> None:
    case = EngineCase(quick_path, config(retention_s=600.0))
    two_segments(case)
    before = files(case)
    case.collection.compact()
    run(collect(case.collection))
    assert before <= files(case)
    case.clock.advance(601)
    run(collect(case.collection))
    assert files(case) == case.collection.manifest.keys()
    case.check()


def test_a_held_snapshot_keeps_its_files_and_answers_as_before(quick_path: Path) -> None:
    case = EngineCase(quick_path)
    two_segments(case)
    snapshot = case.collection.snapshot()
    case.delete(range(5))
    case.collection.flush()
    case.collection.compact()
    run(collect(case.collection))
    assert query(snapshot, QueryRequest(output_fields=("value", "vector"))).column("id").to_pylist() == list(range(20))
    del snapshot
    run(collect(case.collection))
    assert files(case) == case.collection.manifest.keys()
    case.check()


def test_superseded_delete_files_and_dropped_indexes_go_while_their_segment_stays(quick_path: Path) -> None:
    case = EngineCase(quick_path)
    case.create_index()
    two_segments(case)
    case.collection.wait_for_indexes()
    for keys in ([1], [2, 11], [3, 12]):
        case.delete(keys)
        case.collection.flush()
    case.collection.drop_index("vector")
    run(collect(case.collection))
    assert files(case) == case.collection.manifest.keys()
    case.reopen()
    case.check()


def test_an_index_that_a_held_snapshot_has_not_opened_yet_stays(quick_path: Path) -> None:
    case = EngineCase(quick_path, config(index_min_rows=8))
    case.create_index()
    two_segments(case)
    case.collection.wait_for_indexes()
    snapshot = case.collection.snapshot()
    case.collection.drop_index("vector")
    run(collect(case.collection))
    for unit in snapshot.sealed:
        for handle in unit.indexes.values():
            assert handle.open().rows == 10
    del snapshot, unit, handle
    run(collect(case.collection))
    assert files(case) == case.collection.manifest.keys()


def test_files_of_a_job_that_never_committed_are_collected_after_reopening(quick_path: Path) -> None:
    case = EngineCase(quick_path)
    two_segments(case)
    case.store.put(f"collections/{COLLECTION_ID}/segments/1-99/100.column", b"half a job")
    case.reopen()
    run(collect(case.collection))
    assert files(case) == case.collection.manifest.keys()


def test_files_of_a_job_under_way_are_not_collected(quick_path: Path) -> None:
    case = EngineCase(quick_path)
    two_segments(case)
    key = f"{case.collection.segment_prefix(99)}/100.column"
    with case.collection.pending(case.collection.segment_prefix(99)):
        case.store.put(key, b"about to be named")
        run(collect(case.collection))
        assert key in files(case)
    run(collect(case.collection))
    assert key not in files(case)
