"""The jobs of a process that only reads: rows without a graph are covered by interim lists, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elanus.engine.builders import InlineBuilders
from elanus.engine.host import opened_to_read
from elanus.engine.jobs.board import JobBoard

if TYPE_CHECKING:
    from elanus.engine.collection import Collection
    from elanus.engine.config import EngineConfig
    from elanus.model.timestamps import Clock


class CoverBoard(JobBoard):
    def __init__(self, config: EngineConfig, clock: Clock) -> None:
        super().__init__(config, clock, InlineBuilders(), lambda: None)

    def opened(self, collection: Collection) -> None:
        self._put(self._to_seal, collection, self.clock.monotonic_s())

    def wake(self, collection: Collection) -> None:
        """What is to be improved, the writer improves."""

    def flush(self, collection: Collection) -> None:
        raise opened_to_read()

    def compact(self, collection: Collection) -> None:
        raise opened_to_read()

    def wait_for_indexes(self, collection: Collection) -> None:
        raise opened_to_read()

    def _seal_in_s(self, collection: Collection) -> float | None:
        """The writer seals."""
        return None
