"""RTREE: in every state of a row filters on geometries answer as shapely does row by row, and the index is asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from elanus import Collection, DataType, Elanus, Field, Schema
from elanus.engine.snapshot import Snapshot
from elanus.expr.compile import compile_filter
from elanus.expr.typed import Possible
from elanus.model import geometries
from elanus.ops.inspect import Folder
from elanus.scalar import rtree
from elanus.scalar.sections import Source
from tests.native_case import keys_in, open_folder
from tests.test_native_geometry import CROSSED, RELATIONS, SHAPES, metres

FIELDS = (Field("shape", DataType.GEOMETRY, nullable=True), Field("at", DataType.GEOMETRY, nullable=True))
SCHEMA = Schema(
    (
        Field("id", DataType.INT64, is_primary=True),
        Field("vector", DataType.FLOAT_VECTOR, dim=2),
        Field("few", DataType.INT32, nullable=True),
        Field("note", DataType.JSON),
        *FIELDS,
    )
)

AREAS = [
    "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))",
    "POLYGON ((4 4, 9 4, 9 9, 4 4))",
    "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 1, 0 0)), ((40 40, 41 40, 41 41, 40 41, 40 40)))",
    "LINESTRING (0 0, 3 3, 3 0)",
    "POINT (1 1)",
    "GEOMETRYCOLLECTION (POINT (2 2), LINESTRING (5 5, 6 6))",
    "POINT EMPTY",
    "POLYGON EMPTY",
]
"""What rows are compared with: many lie on its bounds."""

COMBINED = [
    "not st_within(at, '{area}')",
    "few == 3 and st_intersects(shape, '{area}')",
    "few == 3 or st_intersects(shape, '{area}')",
    "not (few == 3 and st_intersects(shape, '{area}'))",
    "note['n'] == 1 and st_within(at, '{area}') and not st_equals(shape, 'POINT (1 1)')",
    "st_within(at, '{area}') or st_touches(shape, '{area}')",
    "st_isvalid(shape) and st_crosses(shape, '{area}')",
    "few is null and (st_within(at, '{area}') or at is null)",
    "not (st_within(at, '{area}') and note['n'] > 0)",
    "st_within(at, '{area}') and st_dwithin(at, 'POINT (1 1)', 200000) and few > 0",
    f"st_crosses(shape, '{CROSSED}') or few == 2 and st_within(at, '{CROSSED}')",  # in which GEOS has its own order
]


def a_shape(random: Random) -> str:
    """Shapes on and around the areas, few of them large."""
    x, y, size = random.randint(-4, 60), random.randint(-4, 60), random.choice([0.1, 1, 2])
    if random.random() < 0.5:
        x, y = x % 10, y % 10
    return random.choice(
        [
            *SHAPES,
            f"POINT ({x} {y})",
            f"LINESTRING ({x} {y}, {x + size} {y}, {x} {y + size})",
            f"POLYGON (({x} {y}, {x + size} {y}, {x + size} {y + size}, {x} {y}))",
            f"MULTIPOINT (({x} {y}), EMPTY)",
        ]
    )


def a_row(random: Random, key: int) -> dict[str, Any]:
    near = random.random() < 0.3
    at = [random.choice([0, 0.1, 0.2, 1, 2, 3]) if near else random.uniform(-180, 180) / (1 + i) for i in (0, 1)]
    return {
        "id": key,
        "vector": [1.0, 0.0],
        "few": random.choice([None, 0, 1, 2, 3]),
        "note": {"n": random.choice([0, 1, None])},
        "shape": None if random.random() < 0.2 else a_shape(random),
        "at": None if random.random() < 0.2 else f"POINT ({at[0]!r} {at[1]!r})",
    }


class Places:
    """A collection with RTREE indexes and one without, of the same rows, which are kept as Python has them, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[int, dict[str, Any]] = {}
        self.open(create=True)
        for field, kind in (("shape", "AUTOINDEX"), ("at", "RTREE")):
            self.indexed.create_index(field, kind)

    def open(self, create: bool = False) -> None:
        self.db: Elanus = open_folder(self.folder)
        for name in ("indexed", "plain"):
            made = self.db.create_collection(name, SCHEMA) if create else self.db.collection(name)
            setattr(self, name, made)

    indexed: Collection
    plain: Collection

    def each(self, method: str, *arguments: Any) -> None:
        for collection in (self.indexed, self.plain):
            getattr(collection, method)(*arguments)

    def write(self, rows: list[dict[str, Any]]) -> None:
        self.each("upsert", rows)
        self.rows |= {row["id"]: row for row in rows}

    def delete(self, keys: list[int]) -> None:
        self.each("delete", keys)
        self.rows = {key: row for key, row in self.rows.items() if key not in keys}

    def seal(self) -> None:
        self.each("flush")
        self.indexed.wait_for_indexes()

    def snapshot(self) -> Snapshot:
        return self.db._instance.collection(self.db._ctx, "indexed").snapshot()

    def asked(self, filter: str) -> bool:  # noqa: A002
        """Whether an index knows something of it."""
        heard: set[str] = set()
        snapshot = self.snapshot()
        for unit in snapshot.sealed:
            indexed = unit.indexed.heard_by(heard) if unit.indexed is not None else None
            compile_filter(filter, snapshot.manifest.schema).evaluate(unit.view, unit.view.rows, indexed)
        return bool(heard)

    def check(self) -> int:
        """Both answer as shapely does, alone and combined; returns of how many filters an index knew something."""
        asked = 0
        order = sorted(self.rows)
        for field, text in itertools.product(("shape", "at"), AREAS):
            held = {key: shapely.from_wkt(self.rows[key][field]) for key in order if self.rows[key][field] is not None}
            query = shapely.from_wkt(text)
            for relation in RELATIONS:
                want = [key for key, shape in held.items() if getattr(shape, relation)(query)]
                asked += self.agree(f"st_{relation}({field}, '{text}')", want)
            others = [key for key in held if key not in want]
            assert keys_in(self.indexed, f"not st_{relation}({field}, '{text}')") == others
            if query.geom_type == "Point":
                for most in (0, 60_000.5, 5_400_000):
                    want = [key for key, shape in held.items() if metres(shape, query) <= most]
                    asked += self.agree(f"st_dwithin({field}, '{text}', {most})", want)
        for text, area in itertools.product(COMBINED, AREAS[:3]):
            asked += self.agree(text.format(area=area))
        return asked

    def agree(self, filter: str, want: list[int] | None = None) -> bool:  # noqa: A002
        want = keys_in(self.plain, filter) if want is None else want
        assert keys_in(self.indexed, filter) == want, filter
        return self.asked(filter)


@pytest.fixture
def places(quick_path: Path) -> Iterator[Places]:
    made = Places(quick_path / "db")
    yield made
    made.db.close()


def test_filters_answer_as_shapely_does_in_every_state(places: Places) -> None:
    random = Random(7)
    places.write([a_row(random, key) for key in range(150)])
    assert places.check() == 0
    places.seal()
    assert places.check() > 60
    places.delete(list(range(3, 150, 7)))
    places.write([a_row(random, key) for key in range(0, 180, 6)])
    places.seal()
    places.write([a_row(random, key) for key in range(180, 200)])
    assert places.check() > 60
    places.each("flush")
    places.each("compact")
    assert [unit.indexed is not None for unit in places.snapshot().sealed] == [True]
    places.db.close()
    places.open()
    assert places.check() > 60
    assert not list(Folder(places.folder).damages())


def test_a_plan_names_the_index_and_a_filter_that_many_rows_pass_is_scanned(places: Places) -> None:
    places.write([a_row(Random(key), key) | {"at": f"POINT ({key} {key / 2})"} for key in range(120)])
    places.seal()

    def plan(filter: str) -> str:  # noqa: A002
        return str(places.indexed.explain([1.0, 0.0], filter=filter))

    near, far = (f"POLYGON ((0 0, {edge} 0, {edge} {edge}, 0 {edge}, 0 0))" for edge in (10, 200))
    assert f'filter st_within(at, "{near}"), asking index at\n' in plan(f"st_within(at, '{near}')")
    assert "asking index at\n" in plan("few != 3 and not st_dwithin(at, 'POINT (3 3)', 1000)")
    assert "asking" not in plan(f"st_within(at, '{far}')")
    assert keys_in(places.indexed, f"st_within(at, '{far}')") == list(range(1, 120))
    assert "asking" not in plan("st_isvalid(at)")


def test_filters_answer_the_same_where_the_file_is_damaged(places: Places) -> None:
    places.write([a_row(Random(key), key) for key in range(60)])
    places.seal()
    (entry,) = places.snapshot().manifest.segments.values()
    path = places.folder / "store" / entry.indexes[places.indexed.describe_index("shape").id]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-100])
    for area in AREAS:
        assert not places.agree(f"st_intersects(shape, '{area}')")


# --- distances ----------------------------------------------------------------------------------------------------

AROUND = [
    (0.0, 90.0), (10.0, 90.0), (0.0, -90.0), (0.0, 89.9999), (180.0, 89.5), (-90.0, 89.0), (45.0, 85.0), (-135.0, 85.0),
    (180.0, 0.0), (-180.0, 0.0), (179.9999, 0.0), (-179.9999, 0.0), (179.5, 60.0), (-179.5, 60.0), (-180.0, -70.0),
    (0.0, 0.0), (0.00001, 0.0), (13.4, 52.5), (-166.6, -52.5), (0.0, 45.0), (90.0, 0.0), (-90.0, -0.001),
]  # fmt: skip
"""Points at the poles, on both sides of 180 degrees, antipodes of others, and some in the middle."""


ONE = Schema((*SCHEMA.fields[:2], Field("f", DataType.GEOMETRY, nullable=True)))


class Opened:
    """The index of a column, and a scan of it, without a database around them."""

    def __init__(self, shapes: list[Any]) -> None:
        self._held = geometries.held(np.array(shapes, object))
        self.sections = rtree.build(self._held, {})
        source = Source(ONE.field("f").id, False, (), len(shapes), False, lambda: self._held)
        self.index = rtree.open_index(self.sections, source)

    def possible(self, filter: str) -> tuple[set[int] | None, set[int]]:  # noqa: A002
        """(the rows where the index says that it may be true, None where it does not say; those where it is true)."""
        bound = compile_filter(filter, ONE)
        said, true = self.index.answer(Possible(bound.root)), bound.evaluate(self, len(self._held))
        return None if said is None else rows_of(said), rows_of(true)

    def column(self, field_id: int) -> pa.Array:
        return self._held


def rows_of(truth: pa.BooleanArray) -> set[int]:
    return set(np.flatnonzero(truth.fill_null(False).to_numpy(zero_copy_only=False)).tolist())


@pytest.mark.parametrize("others", [False, True], ids=["points", "lines too"])
def test_distances_at_the_poles_and_across_180_degrees_miss_nothing(others: bool) -> None:
    shapes = [shapely.Point(place) for place in AROUND]
    shapes += [shapely.Point(x, y) for x in range(-180, 181, 40) for y in range(-90, 91, 30)]
    if others:
        shapes += [shapely.LineString([place, (place[0] * 0.9, place[1] * 0.9)]) for place in AROUND]
    opened, known = Opened(shapes), 0
    for x, y in AROUND:
        point = shapely.Point(x, y)
        for most in (0, 1.2, 111_195.0, 600_000, 10_007_543, 20_015_086, 3e7):
            said, true = opened.possible(f"st_dwithin(f, '{point.wkt}', {most})")
            assert true == {row for row, shape in enumerate(shapes) if metres(shape, point) <= most}
            assert said is None or said >= true, (x, y, most)
            known += said is not None
            assert said is None or most > 600_000 or len(said) < 30
    assert known > 60


@pytest.mark.parametrize("beyond", [(180.5, 0), (0, 90.5), (-1e300, 5), (200, -200)])
def test_distances_where_coordinates_are_no_degrees_are_left_to_a_scan(beyond: tuple[float, float]) -> None:
    near = f"st_dwithin(f, 'POINT ({beyond[0]} {beyond[1]})', 100)"
    inside = [shapely.Point(place) for place in AROUND]
    assert Opened(inside).possible(near)[0] is None
    outside = Opened([*inside, shapely.Point(beyond)])
    assert outside.possible("st_dwithin(f, 'POINT (0 0)', 100)")[0] is None
    assert outside.possible("st_within(f, 'POINT (0 0)')") == ({15}, {15})


def test_columns_without_a_box_have_an_index_that_finds_nothing() -> None:
    for shapes in ([None] * 9, [shapely.Point()] * 9, [None, shapely.Polygon(), None]):
        opened = Opened(shapes)
        assert opened.possible("st_intersects(f, 'POINT (1 1)')") == (set(), set())
        assert opened.possible("st_dwithin(f, 'POINT (1 1)', 1e9)") == (set(), set())
        assert opened.possible("st_dwithin(f, 'POINT EMPTY', 1e9)") == (set(), set())
        assert opened.possible("st_equals(f, 'POINT EMPTY')")[0] is None


# --- the tree -----------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-10, 10),
    st.sampled_from([0.1, -0.1, 16777217.0, 16777216.0, 1e39, -1e39, 1.7e308, -1.7e308, 5e-324, 1e-46]),
)
boxes = st.tuples(numbers, numbers, numbers, numbers).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
TOUCHING = {
    "intersects": lambda row, box: row[0] <= box[2] and row[1] <= box[3] and row[2] >= box[0] and row[3] >= box[1],
    "contains": lambda row, box: row[0] <= box[0] and row[1] <= box[1] and row[2] >= box[2] and row[3] >= box[3],
    "within": lambda row, box: row[0] >= box[0] and row[1] >= box[1] and row[2] <= box[2] and row[3] <= box[3],
    "equals": lambda row, box: row == box,
}


@given(st.lists(boxes, min_size=1, max_size=40), boxes, st.integers(1, 4))
def test_no_box_that_lies_as_asked_is_missed(held: list[Any], box: Any, copies: int) -> None:
    """Copies of them make a tree of several levels."""
    held = held * copies**2
    shapes = [shapely.MultiPoint([row[:2], row[2:]]) for row in held]
    opened = Opened(shapes)
    opened.index._most = len(held)
    query = shapely.MultiPoint([box[:2], box[2:]])
    for relation, lies in TOUCHING.items():
        said, true = opened.possible(f"st_{relation}(f, '{shapely.to_wkt(query, rounding_precision=-1)}')")
        assert said is not None
        assert said >= {row for row, of in enumerate(held) if lies(of, box)}
        assert said >= true


def test_boxes_that_lie_together_share_a_node() -> None:
    random = np.random.default_rng(3)
    corners = random.uniform(-1000, 1000, (8_000, 2))
    sizes = random.uniform(0, 1, (8_000, 2))
    opened = Opened(list(shapely.box(*corners.T, *(corners + sizes).T)))
    levels = [opened.sections.arrays[f"boxes.{level}"] for level in range(opened.sections.meta["levels"])]
    assert [len(level) for level in levels] == [500, 32, 2, 1]
    for x, y in random.uniform(-1000, 900, (10, 2)):
        met = [(level[:, 0] <= x + 100) & (level[:, 1] <= y + 100) & (level[:, 2] >= x) & (level[:, 3] >= y)
               for level in levels]  # fmt: skip
        assert met[1].sum() < 500 / 25
        said, true = opened.possible(f"st_intersects(f, '{shapely.box(x, y, x + 100, y + 100).wkt}')")
        assert said is not None
        assert true <= said <= true | set(opened.sections.arrays["rows"][np.flatnonzero(met[0].ravel())].tolist())
