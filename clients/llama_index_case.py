"""LlamaIndex: `MilvusVectorStore` under a `VectorStoreIndex`, its retrievers and a query engine."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.vector_stores.milvus import MilvusVectorStore
from pymilvus import DataType

from clients.embedding import DIM, embed
from clients.passages import BY_KEY, PASSAGES, Passage
from clients.scenario import URI, run


class WordHashes(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embed(query)


def vector_store(overwrite: bool = True, **options: Any) -> MilvusVectorStore:
    options = {"similarity_metric": "COSINE", **options}
    return MilvusVectorStore(uri=URI, collection_name="nodes", dim=DIM, overwrite=overwrite, **options)


def document(passage: Passage) -> Document:
    """Its metadata are not embedded, so that a question that repeats its text has its vector."""
    metadata = {"topic": passage.topic, "year": passage.year}
    return Document(
        text=passage.text, id_=passage.key, metadata=metadata, excluded_embed_metadata_keys=["topic", "year"]
    )


def filled(**options: Any) -> VectorStoreIndex:
    storage = StorageContext.from_defaults(vector_store=vector_store(**options))
    return VectorStoreIndex.from_documents(
        [document(passage) for passage in PASSAGES],
        storage_context=storage,
        embed_model=WordHashes(),
        transformations=[SentenceSplitter(chunk_size=256, chunk_overlap=0)],
    )


def node(passage: Passage) -> TextNode:
    return TextNode(
        id_=f"node-{passage.key}",
        text=passage.text,
        embedding=embed(passage.text),
        metadata={"topic": passage.topic, "year": passage.year},
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=passage.key)},
    )


def keys(found: list[NodeWithScore]) -> list[str]:
    return [str(each.node.ref_doc_id) for each in found]


def where(*conditions: tuple[str, str, Any], condition: str = "and") -> MetadataFilters:
    return MetadataFilters(
        filters=[MetadataFilter(key=key, operator=FilterOperator(op), value=value) for key, op, value in conditions],
        condition=FilterCondition(condition),
    )


def documents_are_found_with_text_metadata_and_score() -> None:
    found = filled().as_retriever(similarity_top_k=3).retrieve(BY_KEY["heron"].text)
    assert keys(found)[0] == "heron", found
    assert len(found) == 3
    assert found[0].node.get_content() == BY_KEY["heron"].text
    assert found[0].node.metadata == {"topic": "birds", "year": 2020}
    assert abs((found[0].score or 0) - 1) < 1e-5, found[0].score
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True), scores


def other_metrics_and_index_kinds_are_taken() -> None:
    for metric, config in (
        ("IP", {"index_type": "HNSW", "M": 16, "efConstruction": 64}),
        ("L2", {"index_type": "IVF_FLAT", "nlist": 4}),
    ):
        found = (
            filled(similarity_metric=metric, index_config=config)
            .as_retriever(similarity_top_k=2)
            .retrieve(BY_KEY["oak"].text)
        )
        assert keys(found)[0] == "oak", found
        assert abs((found[0].score or 0) - (1 if metric == "IP" else 0)) < 1e-5, found[0].score


def metadata_filters_choose_nodes() -> None:
    index = filled()

    def matching(filters: MetadataFilters) -> list[str]:
        return sorted(keys(index.as_retriever(similarity_top_k=12, filters=filters).retrieve("river")))

    assert matching(where(("topic", "==", "stones"), ("year", ">=", 2015))) == ["flint", "slate"]
    assert matching(where(("year", "in", [1998, 2003]))) == ["basalt", "eagle", "oak", "owl"]
    assert matching(where(("topic", "nin", ["birds", "stones"]))) == ["birch", "oak", "pine", "willow"]
    assert matching(where(("topic", "!=", "birds"), ("year", "<", 2000))) == ["granite", "oak"]
    assert matching(where(("topic", "==", "birds"), ("year", ">", 2020), condition="or")) == [
        "eagle", "flint", "heron", "owl", "pine", "swift",
    ]  # fmt: skip
    assert matching(where(("text", "text_match", "Basalt flows"))) == ["basalt"]
    nested = MetadataFilters(
        filters=[where(("topic", "==", "trees")), where(("year", "==", 1998), ("year", "==", 2021), condition="or")],
        condition=FilterCondition.AND,
    )
    assert matching(nested) == ["oak", "pine"]
    assert matching(where(("topic", "==", "clouds"))) == []


def a_filter_in_milvus_words_is_passed_on() -> None:
    retriever = filled().as_retriever(
        similarity_top_k=12, vector_store_kwargs={"string_expr": 'topic == "birds" and year % 2 == 0'}
    )
    assert sorted(keys(retriever.retrieve("river"))) == ["eagle", "heron"]


def fields_of_a_schema_can_be_filtered() -> None:
    index = filled(
        scalar_field_names=["topic", "year"],
        scalar_field_types=[DataType.VARCHAR, DataType.INT64],
        output_fields=["topic", "year"],
    )
    found = index.as_retriever(similarity_top_k=12, filters=where(("year", ">", 2019))).retrieve("river")
    assert {each.node.get_content() for each in found} == {BY_KEY[key].text for key in ("flint", "heron", "pine")}, (
        found
    )
    assert {each.node.metadata["topic"] for each in found} == {"stones", "birds", "trees"}


def a_query_engine_answers_from_what_was_retrieved() -> None:
    engine = filled().as_query_engine(llm=MockLLM(), similarity_top_k=2, filters=where(("topic", "==", "trees")))
    answer = engine.query("which roots hold the bank of the river")
    assert keys(answer.source_nodes)[0] == "willow"
    assert BY_KEY["willow"].text in str(answer)


def marginal_relevance_avoids_what_says_the_same() -> None:
    index = filled()
    index.insert(
        Document(
            text=BY_KEY["eagle"].text,
            id_="copy",
            metadata={"topic": "birds", "year": 2000},
            excluded_embed_metadata_keys=["topic", "year"],
        )
    )
    nearest = keys(index.as_retriever(similarity_top_k=2).retrieve(BY_KEY["eagle"].text))
    assert sorted(nearest) == ["copy", "eagle"], nearest
    retriever = index.as_retriever(
        similarity_top_k=2,
        vector_store_query_mode="mmr",
        vector_store_kwargs={"mmr_threshold": 0.1, "mmr_prefetch_k": 12},
    )
    varied = keys(retriever.retrieve(BY_KEY["eagle"].text))
    assert len({"eagle", "copy"} & set(varied)) == 1, varied


def a_document_is_deleted_and_inserted_again() -> None:
    index = filled()
    index.delete_ref_doc("owl")
    assert "owl" not in keys(index.as_retriever(similarity_top_k=12).retrieve(BY_KEY["owl"].text))
    index.insert(Document(text="Penguins march across the ice", id_="owl", metadata={"topic": "birds", "year": 2024}))
    found = index.as_retriever(similarity_top_k=12, filters=where(("year", "==", 2024))).retrieve("penguins")
    assert [each.node.get_content() for each in found] == ["Penguins march across the ice"]


def nodes_are_fetched_and_deleted_by_id_and_by_filter() -> None:
    store = vector_store()
    assert store.add([node(passage) for passage in PASSAGES]) == [f"node-{p.key}" for p in PASSAGES]
    found = store.get_nodes(node_ids=["node-owl", "node-absent"])
    assert [each.node_id for each in found] == ["node-owl"]
    assert max(abs(a - b) for a, b in zip(found[0].embedding or [], embed(BY_KEY["owl"].text), strict=True)) < 1e-6
    assert len(store.get_nodes(filters=where(("topic", "==", "trees")))) == 4
    store.delete_nodes(node_ids=["node-owl", "node-oak"])
    store.delete_nodes(filters=where(("topic", "==", "stones")))
    left = store.query(VectorStoreQuery(query_embedding=embed("river"), similarity_top_k=12))
    assert sorted(left.ids or []) == [
        "node-birch",
        "node-eagle",
        "node-heron",
        "node-pine",
        "node-swift",
        "node-willow",
    ]


def upsert_mode_replaces_nodes() -> None:
    store = vector_store(upsert_mode=True)
    store.add([node(passage) for passage in PASSAGES])
    changed = node(BY_KEY["owl"])
    changed.metadata["year"] = 2024
    store.add([changed])
    assert len(store.get_nodes(filters=where(("year", ">", 1900)))) == len(PASSAGES)
    assert [each.node_id for each in store.get_nodes(filters=where(("year", "==", 2024)))] == ["node-owl"]


def a_search_is_bound_to_documents_and_nodes() -> None:
    store = vector_store()
    store.add([node(passage) for passage in PASSAGES], force_flush=True)
    query = VectorStoreQuery(query_embedding=embed("river"), similarity_top_k=12, doc_ids=["oak", "pine"])
    assert sorted(store.query(query).ids or []) == ["node-oak", "node-pine"]
    query = VectorStoreQuery(query_embedding=embed("river"), similarity_top_k=12, node_ids=["node-slate"])
    assert store.query(query).ids == ["node-slate"]


def a_store_is_opened_again_and_cleared() -> None:
    filled()
    again = VectorStoreIndex.from_vector_store(vector_store(overwrite=False), embed_model=WordHashes())
    assert keys(again.as_retriever(similarity_top_k=1).retrieve(BY_KEY["flint"].text)) == ["flint"]
    fresh = vector_store(overwrite=True)
    assert fresh.query(VectorStoreQuery(query_embedding=embed("river"), similarity_top_k=12)).ids == []
    fresh.clear()
    assert not fresh.client.has_collection("nodes")


def coroutines_do_the_same() -> None:
    async def all_of_it() -> None:
        store = vector_store()
        await store.async_add([node(passage) for passage in PASSAGES])
        query = VectorStoreQuery(
            query_embedding=embed(BY_KEY["swift"].text), similarity_top_k=1, mode=VectorStoreQueryMode.DEFAULT
        )
        assert (await store.aquery(query)).ids == ["node-swift"]
        await store.adelete("swift")
        await store.adelete_nodes(filters=where(("topic", "==", "stones")))
        assert [each.node_id for each in await store.aget_nodes(filters=where(("year", "in", [2011, 2022])))] == [
            "node-willow"
        ]
        await store.aclear()
        assert not store.client.has_collection("nodes")

    asyncio.run(all_of_it())


if __name__ == "__main__":
    run(
        ("llama-index-vector-stores-milvus", "llama-index-core", "pymilvus"),
        (
            documents_are_found_with_text_metadata_and_score,
            other_metrics_and_index_kinds_are_taken,
            metadata_filters_choose_nodes,
            a_filter_in_milvus_words_is_passed_on,
            fields_of_a_schema_can_be_filtered,
            a_query_engine_answers_from_what_was_retrieved,
            marginal_relevance_avoids_what_says_the_same,
            a_document_is_deleted_and_inserted_again,
            nodes_are_fetched_and_deleted_by_id_and_by_filter,
            upsert_mode_replaces_nodes,
            a_search_is_bound_to_documents_and_nodes,
            a_store_is_opened_again_and_cleared,
            coroutines_do_the_same,
        ),
    )
