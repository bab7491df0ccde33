"""The builders of a process that was killed: whoever was started in its session is soon gone."""

from __future__ import annotations

import os
import time

import psutil

GONE_S = 30.0
"""How soon builders are gone. They run at idle priority, and one that was just being started imports first."""


def alive(session: int) -> list[int]:
    """The processes of a session that are still alive."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return found


def wait_until_gone(session: int, began: float) -> float:
    """Return when no process of `session` is left, with the seconds since `began`, when it was killed."""
    while orphans := alive(session):
        assert time.monotonic() - began < GONE_S, f"builders {orphans} outlive the process that started them"
        time.sleep(0.01)
    return time.monotonic() - began
