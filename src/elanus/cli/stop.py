"""Waiting for the signal that ends a server."""

from __future__ import annotations

import signal
import socket


class StopSignal:
    """SIGTERM, SIGINT or `stop`, from the moment this is made: one that comes before `wait` is not missed.

    The system itself writes the byte that `wait` reads. With an event that a handler sets, a signal that comes after
    the last look for one and before the thread sleeps is not seen until the next: 1 of 300 while threads compete for
    the interpreter.
    """

    def __init__(self) -> None:
        self._asleep, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # without a handler nothing is written

    def stop(self) -> None:
        """As a signal does; any thread may call it."""
        self._wake.send(b"\0")

    def wait(self) -> None:
        self._asleep.recv(1)
