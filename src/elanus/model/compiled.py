"""How kernels are compiled. Imported only by modules that are made of kernels: numba costs 0.35 s and 120 MB."""

from __future__ import annotations

from typing import TypeVar, cast

import numba

_F = TypeVar("_F")


def compiled(function: _F) -> _F:
    """`function` compiled at its first call, without the GIL, and kept beside its source or in the user's cache."""
    try:
        kernel = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        # Neither folder can be written: it is compiled again in every process.
        kernel = numba.njit(nogil=True, error_model="numpy")(function)
    return cast("_F", kernel)
