"""A scenario: steps that are run in their order, each of them tried whatever became of the one before.

Runs in the client's environment, where there is no Elanus. It tells the runner line by line what happened:

    version langchain-milvus 0.4.0
    passed a document is found by a question that shares its words
    failed documents are deleted by id

followed, on standard error, by the traceback of what failed.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version

URI = os.environ.get("ELANUS_URI", "http://127.0.0.1:19530")
"""Where the server listens."""


def run(packages: Sequence[str], steps: Sequence[Callable[[], None]]) -> None:
    """Print the versions of `packages`, run `steps` and exit, with 1 if one of them failed."""
    for package in packages:
        print("version", package, version(package), flush=True)
    failed = 0
    for step in steps:
        name = step.__name__.replace("_", " ")
        try:
            step()
        except Exception:  # noqa: BLE001 - whatever a client raises is what its step came to
            failed += 1
            print("failed", name, flush=True)
            print(f"\n{name}:", file=sys.stderr)
            traceback.print_exc()
        else:
            print("passed", name, flush=True)
    sys.exit(1 if failed else 0)
