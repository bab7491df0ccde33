"""Files of remote objects that are used while they are being fetched."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from elanus import Elanus, SearchResults
from elanus.engine.builders import InlineBuilders
from elanus.model.errors import Closed, StoreError
from elanus.service import loading
from elanus.service.instance import Instance
from elanus.store import remote, sparse
from elanus.store.sparse import BLOCK_BYTES, SparseFile
from elanus.testing.bucket_proxy import Proxy
from tests.bucket_case import use
from tests.native_case import BOOKS, QUIET, vectors

DATA = np.random.default_rng(5).integers(0, 255, 40 * BLOCK_BYTES + 77, np.uint8).tobytes()


class Source:
    """Where the bytes come from, and what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.fails = False
        self.kept: list[Path] = []
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, begin: int, length: int) -> bytes:
        self.gate.wait(10)
        if self.fails:
            raise StoreError("the network is down")
        self.asked.append((begin, length))
        return DATA[begin : begin + length]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def file(tmp_path: Path, source: Source) -> Iterator[SparseFile]:
    def keep(path: Path) -> None:
        source.kept.append(path.rename(path.with_name("kept")))

    made = SparseFile(tmp_path / "filling", len(DATA), source.fetch, keep)
    yield made
    made.close()


def mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)


def test_what_is_asked_for_is_there_and_nothing_else_was_fetched(file: SparseFile, source: Source) -> None:
    seen = mapped(file.path)
    assert len(seen) == len(DATA)
    begins = np.array([3, 5 * BLOCK_BYTES + 10, 9 * BLOCK_BYTES - 20, len(DATA) - 50])
    file.need(begins, 50)
    for begin in begins.tolist():
        assert seen[begin : begin + 50] == DATA[begin : begin + 50]
    assert sorted(begin // BLOCK_BYTES for begin, _ in source.asked) == [0, 5, 8, 9, 40]
    file.need(begins, 50)
    assert len(source.asked) == 5
    assert seen[2 * BLOCK_BYTES : 3 * BLOCK_BYTES] == bytes(BLOCK_BYTES)
    file.need(np.array([20 * BLOCK_BYTES + 1]), 4 * BLOCK_BYTES)
    assert seen[20 * BLOCK_BYTES + 1 : 24 * BLOCK_BYTES + 1] == DATA[20 * BLOCK_BYTES + 1 : 24 * BLOCK_BYTES + 1]
    assert not file.is_whole


def test_the_rest_comes_behind_and_what_was_mapped_before_sees_it(file: SparseFile, source: Source) -> None:
    seen = mapped(file.path)
    file.need(np.array([0]), 1)
    file.start()
    file.start()
    file._filler.join(10)
    assert file.is_whole
    assert seen[:] == DATA
    assert source.kept[0].read_bytes() == DATA
    assert sum(length for _, length in source.asked) <= len(DATA) + BLOCK_BYTES
    file.need(np.array([7]), 9)
    file.need_all()


def test_all_may_be_waited_for(file: SparseFile, source: Source) -> None:
    file.need_all()
    assert file.is_whole
    assert source.kept[0].read_bytes() == DATA


def test_a_failure_is_said_to_who_asked_and_the_next_try_may_succeed(file: SparseFile, source: Source) -> None:
    source.fails = True
    for ask in (lambda: file.need(np.array([0]), 8), file.need_all):
        with pytest.raises(StoreError, match="the network is down"):
            ask()
    source.fails = False
    file.need(np.array([0]), 8)
    file.need_all()
    assert file.is_whole


def test_a_cache_that_does_not_take_the_file_does_no_harm(tmp_path: Path, source: Source) -> None:
    def keep(path: Path) -> None:
        raise StoreError("the disk is full")

    file = SparseFile(tmp_path / "filling", len(DATA), source.fetch, keep)
    seen = mapped(file.path)
    file.need_all()
    assert file.is_whole
    assert seen[:] == DATA
    file.close()


def test_closing_ends_what_fetches(file: SparseFile, source: Source) -> None:
    before = threading.active_count()
    file.start()
    file.close()
    assert threading.active_count() <= before
    if not file.is_whole:
        with pytest.raises(Closed):
            file.need(np.array([30 * BLOCK_BYTES]), 8)


@pytest.fixture
def in_bucket(
    url: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Elanus]]:
    """Opens one database, each time with an empty cache of its own."""
    use(monkeypatch, proxy.url, tmp_path)
    opened: list[Elanus] = []

    def fresh(**how: bool) -> Elanus:
        settings = QUIET.__class__(background=False, index_min_rows=8, cache_folder=str(tmp_path / str(len(opened))))
        opened.append(Elanus(Instance.open(url, settings, builders=InlineBuilders(), **how)))
        return opened[-1]

    yield fresh
    for db in opened:
        db.close()


def hits(results: SearchResults) -> list[list[tuple[int, float]]]:
    return [[(hit["id"], hit["distance"]) for hit in one] for one in results]


def test_searches_are_right_while_their_vectors_are_fetched(
    in_bucket: Callable[..., Elanus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that has none of them yet: each search fetches what it reads, and finds what the writer finds."""
    monkeypatch.setattr(remote, "SPARSE_BYTES", 4096)
    monkeypatch.setattr(sparse, "BLOCK_BYTES", 1024)
    monkeypatch.setattr(SparseFile, "start", lambda self: None)
    draw = np.random.default_rng(8)
    rows = draw.standard_normal((6000, 4)).astype(np.float32)
    there = in_bucket().create_collection("books", BOOKS)
    there.create_index("vector", "HNSW", metric="L2", params={"M": 8, "efConstruction": 60})
    for part in range(3):
        ids = range(2000 * part, 2000 * part + 2000)
        there.insert({"id": list(ids), "vector": rows[ids.start : ids.stop], "title": [f"t{i}" for i in ids]})
        there.flush()
    there.wait_for_indexes()
    there.delete(filter="id % 7 == 3")
    here = in_bucket(read_only=True).collection("books")
    assert here.count() == there.count()
    inner = here._instance.collection(here._ctx, "books")
    filling = list(inner.store._filling.values())  # type: ignore[attr-defined]
    assert filling == []
    for query in draw.standard_normal((60, 4)).astype(np.float32):
        for how in ({"limit": 5}, {"limit": 30, "params": {"ef": 40}}, {"limit": 5, "filter": "id % 2 == 0"}):
            assert hits(here.search(query, **how)) == hits(there.search(query, **how))  # type: ignore[arg-type]
    many = draw.standard_normal((40, 4)).astype(np.float32)
    assert hits(here.search(many, limit=3)) == hits(there.search(many, limit=3))
    filling = list(inner.store._filling.values())  # type: ignore[attr-defined]
    assert len(filling) == 3
    assert not any(file.is_whole for file in filling)
    # What reads all vectors waits for all of them.
    few = {"limit": 4, "filter": "id in [3, 5, 4001]", "output_fields": ["vector"]}
    assert hits(here.search(many[0], **few)) == hits(there.search(many[0], **few))  # type: ignore[arg-type]
    assert np.array_equal(
        np.stack(here.query("id >= 0", output_fields=["vector"]).column("vector").to_numpy()),
        np.stack(there.query("id >= 0", output_fields=["vector"]).column("vector").to_numpy()),
    )
    assert all(file.is_whole for file in filling)
    assert hits(here.search(vectors([1]), limit=3)) == hits(there.search(vectors([1]), limit=3))


def test_loading_fetches_in_advance(in_bucket: Callable[..., Elanus], tmp_path: Path) -> None:
    writer = in_bucket()
    there = writer.create_collection("books", BOOKS)
    there.create_index("vector", "HNSW", metric="L2")
    there.insert({"id": list(range(300)), "vector": vectors(range(300)), "title": ["t"] * 300})
    there.flush()
    there.wait_for_indexes()
    loading.load(writer._ctx, writer._instance, "books")
    here = in_bucket(read_only=True)
    assert not list((tmp_path / "1").rglob("*.index"))
    loading.load(here._ctx, here._instance, "books")  # it is loaded, but nothing of it is on this machine
    for _ in range(200):
        fetched = {path.suffix for path in (tmp_path / "1").rglob("objects/**/*.*")}
        if {".index", ".column"} <= fetched:
            break
        threading.Event().wait(0.05)
    assert {".index", ".column"} <= fetched
