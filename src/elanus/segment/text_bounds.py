"""Binary search among texts that lie sorted, as one compiled call. Imported only when a text is looked for."""

from __future__ import annotations

from typing import Any

from elanus.model.compiled import compiled


@compiled
def bound(data: Any, offsets: Any, text: Any, start: int, stop: int, behind: bool) -> int:
    """The first of the rows start..stop-1, whose texts rise by bytes, that is not below `text`; where `behind`, the
    first that is above it. `stop` where there is none.

    Row i is `data[offsets[i]:offsets[i + 1]]`, of uint8.
    """
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        begin = offsets[middle]
        length = offsets[middle + 1] - begin
        at, shorter = 0, min(length, len(text))
        while at < shorter and data[begin + at] == text[at]:
            at += 1
        if at < shorter:
            before = data[begin + at] < text[at]
        else:
            before = length < len(text) or (behind and length == len(text))
        if before:
            low = middle + 1
        else:
            high = middle
    return low
