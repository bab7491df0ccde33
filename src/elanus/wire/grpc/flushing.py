"""Flush, compaction, and what segments there are."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from elanus.model.timestamps import milliseconds_of
from elanus.service import collections, databases, segments, system
from elanus.service.context import RequestContext
from elanus.service.instance import Instance
from elanus.service.segments import SegmentInfo
from elanus.wire.grpc.call import Call
from elanus.wire.grpc.system import NODE_ID


def flush(call: Call, request: milvus_pb2.FlushRequest) -> milvus_pb2.FlushResponse:
    """Seal the rows of each collection named; it is done when this returns."""
    response = milvus_pb2.FlushResponse(db_name=call.ctx.database)
    for name in request.collection_names:
        collections.describe(call.ctx, call.instance, name)
    for name in request.collection_names:
        ids, flushed_to = _flushed(call.ctx, call.instance, name)
        response.coll_segIDs[name].data.extend(ids)
        response.flush_coll_segIDs[name].data.extend(ids)
        response.coll_seal_times[name] = milliseconds_of(flushed_to) // 1000
        response.coll_flush_ts[name] = flushed_to
    return response


def get_flush_state(call: Call, request: milvus_pb2.GetFlushStateRequest) -> milvus_pb2.GetFlushStateResponse:
    """A flush is done when its call has returned. Raises `CollectionNotFound`."""
    if request.collection_name:
        collections.describe(call.ctx, call.instance, request.collection_name)
    return milvus_pb2.GetFlushStateResponse(flushed=True)


def flush_all(call: Call, request: milvus_pb2.FlushAllRequest) -> milvus_pb2.FlushAllResponse:
    """Seal the rows of every collection of the database named (of all, where none is), or of what the targets name."""
    response = milvus_pb2.FlushAllResponse()
    for database, chosen in _targets(call, request):
        ctx = call.ctx.within(database)
        names = chosen or [entry.name for entry in collections.list_all(ctx, call.instance)]
        result = response.flush_results.add(db_name=database)
        for name in names:
            ids, flushed_to = _flushed(ctx, call.instance, name)
            result.collection_results.add(
                collection_name=name,
                segment_ids=schema_pb2.LongArray(data=ids),
                flush_segment_ids=schema_pb2.LongArray(data=ids),
                seal_time=milliseconds_of(flushed_to) // 1000,
                flush_ts=flushed_to,
            )
    response.flush_all_ts = system.timestamp(call.ctx, call.instance)
    return response


def get_flush_all_state(
    _call: Call, _request: milvus_pb2.GetFlushAllStateRequest
) -> milvus_pb2.GetFlushAllStateResponse:
    return milvus_pb2.GetFlushAllStateResponse(flushed=True)


def compact(call: Call, request: milvus_pb2.ManualCompactionRequest) -> milvus_pb2.ManualCompactionResponse:
    """Merge the segments of a collection, behind the caller's back; the id is for `GetCompactionState`."""
    compaction, plans = segments.start_compaction(
        call.ctx,
        call.instance,
        collections.named(call.ctx, call.instance, request.collection_name, request.collectionID),
    )
    return milvus_pb2.ManualCompactionResponse(compactionID=compaction, compactionPlanCount=plans)


def compaction_state(
    call: Call, request: milvus_pb2.GetCompactionStateRequest
) -> milvus_pb2.GetCompactionStateResponse:
    state = segments.compaction(call.ctx, call.instance, request.compactionID)
    return milvus_pb2.GetCompactionStateResponse(
        state=_compaction_state(state.done),
        executingPlanNo=0 if state.done else state.plans,
        completedPlanNo=state.plans if state.done and not state.error else 0,
        failedPlanNo=state.plans if state.error else 0,
    )


def compaction_plans(
    call: Call, request: milvus_pb2.GetCompactionPlansRequest
) -> milvus_pb2.GetCompactionPlansResponse:
    state = segments.compaction(call.ctx, call.instance, request.compactionID)
    merges = [milvus_pb2.CompactionMergeInfo(sources=state.sources, target=state.target)] if state.target else []
    return milvus_pb2.GetCompactionPlansResponse(state=_compaction_state(state.done), mergeInfos=merges)


def persistent_segments(
    call: Call, request: milvus_pb2.GetPersistentSegmentInfoRequest
) -> milvus_pb2.GetPersistentSegmentInfoResponse:
    """The sealed segments, a partition of a segment at a time: a segment may hold several."""
    database = call.ctx.within(request.dbName)
    found = segments.list_all(database, call.instance, request.collectionName)
    return milvus_pb2.GetPersistentSegmentInfoResponse(
        infos=[
            milvus_pb2.PersistentSegmentInfo(
                segmentID=s.id,
                collectionID=s.collection_id,
                partitionID=s.partition_id,
                num_rows=s.rows,
                state=_state(s),
                level=common_pb2.SegmentLevel.L1,
                is_sorted=True,
            )
            for s in found
            if s.sealed
        ]
    )


def query_segments(
    call: Call, request: milvus_pb2.GetQuerySegmentInfoRequest
) -> milvus_pb2.GetQuerySegmentInfoResponse:
    """All segments that are searched, growing ones too. Raises `CollectionNotLoaded`."""
    ctx = call.ctx.within(request.dbName)
    found = segments.list_loaded(ctx, call.instance, request.collectionName)
    return milvus_pb2.GetQuerySegmentInfoResponse(
        infos=[
            milvus_pb2.QuerySegmentInfo(
                segmentID=s.id,
                collectionID=s.collection_id,
                partitionID=s.partition_id,
                mem_size=s.bytes,
                num_rows=s.rows,
                index_name=s.index,
                nodeID=NODE_ID,
                nodeIds=[NODE_ID],
                state=_state(s),
                level=common_pb2.SegmentLevel.L1,
                is_sorted=s.sealed,
            )
            for s in found
        ]
    )


def _flushed(ctx: RequestContext, instance: Instance, collection: str) -> tuple[list[int], int]:
    """Seal a collection's rows; returns the ids of its sealed segments, and a timestamp behind the rows in them."""
    collections.flush(ctx, instance, collection)
    flushed_to = system.timestamp(ctx, instance)
    return [s.id for s in segments.list_all(ctx, instance, collection) if s.sealed], flushed_to


def _targets(call: Call, request: milvus_pb2.FlushAllRequest) -> list[tuple[str, list[str]]]:
    """Databases with the collections to flush there; none named are all of them."""
    if request.flush_targets:
        return [(t.db_name or call.ctx.database, list(t.collection_names)) for t in request.flush_targets]
    if request.db_name:
        return [(request.db_name, [])]
    return [(found.name, []) for found in databases.list_all(call.ctx, call.instance)]


def _state(segment: SegmentInfo) -> common_pb2.SegmentState:
    return common_pb2.SegmentState.Flushed if segment.sealed else common_pb2.SegmentState.Growing


def _compaction_state(done: bool) -> common_pb2.CompactionState:
    return common_pb2.CompactionState.Completed if done else common_pb2.CompactionState.Executing


METHODS = {
    "Flush": flush,
    "GetFlushState": get_flush_state,
    "FlushAll": flush_all,
    "GetFlushAllState": get_flush_all_state,
    "ManualCompaction": compact,
    "GetCompactionState": compaction_state,
    "GetCompactionStateWithPlans": compaction_plans,
    "GetPersistentSegmentInfo": persistent_segments,
    "GetQuerySegmentInfo": query_segments,
}
