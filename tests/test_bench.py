"""The benchmarks' own promises: sides in turn, honest verdicts, the same data every time."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from bench import database, searching
from bench.context import Context
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


def small(folder: Path, scale: float) -> Context:
    return Context(folder, folder / "data", rounds=5, scale=scale, source=Source(dim=16), say=lambda text: None)


def test_what_took_long_to_make_is_kept_for_its_size_and_made_again_when_interrupted(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        folder.mkdir()
        if len(made) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(tmp_path, 0.1).prepared("rows", make)
    kept = small(tmp_path, 0.1).prepared("rows", make)
    assert small(tmp_path, 0.1).prepared("rows", make) == kept
    other = small(tmp_path, 0.12).prepared("rows", make)
    assert made == [kept, kept, other]


def test_a_native_search_is_measured_against_the_very_graph_that_it_walks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "QUERIES", 50)
    figures = {f.what: f.value.median for f in searching.quiet(small(tmp_path, 0.01))}
    assert figures["native, recall"] >= figures["bare faiss, recall"] >= 0.95
    assert figures["native / bare faiss, median"] > 0
    assert (tmp_path / "search.png").stat().st_size > 0


def test_rows_of_a_prepared_database_are_counted_and_joined_by_others(tmp_path: Path) -> None:
    vectors = Source(dim=8).rows(1_200)
    database.build(tmp_path / "rows", vectors[:1_100], {})
    with database.opened(tmp_path / "rows") as rows:
        assert rows.dim == 8
        assert rows.segments() == "1,100 rows, 1 of 1 with a graph"
        assert rows.count("group == 3") == (database.groups(1_100) == 3).sum()
        rows.insert(np.arange(1_100, 1_200), vectors[1_100:])
        assert rows.nearest(vectors[1_150], 1, {}).tolist() == [1_150]
        assert rows.nearest_scores(vectors[1_150], 1, {}).tolist() == [0]


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
