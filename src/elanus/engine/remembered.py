"""Plans remembered with a snapshot, by what the searches ask that they answer.

A plan that holds masks may be large, a bit a row and unit; one that holds none is a few kilobytes, and there may be as
many of them as a collection has tenants that are asked for.
"""

from __future__ import annotations

from typing import Any

MASKED_KEPT = 64
PLAIN_KEPT = 1024


class RememberedPlans:
    """Any thread may use it; what two of them keep at one moment may be one more than the most."""

    __slots__ = ("_masked", "_plain")

    def __init__(self) -> None:
        self._plain: dict[Any, Any] = {}
        self._masked: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self._plain) + len(self._masked)

    def get(self, key: Any) -> Any:
        """What was kept, or None."""
        found = self._plain.get(key)
        return found if found is not None else self._masked.get(key)

    def keep(self, key: Any, made: Any, *, is_masked: bool) -> None:
        """Keep it, unless there are as many already: the picture is soon another one where rows are written."""
        kept, most = (self._masked, MASKED_KEPT) if is_masked else (self._plain, PLAIN_KEPT)
        if len(kept) < most:
            kept[key] = made

    def clear(self) -> None:
        self._plain.clear()
        self._masked.clear()
