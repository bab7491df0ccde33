"""The catalog: every name resolves in one place, ids are never reused, and the newest writer is the only one."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elanus.catalog import state as catalog
from elanus.catalog.catalog import Catalog
from elanus.catalog.rules import CatalogRules
from elanus.catalog.state import CatalogState, CollectionEntry
from elanus.model.errors import (
    AliasExists,
    AliasNameTaken,
    AliasNotFound,
    CollectionLimit,
    CollectionNotFound,
    CorruptData,
    DatabaseLimit,
    DatabaseNotFound,
    ElanusError,
    InvalidDatabaseName,
    InvalidParameter,
    WriterStopped,
)
from elanus.store.base import Store
from elanus.store.disk import LocalDisk
from elanus.store.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(LocalDisk(tmp_path))


@pytest.fixture
def names(store: Store) -> Catalog:
    return Catalog.open(store, epoch=1, timestamp=1)


def reopened(store: Store) -> Catalog:
    return Catalog.read(store)


# --- databases -------------------------------------------------------------------------------------------------------


def test_a_new_catalog_has_the_default_database(names: Catalog) -> None:
    assert list(names.state.databases) == ["default"]
    assert names.database("default").created == 1


def test_databases_are_made_altered_and_dropped(names: Catalog, store: Store) -> None:
    names.add_database("books", 10, {"timezone": "UTC", "a": "1"})
    names.alter_database("books", {"b": "2"}, ["a"])
    assert reopened(store).database("books").properties == {"timezone": "UTC", "b": "2"}
    names.drop_database("books")
    names.drop_database("books")
    with pytest.raises(DatabaseNotFound, match=r"database not found\[database=books\]"):
        reopened(store).database("books")


def test_what_a_database_may_not(names: Catalog) -> None:
    names.add_database("books", 10, {})
    with pytest.raises(InvalidParameter, match="already exist"):
        names.add_database("books", 11, {})
    for name in ("", "1st", "a-b", "$a", "a" * 256):
        with pytest.raises(InvalidDatabaseName):
            names.add_database(name, 12, {})
    with pytest.raises(InvalidParameter, match="default"):
        names.drop_database("default")
    names.add_collection("books", "novels", 13)
    with pytest.raises(InvalidParameter, match="not empty"):
        names.drop_database("books")
    with pytest.raises(DatabaseNotFound):
        names.alter_database("absent", {})


def test_there_are_at_most_64_databases(names: Catalog) -> None:
    for i in range(63):
        names.add_database(f"d{i}", 100 + i, {})
    with pytest.raises(DatabaseLimit, match="limit=64"):
        names.add_database("one_more", 200, {})


# --- collections -----------------------------------------------------------------------------------------------------


def test_a_collection_is_found_by_its_name_in_its_database(names: Catalog, store: Store) -> None:
    names.add_database("books", 10, {})
    names.add_collection("books", "docs", 11)
    names.add_collection("default", "docs", 12)
    for one in (names, reopened(store)):
        assert one.resolve("books", "docs") == CollectionEntry("docs", 11, 11)
        assert one.resolve("default", "docs").id == 12
        assert one.find("default", "other") is None
    with pytest.raises(CollectionNotFound, match=r"collection not found\[database=default\]\[collection=other\]"):
        names.resolve("default", "other")
    with pytest.raises(DatabaseNotFound):
        names.find("absent", "docs")


def test_dropping_a_collection_says_what_was_dropped_and_forgives_an_absent_one(names: Catalog) -> None:
    names.add_collection("default", "docs", 11)
    dropped = names.drop_collection("default", "docs", 900)
    assert dropped is not None
    assert dropped.id == 11
    assert names.drop_collection("default", "docs", 900) is None


def test_the_largest_id_survives_its_collection(names: Catalog, store: Store) -> None:
    names.add_collection("default", "docs", 500)
    names.drop_collection("default", "docs", 900)
    assert reopened(store).state.last_id == 500


def test_a_dropped_collection_is_remembered_until_its_files_are_gone(names: Catalog, store: Store) -> None:
    names.add_collection("default", "docs", 11)
    names.drop_collection("default", "docs", timestamp=900)
    assert reopened(store).dropped_before(900) == []
    assert reopened(store).dropped_before(901) == [11]
    names.purged(11)
    names.purged(11)
    assert reopened(store).dropped_before(901) == []


def test_a_name_is_taken_once(names: Catalog) -> None:
    names.add_collection("default", "docs", 11)
    names.create_alias("default", "current", "docs")
    with pytest.raises(InvalidParameter, match="already exists"):
        names.add_collection("default", "docs", 12)
    with pytest.raises(AliasNameTaken):
        names.add_collection("default", "current", 12)
    with pytest.raises(AliasNameTaken):
        names.create_alias("default", "docs", "docs")


def test_rename_within_a_database_takes_the_aliases_along(names: Catalog) -> None:
    names.add_collection("default", "docs", 11)
    names.create_alias("default", "current", "docs")
    names.rename_collection("default", "docs", "papers")
    assert names.find("default", "docs") is None
    assert names.resolve("default", "papers").id == names.resolve("default", "current").id == 11


def test_rename_into_another_database(names: Catalog, store: Store) -> None:
    names.add_database("books", 10, {})
    names.add_collection("default", "docs", 11)
    names.rename_collection("default", "docs", "docs", "books")
    assert reopened(store).resolve("books", "docs").id == 11
    names.create_alias("books", "current", "docs")
    with pytest.raises(InvalidParameter, match="aliases"):
        names.rename_collection("books", "docs", "docs", "default")


def test_what_rename_may_not(names: Catalog) -> None:
    names.add_collection("default", "a", 11)
    names.add_collection("default", "b", 12)
    names.create_alias("default", "alias", "b")
    with pytest.raises(InvalidParameter, match="should be different"):
        names.rename_collection("default", "a", "a")
    with pytest.raises(InvalidParameter, match="duplicated"):
        names.rename_collection("default", "a", "b")
    with pytest.raises(AliasNameTaken):
        names.rename_collection("default", "a", "alias")
    with pytest.raises(AliasNameTaken):
        names.rename_collection("default", "alias", "c")
    with pytest.raises(CollectionNotFound):
        names.rename_collection("default", "c", "d")
    with pytest.raises(DatabaseNotFound):
        names.rename_collection("default", "a", "a", "absent")
    with pytest.raises(InvalidParameter):
        names.rename_collection("default", "a", "1")


def test_a_database_may_limit_its_collections(names: Catalog) -> None:
    names.add_database("small", 10, {"database.max.collections": "1"})
    names.add_collection("small", "a", 11)
    names.add_collection("default", "b", 12)
    with pytest.raises(CollectionLimit, match="limit=1"):
        names.add_collection("small", "b", 13)
    with pytest.raises(CollectionLimit):
        names.rename_collection("default", "b", "b", "small")
    with pytest.raises(InvalidParameter, match="count"):
        names.alter_database("small", {"database.max.collections": "many"})


# --- aliases ---------------------------------------------------------------------------------------------------------


def test_an_alias_stands_for_its_collection(names: Catalog, store: Store) -> None:
    names.add_collection("default", "a", 11)
    names.add_collection("default", "b", 12)
    names.create_alias("default", "current", "a")
    names.create_alias("default", "current", "a")
    with pytest.raises(AliasExists):
        names.create_alias("default", "current", "b")
    names.alter_alias("default", "current", "b")
    assert reopened(store).resolve("default", "current").id == 12
    assert names.database("default").aliases_of("b") == ["current"]
    names.drop_alias("default", "current")
    assert reopened(store).find("default", "current") is None


def test_what_an_alias_may_not(names: Catalog) -> None:
    names.add_collection("default", "a", 11)
    names.create_alias("default", "current", "a")
    with pytest.raises(CollectionNotFound):
        names.create_alias("default", "other", "absent")
    with pytest.raises(AliasNotFound):
        names.alter_alias("default", "other", "a")
    with pytest.raises(AliasNotFound):
        names.drop_alias("default", "other")
    with pytest.raises(InvalidParameter, match="via alias"):
        names.drop_collection("default", "current", 900)
    with pytest.raises(InvalidParameter, match="associated aliases"):
        names.drop_collection("default", "a", 900)


# --- writers ---------------------------------------------------------------------------------------------------------


def test_an_older_writer_is_stopped(store: Store) -> None:
    first = Catalog.open(store, epoch=1, timestamp=1)
    second = Catalog.open(store, epoch=2, timestamp=2)
    second.add_collection("default", "docs", 11)
    with pytest.raises(WriterStopped):
        first.add_collection("default", "other", 12)
    assert list(reopened(store).database("default").collections) == ["docs"]


def test_a_log_that_is_older_than_the_catalog_is_refused(store: Store) -> None:
    Catalog.open(store, epoch=5, timestamp=1)
    for epoch in (5, 1):
        with pytest.raises(CorruptData, match="older than the catalog"):
            Catalog.open(store, epoch, timestamp=2)


def test_openings_do_not_pile_up_versions(store: Store) -> None:
    for epoch in range(1, 400):
        Catalog.open(store, epoch, timestamp=epoch)
    assert len(store.keys("catalog/")) < 350
    assert Catalog.read(store).database("default").created == 1


def test_a_reader_sees_changes_when_it_refreshes(names: Catalog, store: Store) -> None:
    reader = reopened(store)
    names.add_collection("default", "docs", 11)
    assert reader.find("default", "docs") is None
    reader.refresh()
    assert reader.resolve("default", "docs").id == 11


def test_threads_that_make_the_same_name_have_one_winner(names: Catalog) -> None:
    made: list[int] = []
    refused: list[ElanusError] = []

    def make(number: int) -> None:
        try:
            made.append(names.add_collection("default", "docs", 100 + number).id)
        except InvalidParameter as error:
            refused.append(error)

    threads = [threading.Thread(target=make, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(refused) == 7
    assert names.resolve("default", "docs").id == made[0]


# --- the value -------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
DATABASES = st.sampled_from(["default", "x"])
EDITS = st.one_of(
    st.builds(catalog.DatabaseAdded, DATABASES, st.just(0), st.just(0), st.just({"p": "1"})),
    st.builds(catalog.DatabaseAltered, DATABASES, st.just({"q": "2"}), st.just(("p",))),
    st.builds(catalog.DatabaseDropped, DATABASES),
    st.builds(catalog.CollectionAdded, DATABASES, NAMES, st.just(0), st.just(0)),
    st.builds(catalog.CollectionDropped, DATABASES, NAMES, st.just(900)),
    st.builds(catalog.CollectionPurged, st.integers(2, 20)),
    st.builds(catalog.CollectionRenamed, DATABASES, NAMES, DATABASES, NAMES),
    st.builds(catalog.AliasCreated, DATABASES, NAMES, NAMES),
    st.builds(catalog.AliasAltered, DATABASES, NAMES, NAMES),
    st.builds(catalog.AliasDropped, DATABASES, NAMES),
)


@given(st.lists(EDITS, max_size=40))
def test_every_run_of_edits_keeps_the_invariants_and_survives_json(edits: list[catalog.Edit]) -> None:
    rules = CatalogRules()
    state = rules.initial()
    for number, edit in enumerate(edits, 2):
        if isinstance(edit, (catalog.DatabaseAdded, catalog.CollectionAdded)):
            edit = replace(edit, id=number, created=number)
        assert rules.load_edit(orjson.loads(orjson.dumps(rules.dump_edit(edit)))) == edit
        try:
            held = rules.rebase(edit, state)
            state = rules.apply(state, held) if held is not None else state
        except ElanusError:
            continue
        check_invariants(state)
    assert rules.load_state(orjson.loads(orjson.dumps(rules.dump_state(state)))) == state


def check_invariants(state: CatalogState) -> None:
    assert "default" in state.databases
    ids = [entry.id for d in state.databases.values() for entry in d.collections.values()]
    assert len(ids) == len(set(ids))
    assert max([*ids, *state.dropped], default=0) <= state.last_id
    assert not state.dropped.keys() & set(ids)
    for name, database in state.databases.items():
        assert database.name == name
        assert all(entry.name == key for key, entry in database.collections.items())
        assert not database.aliases.keys() & database.collections.keys()
        assert set(database.aliases.values()) <= database.collections.keys()


@pytest.mark.bench
def test_an_edit_stays_cheap_with_ten_thousand_collections() -> None:
    rules = CatalogRules()
    state = rules.initial()
    for number in range(10_000):
        state = rules.apply(state, catalog.CollectionAdded("default", f"c{number}", number, number))
    start = time.perf_counter()
    for number in range(100):
        rules.apply(state, catalog.CollectionAdded("default", f"d{number}", number, number))
    assert (time.perf_counter() - start) / 100 < 0.5e-3
