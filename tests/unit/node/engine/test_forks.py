"""What a node knows of forked incarnations outlives it: a start that has nobody to ask takes in what rests on them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    Place,
    Stranger,
    check_roots,
    make_shop,
    node,
    push,
    running,
    shop,
    state_of,
)
from vexil.crdt.change import Change
from vexil.node import forks
from vexil.node.alarms import Alarms
from vexil.node.engine import Engine
from vexil.node.forks import Forks
from vexil.node.seams import MemberRow
from vexil.node.telemetry import Silence

COPIED = 0xA1


async def row_of(place: Place) -> MemberRow:
    row = await place.store().read_member(place.name)
    assert row is not None
    return row


def known_of(place: Place) -> MemberRow:
    """What the region has of the slot while it answers nobody."""
    row = place.region.member(place.name)
    assert row is not None
    return row


async def meet_a_fork(engine: Engine) -> Change:
    """The node takes one branch of a copied process; the change that is returned has seen the other one."""
    here, there, innocent = Stranger(COPIED), Stranger(COPIED), Stranger(0xB1)
    await push(engine, [here.create("here")])
    branch = [there.create("there"), there.create("there-too")]
    await push(engine, branch)
    for change in branch:
        innocent.replica.apply(change)
    assert engine.forks.incarnations == {COPIED}
    return innocent.create("innocent")


@pytest.mark.parametrize("embedded", [False, True], ids=["a region's store", "the node's own disk"])
async def test_a_node_that_starts_cut_off_takes_in_what_rests_on_the_other_branch(
    autojump_clock: object, embedded: bool
) -> None:
    place = Place(embedded=embedded)
    async with node(place) as (_, engine):
        late = await meet_a_fork(engine)
        await trio.sleep(0.1)
        assert (await row_of(place)).forked == (COPIED,)
        await push(engine, [late])
        assert shop(engine).flag_keys() == ["here", "innocent"]
        # In the journal, and not in the fold: no round has begun since.
        assert 0xB1 not in (await row_of(place)).vv["shop"]
        last = state_of(engine)["shop"]
    async with running(place.engine()) as engine:
        assert shop(engine).flag_keys() == ["here", "innocent"]
        assert state_of(engine)["shop"] == last
        assert not shop(engine).waiting
        assert engine.alarms.damaged == 0
        check_roots(engine)
        # It tells on what it was told, and writes it down again.
        assert engine.forks.incarnations == {COPIED}
        assert (await row_of(place)).forked == (COPIED,)


async def test_rows_of_the_regions_log_that_rest_on_the_other_branch_are_read_back(
    autojump_clock: object,
) -> None:
    """The vector over them is in the slot's row, and a start holds the log to it."""
    async with node() as (place, engine):
        await push(engine, [await meet_a_fork(engine)])
        await engine.drain()
        last = state_of(engine)["shop"]
    row = await row_of(place)
    place.region.put_member(replace(row, revision=row.revision + 1, fold={}))
    place.disk.wipe()
    async with running(place.engine()) as engine:
        assert state_of(engine)["shop"] == last
        assert engine.alarms.damaged == 0
        check_roots(engine)


async def test_no_vector_is_stored_over_what_was_applied_because_of_a_fork_that_the_row_does_not_tell(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        place.region.available = False
        await push(engine, [await meet_a_fork(engine)])
        await trio.sleep(20)
        assert shop(engine).flag_keys() == ["here", "innocent"], "the store's outage holds nobody up"
        assert known_of(place).forked == ()
        place.region.available = True
        await trio.sleep(10)
        row = await row_of(place)
        assert (row.forked, row.vv["shop"]) == ((COPIED,), {COPIED: 1, 0xB1: 1})


async def test_a_fork_that_is_known_from_an_earlier_life_is_an_alarm_when_it_is_met_again(
    autojump_clock: object,
) -> None:
    async with node() as (place, engine):
        late = await meet_a_fork(engine)
        await trio.sleep(0.1)
    async with running(place.engine()) as engine:
        assert engine.alarms.forks == 0
        await push(engine, [late])
        assert engine.alarms.forks == 0
        other = Stranger(COPIED)
        await push(engine, [other.create("a third history")])
        assert engine.alarms.forks == 1


async def test_a_fresh_slot_knows_of_no_fork(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        await make_shop(engine, members=(EU_2,))
        await engine.drain()
        assert (await row_of(place)).forked == ()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "FORKED_MAX", 5)
    silence = Silence()
    known = Forks(Alarms(silence, silence), lambda _: None)
    known.restore(range(1, 4))
    for incarnation in range(10, 20):
        known.note("shop", incarnation, "eu-2")
    assert known.incarnations == {1, 2, 3, 10, 11}
