"""One of several threads works at a time; when it is at one piece for long, the next takes over.

Threads that want the interpreter for some 10 µs again and again lose more to changing places than a second core gives
them: of searches that take 380 µs, three threads answered 1,880 a second for 600 µs of CPU each, and one 2,600 for
390 µs (two cores, 8 clients on the same machine, which say the rest). But one alone would let a long call keep all the
others waiting. So one leads, one watches it, and the rest wait in line to watch. Who knows that a piece will take long
passes the turn on before it begins.
"""

from __future__ import annotations

import math
import threading
import time

PATIENCE_S = 0.002
"""Who is at one piece for longer is no longer waited for; the watching thread looks as often."""

_AT_NOTHING = math.inf
_FOR_EVER = -math.inf


class Turn:
    """The turn of one thread to work, for as long as `Turns.has` says so; it says of each piece when it is at it."""

    __slots__ = ("_turns", "began", "pieces", "thread")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.thread = threading.get_ident()
        self.began = _AT_NOTHING
        self.pieces = 0

    def begin(self) -> None:
        self.began = time.monotonic()
        self.pieces += 1
        self._turns.wake_watcher()

    def end(self) -> None:
        self.began = _AT_NOTHING


class Turns:
    """Turns of any number of threads."""

    def __init__(self) -> None:
        self._watching = threading.Lock()
        """Held by the thread that will have the next turn."""
        self._leader = Turn(self)
        self._leader.began = _FOR_EVER  # nobody's: whoever comes first takes over
        self._awake = threading.Event()
        self._stopped = False

    def take(self) -> Turn | None:
        """Wait for a turn of this thread's own; None once `stop` was called."""
        with self._watching:
            while not self._stopped:
                if time.monotonic() - self._leader.began > PATIENCE_S:
                    self._leader = Turn(self)
                    return self._leader
                self._watch(self._leader)
        return None

    def has(self, turn: Turn) -> bool:
        """Whether nobody has taken over, and nothing has ended."""
        return self._leader is turn and not self._stopped

    def pass_on(self) -> None:
        """The piece that this thread is at will take long: another takes over as soon as it looks.

        It is not woken for that: where nobody else calls, the piece may well be done by then.
        """
        leader = self._leader
        if leader.thread == threading.get_ident():
            leader.began = _FOR_EVER

    def stop(self) -> None:
        self._stopped = True
        self._awake.set()

    def wake_watcher(self) -> None:
        if not self._awake.is_set():
            self._awake.set()

    def _watch(self, leader: Turn) -> None:
        """Look away for a moment; if nothing happened meanwhile, until something does."""
        before = leader.pieces
        time.sleep(PATIENCE_S)
        if leader.pieces == before and leader.began == _AT_NOTHING:
            self._awake.clear()
            # A piece that began before the event was cleared is seen here; a later one sets the event.
            if leader.began == _AT_NOTHING and not self._stopped:
                self._awake.wait()
