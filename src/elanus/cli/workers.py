"""Several serving processes behind one port: this one writes, the others only read (decision 0023).

They are `python -m elanus.cli.worker`. Each listens at the same port, and the system deals out connections; what is no
read it passes on to the writer, over a socket of the file system. One that dies is started anew. All of them end with
the writer: they read a pipe that it holds.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from elanus.engine import children
from elanus.model.errors import StoreError
from elanus.store.machine import start_time

_log = logging.getLogger("elanus.serve")

READY = b"ready\n"

PREFIX = "elanus-workers-"

REST_S = 1.0
"""A worker that has died is started again after so long."""

END_S = 30.0
"""One that was told to end and has not is killed then."""


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """What a worker serves and where; `writer` is the address of the process that writes, "" where none does."""

    data: str
    host: str
    port: int
    writer: str
    told: str


class Workers:
    """`count` workers. Made before the writer listens, since they need to know where; `start` needs its port."""

    def __init__(self, count: int) -> None:
        _remove_left()
        self._folder = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-")
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        self._changed = threading.Lock()
        self._closing = threading.Event()

    @property
    def writer(self) -> str:
        """The address at which the writer has to listen for them."""
        return f"unix:{self._folder.name}/writer"

    @property
    def told(self) -> Path:
        """The folder in which it tells them what is acknowledged in a bucket."""
        return Path(self._folder.name)

    def start(self, data: str, host: str, port: int, *, writes: bool) -> None:
        """Return when all of them serve. Raises `StoreError` where one does not."""
        task = WorkerTask(data, host, port, self.writer if writes else "", str(self.told) if writes else "")
        for process in [self._spawn(task) for _ in range(self._count)]:
            if not _is_ready(process):
                raise StoreError("a worker could not begin to serve: it has said why")
            thread = threading.Thread(target=self._keep, args=(process, task), name="elanus-worker", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Let them finish what is in flight, and end."""
        self._closing.set()
        with self._changed:
            processes = list(self._processes)
        for process in processes:
            children.end(process, END_S)
        for thread in self._threads:
            thread.join()

    def remove_folder(self) -> None:
        self._folder.cleanup()

    def _spawn(self, task: WorkerTask) -> subprocess.Popen[bytes]:
        with self._changed:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "elanus.cli.worker", json.dumps(asdict(task))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=children.environment(),
                start_new_session=True,  # Ctrl-C is for the writer, which tells them
            )
            self._processes.append(process)
        return process

    def _keep(self, process: subprocess.Popen[bytes], task: WorkerTask) -> None:
        """Start a worker anew whenever it has ended."""
        while True:
            code = process.wait()
            with self._changed:
                if process in self._processes:
                    self._processes.remove(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            if self._closing.is_set():
                return
            _log.warning("a worker has ended with exit code %d and is started anew", code)
            if self._closing.wait(REST_S):
                return
            try:
                process = self._spawn(task)
            except OSError as error:  # no memory, say: the one that has ended is waited for again
                _log.warning("a worker cannot be started: %s", error)
                continue
            if self._closing.is_set():
                children.end(process, END_S)
            _is_ready(process)


def _remove_left() -> None:
    """Remove the folders of writers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and start_time(int(pid)) is None:
            shutil.rmtree(folder, ignore_errors=True)


def _is_ready(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdout is not None  # a pipe
    return process.stdout.readline() == READY
