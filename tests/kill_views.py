"""What is in a folder after a kill, as one who reads it sees it; each way of reading is a `View`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tests.kills import DEFAULT_PARTITION, DIM, Slot, State, Story, note_of, vectors_of

Key = int | str


class Seen(NamedTuple):
    """Rows, a list for each field; vectors (rows, DIM)."""

    keys: list[Key]
    stamps: list[int]
    notes: list[str]
    vectors: npt.NDArray[np.float32]


class View(Protocol):
    """A way to read a database."""

    def collections(self) -> list[str]: ...

    def indexes(self, collection: str) -> list[str]:
        """The kinds of those that a `Script` may make and drop."""

    def partitions(self, collection: str) -> list[str]: ...

    def rows(self, collection: str, partition: str) -> Seen: ...

    def count(self, collection: str, partition: str | None = None) -> int: ...

    def nearest(self, collection: str, queries: npt.NDArray[np.float32]) -> list[tuple[Key, float, int]]:
        """For each query the nearest row: its key, its distance in L2, its stamp."""

    def get(self, collection: str, keys: Sequence[Key]) -> list[tuple[Key, int]]:
        """Keys and stamps."""


def observe(view: View, story: Story, sample: random.Random) -> State:
    """Everything as a state. Asserts that all ways to read agree, and that rows are what they were."""
    state: State = {}
    for name in view.collections():
        state[("collection", name)] = True
        for kind in view.indexes(name):
            state[("index", name)] = kind
        for partition in view.partitions(name):
            if partition != DEFAULT_PARTITION:
                state[("partition", name, partition)] = True
            seen = view.rows(name, partition)
            counted = view.count(name, partition)
            assert counted == len(seen.keys), f"{name}/{partition}: {counted} counted, {len(seen.keys)} keys found"
            numbers = [story.number_of(key) for key in seen.keys]
            assert seen.notes == list(map(note_of, numbers, seen.stamps))
            vectors = vectors_of(np.array(numbers, int), np.array(seen.stamps, int))
            np.testing.assert_array_equal(seen.vectors.reshape(-1, DIM), vectors)
            for number, stamp in zip(numbers, seen.stamps, strict=True):
                assert ("row", name, number) not in state, f"{name}: key {number} is there twice"
                state[("row", name, number)] = (stamp, partition)
        rows = [slot for slot in state if slot[:2] == ("row", name)]
        assert view.count(name) == len(rows), f"{name}: partitions and the whole differ"
        _search_some(view, name, story, state, sample.sample(rows, min(16, len(rows))))
    return state


def _search_some(view: View, name: str, story: Story, state: State, slots: Sequence[Slot]) -> None:
    """Each row is found by its own vector, first and exactly, and by its key."""
    if not slots:
        return
    numbers = np.array([slot[2] for slot in slots])
    stamps = np.array([state[slot][0] for slot in slots])
    keys: list[Any] = [story.key(number) for number in numbers.tolist()]
    wanted = list(zip(keys, stamps.tolist(), strict=True))
    found = view.nearest(name, vectors_of(numbers, stamps))
    assert found == [(key, 0, stamp) for key, stamp in wanted], "rows are not found by their own vectors"
    assert sorted(view.get(name, keys)) == sorted(wanted)
