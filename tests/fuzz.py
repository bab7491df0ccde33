"""`make fuzz`: every RPC of a real server gets requests that no client would send.

    python -m tests.fuzz [--seconds 60] [--seed N] [--rpc Insert --rpc Search …]

What an RPC is sent is a sequence drawn from the seed and its name alone, so that what was found is found again with
`--seed` and `--rpc`. Held at every call: there is a response or a clean gRPC status, and it comes in time; a message
that can be read meets no internal error; no reason shows a traceback or a path. Held at the end: the process lives,
its threads, files and memory are what they were after the first tenth, a collection that nobody named answers as
before, also after a restart.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.protobuf.message import DecodeError
from google.protobuf.text_format import MessageToString
from pymilvus.grpc_gen import milvus_pb2

from elanus.wire.grpc.dispatch import METHODS, Method
from elanus.wire.grpc.status import INTERNAL, status_of
from tests import fuzz_corpus
from tests.fuzz_corpus import ROWS, TARGET
from tests.fuzz_mutations import mutate, mutate_bytes
from tests.wire_case import Served, served

SECONDS = 60.0

WARM_UP = 0.1
"""The part of the time after which threads, files and memory are measured first: caches and pools are filled then."""

MORE_THREADS = 4
MORE_FILES = 16
MORE_BYTES = 128 << 20
"""What the server may have more of at the end: a thread or file that a job has just now, and what its caches of
filters and parameters, which are bounded by their numbers of entries, hold of longer texts."""

CALLS_A_WORLD = 100
"""After so many calls the collections that were made are dropped, and the one that requests are about is made anew."""

LONGEST_S = 20.0
"""A call that takes longer hangs."""

SETTLE_S = 15.0
"""Jobs that requests have started end within this."""

WITNESS = "nobody_names_this"

_MALFORMED = 0.35
"""The part of requests that are changed as bytes."""

_READS = ("Get", "Describe", "List", "Has", "Show", "Search", "Query", "Check", "Connect", "AllocTimestamp", "Dummy")
"""What RPCs begin with that change nothing."""

_LEAKS = ("Traceback", 'File "', "site-packages", "/elanus/wire", ".py:")


@dataclass(frozen=True, slots=True)
class Finding:
    """What must not be. `number` counts the requests of its RPC from 0."""

    rpc: str
    number: int
    what: str
    request: str
    log: str = ""

    def __str__(self) -> str:
        return f"{self.rpc} {self.number}: {self.what}\n  {self.request[:1500]}\n{self.log}"


@dataclass(slots=True)
class Report:
    findings: list[Finding] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)
    """How often a finding was met, by what it is."""
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    """By RPC how often requests succeeded, were refused (by code), or could not be read."""
    slowest_s: dict[str, float] = field(default_factory=dict)
    grown_bytes: Counter[str] = field(default_factory=Counter)
    """By RPC what the server has more of since before its requests: a hint of where memory goes."""
    measured: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return sum(counts.total() for counts in self.answers.values())


@dataclass(frozen=True, slots=True)
class Resources:
    threads: int
    files: int
    bytes: int

    @classmethod
    def of(cls, process: psutil.Process) -> Resources:
        return cls(process.num_threads(), process.num_fds(), process.memory_info().rss)

    def exceed(self, before: Resources) -> bool:
        return (
            self.threads > before.threads + MORE_THREADS
            or self.files > before.files + MORE_FILES
            or self.bytes > before.bytes + MORE_BYTES
        )

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.files} files, {self.bytes / 2**20:.0f} MiB"


class Requests:
    """The requests of one RPC, one after the other, as bytes."""

    def __init__(self, method: Method, seed: int, corpus: dict[str, list[Any]]) -> None:
        self.method = method
        self.number = -1
        self._chance = random.Random(f"{seed}/{method.name}")
        self._corpus = corpus

    def __iter__(self) -> Iterator[bytes]:
        chance, valid = self._chance, self._corpus[self.method.name]
        while True:
            self.number += 1
            request = chance.choice(valid)
            if self.number >= len(valid):
                request = mutate(request, chance)
            else:
                request = valid[self.number]
            data = request.SerializeToString()
            if self.number >= len(valid) and chance.random() < _MALFORMED:
                other = chance.choice(list(self._corpus.values()))
                data = mutate_bytes(data, chance.choice(other).SerializeToString(), chance)
            yield data


class Fuzz:
    """A run against one server."""

    def __init__(self, server: Served, channel: grpc.Channel, seed: int) -> None:
        self.report = Report()
        self._server = server
        self._channel = channel
        self._seed = seed
        self._changed = True
        self._methods = {method.name: method for method in METHODS.values()}

    def run(self, names: Sequence[str], seconds: float) -> Report:
        corpus = fuzz_corpus.corpus()
        process = psutil.Process(self._server.process.pid)
        self._make_witness()
        before = self._witness()
        drawn = [Requests(self._methods[name], self._seed, corpus) for name in names]
        sequences = [(requests, iter(requests)) for requests in drawn]
        first: Resources | None = None
        for share in (WARM_UP, 1 - WARM_UP):
            for requests, sequence in sequences:
                rss = process.memory_info().rss
                self._send(requests, sequence, seconds * share)
                self.report.grown_bytes[requests.method.name] += process.memory_info().rss - rss
            self._renew()
            if first is None:
                first = Resources.of(process)
        last = self._settled(process, first)
        self.report.measured += [f"after the first tenth: {first}", f"at the end: {last}"]
        if last.exceed(first):
            self._found("(all)", 0, f"the server has grown: from {first} to {last}", "")
        if self._witness() != before:
            self._found("(all)", 0, "the witness answers otherwise than before", "")
        return self.report

    def _send(self, requests: Requests, sequence: Iterator[bytes], seconds: float) -> None:
        until = time.monotonic() + seconds
        self._renew()
        for count, data in enumerate(sequence, 1):
            self._call(requests, data)
            if time.monotonic() > until:
                return
            if count % CALLS_A_WORLD == 0:
                self._renew()

    def _call(self, requests: Requests, data: bytes) -> None:
        method, counts = requests.method, self.report.answers.setdefault(requests.method.name, Counter())
        message = _read(method, data)
        began = time.monotonic()
        try:
            response = method.response.FromString(self._bare(method.path)(data, timeout=LONGEST_S))
        except grpc.RpcError as error:
            if message is None and error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                counts["unreadable"] += 1
                return
            self._found(method.name, requests.number, f"{error.code()}: {error.details()}", _shown(message, data))
            if self._server.process.poll() is not None:
                raise
            return
        took_s = time.monotonic() - began
        self.report.slowest_s[method.name] = max(took_s, self.report.slowest_s.get(method.name, 0))
        status = status_of(response)
        code, reason = getattr(status, "code", 0), getattr(status, "reason", "")
        counts[str(code) if code else "ok"] += 1
        self._changed |= not code and not method.name.startswith(_READS)
        leaks = [leak for leak in (*_LEAKS, str(self._server.folder)) if leak in reason]
        if code == INTERNAL or "internal error" in reason:
            self._found(method.name, requests.number, reason, _shown(message, data), self._last_traceback(method.name))
        elif leaks:
            self._found(method.name, requests.number, f"a reason holds {leaks}: {reason}", _shown(message, data))
        elif code and not (reason and status.error_code):
            self._found(method.name, requests.number, f"code {code} and no reason or old code", _shown(message, data))

    def _found(self, rpc: str, number: int, what: str, request: str, log: str = "") -> None:
        frames = [line for line in log.splitlines() if line.startswith("  File ")]
        place = frames[-1] if frames else f"{rpc}: {what}"
        self.report.again[place] += 1
        if self.report.again[place] == 1:
            self.report.findings.append(Finding(rpc, number, what, request, log))

    def _last_traceback(self, rpc: str) -> str:
        """What the server has logged of the error it has just answered with."""
        until = time.monotonic() + 1
        while time.monotonic() < until:
            lines = list(self._server.errors)
            places = [place for place, line in enumerate(lines) if line.endswith(f"{rpc} failed\n")]
            if places and not lines[-1].startswith((" ", "Traceback")):
                traceback = list(takewhile(lambda line: not line.startswith("20"), lines[places[-1] + 1 :]))
                return "".join(traceback[-14:])
            time.sleep(0.005)
        return ""

    # --- the world ---------------------------------------------------------------------------------------------------

    def _bare(self, path: str) -> Any:
        return self._channel.unary_unary(path)

    def _ask(self, name: str, request: Any) -> Any:
        method = self._methods[name]
        response = method.response.FromString(self._bare(method.path)(request.SerializeToString(), timeout=60))
        status = status_of(response)
        assert not status.code, f"{name}: {status.reason}"
        return response

    def _renew(self) -> None:
        """Drop what was made, and make the collection that requests are about, where anything has changed."""
        self._server.errors.clear()
        if not self._changed:
            return
        self._changed = False
        m = milvus_pb2
        for database in self._ask("ListDatabases", m.ListDatabasesRequest()).db_names:
            described = self._ask("DescribeDatabase", m.DescribeDatabaseRequest(db_name=database))
            keys = [pair.key for pair in described.properties]
            if keys:
                self._ask("AlterDatabase", m.AlterDatabaseRequest(db_name=database, delete_keys=keys))
            names = self._ask("ShowCollections", m.ShowCollectionsRequest(db_name=database)).collection_names
            for name in names:
                if name == WITNESS:
                    continue
                of = {"db_name": database, "collection_name": name}
                for alias in self._ask("ListAliases", m.ListAliasesRequest(**of)).aliases:
                    self._ask("DropAlias", m.DropAliasRequest(db_name=database, alias=alias))
                self._ask("DropCollection", m.DropCollectionRequest(**of))
            if database not in ("default", WITNESS):
                self._ask("DropDatabase", m.DropDatabaseRequest(db_name=database))
        self._ask("CreateCollection", fuzz_corpus.create_collection(TARGET))
        self._fill(TARGET, "")
        self._ask("CreateAlias", m.CreateAliasRequest(collection_name=TARGET, alias="fuzz_alias"))
        self._ask("CreatePartition", m.CreatePartitionRequest(collection_name=TARGET, partition_name="part"))

    def _make_witness(self) -> None:
        self._ask("CreateDatabase", milvus_pb2.CreateDatabaseRequest(db_name=WITNESS))
        request = fuzz_corpus.create_collection(WITNESS)
        request.db_name = WITNESS
        self._ask("CreateCollection", request)
        self._fill(WITNESS, WITNESS)

    def _fill(self, name: str, database: str) -> None:
        for rpc, request in (
            ("CreateIndex", fuzz_corpus.create_index(name)),
            ("LoadCollection", milvus_pb2.LoadCollectionRequest(collection_name=name, replica_number=1)),
            ("Insert", fuzz_corpus.insert(name, ROWS)),
        ):
            request.db_name = database
            self._ask(rpc, request)

    def _witness(self) -> list[str]:
        """What it answers to a query, a count and a search."""
        return witness(self._ask)

    def _settled(self, process: psutil.Process, first: Resources) -> Resources:
        until = time.monotonic() + SETTLE_S
        while (found := Resources.of(process)).exceed(first) and time.monotonic() < until:
            time.sleep(0.1)
        return found


def witness(ask: Any) -> list[str]:
    m = milvus_pb2
    of = {"db_name": WITNESS, "collection_name": WITNESS}
    search = m.SearchRequest()
    search.CopyFrom(fuzz_corpus.corpus()["Search"][1])
    search.db_name = search.collection_name = WITNESS
    answers = [
        ask("Query", m.QueryRequest(**of, expr="id >= 0", output_fields=["*"])),
        ask("Query", m.QueryRequest(**of, output_fields=["count(*)"])),
        ask("Search", search),
        ask("DescribeCollection", m.DescribeCollectionRequest(**of)),
    ]
    for answer in answers[:3]:
        answer.ClearField("session_ts")
    return [MessageToString(answer) for answer in answers]


def run(folder: Path, seed: int, seconds: float, names: Sequence[str] = ()) -> Report:
    """Fuzz a server on `folder`, then start it once more and look whether the witness is there."""
    with served(folder) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        fuzz = Fuzz(server, channel, seed)
        report = fuzz.run(names or [method.name for method in METHODS.values()], seconds)
        seen = fuzz._witness()
        server.process.send_signal(signal.SIGTERM)
        if code := server.process.wait(60):
            fuzz._found("(all)", 0, f"told to stop, the server ended with {code}", "")
    with served(folder) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        if Fuzz(server, channel, seed)._witness() != seen:
            fuzz._found("(all)", 0, "after a restart the witness answers otherwise", "")
    return report


def _read(method: Method, data: bytes) -> Any:
    try:
        return method.request.FromString(data)
    except DecodeError:
        return None


def _shown(message: Any, data: bytes) -> str:
    return repr(data) if message is None else MessageToString(message, as_one_line=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each RPC")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--rpc", action="append", default=[], help="only this one; may be given again")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="elanus-fuzz-") as folder:
        report = run(Path(folder), given.seed, given.seconds, given.rpc)
    for name, counts in report.answers.items():
        answered = ", ".join(f"{what} {count}" for what, count in counts.most_common())
        slowest_ms, grown_mib = report.slowest_s.get(name, 0) * 1000, report.grown_bytes[name] / 2**20
        print(f"{name}: {answered}; slowest {slowest_ms:.0f} ms; {grown_mib:+.1f} MiB")
    for finding in report.findings:
        print(f"\n{finding}")
    print(f"\n{report.calls} calls, {len(report.findings)} findings; seed {given.seed}; {'; '.join(report.measured)}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
