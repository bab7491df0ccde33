"""One measurement in a fresh process: `python -m bench.probe open|many|idle FOLDER ARGUMENT`. Prints one line of JSON.

Imports are timed apart from the open, and nothing is imported before the clock runs but what Python itself needs. The
kernels that Elanus loads with its first search count as imports where that search is timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    what, folder, argument = sys.argv[1:]
    started = time.perf_counter()
    from bench import database

    if what == "open":
        database.load()
    imports_s = time.perf_counter() - started
    measured = {"open": _open, "many": _many, "idle": _idle}[what](database, Path(folder), argument)
    print(json.dumps({"imports_s": imports_s, **measured}))


def _open(database, folder: Path, answer: str) -> dict[str, float]:  # type: ignore[no-untyped-def]
    import numpy as np

    known = np.load(answer)
    query, truth = known["query"][0], known["truth"][0]
    started = time.perf_counter()
    with database.opened(folder) as collection:
        opened = time.perf_counter()
        found = collection.nearest(query, len(truth), {})
        first = time.perf_counter()
        right = len(set(found.tolist()) & set(truth.tolist())) / len(truth)
        return {"open_s": opened - started, "first_s": first - started, "recall": right, **_memory()}


def _many(database, folder: Path, count: str) -> dict[str, float]:  # type: ignore[no-untyped-def]
    import numpy as np

    started = time.perf_counter()
    with database.opened(folder, f"c{int(count) // 2}", touch=False) as collection:
        opened = time.perf_counter()
        memory = _memory()
        begun = time.perf_counter()
        collection.nearest(np.zeros(collection.dim, np.float32), 1, {})
        first_s = time.perf_counter() - begun
        return {"open_s": opened - started, "first_s": first_s, "later_rss_mib": _memory()["rss_mib"], **memory}


def _idle(database, folder: Path, seconds: str) -> dict[str, float]:  # type: ignore[no-untyped-def]
    import psutil

    with database.opened(folder, "c0"):
        time.sleep(2)  # what opening itself started may end
        us = psutil.Process()
        family = [us, *us.children(recursive=True)]
        before = sum(sum(p.cpu_times()[:2]) for p in family)
        time.sleep(float(seconds))
        spent = sum(sum(p.cpu_times()[:2]) for p in family if p.is_running()) - before
    return {"cpu_percent": 100 * spent / float(seconds)}


def _memory() -> dict[str, float]:
    """Resident memory in MiB, all of it and what is not backed by a file."""
    import psutil

    rss = psutil.Process(os.getpid()).memory_info()
    shared = getattr(rss, "shared", 0)
    return {"rss_mib": rss.rss / 2**20, "anonymous_mib": (rss.rss - shared) / 2**20}


if __name__ == "__main__":
    main()
