"""Fills the small file system it is given, frees it, and ends with status 0 when everything went as it must.

Run by `test_faults` in a process of its own, for which alone the file system is there.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import elanus
from elanus import Collection, Settings, StoreError

ROWS, DIM = 200, 64
SPARE_BYTES = 100 << 20
SETTINGS = Settings(background=False, index_min_rows=1 << 30)


def main(folder: Path) -> None:
    spare = folder / "spare"
    spare.write_bytes(bytes(SPARE_BYTES))
    with elanus.open(folder / "db", settings=SETTINGS) as db:
        collection = db.create_collection("c", dimension=DIM)
        rows = fill(collection)
        assert rows > 2 * ROWS
        take_the_rest(folder / "rest")
        check(collection, rows)
        with pytest.raises(StoreError, match="ENOSPC"):
            collection.flush()
        with pytest.raises(StoreError, match="ENOSPC"):
            db.create_collection("d", dimension=DIM)
        check(collection, rows)
    # Opening writes the writer's epoch: it works or says why not, and is no worse off when it is tried again.
    try:
        elanus.open(folder / "db", settings=SETTINGS).close()
    except StoreError as error:
        if "ENOSPC" not in str(error):
            raise
    spare.unlink()
    (folder / "rest").unlink()
    with elanus.open(folder / "db", settings=SETTINGS) as db:
        collection = db.collection("c")
        check(collection, rows)
        collection.insert(batch(rows))
        collection.flush()
        check(collection, rows + ROWS)
    with elanus.open(folder / "db", settings=SETTINGS) as db:
        check(db.collection("c"), rows + ROWS)


def batch(first: int) -> dict[str, object]:
    keys = np.arange(first, first + ROWS)
    return {"id": keys, "vector": np.random.default_rng(first).random((ROWS, DIM), np.float32), "n": keys}


def fill(collection: Collection) -> int:
    """Insert until the disk is full; returns how many rows were acknowledged."""
    refused = re.compile(r"cannot append to log/.*ENOSPC.*free space on it and try again", re.DOTALL)
    for rows in count(0, ROWS):
        try:
            collection.insert(batch(rows))
        except StoreError as error:
            if not refused.search(str(error)):
                raise
            return rows
    raise AssertionError("unreachable")


def take_the_rest(path: Path) -> None:
    """Leave no block free: what no batch of rows fitted in may still hold a small file."""
    with path.open("wb", buffering=0) as rest, suppress(OSError):
        while rest.write(bytes(4096)):
            pass


def check(collection: Collection, rows: int) -> None:
    assert collection.count() == rows
    assert collection.query(output_fields=["id"]).column("id").to_pylist() == list(range(rows))
    last = np.random.default_rng(rows - ROWS).random((ROWS, DIM), np.float32)[-1]
    assert collection.search(last, limit=1)[0][0]["id"] == rows - 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
