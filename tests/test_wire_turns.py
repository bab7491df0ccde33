"""Turns: one thread works at a time, and none waits for another that takes long."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
from pymilvus.client.prepare import Prepare

from elanus.wire.grpc.turns import PATIENCE_S, Turns
from tests.wire_case import Wire


class Workers:
    """Three threads that take pieces, each so many seconds of work, in turns, and say who did what."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.done: list[tuple[str, float]] = []
        self.pieces: list[float] = []
        self.there = threading.Semaphore(0)
        self.threads = [threading.Thread(target=self._run, name=name) for name in "abc"]
        for thread in self.threads:
            thread.start()

    def give(self, *pieces: float) -> None:
        for piece in pieces:
            self.pieces.append(piece)
            self.there.release()

    def stop(self) -> None:
        self.turns.stop()
        for thread in self.threads:
            thread.join()

    def until_done(self, count: int) -> None:
        ends = time.monotonic() + 20
        while len(self.done) < count:
            assert time.monotonic() < ends
            time.sleep(0.001)

    def _run(self) -> None:
        while (turn := self.turns.take()) is not None:
            while self.turns.has(turn):
                if not self.there.acquire(timeout=0.05):
                    continue
                turn.begin()
                seconds = self.pieces.pop(0)
                time.sleep(seconds)
                self.done.append((threading.current_thread().name, seconds))
                turn.end()


def test_pieces_that_take_no_time_are_all_done_by_one_thread() -> None:
    # A machine that is busy may interrupt a thread for longer than it is waited for, but not all the time.
    assert max(_done_by_one() for _ in range(5)) >= 150


def _done_by_one() -> int:
    """How many of 200 pieces the thread does that does most."""
    workers = Workers()
    try:
        for count in range(1, 201):
            workers.give(0.0)
            workers.until_done(count)
        return Counter(name for name, _ in workers.done).most_common(1)[0][1]
    finally:
        workers.stop()


def test_long_pieces_keep_nobody_waiting_while_there_are_other_threads() -> None:
    workers = Workers()
    try:
        for pause in (0.0, 20 * PATIENCE_S):  # at once, and when the watching thread has long gone to sleep
            time.sleep(pause)
            workers.done.clear()
            workers.give(0.5, 0.5, 0.0)
            workers.until_done(1)
            assert workers.done[0][1] == 0.0
            workers.until_done(3)
            assert len({name for name, _ in workers.done}) == 3
    finally:
        workers.stop()


def test_a_turn_is_passed_on_only_by_the_thread_that_has_it() -> None:
    turns = Turns()
    first = turns.take()
    assert first is not None
    first.begin()
    stranger = threading.Thread(target=turns.pass_on)
    stranger.start()
    stranger.join()
    began = first.began
    turns.pass_on()
    assert began > time.monotonic() - 1 > first.began
    assert turns.take() is not first
    first.end()
    assert not turns.has(first)


def test_a_thread_that_was_not_waited_for_leaves_its_turn() -> None:
    turns = Turns()
    first = turns.take()
    assert first is not None
    assert turns.has(first)
    first.begin()
    second = turns.take()
    assert second is not None
    assert (turns.has(first), turns.has(second)) == (False, True)
    first.end()
    assert second.began > time.monotonic()
    turns.stop()
    assert not turns.has(second)
    assert turns.take() is None


def test_a_search_of_thousands_of_queries_keeps_no_other_read_waiting(remote: Wire) -> None:
    rows, queries = 8_000, 4_000
    vectors = np.random.default_rng(3).random((rows, 128), np.float32)
    remote.client.create_collection("many", dimension=128)
    remote.client.insert("many", [{"id": i, "vector": vector} for i, vector in enumerate(vectors)])
    request = Prepare.search_requests_with_expr("many", "vector", {}, 1, vectors[:queries])
    remote.client.search("many", vectors[:1], limit=1)  # what a server does but once is done
    long = remote.stub.Search.future(request)
    answered = 0
    while not long.done():
        assert remote.client.get("many", ids=[7], output_fields=["id"]) == [{"id": 7}]
        answered += 1
    assert len(long.result().results.topks) == queries
    # The search takes some hundred milliseconds, a read of one row one or two. Were they to wait for it, there would be
    # no more than those before the server has all of it, and the one that waited.
    assert answered > 20
