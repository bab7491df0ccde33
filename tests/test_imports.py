"""The layout: who may know whom, and what a module may be called. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "elanus"

BASE = {"model", "version"}
STORED = BASE | {"expr", "vector", "text", "scalar", "store", "log"}
ENGINE = STORED | {"segment", "engine"}

MAY_KNOW: dict[str, set[str]] = {
    "version": set(),
    "model": set(),
    "expr": BASE | {"text"},
    "vector": BASE,
    "text": BASE,
    "scalar": BASE | {"expr", "text"},
    "store": BASE,
    "log": BASE | {"store"},
    "segment": STORED,
    "engine": STORED | {"segment"},
    "catalog": ENGINE,
    "service": ENGINE | {"catalog"},
    "native": BASE | {"service"},
    "wire": BASE | {"service"},
    "ops": ENGINE | {"catalog", "service"},
    # A builder process turns files into files; it sees no manifest and commits nothing.
    "builder": STORED | {"segment"},
    # Test tools that ship with the product: faulty and recording disks, crash states.
    "testing": BASE | {"store", "log"},
    # `import elanus` shows what a user needs.
    "": BASE | {"native", "wire"},
}
"""For each part the others that it may import; a part that is not named here may be imported by nobody below it."""

FREE = {"cli", "web"}
"""The top of the page: may know everything."""

FORBIDDEN_WORDS = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}

MODULES = sorted(SOURCE.rglob("*.py"))


def _name(module: Path) -> str:
    return str(module.relative_to(SOURCE))


def _part(parts: tuple[str, ...]) -> str:
    """`log/file.py` → `log`; `elanus/__init__.py` → the empty name."""
    return parts[0].removesuffix(".py") if parts and parts[0] != "__init__.py" else ""


def _imported_parts(module: Path) -> Iterator[tuple[int, str]]:
    """(line, part) of every import of Elanus in `module`, also inside functions and `if TYPE_CHECKING`."""
    package = ("elanus", *module.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(ast.parse(module.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join((*base, *([node.module] if node.module else [])))
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        for name in names:
            path = name.split(".")
            if path[0] == "elanus":
                part = path[1] if len(path) > 1 else ""
                known = len(path) > 2 or (SOURCE / part).is_dir() or (SOURCE / f"{part}.py").is_file()
                yield node.lineno, part if known else ""


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_module_imports_only_what_lies_below_it(module: Path) -> None:
    part = _part(module.relative_to(SOURCE).parts)
    if part in FREE:
        return
    assert part in MAY_KNOW, f"{part} is new: say in MAY_KNOW whom it may know"
    wrong = [
        f"{_name(module)}:{line} imports elanus.{other}".rstrip(".")
        for line, other in _imported_parts(module)
        if other != part and other not in MAY_KNOW[part]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_directions_have_no_cycle() -> None:
    def reach(part: str, path: tuple[str, ...]) -> None:
        assert part not in path, " → ".join((*path, part))
        for other in MAY_KNOW.get(part, ()):
            reach(other, (*path, part))

    for part in MAY_KNOW:
        reach(part, ())


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_module_says_what_it_is_for(module: Path) -> None:
    docstring = ast.get_docstring(ast.parse(module.read_bytes()))
    assert docstring, f"{_name(module)} has no docstring"


def test_no_module_or_class_has_a_name_that_says_nothing() -> None:
    wrong = []
    for module in MODULES:
        for part in module.relative_to(SOURCE).parts:
            if FORBIDDEN_WORDS & set(part.removesuffix(".py").lower().split("_")):
                wrong.append(_name(module))
        wrong += [
            f"{_name(module)}:{node.lineno} class {node.name}"
            for node in ast.walk(ast.parse(module.read_bytes()))
            if isinstance(node, ast.ClassDef) and node.name.lower().endswith(tuple(FORBIDDEN_WORDS))
        ]
    assert not wrong, "\n".join(wrong)


def test_a_module_fits_a_subject() -> None:
    long = {_name(m): n for m in MODULES if (n := len(m.read_text(encoding="utf-8").splitlines())) > 500}
    assert not long, f"more than 500 lines are usually two subjects: {long}"
