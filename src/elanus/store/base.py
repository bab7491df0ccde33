"""The Store: a flat key space of immutable objects, whose put-if-absent is atomic and durable when it returns.

A key is a "/"-separated path of names of letters, digits and `_ . - =`. An object is never changed: it is put once
and deleted when nothing retained names it. Files that a C++ library has to write by path are written below
`scratch()` and become objects by `publish`.

What every Store promises:

* one winner: of all that put a key, one returns and the others raise `KeyExists`;
* a put or publish that returned survives `kill -9` and power loss; one that raised `StoreError` may have happened;
* an object is seen wholly or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from elanus.model.errors import InvalidParameter

if TYPE_CHECKING:
    from elanus.store.sparse import SparseFile

_KEY = re.compile(r"[\w.=-]+(?:/[\w.=-]+)*", re.ASCII)


class Store(Protocol):
    fetches: bool
    """Whether files come from elsewhere, which takes time."""

    def get(self, key: str) -> bytes:
        """Raises `KeyNotFound`."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Put `data` as `key` unless the key exists (`KeyExists`)."""
        ...

    def publish(self, files: Mapping[str, Path]) -> None:
        """`put` for files written under `scratch()`, which are gone from there afterwards.

        Raises `KeyExists` when one of the keys exists; then none of them has been put.
        """
        ...

    def keys(self, prefix: str) -> list[str]:
        """All keys that begin with `prefix`, sorted."""
        ...

    def settle(self, prefix: str) -> None:
        """Make durable which of the keys `<prefix>/<name>` there are, before anything is built on what they hold.

        A process killed in the middle of a put may have left an object that can be read, and that a power loss would
        take away again.
        """
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects. An absent one is no error; after a power loss some may be back: they are garbage still."""
        ...

    def local_path(self, key: str) -> Path:
        """A local file with the object's bytes, to be mapped; raises `KeyNotFound`."""
        ...

    def sparse(self, key: str) -> SparseFile | None:
        """The object as a file that is still being filled; None where `local_path` takes no time. Raises `KeyNotFound`.

        For who reads little of a large object, and asks for it before.
        """
        ...

    def size(self, key: str) -> int:
        """The object's length in bytes; raises `KeyNotFound`."""
        ...

    def scratch(self) -> Path:
        """A new empty folder, the caller's own. What is left in it is removed when the Store is next opened."""
        ...


def check_key(key: str) -> None:
    """Raise `InvalidParameter` unless `key` can be the key of an object."""
    if not _KEY.fullmatch(key) or any(part.startswith(".") for part in key.split("/")):
        raise InvalidParameter(
            f"{key!r} cannot be a key: write names of letters, digits and _ . - = that do not begin with a dot, "
            'separated by "/"'
        )
