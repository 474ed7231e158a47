"""Clocks that are wrong: ours, a peer's, and the one that we had before a restart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    FLAG,
    Place,
    Stranger,
    creates,
    hear,
    node,
    push,
    register,
    running,
    sets,
    shop,
    state_of,
    write,
)
from vexil.chaos.world.simulated_clock import EPOCH_MS, YEAR_MS
from vexil.crdt import hlc as hlcs
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.engine_types import CLOCK_SKEW_LIMIT_MS
from vexil.node.project import Project
from vexil.node.seams import PeerIdentity

PEERS = [EU_2, PeerIdentity("eu-3", "eu"), PeerIdentity("us-1", "us")]
Decide = Callable[[Project], Intent]


async def with_peers_at(engine: Engine, *ahead_ms: int) -> None:
    """That many peers are members and have just been heard, their clocks ahead of ours by so much."""
    for peer, ms in zip(PEERS, ahead_ms, strict=False):
        if not engine.is_member(peer.node, ""):
            await register(engine, peer)
        await hear(engine, peer, clock_ahead_ms=ms)


def switches(key: str, *, kill: bool) -> Decide:
    def decide(project: Project) -> Intent:
        state = project.flag(key)
        assert state is not None
        return Intent(
            [
                CellWrite(f"flag/{key}", state.generation, "exists", FLAG["exists"]),
                CellWrite(f"flag/{key}", NO_GENERATION, "kill/prod", kill),
            ]
        )

    return decide


def deletes(key: str) -> Decide:
    def decide(project: Project) -> Intent:
        state = project.flag(key)
        assert state is not None
        return Intent([CellWrite(f"flag/{key}", state.generation, "exists", TOMBSTONE)])

    return decide


def both(first: Decide, second: Decide) -> Decide:
    return lambda project: Intent([*first(project).writes, *second(project).writes])


FAR = CLOCK_SKEW_LIMIT_MS + 1


@pytest.mark.parametrize("ahead_ms", [FAR, -FAR, YEAR_MS])
async def test_a_node_off_the_median_of_its_peers_takes_kills_and_nothing_else(
    autojump_clock: object, ahead_ms: int
) -> None:
    async with node() as (place, engine):
        for key in "abc":
            await write(engine, creates(key))
        await with_peers_at(engine, ahead_ms, ahead_ms, ahead_ms)
        assert engine.status()["clock"] == {"offset_ms": -ahead_ms, "suspect": True}
        before, frames = state_of(engine), place.disk.frames
        refused: list[Decide] = [
            creates("new"),
            sets("a", "description", "x"),
            switches("a", kill=False),
            deletes("a"),
            both(switches("a", kill=True), deletes("b")),
            both(switches("a", kill=True), sets("b", "env/prod/enabled", False)),
        ]
        for decide in refused:
            with pytest.raises(errors.NodeNotReady, match="clock") as told:
                await write(engine, decide)
            assert told.value.definite
        assert (state_of(engine), place.disk.frames) == (before, frames)
        await write(engine, switches("a", kill=True))
        await write(engine, both(switches("b", kill=True), switches("c", kill=True)))
        for key in "abc":
            assert shop(engine).flag_set("prod").flags[key]["enabled"] is False


@pytest.mark.parametrize(
    "ahead_ms",
    [(FAR, FAR), (FAR,), (), (FAR, 0, 0), (FAR, -FAR, 0), (-YEAR_MS, 0, 0), (CLOCK_SKEW_LIMIT_MS,) * 3],
    ids=str,
)
async def test_too_few_peers_or_a_lone_outlier_or_the_limit_itself_do_not_stop_writes(
    autojump_clock: object, ahead_ms: tuple[int, ...]
) -> None:
    async with node() as (_, engine):
        await with_peers_at(engine, *ahead_ms)
        await write(engine, creates("a"))


async def test_what_peers_said_long_ago_is_no_longer_held_against_us(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await with_peers_at(engine, FAR, FAR, FAR)
        await trio.sleep(61)
        await write(engine, creates("a"))
        await with_peers_at(engine, FAR, FAR, FAR)
        with pytest.raises(errors.NodeNotReady):
            await write(engine, creates("b"))
        await with_peers_at(engine, 0, 0, 0)
        await write(engine, creates("b"))


async def test_a_peer_a_year_ahead_is_heard_and_does_not_drag_us_along(autojump_clock: object) -> None:
    async with node() as (place, engine):
        far = Stranger(hlc_ms=EPOCH_MS + YEAR_MS)
        theirs = far.create("f", description="theirs")
        await push(engine, [theirs])
        assert place.kept.suspects == 1
        written = await write(engine, sets("f", "description", "mine"))
        assert written.hlc is not None
        assert hlcs.milliseconds(written.hlc) - place.clock.wall_ms() < 1_000
        state = shop(engine).flag("f")
        assert state is not None
        assert state.description == "mine", "who has seen a value replaces it, whatever its stamp"
        await far.follow(engine)
        far.write([CellWrite("flag/f", state.generation, "description", "again")])


async def test_a_peer_a_little_ahead_is_believed(autojump_clock: object) -> None:
    async with node() as (place, engine):
        theirs = Stranger(hlc_ms=place.clock.wall_ms() + CLOCK_SKEW_LIMIT_MS - 1_000).create("f")
        await push(engine, [theirs])
        written = await write(engine, creates("g"))
        assert written.hlc is not None
        assert written.hlc > theirs.hlc
        assert place.kept.suspects == 0


async def stamp(engine: Engine, key: str) -> int:
    written = await write(engine, creates(key), durability="node")
    assert written.hlc is not None
    return written.hlc


@pytest.mark.parametrize("drained", [True, False], ids=["in the store", "in the journal only"])
@pytest.mark.parametrize("beside", ["nothing", "an older stamp", "a stamp of next year"])
async def test_after_a_restart_on_a_slow_clock_stamps_go_on_above_our_own(
    autojump_clock: object, drained: bool, beside: str
) -> None:
    """Also if what came last, from others, has a lower stamp or one that is not believed."""
    async with node() as (place, engine):
        await stamp(engine, "a")
        mine = await stamp(engine, "b")
        now_ms = place.clock.wall_ms()
        if beside != "nothing":
            ms = now_ms - 50_000 if beside == "an older stamp" else now_ms + YEAR_MS
            await push(engine, [Stranger(hlc_ms=ms).create("theirs")])
        if drained:
            await engine.drain()
    place.clock.step(-30_000)
    async with running(place.engine()) as again:
        assert await stamp(again, "c") > mine


async def test_stamps_of_one_node_never_go_back_while_its_clock_does(autojump_clock: object) -> None:
    async with node() as (place, engine):
        stamps = []
        for n in range(10):
            stamps.append(await stamp(engine, f"f{n}"))
            place.clock.step(-10_000 if n % 2 else 5_000)
        assert stamps == sorted(set(stamps))


async def test_a_year_ahead_ourselves_and_repaired_we_are_not_bound_to_next_year(
    autojump_clock: object,
) -> None:
    place = Place()
    place.clock.step(YEAR_MS)
    async with node(place) as (_, engine):
        await stamp(engine, "a")
    place.clock.step(-YEAR_MS)
    async with running(place.engine()) as again:
        assert hlcs.milliseconds(await stamp(again, "b")) - place.clock.wall_ms() < 1_000
        await write(again, sets("a", "description", "edited"))
        state = shop(again).flag("a")
        assert state is not None
        assert state.description == "edited"
