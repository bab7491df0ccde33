"""MinHash: a function makes signatures of texts, and a search for a text finds those with much in common with it."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from elanus import Collection, DataType, Field, Function, FunctionType, InvalidParameter, Schema, SchemaMismatch
from elanus.text import minhash, minhash_kernels
from tests.native_case import open_folder

HASHES = 16
FIELDS = (
    Field("id", DataType.INT64, is_primary=True),
    Field("text", DataType.VARCHAR, max_length=2000),
    Field("vector", DataType.FLOAT_VECTOR, dim=2),
)
BITS = Field("bits", DataType.BINARY_VECTOR, dim=32 * HASHES)
WORDS = "fox dog quick lazy brown jumps over moon river stone".split()


def function(**params: str) -> Function:
    return Function("signed", FunctionType.MINHASH, ("text",), ("bits",), params)


def test_hashes_are_those_of_their_names() -> None:
    data = np.random.default_rng(3).integers(0, 256, 400, np.uint8)
    for length in (*range(70), 119, 120, 127, 128, 300):
        part = data[5 : 5 + length].tobytes()
        assert minhash_kernels.xxh64(data, 5, length) == xxhash.xxh64_intdigest(part)
        assert minhash_kernels.sha1(data, 5, length) == int.from_bytes(hashlib.sha1(part).digest()[:4], "little")


def runs(text: str, params: dict[str, str]) -> list[bytes]:
    size = int(params.get("shingle_size", 3))
    parts = [bytes([b]) for b in text.encode()] if params.get("token_level") == "char" else text.lower().split()
    spelled = [part if isinstance(part, bytes) else part.encode() for part in parts]
    return [b"".join(spelled[i : i + size]) for i in range(max(1, len(spelled) - size + 1))] if spelled else []


def signature(text: str, params: dict[str, str]) -> list[int]:
    """One text's, a run at a time."""
    factors, terms = minhash._permutations(HASHES, int(params.get("seed", 1234)))
    least = [0xFFFFFFFF] * HASHES
    for run in runs(text, params):
        if params.get("hash_function") == "sha1":
            found = int.from_bytes(hashlib.sha1(run).digest()[:4], "little")
        else:
            found = xxhash.xxh64_intdigest(run) & 0xFFFFFFFF
        for i, (a, b) in enumerate(zip(factors.tolist(), terms.tolist(), strict=True)):
            least[i] = min(least[i], ((a * found + b) % 2**64 % (2**61 - 1)) & 0xFFFFFFFF)
    return least


def check(collection: Collection, texts: dict[int, str], params: dict[str, str]) -> None:
    """Every text's score is the share of hashes in which its signature agrees with the query's."""
    signatures = {key: signature(text, params) for key, text in texts.items()}
    for query in (texts[1], "quick brown fox over the moon", "unheard of words"):
        asked = signature(query, params)
        shares = {key: sum(map(int.__eq__, asked, held)) / HASHES for key, held in signatures.items()}
        (hits,) = collection.search(query, field="bits", limit=1000)
        wanted = {key: share for key, share in shares.items() if share}
        assert {hit["id"]: hit["distance"] for hit in hits} == pytest.approx(wanted)
        assert [hit["distance"] for hit in hits] == sorted(wanted.values(), reverse=True)
    stored = collection.query("id == 1", output_fields=["bits"]).column("bits")[0].as_py()
    assert np.array(stored, np.uint8).view(np.uint32).tolist() == signatures[1]


@pytest.mark.parametrize(
    "params", [{}, {"token_level": "char", "shingle_size": "4", "seed": "7"}, {"hash_function": "sha1"}]
)
def test_texts_are_found_by_what_they_have_in_common_in_every_state(tmp_path: Path, params: dict[str, str]) -> None:
    chance = random.Random(4)
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("texts", Schema((*FIELDS, BITS), functions=(function(**params),)))
    texts = {key: " ".join(chance.choices(WORDS, k=chance.randint(1, 20))) for key in range(40)}
    texts[7] = ""

    def row(key: int) -> dict[str, Any]:
        return {"id": key, "text": texts[key], "vector": [1.0, 0.0]}

    collection.insert([row(key) for key in texts])
    check(collection, texts, params)
    collection.flush()
    collection.delete([3, 4])
    texts = {key: text for key, text in texts.items() if key not in (3, 4)}
    texts |= {5: "a quick brown fox", 6: "a dog over the moon"}
    collection.upsert([row(5)])
    collection.upsert([{"id": 6, "text": texts[6]}], partial=True)
    check(collection, texts, params)
    collection.compact()
    db.close()
    db = open_folder(tmp_path / "db")
    check(db.collection("texts"), texts, params)
    db.close()


def test_a_function_that_is_added_signs_rows_that_are_there(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    collection = db.create_collection("texts", Schema(FIELDS))
    texts = {key: " ".join(WORDS[key : key + 5]) for key in range(6)}
    rows = [{"id": key, "text": text, "vector": [1.0, 0.0]} for key, text in texts.items()]
    collection.insert(rows[:4])
    collection.flush()
    collection.insert(rows[4:])
    collection.add_function(function(num_hashes="16"), BITS)
    check(collection, texts, {})
    collection.flush()
    collection.compact()
    check(collection, texts, {})
    collection.drop_function("signed")
    assert [field.name for field in collection.describe().schema.fields] == ["id", "text", "vector"]
    db.close()


CASES = [
    ({"num_hashes": "x"}, "param num_hashes:x is not a number"),
    ({"num_hashes": "0"}, "param num_hashes:0 must be positive"),
    ({"num_hashes": "8"}, "dim 512 does not match expected dim 256"),
    ({"shingle_size": "-1"}, "param shingle_size:-1 must be positive"),
    ({"hash_function": "md5"}, "unknown hash function: md5"),
    ({"token_level": "line"}, "unknown token_level: line"),
    ({"seed": "?"}, "param seed:\\? is not a number"),
]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    db = open_folder(tmp_path / "db")
    for params, reason in CASES:
        with pytest.raises(InvalidParameter, match=reason):
            db.create_collection("c", Schema((*FIELDS, BITS), functions=(function(**params),)))
    wrong = Field("bits", DataType.FLOAT_VECTOR, dim=4)
    with pytest.raises(InvalidParameter, match="MinHash function output field must be a BinaryVector field"):
        db.create_collection("c", Schema((*FIELDS, wrong), functions=(function(),)))
    collection = db.create_collection("c", Schema((*FIELDS, BITS), functions=(function(),)))
    with pytest.raises(SchemaMismatch, match="attempt to insert minhash function output field"):
        collection.insert([{"id": 1, "text": "fox", "vector": [1.0, 0.0], "bits": bytes(64)}])
    with pytest.raises(InvalidParameter, match="please provide varchar/text for MinHash Function based search"):
        collection.search(bytes(64), field="bits")
    for kind, metric, reason in (
        ("MINHASH_LSH", "HAMMING", "index metric type of MinHash function output field must be MHJACCARD, got HAMMING"),
        ("BIN_FLAT", "MHJACCARD", "do not go together"),
    ):
        with pytest.raises(InvalidParameter, match=reason):
            collection.create_index("bits", kind, metric=metric)
    collection.create_index("bits", "MINHASH_LSH", params={"mh_lsh_band": 8, "mh_element_bit_width": 32})
    assert collection.list_indexes()[0].metric == "MHJACCARD"
    db.close()
