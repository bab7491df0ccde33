"""The server itself: its clock and its health."""

from __future__ import annotations

import os

from elanus.service.context import RequestContext
from elanus.service.instance import Instance


def timestamp(ctx: RequestContext, instance: Instance) -> int:
    """A new hybrid timestamp, later than that of every write acknowledged before."""
    instance.begin(ctx)
    return instance.engine.oracle.next()


def hardware() -> dict[str, int]:
    """Of this machine: cores, and bytes of memory."""
    return {
        "cpu_core_count": os.cpu_count() or 1,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def unhealthy(ctx: RequestContext, instance: Instance) -> str:
    """Why writes are refused; empty while all is well."""
    instance.begin(ctx)
    return instance.engine.failure or ""
