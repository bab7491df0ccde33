"""What every benchmark is given, and where it keeps what took long to make."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data import Source


@dataclass(frozen=True, slots=True)
class Context:
    """`scale` shrinks the numbers of rows for a trial; the bounds are meant for 1.0."""

    out: Path
    work: Path
    rounds: int
    scale: float
    source: Source
    say: Callable[[str], None]
    peer: str | None = None
    """The address of a Milvus to measure beside, by the benchmarks that can."""

    sentences: Path | None = None
    """A Parquet file with real texts in its column `text`, for the benchmarks that need them."""

    def rows(self, count: int) -> int:
        return max(1_000, int(count * self.scale))

    def prepared(self, name: str, make: Callable[[Path], None]) -> Path:
        """The folder `name`, made by `make` at its first use and kept in `work` for later runs.

        A folder whose making was interrupted is made again. Benchmarks that write take a copy.
        """
        folder = self.work / f"{name}-{self.scale:g}-{self.source.dim}"
        done = folder.with_name(f"{folder.name}.ready")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            self.work.mkdir(parents=True, exist_ok=True)
            self.say(f"preparing {folder.name}, once ...")
            make(folder)
            done.touch()
        return folder

    def fresh(self, name: str) -> Path:
        """An empty place for a folder that a benchmark writes and throws away."""
        folder = self.work / f"tmp-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)
        return folder


def probe(what: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run one measurement in a process of its own (`bench/probe.py`) and return what it printed."""
    command = [sys.executable, "-m", "bench.probe", what, str(folder), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ran.stderr}")
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result
