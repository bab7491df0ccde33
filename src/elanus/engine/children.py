"""Processes that this one starts, as `python -m`: they find what it finds, and end when their input is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Any


def environment(**more: str) -> dict[str, str]:
    """That of a child, which has to find what this process found, wherever its `sys.path` came from. Start it with -P,
    which keeps the working directory out of it.
    """
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": paths, **more}


def end(process: subprocess.Popen[Any], within_s: float) -> None:
    """Close the input of `process`, on which it ends, and wait for that; kill it should it not."""
    assert process.stdin is not None  # a pipe
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
