"""Processes of `elanus serve` that are killed: `python -m tests.kill_server` makes them, and `Servers` tells it to.

Imports take longer than most of the servers live, so one process imports everything and then forks a server for each
line of JSON that it reads: {"arguments": [...], "tight": bool}. The server says "started <pid>", and at what port it
serves, as always; when it has ended, "ended <exit code>" follows, and the next line is read. A server whose standard
input is at its end stops: whoever ran it is gone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import IO, NoReturn

from elanus.cli import main
from elanus.service.instance import Instance
from tests.kills import TIGHT

LATER = ("elanus.expr.json_kernel", "elanus.vector.kernels", "elanus.vector.list_kernels")
"""What a server imports when it first needs it: its first search waits for numba, a second and more."""

_SERVES = re.compile(r"elanus \S+ serves .*:(\d+)\n")


class Servers:
    """One server after the other, each a process and a session of its own."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        self.pid = self.port = 0  # of the one that runs, and that serves
        root = Path(__file__).parent.parent
        path = os.pathsep.join([str(root), *(os.path.abspath(p) for p in sys.path if p)])
        with errors.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.kill_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
                cwd=root,
            )

    @property
    def _says(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def start(self, folder: Path, port: int = 0, *, tight: bool = False) -> None:
        """Start one. It has begun when this returns, and may not be open yet. `tight` is for limits of `TIGHT`."""
        assert self._process.stdin is not None
        arguments = ["serve", "--data", str(folder), "--port", str(port)]
        self._process.stdin.write(json.dumps({"arguments": arguments, "tight": tight}) + "\n")
        self._process.stdin.flush()
        line = self._says.readline()
        assert line.startswith("started "), f"{line}{self.errors.read_text()}"
        self.pid = int(line.split()[1])

    def wait_until_serving(self) -> None:
        line = self._says.readline()
        found = _SERVES.fullmatch(line)
        assert found, f"{line}{self.errors.read_text()}"
        self.port = int(found[1])

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, when it has ended: negative for that of a signal."""
        while not (line := self._says.readline()).startswith("ended "):
            assert _SERVES.fullmatch(line), f"{line}{self.errors.read_text()}"
        self.pid = self.port = 0
        return int(line.split()[1])

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        code = self.wait()
        assert code in (-signal.SIGKILL, 0), f"it ended with {code}: {self.errors.read_text()}"

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()


def _main() -> None:
    command = import_module("elanus.cli.serve")
    for name in LATER:
        import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            if order["tight"]:
                tight = partial(Instance.open, settings=TIGHT)
                command.__dict__["Instance"] = SimpleNamespace(open=tight)
            _serve(order["arguments"])
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(1, f"ended {code}\n".encode())


def _serve(arguments: list[str]) -> NoReturn:
    os.setsid()  # its builders are those of its session
    os.write(1, f"started {os.getpid()}\n".encode())
    threading.Thread(target=_end_with_input, daemon=True).start()
    sys.argv = ["elanus", *arguments]
    main()
    raise AssertionError("the command has ended without an exit code")


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os._exit(86)


if __name__ == "__main__":
    _main()
