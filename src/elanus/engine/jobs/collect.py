"""Garbage collection by reachability: what no retained manifest names goes, what any names stays.

An object of a collection is garbage when no retained version of its manifest names it, no job of this writer is about
to (`Collection.pending`), and no snapshot of this process may still open it. Age alone proves nothing: a job may
have run for hours, and a file may be named by a version that is older still. What a later writer has put is none of
this one's business, which may have been replaced and not know of it yet.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from elanus.engine.host import collection_prefix

if TYPE_CHECKING:
    from elanus.engine.collection import Collection


_EPOCHS = re.compile(r"(?:^|/)(\d+)-")


def collect(collection: Collection) -> Iterator[str]:
    """Delete what is garbage in `collection`, and the manifest versions past retention.

    The order matters: objects are listed before the pending ones are asked for, and those before the names are read,
    so a job that commits meanwhile is seen in one of the three.
    """
    store, versions = collection.store, collection.versions
    folder = f"{collection_prefix(collection.id)}/segments/"
    listed = [key for key in store.keys(folder) if _epoch_of(key.removeprefix(folder)) <= collection.host.epoch]
    yield "listed"
    unclaimed = [key for key in listed if not collection.is_pending(key)]
    in_use = collection.follower.keys_in_use()
    with collection.commit_mutex:
        named: set[str] = set()
        retained_ms = collection.host.clock.now_ms() - collection.host.config.retention_s * 1000
        history = list(versions.history())
        oldest_kept = history[-1][0]
        for (version, state), (_, successor) in itertools.pairwise(history):
            if successor.committed_ms > retained_ms:
                oldest_kept = min(oldest_kept, version)
                named |= state.keys()
        named |= history[-1][1].keys()
    yield "named"
    versions.forget(oldest_kept)
    store.delete([key for key in unclaimed if key not in named and key not in in_use])
    yield "deleted"


def _epoch_of(name: str) -> int:
    """Of the writer of a file `<epoch>-<segment>/<name>`: files that were added to a segment later say theirs, too."""
    return max(int(epoch) for epoch in _EPOCHS.findall(name))
