"""However often a client tries, there is one write: by its idempotency key, by the change that it names, anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio

from tests.unit.node.engine.world import (
    EU_2,
    SHOP,
    Place,
    Stranger,
    creates,
    flag_writes,
    hear,
    make_shop,
    node,
    push,
    running,
    sets,
    shop,
    write,
)
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.node import errors
from vexil.node.engine import Engine
from vexil.node.engine_types import Written
from vexil.node.idempotency import KEPT_MS
from vexil.node.seams import LogRecord
from vexil.node.writing import RETRY_WAIT_MS

KEY = ("key-1", b"the body's hash")


async def test_the_same_key_with_the_same_body_is_the_same_change(autojump_clock: object) -> None:
    async with node() as (_, engine):
        first = await write(engine, creates("a"), idempotency=KEY)
        await write(engine, creates("b"))
        again = await write(engine, creates("a"), idempotency=KEY)
        assert (first.replayed, again.replayed) == (False, True)
        assert (again.change_id, again.hlc) == (first.change_id, first.hlc)
        assert shop(engine).replica.vv == {engine.incarnation: 2}


async def test_a_replayed_write_is_not_decided_again(autojump_clock: object) -> None:
    """The second try would be refused by now: the flag is there."""
    async with node() as (_, engine):
        await write(engine, creates("a"), idempotency=KEY)

        def never(_: object) -> None:
            raise AssertionError("decided twice")

        again = await write(engine, never, idempotency=KEY)  # type: ignore[arg-type]
        assert again.replayed


async def test_the_same_key_with_another_body_is_refused(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await write(engine, creates("a"), idempotency=KEY)
        with pytest.raises(errors.IdempotencyMismatch):
            await write(engine, creates("b"), idempotency=(KEY[0], b"another"))
        assert shop(engine).flag_keys() == ["a"]


@pytest.mark.parametrize("body", [KEY[1], b"another"])
async def test_two_tries_that_wait_together_are_one_write(autojump_clock: object, body: bytes) -> None:
    async with node() as (place, engine):
        outcomes: dict[str, Written | errors.ApiError] = {}

        async def attempt(key: str, fingerprint: bytes) -> None:
            try:
                outcomes[key] = await write(engine, creates(key), idempotency=(KEY[0], fingerprint))
            except errors.ApiError as error:
                outcomes[key] = error

        place.journal.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, engine, creates("blocker"))
            await trio.sleep(0.01)
            nursery.start_soon(attempt, "a", KEY[1])
            await trio.sleep(0.01)
            nursery.start_soon(attempt, "b", body)
            await trio.sleep(0.01)
            assert engine.pipeline.queued == 2
            place.journal.let_go()
        assert shop(engine).flag_keys() == ["a", "blocker"]
        first, second = outcomes["a"], outcomes["b"]
        assert isinstance(first, Written)
        if body == KEY[1]:
            assert isinstance(second, Written)
            assert (second.dot, second.replayed) == (first.dot, True)
        else:
            assert isinstance(second, errors.IdempotencyMismatch)


async def test_a_key_of_a_refused_write_is_free_again(autojump_clock: object) -> None:
    async with node() as (place, engine):
        place.disk.fill()
        with pytest.raises(errors.DurabilityUnavailable):
            await write(engine, creates("a"), idempotency=KEY)
        place.disk.free()
        written = await write(engine, creates("b"), idempotency=(KEY[0], b"another"))
        assert not written.replayed
        assert shop(engine).flag_keys() == ["b"]


async def test_keys_of_different_projects_are_different_keys(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await write(engine, creates("a"), idempotency=KEY)
        written = await engine.write("_system", creates("a"), author="ada", idempotency=KEY)
        assert not written.replayed


@pytest.mark.parametrize("drained", [True, False], ids=["in the store", "in the journal only"])
async def test_a_key_is_known_after_a_restart(autojump_clock: object, drained: bool) -> None:
    async with node() as (place, engine):
        first = await write(engine, creates("a"), idempotency=KEY, durability="node")
        await write(engine, creates("b"), durability="node")
        if drained:
            await engine.drain()
            place.disk.wipe()
    async with running(place.engine()) as engine:
        again = await write(engine, creates("a"), idempotency=KEY, durability="node")
        assert (again.dot, again.hlc, again.replayed) == (first.dot, first.hlc, True)
        with pytest.raises(errors.IdempotencyMismatch):
            await write(engine, creates("a"), idempotency=(KEY[0], b"another"), durability="node")


async def test_a_key_that_was_used_elsewhere_is_known_here(autojump_clock: object) -> None:
    async with node() as (_, engine):
        theirs = Stranger().write(flag_writes("a"), idempotency=KEY)
        await push(engine, [theirs])
        again = await write(engine, creates("a"), idempotency=KEY)
        assert (again.dot, again.replayed) == (theirs.dot, True)
        with pytest.raises(errors.IdempotencyMismatch):
            await write(engine, creates("b"), idempotency=(KEY[0], b"another"))


async def test_a_key_is_forgotten_after_a_day_and_not_before(autojump_clock: object) -> None:
    async with node() as (place, engine):
        first = await write(engine, creates("a"), idempotency=KEY)
        place.clock.step(KEPT_MS - 600_000)
        await trio.sleep(120)
        assert (await write(engine, creates("a"), idempotency=KEY)).dot == first.dot
        place.clock.step(1_200_000)
        await trio.sleep(120)
        assert not (await write(engine, sets("a", "description", "x"), idempotency=KEY)).replayed


# -- retries that name the change


async def test_a_retry_of_a_change_that_is_here_is_that_change(autojump_clock: object) -> None:
    async with node() as (_, engine):
        await push(engine, [Stranger().create("theirs")])  # so that the change has a cause
        first = await write(engine, creates("a"), idempotency=KEY)
        assert first.dot is not None
        again = await write(engine, creates("a"), idempotency=KEY, retry_of=first.dot)
        assert (again.change_id, again.hlc, again.replayed) == (first.change_id, first.hlc, True)
        with pytest.raises(errors.IdempotencyMismatch):
            await write(engine, creates("a"), idempotency=("other", b""), retry_of=first.dot)
        assert shop(engine).replica.vv == {engine.incarnation: 1, 0x99: 1}


async def test_a_retry_of_a_change_that_is_nowhere_stays_unknown(autojump_clock: object) -> None:
    async with node() as (_, engine):
        began = trio.current_time()
        with pytest.raises(errors.WriteIndeterminate) as told:
            await write(engine, creates("a"), idempotency=KEY, retry_of=(0x99, 1))
        assert trio.current_time() - began == pytest.approx(RETRY_WAIT_MS / 1000)
        assert told.value.members["change"] == "0000000000000099:1"
        assert shop(engine).flag_keys() == []


async def test_a_retry_waits_for_a_change_that_is_on_its_way(autojump_clock: object) -> None:
    async with node() as (_, engine):
        theirs = Stranger().write(flag_writes("a"), idempotency=KEY)
        outcomes: list[Written] = []

        async def retry() -> None:
            outcomes.append(await write(engine, creates("a"), idempotency=KEY, retry_of=theirs.dot))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(retry)
            await trio.sleep(3)
            assert not outcomes
            await push(engine, [theirs])
        assert (outcomes[0].dot, outcomes[0].hlc, outcomes[0].replayed) == (theirs.dot, theirs.hlc, True)


async def test_a_retry_at_another_node_finds_the_write(autojump_clock: object) -> None:
    region = SimulatedRegion(Random(3))
    async with node(Place(region=region)) as (place, engine):
        other = Place("eu-3", board=place.board, region=region, seeds=("p://eu-1",))
        async with running(other.engine()) as there:
            first = await write(engine, creates("a"), idempotency=KEY)
            await trio.sleep(1)
            again = await write(there, creates("a"), idempotency=KEY)
            assert (again.change_id, again.replayed) == (first.change_id, True)
            assert (await write(there, creates("a"), retry_of=first.dot, idempotency=KEY)).hlc == first.hlc
            assert there.projects[SHOP].replica.vv == {engine.incarnation: 1}


async def test_a_key_that_the_regions_log_knows_before_the_node_does_gives_a_token_that_covers_it(
    autojump_clock: object,
) -> None:
    """A start reads keys from the log that the region shares; the change itself comes by gossip, later."""
    region = SimulatedRegion(Random(3))
    async with node(Place(region=region)) as (place, engine):
        await write(engine, creates("base"))
        other = Place("eu-3", board=place.board, region=region, seeds=("p://eu-1",))
        async with running(other.engine()):
            pass
        del place.board.engines["p://eu-1"], place.board.engines["p://eu-3"]
        engine.links.set("eu-1", "eu-3", cut=True)
        first = await write(engine, creates("a"), idempotency=KEY)
        assert first.dot is not None
        async with running(other.engine()) as there:
            assert SHOP in there.projects
            again = await write(there, creates("a"), idempotency=KEY)
            assert (again.dot, again.replayed) == (first.dot, True)
            assert again.token[first.dot[0]] >= first.dot[1]


@asynccontextmanager
async def known_by_its_key_only() -> AsyncIterator[tuple[Engine, Engine, Written]]:
    """Two nodes of a region whose link is cut: the second has read the first one's key in the log, and no more."""
    region = SimulatedRegion(Random(3))
    async with node(Place(region=region)) as (place, engine):
        await write(engine, creates("base"))
        other = Place("eu-3", board=place.board, region=region, seeds=("p://eu-1",), digests=True)
        async with running(other.engine()):
            pass
        engine.links.set("eu-1", "eu-3", cut=True)
        first = await write(engine, creates("a"), idempotency=KEY)
        async with running(other.engine()) as there:
            assert shop(there).flag_keys() == ["base"]
            yield engine, there, first


async def test_a_retry_by_a_key_that_the_log_knows_waits_for_the_change_itself(
    autojump_clock: object,
) -> None:
    async with known_by_its_key_only() as (engine, there, first):
        outcomes: list[Written] = []

        async def retry() -> None:
            outcomes.append(await write(there, creates("a"), idempotency=KEY, durability="region"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(retry)
            await trio.sleep(3)
            assert not outcomes
            engine.links.set("eu-1", "eu-3", cut=False)
        assert (outcomes[0].dot, outcomes[0].replayed) == (first.dot, True)
        assert outcomes[0].durability == "region"
        assert shop(there).flag_keys() == ["a", "base"]


@pytest.mark.parametrize("asked", ["", "node", "peer", "region"])
async def test_a_change_that_only_the_log_has_told_of_is_as_durable_as_the_log(
    autojump_clock: object, asked: str
) -> None:
    async with known_by_its_key_only() as (_, there, first):
        began = trio.current_time()
        again = await write(there, creates("a"), idempotency=KEY, durability=asked)
        # A little more: the keys of the log are read behind readiness.
        assert trio.current_time() - began == pytest.approx(RETRY_WAIT_MS / 1000, abs=1)
        assert (again.dot, again.replayed, again.durability) == (first.dot, True, "region")


async def test_a_change_of_the_own_log_that_waits_for_its_cause_is_no_more_than_on_this_disk(
    autojump_clock: object,
) -> None:
    place = Place(embedded=True)
    async with node(place):
        pass
    first, second = Stranger(0xA1), Stranger(0xA2)
    second.replica.apply(first.create("cause"))
    waiting = second.write(flag_writes("a"), idempotency=KEY)
    place.region.log.add(LogRecord(SHOP, *waiting.dot, waiting.raw))
    async with running(place.engine()) as engine:
        again = await write(engine, creates("a"), idempotency=KEY)
        assert (again.dot, again.replayed, again.durability) == (waiting.dot, True, "node")
        await hear(engine)  # so that a peer is in reach
        with pytest.raises(errors.WriteIndeterminate) as told:
            await write(engine, creates("a"), idempotency=KEY, durability="peer")
        assert told.value.members["change"] == again.change_id


async def test_a_retry_whose_log_cannot_be_read_stays_unknown(autojump_clock: object) -> None:
    place = Place()
    async with running(place.engine()) as engine:
        await make_shop(engine, members=(EU_2,))
        first = await write(engine, creates("a"), idempotency=KEY)
        await engine.drain()
    place.disk.wipe()
    async with running(place.engine()) as engine:
        place.region.available = False
        with pytest.raises(errors.WriteIndeterminate, match="log cannot be read"):
            await write(engine, creates("a"), idempotency=KEY, retry_of=first.dot)
