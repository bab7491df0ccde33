"""Builder processes: they come on demand, go when idle or orphaned, fail one job at a time, and give way to serving."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import elanus
from elanus.engine.builders import (
    BuildCancelled,
    BuildFailed,
    BuildJob,
    Cancellation,
    FixedBudget,
    InlineBuilders,
    ProcessBuilders,
)
from elanus.model.errors import Closed, MemoryLimit
from elanus.model.types import Metric
from elanus.service.instance import Instance
from elanus.vector.open import VectorIndex
from elanus.vector.registry import SearchParams, resolve
from tests.test_vector_index import DIM, embeddings

SPEC = resolve("HNSW", {"M": 8, "efConstruction": 40})
GIB = 1 << 30

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux process controls")


def build_job(folder, vectors, name="index", spec=SPEC, **kwargs):
    path = folder / "column"
    if not path.exists():
        path.write_bytes(b"h" * 64 + vectors.tobytes())
    column = {"path": str(path), "offset": 64, "rows": len(vectors), "dim": vectors.shape[1]}
    arguments = {
        "spec": spec.to_dict(),
        "metric": "L2",
        "column": column,
        "output": str(folder / name),
        "threads": 1,
    }
    return BuildJob("vector.build", arguments, **kwargs)


def slow_job(folder):
    """A job of many seconds that reports progress early."""
    return build_job(folder, embeddings(40_000), spec=resolve("HNSW", {"M": 32, "efConstruction": 800}))


def gone(pid, within_s=5.0):
    try:
        psutil.Process(pid).wait(within_s)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


@pytest.fixture
def builders():
    made = ProcessBuilders(FixedBudget(GIB), idle_s=30)
    yield made
    made.close()


def test_a_job_leaves_its_output_and_the_process_serves_the_next(tmp_path, builders):
    vectors = embeddings(2_000)
    assert builders.pids == []
    heard = []
    result = builders.run(build_job(tmp_path, vectors), progress=heard.append)
    assert result.values["rows"] == 2_000
    assert heard[-1] == 1
    pids = builders.pids
    builders.run(build_job(tmp_path, vectors, "second"))
    assert builders.pids == pids
    index = VectorIndex.open(tmp_path / "index", vectors, Metric.L2, SPEC)
    assert np.mean(index.search(vectors[:100], 1, SearchParams(ef=32))[1][:, 0] == np.arange(100)) > 0.95


def test_extending_in_a_builder_equals_the_contract(tmp_path, builders):
    vectors = embeddings(3_000)
    old_job = build_job(tmp_path, vectors[:2_000], "old")
    builders.run(old_job)
    (tmp_path / "merged").write_bytes(vectors.tobytes())
    (tmp_path / "new_of_old").write_bytes(np.arange(2_000, dtype=np.int64).tobytes())
    arguments = {
        **old_job.arguments,
        "column": {"path": str(tmp_path / "merged"), "offset": 0, "rows": 3_000, "dim": vectors.shape[1]},
        "old": {"path": str(tmp_path / "old"), "offset": 0},
        "new_of_old": {"path": str(tmp_path / "new_of_old"), "offset": 0, "rows": 2_000},
        "output": str(tmp_path / "new"),
    }
    assert builders.run(BuildJob("vector.extend", arguments)).values["extended"]
    assert VectorIndex.open(tmp_path / "new", vectors, Metric.L2, SPEC).rows == 3_000


def test_inline_builders_do_the_same_in_this_process(tmp_path):
    assert InlineBuilders().run(build_job(tmp_path, embeddings(500))).values["rows"] == 500
    with pytest.raises(BuildFailed, match="FileExistsError"):
        InlineBuilders().run(build_job(tmp_path, embeddings(500)))


def test_a_task_that_raises_fails_its_job_with_the_reason(tmp_path, builders):
    job = build_job(tmp_path, embeddings(500))
    (tmp_path / "column").unlink()
    with pytest.raises(BuildFailed, match="FileNotFoundError"):
        builders.run(job)
    assert builders.run(build_job(tmp_path, embeddings(500))).values["rows"] == 500


def test_a_killed_builder_fails_one_job_and_the_next_gets_a_new_process(tmp_path, builders):
    killed = []

    def kill(_share):
        if not killed:
            killed.extend(builders.pids)
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(BuildFailed, match="ended by SIGKILL"):
        builders.run(slow_job(tmp_path), progress=kill)
    assert builders.pids == []
    (tmp_path / "column").unlink()
    assert builders.run(build_job(tmp_path, embeddings(500), "next")).values["rows"] == 500
    assert builders.pids != killed


def test_cancelling_ends_a_running_job_at_once(tmp_path, builders):
    cancellation = Cancellation()
    began = time.monotonic()
    with pytest.raises(BuildCancelled):
        builders.run(slow_job(tmp_path), cancellation, lambda _share: cancellation.cancel())
    assert time.monotonic() - began < 30
    assert builders.pids == []


def test_a_job_cancelled_while_it_waits_never_starts(tmp_path):
    builders = ProcessBuilders(FixedBudget(GIB), limit=1)
    running, second, outcome = threading.Event(), Cancellation(), []

    def wait_in_line():
        try:
            builders.run(build_job(tmp_path, embeddings(500), "second"), second)
        except BuildCancelled as error:
            outcome.append(str(error))

    thread = threading.Thread(target=wait_in_line)
    first = Cancellation()

    def on_progress(_share):
        if not running.is_set():
            running.set()
            thread.start()
            second.cancel()
            thread.join()
            first.cancel()

    with pytest.raises(BuildCancelled):
        builders.run(slow_job(tmp_path), first, on_progress)
    assert "cancelled while it waited" in outcome[0]
    assert not (tmp_path / "second").exists()
    builders.close()


def test_an_idle_builder_goes(tmp_path):
    builders = ProcessBuilders(FixedBudget(GIB), idle_s=0.2)
    builders.run(build_job(tmp_path, embeddings(500)))
    for pid in builders.pids:
        assert gone(pid)
    builders.close()
    assert builders.pids == []


def test_closing_ends_running_jobs_and_refuses_new_ones(tmp_path):
    builders = ProcessBuilders(FixedBudget(GIB))
    closer = threading.Thread(target=builders.close)
    pids = []

    def on_progress(_share):
        if not pids:
            pids.extend(builders.pids)
            closer.start()

    with pytest.raises(BuildCancelled, match="closed"):
        builders.run(slow_job(tmp_path), progress=on_progress)
    closer.join()
    assert all(gone(pid) for pid in pids)
    with pytest.raises(Closed):
        builders.run(build_job(tmp_path, embeddings(500), "late"))


def test_a_job_larger_than_the_budget_is_refused_and_others_wait_their_turn(tmp_path):
    budget = FixedBudget(1 << 20)
    builders = ProcessBuilders(budget)
    with pytest.raises(MemoryLimit, match="raise build_memory_bytes"):
        builders.run(build_job(tmp_path, embeddings(500), memory_bytes=2 << 20))
    assert builders.run(build_job(tmp_path, embeddings(500), memory_bytes=1 << 20)).values["rows"] == 500
    budget.reserve(1 << 20, "everything was given back", Cancellation())
    builders.close()


@linux
def test_too_little_memory_is_a_clear_failure_and_not_a_crash(tmp_path, builders):
    vectors = np.random.default_rng(0).standard_normal((40_000, 256), dtype=np.float32)
    with pytest.raises((MemoryLimit, BuildFailed)) as caught:
        builders.run(build_job(tmp_path, vectors, memory_limit_bytes=8 << 20))
    assert "memory" in str(caught.value).lower() or "bad_alloc" in str(caught.value)
    (tmp_path / "column").unlink()
    assert builders.run(build_job(tmp_path, embeddings(500), "next")).values["rows"] == 500


@linux
def test_builders_give_way_until_they_are_urgent(tmp_path, builders):
    builders.run(build_job(tmp_path, embeddings(500)))
    (pid,) = builders.pids
    assert os.sched_getscheduler(pid) == os.SCHED_IDLE
    builders.raise_priority(urgent=True)
    assert {os.sched_getscheduler(int(t)) for t in os.listdir(f"/proc/{pid}/task")} == {os.SCHED_OTHER}
    builders.raise_priority(urgent=False)
    assert os.sched_getscheduler(pid) == os.SCHED_IDLE


@linux
def test_a_builder_competes_while_a_caller_waits_for_its_index(tmp_path, builders):
    builders.run(build_job(tmp_path, embeddings(500)))
    (pid,) = builders.pids
    with elanus.Elanus(Instance.open(tmp_path / "db", builders=builders)) as db:
        collection = db.create_collection("rows", dimension=DIM)
        collection.insert({"id": np.arange(8_000), "vector": embeddings(8_000)})
        collection.flush()
        waiting = threading.Thread(target=collection.wait_for_indexes)
        waiting.start()
        seen = set()
        while waiting.is_alive():
            seen.add(os.sched_getscheduler(pid))
            waiting.join(0.005)
        assert collection.list_indexes()[0].indexed_rows == 8_000
        assert os.SCHED_OTHER in seen
        assert os.sched_getscheduler(pid) == os.SCHED_IDLE


@linux
def test_a_builder_outlives_the_thread_that_first_asked_for_it(tmp_path, builders):
    thread = threading.Thread(target=builders.run, args=(build_job(tmp_path, embeddings(500)),))
    thread.start()
    thread.join()
    (pid,) = builders.pids
    builders.run(build_job(tmp_path, embeddings(500), "second"))
    assert builders.pids == [pid]


@linux
def test_a_builder_whose_parent_died_while_it_was_being_started_ends_before_it_waits_for_jobs():
    deaf = "import elanus.builder as builder; builder._listen = lambda jobs: None; builder.main()"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 0


def test_builders_die_with_their_parent_even_in_the_middle_of_a_job(tmp_path):
    slow_job(tmp_path)
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from tests.test_builders import slow_job, ProcessBuilders, FixedBudget, GIB
        builders = ProcessBuilders(FixedBudget(GIB))
        builders.run(slow_job(Path(sys.argv[1])), progress=lambda share: print(builders.pids[0], flush=True))
        """
    )
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(Path(elanus.__file__).resolve().parent.parent)}
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), str(root)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def test_an_embedding_program_s_main_is_not_run_again(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys
            from pathlib import Path
            sys.path.insert(0, sys.argv[2])
            print("main ran", flush=True)
            from tests.test_builders import build_job, embeddings, ProcessBuilders, FixedBudget, GIB
            builders = ProcessBuilders(FixedBudget(GIB))
            builders.run(build_job(Path(sys.argv[1]), embeddings(500)))
            builders.close()
            """
        )
    )
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(Path(elanus.__file__).resolve().parent.parent)}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), str(root)],
        capture_output=True, text=True, env=environment, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.count("main ran") == 1
