"""A server in a process of its own, of which nothing is sealed, merged or indexed while it is measured.

`python -m bench.serving FOLDER` prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the database in `folder`."""
    command = [sys.executable, "-m", "bench.serving", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None  # pipes
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(60)


def main() -> None:
    from bench.database import BULK
    from elanus.cli.serve import prepare
    from elanus.service.instance import Instance
    from elanus.wire.grpc.server import Server

    prepare()
    instance = Instance.open(sys.argv[1], settings=BULK)
    server = Server.start(instance, "127.0.0.1", 0)
    print(server.port, flush=True)
    sys.stdin.read()
    server.stop()
    instance.close()


if __name__ == "__main__":
    main()
