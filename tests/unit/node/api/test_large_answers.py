"""Answers about many flags: others get their turn meanwhile, and the answer is of one moment all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.unit.node.api.nodes import BOOLEAN, Served, serving
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import EXISTS
from vexil.node.api import json_body
from vexil.node.api.documents import Documents
from vexil.node.api.turns import TURN_FLAGS, in_turns
from vexil.node.project import Project
from vexil.sdk import evaluate, ofrep, to_flagd

SHOP = "/api/v1/projects/shop"
EVALUATE = "/ofrep/v1/evaluate/flags"
FLAGS = 2 * TURN_FLAGS + 5
BY_SEGMENT, BY_DEFAULT = ("a0", "z0"), ("a1", "z1")
"""One of each is in the first turn of any answer, the other in the last."""
ADA = {"targetingKey": "ada"}


class Switches:
    """Switches the four flags in one change, straight into the node's state.

    Both pairs together have another state in each of four changes: no two turns of one answer look alike by chance.
    """

    def __init__(self, project: Project, *, hlc: int) -> None:
        self.project = project
        self.flips = 0
        self._pen = Pen(project.replica, 0x99)
        self._hlc = hlc

    def flip(self) -> None:
        self.flips += 1
        default = "on" if self.flips % 2 == 0 else "off"
        member = self.flips // 2 % 2 == 0
        writes = [self._write(f"flag/{key}", "env/prod/default", default) for key in BY_DEFAULT]
        writes.append(self._write("segment/s", "member/ada", True if member else TOMBSTONE))
        change = self._pen.write(writes, hlc=self._hlc + self.flips, author="test")
        self.project.replica.apply(change)
        self.project.refresh([change])

    def _write(self, name: str, field: str, value: object) -> CellWrite:
        generations = self.project.replica.objects[name]
        return CellWrite(name, next(g for g, fields in generations.items() if EXISTS in fields), field, value)

    async def during(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What ``ask`` gives while everybody else's turns are spent on switching; there must have been several."""
        done = trio.Event()

        async def switch() -> None:
            while not done.is_set():
                self.flip()
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(switch)
            found = await ask()
            done.set()
        assert self.flips > FLAGS // TURN_FLAGS
        return found


@asynccontextmanager
async def large() -> AsyncIterator[tuple[Served, Switches]]:
    """A node with flags for several turns of one answer."""
    async with serving() as node:
        flag = {"state": "ENABLED", "variants": BOOLEAN["variants"], "defaultVariant": "on"}
        document = {"flags": {f"f{n:04}": flag for n in range(FLAGS)}}
        done = await node.owner.post(f"{SHOP}/import?environment=prod", document)
        assert done.json["created"] == FLAGS, done
        assert (await node.owner.put(f"{SHOP}/segments/s", {"members": ["ada", "bob"]})).status == 201
        rule = {"id": "r", "if": {"segment": "s"}, "serve": "on"}
        for key in BY_SEGMENT:
            await node.flag(key, environments={"prod": {"enabled": True, "default": "off", "rules": [rule]}})
        for key in BY_DEFAULT:
            await node.flag(key, environments={"prod": {"enabled": True, "default": "on"}})
        yield node, Switches(node.engine.projects["shop"], hlc=node.later_hlc())


async def test_a_turn_is_so_many_flags_and_then_it_is_the_others() -> None:
    most, since = 0, 0
    done = trio.Event()

    async def other() -> None:
        nonlocal most, since
        while not done.is_set():
            most, since = max(most, since), 0
            await trio.lowlevel.checkpoint()

    keys = [str(n) for n in range(10 * TURN_FLAGS + 1)]
    seen: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async for turn in in_turns(keys):
            seen += turn
            since += len(turn)
        done.set()
    assert seen == keys
    # Twice as many if the other was first in one round of the event loop and last in the next.
    assert 0 < most <= 2 * TURN_FLAGS


@pytest.mark.parametrize("attempt", range(3))
async def test_all_flags_are_evaluated_as_of_one_moment(autojump_clock: object, attempt: int) -> None:
    async with large() as (node, switches):

        async def ask() -> Any:
            return await node.server.post(EVALUATE, {"context": ADA})

        answer = await switches.during(ask)
        values = {item["key"]: item["value"] for item in answer.json["flags"]}
        assert len(values) == FLAGS + 4
        for first, last in (BY_SEGMENT, BY_DEFAULT):
            assert values[first] == values[last]


async def test_an_answer_in_turns_has_the_bytes_of_one_in_one_turn(autojump_clock: object) -> None:
    async with large() as (node, switches):
        flag_set = switches.project.flag_set("prod")
        answer = await node.server.post(EVALUATE, {"context": ADA})
        now_s = node.clock.wall_ms() / 1000
        found = [evaluate(flag_set, key, ADA, now_s=now_s) for key in flag_set.flags]
        streams = answer.json["eventStreams"]
        assert answer.data == ofrep.bulk(found, event_streams=streams).body
        assert answer.headers["ETag"] == ofrep.entity_tag(ofrep.bulk(found).body)
        document, left_out = to_flagd(flag_set)
        made = await Documents(kept_max=1).of(switches.project, "prod")
        assert (made.body, list(made.left_out)) == (json_body.encode(document), left_out)


@pytest.mark.parametrize("attempt", range(3))
async def test_a_flagd_document_is_of_one_moment(autojump_clock: object, attempt: int) -> None:
    async with large() as (node, switches):

        async def ask() -> Any:
            return await node.server.get("/flagd/v1/flags.json")

        answer = await switches.during(ask)
        assert len(answer.json["flags"]) == FLAGS + 4
        for first, last in (BY_SEGMENT, BY_DEFAULT):
            assert answer.json["flags"][first] == answer.json["flags"][last]


async def test_those_who_ask_together_share_a_document_that_is_not_older_than_their_question(
    autojump_clock: object,
) -> None:
    async with large() as (_, switches):
        documents, project = Documents(kept_max=1), switches.project
        made: dict[str, Any] = {}

        async def ask(name: str) -> None:
            made[name] = await documents.of(project, "prod")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "first")
            nursery.start_soon(ask, "beside")
            await trio.lowlevel.checkpoint()
            before = project.flag_set("prod").version
            switches.flip()
            after = project.flag_set("prod").version
            nursery.start_soon(ask, "later")
            nursery.start_soon(ask, "later too")
        assert {made["first"].version, made["beside"].version} <= {before, after}
        assert made["later"].version == made["later too"].version == after
        assert made["later"] is made["later too"]


async def test_a_document_whose_maker_goes_away_is_made_by_who_waits_for_it(autojump_clock: object) -> None:
    async with large() as (_, switches):
        documents, project = Documents(kept_max=1), switches.project
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(documents.of, project, "prod")
                await trio.lowlevel.checkpoint()
                scope.cancel()
        made = await documents.of(project, "prod")
        assert made.version == project.flag_set("prod").version
