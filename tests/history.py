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
from collections.abc import Iterable
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
        """The state when it is done; None if it cannot have got `got` there."""
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
        return state._replace(copies=((),) * len(KEYS))


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


READS = (Get, Query, Count, Search)


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

    def note(self, op: Op, got: Any, responded_ns: int) -> None:
        """Call this when nothing of the call is left to do; `responded_ns` was taken when it returned."""
        self.calls.append(Call(self.thread, op, got, self._invoked_ns, responded_ns))


EMPTY = State()


def check(calls: Iterable[Call], before: State = EMPTY) -> str | None:
    """None if one order explains `calls`, which began in the state `before`; else what cannot be explained."""
    ordered = sorted(calls, key=lambda call: call.invoked_ns)
    events = [(call.invoked_ns, False, number) for number, call in enumerate(ordered)]
    # At the same moment, beginnings come first: calls that may have overlapped are taken to have.
    events += [(call.responded_ns, True, number) for number, call in enumerate(ordered)]
    order = _Order(before)
    for _, responded, number in sorted(events):
        call = ordered[number]
        if not responded:
            order.begin(call)
        elif not order.end(call):
            return order.unexplained(call)
    return None


_Config = tuple[int, int]
"""A state the collection may be in, by its number, and a bit for each thread whose pending call has taken effect."""


class _Order:
    """The states that the collection may be in after a part of a history.

    States are numbered, and what a pending call does to which is remembered: the same few come again and again.
    """

    def __init__(self, before: State) -> None:
        self._states = [before]
        self._numbers = {before: 0}
        self._pending: dict[int, Call] = {}
        self._outcomes: dict[int, dict[int, int | None]] = {}
        """By thread: of its pending call, from the number of a state to that of the state after it, or None."""
        self._configs: set[_Config] = {(0, 0)}

    def begin(self, call: Call) -> None:
        self._pending[call.thread] = call
        self._outcomes[call.thread] = {}

    def end(self, call: Call) -> bool:
        """Keep what can be if `call` has taken effect by now. False when nothing can."""
        own = 1 << call.thread
        stack = [self._with_reads(*config) for config in self._configs]
        known = set(stack)
        reached: set[_Config] = set()
        while stack:
            state, done = stack.pop()
            if done & own:
                reached.add((state, done & ~own))
                continue
            for thread in self._pending:
                after = None if done & 1 << thread else self._after(thread, state)
                if after is not None:
                    config = self._with_reads(after, done | 1 << thread)
                    if config not in known:
                        known.add(config)
                        stack.append(config)
        if reached:
            self._configs = reached
            del self._pending[call.thread]
        return bool(reached)

    def _with_reads(self, state: int, done: int) -> _Config:
        """Let every pending read take effect that can: it changes nothing, so to wait would gain nothing."""
        for thread, call in self._pending.items():
            if isinstance(call.op, READS) and not done & 1 << thread and self._after(thread, state) is not None:
                done |= 1 << thread
        return state, done

    def _after(self, thread: int, state: int) -> int | None:
        outcomes = self._outcomes[thread]
        if state not in outcomes:
            call = self._pending[thread]
            after = call.op.after(self._states[state], call.got)
            outcomes[state] = None if after is None else self._number(after)
        return outcomes[state]

    def _number(self, state: State) -> int:
        number = self._numbers.setdefault(state, len(self._states))
        if number == len(self._states):
            self._states.append(state)
        return number

    def unexplained(self, call: Call) -> str:
        def shown(state: State) -> str:
            rows = {key: [copy.value for copy in copies] for key, copies in enumerate(state.copies) if copies}
            return f"{rows}, partition {'there' if state.other else 'not there'}"

        states = sorted({shown(self._states[state]) for state, _ in self._configs})
        lines = [f"no order explains {call}", f"{len(states)} possible states before, such as", *states[:3]]
        lines += ["calls that ran meanwhile:", *(str(c) for c in self._pending.values() if c is not call)]
        return "\n  ".join(lines)
