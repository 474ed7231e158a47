"""However many flags are created at once, there are no more than the limit; far below it nobody waits in line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from tests.unit.node.engine.world import GatedJournal, creates, node, shop, write
from vexil.node import errors
from vexil.node.authoring import FlagdImport, Intent, change_set, create_flag
from vexil.node.authoring.limits import FLAGS_MAX
from vexil.node.engine import Engine
from vexil.node.project import Project

Decide = Callable[[Project], Intent]


def never() -> str:
    raise AssertionError("a flag without rules needs no id")


def one(key: str, *, flags_max: int) -> Decide:
    body = {"key": key, "type": "boolean"}
    return lambda project: create_flag(project, body, new_id=never, flags_max=flags_max)


def several(name: str, count: int, *, flags_max: int) -> Decide:
    operations = [{"op": "create", "flag": f"{name}-{n}", "value": {"type": "boolean"}} for n in range(count)]
    body = {"operations": operations}
    return lambda project: change_set(project, body, new_id=never, flags_max=flags_max).intent


def imported(name: str, count: int, *, flags_max: int) -> Decide:
    """One change of an import: it takes in what there is room for."""
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
    document = {"flags": {f"{name}-{n}": flag for n in range(count)}}

    def decide(project: Project) -> Intent:
        run = FlagdImport(project, document, environment="prod", mode="merge", flags_max=flags_max)
        return next((change.decide(project) for change in run.changes(project)), Intent())

    return decide


async def together(engine: Engine, journal: GatedJournal, decisions: list[Decide]) -> list[str]:
    """Make all decisions while the journal is busy with the flag ``blocker``; the codes of what was refused."""
    refused: list[str] = []

    async def attempt(decide: Decide) -> None:
        try:
            await write(engine, decide)
        except errors.ApiError as error:
            refused.append(error.code)

    journal.hold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt, creates("blocker"))
        await trio.sleep(0.01)
        for decide in decisions:
            nursery.start_soon(attempt, decide)
            await trio.sleep(0.001)
        assert engine.pipeline.queued == len(decisions)
        journal.let_go()
    return refused


async def test_creates_that_wait_together_stop_at_the_limit(autojump_clock: object) -> None:
    async with node() as (place, engine):
        decisions = [one(f"f{n}", flags_max=5) for n in range(20)]
        refused = await together(engine, place.journal, decisions)
        assert len(shop(engine).flag_keys()) == 5
        assert refused == ["limit.flags"] * 16


@pytest.mark.parametrize("many", [several, imported])
@pytest.mark.parametrize("room", [10, 30, 60, 90])
async def test_changes_that_create_many_do_not_go_over_it_together_either(
    autojump_clock: object, many: Callable[..., Decide], room: int
) -> None:
    async with node() as (place, engine):
        decisions = [many(f"m{n}", 2 + n, flags_max=room) for n in range(8)]
        decisions += [one(f"f{n:02}", flags_max=room) for n in range(40)]
        await together(engine, place.journal, decisions)
        # More was asked for than there is room, or just so much as there is (1 + 44 + 40).
        assert len(shop(engine).flag_keys()) == min(room, 85)


async def test_far_below_the_limit_they_share_a_batch(autojump_clock: object) -> None:
    async with node() as (place, engine):
        before = place.disk.frames
        decisions = [one(f"f{n}", flags_max=FLAGS_MAX) for n in range(50)]
        decisions += [several(f"s{n}", 5, flags_max=FLAGS_MAX) for n in range(10)]
        assert await together(engine, place.journal, decisions) == []
        assert len(shop(engine).flag_keys()) == 101
        assert place.disk.frames == before + 2
