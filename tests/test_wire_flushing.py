"""Flush, compaction and segments, as Milvus clients see them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pymilvus import MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from elanus.engine.collection import Collection
from tests.wire_case import Wire, books, keys, make_books, refusal, refused


def compacted(client: MilvusClient, **options: Any) -> int:
    number = client.compact("books", **options)
    until = time.monotonic() + 60
    while client.get_compaction_state(number) != "Completed":
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(number)


def test_a_flush_seals_the_rows_and_is_done_when_it_returns(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=3)
    answer = stub.Flush(milvus_pb2.FlushRequest(collection_names=["books"]))
    assert answer.status.code == 0
    (number,) = answer.coll_segIDs["books"].data
    assert answer.coll_flush_ts["books"] >> 18 > 1_600_000_000_000
    assert answer.coll_seal_times["books"] > 1_600_000_000
    asked = milvus_pb2.GetFlushStateRequest(
        segmentIDs=[number], collection_name="books", flush_ts=answer.coll_flush_ts["books"]
    )
    assert stub.GetFlushState(asked).flushed
    (segment,) = client.list_persistent_segments("books")
    assert (segment.segment_id, segment.num_rows, segment.state) == (number, 3, common_pb2.SegmentState.Flushed)
    client.flush("books")
    assert [s.segment_id for s in client.list_persistent_segments("books")] == [number]
    assert keys(client) == [0, 1, 2]


def test_of_several_collections_all_are_flushed_or_none(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=3)
    assert refusal(stub.Flush(milvus_pb2.FlushRequest(collection_names=["books", "absent"])).status) == 100
    assert client.list_persistent_segments("books") == []


def test_all_is_flushed_where_nothing_is_named(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=3)
    client.create_database("shop")
    client.use_database("shop")
    make_books(client, rows=3)
    make_books(client, "other", rows=3)
    client.use_database("default")
    asked = milvus_pb2.FlushAllRequest
    target = milvus_pb2.FlushAllTarget(db_name="shop", collection_names=["other"])
    (flushed,) = stub.FlushAll(asked(flush_targets=[target])).flush_results
    assert [c.collection_name for c in flushed.collection_results] == ["other"]
    (flushed,) = stub.FlushAll(asked(db_name="shop")).flush_results
    assert [c.collection_name for c in flushed.collection_results] == ["books", "other"]
    assert client.list_persistent_segments("books") == []
    client.flush_all()
    assert len(client.list_persistent_segments("books")) == 1
    assert stub.GetFlushAllState(milvus_pb2.GetFlushAllStateRequest()).flushed
    assert refusal(stub.FlushAll(asked(db_name="absent")).status) == 800


def test_a_compaction_makes_one_segment_of_many(client: MilvusClient, stub: Any) -> None:
    make_books(client)
    for start in (0, 10, 20):
        client.insert("books", books(range(start, start + 5)))
        client.flush("books")
    client.delete("books", ids=[0, 10])
    number = compacted(client)
    (merged,) = client.list_persistent_segments("books")
    assert merged.num_rows in (13, 15)  # the server may have merged them by itself, before the rows were deleted
    plans = stub.GetCompactionStateWithPlans(milvus_pb2.GetCompactionPlansRequest(compactionID=number))
    assert plans.state == common_pb2.CompactionState.Completed
    assert all(p.target == merged.segment_id and p.target not in p.sources for p in plans.mergeInfos)
    state = stub.GetCompactionState(milvus_pb2.GetCompactionStateRequest(compactionID=number))
    assert (state.executingPlanNo, state.completedPlanNo, state.failedPlanNo) == (0, 1, 0)
    assert len(keys(client)) == 13


def test_a_compaction_that_fails_has_ended(in_process: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    make_books(in_process.client, rows=3)

    def fail(_collection: Collection) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Collection, "compact", fail)
    number = compacted(in_process.client)
    assert in_process.client.get_compaction_plans(number).state.value == common_pb2.CompactionState.Completed
    in_process.client.drop_collection("books")


def test_where_there_is_nothing_to_merge_the_compaction_is_done(client: MilvusClient) -> None:
    make_books(client)
    assert compacted(client) == -1
    with refused(1100, "compaction"):
        client.get_compaction_state(12_345)
    with refused(100):
        client.compact("absent")


@pytest.mark.parametrize("options", [{"is_clustering": True}, {"is_l0": True}])
def test_a_compaction_of_any_kind_is_taken(client: MilvusClient, options: dict[str, bool]) -> None:
    make_books(client, rows=3)
    compacted(client, **options)
    assert keys(client) == [0, 1, 2]


def test_loaded_segments_are_listed_with_those_that_grow(client: MilvusClient, stub: Any) -> None:
    make_books(client, rows=3)
    client.create_partition("books", "new")
    client.insert("books", books([7]), partition_name="new")
    growing = client.list_loaded_segments("books")
    assert sorted((s.num_rows, s.state) for s in growing) == [
        (1, common_pb2.SegmentState.Growing),
        (3, common_pb2.SegmentState.Growing),
    ]
    client.flush("books")
    sealed = client.list_loaded_segments("books")
    assert sorted((s.num_rows, s.state) for s in sealed) == [
        (1, common_pb2.SegmentState.Flushed),
        (3, common_pb2.SegmentState.Flushed),
    ]
    asked = milvus_pb2.GetPersistentSegmentInfoRequest(collectionName="books")
    assert len({s.partitionID for s in stub.GetPersistentSegmentInfo(asked).infos}) == 2
    client.release_partitions("books", ["new"])
    assert [s.num_rows for s in client.list_loaded_segments("books")] == [3]
    client.release_collection("books")
    with refused(101):
        client.list_loaded_segments("books")
    assert len(client.list_persistent_segments("books")) == 2


def test_of_absent_collections_there_are_no_segments(client: MilvusClient, stub: Any) -> None:
    asked = milvus_pb2.GetPersistentSegmentInfoRequest(collectionName="absent")
    assert refusal(stub.GetPersistentSegmentInfo(asked).status) == 100
    loaded = milvus_pb2.GetQuerySegmentInfoRequest(collectionName="absent")
    assert refusal(stub.GetQuerySegmentInfo(loaded).status) == 100
    assert refusal(stub.GetFlushState(milvus_pb2.GetFlushStateRequest(collection_name="absent")).status) == 100
