"""The disk fails: what fails says why, everything else goes on, and nothing acknowledged is gone.

What has to hold after each single failure is in `fault_case`.
"""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from elanus.testing.faulty import CHANGES
from tests.conftest import Effort
from tests.crash_check import folder_in_memory
from tests.crash_model import World
from tests.crash_script import INTERRUPTED, REOPEN, Step
from tests.fault_case import NEED_SPACE, SYNCS, prepare, sweep

pytestmark = pytest.mark.crash

Prepared = tuple[Path, World]


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    with folder_in_memory() as base:
        yield base / "prepared", prepare(base / "prepared")


@pytest.fixture
def skips(effort: Effort, seed: int) -> Iterator[int]:
    """Every operation in the thorough run, in the short one some, at random."""
    if effort.crash_states > 10_000:
        return count()
    rng = random.Random(seed)
    return _rising(rng)


def _rising(rng: random.Random) -> Iterator[int]:
    number = rng.randrange(3)
    while True:
        yield number
        number += rng.randrange(1, 15)


@pytest.mark.parametrize("step", INTERRUPTED, ids=str)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
def test_one_operation_that_fails_fails_no_more_than_its_request(
    prepared: Prepared, quick_path: Path, step: Step, number: int, skips: Iterator[int]
) -> None:
    sweep(*prepared, quick_path, step, CHANGES, number, skips)


# Opening writes the writer's epoch, so a folder on a full disk cannot be opened: reopening is left out here.
@pytest.mark.parametrize("step", [step for step in INTERRUPTED if step is not REOPEN], ids=str)
def test_while_the_disk_is_full_reads_go_on_and_with_space_writes_do_too(
    prepared: Prepared, quick_path: Path, step: Step, skips: Iterator[int]
) -> None:
    sweep(*prepared, quick_path, step, NEED_SPACE, errno.ENOSPC, skips, stays=True)


def test_a_file_system_that_is_really_full_loses_nothing_and_serves_again_with_space(tmp_path: Path) -> None:
    """The faulty disk says what it is told; a small file system in memory, the process's own, fills up as one does."""
    mount = f"mount -t tmpfs -o size=124m none {tmp_path}"
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False).returncode:
        pytest.skip("this system lets no process mount a file system of its own")
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{mount} && exec {sys.executable} -m tests.full_disk {tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert not ran.returncode, ran.stderr


@pytest.mark.parametrize("step", INTERRUPTED, ids=str)
def test_after_a_failed_sync_nothing_is_acknowledged_that_could_be_lost(
    prepared: Prepared, quick_path: Path, step: Step, skips: Iterator[int]
) -> None:
    sweep(*prepared, quick_path, step, SYNCS, errno.EIO, skips)
