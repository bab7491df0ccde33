"""A value with a history: numbered versions in the Store, one winner each.

    <prefix>/<version, 20 digits>.delta        small file; JSON {"version", "epoch", "edits": […]}
                                               or {"version", "epoch", "state": …} for the first of a created value
    <prefix>/<version, 20 digits>.checkpoint   small file; JSON {"version", "epoch", "state": …}

Version 0 is `rules.initial()`. A commit is one delta, put if absent under the next number: of all that try, one wins,
and the others read the winner's edits, apply them, ask `rules.rebase` whether their own still hold, and try the number
after it. A checkpoint is the state after its version, written beside every 64th delta or so; it only shortens reading.

Invariants:

* versions are contiguous: a missing number below a later one means a lost file, and reading stops there;
* a version, once returned by `commit`, is never changed; `forget` takes only what no version from there on needs;
* epochs do not fall: a delta whose epoch is below that of a delta before it is void. It takes up its number, but
  changes nothing: it was written by a writer that had been replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import orjson

from elanus.model.errors import CorruptData, KeyExists, KeyNotFound, StoreError, WriterStopped
from elanus.store.base import Store
from elanus.store.header import FileKind, pack_small, unpack_small

CHECKPOINT_EVERY = 64
"""A reader gets at most about so many deltas; a checkpoint of a large value costs as much as many of them."""

_LISTINGS = 10
"""How often a reader looks again when versions it had listed were forgotten meanwhile."""

S = TypeVar("S")
E = TypeVar("E")


class StateRules(Protocol[S, E]):
    """What a `VersionedState` has to know of its value. States and edits are never changed in place."""

    def initial(self) -> S: ...

    def apply(self, state: S, edit: E) -> S:
        """The state after `edit`; raises an `ElanusError` where the edit asks for what cannot be."""
        ...

    def rebase(self, edit: E, state: S) -> E | None:
        """`edit`, made against this or an older state, as it holds against `state`; None when it has become void."""
        ...

    def dump_state(self, state: S) -> Mapping[str, Any]: ...

    def load_state(self, data: Mapping[str, Any]) -> S: ...

    def dump_edit(self, edit: E) -> Mapping[str, Any]: ...

    def load_edit(self, data: Mapping[str, Any]) -> E: ...


@dataclass(frozen=True, slots=True)
class _Current(Generic[S]):
    version: int
    epoch: int
    state: S


class VersionedState(Generic[S, E]):
    """The value under `prefix`. `state` and `version` may be read by any thread at any time, without a lock.

    `epoch` is the writer's; a reader needs none.
    """

    def __init__(self, store: Store, prefix: str, rules: StateRules[S, E], kind: FileKind, epoch: int = 0) -> None:
        self._store = store
        self._prefix = prefix
        self._rules = rules
        self._kind = kind
        self._epoch = epoch
        self._lock = threading.Lock()
        """Held by whoever moves `_current`, so that it only grows."""
        self._current = _Current(0, 0, rules.initial())
        self._checkpoint = 0
        self._stopped: str | None = None

    @property
    def state(self) -> S:
        return self._current.state

    @property
    def version(self) -> int:
        return self._current.version

    def exists(self) -> bool:
        return bool(self._store.keys(f"{self._prefix}/"))

    def create(self, first_state: S) -> S:
        """Make `first_state` version 1 of a new value; raises `KeyExists` when there is one already."""
        with self._lock:
            if self.exists():
                raise KeyExists(f"{self._prefix} exists: load it instead of creating it")
            self._put(self._delta_key(1), {"version": 1, "epoch": self._epoch, "state": self._dump(first_state)})
            self._current = _Current(1, self._epoch, first_state)
            return first_state

    def load(self) -> S:
        """Read the newest version; `rules.initial()` when nothing was ever committed.

        A writer's is durable: the one before it may have been killed between putting a version and making it so. Where
        the Store takes no writes any more there is nothing to build on it, and it is read as it is.
        """
        with self._lock:
            if self._epoch:
                with suppress(WriterStopped):
                    self._store.settle(self._prefix)
            self._load()
            return self._current.state

    def refresh(self) -> S:
        """Read what others have committed since; costs one failed read when there is nothing new."""
        with self._lock:
            self._catch_up()
            return self._current.state

    def go_back(self, version: int) -> None:
        """From a newer version to `version`, for readers; it stays where that is not retained."""
        with self._lock, suppress(KeyNotFound):
            self._current = self._at(version)

    def follow(self, version: int) -> bool:
        """Move on to `version`, which somebody has committed; False where what leads there has been forgotten."""
        with self._lock:
            while self._current.version < version:
                try:
                    self._current = self._next(self._current)
                except KeyNotFound:
                    return False
            return True

    def commit(self, edits: Sequence[E]) -> S:
        """Make the next version with those of `edits` that still hold, all at once, and return its state.

        Each edit is rebased on the state it meets: what it was made against may be older. When none holds any more
        nothing is committed. Raises what `rules.apply` raises, `WriterStopped` when a writer of a later epoch has
        taken over, and `StoreError` when the version may or may not have been written.
        """
        with self._lock:
            while True:
                self._check_writer()
                state, held = self._rebased(edits)
                if not held:
                    return self._current.state
                if self._wins(held, state):
                    return state

    def fence(self) -> S:
        """Make what earlier writers commit from now on void, and return the state that they leave.

        For where nothing else keeps them from it. Raises `WriterStopped` when this writer is an earlier one itself.
        """
        with self._lock:
            while self._current.epoch != self._epoch:
                self._check_writer()
                self._wins([], self._current.state)
            return self._current.state

    def at(self, version: int) -> S:
        """The state as it was after `version`; raises `KeyNotFound` when that is not retained."""
        try:
            return self._at(version).state
        except KeyNotFound:
            raise KeyNotFound(
                f"version {version} of {self._prefix} is not there: it was forgotten or never committed"
            ) from None

    def versions(self) -> list[int]:
        """The versions that `at` can read, rising."""
        deltas, checkpoints = self._list()
        readable = {0}
        for version in sorted(deltas | checkpoints):
            if version in checkpoints or version - 1 in readable:
                readable.add(version)
        return sorted(readable - {0})

    def history(self) -> Iterator[tuple[int, S]]:
        """The retained versions, rising, each with its state."""
        current: _Current[S] | None = None
        for version in self.versions():
            current = self._next(current) if current is not None and current.version == version - 1 else None
            if current is None:
                current = _Current(version, 0, self.at(version))
            yield version, current.state

    def forget(self, before_version: int) -> None:
        """Delete what only the versions below `before_version` need. Some versions below it may stay readable."""
        deltas, checkpoints = self._list()
        base = max((c for c in checkpoints if c <= before_version), default=0)
        old = [self._checkpoint_key(c) for c in sorted(checkpoints) if c < base]
        old += [self._delta_key(d) for d in sorted(deltas) if d <= base]
        self._store.delete(old)

    # --- reading ---------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Move to the newest version. A listing that does not hold together is taken again before it is believed:
        while it was made, others may have committed, written a checkpoint and forgotten what lay below it.
        """
        for _ in range(_LISTINGS):
            deltas, checkpoints = self._list()
            newest = max(deltas | checkpoints, default=0)
            base = max(checkpoints, default=0)
            missing = next((v for v in range(base + 1, newest + 1) if v not in deltas), None)
            if missing is None:
                try:
                    self._current = self._read(base, newest)
                except KeyNotFound:
                    continue
                self._checkpoint = base
                return
        if missing is None:
            raise StoreError(f"{self._prefix}: its versions were forgotten as fast as they could be read. Try again.")
        raise CorruptData(
            f"{self._delta_key(missing)} is missing, though version {newest} is there: everything from version "
            f"{missing} on is lost without it. Restore the file from a backup or a copy."
        )

    def _catch_up(self) -> None:
        """Apply the deltas after the current one, as far as there are any."""
        start = self._current.version
        while True:
            try:
                self._current = self._next(self._current)
            except KeyNotFound:
                break
        if self._current.version == start:
            deltas, checkpoints = self._list()
            if max(deltas | checkpoints, default=0) > start:  # the deltas in between have been forgotten
                self._load()

    def _read(self, base: int, version: int) -> _Current[S]:
        """`version` from the checkpoint `base` (0: from the initial state) and the deltas after it."""
        current = self._checkpointed(base) if base else _Current(0, 0, self._rules.initial())
        while current.version < version:
            current = self._next(current)
        return current

    def _at(self, version: int) -> _Current[S]:
        """`version` from the newest checkpoint that is no newer."""
        return self._read(max((c for c in self._list()[1] if c <= version), default=0), version)

    def _checkpointed(self, version: int) -> _Current[S]:
        data = self._get(self._checkpoint_key(version), version)
        return _Current(version, data["epoch"], self._rules.load_state(data["state"]))

    def _next(self, current: _Current[S]) -> _Current[S]:
        version = current.version + 1
        data = self._get(self._delta_key(version), version)
        if data["epoch"] < current.epoch:
            return _Current(version, current.epoch, current.state)
        if "state" in data:
            return _Current(version, data["epoch"], self._rules.load_state(data["state"]))
        state = current.state
        for edit in data["edits"]:
            state = self._rules.apply(state, self._rules.load_edit(edit))
        return _Current(version, data["epoch"], state)

    def _get(self, key: str, version: int) -> dict[str, Any]:
        payload = unpack_small(self._kind, self._store.get(key), key)
        try:
            data: dict[str, Any] = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise CorruptData(f"{key}: its payload is no JSON ({error}). Restore the file from a backup.") from error
        if data.get("version") != version:
            raise CorruptData(
                f"{key}: it says that it is version {data.get('version')}, but its name says {version}: it was "
                "copied or renamed. Restore the file from a backup."
            )
        return data

    def _list(self) -> tuple[frozenset[int], frozenset[int]]:
        """The numbers of the deltas and of the checkpoints that are there."""
        names = [key.removeprefix(f"{self._prefix}/") for key in self._store.keys(f"{self._prefix}/")]
        deltas = (int(name[:20]) for name in names if name.endswith(".delta"))
        checkpoints = (int(name[:20]) for name in names if name.endswith(".checkpoint"))
        return frozenset(deltas), frozenset(checkpoints)

    # --- writing ---------------------------------------------------------------------------------------------------

    def _check_writer(self) -> None:
        if self._stopped is not None:
            raise WriterStopped(self._stopped)
        if self._current.epoch > self._epoch:
            raise WriterStopped(
                f"{self._prefix} is written by epoch {self._current.epoch} now, and this writer has epoch "
                f"{self._epoch}: another process has taken over. Open the database again."
            )

    def _rebased(self, edits: Sequence[E]) -> tuple[S, list[E]]:
        state = self._current.state
        held: list[E] = []
        for edit in edits:
            rebased = self._rules.rebase(edit, state)
            if rebased is not None:
                state = self._rules.apply(state, rebased)
                held.append(rebased)
        return state, held

    def _wins(self, edits: Sequence[E], state: S) -> bool:
        """Make the next version with `edits`, whose state is `state`; where another was faster, read what it made."""
        version = self._current.version + 1
        dumped = [self._rules.dump_edit(edit) for edit in edits]
        try:
            self._put(self._delta_key(version), {"version": version, "epoch": self._epoch, "edits": dumped})
        except KeyExists:
            self._catch_up()
            return False
        self._check_not_forgotten(version)
        self._current = _Current(version, self._epoch, state)
        self._put_checkpoint()
        return True

    def _check_not_forgotten(self, version: int) -> None:
        """Raise `WriterStopped` if the number just won was free only because `forget` had taken its delta away.

        A writer that slept through so many commits has written below a checkpoint, where nobody reads. `forget` takes
        neighbours together: where one is there, the number was free because nobody had used it.
        """
        deltas, checkpoints = self._list()
        neighbour = version - 1 if version > 1 else 2
        if neighbour not in deltas | checkpoints and any(c >= version for c in checkpoints):
            self._stopped = (
                f"{self._prefix} moved on past version {version} while this writer stood still: what it last committed "
                "may or may not count. Open the database again."
            )
            self._store.delete([self._delta_key(version)])
            raise WriterStopped(self._stopped)

    def _put_checkpoint(self) -> None:
        current = self._current
        if current.version - self._checkpoint < CHECKPOINT_EVERY:
            return
        try:
            self._put(
                self._checkpoint_key(current.version),
                {"version": current.version, "epoch": current.epoch, "state": self._dump(current.state)},
            )
        except KeyExists:
            pass  # another writer's, of the same version and hence the same
        except StoreError:
            return  # the commit has happened all the same; the next one tries again
        self._checkpoint = current.version

    def _put(self, key: str, data: Mapping[str, Any]) -> None:
        self._store.put(key, pack_small(self._kind, orjson.dumps(data)))

    def _dump(self, state: S) -> Mapping[str, Any]:
        return self._rules.dump_state(state)

    def _delta_key(self, version: int) -> str:
        return f"{self._prefix}/{version:020d}.delta"

    def _checkpoint_key(self, version: int) -> str:
        return f"{self._prefix}/{version:020d}.checkpoint"
