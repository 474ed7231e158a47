"""Two nodes and a link that can be cut: what is made at one is waited for at the other by who brings its token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import pytest
import trio

from tests.unit.node.api.nodes import BOOLEAN, OWNER_KEY, Client, KeptLog, Reply, make_app
from tests.unit.node.engine.world import Place, running
from vexil.chaos.world.simulated_clock import SeededEntropy
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.node.api.bootstrap import bootstrap_owner_key
from vexil.node.engine import Engine
from vexil.node.metrics import Metrics

PATIENT = {"Vexil-Wait-Ms": "10000"}
FLAG = "/api/v1/projects/new/flags/f"


@dataclass
class Pair:
    """The owner's client of each of two nodes in two regions, and the link between them."""

    eu: Client
    us: Client
    us_app: object
    engine: Engine
    logs: list[KeptLog]

    def cut(self, *, cut: bool = True) -> None:
        self.engine.links.set("eu-1", "us-1", cut=cut)

    async def answered_when_the_link_is_back(self, path: str, headers: Mapping[str, str]) -> Reply:
        """What us-1 answers to a GET that it is asked while the link is cut; not before the link is back."""
        answers: list[Reply] = []

        async def ask() -> None:
            answers.append(await self.us.get(path, headers={**PATIENT, **headers}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(3)
            assert not answers
            self.cut(cut=False)
        return answers[0]


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    """eu-1 and us-1, level and cut off from each other, both with the owner's key."""
    first = Place("eu-1")
    async with running(first.engine()) as engine:
        await bootstrap_owner_key(engine, OWNER_KEY, entropy=SeededEntropy(Random(23)))
        second = Place(
            "us-1",
            board=first.board,
            region=SimulatedRegion(Random(14)),
            seeds=("p://eu-1",),
            digests=True,
        )
        async with running(second.engine()) as there:
            logs = [KeptLog(), KeptLog()]
            apps = [
                make_app(node, log, Metrics(), clock=place.clock)
                for node, log, place in zip((engine, there), logs, (first, second), strict=True)
            ]
            made = Pair(Client(apps[0], OWNER_KEY), Client(apps[1], OWNER_KEY), apps[1], engine, logs)
            await trio.sleep(10)
            made.cut()
            yield made
            assert [log.failures for log in logs] == [[], []]


def token_of(reply: Reply) -> dict[str, str]:
    assert reply.status in {200, 201}, reply
    return {"Vexil-Token": reply.headers["Vexil-Token"]}


async def test_a_project_that_a_node_has_not_heard_of_is_waited_for_by_who_brings_its_token(
    autojump_clock: object,
) -> None:
    async with pair() as nodes:
        await nodes.eu.put("/api/v1/projects/new", {"environments": ["prod"]})
        made = await nodes.eu.post("/api/v1/projects/new/flags", {"key": "f", **BOOLEAN})
        assert (await nodes.us.get(FLAG)).status == 404, "without the token there is nothing to wait for"
        answer = await nodes.answered_when_the_link_is_back(FLAG, token_of(made))
        assert (answer.status, answer.json["key"]) == (200, "f")
        assert "Vexil-Behind" not in answer.headers


async def test_a_token_that_does_not_come_true_in_time_is_a_404_to_read_and_a_refusal_to_write(
    autojump_clock: object,
) -> None:
    async with pair() as nodes:
        token = token_of(await nodes.eu.put("/api/v1/projects/new", {"environments": ["prod"]}))
        assert (await nodes.us.get(FLAG, headers=token)).status == 404
        written = await nodes.us.post(
            "/api/v1/projects/new/flags", {"key": "f", **BOOLEAN}, headers={**token, "Vexil-Wait-Ms": "1000"}
        )
        assert (written.status, written.code) == (409, "token.behind")


async def test_an_environment_that_a_node_has_not_heard_of_is_waited_for_too(autojump_clock: object) -> None:
    async with pair() as nodes:
        nodes.cut(cut=False)
        await nodes.eu.put("/api/v1/projects/new", {"environments": ["prod"]})
        await trio.sleep(10)
        nodes.cut()
        path = "/api/v1/projects/new/export?environment=late"
        token = token_of(await nodes.eu.put("/api/v1/projects/new", {"environments": ["late", "prod"]}))
        assert (await nodes.us.get(path)).status == 404
        assert (await nodes.answered_when_the_link_is_back(path, token)).status == 200


@pytest.mark.parametrize("with_token", [False, True])
async def test_a_new_key_is_unknown_at_another_node_until_it_has_come_there(
    autojump_clock: object, with_token: bool
) -> None:
    """Nobody who cannot name a key is made to wait, or waited for; its owner can ask whether it has come."""
    async with pair() as nodes:
        made = await nodes.eu.post("/api/v1/keys", {"kind": "admin", "role": "viewer"})
        token = token_of(made)
        holder = Client(nodes.us_app, made.json["key"])
        began = trio.current_time()
        refused = await holder.get("/api/v1/projects", headers={**PATIENT, **token} if with_token else {})
        assert (refused.status, refused.code) == (401, "key.invalid")
        assert trio.current_time() - began < 1
        listed = await nodes.answered_when_the_link_is_back("/api/v1/keys", token)
        assert made.json["id"] in [key["id"] for key in listed.json["items"]]
        assert (await holder.get("/api/v1/projects")).status == 200
