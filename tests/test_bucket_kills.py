"""Writers to a bucket are killed at random moments, or stopped, replaced and woken, again and again.

What `test_kills` does to a folder, to a bucket: each life begins where the one before left it, with nothing on the
disk. A writer that is replaced notices by itself, and adds nothing to what its successor has found.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from elanus.engine.engine import Engine
from elanus.log.objects import FENCE_BYTES
from elanus.store.bucket import Bucket
from tests.bucket_case import options, use
from tests.conftest import Effort
from tests.kill_native import NativeView
from tests.kill_sessions import wait_until_gone
from tests.kill_views import observe
from tests.kills import TIGHT_IN_BUCKET, Event, done_by, explain, read_ledger
from tests.test_kills import Kills, Writer

_log = logging.getLogger(__name__)

NOTICED_S = 20.0
"""How soon a writer that was replaced has noticed: at its next write."""


class BucketKills(Kills):
    """`Kills` of a database in a bucket."""

    settings = TIGHT_IN_BUCKET
    open_s = 20.0

    def __init__(self, root: Path, seed: int, url: str, endpoint: str) -> None:
        super().__init__(root, seed)
        self._url = url
        self._endpoint = endpoint

    def run(self, kills: int) -> None:
        try:
            super().run(kills)
        finally:
            _log.info("opening took up to %.2f s: %s", self.slowest_open_s, dict(self.seen))

    @property
    def _place(self) -> str:
        return f"{self._url}/story-{self._story.number}"

    def _remove(self) -> int:
        bucket = Bucket(self._place, options(self._endpoint))
        sizes = bucket.sizes("")
        bucket.delete(sizes)
        shutil.rmtree(self._root / "elanus", ignore_errors=True)
        log = {int(Path(key).stem): size for key, size in sizes.items() if key.startswith("log/")}
        return min((number for number, size in log.items() if size != FENCE_BYTES), default=1) - 1


class LocalLogKills(BucketKills):
    """`BucketKills` of writers whose log is in a folder first. It is there for the next one."""

    def __init__(self, root: Path, seed: int, url: str, endpoint: str) -> None:
        super().__init__(root, seed, url, endpoint)
        self.settings = dataclasses.replace(TIGHT_IN_BUCKET, local_log=str(root / "local"))


class TakeOvers(BucketKills):
    """Writers that are stopped, replaced and woken; killed only when they have noticed."""

    takes_over = True

    def _live(self, life: int) -> None:
        self._story = dataclasses.replace(self._story, life=life + 1)
        writer = self._waiting.pop(0)
        writer.begin(self._place, self._story)
        writer.wait_until_open()
        time.sleep(self._random.uniform(0.05, 0.7))
        os.kill(writer.process.pid, signal.SIGSTOP)
        began = time.monotonic()
        with self._open() as db:
            after = observe(NativeView(db), self._story, self._random)
            if self._random.random() < 0.5:  # what it goes on behind is gone then
                engine = db._instance.engine
                assert isinstance(engine, Engine)
                engine.cut_log()
                self.seen["log cut while it slept"] += 1
            os.kill(writer.process.pid, signal.SIGCONT)
            self._wait_until_noticed(writer)
            assert observe(NativeView(db), self._story, self._random) == after
            self._count_segments(db)
        writer.kill()
        entries = writer.ledger()
        found = explain(self._state, after, done_by(self._story, self._state, entries))
        assert found.why is None, f"life {life} of {self._place}: {found.why}"
        self._state = after
        wait_until_gone(writer.process.pid, began)
        self.seen.update(entry.event.name for entry in entries)
        self.seen["unacknowledged that survived"] += len(found.survived)
        self.seen["unacknowledged that vanished"] += len(found.vanished)

    def _wait_until_noticed(self, writer: Writer) -> None:
        began = time.monotonic()
        while not any(entry.event is Event.REPLACED for entry in read_ledger(writer._ledger)):
            assert writer.process.poll() is None, writer._errors.read_text()
            assert time.monotonic() - began < NOTICED_S, "it does not notice that it was replaced"
            time.sleep(0.01)


@pytest.fixture
def in_bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Has this process and those that it starts use the server; returns its URL."""
    endpoint = f"http://{s3}"
    use(monkeypatch, endpoint, tmp_path)
    return endpoint


@pytest.mark.crash
def test_what_was_acknowledged_survives_kills_of_writers_to_a_bucket(
    tmp_path: Path, effort: Effort, seed: int, url: str, in_bucket: str
) -> None:
    kills = BucketKills(tmp_path, seed, url, in_bucket)
    kills.run(effort.bucket_kills)
    met = ["ACKNOWLEDGED", "segments sealed or merged"]
    if effort.bucket_kills >= 300:
        met += ["unacknowledged that survived", "unacknowledged that vanished", "with a builder", "log cuts"]
    assert not [what for what in met if not kills.seen[what]], kills.seen


@pytest.mark.crash
def test_what_was_acknowledged_in_a_local_log_survives_kills(
    tmp_path: Path, effort: Effort, seed: int, url: str, in_bucket: str
) -> None:
    kills = LocalLogKills(tmp_path, seed, url, in_bucket)
    kills.run(effort.bucket_kills)
    assert kills.seen["ACKNOWLEDGED"]
    assert kills.seen["segments sealed or merged"]


@pytest.mark.crash
def test_a_writer_that_was_stopped_and_replaced_adds_nothing_when_it_wakes(
    tmp_path: Path, effort: Effort, seed: int, url: str, in_bucket: str
) -> None:
    kills = TakeOvers(tmp_path, seed, url, in_bucket)
    kills.run(effort.take_overs)
    assert kills.seen["REPLACED"] >= effort.take_overs
    assert kills.seen["ACKNOWLEDGED"]
