"""Manifests: every edit survives being written and read, and losing a race is decided by rule."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from elanus.engine.edits import (
    Edit,
    IndexBuilt,
    IndexDefined,
    IndexDropped,
    PartitionAdded,
    PartitionDropped,
    PropertiesSet,
    Replaced,
    Sealed,
    Stamp,
    Truncated,
    apply,
    rebase,
)
from elanus.engine.manifest import DeleteFile, IndexDefinition, Manifest, SegmentEntry
from elanus.engine.manifest_rules import ManifestRules
from elanus.model.errors import IndexNotFound, InvalidParameter
from elanus.model.schema import Field, Schema
from elanus.model.types import DataType, Metric
from elanus.segment.sealed import SegmentMeta

SCHEMA = Schema((Field("id", DataType.INT64, is_primary=True), Field("v", DataType.FLOAT_VECTOR, dim=4))).checked()
INDEX = IndexDefinition("v", 101, "HNSW", Metric.L2, {"M": 8})


def entry(segment_id: int, rows: int = 10) -> SegmentEntry:
    meta = SegmentMeta(
        segment_id, f"c/{segment_id}", rows, 1, 100, {1: 80, 100: 80, 101: 160}, 64, 1, 9, ((1, 0, rows),), 0, 9, True
    )
    return SegmentEntry(meta)


def state(*edits: Edit) -> Manifest:
    made = Manifest(schemas=(SCHEMA,))
    for edit in edits:
        made = apply(made, edit)
    return made


FULL = state(
    Stamp(5),
    IndexDefined(INDEX),
    PartitionAdded("blue"),
    PropertiesSet({"a": "1"}),
    Sealed(entry(3), {}, 7, 7),
    Sealed(entry(4), {3: DeleteFile("c/3/x.deletes", 2)}, 9, 9),
    IndexBuilt(3, 1, "c/3/y.index"),
)

EDITS: tuple[Edit, ...] = (
    Stamp(17),
    Sealed(entry(5), {3: DeleteFile("k", 4)}, 11, 12),
    Sealed(None, {}, 11, 12),
    Replaced((3, 4), replace(entry(6, 20), indexes={1: "c/6/z.index"}, deletes=DeleteFile("d", 1))),
    Replaced((3,), None),
    IndexBuilt(4, 1, "c/4/q.index"),
    IndexDefined(replace(INDEX, name="other", field_id=102)),
    IndexDropped("v"),
    PartitionAdded("red"),
    PartitionDropped("blue"),
    Truncated(20),
    PropertiesSet({"b": "2"}, ("a",)),
)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: type(edit).__name__)
def test_an_edit_is_the_same_after_it_was_written_and_read(edit: Edit) -> None:
    rules = ManifestRules()
    again = rules.load_edit(orjson.loads(orjson.dumps(rules.dump_edit(edit))))
    assert again == edit
    assert apply(FULL, again) == apply(FULL, edit)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: type(edit).__name__)
def test_a_manifest_is_the_same_after_it_was_written_and_read(edit: Edit) -> None:
    rules = ManifestRules()
    made = apply(FULL, edit)
    assert rules.load_state(orjson.loads(orjson.dumps(rules.dump_state(made)))) == made


def test_a_built_index_is_void_once_its_segment_or_its_definition_is_gone() -> None:
    built = IndexBuilt(3, 1, "k")
    assert rebase(FULL, built) == built
    assert rebase(apply(FULL, Replaced((3,), None)), built) is None
    assert rebase(apply(FULL, IndexDropped("v")), built) is None


def test_a_replacement_is_void_once_one_of_its_inputs_is_gone() -> None:
    merged = Replaced((3, 4), entry(6, 20))
    assert rebase(FULL, merged) == merged
    assert rebase(apply(FULL, Replaced((4,), None)), merged) is None


def test_a_replacement_leaves_behind_the_file_of_an_index_dropped_meanwhile() -> None:
    merged = Replaced((3, 4), replace(entry(6, 20), indexes={1: "c/6/z.index"}))
    rebased = rebase(apply(FULL, IndexDropped("v")), merged)
    assert isinstance(rebased, Replaced)
    assert rebased.output is not None
    assert rebased.output.indexes == {}


def test_a_sealed_segment_is_void_once_the_collection_was_truncated_past_it() -> None:
    sealed = Sealed(entry(5), {}, 11, 12)
    assert rebase(FULL, sealed) == sealed
    assert rebase(apply(FULL, Truncated(12)), sealed) is None


def test_how_far_the_log_is_sealed_never_steps_back() -> None:
    made = apply(FULL, Sealed(None, {}, 30, 30))
    assert apply(made, Truncated(10)).sealed_to == 30


def test_an_index_defined_anew_under_an_old_name_has_another_id() -> None:
    again = apply(apply(FULL, IndexDropped("v")), IndexDefined(INDEX))
    assert again.indexes["v"].id != FULL.indexes["v"].id
    assert all(not e.indexes for e in again.segments.values())


def test_a_partition_id_is_never_used_again() -> None:
    again = apply(apply(FULL, PartitionDropped("blue")), PartitionAdded("blue"))
    assert again.partitions["blue"] != FULL.partitions["blue"]


def test_dropping_an_index_that_is_not_there_is_an_error() -> None:
    with pytest.raises(IndexNotFound, match="nothing"):
        apply(FULL, IndexDropped("nothing"))


def test_a_collection_has_at_most_1024_partitions() -> None:
    made = FULL
    for number in range(1024 - len(FULL.partitions)):
        made = apply(made, PartitionAdded(f"p{number}"))
    with pytest.raises(InvalidParameter, match="1024"):
        apply(made, PartitionAdded("one_more"))


def test_a_version_names_every_file_it_needs() -> None:
    assert FULL.keys() == {
        *(f"c/{s}/{name}" for s in (3, 4) for name in ("1.column", "100.column", "101.column", "keys.index")),
        "c/3/x.deletes",
        "c/3/y.index",
    }
