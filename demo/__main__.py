"""Stores the documentation of the Python standard library, searches it, closes, opens again and asks once more.

    python -m demo [--folder ./docs.elanus] [--model MODEL]

Needs no network. Without `--folder` the collection lives in a temporary folder. With `--model` (or MODEL in the
environment) a sentence-transformers model that is on this machine makes the vectors.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from demo.embedding import Embedder, SentenceModel, WordStatistics
from demo.library import Library, Recall
from demo.passages import Passage, collect

QUESTIONS = (
    "How do I sort a list in descending order?",
    "split a string on whitespace",
    "pick random elements without repetition",
    "copy a directory tree",
    "run a coroutine inside an event loop",
)
FILTERED = (
    ("a dictionary that remembers order", 'kind == "class"'),
    ("wait until something has happened", 'module like "asyncio%" and kind in ["method", "function"]'),
    ("run a command and capture its output", 'module == "subprocess" and words > 20'),
)

console = Console(highlight=False)


class Bar:
    """A progress bar for one step, in the shape that collecting, embedding and storing report to: (done, total)."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=None)

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def bar(what: str) -> Iterator[Bar]:
    columns = (TextColumn("  {task.description:<12}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, what)


def heading(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def say(text: str) -> None:
    console.print(f"  {text}", markup=False)


def described(passage: Passage) -> str:
    return f"{passage.title} ({passage.kind}): {' '.join(passage.text.split())}"


def one_line(text: str) -> str:
    width = max(60, min(console.width, 140))
    return text if len(text) <= width else text[: width - 1] + "…"


def show(question: str, hits: Sequence[tuple[Passage, float]], took_s: float, condition: str = "") -> None:
    """One question and its hits. `condition` is the filter it was asked under."""
    where = f"  where {condition}" if condition else ""
    console.print(f"\n  [cyan]{question}[/cyan]", end="")
    console.print(f"{where}   ({took_s * 1000:.2f} ms)", style="dim", markup=False)
    for passage, score in hits:
        console.print(one_line(f"    {score:.3f}  {described(passage)}"), markup=False)


def ask(library: Library, embedder: Embedder, limit: int = 3) -> None:
    for question in QUESTIONS:
        show(question, *library.search(embedder.embed([question])[0], limit))


def tell(folder: Path, embedder: Embedder) -> bool:
    """The whole story; whether the answers after opening again were those of before, at a recall of .95 or more."""
    heading("1  Collect the documentation of the Python standard library")
    with bar("files") as progress:
        passages = collect(progress)
    say(f"{len(passages):,} passages of {len({p.module for p in passages})} modules")

    heading(f"2  Embed: {embedder.name}")
    with bar("embedding") as progress:
        vectors = embedder.fit(passages, progress)
    say(f"{vectors.shape[0]:,} × {vectors.shape[1]} float32, {vectors.nbytes / 2**20:.1f} MiB")

    heading(f"3  Store and index in {folder}")
    library = Library.create(folder, dim=vectors.shape[1])
    with bar("rows") as progress:
        took_s = library.add(passages, vectors, progress)
    say(f"{len(passages) / took_s:,.0f} rows/s, each batch on the disk before the insert returned")
    with bar("graph") as progress:
        took_s = library.build_index()
        progress(len(passages), len(passages))
    say(f"graph built in {took_s:.1f} s by a process of its own; until then, searches scan")

    heading("4  Ask")
    ask(library, embedder)
    for question, condition in FILTERED:
        show(question, *library.search(embedder.embed([question])[0], 3, condition), condition=condition)
    question, condition = FILTERED[-1]
    console.print("\n  [cyan]how that was answered[/cyan]")
    for line in library.plan(embedder.embed([question])[0], 3, condition).splitlines():
        console.print(one_line(f"    {line}"), markup=False)
    key = len(passages) // 2
    passage, took_s = library.get(key)
    console.print(f"\n  [cyan]the passage with key {key}[/cyan]   ({took_s * 1000:.2f} ms)")
    console.print(one_line(f"    {described(passage)}"), markup=False)
    say("")
    for kind in ("module", "class", "function", "method", "topic"):
        count, took_s = library.count(f'kind == "{kind}"')
        say(f'  count where kind == "{kind}": {count:,}   ({took_s * 1000:.2f} ms)')

    heading("5  Compare with an exact scan")
    with bar("comparing") as progress:
        recall = library.recall(vectors, embedder, passages, progress)
    print_recall(recall)

    heading("6  Close, open again, ask again")
    before = library.answers(embedder, QUESTIONS)
    library.close()
    started = time.perf_counter()
    library = Library.open(folder)
    first = library.search(embedder.embed([QUESTIONS[0]])[0], 3)
    say(f"open to the first answer: {(time.perf_counter() - started) * 1000:.0f} ms")
    show(QUESTIONS[0], *first)
    same = library.answers(embedder, QUESTIONS) == before
    count, _ = library.count("")
    library.close()
    say("")
    say(f"{count:,} rows; the answers are {'the same as before' if same else 'NOT THE SAME as before'}")
    return same and count == len(passages) and recall.share >= 0.95


def print_recall(recall: Recall) -> None:
    say(f"{recall.queries} questions, the {recall.limit} nearest of each: recall {recall.share:.4f}")
    say(f"search: p50 {recall.p50_ms:.2f} ms, p99 {recall.p99_ms:.2f} ms")
    say(f"exact scan by numpy: p50 {recall.exact_ms:.2f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="keep the collection here; it must not exist yet")
    parser.add_argument("--model", default=os.environ.get("MODEL"), help="a sentence-transformers model you have")
    arguments = parser.parse_args()
    embedder: Embedder = SentenceModel(arguments.model) if arguments.model else WordStatistics()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="elanus-demo-") as scratch:
        folder = arguments.folder or Path(scratch) / "docs.elanus"
        good = tell(folder, embedder)
    heading(f"Done in {time.perf_counter() - started:.0f} s")
    if arguments.folder:
        say(f"the collection is in {folder}; look at it with: elanus inspect {folder}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
