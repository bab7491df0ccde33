"""Writer, reader and store on hosts of their own, cut off from one another in turn.

The hosts are network namespaces on a bridge, which takes root: without it these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bucket_case import environment
from tests.native_case import until

STORE = """
import sys
from moto.server import ThreadedMotoServer
from tests.bucket_case import make_bucket
server = ThreadedMotoServer(sys.argv[1], 5000, verbose=False)
server.start()
make_bucket(sys.argv[1], 5000)
print("ready", flush=True)
sys.stdin.read()
"""

WRITE = """
import sys, time, elanus
db = elanus.open("s3://elanus/db", take_over=True)
rows = db.collection("rows") if db.has_collection("rows") else db.create_collection("rows", dimension=2)
print("ready", flush=True)
for key in range(int(sys.argv[1]), 1_000_000):
    try:
        rows.insert({"id": [key], "vector": [[1.0, 2.0]]})
    except elanus.WriterStopped:
        print("stopped", flush=True)
        break
    print(key, flush=True)
    time.sleep(0.02)
"""

READ = """
import sys, elanus
db = elanus.open("s3://elanus/db", read_only=True)
print("ready", flush=True)
for line in sys.stdin:
    db.refresh()
    print(*db.collection("rows").query(output_fields=["id"]).column("id").to_pylist(), flush=True)
"""

ADDRESS = "10.87.0.{}"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Host:
    """A namespace on the bridge."""

    def __init__(self, network: Network, number: int) -> None:
        self.name = f"elanus{os.getpid()}-{number}"
        self.address = ADDRESS.format(number)
        self._wire = f"el{os.getpid() % 100_000}-{number}"
        self._network = network
        ip("netns", "add", self.name)
        network.closing.callback(ip, "netns", "del", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        if number > 1:
            hub = network.hub.name
            ip("link", "add", self._wire, "netns", hub, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            ip("-n", hub, "link", "set", self._wire, "master", "bridge", "up")
            ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
            ip("-n", self.name, "link", "set", "eth0", "up")

    def cut(self) -> None:
        ip("-n", self._network.hub.name, "link", "set", self._wire, "down")

    def heal(self) -> None:
        ip("-n", self._network.hub.name, "link", "set", self._wire, "up")

    def run(self, script: str, *arguments: str) -> Running:
        running = Running(self, script, arguments, self._network.folder / f"{self.name}-{time.monotonic_ns()}")
        self._network.closing.callback(running.end)
        return running


class Network:
    """The store's host, which is also the bridge, and others."""

    def __init__(self, folder: Path, closing: ExitStack) -> None:
        self.folder = folder
        self.closing = closing
        self.hub = Host(self, 1)
        ip("-n", self.hub.name, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.hub.name, "addr", "add", f"{self.hub.address}/24", "dev", "bridge")
        ip("-n", self.hub.name, "link", "set", "bridge", "up")


class Running:
    """A process on a host, once it is ready; `lines` grows with what it says."""

    def __init__(self, host: Host, script: str, arguments: tuple[str, ...], cache: Path) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", host.name, sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment(f"http://{ADDRESS.format(1)}:5000", cache)},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self.lines.extend, args=(self._said(),), daemon=True)
        self._reader.start()

    def _said(self) -> Iterator[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield line.strip()

    def ask(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answered(self) -> list[int]:
        """The keys that a reader sees that is asked now."""
        before = len(self.lines)
        self.ask()
        until(lambda: len(self.lines) > before)
        return [int(word) for word in self.lines[before].split()]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with ExitStack() as closing:
        if shutil.which("ip") is None:
            pytest.skip("there is no ip(8) here")
        try:
            made = Network(tmp_path, closing)
        except subprocess.CalledProcessError:
            pytest.skip("this user may not make network namespaces")
        made.hub.run(STORE, made.hub.address)
        yield made


@pytest.mark.timeout(300)
def test_whoever_is_cut_off_nothing_acknowledged_is_lost_or_there_twice(network: Network) -> None:
    hosts = [Host(network, number) for number in (2, 3, 4)]
    first = hosts[0].run(WRITE, "0")
    until(lambda: len(first.lines) > 20)
    reader = hosts[1].run(READ)

    def check(*writers: Running) -> None:
        """Every key that was acknowledged when the reader is asked is seen, once."""
        acknowledged = [int(line) for writer in writers for line in list(writer.lines) if line.isdecimal()]
        seen = reader.answered()
        assert len(set(seen)) == len(seen)
        assert set(acknowledged) <= set(seen)

    check(first)

    hosts[1].cut()
    reader.ask()
    before = len(first.lines)
    until(lambda: len(first.lines) > before + 20)  # the writer goes on
    time.sleep(2)
    assert not reader.lines[1:], "a reader that is cut off cannot know what there is"
    hosts[1].heal()
    until(lambda: len(reader.lines) == 2)
    check(first)

    hosts[0].cut()
    time.sleep(1)
    before = len(first.lines)
    time.sleep(3)
    assert len(first.lines) == before, "nothing is acknowledged that the store has not"
    check(first)
    hosts[0].heal()
    until(lambda: len(first.lines) > before + 20)
    check(first)

    hosts[0].cut()
    second = hosts[2].run(WRITE, "500000")
    until(lambda: len(second.lines) > 20)
    check(first, second)
    hosts[0].heal()
    until(lambda: "stopped" in first.lines)
    check(first, second)
    hosts[2].cut()
    hosts[2].heal()
    before = len(second.lines)
    until(lambda: len(second.lines) > before + 20)
    seen = reader.answered()
    acknowledged = {int(line) for writer in (first, second) for line in writer.lines if line.isdecimal()}
    assert len(set(seen) - acknowledged) <= 2, "at most the write that each writer was at"
