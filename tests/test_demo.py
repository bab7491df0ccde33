"""The demonstration's own promises: enough text on any machine, vectors that find what is meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demo.embedding import WordStatistics, stem, words_of
from demo.library import Library
from demo.passages import MAX_BYTES, MIN_WORDS, Passage, collect


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    return collect()


@pytest.fixture(scope="module")
def embedded(passages: list[Passage]) -> tuple[WordStatistics, np.ndarray]:
    embedder = WordStatistics(dim=128)
    return embedder, embedder.fit(passages)


def test_the_standard_library_gives_over_10_000_distinct_passages(passages: list[Passage]) -> None:
    assert len(passages) > 10_000
    assert len({p.text for p in passages}) == len(passages)
    assert {p.kind for p in passages} >= {"module", "class", "function", "method"}
    assert all(len(p.text.encode()) <= MAX_BYTES and len(p.text.split()) >= MIN_WORDS for p in passages)


def test_a_passage_is_known_by_module_kind_and_name(passages: list[Passage]) -> None:
    copytree = next(p for p in passages if p.title == "shutil.copytree")
    assert (copytree.module, copytree.kind, copytree.name) == ("shutil", "function", "copytree")
    assert any(p.kind == "method" and p.title == "builtins.list.sort" for p in passages)


def test_vectors_have_length_one(passages: list[Passage], embedded: tuple[WordStatistics, np.ndarray]) -> None:
    _, vectors = embedded
    assert vectors.shape == (len(passages), 128)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("copy a directory tree", "shutil.copytree"),
        ("How do I sort a list in descending order?", "builtins.list.sort"),
        ("pick random elements without repetition", "random.Random.sample"),
    ],
)
def test_a_question_finds_what_it_is_about(
    passages: list[Passage], embedded: tuple[WordStatistics, np.ndarray], question: str, title: str
) -> None:
    embedder, vectors = embedded
    nearest = np.argsort(vectors @ embedder.embed([question])[0])[::-1][:10]
    assert title in {passages[i].title for i in nearest}


def test_the_library_answers_with_recall_and_the_same_after_opening_again(
    passages: list[Passage], embedded: tuple[WordStatistics, np.ndarray], tmp_path: Path
) -> None:
    embedder, vectors = embedded
    few, near = passages[::2], vectors[::2]
    questions = ["copy a directory tree", "sort a list"]
    steps: list[tuple[int, int]] = []
    library = Library.create(tmp_path / "docs.elanus", dim=128)
    library.add(few, near, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (len(few), len(few))
    library.build_index()
    assert "graph" in library.plan(near[0], 3)
    assert library.recall(near, embedder, few, lambda done, total: None).share >= 0.95
    methods, _ = library.search(near[0], 5, 'kind == "method"')
    assert [p.kind for p, _ in methods] == ["method"] * 5
    assert library.count('kind == "method"')[0] == sum(p.kind == "method" for p in few)
    answers = library.answers(embedder, questions)
    library.close()
    library = Library.open(tmp_path / "docs.elanus")
    assert library.answers(embedder, questions) == answers
    assert library.get(len(few) - 1)[0] == few[-1]
    library.close()


def test_a_question_without_a_known_word_still_has_a_direction(embedded: tuple[WordStatistics, np.ndarray]) -> None:
    embedder, _ = embedded
    assert np.linalg.norm(embedder.embed(["xyzzy"])[0]) == pytest.approx(1)


def test_words_are_split_and_stemmed() -> None:
    assert words_of("readLines_into HTTPServer") == ["read", "lines", "into", "http", "server"]
    assert stem("sorting") == stem("sorted") == stem("sorts") == stem("sort")
