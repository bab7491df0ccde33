"""The benchmarks' own promises: sides in turn, honest verdicts, the same data every time."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from bench.data import Source, nearest
from bench.measure import Spread, compare
from bench.report import Figure, line, number, write


def test_sides_are_measured_in_turn_and_the_order_alternates() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    measured = compare(lambda: side("a", 3.0), lambda: side("b", 2.0), rounds=5)
    assert "".join(order) == "abbaabbaab"
    assert measured.ratio == Spread(1.5, 1.5, 1.5)


def test_fewer_than_five_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        compare(lambda: 1.0, lambda: 1.0, rounds=4)


def test_a_figure_says_whether_its_bound_is_met() -> None:
    value = Spread.of([1.0, 1.2, 1.4])
    assert Figure("search", "ratio", value, "×", 1.3).verdict == "met"
    assert Figure("search", "ratio", value, "×", 1.1).verdict == "not met"
    assert Figure("insert", "rate", value, "rows/s", 1.3, "at least").verdict == "not met"
    assert Figure("insert", "rate", value, "rows/s").verdict == ""
    assert "1.20 (1.00–1.40) ×   bound ≤ 1.30: met" in line(Figure("search", "ratio", value, "×", 1.3))


@pytest.mark.parametrize(("value", "text"), [(0.7314, "0.731"), (1.2, "1.20"), (12.44, "12.4"), (150_312.2, "150,312")])
def test_numbers_have_the_digits_that_matter(value: float, text: str) -> None:
    assert number(value) == text


def test_figures_are_written_as_markdown_csv_and_plot(tmp_path: Path) -> None:
    write(
        [Figure("count", "one", Spread.of([2.0]), "ms", 5.0), Figure("count", "other", Spread.of([1.0]), "ms")],
        tmp_path,
    )
    assert "| count | one | 2.00 | 2.00 | 2.00 | ms | ≤ 5.00 | met |" in (tmp_path / "results.md").read_text()
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["met", ""]
    assert (tmp_path / "bounds.png").stat().st_size > 0


def test_drawn_vectors_are_the_same_every_time_and_for_every_count() -> None:
    few, many = Source(dim=16).rows(100), Source(dim=16).rows(70_000)
    np.testing.assert_array_equal(few, many[:100])
    assert many.dtype == np.float32
    assert not np.array_equal(Source(dim=16).queries(100), few)


def test_queries_from_a_file_are_none_of_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "vectors.npy"
    np.save(file, np.arange(6_000 * 2, dtype=np.float16).reshape(6_000, 2))
    source = Source(dim=2, file=file)
    assert source.rows(1_000).shape == (1_000, 2)
    np.testing.assert_array_equal(source.queries(10), np.load(file)[-10:].astype(np.float32))
    with pytest.raises(ValueError, match="lower --scale"):
        source.rows(1_001)


def test_exact_neighbours_are_exact() -> None:
    rows = np.array([[0, 0], [1, 0], [3, 0]], np.float32)
    distances, found = nearest(rows, np.array([[0.9, 0]], np.float32), 2)
    assert found.tolist() == [[1, 0]]
    np.testing.assert_allclose(distances, [[0.01, 0.81]], atol=1e-6)
