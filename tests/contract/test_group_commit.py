"""Who leads, who waits, who is cancelled: the SQLite store's group commit, held at a gate before its COMMIT."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from queue import SimpleQueue

import pytest
import trio
import trio.testing

from tests.contract.faulty_connection import FaultyConnections
from tests.contract.rows import A, gather, row
from vexil.node.adapters.sqlite import SqliteStore

GATE_SECONDS = 10.0
"""A gate that is not opened raises, so that a wrong order fails a test and does not hang it."""


class Stage:
    """A store whose every COMMIT waits at a gate, and appends that say when they have returned."""

    def __init__(self, store: SqliteStore, connections: FaultyConnections) -> None:
        self.store = store
        self.writer = connections.writer
        self.returned: list[int] = []
        self.scopes: dict[int, trio.CancelScope] = {}
        self._gate: SimpleQueue[None] = SimpleQueue()

    def hold(self) -> None:
        self.writer.before_commit = self._wait

    def open_gate(self) -> None:
        self._gate.put(None)

    async def append(self, seq: int) -> None:
        with trio.CancelScope() as self.scopes[seq]:
            await self.store.append([row(A, seq)])
            self.returned.append(seq)

    async def start(self, nursery: trio.Nursery, *seqs: int) -> None:
        for seq in seqs:
            nursery.start_soon(self.append, seq)
            await trio.testing.wait_all_tasks_blocked()

    async def written(self) -> list[int]:
        return [record.seq for record in await gather(self.store.replay(after={}))]

    def _wait(self) -> None:
        self._gate.get(timeout=GATE_SECONDS)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    connections = FaultyConnections()
    async with SqliteStore.open(tmp_path / "node.sqlite", connect=connections) as store:
        yield Stage(store, connections)


async def test_a_leader_that_is_cancelled_while_the_disk_writes_returns_its_answer(stage: Stage) -> None:
    stage.hold()
    async with trio.open_nursery() as nursery:
        await stage.start(nursery, 1)
        stage.scopes[1].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.returned == []
        stage.open_gate()
    assert stage.returned == [1]
    assert await stage.written() == [1]


async def test_an_append_that_is_cancelled_while_another_writes_it_returns_its_answer(stage: Stage) -> None:
    stage.hold()
    async with trio.open_nursery() as nursery:
        await stage.start(nursery, 1, 2, 3)
        # The first COMMIT goes through; the next, of 2 and 3 together, is held.
        stage.writer.after_commit = stage.hold
        stage.open_gate()
        while stage.returned != [1]:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        stage.scopes[2].cancel()
        stage.scopes[3].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.returned == [1]
        stage.open_gate()
    assert sorted(stage.returned) == [1, 2, 3]
    assert await stage.written() == [1, 2, 3]


async def test_an_append_that_is_cancelled_while_it_waits_is_never_written(stage: Stage) -> None:
    stage.hold()
    async with trio.open_nursery() as nursery:
        await stage.start(nursery, 1, 2, 3, 4)
        stage.scopes[3].cancel()
        await trio.testing.wait_all_tasks_blocked()
        stage.open_gate()
    assert sorted(stage.returned) == [1, 2, 4]
    assert await stage.written() == [1, 2, 4]


async def test_a_lead_that_is_handed_to_a_cancelled_append_goes_on_to_the_next(stage: Stage) -> None:
    commit = stage.store._commit
    commit._leading = (
        True  # the test stands in for a leader, so that it can finish between two steps of the others
    )
    with trio.fail_after(GATE_SECONDS):
        async with trio.open_nursery() as nursery:
            await stage.start(nursery, 1, 2)
            stage.scopes[1].cancel()
            commit._pass_lead()
    assert stage.returned == [2]
    assert await stage.written() == [2]


async def test_closing_waits_for_the_write_in_flight_and_for_those_behind_it(stage: Stage) -> None:
    stage.hold()
    async with trio.open_nursery() as nursery:
        await stage.start(nursery, 1, 2)
        nursery.start_soon(stage.store.aclose)
        await trio.testing.wait_all_tasks_blocked()
        stage.open_gate()
    assert sorted(stage.returned) == [1, 2]
