"""Between two batches somebody may have the state to himself: writes wait, and are judged on what he leaves."""

from __future__ import annotations

import trio

from tests.unit.node.engine.world import Stranger, creates, node, push, sets, shop, write


async def test_nothing_is_applied_while_somebody_has_the_state_to_himself(autojump_clock: object) -> None:
    async with node() as (place, engine), trio.open_nursery() as nursery:
        async with engine.pipeline.exclusive():
            before = dict(shop(engine).replica.vv)
            nursery.start_soon(write, engine, creates("mine"))
            nursery.start_soon(push, engine, [Stranger().create("theirs")])
            await trio.sleep(5)
            assert shop(engine).replica.vv == before
            assert not place.journal.waiting
        await write(engine, creates("last"))
        await trio.sleep(1)
        assert set(shop(engine).flag_keys()) == {"mine", "theirs", "last"}


async def test_a_batch_that_is_under_way_is_waited_for(autojump_clock: object) -> None:
    async with node() as (place, engine), trio.open_nursery() as nursery:
        place.journal.hold()
        nursery.start_soon(write, engine, creates("mine"))
        await trio.sleep(1)
        assert place.journal.waiting
        seen: list[list[str]] = []

        async def look() -> None:
            async with engine.pipeline.exclusive():
                seen.append(list(shop(engine).flag_keys()))

        nursery.start_soon(look)
        await trio.sleep(1)
        assert not seen
        place.journal.let_go()
        await trio.sleep(1)
        assert seen == [["mine"]]


async def test_whoever_fails_in_it_leaves_the_pipeline_going(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await write(engine, creates("mine"))
        try:
            async with engine.pipeline.exclusive():
                raise KeyError
        except KeyError:
            await write(engine, sets("mine", "description", "after"))
        flag = shop(engine).flag("mine")
        assert flag is not None
        assert flag.description == "after"
