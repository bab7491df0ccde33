"""Which kind of index is which module."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import cast

from elanus.scalar.sections import ScalarKind

JSON_CAST_TYPE = "json_cast_type"

_SORTED = "elanus.scalar.sorted"

TEXT = "TEXT"
"""The kind of index that is not created but declared, by `enable_match`."""

RTREE = "RTREE"
"""That of geometries, also where AUTOINDEX was asked for."""

MODULES: Mapping[str, str] = {
    "INVERTED": _SORTED,
    "BITMAP": _SORTED,
    "STL_SORT": _SORTED,
    "Trie": _SORTED,
    "AUTOINDEX": _SORTED,
    TEXT: "elanus.scalar.words",
    "NGRAM": "elanus.scalar.ngram",
    RTREE: "elanus.scalar.rtree",
}
"""Kind → its module. It is imported by whoever builds or opens the first file of one."""


def has_file(kind: str) -> bool:
    """Whether there is anything to build for an index of this kind."""
    return kind in MODULES


def module_of(kind: str) -> ScalarKind:
    return cast("ScalarKind", importlib.import_module(MODULES[kind]))
