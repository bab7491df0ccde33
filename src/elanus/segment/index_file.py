"""Index files that are opened when they are first asked for, and are as none where they are lost or damaged."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import pyarrow as pa

from elanus.model.errors import CorruptData, FormatTooNew, KeyNotFound
from elanus.segment.blocks import PAYLOAD_OFFSET, map_payload
from elanus.store.header import FileKind
from elanus.vector import payload
from elanus.vector.payload import Payload

_log = logging.getLogger("elanus.indexes")

Index = TypeVar("Index")


class LazyIndexFile(ABC, Generic[Index]):
    """The file with a Store key, at the path that `locate` gives for it, over the columns that `column` gives by field.

    `is_lost` says that it was found to be lost or damaged; `on_lost` is called then. `INSTEAD` says in the log what is
    done without it.
    """

    INSTEAD: str

    def __init__(
        self,
        field_id: int,
        key: str,
        locate: Callable[[str], Path],
        column: Callable[[int], pa.Array],
        on_lost: Callable[[], None],
    ) -> None:
        self.field_id = field_id
        self.key = key
        self.is_lost = False
        self._locate = locate
        self._column = column
        self._on_lost = on_lost
        self._opened: Index | None = None
        self._unusable = False

    @abstractmethod
    def _over(self, file: Payload, path: Path) -> Index | None:
        """The index that `file` is, read from `path`; None where it is not to be asked. Raises `CorruptData`."""

    def open(self) -> Index | None:
        """The index; None where there is none to be asked. Two threads may both open it; one result is kept.

        Raises `StoreError` where it cannot be fetched.
        """
        if self._opened is not None or self._unusable:
            return self._opened
        opened = None
        try:
            path = self._locate(self.key)
            map_payload(path, FileKind.INDEX, self.field_id)  # checks header and trailer
            opened = self._over(payload.read(path, PAYLOAD_OFFSET), path)
        except (CorruptData, FormatTooNew, KeyNotFound) as error:
            _log.warning("an index is left aside, %s instead: %s", self.INSTEAD, error)
            self.is_lost = not isinstance(error, FormatTooNew)
        self._opened, self._unusable = opened, opened is None
        if self.is_lost:
            self._on_lost()
        return opened
