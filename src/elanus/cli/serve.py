"""`elanus serve`: one process that Milvus clients connect to."""

from __future__ import annotations

import ctypes
import logging
import sys
from contextlib import suppress

import typer

from elanus.cli.stop import StopSignal
from elanus.service.instance import Instance
from elanus.version import __version__
from elanus.wire.grpc.server import Server

KEPT_BYTES = 16 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def run(data: str, host: str, port: int, read_only: bool = False) -> int:
    """Serve the folder or URL `data` at `host`:`port` until SIGTERM or SIGINT, then finish what is in flight.

    With `read_only` another process may have it open for writing.
    Raises `AddressInUse`, `AlreadyOpen`, `StoreError`.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = StopSignal()
    _raise_descriptor_limit()
    _keep_freed_memory()
    instance = Instance.open(data, read_only=read_only)
    try:
        server = Server.start(instance, host, port)
        typer.echo(f"elanus {__version__} serves {data} at {host}:{server.port}")
        stop.wait()
        server.stop()
    finally:
        instance.close()
    return 0


def _keep_freed_memory() -> None:
    """Have blocks of a few MiB come from memory that is there, as glibc does by itself once it has freed a large one.

    Messages of batches, and the frames of the log made of them, are such blocks. Taken anew from the system each time,
    page by page, they take 2.5 ms of the 12 of an insert of 5,000 × 128 floats.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc alone
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * KEPT_BYTES)


def _raise_descriptor_limit() -> None:
    """Allow as many connections as the system does: the soft limit, often 1,024 or 256, is there for select(2)."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS names no limit and refuses what it does not keep
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
