"""Where jobs run: builder processes, started on demand, and the way to hand them work.

A job is the name of a task and JSON arguments: paths of immutable inputs, and a scratch path for the output. It
changes nothing else, so running one twice or half does no harm. `Builders.run` blocks the calling background thread
until the job has ended.

`ProcessBuilders` starts `python -m elanus.builder` (never a fork: an embedding program's `__main__` must not run
again) and speaks JSON lines with it over pipes, one job at a time to one process:

    to the builder      {"task": …, "arguments": {…}, "memory_limit_bytes": n or null}
    from the builder    {"progress": 0.25} … then {"done": {…}} or {"failed": kind, "message": …}

A builder that dies fails its job and no other; after that, and after a task has raised, the next job starts a new
process. One left without work for `idle_s` is told to end by closing its input, which is also how it learns that its
parent is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from elanus.engine import children
from elanus.model.errors import Closed, ElanusError, MemoryLimit

BUILDER = "elanus.builder"
"""The main of a builder process. It is started, not imported: what it runs stays out of the serving process."""

Progress = Callable[[float], None]
Task = Callable[[Mapping[str, Any], Progress], Mapping[str, Any]]

END_S = 5.0
"""A builder that was told to end and has not is killed then."""

REASON_BYTES = 2_000
"""How much of a dead builder's last words an error repeats."""


class BuildFailed(ElanusError):
    """A job ended without its output: the task raised, or the builder died."""

    retriable = True


class BuildCancelled(ElanusError):
    code = 10000


@dataclass(frozen=True, slots=True)
class BuildJob:
    """`memory_bytes` are asked of the budget before it starts; `memory_limit_bytes`, if given, are all that the
    builder may allocate for it, so that too little memory fails the job and not the machine.
    """

    task: str
    arguments: Mapping[str, Any]
    memory_bytes: int = 0
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class BuildResult:
    values: Mapping[str, Any]
    seconds: float


class Cancellation:
    """Lets another thread cancel a running job. `cancel` may come before, during or after the job, and repeatedly."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        self.is_set = False

    def cancel(self) -> None:
        with self._lock:
            self.is_set = True
            actions = list(self._actions)
        for action in actions:
            action()

    @contextlib.contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """While inside, `cancel` calls `action`; at once if it has already been called."""
        with self._lock:
            self._actions.append(action)
            already = self.is_set
        try:
            if already:
                action()
            yield
        finally:
            with self._lock:
                self._actions.remove(action)


class MemoryBudget(Protocol):
    """Memory that jobs share with whatever else asks for it."""

    def reserve(self, byte_count: int, what: str, cancellation: Cancellation) -> None:
        """Wait until there is room for `byte_count` and take it. Raises `MemoryLimit` when there never will be, and
        `BuildCancelled`.
        """
        ...

    def release(self, byte_count: int) -> None: ...


class FixedBudget:
    """A budget of `total` bytes that only builds draw on."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    def reserve(self, byte_count: int, what: str, cancellation: Cancellation) -> None:
        if byte_count > self._total:
            raise MemoryLimit(
                f"{what} needs about {byte_count >> 20} MiB, and builds may use {self._total >> 20} MiB: "
                "raise build_memory_bytes, or keep segments smaller with merge_max_rows"
            )
        with self._changed, cancellation.calling(self._wake):
            self._changed.wait_for(lambda: cancellation.is_set or self._used + byte_count <= self._total)
            if cancellation.is_set:
                raise BuildCancelled(f"{what} was cancelled while it waited for memory")
            self._used += byte_count

    def release(self, byte_count: int) -> None:
        with self._changed:
            self._used -= byte_count
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Builders(Protocol):
    """The seam: where jobs run."""

    def run(
        self, job: BuildJob, cancellation: Cancellation | None = None, progress: Progress | None = None
    ) -> BuildResult:
        """Run `job` and return when it has ended. Raises `BuildFailed`, `BuildCancelled`, `MemoryLimit`, `Closed`."""
        ...

    def raise_priority(self, *, urgent: bool) -> None:
        """Whether builders compete with serving (a caller waits for them) or take what it leaves."""
        ...

    def close(self) -> None:
        """End all builders; running jobs fail with `BuildCancelled`."""
        ...


class InlineBuilders:
    """Runs jobs in the calling thread, through the same JSON as a process would see: for tests."""

    def run(
        self, job: BuildJob, cancellation: Cancellation | None = None, progress: Progress | None = None
    ) -> BuildResult:
        if cancellation is not None and cancellation.is_set:
            raise BuildCancelled(f"{job.task} was cancelled before it began")
        began = time.monotonic()
        try:
            task: Task = importlib.import_module(BUILDER).find_task(job.task)
            values = task(json.loads(json.dumps(dict(job.arguments))), progress or _unheard)
        except (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise BuildFailed(f"{job.task} failed: {type(error).__name__}: {error}") from error
        return BuildResult(json.loads(json.dumps(dict(values))), time.monotonic() - began)

    def raise_priority(self, *, urgent: bool) -> None:
        pass

    def close(self) -> None:
        pass


def _unheard(_share: float) -> None:
    pass


@dataclass(eq=False)
class _Process:
    """A builder process; one thread at a time speaks with it."""

    popen: subprocess.Popen[str]
    errors: IO[bytes]
    retire: threading.Timer | None = field(default=None)

    def kill(self) -> None:
        self.popen.kill()

    def end(self) -> None:
        """Close its input, on which it exits, and wait for that; kill it should it not."""
        children.end(self.popen, END_S)
        assert self.popen.stdout is not None  # a pipe
        self.popen.stdout.close()
        self.errors.close()

    def last_words(self) -> str:
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - REASON_BYTES))
        return self.errors.read().decode(errors="replace").strip()


class ProcessBuilders:
    """Builder processes: at most `limit` at a time (half of the cores, at least one), at idle priority.

    Every job runs in whichever idle process there is, else in a new one. `_idle` and `_busy` change under `_changed`
    only; `len(_busy) <= limit`, where a place in `_busy` is taken before the process is there.
    """

    def __init__(
        self,
        budget: MemoryBudget,
        *,
        idle_s: float = 20.0,
        limit: int | None = None,
        python: str = sys.executable,
    ) -> None:
        self._budget = budget
        self._idle_s = idle_s
        self._limit = limit or max(1, (os.cpu_count() or 1) // 2)
        self._python = python
        self._changed = threading.Condition()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._taken = 0
        self._urgent = False
        self._closed = False
        # Linux ends a child with the *thread* that started it (PR_SET_PDEATHSIG), so one lasting thread starts all.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="elanus-builder-starter")

    def run(
        self, job: BuildJob, cancellation: Cancellation | None = None, progress: Progress | None = None
    ) -> BuildResult:
        cancellation = cancellation or Cancellation()
        self._budget.reserve(job.memory_bytes, job.task, cancellation)
        try:
            process = self._take(job, cancellation)
            return self._run_on(process, job, cancellation, progress or _unheard)
        finally:
            self._budget.release(job.memory_bytes)

    def raise_priority(self, *, urgent: bool) -> None:
        with self._changed:
            self._urgent = urgent
            processes = [*self._idle, *self._busy]
        for process in processes:
            _set_priority(process.popen.pid, urgent=urgent)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            for process in self._busy:
                process.kill()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._taken)
        for process in idle:
            self._retire(process)
        self._starter.shutdown()

    @property
    def pids(self) -> list[int]:
        """The processes there are now."""
        with self._changed:
            return [process.popen.pid for process in (*self._idle, *self._busy)]

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _take(self, job: BuildJob, cancellation: Cancellation) -> _Process:
        """An idle process or a new one, once there is a place for the job."""
        with self._changed, cancellation.calling(self._wake):
            self._changed.wait_for(lambda: self._closed or cancellation.is_set or self._taken < self._limit)
            if self._closed:
                raise Closed(f"{job.task} was not started: the database is closed")
            if cancellation.is_set:
                raise BuildCancelled(f"{job.task} was cancelled while it waited for its turn")
            self._taken += 1
            process = self._idle.pop() if self._idle else None
            if process is not None:
                self._busy.add(process)
        if process is not None:
            if process.retire is not None:
                process.retire.cancel()
            if process.popen.poll() is None:
                return process
            with self._changed:
                self._busy.discard(process)
            process.end()
        try:
            process = self._starter.submit(self._start).result()
        except (OSError, RuntimeError) as error:
            self._give_up_place()
            raise BuildFailed(f"{job.task} failed: no builder process could be started: {error}") from error
        with self._changed:
            self._busy.add(process)
            if self._closed:
                process.kill()
        return process

    def _start(self) -> _Process:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        popen = subprocess.Popen(
            [self._python, "-P", "-m", BUILDER, *(["--urgent"] if self._urgent else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            # Threads that wait for others of a parallel loop sleep instead of spinning: serving needs the processor.
            env=children.environment(OMP_WAIT_POLICY="passive"),
            text=True,
            encoding="utf-8",
        )
        return _Process(popen, errors)

    def _run_on(self, process: _Process, job: BuildJob, cancellation: Cancellation, progress: Progress) -> BuildResult:
        began = time.monotonic()
        reply: dict[str, Any] | None = None
        try:
            with cancellation.calling(process.kill):
                reply = _converse(process, job, progress)
        finally:
            # After a failure a process may be in any state; a cancel that came with the last word may have killed it.
            if reply is None or "failed" in reply or cancellation.is_set:
                reason = self._bury(process)
            else:
                self._give_back(process)
        if cancellation.is_set:
            raise BuildCancelled(f"{job.task} was cancelled")
        if reply is None:
            if self._closed:
                raise BuildCancelled(f"{job.task} was cancelled: the database is being closed")
            raise BuildFailed(f"{job.task} failed: {reason}")
        if "failed" in reply:
            text = f"{job.task} failed: {reply['failed']}: {reply['message']}"
            raise (MemoryLimit(text) if reply["failed"] == "MemoryError" else BuildFailed(text))
        return BuildResult(reply["done"], time.monotonic() - began)

    def _give_up_place(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def _give_back(self, process: _Process) -> None:
        """Keep an idle process for the next job, for a while."""
        process.retire = threading.Timer(self._idle_s, self._retire_idle, [process])
        process.retire.daemon = True
        with self._changed:
            self._busy.discard(process)
            self._taken -= 1
            if not self._closed:
                self._idle.append(process)
                process.retire.start()
            closed = self._closed
            self._changed.notify_all()
        if closed:
            process.end()

    def _retire_idle(self, process: _Process) -> None:
        with self._changed:
            if process not in self._idle:
                return
            self._idle.remove(process)
        process.end()

    def _retire(self, process: _Process) -> None:
        if process.retire is not None:
            process.retire.cancel()
        process.end()

    def _bury(self, process: _Process) -> str:
        """Clear away a process that broke off; returns why it did."""
        process.kill()
        status = process.popen.wait()
        words = process.last_words()
        process.end()
        with self._changed:
            self._busy.discard(process)
        self._give_up_place()
        if status < 0:
            name = signal.Signals(-status).name
            cause = " (the system may have run out of memory)" if status == -signal.SIGKILL else ""
            reason = f"its builder process was ended by {name}{cause}"
        else:
            reason = f"its builder process exited with status {status}"
        return f"{reason}; its last words: {words}" if words else reason


def _converse(process: _Process, job: BuildJob, progress: Progress) -> dict[str, Any] | None:
    """Send a job and hear its progress; returns the final reply, or None if the process broke off."""
    stdin, stdout = process.popen.stdin, process.popen.stdout
    assert stdin is not None and stdout is not None  # noqa: PT018 - both are pipes, by construction
    request = {"task": job.task, "arguments": dict(job.arguments), "memory_limit_bytes": job.memory_limit_bytes}
    try:
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
    except OSError:
        return None
    for line in stdout:
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError:
            return None
        if "progress" not in reply:
            return reply
        progress(reply["progress"])
    return None


def _set_priority(pid: int, *, urgent: bool) -> None:
    """Idle or ordinary scheduling for all threads of a builder; Linux only, elsewhere it stays as it began."""
    if not hasattr(os, "SCHED_IDLE"):
        return
    policy = os.SCHED_OTHER if urgent else os.SCHED_IDLE
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setscheduler(int(thread), policy, os.sched_param(0))
