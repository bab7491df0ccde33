"""Haystack: `MilvusDocumentStore` filled and asked by pipelines of embedders, a writer and a retriever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haystack import Document, Pipeline, component
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy
from milvus_haystack import MilvusDocumentStore, MilvusEmbeddingRetriever

from clients.embedding import embed
from clients.passages import BY_KEY, PASSAGES, Passage
from clients.scenario import URI, run


@component
class DocumentEmbedder:
    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        return {"documents": [replace(each, embedding=embed(each.content or "")) for each in documents]}


@component
class QuestionEmbedder:
    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        return {"embedding": embed(text)}


def document(passage: Passage, **metadata: Any) -> Document:
    return Document(
        id=passage.key, content=passage.text, meta={"topic": passage.topic, "year": passage.year, **metadata}
    )


def store(drop_old: bool = True, **options: Any) -> MilvusDocumentStore:
    return MilvusDocumentStore(collection_name="documents", connection_args={"uri": URI}, drop_old=drop_old, **options)


def write(into: MilvusDocumentStore, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
    """By a pipeline, as documents are indexed in Haystack."""
    indexing = Pipeline()
    indexing.add_component("embedder", DocumentEmbedder())
    indexing.add_component("writer", DocumentWriter(document_store=into, policy=policy))
    indexing.connect("embedder.documents", "writer.documents")
    written: int = indexing.run({"embedder": {"documents": documents}})["writer"]["documents_written"]
    return written


def filled(**options: Any) -> MilvusDocumentStore:
    made = store(**options)
    assert write(made, [document(passage) for passage in PASSAGES]) == len(PASSAGES)
    return made


def ask(
    of: MilvusDocumentStore, question: str, top_k: int = 12, filters: dict[str, Any] | None = None
) -> list[Document]:
    """By a pipeline, as questions are asked in Haystack."""
    querying = Pipeline()
    querying.add_component("embedder", QuestionEmbedder())
    querying.add_component("retriever", MilvusEmbeddingRetriever(document_store=of, top_k=top_k, filters=filters))
    querying.connect("embedder.embedding", "retriever.query_embedding")
    found: list[Document] = querying.run({"embedder": {"text": question}})["retriever"]["documents"]
    return found


def ids(documents: list[Document]) -> list[str]:
    return [each.id for each in documents]


def where(field: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": f"meta.{field}", "operator": operator, "value": value}


def both(*conditions: dict[str, Any], operator: str = "AND") -> dict[str, Any]:
    return {"operator": operator, "conditions": list(conditions)}


def documents_are_found_with_content_metadata_and_score() -> None:
    made = filled()
    assert made.count_documents() == len(PASSAGES)
    found = ask(made, BY_KEY["heron"].text, top_k=3)
    assert ids(found)[0] == "heron"
    assert len(found) == 3
    assert found[0].content == BY_KEY["heron"].text
    assert found[0].meta == {"topic": "birds", "year": 2020}
    assert abs((found[0].score or 0) - 1) < 1e-5, found[0].score
    assert max(abs(a - b) for a, b in zip(found[0].embedding or [], embed(BY_KEY["heron"].text), strict=True)) < 1e-6
    scores = [each.score or 0.0 for each in found]
    assert scores == sorted(scores, reverse=True), scores


def other_metrics_and_index_kinds_are_taken() -> None:
    for index, search in (
        ({"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 16, "efConstruction": 64}}, {"ef": 32}),
        ({"index_type": "IVF_FLAT", "metric_type": "IP", "params": {"nlist": 4}}, {"nprobe": 4}),
        ({"index_type": "FLAT", "metric_type": "L2", "params": {}}, {}),
    ):
        made = filled(index_params=index, search_params={"metric_type": index["metric_type"], "params": search})
        best, *_ = ask(made, BY_KEY["oak"].text, top_k=2)
        assert best.id == "oak"
        assert abs((best.score or 0) - 1) < 1e-5, (index, best.score)


def filters_choose_documents() -> None:
    made = filled()

    def matching(filters: dict[str, Any]) -> list[str]:
        found = sorted(ids(made.filter_documents(filters)))
        assert sorted(ids(ask(made, "river", filters=filters))) == found
        return found

    assert matching(where("topic", "==", "trees")) == ["birch", "oak", "pine", "willow"]
    assert matching(where("year", ">", 2020)) == ["flint", "pine"]
    assert matching(where("year", "in", [1998, 2003])) == ["basalt", "eagle", "oak", "owl"]
    assert matching(where("topic", "not in", ["birds", "stones"])) == ["birch", "oak", "pine", "willow"]
    assert matching(both(where("topic", "!=", "birds"), where("year", "<=", 1999))) == ["granite", "oak"]
    either = both(where("topic", "==", "birds"), where("year", ">=", 2021), operator="OR")
    assert matching(either) == ["eagle", "flint", "heron", "owl", "pine", "swift"]
    assert matching(both(either, operator="NOT")) == ["basalt", "birch", "granite", "oak", "slate", "willow"]
    assert matching(both(where("year", "<", 2000), either)) == ["eagle"]
    assert matching({"field": "id", "operator": "in", "value": ["owl", "nothing"]}) == ["owl"]
    assert matching(where("topic", "==", "clouds")) == []
    assert len(made.filter_documents()) == len(PASSAGES)


def filters_at_the_question_replace_those_of_the_retriever() -> None:
    retriever = MilvusEmbeddingRetriever(document_store=filled(), filters=where("topic", "==", "birds"))
    assert {each.meta["topic"] for each in retriever.run(embed("river"))["documents"]} == {"birds"}
    found = retriever.run(embed("river"), top_k=2, filters=where("topic", "==", "stones"))["documents"]
    assert len(found) == 2
    assert {each.meta["topic"] for each in found} == {"stones"}


def documents_are_overwritten_where_that_is_the_policy() -> None:
    made = filled()
    changed = Document(id="owl", content="Penguins march across the ice", meta={"topic": "birds", "year": 2024})
    assert write(made, [changed], DuplicatePolicy.OVERWRITE) == 1
    assert made.count_documents() == len(PASSAGES)
    found = ask(made, "penguins march", top_k=1)
    assert (found[0].id, found[0].content, found[0].meta["year"]) == ("owl", changed.content, 2024)
    assert made.filter_documents(where("year", "==", 2003))[0].id == "basalt"


def documents_are_deleted() -> None:
    made = filled()
    made.delete_documents(["heron", "oak", "nothing"])
    assert made.count_documents() == len(PASSAGES) - 2
    assert not {"heron", "oak"} & set(ids(ask(made, BY_KEY["heron"].text)))


def metadata_may_differ_and_hold_lists_and_objects() -> None:
    made = filled()
    write(
        made,
        [
            document(
                Passage("sparrow", "A sparrow bathes in dust", "birds", 2001),
                tags=["small", "grey"],
                rare=False,
                weight=0.03,
            )
        ],
    )
    (found,) = made.filter_documents(both(where("rare", "==", False), where("weight", "<", 0.1)))
    assert found.meta == {"topic": "birds", "year": 2001, "tags": ["small", "grey"], "rare": False, "weight": 0.03}


def metadata_may_be_fields_of_a_schema() -> None:
    made = filled(enable_dynamic_field=False)
    fields = {field["name"] for field in made.client.describe_collection("documents")["fields"]}
    assert {"topic", "year"} < fields, fields
    found = ask(made, BY_KEY["slate"].text, filters=both(where("topic", "==", "stones"), where("year", ">", 2000)))
    assert sorted(ids(found)) == ["basalt", "flint", "slate"]
    assert found[0].id == "slate"


def a_document_without_embedding_is_kept() -> None:
    made = filled()
    lone = Document(id="moss", content="Moss grows on the north side")
    assert made.write_documents([replace(lone, embedding=[999.0] * 64)], DuplicatePolicy.OVERWRITE) == 1
    (found,) = made.filter_documents({"field": "id", "operator": "==", "value": "moss"})
    assert (found.content, found.embedding) == (lone.content, None)


def a_store_is_opened_again_from_what_a_pipeline_saved() -> None:
    filled()
    querying = Pipeline()
    querying.add_component("retriever", MilvusEmbeddingRetriever(document_store=store(drop_old=False), top_k=1))
    again = Pipeline.loads(querying.dumps(), allowed_modules=["milvus_haystack.*"])
    found = again.run({"retriever": {"query_embedding": embed(BY_KEY["flint"].text)}})["retriever"]["documents"]
    assert ids(found) == ["flint"]


def drop_old_begins_anew() -> None:
    filled()
    fresh = store()
    assert fresh.count_documents() == 0
    assert ask(fresh, "river") == []
    write(fresh, [document(BY_KEY["pine"])])
    assert ids(ask(fresh, "river")) == ["pine"]


if __name__ == "__main__":
    run(
        ("milvus-haystack", "haystack-ai", "pymilvus"),
        (
            documents_are_found_with_content_metadata_and_score,
            other_metrics_and_index_kinds_are_taken,
            filters_choose_documents,
            filters_at_the_question_replace_those_of_the_retriever,
            documents_are_overwritten_where_that_is_the_policy,
            documents_are_deleted,
            metadata_may_differ_and_hold_lists_and_objects,
            metadata_may_be_fields_of_a_schema,
            a_document_without_embedding_is_kept,
            a_store_is_opened_again_from_what_a_pipeline_saved,
            drop_old_begins_anew,
        ),
    )
