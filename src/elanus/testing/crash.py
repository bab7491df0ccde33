"""What a power failure may leave on a disk.

`crash_states` walks through a recording and yields, for the moment after each operation, disks as they could be found
after power was lost at that moment. The rules are those of `store.disk`: a synced file has its bytes and its
length, a synced folder its names; of everything else each part may be there or not, whatever the order it was done in:

* a write that was not synced: there, not there (the bytes before it, or zeros), there up to a sector boundary, or
  there in some sectors and not in others; a length that was not synced: the new or the old one;
* what a failed sync should have made durable: not there, whatever is synced later, unless it is written again (Linux
  drops it from the page cache's debts, and reads it from there all the same);
* a name that was not synced: any of those it went through since the last sync of its folder, each on its own.

`CrashFolder` puts a state on a real disk. Objects of a Store are never written to once they have their name, so they
are hard-linked from one copy; all other files are written anew for every state.
"""

from __future__ import annotations

import enum
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elanus.store.disk import parent
from elanus.testing.recording import (
    Named,
    Recorded,
    Recording,
    Resized,
    Synced,
    SyncedFolder,
    SyncFailed,
    Unnamed,
    Wrote,
)

SECTORS = (512, 4096)


class Loss(enum.Enum):
    """What becomes of the things that were not synced."""

    NOTHING = "all of it is there: the process was killed, the machine went on"
    EVERYTHING = "none of it is there"
    DATA = "names and lengths are there, bytes are zero or old"
    TORN = "each file was written up to a sector boundary; each name is there or not"
    SCATTERED = "each sector, each length and each name is there or not"


ALL_LOSSES = tuple(Loss)


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """A file's bytes: `data`, then zeros up to `size`."""

    data: bytes
    size: int
    shared: bool
    """Whether the file is an object of a Store, never written to again."""


@dataclass(frozen=True, slots=True)
class CrashState:
    """A disk as it may be found when power was lost after the first `operations` of a recording."""

    operations: int
    loss: Loss
    folders: Sequence[str]
    files: Mapping[str, Content]
    recording: Recording

    @property
    def marks(self) -> list[Any]:
        """What was marked before the power was lost."""
        return [what for at, what in self.recording.marks if at <= self.operations]


def crash_states(
    recording: Recording,
    rng: random.Random,
    losses: Sequence[Loss] = ALL_LOSSES,
    first: int = 0,
    repeat: int = 1,
) -> Iterator[CrashState]:
    """The states after `first` and every later number of operations, `repeat` for each random loss.

    A moment at which everything was synced has only one state.
    """
    model = _Model(recording)
    for done in range(len(recording.operations) + 1):
        if done >= first:
            for loss in losses if model.pending() else (Loss.NOTHING,):
                for _ in range(repeat if loss in (Loss.TORN, Loss.SCATTERED) and model.pending() else 1):
                    folders, files = model.survivors(loss, rng)
                    yield CrashState(done, loss, folders, files, recording)
        if done < len(recording.operations):
            model.do(recording.operations[done])


class CrashFolder:
    """A folder of `base` that holds one state after the other. `base` should be in memory (/dev/shm) for speed."""

    def __init__(self, base: Path) -> None:
        self._disk = base / "disk"
        self._copies = base / "copies"
        self._copies.mkdir(parents=True)
        self._copied: dict[Content, Path] = {}

    def place(self, state: CrashState) -> Path:
        """Make the folder hold `state` and nothing else, and return it."""
        if self._disk.exists():
            shutil.rmtree(self._disk)
        self._disk.mkdir()
        for folder in state.folders:
            os.mkdir(self._disk / folder)
        root = str(self._disk)
        for name, content in state.files.items():
            if content.shared:
                os.link(self._copy(content), f"{root}/{name}")
            else:
                _write(f"{root}/{name}", content)
        return self._disk

    def _copy(self, content: Content) -> Path:
        path = self._copied.get(content)
        if path is None:
            path = self._copied[content] = self._copies / str(len(self._copied))
            _write(str(path), content)
        return path


def _write(path: str, content: Content) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, content.data)
        os.ftruncate(descriptor, content.size)
    finally:
        os.close(descriptor)


# --- the model -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    """`durable` is on the disk for certain; `pending` was done since the last sync."""

    durable: Content = field(default_factory=lambda: Content(b"", 0, False))
    pending: list[Wrote | Resized] = field(default_factory=list)


@dataclass(slots=True)
class _Folder:
    """`names`, to file numbers (None: a folder), are durable; `pending` changes (-1: unnamed) are not."""

    names: dict[str, int | None] = field(default_factory=dict)
    pending: list[tuple[str, int | None]] = field(default_factory=list)


_GONE = -1


class _Model:
    def __init__(self, recording: Recording) -> None:
        self._folders: dict[str, _Folder] = {"": _Folder()}
        self._files: dict[int, _File] = {}
        self._waiting: set[int | str] = set()
        """Files and folders with something pending."""
        for folder in recording.folders:
            self._folders[folder] = _Folder()
            self._folders[parent(folder)].names[folder] = None
        for name, (number, data) in recording.files.items():
            self._files[number] = _File(Content(data, len(data), False))
            self._folders[parent(name)].names[name] = number

    def pending(self) -> bool:
        return bool(self._waiting)

    def do(self, operation: Recorded) -> None:
        match operation:
            case Named(name, number):
                if number is None:
                    self._folders[name] = _Folder()
                    self._waiting.discard(name)
                elif number not in self._files:
                    self._files[number] = _File()
                else:  # a second name: a Store's object, written to no more
                    file = self._files[number]
                    file.durable = Content(file.durable.data, file.durable.size, shared=True)
                self._rename(name, number)
            case Unnamed(name):
                self._rename(name, _GONE)
            case Wrote(number) | Resized(number):
                self._files[number].pending.append(operation)
                self._waiting.add(number)
            case Synced(number):
                file = self._files[number]
                file.durable = _applied(file.durable, file.pending)
                file.pending.clear()
                self._waiting.discard(number)
            case SyncFailed(number):
                self._files[number].pending.clear()
                self._waiting.discard(number)
            case SyncedFolder(name):
                folder = self._folders[name]
                for changed, target in folder.pending:
                    _name(folder.names, changed, target)
                folder.pending.clear()
                self._waiting.discard(name)

    def survivors(self, loss: Loss, rng: random.Random) -> tuple[list[str], dict[str, Content]]:
        """The folders (those above first) and the files of one outcome."""
        folders: list[str] = []
        files: dict[str, Content] = {}
        contents: dict[int, Content] = {}
        left = [""]
        while left:
            for name, number in self._surviving_names(self._folders[left.pop()], loss, rng).items():
                if number is None:
                    folders.append(name)
                    left.append(name)
                else:
                    if number not in contents:
                        contents[number] = _surviving_content(self._files[number], loss, rng)
                    files[name] = contents[number]
        return folders, files

    def _rename(self, name: str, target: int | None) -> None:
        self._folders[parent(name)].pending.append((name, target))
        self._waiting.add(parent(name))

    @staticmethod
    def _surviving_names(folder: _Folder, loss: Loss, rng: random.Random) -> dict[str, int | None]:
        if not folder.pending or loss is Loss.EVERYTHING:
            return folder.names
        names = dict(folder.names)
        lost: set[str] = set()
        for name, target in folder.pending:
            if loss in (Loss.TORN, Loss.SCATTERED) and (name in lost or rng.random() < 0.5):
                lost.add(name)  # and with it all that became of the name later
            else:
                _name(names, name, target)
        return names


def _name(names: dict[str, int | None], name: str, target: int | None) -> None:
    if target == _GONE:
        names.pop(name, None)
    else:
        names[name] = target


def _surviving_content(file: _File, loss: Loss, rng: random.Random) -> Content:
    if not file.pending or loss is Loss.EVERYTHING:
        return file.durable
    if loss is Loss.NOTHING:
        return _applied(file.durable, file.pending)
    if loss is Loss.DATA:
        size = file.durable.size
        for operation in file.pending:
            size = max(size, _end(operation))
        return Content(file.durable.data, size, file.durable.shared)
    if loss is Loss.TORN:
        return _applied(file.durable, _torn(file.pending, rng))
    return _applied(file.durable, _scattered(file.pending, rng))


def _torn(pending: Sequence[Wrote | Resized], rng: random.Random) -> list[Wrote | Resized]:
    """The first operations, and of the next one, if it is a write, what lies before a sector boundary."""
    whole = rng.randrange(len(pending) + 1)
    kept = list(pending[:whole])
    if whole < len(pending) and isinstance(torn := pending[whole], Wrote):
        sector = rng.choice(SECTORS)
        boundaries = range(torn.offset // sector * sector + sector, torn.offset + len(torn.data), sector)
        if boundaries:
            kept.append(Wrote(torn.file, torn.offset, torn.data[: rng.choice(boundaries) - torn.offset]))
    return kept


def _scattered(pending: Sequence[Wrote | Resized], rng: random.Random) -> list[Wrote | Resized]:
    kept: list[Wrote | Resized] = []
    for operation in pending:
        if isinstance(operation, Resized):
            if rng.random() < 0.5:
                kept.append(operation)
            continue
        sector = rng.choice(SECTORS)
        share = rng.choice((0.1, 0.5, 0.9))
        start, end = operation.offset, operation.offset + len(operation.data)
        for at in range(start // sector * sector, end, sector):
            if rng.random() < share:
                low, high = max(at, start), min(at + sector, end)
                kept.append(Wrote(operation.file, low, operation.data[low - start : high - start]))
        if rng.random() < 0.5:
            kept.append(Resized(operation.file, end, grow=True))
    return kept


def _end(operation: Wrote | Resized) -> int:
    match operation:
        case Wrote(_, offset, data):
            return offset + len(data)
        case Resized(_, length, grow):
            return length if grow else 0


def _applied(content: Content, operations: Sequence[Wrote | Resized]) -> Content:
    data, size = bytearray(content.data), content.size
    for operation in operations:
        match operation:
            case Wrote(_, offset, written):
                if len(data) < offset:
                    data.extend(bytes(offset - len(data)))
                data[offset : offset + len(written)] = written
                size = max(size, len(data))
            case Resized(_, length, grow):
                if grow:
                    size = max(size, length)
                else:
                    del data[length:]
                    size = length
    return Content(bytes(data), size, content.shared)
