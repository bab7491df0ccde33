"""`elanus inspect`: shows what is there, beside a writer, changes nothing, and finds whatever is damaged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elanus.cli import main
from elanus.ops.inspect import Folder
from tests.native_case import BOOKS, books, open_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection with a sealed and indexed segment, deletes in it, and rows in the log alone; closed."""
    path = tmp_path / "my.elanus"
    with open_folder(path) as db:
        collection = db.create_collection("books", BOOKS)
        db.create_alias("library", "books")
        collection.create_index("vector", "HNSW", metric="L2")
        collection.insert(books(range(100)))
        collection.flush()
        collection.wait_for_indexes()
        collection.delete([3, 4])
        collection.flush()
        collection.insert(books(range(200, 230)))
        collection.insert(books(range(230, 240)))
    return path


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command."""
    monkeypatch.setattr(sys, "argv", ["elanus", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_inspect_lists_collections_segments_and_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "scratch" / "unfinished").write_bytes(b"a writer's own")
    before = files(folder)
    code, out, err = run(monkeypatch, capsys, "inspect", str(folder), "--verify")
    assert (code, err) == (0, "")
    assert "default.books: 100 rows in 1 segment, 2 of them deleted, 40 more in the log" in out
    assert "id INT64 key, vector FLOAT_VECTOR(4), title VARCHAR(64)" in out
    assert "index vector: HNSW L2 on vector, built for 1 of 1 segment" in out
    assert "aliases library" in out
    assert {line.split("  ")[-1].strip() for line in out.splitlines() if line.startswith("     ")} >= {
        "index vector", "deletes", "timestamps", "title", "keys, sorted",
    }  # fmt: skip
    assert out.endswith("verified: every file is there, and every checksum holds\n")
    assert files(folder) == before, "it only reads"


def test_inspect_runs_beside_a_writer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_folder(folder) as db:
        db.collection("books").insert(books(range(300, 305)))
        code, out, _ = run(monkeypatch, capsys, "inspect", str(folder), "--verify")
        assert (code, "45 more in the log" in out) == (0, True)
        db.collection("books").insert(books([400]))
    with open_folder(folder) as db:
        assert db.collection("books").count() == 144


def test_verify_finds_a_flipped_byte_in_every_file_of_the_store(folder: Path) -> None:
    for path, data in files(folder / "store").items():
        for place in {0, 8, len(data) // 2, len(data) - 1}:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            found = [str(error) for error in Folder(folder).damages()]
            name = f"{path.parent.name}/{path.name}"
            assert any(name in error for error in found), f"byte {place} of {name}: {found}"
        path.write_bytes(data)
    assert list(Folder(folder).damages()) == []


def test_verify_finds_a_damaged_log(folder: Path) -> None:
    log = max((folder / "log").iterdir())
    data = bytearray(log.read_bytes())
    data[data.index(b"ELFRAME\n") + 100] ^= 1
    log.write_bytes(data)
    (error,) = Folder(folder).damages()
    assert log.name in str(error)
    assert "offset 64" in str(error)


def test_verify_finds_missing_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (column,) = folder.rglob("101.column")
    column.unlink()
    code, out, err = run(monkeypatch, capsys, "inspect", str(folder), "--verify")
    assert code == 1
    assert "verified" not in out
    assert "101.column is missing, though a manifest names it" in err
    assert len(err.splitlines()) == 1


def test_a_damaged_manifest_hides_no_other_collection(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_folder(folder) as db:
        db.create_collection("other", dimension=2)
    first = min((folder / "store").glob("collections/*/manifest/*.delta"))
    first.write_bytes(b"")
    code, out, err = run(monkeypatch, capsys, "inspect", str(folder))
    assert code == 1
    assert "default.other: 0 rows" in out
    assert first.name in err


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_that_is_no_database_is_refused_in_one_sentence_and_left_alone(
    tmp_path: Path, make: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "something"
    if make:
        path.mkdir()
    code, out, err = run(monkeypatch, capsys, "inspect", str(path))
    assert (code, out) == (1, "")
    assert err.startswith(f"elanus: {path} is no database")
    assert len(err.splitlines()) == 1
    assert not make or not list(path.iterdir())
