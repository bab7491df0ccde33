"""`elanus.connect`: the real `pymilvus.MilvusClient`, bound to a database in this process.

This is the one module that reaches into the SDK: a client hands keyword arguments that it does not know to the
`GrpcHandler` it makes, and that takes a `channel`. Where a release of the SDK does not, the client is connected through
a Unix socket to a server in this process instead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from elanus.service.instance import Instance, Settings
from elanus.wire.channel import InProcessChannel

if TYPE_CHECKING:
    from pymilvus import MilvusClient


def connect(path: str | os.PathLike[str], *, settings: Settings | None = None, **options: Any) -> MilvusClient:
    """Open the folder `path` for writing and return a `pymilvus.MilvusClient` that works on it; `close` closes both.

    `options` are those of the client (`db_name`, `timeout`). Raises `AlreadyOpen` while another process has the folder
    open, `CorruptData`, `FormatTooNew`, `StoreError`.
    """
    from pymilvus import MilvusClient  # a second of imports, for those who use it

    with ExitStack() as opened:
        instance = Instance.open(path, settings)
        opened.callback(instance.close)
        closing = opened.pop_all()
    channel = InProcessChannel(instance, closing.close)
    # The name tells clients of different databases apart; nothing listens there.
    address = f"unix:elanus-{id(instance):x}"
    try:
        client = MilvusClient(uri=address, channel=channel, dedicated=True, **options)
        if client._handler._channel is channel:
            return client
        client.close()
    except TypeError:
        pass
    except BaseException:
        closing.close()
        raise
    return _over_socket(instance, closing, options)


def _over_socket(instance: Instance, closing: ExitStack, options: dict[str, Any]) -> MilvusClient:
    from pymilvus import MilvusClient

    from elanus.wire.grpc.server import Server

    with closing:
        folder = tempfile.mkdtemp(prefix="elanus-")
        closing.callback(shutil.rmtree, folder, ignore_errors=True)
        address = f"unix:{folder}/socket"
        server = Server.start(instance, address)
        closing.callback(server.stop)
        client = MilvusClient(uri=address, dedicated=True, **options)
        rest = closing.pop_all()
    close = client.close

    def close_all() -> None:
        close()
        rest.close()

    client.close = close_all
    return client
