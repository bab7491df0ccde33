"""LangChain: `langchain_milvus.Milvus`, as its users fill, search, filter, change and replace a vector store."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_milvus import Milvus

from clients.embedding import embed
from clients.passages import BY_KEY, PASSAGES, Passage
from clients.scenario import URI, run


class WordHashes(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return embed(text)


def document(passage: Passage) -> Document:
    return Document(passage.text, metadata={"key": passage.key, "topic": passage.topic, "year": passage.year})


def store(**options: Any) -> Milvus:
    """The passages in a new store, under their keys."""
    return Milvus.from_documents(
        [document(passage) for passage in PASSAGES],
        WordHashes(),
        collection_name="passages",
        connection_args={"uri": URI},
        drop_old=True,
        ids=[passage.key for passage in PASSAGES],
        **options,
    )


def opened() -> Milvus:
    """The store that is there already."""
    return Milvus(WordHashes(), collection_name="passages", connection_args={"uri": URI})


def keys(documents: list[Document]) -> list[str]:
    return [found.metadata["key"] for found in documents]


def documents_are_found_with_their_metadata() -> None:
    found = store().similarity_search("which bird waits for fish in the shallow river", k=2)
    assert keys(found) == ["heron", "eagle"], found
    heron = BY_KEY["heron"]
    assert found[0].page_content == heron.text
    assert found[0].metadata == {"pk": "heron", "key": "heron", "topic": "birds", "year": 2020}


def scores_are_squared_distances_and_the_nearest_is_first() -> None:
    found = store().similarity_search_with_score(BY_KEY["slate"].text, k=12)
    assert found[0][0].metadata["key"] == "slate"
    assert abs(found[0][1]) < 1e-5, found[0]
    scores = [score for _, score in found]
    assert len(scores) == 12
    assert scores == sorted(scores)
    expected = sum(
        (a - b) ** 2 for a, b in zip(embed(BY_KEY["slate"].text), embed(found[5][0].page_content), strict=True)
    )
    assert abs(scores[5] - expected) < 1e-5, (scores[5], expected)


def other_metrics_and_index_kinds_are_taken() -> None:
    for kind, build, search in (
        ("HNSW", {"M": 16, "efConstruction": 64}, {"ef": 32}),
        ("IVF_FLAT", {"nlist": 4}, {"nprobe": 4}),
    ):
        filled = store(
            index_params={"index_type": kind, "metric_type": "COSINE", "params": build},
            search_params={"metric_type": "COSINE", "params": search},
        )
        (best, score), *_ = filled.similarity_search_with_score(BY_KEY["pine"].text, k=3)
        assert best.metadata["key"] == "pine"
        assert abs(score - 1) < 1e-5, score
        relevance = filled.similarity_search_with_relevance_scores(BY_KEY["pine"].text, k=3, score_threshold=0.9)
        assert keys([found for found, _ in relevance]) == ["pine"], relevance


def filters_choose_by_metadata() -> None:
    filled = store()
    found = filled.similarity_search("river", k=12, expr='topic == "trees" and year > 2000')
    assert sorted(keys(found)) == ["birch", "pine", "willow"], found
    assert keys(found)[0] == "willow"
    found = filled.similarity_search("river", k=12, expr='key in ["owl", "oak"] or text like "Basalt%"')
    assert sorted(keys(found)) == ["basalt", "oak", "owl"], found
    assert filled.similarity_search("river", k=12, expr="year < 1900") == []


def dynamic_metadata_may_differ_between_documents() -> None:
    filled = store(enable_dynamic_field=True)
    more = Document(
        "A sparrow bathes in dust",
        metadata={"key": "sparrow", "seen": {"by": "Ada", "times": 3}, "tags": ["small", "grey"]},
    )
    assert filled.add_documents([more], ids=["sparrow"]) == ["sparrow"]
    found = filled.similarity_search("sparrow dust", k=12, expr='seen["times"] >= 3')
    assert keys(found) == ["sparrow"], found
    assert found[0].metadata["seen"] == {"by": "Ada", "times": 3}
    assert found[0].metadata["tags"] == ["small", "grey"]
    assert keys(filled.similarity_search("sparrow dust", k=12, expr='tags[1] == "grey"')) == ["sparrow"]
    assert len(filled.similarity_search("sparrow", k=20)) == 13


def metadata_may_be_one_json_field() -> None:
    filled = store(metadata_field="about")
    found = filled.similarity_search(
        "fish in the river", k=12, expr='about["topic"] == "birds" and about["year"] in [1998, 2020]'
    )
    assert sorted(keys(found)) == ["eagle", "heron"], found


def keys_made_by_the_server_are_returned() -> None:
    filled = Milvus(WordHashes(), collection_name="numbered", connection_args={"uri": URI}, auto_id=True, drop_old=True)
    made = filled.add_texts([p.text for p in PASSAGES], [{"key": p.key} for p in PASSAGES])
    assert len(set(made)) == len(PASSAGES)
    assert filled.get_pks('key == "owl"') == [made[1]]
    assert filled.delete([made[1]])
    assert filled.get_pks('key == "owl"') == []


def documents_are_deleted_by_id_and_by_filter() -> None:
    filled = store()
    assert filled.delete(ids=["heron", "oak"])
    assert "heron" not in keys(filled.similarity_search(BY_KEY["heron"].text, k=12))
    assert filled.delete(expr='topic == "stones"')
    left = filled.similarity_search("river", k=12)
    assert sorted(keys(left)) == ["birch", "eagle", "owl", "pine", "swift", "willow"], left
    assert opened().client.query("passages", output_fields=["count(*)"])[0]["count(*)"] == 6


def a_document_is_replaced_under_its_id() -> None:
    filled = store()
    filled.upsert(
        ["owl"], [Document("Penguins march across the ice", metadata={"key": "owl", "topic": "birds", "year": 2024})]
    )
    found = filled.similarity_search("penguins march", k=1)
    assert (found[0].page_content, found[0].metadata["year"]) == ("Penguins march across the ice", 2024)
    assert len(filled.get_pks('pk == "owl"') or []) == 1
    assert len(filled.similarity_search("river", k=20)) == 12


def documents_are_fetched_by_what_they_hold() -> None:
    filled = store()
    assert sorted(filled.get_pks("year >= 2020") or []) == ["flint", "heron", "pine"]
    found = filled.search_by_metadata('topic == "trees"', limit=3)
    assert len(found) == 3
    assert {each.metadata["topic"] for each in found} == {"trees"}


def a_store_is_opened_again_and_added_to() -> None:
    store()
    again = opened()
    assert keys(again.similarity_search(BY_KEY["flint"].text, k=1)) == ["flint"]
    again.add_texts(["Moss grows on the north side"], [{"key": "moss", "topic": "plants", "year": 2001}], ids=["moss"])
    assert keys(opened().similarity_search("moss north side", k=1)) == ["moss"]


def drop_old_begins_anew() -> None:
    store()
    fresh = Milvus.from_texts(
        ["only this"],
        WordHashes(),
        collection_name="passages",
        connection_args={"uri": URI},
        drop_old=True,
        auto_id=True,
    )
    found = fresh.similarity_search("river", k=12)
    assert [each.page_content for each in found] == ["only this"], found
    fresh.drop()
    assert not fresh.client.has_collection("passages")


def marginal_relevance_avoids_what_says_the_same() -> None:
    filled = store()
    copy = Document(BY_KEY["eagle"].text, metadata={"key": "copy", "topic": "birds", "year": 2000})
    filled.add_documents([copy], ids=["copy"])
    nearest = keys(filled.similarity_search(BY_KEY["eagle"].text, k=2))
    assert sorted(nearest) == ["copy", "eagle"], nearest
    varied = keys(filled.max_marginal_relevance_search(BY_KEY["eagle"].text, k=2, fetch_k=12, lambda_mult=0.1))
    assert len({"eagle", "copy"} & set(varied)) == 1, varied


def a_retriever_stands_in_a_chain() -> None:
    filled = store()
    retriever = filled.as_retriever(search_kwargs={"k": 2, "expr": 'topic == "stones"'})
    chain = {"question": RunnablePassthrough(), "context": retriever} | RunnableLambda(lambda it: keys(it["context"]))
    answer = chain.invoke("columns from a volcano as it cools")
    assert answer[0] == "basalt", answer
    assert {BY_KEY[key].topic for key in answer} == {"stones"}, answer
    varied = filled.as_retriever(search_type="mmr", search_kwargs={"k": 3, "fetch_k": 6, "lambda_mult": 0.5})
    assert "heron" in keys(varied.invoke("heron stands in the shallow river"))


def coroutines_do_the_same() -> None:
    async def all_of_it() -> None:
        filled = await Milvus.afrom_texts(
            [p.text for p in PASSAGES],
            WordHashes(),
            [{"key": p.key, "topic": p.topic, "year": p.year} for p in PASSAGES],
            collection_name="passages",
            connection_args={"uri": URI},
            drop_old=True,
            ids=[p.key for p in PASSAGES],
        )
        found = await filled.asimilarity_search_with_score(BY_KEY["swift"].text, k=1, expr='topic == "birds"')
        assert found[0][0].metadata["key"] == "swift", found
        await filled.adelete(["swift"])
        await filled.aupsert(
            ["owl"], [Document("Penguins march", metadata={"key": "owl", "topic": "birds", "year": 2024})]
        )
        assert keys(await filled.asimilarity_search("penguins march", k=1)) == ["owl"]
        assert await filled.aget_pks('pk == "swift"') == []

    asyncio.run(all_of_it())


def vectors_made_elsewhere_are_stored_and_searched() -> None:
    filled = Milvus(WordHashes(), collection_name="made", connection_args={"uri": URI}, auto_id=True, drop_old=True)
    filled.add_embeddings(
        [p.text for p in PASSAGES], [embed(p.text) for p in PASSAGES], [{"key": p.key} for p in PASSAGES]
    )
    assert keys(filled.similarity_search_by_vector(embed(BY_KEY["birch"].text), k=1)) == ["birch"]


if __name__ == "__main__":
    run(
        ("langchain-milvus", "langchain-core", "pymilvus"),
        (
            documents_are_found_with_their_metadata,
            scores_are_squared_distances_and_the_nearest_is_first,
            other_metrics_and_index_kinds_are_taken,
            filters_choose_by_metadata,
            dynamic_metadata_may_differ_between_documents,
            metadata_may_be_one_json_field,
            keys_made_by_the_server_are_returned,
            documents_are_deleted_by_id_and_by_filter,
            a_document_is_replaced_under_its_id,
            documents_are_fetched_by_what_they_hold,
            a_store_is_opened_again_and_added_to,
            drop_old_begins_anew,
            marginal_relevance_avoids_what_says_the_same,
            a_retriever_stands_in_a_chain,
            coroutines_do_the_same,
            vectors_made_elsewhere_are_stored_and_searched,
        ),
    )
