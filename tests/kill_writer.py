"""The process that is killed: `python -m tests.kill_writer`.

Imports everything, says "ready", and waits for one line of JSON: the folder, the ledger, the story. Then it opens the
folder and performs the scripts of all threads until it is killed, or until its input says "close" or ends. Of a bucket
another process may take over from it.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import traceback
from dataclasses import replace
from pathlib import Path

import elanus
from elanus import Elanus, ElanusError
from tests.kill_native import perform
from tests.kills import DIM, MAIN, THREADS, TIGHT, TIGHT_IN_BUCKET, Event, Ledger, Script, Story


def main() -> None:
    _ = elanus.open  # imports the engine
    os.write(1, b"ready\n")
    order = json.loads(sys.stdin.readline())
    story = Story(order["seed"], order["number"], order["life"])
    ledger = Ledger(Path(order["ledger"]))
    in_bucket = "://" in order["folder"]
    settings = replace(TIGHT_IN_BUCKET if in_bucket else TIGHT, local_log=order["local_log"])
    db = elanus.open(order["folder"], settings=settings)
    ledger.note(Event.OPENED)
    begun, closing = threading.Event(), threading.Event()
    threads = [threading.Thread(target=_read, args=(db, ledger, begun, closing), daemon=True, name="reader")]
    for thread in range(THREADS):
        arguments = (db, in_bucket, story, thread, ledger, begun, closing)
        threads.append(threading.Thread(target=_write, args=arguments, daemon=True, name=f"writer-{thread}"))
    for started in threads:
        started.start()
    sys.stdin.readline()
    closing.set()
    db.close()
    begun.set()  # whom the first write has not let go on yet, has to end as well
    for started in threads:
        started.join()  # an interpreter that ends while they are in compiled code aborts
    ledger.note(Event.CLOSED)


def _write(
    db: Elanus,
    in_bucket: bool,
    story: Story,
    thread: int,
    ledger: Ledger,
    begun: threading.Event,
    closing: threading.Event,
) -> None:
    if 0 < thread < THREADS - 1:
        begun.wait()
    for number, op in enumerate(Script(story, thread)):
        ledger.note(Event.INVOKED, thread, number)
        try:
            perform(db, story, op)
        except elanus.Closed:
            ledger.note(Event.REFUSED, thread, number)
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to know
            if in_bucket and isinstance(error, elanus.WriterStopped):
                ledger.note(Event.REPLACED, thread, number)
                return
            if closing.is_set() and op.kind in ("flush", "compact") and isinstance(error, ElanusError):
                return  # the job was cancelled
            print(f"thread {thread}, operation {number}: {op}", file=sys.stderr)  # noqa: T201
            traceback.print_exc()
            ledger.note(Event.FAILED, thread, number)
            return
        ledger.note(Event.ACKNOWLEDGED, thread, number)
        if number == 0 and thread == 0:
            begun.set()


def _read(db: Elanus, ledger: Ledger, begun: threading.Event, closing: threading.Event) -> None:
    """Search, count, and hold snapshots while files come and go. Whatever a read raises is a fault."""
    begun.wait()
    chance = random.Random()
    try:
        while not closing.wait(0.005):
            main = db.collection(MAIN)
            pages = main.query_iterator(batch_size=200)
            main.search([[chance.uniform(-1, 1) for _ in range(DIM)]], limit=10, metric="L2", output_fields=["note"])
            main.count("stamp % 2 == 0")
            for page in pages:
                assert page.num_rows
    except (elanus.Closed, elanus.WriterStopped):  # a replaced writer answers no reads
        return
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        ledger.note(Event.FAILED)


if __name__ == "__main__":
    main()
