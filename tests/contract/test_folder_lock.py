"""One process per data folder, whatever way the first one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tests
from vexil.node.adapters.folder_lock import LOCK_FILE, FolderLock, FolderLocked, FolderUnusable

HOLDER = """
import sys
from pathlib import Path
from vexil.node.adapters.folder_lock import FolderLock
lock = FolderLock.acquire(Path(sys.argv[1]))
sys.stdout.write("held\\n")
sys.stdout.flush()
sys.stdin.read()
"""


def test_a_second_lock_is_refused_and_names_the_first_until_it_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    with FolderLock.acquire(folder) as lock:
        assert lock.folder == folder
        with pytest.raises(FolderLocked, match=f"process {os.getpid()} since 20") as refused:
            FolderLock.acquire(folder)
        assert refused.value.pid == os.getpid()
        with FolderLock.acquire(tmp_path / "another"):
            pass
    FolderLock.acquire(folder).close()


def test_another_process_is_named_and_its_death_frees_the_folder(tmp_path: Path) -> None:
    root = str(Path(tests.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FolderLocked, match=f"process {holder.pid} since") as refused:
            FolderLock.acquire(tmp_path)
        assert refused.value.pid == holder.pid
        assert refused.value.since
        holder.send_signal(signal.SIGKILL)
    # The dead process's text is still in the file: it is the lock that counts.
    assert (tmp_path / LOCK_FILE).read_text().startswith(f"{holder.pid}\n")
    with FolderLock.acquire(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().startswith(f"{os.getpid()}\n")


def test_junk_in_the_lock_file_is_not_taken_for_a_process(tmp_path: Path) -> None:
    with FolderLock.acquire(tmp_path):
        (tmp_path / LOCK_FILE).write_bytes(b"\xff\xfe not a pid")
        with pytest.raises(FolderLocked, match="another process") as refused:
            FolderLock.acquire(tmp_path)
        assert refused.value.pid is None


def test_closing_twice_closes_nobody_else_s_file(tmp_path: Path) -> None:
    lock = FolderLock.acquire(tmp_path)
    lock.close()
    with FolderLock.acquire(tmp_path):
        lock.close()
        with pytest.raises(FolderLocked):
            FolderLock.acquire(tmp_path)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match=f"file/{LOCK_FILE}"):
        FolderLock.acquire(tmp_path / "file")
