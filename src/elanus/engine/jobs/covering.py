"""The jobs of a process that only reads: rows without a graph are covered by interim lists, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elanus.engine.builders import InlineBuilders
from elanus.engine.jobs.board import JobBoard, run
from elanus.engine.jobs.cover import COVER_ROWS, cover
from elanus.model.errors import ReadOnly

if TYPE_CHECKING:
    from elanus.engine.collection import Collection
    from elanus.engine.config import EngineConfig
    from elanus.model.timestamps import Clock


class CoverBoard(JobBoard):
    def __init__(self, config: EngineConfig, clock: Clock) -> None:
        super().__init__(config, clock, InlineBuilders(), lambda: None)

    def rows_arrived(self, collection: Collection) -> None:
        step = 2 * collection.follower.growing_rows // COVER_ROWS
        if step != collection.cover_step:
            collection.cover_step = step
            self._put(self._to_seal, collection, self.clock.monotonic_s())

    def opened(self, collection: Collection) -> None:
        self._put(self._to_seal, collection, self.clock.monotonic_s())

    def wake(self, collection: Collection) -> None:
        """What is to be improved, the writer improves."""

    def flush(self, collection: Collection) -> None:
        raise _read_only()

    def compact(self, collection: Collection) -> None:
        raise _read_only()

    def wait_for_indexes(self, collection: Collection) -> None:
        raise _read_only()

    def _seal_due(self, collection: Collection) -> float | None:
        run(cover(collection))
        return None


def _read_only() -> ReadOnly:
    return ReadOnly("the database was opened for reading only: ask the process that writes")
