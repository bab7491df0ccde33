"""The documents say what is true: tests they name exist, code they show runs, files they link to are there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from elanus.cli import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


def _all_tests() -> set[str]:
    """Every test as `tests/file.py::test_name`, read from the source."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(f"{path.relative_to(ROOT).as_posix()}::{node.name}")
    return found


def _guarantees() -> list[tuple[str, str]]:
    """(sentence, the cell that names its tests) of each row of the table."""
    rows = []
    for line in (ROOT / "GUARANTEES.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 and cells[0] != "guarantee" and not set(cells[0]) <= set("- "):
            rows.append((cells[0], cells[1]))
    return rows


def test_every_guarantee_names_tests_that_exist() -> None:
    known = _all_tests()
    for sentence, cell in _guarantees():
        named = re.findall(r"`([^`]+)`", cell)
        assert named, f"no test is named for: {sentence}"
        for name in named:
            assert name in known, f"{name} does not exist; it is named for: {sentence}"


def test_the_code_in_the_readme_runs_as_written(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks, "the README shows no use"
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    expected = re.findall(r"^\s*print\(.*#\s*(.+)$", "\n".join(blocks), flags=re.MULTILINE)
    assert ran.stdout.splitlines() == expected, "what the comments say is printed"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_document_links_to_files_that_exist(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if not (document.parent / link).exists()]
    assert not missing, f"{document.name} links to {missing}"


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8")))
        assert named <= targets, f"{document.name} names {named - targets}"


def test_every_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert f"`elanus {command.name}" in readme


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda p: p.stem)
def test_a_decision_is_numbered_and_has_its_four_parts(decision: Path) -> None:
    text = decision.read_text(encoding="utf-8")
    assert text.startswith(f"# {decision.name[:4]}. ")
    for part in ("**Context.**", "**Choice.**", "**Rejected.**", "**What would change our mind.**"):
        assert part in text, f"{decision.name} lacks {part}"


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(d.name[:4]) for d in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_version_stands_in_the_changelog() -> None:
    version = re.search(r'"(.+)"', (ROOT / "src/elanus/version.py").read_text(encoding="utf-8").splitlines()[-1])
    assert version is not None
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
