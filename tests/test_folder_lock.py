"""One process writes to a folder, and it is free as soon as that one has closed it or is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elanus import AlreadyOpen
from elanus.store.folder_lock import FolderLock


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(AlreadyOpen, match=f"process {os.getpid()}"):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_a_killed_holder_leaves_the_folder_free(tmp_path: Path) -> None:
    hold = "import sys; from pathlib import Path; from elanus.store.folder_lock import FolderLock; "
    hold += "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyOpen, match=f"process {holder.pid}"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
        FolderLock(tmp_path).release()


def test_a_process_forked_meanwhile_neither_keeps_the_lock_nor_frees_it(tmp_path: Path) -> None:
    """It has the file open too: forked workers of an embedding program, or a builder that is just being started."""
    lock = FolderLock(tmp_path)
    go, told = os.pipe()
    done, tell = os.pipe()
    child = os.fork()
    if child == 0:
        lock.release()
        os.write(tell, b"released")
        os._exit(0)
    other = os.fork()
    if other == 0:
        os.read(go, 1)
        os._exit(0)
    try:
        assert os.read(done, 8) == b"released"
        with pytest.raises(AlreadyOpen):
            FolderLock(tmp_path)
        lock.release()
        FolderLock(tmp_path).release()
    finally:
        os.write(told, b".")
        for pid in (child, other):
            os.waitpid(pid, 0)
        for end in (go, told, done, tell):
            os.close(end)
