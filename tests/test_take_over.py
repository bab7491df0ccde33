"""A second writer is told who the first is, or takes its place, after which the first writes no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import elanus
from elanus import AlreadyOpen, WriterStopped
from elanus.store import holder
from elanus.store.bucket import Bucket
from elanus.store.folder_lock import FolderLock
from elanus.store.holder import SILENT_S, Holder, Note
from elanus.testing.bucket_proxy import Proxy
from tests.bucket_case import open_bucket, use
from tests.test_serve import failure, one_sentence
from tests.wire_case import served

WRITE = """
import sys, elanus
db = elanus.open(sys.argv[1])
rows = db.collection("rows") if db.has_collection("rows") else db.create_collection("rows", dimension=2)
print("open", flush=True)
for key in range(int(sys.argv[2]), 1_000_000):
    rows.insert({"id": [key], "vector": [[1.0, 2.0]]})
    print(key, flush=True)
"""


@contextmanager
def writing(place: Path | str, start: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process that writes rows and says which are acknowledged."""
    command = [sys.executable, "-c", WRITE, str(place), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n", process.stderr and process.stderr.read()
            yield process
        finally:
            process.kill()
            process.communicate()


def acknowledged(process: subprocess.Popen[str], least: int = 0) -> list[int]:
    """What it has said: at least so many keys, or all where that is 0 and it has ended."""
    assert process.stdout is not None
    if least:
        return [int(process.stdout.readline()) for _ in range(least)]
    return [int(line) for line in process.stdout if line.endswith("\n")]


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_of_a_folder_the_writer_before_is_ended_and_what_it_acknowledged_stays(tmp_path: Path, stopped: bool) -> None:
    place = tmp_path / "db"
    with writing(place) as first:
        with pytest.raises(AlreadyOpen, match=f"process {first.pid}: .*--take-over"):
            elanus.open(place)
        keys = acknowledged(first, 20)
        if stopped:
            os.kill(first.pid, signal.SIGSTOP)
        with elanus.open(place, take_over=True) as db:
            assert first.wait(10) == -(signal.SIGKILL if stopped else signal.SIGTERM)
            keys += acknowledged(first)
            found = db.collection("rows").query(output_fields=["id"]).column("id").to_pylist()
            assert set(keys) <= set(found)
            assert len(set(found)) == len(found) <= len(keys) + 1
            db.collection("rows").insert({"id": [-1], "vector": [[1.0, 2.0]]})


def test_a_server_that_is_asked_finishes_what_is_in_flight(tmp_path: Path) -> None:
    with served(tmp_path / "db") as first, served(tmp_path / "db", "--take-over") as second:
        assert first.end() == 0
        assert second.process.poll() is None


def test_who_does_not_listen_is_ended_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = "import signal, sys; from pathlib import Path; from elanus.store.folder_lock import FolderLock; "
    hold += "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    hold += "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    monkeypatch.setattr("elanus.store.folder_lock.GRACE_S", 0.5)
    command = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        FolderLock(tmp_path, take_over=True).release()
        assert first.wait(10) == -signal.SIGKILL


def test_a_process_does_not_end_itself_nor_one_that_only_has_the_number(tmp_path: Path) -> None:
    mine = FolderLock(tmp_path)
    with pytest.raises(AlreadyOpen, match="cannot be ended from here"):
        FolderLock(tmp_path, take_over=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        (tmp_path / "lock").write_text(f"{innocent.pid}\n")
        with pytest.raises(AlreadyOpen, match="cannot be ended from here"):
            FolderLock(tmp_path, take_over=True)
        assert innocent.poll() is None
        innocent.kill()
    mine.release()


# --- buckets ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(url: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    use(monkeypatch, proxy.url, tmp_path)
    return url


def test_of_a_bucket_the_writer_before_is_named_and_with_take_over_writes_no_more(place: str) -> None:
    with writing(place) as first:
        keys = acknowledged(first, 20)
        with pytest.raises(AlreadyOpen, match=rf"open for writing in process {first.pid} on .*--take-over"):
            elanus.open(place)
        one_sentence(failure(place, "--port", "0"), str(first.pid), "--take-over")
        with elanus.open(place, take_over=True) as second:
            _, errors = first.communicate()
            assert "WriterStopped" in errors
            found = second.collection("rows").query(output_fields=["id"]).column("id").to_pylist()
            assert set(keys) <= set(found)
            assert len(set(found)) == len(found)


def test_a_bucket_is_free_when_its_writer_has_closed_it_or_is_dead(place: str) -> None:
    with writing(place) as first:
        acknowledged(first, 3)
        first.kill()
        first.wait()
        with elanus.open(place) as second:
            assert second.collection("rows").count() >= 3
        elanus.open(place).close()


def test_a_replaced_writer_does_not_keep_others_out(place: str) -> None:
    first = elanus.open(place)
    elanus.open(place, take_over=True).close()
    with elanus.open(place) as third:
        third.create_collection("rows", dimension=2)
        with pytest.raises(WriterStopped):
            first.create_collection("others", dimension=2)
    first.close()


class Elsewhere:
    """A writer on another machine, whose note is written anew while somebody waits."""

    def __init__(self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, beats: int, ends: bool = False) -> None:
        self.slept = 0.0
        self._holder = Holder(bucket)
        self._beats = beats
        self._ends = ends
        with monkeypatch.context() as patch:
            patch.setattr(holder, "BEAT_S", 3600.0)
            patch.setattr(holder, "namespace", lambda: "another machine")
            self._holder.hold(4)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        if self.slept > 10 and self._beats:
            self._beats -= 1
            self._holder._note = replace(self._holder._note, beat=1, held=not self._ends)
            self._holder._put()


def test_a_writer_elsewhere_is_waited_for_and_taken_for_dead_when_it_is_silent(
    url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = open_bucket(f"{url}/writer", proxy)
    silent = Elsewhere(bucket, monkeypatch, beats=0)
    Holder(bucket).check_free(silent.sleep)
    assert silent.slept == SILENT_S
    alive = Elsewhere(bucket, monkeypatch, beats=1)
    with pytest.raises(AlreadyOpen, match=f"process {os.getpid()} on"):
        Holder(bucket).check_free(alive.sleep)
    assert alive.slept < SILENT_S
    ends = Elsewhere(bucket, monkeypatch, beats=1, ends=True)
    Holder(bucket).check_free(ends.sleep)
    assert ends.slept < SILENT_S
    bucket.overwrite(f"{5:020d}", b'{"of": "a later Elanus"}')
    Holder(bucket).check_free(alive.sleep)


def test_a_note_knows_its_process_from_a_later_one_with_its_number() -> None:
    mine = Note.here()
    assert not mine.is_dead
    assert replace(mine, started="1").is_dead
    assert replace(mine, pid=2**22 + 1).is_dead
    assert not replace(mine, pid=2**22 + 1, namespace="another machine").is_dead
