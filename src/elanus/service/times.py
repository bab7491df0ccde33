"""Guarantee timestamps: which writes a read has to see.

Every read sees all that was acknowledged before it began, so Strong, Session, Bounded and Eventually come to the same,
and no timestamp of the past asks for anything more. One of the future does: writes up to then are to be seen, so the
read waits until it has come. A process that only reads a bucket looks for more where it has not seen as much.
"""

from __future__ import annotations

import time
from contextlib import suppress

from elanus.engine.collection import Collection
from elanus.engine.snapshot import Snapshot
from elanus.model.errors import ElanusError, InvalidParameter
from elanus.model.timestamps import milliseconds_of
from elanus.service import iteration
from elanus.service.context import RequestContext
from elanus.service.instance import Instance

LARGEST_NAMED = 2
"""Timestamps up to this are names: 0 strong, 1 eventually, 2 bounded."""

LONGEST_WAIT_S = 86_400.0
"""Milvus refuses to wait longer; nobody means it."""


def picture(
    ctx: RequestContext,
    instance: Instance,
    collection: Collection,
    timestamp: int,
    *,
    iterates: bool,
    ignore_growing: bool = False,
) -> tuple[Snapshot, int]:
    """What a client's read with this guarantee timestamp sees, and the timestamp of that picture.

    An iterator's reads (`iterates`) see the picture at `timestamp`, or begin with the newest where that is but a name;
    any other read sees the newest, once `timestamp` has come. With `ignore_growing` rows that are in no segment yet are
    not seen. Raises as `reach` and `iteration.picture` do.
    """
    if timestamp > LARGEST_NAMED and not has_come(instance, timestamp):
        reach(ctx, instance, timestamp)
        collection = instance.engine.collection(collection.id)  # it may have been opened anew
    if not iterates:
        snapshot = collection.snapshot()
        seen = snapshot.timestamp
    elif timestamp > LARGEST_NAMED:
        snapshot, seen = iteration.picture(instance.iterations, collection, timestamp), timestamp
    else:
        snapshot, seen = iteration.begin(instance.iterations, collection)
    return snapshot.without_growing if ignore_growing else snapshot, seen


def has_come(instance: Instance, timestamp: int) -> bool:
    """Whether a read with this guarantee timestamp need not wait."""
    oracle, reader = instance.engine.oracle, instance.reader
    if timestamp > oracle.last and reader is not None and reader.is_local:
        with suppress(ElanusError):  # the read itself will say so
            reader.catch_up()
    return timestamp <= oracle.last


def reach(ctx: RequestContext, instance: Instance, timestamp: int) -> None:
    """Return when `timestamp` has come: at once where it is of the past.

    Raises `DeadlineExceeded`, and `InvalidParameter` for one that lies days ahead.
    """
    if has_come(instance, timestamp):
        return
    ahead_s = (milliseconds_of(timestamp) - instance.engine.clock.now_ms()) / 1000
    if ahead_s > LONGEST_WAIT_S:
        raise InvalidParameter(f"guarantee timestamp {timestamp} lies {ahead_s:.0f} s ahead: it is not waited for")
    instance.refresh()
    while ahead_s > 0:
        ctx.check_waiting()
        time.sleep(min(ahead_s, 0.1))  # nothing signals that time has passed
        ahead_s = (milliseconds_of(timestamp) - instance.engine.clock.now_ms()) / 1000
