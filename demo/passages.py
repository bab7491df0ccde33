"""Collects the documentation of the Python standard library, in passages.

Three sources, all on every machine that runs Python:

    *.py of the standard library   the docstrings of modules, classes, functions and methods, read from the
                                   source: nothing is imported, so nothing runs
    modules written in C           the docstrings that `inspect` finds in a fixed list of them
    pydoc's topics                 the language reference as `help("LAMBDA")` shows it

A passage is a paragraph, joined with those after it while it is short. The same text is kept once.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sysconfig
import textwrap
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MIN_WORDS = 4
"""A passage of fewer words says nothing that could be found."""

JOINED_WORDS = 16
"""A paragraph of fewer words is joined with the next: a heading belongs to what it heads."""

MAX_BYTES = 4_000
"""Longer paragraphs (tables, examples) are cut here."""

SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})

C_MODULES = (
    "builtins", "sys", "math", "cmath", "itertools", "array", "gc", "select", "zlib", "unicodedata", "mmap", "time",
    "posix", "nt", "pyexpat", "faulthandler", "binascii", "marshal", "errno", "signal", "atexit",
    "_io", "_collections", "_functools", "_operator", "_socket", "_ssl", "_sqlite3", "_thread", "_random", "_struct",
    "_json", "_pickle", "_datetime", "_decimal", "_bisect", "_heapq", "_bz2", "_lzma", "_hashlib", "_csv", "_ctypes",
    "_elementtree", "_asyncio", "_codecs", "_sre", "_weakref", "_queue", "_contextvars", "_zoneinfo", "_string",
)  # fmt: skip
"""Modules without Python source; those that a build of Python lacks are left out."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One paragraph. `kind` is module, class, function, method or topic; `name` is qualified, without the module."""

    module: str
    kind: str
    name: str
    text: str

    @property
    def title(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


def collect(progress: Callable[[int, int], None] = lambda done, total: None) -> list[Passage]:
    """Every distinct passage of this Python's standard library, in a fixed order.

    `progress` is called with the files done and the files in all.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [p for p in sorted(root.rglob("*.py")) if not SKIPPED_FOLDERS.intersection(p.relative_to(root).parts)]
    found: dict[str, Passage] = {}
    total = len(files) + 2
    for done, path in enumerate(files):
        _add(found, _from_source(path, _module_name(path.relative_to(root))))
        progress(done, total)
    _add(found, _from_c_modules())
    progress(total - 1, total)
    _add(found, _from_topics(root / "pydoc_data" / "topics.py"))
    progress(total, total)
    return list(found.values())


def _add(found: dict[str, Passage], passages: Iterator[Passage]) -> None:
    for passage in passages:
        found.setdefault(passage.text, passage)


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _split(module: str, kind: str, name: str, docstring: str) -> Iterator[Passage]:
    """The passages of one docstring."""
    waiting: list[str] = []
    paragraphs = [p.strip("\n") for p in textwrap.dedent(docstring).split("\n\n") if p.strip()]
    for last, paragraph in enumerate(paragraphs, start=1 - len(paragraphs)):
        waiting.append(paragraph)
        text = "\n\n".join(waiting)
        words = len(text.split())
        if words >= JOINED_WORDS or (last == 0 and words >= MIN_WORDS):
            yield Passage(module, kind, name, text.encode()[:MAX_BYTES].decode(errors="ignore").strip())
            waiting.clear()


def _from_source(path: Path, module: str) -> Iterator[Passage]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # templates and sources of other versions that some installations carry
    if docstring := ast.get_docstring(tree):
        yield from _split(module, "module", "", docstring)
    yield from _from_body(tree.body, module, (), in_class=False)


def _from_body(body: list[ast.stmt], module: str, outer: tuple[str, ...], *, in_class: bool) -> Iterator[Passage]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            kind = "class"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "method" if in_class else "function"
        else:
            # Definitions also stand below `if` and `try`.
            for inner in ("body", "orelse", "finalbody"):
                yield from _from_body(getattr(node, inner, []), module, outer, in_class=in_class)
            continue
        name = (*outer, node.name)
        if docstring := ast.get_docstring(node):
            yield from _split(module, kind, ".".join(name), docstring)
        if kind == "class":
            yield from _from_body(node.body, module, name, in_class=True)


def _from_c_modules() -> Iterator[Passage]:
    for module_name in C_MODULES:
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        public = module_name.lstrip("_")
        if docstring := inspect.getdoc(module):
            yield from _split(public, "module", "", docstring)
        for name, value in sorted(vars(module).items()):
            if inspect.isclass(value):
                yield from _from_c_class(public, name, value)
            elif inspect.isroutine(value) and (docstring := inspect.getdoc(value)):
                yield from _split(public, "function", name, docstring)


def _from_c_class(module: str, name: str, cls: type) -> Iterator[Passage]:
    if isinstance(cls.__doc__, str):
        yield from _split(module, "class", name, inspect.cleandoc(cls.__doc__))
    for attribute, value in sorted(vars(cls).items()):
        docstring = getattr(value, "__doc__", None)
        described = inspect.isroutine(value) or isinstance(value, types.GetSetDescriptorType)
        if described and not attribute.startswith("__") and isinstance(docstring, str):
            yield from _split(module, "method", f"{name}.{attribute}", inspect.cleandoc(docstring))


def _from_topics(path: Path) -> Iterator[Passage]:
    """`topics.py` is one dictionary of texts, read as a literal."""
    if not path.exists():
        return
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for topic, text in sorted(ast.literal_eval(node.value).items()):
                yield from _split("help", "topic", topic, text)
