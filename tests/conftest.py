"""What every test may use.

`make test` runs everything in its short size; `make crash` runs the tests marked `crash` with `--thorough`,
which sets the sizes below and lifts the time limit of the single test.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.engine_case import OPEN

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

# A suite that was started in the background of a shell script ignores Ctrl-C, and so would what its tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ("tests.wire_case", "tests.bucket_case")

settings.register_profile(
    "short",
    deadline=None,
    print_blob=True,
    max_examples=50,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("thorough", parent=settings.get_profile("short"), max_examples=2_000, derandomize=False)


DESCRIPTORS = 256
"""The least that a system allows a process by default: a test that needs more leaves files open."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much the crash suites do: all of them together, not each."""

    crash_states: int
    kills: int
    wire_kills: int
    bucket_kills: int
    take_overs: int
    wire_retries: int
    schedules: int


SHORT = Effort(crash_states=2_000, kills=30, wire_kills=20, bucket_kills=8, take_overs=5, wire_retries=6, schedules=60)
THOROUGH = Effort(
    crash_states=100_000,
    kills=1_000,
    wire_kills=300,
    bucket_kills=300,
    take_overs=100,
    wire_retries=100,
    schedules=5_000,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("elanus")
    group.addoption("--thorough", action="store_true", help="the long sizes: 1,000 kills, 100,000 crash states, …")
    group.addoption("--seed", type=int, default=None, help="seed of tests that draw at random; printed by a failure")


def pytest_configure(config: pytest.Config) -> None:
    thorough = config.getoption("--thorough")
    settings.load_profile("thorough" if thorough else "short")
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if thorough and not config.getoption("timeout", default=None):
        config.option.timeout = 0  # pytest-timeout: no limit


@pytest.fixture(scope="session")
def effort(pytestconfig: pytest.Config) -> Effort:
    return THOROUGH if pytestconfig.getoption("--thorough") else SHORT


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's random choices: fixed in the short run, new in the thorough one, always in the report."""
    given = request.config.getoption("--seed")
    if given is None:
        given = random.SystemRandom().randrange(2**31) if request.config.getoption("--thorough") else 20_240_607
    request.node.add_report_section("setup", "seed", f"repeat with --seed {given}")
    return int(given)


@pytest.fixture(autouse=True)
def no_engine_stays_open() -> Iterator[None]:
    """Close what a test left open."""
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the system has one: for tests that open hundreds of databases and lose no power."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="elanus-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)
