"""Folders of every format version so far open and answer; newer formats and damaged files are refused by name.

`format_fixture` says what is in the folders and how they were made.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import xxhash

import elanus
from elanus import Elanus, ElanusError
from elanus.model.errors import CorruptData, FormatTooNew
from elanus.ops.inspect import Folder
from elanus.store.header import FORMAT_VERSION, HEADER_BYTES, FileKind
from tests.format_fixture import DATABASES, SETTINGS, contents, everything, fill

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("format-*"))
NEWEST = FIXTURES[-1]


@pytest.fixture(params=FIXTURES, ids=lambda path: path.name)
def fixture(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def folder(fixture: Path, quick_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(fixture / "db", quick_path / "db")
    return quick_path / "db"


def read(folder: Path) -> object:
    with elanus.open(folder, settings=SETTINGS) as db:
        return json.loads(json.dumps(everything(db)))


@cache
def expected(fixture: Path) -> Any:
    return json.loads((fixture / "expected.json").read_text())


def test_there_is_a_folder_of_every_format_version() -> None:
    assert [path.name for path in FIXTURES] == [f"format-{n}" for n in range(1, FORMAT_VERSION + 1)]


def test_a_folder_of_every_format_opens_and_holds_what_it_held(fixture: Path, folder: Path) -> None:
    assert read(folder) == expected(fixture)
    assert not list(Folder(folder).damages())


def test_a_folder_of_every_format_is_worked_on_as_a_new_one(fixture: Path, folder: Path) -> None:
    with elanus.open(folder, settings=SETTINGS) as db:
        for collection in collections(db):
            collection.flush()
            collection.compact()
        fill(db.collection("everything"), range(80, 90))
        db.collection("everything").delete(filter="80 <= id < 90")
    held, wanted = read(folder), expected(fixture)
    assert held == wanted


def collections(db: Elanus) -> Iterator[elanus.Collection]:
    for name in DATABASES:
        for collection in db.database(name).list_collections():
            yield db.database(name).collection(collection)


def test_the_newest_folder_has_a_file_of_every_kind() -> None:
    kinds = {FileKind(struct.unpack_from("<H", data, 10)[0]) for _, data in files(NEWEST / "db")}
    # Columns of JSON paths came later, and are never needed.
    assert kinds == set(FileKind) - {FileKind.MARKER, FileKind.PATHS}


def files(folder: Path) -> list[tuple[Path, bytes]]:
    """All files with a header, big and small."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return [(path, path.read_bytes()) for path in found]


def touched(folder: Path, damaged: Path, change: Callable[[bytes], bytes]) -> tuple[ElanusError | None, set[str]]:
    """Change one file and read all of `folder`: what was raised, if anything, and which collections answered as ever.

    Where something was raised the file must still be as it was changed.
    """
    changed = change(damaged.read_bytes())
    damaged.write_bytes(changed)
    raised: ElanusError | None = None
    answered = set()
    wanted = {c: held for d in expected(NEWEST).values() for c, held in d["collections"].items()}
    try:
        with elanus.open(folder, settings=SETTINGS) as db:
            for collection in collections(db):
                try:
                    open_files(collection)
                    if json.loads(json.dumps(contents(collection))) == wanted[collection.name]:
                        answered.add(collection.name)
                except ElanusError as error:
                    raised = error
    except ElanusError as error:
        raised = error
    if raised is not None:
        assert damaged.read_bytes() == changed, f"{damaged} was changed after {raised}"
    return raised, answered


def open_files(collection: elanus.Collection) -> None:
    """What reads of so few rows never open: timestamps, and indexes where scanning is cheaper."""
    found = collection._instance.collection(collection._ctx, collection.name)
    for unit in found.snapshot().sealed:
        assert unit.sealed is not None
        assert unit.sealed.keys.find(unit.sealed.key_column[:1]).tolist() == [0]
        assert len(unit.sealed.timestamps) == unit.view.rows
        for index in unit.indexes.values():
            index.open()


def test_a_file_of_a_newer_format_is_refused_by_name_whatever_it_is(quick_path: Path) -> None:
    def newer(data: bytes) -> bytes:
        head = data[:8] + struct.pack("<H", FORMAT_VERSION + 1) + data[10 : HEADER_BYTES - 8]
        return head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head)) + data[HEADER_BYTES:]

    for place, raised, _ in each_file_changed(quick_path, newer):
        assert isinstance(raised, FormatTooNew), f"{place}: {raised}"
        assert place.name in str(raised)


@pytest.mark.parametrize("where", ["magic", "header", "last byte"])
def test_a_flipped_byte_is_refused_by_name_and_harms_no_other_collection(quick_path: Path, where: str) -> None:
    def flipped(data: bytes) -> bytes:
        at = {"magic": 0, "header": 20, "last byte": len(data) - 1}[where]
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    for place, raised, answered in each_file_changed(quick_path, flipped):
        if place.suffix == ".log" and where == "last byte":
            assert raised is None, "what is preallocated holds nothing"
            continue
        assert isinstance(raised, CorruptData), f"{place}: {raised}"
        assert place.name in str(raised)
        if "segments" in place.parts:
            assert len(answered) == 5, f"{place}: {answered}"


def each_file_changed(
    base: Path, change: Callable[[bytes], bytes]
) -> Iterator[tuple[Path, ElanusError | None, set[str]]]:
    """For every file that is read: its path in the folder, what reading raised, and which collections answered."""
    folder = base / "db"
    shutil.copytree(NEWEST / "db", folder)
    unread = superseded(folder)
    for path, _ in files(folder):
        place = path.relative_to(folder)
        if str(place) in unread:
            continue
        copy = base / "copy"
        shutil.copytree(folder, copy)
        yield place, *touched(copy, copy / place, change)
        shutil.rmtree(copy)


def superseded(folder: Path) -> set[str]:
    """Deltas that a checkpoint has taken the place of."""
    old = set()
    for checkpoint in folder.rglob("*.checkpoint"):
        for delta in checkpoint.parent.glob("*.delta"):
            if delta.stem <= checkpoint.stem:
                old.add(str(delta.relative_to(folder)))
    return old
