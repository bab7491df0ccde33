"""A worker: `python -m elanus.cli.worker`, started by `workers`. Its argument is a `WorkerTask` as JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from elanus.cli.serve import prepare
from elanus.cli.stop import StopSignal
from elanus.cli.workers import READY, WorkerTask
from elanus.model.errors import ElanusError
from elanus.service.instance import Instance
from elanus.wire.grpc.server import Server


def main() -> int:
    task = WorkerTask(**json.loads(sys.argv[1]))
    prepare()
    stop = StopSignal()
    threading.Thread(target=_stop_with_writer, args=(stop,), daemon=True).start()
    try:
        instance = Instance.open(task.data, read_only=True, told=Path(task.told) if task.told else None)
    except ElanusError as error:
        print(f"elanus: {error}", file=sys.stderr)
        return 1
    try:
        server = Server.start(instance, task.host, task.port, shares=True, joins=True, writer=task.writer)
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        stop.wait()
        server.stop()
    finally:
        instance.close()
    return 0


def _stop_with_writer(stop: StopSignal) -> None:
    while os.read(0, 4096):  # not through a buffer, whose lock an ending process cannot take
        pass
    stop.stop()


if __name__ == "__main__":
    sys.exit(main())
