"""Which machine and which process this is, and whether another one of the machine still lives."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_START_TIME = 19
"""The field of /proc/<pid>/stat that says when the process was started, counted from behind the name."""


def boot_id() -> bytes:
    """16 bytes that differ from boot to boot; zeros on a system that does not say."""
    with suppress(OSError, ValueError):
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
    return bytes(16)


def namespace() -> str:
    """Within one of these a process id is that of one process; "" where that is not known."""
    boot = boot_id()
    with suppress(OSError):
        return f"{boot.hex()} {os.readlink('/proc/self/ns/pid')}" if any(boot) else ""
    return ""


def start_time(pid: int) -> str | None:
    """What tells a process from a later one with its id; None where there is none, "" where nobody can say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else ""
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[_START_TIME]
