"""A process that reads what another one writes, for as long as that wants, and says what it saw: for `test_history`.

Its arguments are the folder, the collection, its number among the threads, and the seed. It begins with a line on its
standard input and ends with the next one; what it saw comes out pickled.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
import threading

import elanus
from tests.test_history import SCHEMA, Worker, record


def main() -> None:
    folder, name, thread, seed = sys.argv[1:]
    with tempfile.TemporaryDirectory() as own, elanus.open(own) as db:
        # What is compiled at the first read, where no cache has it, is not waited for while others write.
        record(db.create_collection(name, SCHEMA, on_duplicate_key="keep"), 0.2, int(seed), "keep")
    stop = threading.Event()
    with elanus.open(folder, read_only=True) as db:
        worker = Worker(db.collection(name), int(thread), int(seed), "keep")
        sys.stdout.buffer.write(b"ready\n")
        sys.stdout.buffer.flush()
        sys.stdin.readline()
        reading = threading.Thread(target=worker.run, args=(stop, True))
        reading.start()
        sys.stdin.readline()
        stop.set()
        reading.join()
    if worker.error is not None:
        raise worker.error
    sys.stdout.buffer.write(pickle.dumps(worker.recorder.calls))


if __name__ == "__main__":
    main()
