"""What a repair has mended in memory is mended in the region's store, and what was wrong there is gone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from tests.unit.node.engine.repair_worlds import (
    FIELD,
    believe,
    flip,
    level,
    place_of,
    put,
    repaired,
    settled,
    sound,
)
from tests.unit.node.engine.snapshot_worlds import (
    EU,
    FailingStore,
    Two,
    fill,
    two,
)
from tests.unit.node.engine.world import (
    creates,
    sets,
    shop,
    write,
)
from vexil.crdt import cell as cells
from vexil.crdt import payload as payloads
from vexil.node import refold
from vexil.node.seams import FoldEntry


async def test_it_is_mended_in_the_store_too(autojump_clock: object) -> None:
    async with two(behind=False) as both:
        await write(both.eu, sets("first", FIELD, "true"))
        await level(both)
        name, generation = place_of(both.us)
        change = max(shop(both.us).replica.vv.items())
        made_up = cells.write(
            cells.EMPTY, dot=change, hlc=5, payload=payloads.encode("nobody", "made up"), replaced=()
        )
        flip(both.us)
        put(both.us, "first", "tag/made-up", made_up)
        believe(both.us)
        assert both.us.writer is not None
        # What was wrong in memory has gotten into the store.
        both.us.writer.note_cells("shop", [(name, generation, FIELD), (name, generation, "tag/made-up")])
        await both.us.drain()
        await repaired(both)
        sound(both)
        await both.us.drain()
        await restarted(both)


async def restarted(both: Two) -> None:
    """What the store of ``us-1`` has is what ``eu-1`` has in memory, and nothing else is in it."""
    await both.us.drain()
    await both.kill_us()
    await both.start_us()
    sound(both)
    assert both.us.writer is not None
    checkpoints = await both.us.seams.store.fold_checkpoints()
    assert list(checkpoints["shop"]) == [both.us.writer.checkpoint("shop")]


def spoil(both: Two) -> None:
    """Put a made-up cell into the memory of ``us-1``, and into its store."""
    name, generation = place_of(both.us)
    change = max(shop(both.us).replica.vv.items())
    made_up = cells.write(
        cells.EMPTY, dot=change, hlc=5, payload=payloads.encode("nobody", "made up"), replaced=()
    )
    put(both.us, "first", "tag/made-up", made_up)
    believe(both.us)
    assert both.us.writer is not None
    both.us.writer.note_cells("shop", [(name, generation, "tag/made-up")])


async def test_a_store_that_does_not_take_it_is_asked_again(autojump_clock: object) -> None:
    async with two(behind=False, store=FailingStore) as both:
        await level(both)
        spoil(both)
        await both.us.drain()
        store = both.us.seams.store
        assert isinstance(store, FailingStore)
        store.failing = {"write_fold"}
        await both.us._exchange.sync(both.peer)
        await trio.sleep(120)
        assert both.same()
        assert not both.us.repairs.idle
        assert 0 < store.failures < 400
        store.failing = set()
        await settled(both.us)
        sound(both)
        await restarted(both)


class SlowStore(FailingStore):
    """A store that takes its time with every slice of a fold."""

    async def write_fold(self, project: str, entries: Sequence[FoldEntry], *, checkpoint: int = 0) -> None:
        await trio.sleep(0.01)
        await super().write_fold(project, entries, checkpoint=checkpoint)


async def test_what_is_written_while_the_fold_is_written_anew_is_in_it(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refold, "STAGE_ENTRIES", 5)
    monkeypatch.setattr(refold, "LAST_OBJECTS", 1)
    async with two(behind=False, store=SlowStore) as both:
        await fill(both.eu, "flag", 10)
        await level(both)
        spoil(both)
        await both.us.drain()
        checkpoint = both.us.writer.checkpoint("shop") if both.us.writer else 0
        count = 0

        async def author() -> None:
            nonlocal count
            while not both.us.repairs.idle:
                await write(both.us, creates(f"meanwhile{count}"), durability="node")
                await write(both.us, sets("flag003", FIELD, f"edit {count}"), durability="node")
                count += 1
                await trio.sleep(0.005)

        both.us.repairs.want("shop", EU)
        await author()
        assert count > 3
        assert both.us.writer is not None
        assert both.us.writer.checkpoint("shop") != checkpoint
        await both.us._exchange.sync(both.peer)
        sound(both)
        await restarted(both)
