"""A process that writes from several threads is killed at random moments, again and again.

After each kill the folder is opened, and what is in it has to be what an order of the process's operations leaves:
each whole, each acknowledged one there, the others whole or not at all (`kills.explain`). Then the next process goes
on with the same folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import psutil
import pytest

from elanus import Elanus
from elanus.engine.builders import InlineBuilders
from elanus.service.instance import Instance
from tests.conftest import Effort
from tests.kill_native import NativeView
from tests.kill_sessions import wait_until_gone
from tests.kill_views import observe
from tests.kills import (
    DEFAULT_PARTITION,
    MAIN,
    SHARED_KEYS,
    THREADS,
    TIGHT,
    Done,
    Entry,
    Event,
    Op,
    Script,
    State,
    Story,
    done_by,
    effects_of,
    explain,
    own_key,
    read_ledger,
    thread_of,
)

_log = logging.getLogger(__name__)

LIVES_PER_STORY = 6
"""How often a folder is used again: so often that logs, manifests and segments of several lives lie in it."""

MOMENTS = {"start": (15, 1.2), "any": (45, 0.5), "late": (15, 1.5), "build": (10, 0.3), "close": (15, 0.5)}
"""Kinds of moments: their shares, and within how many seconds after the folder was open. "start" is before that, in
parts of what the opening before took; "build" is after a builder was seen."""

BUILDER_S = 2.0
"""How long to wait for a builder."""

UPKEEP_SHARE = 0.25
"""How often all jobs are run to their end on what a kill has left, which must change nothing."""

OPEN_S = 2.0
STUCK_S = 60.0


class Writer:
    """A process of `kill_writer`, started ahead of its time, since imports take longer than it lives."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._ledger = folder / "ledger"
        self._errors = folder / "errors"
        root = Path(__file__).parent.parent
        path = os.pathsep.join([str(root), *(os.path.abspath(p) for p in sys.path if p)])
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.kill_writer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": path},
                cwd=root,
                start_new_session=True,  # its builders are those of its session
            )

    def begin(self, folder: Path | str, story: Story, local_log: str = "") -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", self._errors.read_text()
        order = {"folder": str(folder), "ledger": str(self._ledger), "local_log": local_log}
        order |= dataclasses.asdict(story)
        self.say(json.dumps(order))

    def wait_until_open(self) -> None:
        began = time.monotonic()
        while self.process.poll() is None and not (self._ledger.exists() and self._ledger.stat().st_size):
            assert time.monotonic() - began < STUCK_S, "the folder is not open yet"
            time.sleep(0.001)

    def has_builder(self) -> bool:
        try:
            return bool(psutil.Process(self.process.pid).children())
        except psutil.Error:
            return False

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has failed: `ledger` says of what
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def ledger(self) -> list[Entry]:
        """What it has noted. Asserts that nothing failed in it, and that it ended as it was meant to."""
        entries = read_ledger(self._ledger)
        failed = [e for e in entries if e.event is Event.FAILED]
        assert not failed, self._errors.read_text()
        assert self.process.returncode in (0, -signal.SIGKILL), self._errors.read_text()
        return entries


class Kills:
    """Stories of lives, each ended by a kill; what was seen is counted in `seen`."""

    settings = TIGHT
    open_s = OPEN_S
    takes_over = False

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._random = random.Random(seed)
        self._story = Story(seed, -1)
        self._state: State = {}
        self._waiting: list[Writer] = []
        self._opening_s = 0.1
        self._segments: frozenset[int] = frozenset()
        self.seen: Counter[str] = Counter()
        self.slowest_open_s = 0.0
        self.slowest_gone_s = 0.0

    def run(self, kills: int) -> None:
        try:
            for life in range(kills):
                while len(self._waiting) < min(2, kills - life):
                    self._waiting.append(Writer(self._root / f"life-{life + len(self._waiting)}"))
                if life % LIVES_PER_STORY == 0:
                    self._story = dataclasses.replace(self._story, number=self._story.number + 1)
                    self._state, self._segments = {}, frozenset()
                self._live(life)
                if life % LIVES_PER_STORY == LIVES_PER_STORY - 1:
                    self._end_story()
        finally:
            for writer in self._waiting:
                writer.kill()

    @property
    def _place(self) -> Path | str:
        """Where the database lies."""
        return self._root / f"story-{self._story.number}"

    def _live(self, life: int) -> None:
        self._story = dataclasses.replace(self._story, life=life + 1)
        writer = self._waiting.pop(0)
        writer.begin(self._place, self._story, self.settings.local_log)
        moment = self._kill_at_some_moment(writer)
        context = f"life {life} of story {self._story.number}, killed {moment}; at {self._place}"
        entries = writer.ledger()
        began = time.monotonic()
        threads = done_by(self._story, self._state, entries)
        with self._open() as db:
            after = observe(NativeView(db), self._story, self._random)
            self._count_segments(db)
            if self._random.random() < UPKEEP_SHARE:
                # A builder takes longer to start than most lives last: this is where the next one's indexes come from.
                for name in db.list_collections():
                    db.collection(name).compact()
                assert observe(NativeView(db), self._story, self._random) == after
        found = explain(self._state, after, threads)
        assert found.why is None, f"{context}: {found.why}"
        self._state = after
        self.slowest_gone_s = max(self.slowest_gone_s, wait_until_gone(writer.process.pid, began))
        self.seen["kills"] += 1
        self.seen[moment.split()[0]] += 1
        self.seen["rows"] += sum(slot[0] == "row" for slot in after)
        self.seen["unacknowledged that survived"] += len(found.survived)
        self.seen["unacknowledged that vanished"] += len(found.vanished)
        self.seen.update(entry.event.name for entry in entries)
        self.seen["before it was open"] += not any(entry.event is Event.OPENED for entry in entries)
        self.seen["closed in time"] += any(entry.event is Event.CLOSED for entry in entries)
        self.seen["writing ms"] += (entries[-1].at_ns - entries[0].at_ns) // 10**6 if entries else 0

    def _kill_at_some_moment(self, writer: Writer) -> str:
        kind = self._random.choices(list(MOMENTS), [share for share, _ in MOMENTS.values()])[0]
        pause_s = self._random.uniform(0, MOMENTS[kind][1])
        if kind != "start":
            began = time.monotonic()
            writer.wait_until_open()
            self._opening_s = time.monotonic() - began
        else:
            pause_s *= self._opening_s
        if kind == "build":
            self._wait_for_builder(writer)
        time.sleep(pause_s)
        if kind == "close":
            writer.say("close")
            closing_s = self._random.uniform(0, 0.04)
            time.sleep(closing_s)
            kind = f"close after {pause_s:.3f} s, {closing_s:.4f} s in"
        else:
            kind = f"{kind} after {pause_s:.3f} s"
        self.seen["with a builder"] += writer.has_builder()
        writer.kill()
        return kind

    def _wait_for_builder(self, writer: Writer) -> None:
        began = time.monotonic()
        while not writer.has_builder() and time.monotonic() - began < BUILDER_S:
            time.sleep(0.01)

    def _open(self) -> Elanus:
        """Open what the killed process left, which takes its lock, with nothing running by itself."""
        opened_s = []
        for _ in range(2):
            began = time.monotonic()
            settings = dataclasses.replace(self.settings, background=False)
            db = Elanus(Instance.open(self._place, settings, builders=InlineBuilders(), take_over=self.takes_over))
            for name in db.list_collections():
                db.collection(name).count()
            opened_s.append(time.monotonic() - began)
            if opened_s[-1] < self.open_s:
                break
            db.close()  # a second one tells a slow opening from a busy machine
        self.slowest_open_s = max(self.slowest_open_s, min(opened_s))
        assert opened_s[-1] < self.open_s
        return db

    def _count_segments(self, db: Elanus) -> None:
        if not db.has_collection(MAIN):
            return
        instance = db._instance
        segments = instance.collection(db._ctx, MAIN).manifest.segments
        self.seen["segments sealed or merged"] += len(segments.keys() - self._segments)
        self.seen["segments merged away"] += len(self._segments - segments.keys())
        self.seen["segments with an index"] += sum(bool(entry.indexes) for entry in segments.values())
        self._segments = frozenset(segments)

    def _end_story(self) -> None:
        with self._open() as db:
            assert observe(NativeView(db), self._story, self._random) == self._state
        self.seen["log cuts"] += self._remove()

    def _remove(self) -> int:
        """Remove the database; returns the number of the oldest file of its log, counted from 0."""
        folder = Path(self._place)
        oldest = min(int(p.stem) for p in (folder / "log").glob("*.log"))
        shutil.rmtree(folder)
        return oldest - 1


@pytest.mark.crash
def test_what_was_acknowledged_survives_kills_and_nothing_else_but_whole_requests(
    tmp_path: Path, effort: Effort, seed: int
) -> None:
    kills = Kills(tmp_path, seed)
    began = time.monotonic()
    try:
        kills.run(effort.kills)
    finally:
        took_s = time.monotonic() - began
        _log.info("%.0f s, opening took up to %.2f s, builders were gone within %.2f s",
                  took_s, kills.slowest_open_s, kills.slowest_gone_s)  # fmt: skip
        _log.info("%s", dict(kills.seen))
    # What the kills have to have met for this test to mean anything.
    met = ["ACKNOWLEDGED", "unacknowledged that survived", "unacknowledged that vanished", "segments sealed or merged"]
    if effort.kills >= 300:
        met += ["before it was open", "with a builder", "REFUSED", "segments merged away"]
        met += ["segments with an index", "log cuts", "closed in time"]
    assert not [what for what in met if not kills.seen[what]], kills.seen


# --- what the kills are judged by ------------------------------------------------------------------------------------


def left_by(before: State, *calls: tuple[int, Op, int, int | None]) -> list[list[Done]]:
    """What threads did: (thread, operation, invoked, responded) in the order of each thread."""
    found: list[list[Done]] = [[], [], []]
    for thread, op, invoked, responded in calls:
        own = dict(before)
        for done in found[thread]:
            own |= done.effects
        found[thread].append(Done(thread, op, effects_of(op, own), invoked, responded))
    return found


def row(key: int) -> tuple[str, str, int]:
    return ("row", MAIN, key)


def rows(*keys: int, stamp: int) -> State:
    return {row(key): (stamp, DEFAULT_PARTITION) for key in keys}


def written(kind: str, *keys: int, stamp: int = 0) -> Op:
    return Op(kind, MAIN, keys, stamp)


def test_what_was_acknowledged_has_to_be_there() -> None:
    threads = left_by({}, (0, written("insert", 1, 2, stamp=7), 0, 1))
    assert explain({}, rows(1, 2, stamp=7), threads).why is None
    assert explain({}, {}, threads).why is not None
    assert explain({}, rows(1, stamp=7), threads).why is not None


def test_what_nobody_wrote_must_not_be_there() -> None:
    threads = left_by({}, (0, written("insert", 1, stamp=7), 0, 1))
    assert explain({}, rows(1, stamp=7) | rows(2, stamp=7), threads).why is not None
    assert explain({}, rows(1, stamp=8), threads).why is not None
    old = rows(5, stamp=1)
    assert explain(old, rows(1, stamp=7) | old, threads).why is None
    assert explain(old, rows(1, stamp=7), threads).why is not None, "an old row is gone"


def test_what_was_not_acknowledged_may_be_there_wholly_or_not_at_all() -> None:
    old = rows(1, 2, stamp=1)
    threads = left_by(old, (0, written("upsert", 1, 2, 3, stamp=7), 0, None))
    for after, survived in ((old, 0), (rows(1, 2, 3, stamp=7), 1)):
        found = explain(old, after, threads)
        assert found.why is None
        assert (len(found.survived), len(found.vanished)) == (survived, 1 - survived)
    assert explain(old, rows(1, 2, stamp=7), threads).why is not None, "the new row is missing"
    assert explain(old, rows(3, stamp=7) | old, threads).why is not None, "nothing was replaced"
    assert explain(old, {}, threads).why is not None, "the upsert did its deletes alone"


def test_the_last_of_those_that_came_one_after_the_other_counts() -> None:
    threads = left_by(
        {},
        (0, written("upsert", 1, stamp=7), 0, 1),
        (1, written("upsert", 1, stamp=8), 2, 3),
        (0, written("delete_keys", 1), 4, 6),
        (2, written("upsert", 1, stamp=9), 5, None),
    )
    assert explain({}, {}, threads).why is None
    assert explain({}, rows(1, stamp=9), threads).why is None
    assert explain({}, rows(1, stamp=8), threads).why is not None
    assert explain({}, rows(1, stamp=7), threads).why is not None


def test_batches_that_overlapped_come_in_one_order_for_all_their_keys() -> None:
    threads = left_by(
        {}, (0, written("upsert", 1, 2, stamp=7), 0, 3), (1, written("upsert", 1, 2, stamp=8), 1, 2)
    )  # fmt: skip
    assert explain({}, rows(1, 2, stamp=7), threads).why is None
    assert explain({}, rows(1, 2, stamp=8), threads).why is None
    assert explain({}, rows(1, stamp=7) | rows(2, stamp=8), threads).why is not None


def test_a_filter_deletes_what_matched_when_it_ran() -> None:
    key = own_key(0, 1, 0)
    delete = Op("delete_stamp", MAIN, old_stamp=7, low=key, high=key + 10)
    threads = left_by(
        {},
        (0, written("insert", key, key + 1, stamp=7), 0, 1),
        (0, written("upsert", key, stamp=8), 2, 3),
        (0, delete, 4, 5),
    )
    assert explain({}, rows(key, stamp=8), threads).why is None
    assert explain({}, {}, threads).why is not None
    assert explain({}, rows(key, stamp=8) | rows(key + 1, stamp=7), threads).why is not None


def test_a_script_is_the_same_for_whoever_asks_and_keeps_to_its_own_keys() -> None:
    story = Story(seed=3, number=0, life=4)
    for thread in range(THREADS):
        first, second = (list(islice(Script(story, thread), 300)) for _ in range(2))
        assert first == second
        state: State = {}
        for op in first:
            effects = effects_of(op, state)
            assert {thread_of(slot) for slot in effects} <= {thread, None}
            state |= effects
    assert own_key(0, 1, 0) >= SHARED_KEYS
