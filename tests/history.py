"""Whether one order explains what threads did to a collection and what they saw meanwhile.

A history is a list of calls: what each asked, what it got, and the moments between which it ran. It is right if every
call can be given one moment of its own, between its beginning and its end, such that all of them, done one after the
other in the order of these moments, get what they got (linearisability, Herlihy & Wing 1990; here of the whole
collection at once). That is the sum of smaller promises:

* what a write has acknowledged is seen by every later read, of any thread, and reads never go back in time;
* a batch is seen wholly or not at all, also by counts and by searches;
* a read is of one moment: rows, counts and pages that were taken at once fit together;
* a write that reads first (delete by filter, `reject`) is one step: nothing comes between.

`check` searches for such an order with the just-in-time algorithm of Lowe, "Testing for linearizability" (2017): it
walks along the beginnings and ends and keeps every state the collection may be in, each with the pending calls that
have taken effect in it. What a state is, and what a call does to it, is written here a second time, as plainly as
possible: a tuple of the copies of each key.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

KEYS = range(24)
"""All the keys there are: few, so that threads meet."""

PARTITION = "other"


class Copy(NamedTuple):
    """A row. `value` is unique to the call that wrote it; `other` says that it is in `PARTITION`."""

    value: int
    other: bool = False


class State(NamedTuple):
    """The collection at a moment: for each key its copies, oldest first, and whether `PARTITION` exists."""

    copies: tuple[tuple[Copy, ...], ...] = ((),) * len(KEYS)
    other: bool = False

    def with_copies(self, changes: dict[int, tuple[Copy, ...]]) -> State:
        return self._replace(copies=tuple(changes.get(key, copies) for key, copies in enumerate(self.copies)))


REFUSED = "refused"
"""What a call got that raised the error it may raise: a duplicate key, a partition that is not there."""


class Op(Protocol):
    """What a call asked for."""

    def after(self, state: State, got: Any) -> State | None:
        """The state when it is done; None if it cannot have got `got` there. A read returns `state` itself."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter: keys of a range, whose value leaves `remainder` when divided by `modulus`."""

    low: int = 0
    high: int = len(KEYS)
    modulus: int = 1
    remainder: int = 0

    def __str__(self) -> str:
        return f"id >= {self.low} and id < {self.high} and value % {self.modulus} == {self.remainder}"

    def matching(self, state: State) -> dict[int, tuple[Copy, ...]]:
        """By key, the copies that match; keys without any are left out."""
        found = {}
        for key in range(self.low, self.high):
            copies = tuple(copy for copy in state.copies[key] if copy.value % self.modulus == self.remainder)
            if copies:
                found[key] = copies
        return found


@dataclass(frozen=True, slots=True)
class Insert:
    keys: tuple[int, ...]
    value: int
    other: bool = False
    on_duplicate: str = "keep"

    def after(self, state: State, got: Any) -> State | None:
        refused = (self.other and not state.other) or (
            self.on_duplicate == "reject" and any(state.copies[key] for key in self.keys)
        )
        if refused != (got == REFUSED):
            return None
        if refused:
            return state
        row = Copy(self.value, self.other)
        kept = self.on_duplicate == "keep"
        return state.with_copies({key: (*(state.copies[key] if kept else ()), row) for key in self.keys})


@dataclass(frozen=True, slots=True)
class Upsert:
    keys: tuple[int, ...]
    value: int
    other: bool = False

    def after(self, state: State, got: Any) -> State | None:
        if (self.other and not state.other) != (got == REFUSED):
            return None
        if got == REFUSED:
            return state
        return state.with_copies(dict.fromkeys(self.keys, (Copy(self.value, self.other),)))


@dataclass(frozen=True, slots=True)
class DeleteKeys:
    keys: tuple[int, ...]

    def after(self, state: State, got: Any) -> State | None:
        return state.with_copies(dict.fromkeys(self.keys, ()))


@dataclass(frozen=True, slots=True)
class DeleteWhere:
    """Deletes all copies of the keys of which one matches, and says how many keys."""

    condition: Condition

    def after(self, state: State, got: Any) -> State | None:
        keys = self.condition.matching(state)
        return state.with_copies(dict.fromkeys(keys, ())) if len(keys) == got else None


@dataclass(frozen=True, slots=True)
class Truncate:
    def after(self, state: State, got: Any) -> State | None:
        return state._replace(copies=State().copies)


@dataclass(frozen=True, slots=True)
class CreatePartition:
    def after(self, state: State, got: Any) -> State | None:
        return state._replace(other=True)


@dataclass(frozen=True, slots=True)
class DropPartition:
    def after(self, state: State, got: Any) -> State | None:
        left = tuple(tuple(copy for copy in copies if not copy.other) for copies in state.copies)
        return State(left, other=False)


@dataclass(frozen=True, slots=True)
class Get:
    """Got: {key: value of its newest copy}."""

    keys: tuple[int, ...]

    def after(self, state: State, got: Any) -> State | None:
        return state if {key: state.copies[key][-1].value for key in self.keys if state.copies[key]} == got else None


@dataclass(frozen=True, slots=True)
class Query:
    """Got: {key: value of its newest copy that matches}. `how` the rows were asked for makes no difference."""

    condition: Condition
    how: str = "query"

    def after(self, state: State, got: Any) -> State | None:
        found = self.condition.matching(state)
        return state if {key: copies[-1].value for key, copies in found.items()} == got else None


@dataclass(frozen=True, slots=True)
class Count:
    """Got: how many rows match, each copy counted."""

    condition: Condition

    def after(self, state: State, got: Any) -> State | None:
        return state if sum(map(len, self.condition.matching(state).values())) == got else None


@dataclass(frozen=True, slots=True)
class Search:
    """A search for as many rows as there are keys. Got: {key: value}, of the nearest copy of each key that matches."""

    condition: Condition

    def after(self, state: State, got: Any) -> State | None:
        found = self.condition.matching(state)
        if found.keys() != got.keys():
            return None
        return state if all(any(copy.value == got[key] for copy in found[key]) for key in got) else None


@dataclass(frozen=True, slots=True)
class Call:
    thread: int
    op: Op
    got: Any
    invoked_ns: int
    responded_ns: int

    def __str__(self) -> str:
        ran = f"{self.invoked_ns / 1e6:.3f} to {self.responded_ns / 1e6:.3f} ms"
        return f"thread {self.thread}, {ran}: {self.op} got {self.got}"


class Recorder:
    """One thread's part of a history."""

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.calls: list[Call] = []
        self._invoked_ns = 0

    def invoke(self) -> None:
        self._invoked_ns = time.monotonic_ns()

    def respond(self) -> int:
        return time.monotonic_ns()

    def note(self, op: Op, got: Any, responded_ns: int) -> None:
        self.calls.append(Call(self.thread, op, got, self._invoked_ns, responded_ns))


_Config = tuple[State, frozenset[int]]
"""A state the collection may be in, and the numbers of the pending calls that have taken effect in it."""


def check(calls: Iterable[Call], before: State = State()) -> str | None:
    """None if one order explains `calls`, which began in the state `before`; else what cannot be explained."""
    ordered = sorted(calls, key=lambda call: call.invoked_ns)
    events = [(call.invoked_ns, False, number) for number, call in enumerate(ordered)]
    # At the same moment, beginnings come first: calls that may have overlapped are taken to have.
    events += [(call.responded_ns, True, number) for number, call in enumerate(ordered)]
    pending: set[int] = set()
    configs: set[_Config] = {(before, frozenset())}
    for _, responded, number in sorted(events):
        if not responded:
            pending.add(number)
            continue
        explained = _with_effect(number, configs, ordered, pending)
        if not explained:
            return _unexplained(number, configs, ordered, pending)
        pending.remove(number)
        configs = explained
    return None


def _with_effect(
    number: int, configs: Iterable[_Config], calls: Sequence[Call], pending: Iterable[int]
) -> set[_Config]:
    """All configurations reached from `configs` in which call `number` has taken effect; it is taken off them."""
    stack = [_with_reads(config, calls, pending) for config in configs]
    known = set(stack)
    reached: set[_Config] = set()
    while stack:
        state, done = stack.pop()
        if number in done:
            reached.add((state, done - {number}))
            continue
        for other in pending:
            if other in done:
                continue
            after = calls[other].op.after(state, calls[other].got)
            if after is None:
                continue
            config = _with_reads((after, done | {other}), calls, pending)
            if config not in known:
                known.add(config)
                stack.append(config)
    return reached


def _with_reads(config: _Config, calls: Sequence[Call], pending: Iterable[int]) -> _Config:
    """Let every pending read take effect that can: it changes nothing, so to wait would gain nothing."""
    state, done = config
    fitting = [n for n in pending if n not in done and calls[n].op.after(state, calls[n].got) is state]
    return (state, done.union(fitting)) if fitting else config


def _unexplained(number: int, configs: Iterable[_Config], calls: Sequence[Call], pending: Iterable[int]) -> str:
    def shown(state: State) -> str:
        rows = {key: [copy.value for copy in copies] for key, copies in enumerate(state.copies) if copies}
        return f"{rows}, partition {'there' if state.other else 'not there'}"

    states = sorted({shown(state) for state, _ in configs})
    meanwhile = [str(calls[n]) for n in sorted(pending) if n != number]
    return "\n  ".join(
        [
            f"no order explains {calls[number]}",
            f"{len(states)} possible states before, such as",
            *states[:3],
            "calls that ran meanwhile:",
            *meanwhile,
        ]
    )
