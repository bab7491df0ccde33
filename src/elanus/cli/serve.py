"""`elanus serve`: a process that Milvus clients connect to, or several behind one port."""

from __future__ import annotations

import ctypes
import logging
import sys
from contextlib import ExitStack, suppress

import typer

from elanus.cli.stop import StopSignal
from elanus.cli.workers import Workers
from elanus.service.instance import Instance
from elanus.version import __version__
from elanus.wire.grpc.server import Server

KEPT_BYTES = 16 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def run(data: str, host: str, port: int, *, read_only: bool, take_over: bool, workers: int, local_log: str) -> int:
    """Serve the folder or URL `data` at `host`:`port` until SIGTERM or SIGINT, then finish what is in flight.

    With `read_only` another process may have it open for writing; with `take_over` it has it no more. Of several
    `workers`, processes behind one port, this one is the writer. In the folder `local_log`, where it is not "", the log
    of a database in a bucket is acknowledged.
    Raises `AddressInUse`, `AlreadyOpen`, `InvalidParameter`, `StoreError`.
    """
    stop = StopSignal()
    prepare()
    with ExitStack() as closing:
        others = Workers(workers - 1) if workers > 1 else None
        if others is not None:
            closing.callback(others.remove_folder)
        told = others.told if others is not None and not read_only else None
        instance = Instance.open(data, read_only=read_only, take_over=take_over, told=told, local_log=local_log)
        closing.callback(instance.close)
        server = Server.start(
            instance, host, port, shares=others is not None, also=others.writer if others is not None else ""
        )
        closing.callback(server.stop)
        if others is not None:
            closing.callback(others.close)
            others.start(data, host, server.port, writes=not read_only)
        typer.echo(f"elanus {__version__} serves {data} at {host}:{server.port}")
        stop.wait()
    return 0


def prepare() -> None:
    """What a serving process does first."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _raise_descriptor_limit()
    _keep_freed_memory()


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
