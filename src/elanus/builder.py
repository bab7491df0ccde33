"""The main of a builder process: `python -m elanus.builder`.

Reads jobs as JSON lines from its input and answers on its output; `engine.builders` is the other end and says what
the lines hold. It runs at idle priority, so serving keeps the processor, and ends when its input does: the parent has
closed it, or is dead. A thread of its own listens for that, so a running job ends too.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import queue
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

Progress = Callable[[float], None]
Task = Callable[[Mapping[str, Any], Progress], Mapping[str, Any]]

TASKS: dict[str, str] = {
    "vector.build": "elanus.vector.jobs:build_index",
    "vector.extend": "elanus.vector.jobs:extend_index",
    "scalar.build": "elanus.segment.indexed:build",
    "sparse.build": "elanus.segment.posting_file:build",
}
"""Task name → module:function, which takes JSON arguments and returns a JSON-ready mapping. A module is imported when
one of its tasks first runs."""

PR_SET_PDEATHSIG = 1
PRIVATE_MEMORY_FIELD = "VmData:"


def main() -> None:
    # Ctrl-C reaches the whole terminal group; what it means is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    if "--urgent" not in sys.argv[1:]:
        _yield_to_others()
    replies = _private_output()
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True, name="listener").start()
    while True:
        job = jobs.get()
        _say(replies, _run(job, replies))


def find_task(name: str) -> Task:
    """The function of a task, its module imported into this process."""
    module, _, function = TASKS[name].partition(":")
    task: Task = getattr(importlib.import_module(module), function)
    return task


def _run(job: dict[str, Any], replies: IO[str]) -> dict[str, Any]:
    def progress(share: float) -> None:
        _say(replies, {"progress": share})

    try:
        task = find_task(job["task"])
        with _memory_limit(job["memory_limit_bytes"]):
            return {"done": dict(task(job["arguments"], progress))}
    except Exception as error:  # noqa: BLE001 - whatever a task raises is the job's outcome, told to who asked for it
        text = str(error)
        # C++ libraries report a failed allocation in their own words.
        lacks_memory = isinstance(error, MemoryError) or "bad_alloc" in text
        return {"failed": "MemoryError" if lacks_memory else type(error).__name__, "message": text or repr(error)}


def _say(replies: IO[str], reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _listen(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Queue what comes in; when nothing more can come, end the process in the middle of whatever it does."""
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def _private_output() -> IO[str]:
    """The pipe to the parent as a file of its own; from here on, what anyone prints goes to standard error."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(pipe, "w", encoding="utf-8")


def _die_with_parent() -> None:
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A parent that was dead by then has closed its end of the pipe. At idle priority the listener might hear that late.
    parent = select.poll()
    parent.register(0, 0)
    if parent.poll(0):
        os._exit(0)


def _yield_to_others() -> None:
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    if hasattr(os, "nice"):
        os.nice(19)


@contextlib.contextmanager
def _memory_limit(byte_count: int | None) -> Iterator[None]:
    """Let this process allocate at most `byte_count` more while inside; Linux only.

    The limit is one of private memory (RLIMIT_DATA): the mapped columns a job reads do not count, as they would in
    RLIMIT_AS, because the system can always drop their pages.
    """
    if byte_count is None or not sys.platform.startswith("linux"):
        yield
        return
    import resource  # not there on Windows

    with open("/proc/self/status", encoding="ascii") as status:
        held = next(int(line.split()[1]) * 1024 for line in status if line.startswith(PRIVATE_MEMORY_FIELD))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + byte_count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


if __name__ == "__main__":
    main()
