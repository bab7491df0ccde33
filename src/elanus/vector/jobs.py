"""The vector tasks of a builder process: JSON arguments naming files in, an index payload out.

A column is `{"path", "offset", "rows", "dim"}`: raw little-endian float32, row after row, from byte `offset` of the
file at `path`. The builder maps it; nothing is read twice or copied whole. Where some rows have no vector it has
"present", too, {"path", "rows"}: raw int64, the rows that have one, rising.

    vector.build    {"spec", "metric", "column", "output", "threads"}
    vector.extend   the same, and "old": {"path", "offset"} – the index payload to start from – with
                    "new_of_old": {"path", "offset", "rows"}: raw int64, each old row's row in the merged column or -1

Both write the new file `output` and return {"size", "rows", "codes", "extended"}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from elanus.model.types import Metric
from elanus.vector import build, payload
from elanus.vector.metrics import Rows, Vectors
from elanus.vector.registry import IndexSpec


def build_index(arguments: Mapping[str, Any], progress: Callable[[float], None]) -> Mapping[str, Any]:
    spec, metric = IndexSpec.from_dict(arguments["spec"]), Metric(arguments["metric"])
    output, threads = Path(arguments["output"]), arguments["threads"]
    vectors, present = _column(arguments["column"])
    return asdict(build.build(spec, metric, vectors, output, threads, progress, present))


def extend_index(arguments: Mapping[str, Any], progress: Callable[[float], None]) -> Mapping[str, Any]:
    spec, metric = IndexSpec.from_dict(arguments["spec"]), Metric(arguments["metric"])
    output, threads = Path(arguments["output"]), arguments["threads"]
    old = payload.read(Path(arguments["old"]["path"]), arguments["old"]["offset"])
    source = arguments["new_of_old"]
    new_of_old: Rows = np.memmap(source["path"], np.int64, "r", source["offset"], (source["rows"],))
    vectors, present = _column(arguments["column"])
    return asdict(build.extend(spec, metric, old, np.asarray(new_of_old), vectors, output, threads, progress, present))


def _column(source: Mapping[str, Any]) -> tuple[Vectors, Rows | None]:
    shape = (source["rows"], source["dim"])
    vectors = np.asarray(np.memmap(source["path"], np.float32, "r", source["offset"], shape))
    there = source.get("present")
    return vectors, None if there is None else np.fromfile(there["path"], np.int64, there["rows"])
