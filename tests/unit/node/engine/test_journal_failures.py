"""A journal that refuses is a definite no; one that cannot say what it did ends the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    SHOP,
    Place,
    Stranger,
    check_roots,
    creates,
    make_shop,
    node,
    push,
    running,
    shop,
    state_of,
    write,
)
from vexil.chaos.world.simulated_disk import DiskFaults
from vexil.crdt.change import render_id
from vexil.node import errors
from vexil.node.engine import Engine
from vexil.node.seams import JournalFull, JournalIndeterminate, PeerRefused


async def test_a_write_that_the_disk_refuses_is_definitely_not_written(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await write(engine, creates("before"))
        state = state_of(engine)
        place.journal.fail(JournalFull("no room"))
        with pytest.raises(errors.DurabilityUnavailable) as refused:
            await write(engine, creates("refused"))
        assert refused.value.definite
        assert "change" not in refused.value.to_problem()
        assert state_of(engine) == state
        assert shop(engine).flag("refused") is None
        assert engine.status()["projects"][SHOP]["changes"] == 1
        assert place.kept.journal_full == 1


async def test_the_dots_of_refused_writes_are_used_by_the_next_ones(autojump_clock: object) -> None:
    async with node() as (place, engine):
        await write(engine, creates("before"))
        for _ in range(3):
            place.journal.fail(JournalFull("no room"))
            with pytest.raises(errors.DurabilityUnavailable):
                await write(engine, creates("refused"))
        dots = [(await write(engine, creates(key))).dot for key in "ab"]
        assert dots == [(engine.incarnation, 2), (engine.incarnation, 3)]
        other = await Stranger().follow(engine)  # the chain has no gap and no fork
        assert other.replica.root == shop(engine).replica.root
        check_roots(engine)


async def test_the_sender_of_a_batch_that_is_refused_is_told_and_may_send_it_again(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        change = Stranger().create("theirs")
        place.journal.hold()
        errors_met: list[Exception] = []

        async def remote() -> None:
            try:
                await push(engine, [change])
            except PeerRefused as error:
                errors_met.append(error)

        async def local() -> None:
            try:
                await write(engine, creates("mine"))
            except errors.ApiError as error:
                errors_met.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, engine, creates("blocker"))
            await trio.sleep(0.01)
            nursery.start_soon(remote)
            nursery.start_soon(local)
            await trio.sleep(0.01)
            place.journal.fail(JournalFull("no room"), after=1)
            place.journal.let_go()
        assert {type(e) for e in errors_met} == {PeerRefused, errors.DurabilityUnavailable}
        assert shop(engine).flag_keys() == ["blocker"]
        await push(engine, [change])
        await write(engine, creates("mine"))
        assert shop(engine).flag_keys() == ["blocker", "mine", "theirs"]
        assert (await Stranger(0x77).follow(engine)).replica.root == shop(engine).replica.root


async def test_what_waits_for_its_cause_goes_on_waiting_when_the_disk_refuses_the_cause(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        theirs = Stranger()
        cause, effect = theirs.create("a"), theirs.create("b")
        await push(engine, [effect])
        place.journal.fail(JournalFull("no room"))
        with pytest.raises(PeerRefused, match="no room"):
            await push(engine, [cause])
        assert shop(engine).flag_keys() == []
        await push(engine, [cause])
        await trio.sleep(0.1)
        assert shop(engine).flag_keys() == ["a", "b"]
        assert not shop(engine).waiting


@asynccontextmanager
async def that_ends(engine: Engine) -> AsyncIterator[Engine]:
    """The engine runs, and ends by JournalIndeterminate before the block does, or soon after."""
    try:
        async with running(engine):
            yield engine
            await trio.sleep(5)
    except JournalIndeterminate:
        return
    raise AssertionError("a process whose journal cannot be believed must end")


async def _meets_a_broken_disk(place: Place) -> tuple[Engine, list[Exception]]:
    """An engine that has ended since an append had an unknown outcome, and what the writers were told."""
    outcomes: list[Exception] = []

    async def one(key: str) -> None:
        try:
            await write(engine, creates(key))
        except errors.ApiError as error:
            outcomes.append(error)

    async with that_ends(place.engine()) as engine:
        await make_shop(engine)
        await write(engine, creates("before"))
        place.journal.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "blocker")
            await trio.sleep(0.01)
            nursery.start_soon(one, "waits")
            await trio.sleep(0.01)
            place.journal.fail(JournalIndeterminate("who knows"))
            place.journal.let_go()
    return engine, outcomes


async def test_an_unknown_outcome_is_told_as_such_and_ends_the_process(autojump_clock: object) -> None:
    engine, (told,) = await _meets_a_broken_disk(Place())
    assert isinstance(told, errors.WriteIndeterminate)
    assert not told.definite
    assert told.to_problem()["change"] == render_id((engine.incarnation, 2))
    assert engine.projects[SHOP].flag_keys() == ["before"]


async def test_after_an_unknown_outcome_the_next_process_writes_under_another_name(
    autojump_clock: object,
) -> None:
    place = Place()
    dead, _ = await _meets_a_broken_disk(place)
    async with running(place.engine()) as engine:
        assert engine.incarnation != dead.incarnation
        assert shop(engine).flag_keys() == ["before"]
        written = await write(engine, creates("after"))
        assert written.dot == (engine.incarnation, 1)
        with pytest.raises(errors.WriteIndeterminate):
            await write(engine, creates("blocker"), retry_of=(dead.incarnation, 2), idempotency=("k", b""))


async def test_a_change_that_was_written_though_nobody_said_so_is_found_by_its_retry(
    autojump_clock: object,
) -> None:
    """The append lands, its sync fails: the next start finds the change, and a retry names it."""
    place = Place()
    async with that_ends(place.engine()) as engine:
        await make_shop(engine)
        place.disk.faults = DiskFaults(sync_fails=1.0)
        with pytest.raises(errors.WriteIndeterminate) as told:
            await write(engine, creates("lucky"), idempotency=("key", b"body"))
    change = told.value.members["change"]
    place.disk.faults = DiskFaults()
    async with running(place.engine()) as again:
        assert shop(again).flag_keys() == ["lucky"]
        written = await write(
            again, creates("lucky"), retry_of=(engine.incarnation, 1), idempotency=("key", b"body")
        )
        assert (written.change_id, written.replayed) == (change, True)
        assert shop(again).replica.vv == {engine.incarnation: 1}


async def test_a_node_that_can_write_nothing_at_its_start_is_there_and_becomes_ready_later(
    autojump_clock: object,
) -> None:
    place = Place()
    place.disk.fill()
    engine = place.engine()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await trio.sleep(30)
        assert not engine.ready
        assert engine.status()["ready"] is False
        with pytest.raises(errors.NodeNotReady):
            await write(engine, creates("a"))
        place.disk.free()
        await trio.sleep(5)
        assert engine.ready
        assert engine.is_member("eu-1", engine.registration)
        assert EU_2.node not in engine.directory.members
        nursery.cancel_scope.cancel()
