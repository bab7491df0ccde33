r"""How far a log has been acknowledged, for other processes of the machine: the file `acknowledged`.

     0   8  magic "ELACKED\n"
     8  16  id of the system's boot in which it was last written
    24   8  position: sequence << 32 | offset
    32   8  the same again

The log is synced before a position is put here, and nobody hears of a write before. So whoever reads the log up to here
sees everything that was acknowledged, and nothing that a power failure could take away. Readers in the writer's own
process see what lies behind a position from the moment at which it stands here (see `engine.follower`), neither before
nor after the others, so that all processes agree about what was when.

The two copies are written one after the other and read in the other order: where they are equal they are whole.
The file itself is never synced. After a power failure it may say less than was acknowledged, so a position of an
earlier boot counts for nothing. There was no writer since the boot then, and all whole frames of the log are durable.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

from elanus.log.position import Position
from elanus.store.machine import boot_id

NAME = "acknowledged"

CHECK_S = 1.0
"""How often a reader looks whether the file is still the same: somebody may have removed it."""

_MAGIC = b"ELACKED\n"
_WORDS_AT, _BYTES = 24, 40
_WORD = struct.Struct("<Q")
_FIRST, _SECOND = _WORDS_AT // 8, _WORDS_AT // 8 + 1


class Acknowledged:
    """The file, for the one writer."""

    def __init__(self, folder: Path, position: Position) -> None:
        """Say that the log is acknowledged to `position`. Raises `OSError`."""
        self._descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.put(position)
        os.pwrite(self._descriptor, _MAGIC + boot_id(), 0)  # only now does it count
        self._view = AcknowledgedView(folder)

    def put(self, position: Position) -> None:
        """Raises `OSError`."""
        word = _WORD.pack(_word_of(position))
        os.pwrite(self._descriptor, word + word, _WORDS_AT)

    def is_at(self, position: Position) -> bool:
        """Whether readers are told of `position`."""
        return self._view.word() == _word_of(position)

    def close(self) -> None:
        os.close(self._descriptor)


class AcknowledgedView:
    """The file, for readers; it need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._boot = boot_id()
        self._words: memoryview | None = None
        self._inode = 0
        self._checked_s = 0.0

    @staticmethod
    def position_of(word: int) -> Position:
        return Position(word >> 32, word & 0xFFFFFFFF)

    def word(self) -> int | None:
        """How far the log is acknowledged; None while no writer has said so since the system was booted."""
        words = self._words
        if words is None or time.monotonic() - self._checked_s > CHECK_S:
            words = self._check()
            if words is None:
                return None
        while (second := words[_SECOND]) != words[_FIRST]:
            pass  # the writer is between two instructions
        return int(second)

    def _check(self) -> memoryview | None:
        """The words, mapped anew where there is another file than before, or it is no longer what it was."""
        self._checked_s = time.monotonic()
        try:
            about = self._path.stat()
        except OSError:
            return self._words
        if self._words is None or about.st_ino != self._inode or about.st_size < _BYTES:
            self._words, self._inode = self._mapped(), about.st_ino
        return self._words

    def _mapped(self) -> memoryview | None:
        with suppress(OSError, ValueError):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_size < _BYTES:
                    return None
                mapped = mmap.mmap(descriptor, _BYTES, prot=mmap.PROT_READ)
            finally:
                os.close(descriptor)
            if mapped[:_WORDS_AT] == _MAGIC + self._boot:
                return memoryview(mapped).cast("Q")
        return None


def _word_of(position: Position) -> int:
    return position.sequence << 32 | position.offset
