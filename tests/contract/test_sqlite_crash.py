"""Real processes and real disks' limits: what SQLite does when it is killed, and when a write of its own fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import tests
from tests.contract.crashing_writer import BATCH
from tests.contract.rows import A, B, gather, row
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import LogRecord

ROOT = str(Path(tests.__file__).parent.parent)


def program(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"tests.contract.{name}", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, *sys.path])}


async def stored(path: Path) -> list[LogRecord]:
    async with SqliteStore.open(path) as store:
        return await gather(store.replay(after={}))


@pytest.mark.parametrize("acknowledged", [0, 1, 5, 40, 200])
def test_a_killed_process_leaves_all_that_it_acknowledged_and_no_part_of_an_append(
    tmp_path: Path, acknowledged: int
) -> None:
    path = tmp_path / "node.sqlite"
    incarnations = (5, 6)
    heard: dict[int, int] = {}
    for incarnation in incarnations:
        command = program("crashing_writer", str(path), str(incarnation))
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
            assert process.stdout is not None
            heard[incarnation] = 0
            while heard[incarnation] < acknowledged:
                assert process.stdout.readline() == b"%d\n" % heard[incarnation]
                heard[incarnation] += 1
            process.send_signal(signal.SIGKILL)
            heard[incarnation] += len(process.stdout.readlines())
    found = trio.run(stored, path)
    for incarnation in incarnations:
        seqs = [record.seq for record in found if record.incarnation == incarnation]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) % BATCH == 0
        assert heard[incarnation] * BATCH <= len(seqs) <= (heard[incarnation] + 1) * BATCH


@pytest.mark.parametrize("limit_bytes", [150_000, 200_001, 262_144])
def test_a_file_that_may_not_grow_is_a_definite_no_and_the_journal_goes_on_when_it_may(
    tmp_path: Path, limit_bytes: int
) -> None:
    path = tmp_path / "node.sqlite"
    command = program("full_disk_writer", str(path), str(limit_bytes))
    output = subprocess.run(command, stdout=subprocess.PIPE, env=environment(), check=True).stdout
    acknowledged = int(output)
    assert acknowledged > 0
    found = trio.run(stored, path)
    assert found == [*(row(A, seq, body=bytes(2_000)) for seq in range(1, acknowledged + 1)), row(B, 1)]
