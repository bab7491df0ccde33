"""A server that Milvus clients write to from several threads is killed at random moments, again and again.

After each kill it is started on the same folder. What clients then read, by queries, counts and searches, has to be
what an order of their calls leaves: each whole, each acknowledged one there, the others whole or not at all
(`kills.explain`). Then the clients go on.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest
from pymilvus import MilvusClient

from tests.conftest import Effort
from tests.kill_server import Servers
from tests.kill_sessions import wait_until_gone
from tests.kill_views import observe
from tests.kill_wire import WITHOUT, WireView, Writers, connect, forget_schemas
from tests.kills import THREADS, Done, Event, State, Story, done_by, explain

_log = logging.getLogger(__name__)

LIVES_PER_STORY = 6
"""How often a folder is used again: so often that logs, manifests and segments of several lives lie in it."""

MOMENTS = {"start": (10, 1.1), "any": (50, 0.4), "late": (15, 1.2), "close": (15, 0.4)}
"""Kinds of moments: their shares, and within how many seconds after clients began to write. "start" is before it
serves, in parts of what starting took before; "close" is a little after it was told to stop."""

CLOSING_S = 0.05
"""A server that was told to stop is killed within so long."""

PORTS = (20_000, 30_000)
"""Where no client of this machine gets its own port from, so that a server which comes back finds its port free."""


class WireKills:
    """Stories of lives of a server, each ended by a kill; what was seen is counted in `seen`.

    With `names_requests` the writers go on across the kill, and across another one of the server that comes next.
    """

    def __init__(self, root: Path, seed: int, *, names_requests: bool) -> None:
        self._root = root
        self._names_requests = names_requests
        self._random = random.Random(seed)
        self._story = Story(seed, -1, without=WITHOUT)
        self._port = _free_port(self._random) if names_requests else 0
        self._servers = Servers(root / "errors")
        self._starting_s = 0.1
        self._state: State = {}
        self._threads: list[list[Done]] = []
        self.seen: Counter[str] = Counter()
        self.slowest_start_s = 0.0

    def run(self, kills: int) -> None:
        try:
            for life in range(kills):
                if life % LIVES_PER_STORY == 0:
                    self._end_story()
                    self._story = dataclasses.replace(self._story, number=self._story.number + 1)
                    self._folder = self._root / f"story-{self._story.number}"
                    self._state, self._threads = {}, []
                self._live(life)
            self._end_story()
            errors = self._servers.errors.read_text()
            assert "Traceback" not in errors, errors
        finally:
            self._servers.close()

    def _live(self, life: int) -> None:
        """The process that shows what the last one left is the next one to be killed."""
        kind = self._random.choices(list(MOMENTS), [share for share, _ in MOMENTS.values()])[0]
        pause_s = self._random.uniform(0, MOMENTS[kind][1])
        if kind == "start" and not self._servers.pid:
            self._start()
            time.sleep(pause_s * self._starting_s)
            self._kill(kind)
            self.seen[kind] += 1
            return
        with _clients(self._serve()) as clients:
            self._check(clients[-1])
            self._story = dataclasses.replace(self._story, life=life + 1)
            writers = Writers(self._story, clients, names_requests=self._names_requests)
            writers.start()
            time.sleep(pause_s)
            writers.expect_the_kill()
            moment = f"{kind} after {pause_s:.3f} s"
            if kind == "close":
                closing_s = self._random.uniform(0, CLOSING_S)
                self._servers.signal(signal.SIGTERM)
                time.sleep(closing_s)
                moment = f"{moment}, {closing_s:.3f} s in"
            self._kill(moment)
            writers.end()
            if self._names_requests:
                self._come_back(moment)
                writers.server_is_back()
            writers.join()
        self._threads = done_by(self._story, self._state, writers.entries)
        self.seen.update(entry.event.name for entry in writers.entries)
        self.seen["searches"] += writers.searched
        self.seen["called again"] += writers.called_again
        self.seen[kind] += 1
        if self._names_requests:
            flying = [done for done in chain.from_iterable(self._threads) if done.in_flight]
            assert not flying, f"calls under way that ended without an error: {flying}"

    def _come_back(self, context: str) -> None:
        """Start the next server; sometimes kill that one too, before it serves or while calls are made again."""
        self._start()
        if self._random.random() < 0.3:
            time.sleep(self._random.uniform(0, 2 * self._starting_s))
            self._kill(f"{context}, and again")
        self._serve()

    def _check(self, client: MilvusClient) -> None:
        """What the last kill left, as `client` sees it."""
        after = observe(WireView(client, self._story), self._story, self._random)
        found = explain(self._state, after, self._threads)
        assert found.why is None, f"{self._moment}; folder {self._folder}: {found.why}"
        self._state, self._threads = after, []
        self.seen["checks"] += 1
        self.seen["rows"] += sum(slot[0] == "row" for slot in after)
        self.seen["unacknowledged that survived"] += len(found.survived)
        self.seen["unacknowledged that vanished"] += len(found.vanished)

    def _start(self) -> None:
        self._servers.start(self._folder, self._port, tight=self._story.number % 2 == 1)
        self._began = time.monotonic()

    def _serve(self) -> int:
        """The port of a server that serves: of the one that does or was started, else of a new one."""
        if not self._servers.pid:
            self._start()
        if not self._servers.port:
            self._servers.wait_until_serving()
            self._starting_s = time.monotonic() - self._began
            self.slowest_start_s = max(self.slowest_start_s, self._starting_s)
        return self._servers.port

    def _kill(self, moment: str) -> None:
        self._moment = f"life {self._story.life} of story {self._story.number}, killed {moment}"
        pid = self._servers.pid
        began = time.monotonic()
        self._servers.kill()
        wait_until_gone(pid, began)
        self.seen["kills"] += 1

    def _end_story(self) -> None:
        if self._story.number < 0:
            return
        with _clients(self._serve(), 1) as (client,):
            self._check(client)
        self._servers.signal(signal.SIGTERM)
        assert self._servers.wait() == 0, self._servers.errors.read_text()
        self.seen["sealed segments"] += len(list(self._folder.glob("store/collections/*/segments/*")))
        shutil.rmtree(self._folder)
        forget_schemas()


@contextmanager
def _clients(port: int, count: int = THREADS + 2) -> Iterator[list[MilvusClient]]:
    clients = []
    try:
        for _ in range(count):
            clients.append(connect(port))
        yield clients
    finally:
        for client in clients:
            client.close()


def _free_port(chance: random.Random) -> int:
    while True:
        port = chance.randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _run(root: Path, seed: int, kills: int, *, names_requests: bool) -> Counter[str]:
    done = WireKills(root, seed, names_requests=names_requests)
    began = time.monotonic()
    try:
        done.run(kills)
    finally:
        took_s = time.monotonic() - began
        _log.info("%.0f s, starting took up to %.2f s; %s", took_s, done.slowest_start_s, dict(done.seen))
    return done.seen


@pytest.fixture(autouse=True)
def _quiet_sdk(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK logs each call that fails, with a traceback; here that is what is wanted of most of them."""
    caplog.set_level(logging.CRITICAL, "pymilvus")


@pytest.mark.crash
@pytest.mark.timeout(900)  # the first SDK of version 3 waits ten seconds for each server that was killed
def test_what_a_server_acknowledged_survives_its_kill_and_nothing_else_but_whole_requests(
    tmp_path: Path, effort: Effort, seed: int
) -> None:
    seen = _run(tmp_path, seed, effort.wire_kills, names_requests=False)
    met = [Event.ACKNOWLEDGED.name, "unacknowledged that survived", "unacknowledged that vanished", "searches"]
    if effort.wire_kills >= 300:
        met += [*MOMENTS, "sealed segments"]
    assert not [what for what in met if not seen[what]], seen


@pytest.mark.crash
def test_named_requests_that_clients_send_again_after_a_kill_are_done_once(
    tmp_path: Path, effort: Effort, seed: int
) -> None:
    """What was under way is sent again, to the server that comes next; nothing fails, and nothing is there twice."""
    seen = _run(tmp_path, seed, effort.wire_retries, names_requests=True)
    assert seen["called again"], seen
