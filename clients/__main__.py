"""Runs the scenarios of other people's clients against `elanus serve` and says which hold.

    python -m clients [langchain node ...] [--environments .venv-clients] [--verbose]

`make test-clients` makes the environments first. Without names all are run. Each has an environment of its own, a
server of its own on a free port of this machine, and nothing of Elanus but the address of that server.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CLIENTS: dict[str, str] = {
    "langchain": "langchain_case",
    "llama_index": "llama_index_case",
    "haystack": "haystack_case",
    "node": "node_case",
    "pymilvus-3.0": "pymilvus_case",
    "pymilvus-2.6": "pymilvus_case",
    "pymilvus-2.5": "pymilvus_case",
}
"""The scenario of each client; its name is that of its environment, and of its file in `requirements`."""

ELANUS = "from elanus.cli import main; main()"
"""The command `elanus`, of the environment that runs this."""

SILENT = {"DO_NOT_TRACK": "1", "HAYSTACK_TELEMETRY_ENABLED": "False", "LANGSMITH_TRACING": "false"}
"""Nothing but the server is talked to."""

WITHIN_S = 300
"""A scenario takes seconds; one that hangs is ended and has failed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a client's scenario. `log` is what it wrote to standard error, for the one who looks why."""

    client: str
    code: int
    seconds: float
    versions: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    log: str = ""

    @property
    def holds(self) -> bool:
        return self.code == 0 and not self.failed and bool(self.passed)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of an `elanus serve` of `folder` that listens until the block ends."""
    command = [sys.executable, "-c", ELANUS, "serve", "--data", str(folder / "data.elanus"), "--port", "0"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"elanus serve did not start:\n{(folder / 'server.log').read_text()}")
            yield f"http://127.0.0.1:{line.rsplit(':', 1)[1].strip()}"
        finally:
            process.terminate()
            process.communicate()


def command_of(client: str, environments: Path) -> list[str]:
    scenario, environment = CLIENTS[client], environments / client
    if client == "node":
        return [str(environment / "bin" / "node"), "--preserve-symlinks-main", str(environment / f"{scenario}.mjs")]
    return [str(environment / "bin" / "python"), "-m", f"clients.{scenario}"]


def run(client: str, environments: Path) -> Outcome:
    """Run the scenario of `client` against a new server."""
    with tempfile.TemporaryDirectory(prefix=f"elanus-{client}-") as folder, serving(Path(folder)) as address:
        began = time.monotonic()
        variables = {**os.environ, "ELANUS_URI": address, "PYTHONPATH": "", **SILENT}
        try:
            ran = subprocess.run(
                command_of(client, environments),
                cwd=ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            said, wrote = (
                part.decode() if isinstance(part, bytes) else part or "" for part in (expired.stdout, expired.stderr)
            )
            ran = subprocess.CompletedProcess(expired.cmd, 124, said, f"{wrote}\nnot done within {WITHIN_S} s")
        wrote = (Path(folder) / "server.log").read_text(errors="replace").splitlines()
    mishaps = [f"the server logged: {line}" for line in wrote if " ERROR " in line]
    said = [line.partition(" ")[::2] for line in ran.stdout.splitlines()]
    return Outcome(
        client,
        ran.returncode,
        time.monotonic() - began,
        versions=[rest for word, rest in said if word == "version"],
        passed=[rest for word, rest in said if word == "passed"],
        failed=[rest for word, rest in said if word == "failed"] + mishaps,
        log="\n".join([ran.stderr, "the server's log ends:", *wrote[-30:]]),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m clients")
    parser.add_argument("names", nargs="*", metavar="CLIENT", help=f"which; all unless said: {', '.join(CLIENTS)}")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-clients", help="where they are installed")
    parser.add_argument("--verbose", action="store_true", help="every step, not only those that failed")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(CLIENTS)
    if unknown:
        parser.error(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    absent = [name for name in arguments.names or CLIENTS if not (arguments.environments / name).is_dir()]
    if absent:
        parser.error(f"not installed in {arguments.environments}: {', '.join(absent)}; make test-clients does that")

    outcomes = []
    print(f"{'client':<14}{'passed':>7}{'failed':>7}{'time':>8}  versions", flush=True)
    for client in arguments.names or CLIENTS:
        found = run(client, arguments.environments)
        outcomes.append(found)
        counts = f"{len(found.passed):>7}{len(found.failed):>7}{found.seconds:>6.1f} s"
        print(f"{client:<14}{counts}  {', '.join(found.versions)}", flush=True)
        if arguments.verbose:
            for step in found.passed:
                print(f"    {step}")
        if not found.holds:
            for step in found.failed:
                print(f"    FAILED {step}")
            print(f"    exit code {found.code}\n{found.log}", flush=True)
    steps = sum(len(found.passed) for found in outcomes)
    # A scenario that ended before its end has failed too, whatever its steps say.
    failures = sum(max(len(found.failed), not found.holds) for found in outcomes)
    print(f"\n{steps} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
