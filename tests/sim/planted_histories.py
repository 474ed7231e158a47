"""Minimal histories of engines, each about one planted bug that seeds find rarely, or only by a reader or a session.

Each one asserts what must hold; `test_planted_bugs` runs it without its bug and with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

import trio
import trio.testing

from tests.unit.node.engine.clusters import cluster
from tests.unit.node.engine.world import (
    SHOP,
    Place,
    Stranger,
    creates,
    flag_writes,
    node,
    push,
    running,
    shop,
    sole,
    write,
)
from vexil.crdt import cell as cells
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.pen import CellWrite
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine

READ_EVERY_S = 0.001
READ_FOR_S = 0.1
TOKEN_WAIT_MS = 30_000
NEW_FIELDS = (("flag/f", "a switch of another century"), ("hologram/1", "shape"))


def told(history: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Tell it in virtual time; of a group of one error that error is raised."""

    @wraps(history)
    def tell() -> None:
        try:
            trio.run(history, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseExceptionGroup as group:
            raise sole(group) from None

    return tell


@told
async def a_tie_goes_to_the_higher_incarnation() -> None:
    """P13. Of two writes with one stamp that had not seen each other, the one of the higher incarnation is shown."""
    async with node() as (_, engine):
        await write(engine, creates("f"))
        lower, higher = Stranger(0xA1), Stranger(0xA2)
        for stranger, said in ((higher, "higher"), (lower, "lower")):
            await stranger.follow(engine)
            state = shop(engine).flag("f")
            assert state is not None
            stranger.write([CellWrite("flag/f", state.generation, "description", said)])
        assert lower.log[0].hlc == higher.log[0].hlc
        await push(engine, [higher.log[0], lower.log[0]])
        shown = shop(engine).flag("f")
        assert shown is not None
        assert shown.description == "higher"


@told
async def a_reader_sees_all_of_a_change_set() -> None:
    """P7. Whoever looks at the flag sets at any moment finds both flags of a change, or neither."""
    async with node() as (_, engine):
        both = [*flag_writes("left"), *flag_writes("right")]
        reads: list[frozenset[str]] = []

        async def read() -> None:
            with trio.move_on_after(READ_FOR_S):
                while True:
                    reads.append(frozenset(shop(engine).flag_set("prod").flags))
                    await trio.sleep(READ_EVERY_S)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(READ_FOR_S / 2)
            await write(engine, lambda _: Intent(both))
        assert set(reads) == {frozenset(), frozenset({"left", "right"})}


@told
async def what_a_node_cannot_read_is_there_after_a_start() -> None:
    """P3. A field and an object of a newer version are in the state of a node that has started from its store."""
    place = Place()
    newer = Stranger()
    async with node(place) as (_, engine):
        writes = [CellWrite(name, NO_GENERATION, field, "kept") for name, field in NEW_FIELDS]
        await push(engine, [newer.write(writes)])
        await engine.drain()
        _has_new_fields(engine)
    async with running(place.engine()) as engine:
        _has_new_fields(engine)


def _has_new_fields(engine: Engine) -> None:
    held = [cells.live(shop(engine).replica.cell(name, NO_GENERATION, field)) for name, field in NEW_FIELDS]
    assert all(held)


@told
async def who_fails_over_reads_what_he_has_seen() -> None:
    """P6. A node that is behind a token says that it has caught up when it has."""
    async with cluster("eu-1", "us-1") as nodes:
        nodes.cut("us-1")
        written = await write(nodes["eu-1"], creates("seen"))
        nodes.mend("us-1")
        there = nodes["us-1"]
        assert await there.wait_for(SHOP, written.token, TOKEN_WAIT_MS)
        assert "seen" in shop(there).flag_set("prod").flags
