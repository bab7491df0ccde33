"""Figures beside their bounds: on the screen, as Markdown and CSV, and as a plot."""

from __future__ import annotations

import csv
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.measure import Floats, Spread, load


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `bound` is None for what is told for orientation only."""

    benchmark: str
    what: str
    value: Spread
    unit: str
    bound: float | None = None
    direction: Literal["at most", "at least"] = "at most"
    note: str = ""
    load: str = field(default_factory=load)

    @property
    def met(self) -> bool | None:
        if self.bound is None:
            return None
        return self.value.median <= self.bound if self.direction == "at most" else self.value.median >= self.bound

    @property
    def verdict(self) -> str:
        return {None: "", True: "met", False: "not met"}[self.met]

    @property
    def bound_text(self) -> str:
        return "" if self.bound is None else f"{'≤' if self.direction == 'at most' else '≥'} {number(self.bound)}"


def number(value: float) -> str:
    """Three digits that matter, thousands apart: 0.731, 12.4, 150,312."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if size < 1 else f"{value:.2f}" if size < 10 else f"{value:.1f}"


def line(figure: Figure) -> str:
    """`search: native / bare faiss, median: 1.18 (1.15–1.22) ×   bound ≤ 1.30: met   [load …]`"""
    spread = f"({number(figure.value.low)}–{number(figure.value.high)})"
    text = f"{figure.benchmark}: {figure.what}: {number(figure.value.median)} {spread} {figure.unit}"
    if figure.bound is not None:
        text += f"   bound {figure.bound_text}: {figure.verdict}"
    return f"{text}{'   ' + figure.note if figure.note else ''}   [load {figure.load}]"


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def write(figures: Sequence[Figure], folder: Path) -> None:
    """Write `results.md` and `results.csv`, and `bounds.png` of every figure that has a bound."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_markdown(figures, folder / "results.md")
    _write_csv(figures, folder / "results.csv")
    if bounded := [f for f in figures if f.bound]:
        _plot_bounds(bounded, folder / "bounds.png")


def _write_markdown(figures: Iterable[Figure], path: Path) -> None:
    rows = [
        "| benchmark | what | median | low | high | unit | bound | | note | load |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | --- | --- | --- |",
    ]
    for f in figures:
        value = f"{number(f.value.median)} | {number(f.value.low)} | {number(f.value.high)}"
        rows.append(
            f"| {f.benchmark} | {f.what} | {value} | {f.unit} | {f.bound_text} | {f.verdict} | {f.note} | {f.load} |"
        )
    path.write_text(f"{machine()}\n\n" + "\n".join(rows) + "\n", encoding="utf-8")


def _write_csv(figures: Iterable[Figure], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(
            ["benchmark", "what", "median", "low", "high", "unit", "direction", "bound", "verdict", "note", "load"]
        )
        for f in figures:
            v = f.value
            out.writerow(
                [f.benchmark, f.what, v.median, v.low, v.high, f.unit, f.direction, f.bound, f.verdict, f.note, f.load]
            )


def _plot_bounds(figures: Sequence[Figure], path: Path) -> None:
    """Each figure as a share of its bound, so that all fit one axis; left of the line is good."""
    shares = [
        f.value.median / f.bound if f.direction == "at most" else f.bound / f.value.median for f in figures if f.bound
    ]
    figure, axes = _pyplot().subplots(figsize=(9, 1 + 0.45 * len(figures)))
    colours = ["tab:green" if f.met else "tab:red" for f in figures]
    axes.barh([f"{f.benchmark}: {f.what}" for f in figures], shares, color=colours)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("share of the bound used (less is better)")
    axes.invert_yaxis()
    _save(figure, path)


def plot_latencies(series: dict[str, Floats], title: str, path: Path) -> None:
    """The distribution of latencies (seconds) of each side: how many calls were answered within x milliseconds."""
    figure, axes = _pyplot().subplots(figsize=(7, 4))
    for name, seconds in series.items():
        axes.ecdf(seconds * 1000, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of calls")
    axes.set_title(title)
    axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)


def plot_trade(curves: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str, path: Path) -> None:
    """Lines through (x, y) pairs, one a name, y on a logarithmic axis."""
    figure, axes = _pyplot().subplots(figsize=(9, 6))
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axes.set_yscale("log")
    axes.set_xlim(left=0.7)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    _pyplot().close(figure)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt
