"""What an engine's collections share, and where in the Store a collection lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from elanus.engine.config import EngineConfig
from elanus.engine.edits import Edit
from elanus.engine.manifest import Manifest
from elanus.engine.manifest_rules import ManifestRules
from elanus.log.commit import GroupCommit
from elanus.model.errors import CollectionNotFound, ReadOnly
from elanus.model.timestamps import Clock, TimestampOracle
from elanus.store.base import Store
from elanus.store.header import FileKind
from elanus.store.versioned import VersionedState

if TYPE_CHECKING:
    from elanus.engine.jobs.board import JobBoard


@dataclass(frozen=True, slots=True)
class Host:
    """What the engine shares with its collections. `log` is None where the engine only reads."""

    store: Store
    config: EngineConfig
    clock: Clock
    oracle: TimestampOracle
    log: GroupCommit | None
    jobs: JobBoard
    epoch: int


COLLECTIONS = "collections"
"""Where in the Store all of them lie."""


def not_there(collection_id: int) -> CollectionNotFound:
    return CollectionNotFound(f"collection not found[collection={collection_id}]")


def opened_to_read() -> ReadOnly:
    return ReadOnly("the database was opened for reading only: open it without read_only to change it")


def collection_prefix(collection_id: int) -> str:
    return f"{COLLECTIONS}/{collection_id}"


def manifest_of(host: Host, collection_id: int) -> VersionedState[Manifest, Edit]:
    return VersionedState(
        host.store,
        f"{collection_prefix(collection_id)}/manifest",
        ManifestRules(),
        FileKind.MANIFEST,
        host.epoch,
    )
