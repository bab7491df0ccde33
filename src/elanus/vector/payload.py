r"""The bytes of an index file, after whatever header the store puts before them.

    offset  size
    0       8     magic b"ELINDEX\n"
    8       4     version, uint32 (= 1)
    12      4     length of the description, uint32
    16      …     description: UTF-8 JSON {"meta": {…}, "sections": {name: [offset, dtype, [shape]]}}
    …             sections: raw little-endian arrays, each beginning at a multiple of 64 from the payload's beginning

`meta` names the kind, the metric, the codes, rows and dim; the modules that write sections say which they need. The
store's header is 64 bytes long, so sections lie at multiples of 64 in the file and in memory: a cache line.

Opening maps the file; arrays are views of the map and keep it alive, so it is unmapped when the last of them goes. The
descriptor is closed at once: ten thousand open indexes need none.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elanus.model.errors import CorruptData, FormatTooNew

MAGIC = b"ELINDEX\n"
VERSION = 1
ALIGNMENT = 64
_PREFIX = struct.Struct("<8sII")

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Payload:
    """An opened index file: what it says of itself, and its sections as read-only arrays."""

    meta: Mapping[str, Any]
    sections: Mapping[str, Array]


def address(array: Array) -> int:
    """Where the first element of `array` lies."""
    return int(array.__array_interface__["data"][0])


def _view(mapped: memoryview, dtype: str, shape: list[int], offset: int) -> Array:
    count = math.prod(shape)
    if not count:
        return np.empty(shape, dtype)
    return np.frombuffer(mapped, dtype, count, offset).reshape(shape)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def write(path: Path, meta: Mapping[str, Any], sections: Mapping[str, Array]) -> int:
    """Write a payload to the new file `path`; returns its length. Syncing it is the caller's business."""
    arrays = {name: np.ascontiguousarray(array) for name, array in sections.items()}
    # Offsets stand in the description whose length they depend on: reserve room for it that surely suffices.
    longest = {name: [2**62, array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    start = _aligned(_PREFIX.size + len(json.dumps({"meta": dict(meta), "sections": longest}).encode()))
    placed: dict[str, list[Any]] = {}
    end = start
    for name, array in arrays.items():
        placed[name] = [end, array.dtype.str, list(array.shape)]
        end = _aligned(end + array.nbytes)
    text = json.dumps({"meta": dict(meta), "sections": placed}).encode().ljust(start - _PREFIX.size)
    with path.open("xb") as file:
        file.write(_PREFIX.pack(MAGIC, VERSION, len(text)))
        file.write(text)
        for name, array in arrays.items():
            file.seek(placed[name][0])
            file.write(array.data.cast("B") if array.size else b"")
        file.truncate(end)
    return end


def read(path: Path, offset: int = 0) -> Payload:
    """Map the payload that begins at byte `offset` of `path`.

    Raises `CorruptData` when it is not one or is cut short, `FormatTooNew` when a newer Elanus wrote it.
    """
    if path.stat().st_size - offset < _PREFIX.size:
        raise CorruptData(f"index file {path} ends before its payload at byte {offset}: drop and rebuild the index")
    with pa.memory_map(str(path)) as file:
        mapped = memoryview(file.read_buffer())
    magic, version, length = _PREFIX.unpack_from(mapped, offset)
    if magic != MAGIC:
        raise CorruptData(f"index file {path} has no index payload at byte {offset}: drop and rebuild the index")
    if version > VERSION:
        raise FormatTooNew(
            f"index file {path} has payload version {version}, this Elanus reads up to {VERSION}: "
            "upgrade, or drop and rebuild the index"
        )
    try:
        description = json.loads(bytes(mapped[offset + _PREFIX.size : offset + _PREFIX.size + length]))
        sections = {
            name: _view(mapped, dtype, shape, offset + at)
            for name, (at, dtype, shape) in description["sections"].items()
        }
        return Payload(description["meta"], sections)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData(f"index file {path} is cut short or damaged ({error}): drop and rebuild the index") from error
