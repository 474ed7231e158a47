"""A project takes another generation of bucketing: no flag changes, and everybody who evaluates must learn of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.unit.node.api.nodes import Served, serving
from tests.unit.node.api.streams import Event, streaming
from tests.unit.node.engine.world import flag_writes
from tests.unit.node.grpc.caller import Stream as Call
from tests.unit.node.grpc.caller import calling, frame
from vexil.crdt.change import Change
from vexil.crdt.pen import Pen
from vexil.node import feeds
from vexil.node.grpc.proto import evaluation_pb2, sync_pb2
from vexil.node.grpc.services import port_app
from vexil.node.grpc.structs import to_plain
from vexil.node.project import TURN_OBJECTS
from vexil.sdk.client.messages import Patch, whole_set
from vexil.sdk.model import FlagSet

HALVES = {"id": "halves", "if": True, "split": [["on", 1], ["off", 1]]}
SPLIT: dict[str, Any] = {
    "client_visible": True,
    "environments": {"prod": {"enabled": True, "default": "on", "rules": [HALVES]}},
}
PEOPLE = [f"user-{number}" for number in range(40)]
EVALUATE = "/ofrep/v1/evaluate/flags"
AT_ONCE_S = 1.0
"""Virtual, and much less than the time between two heartbeats."""
LARGE = TURN_OBJECTS + 10
"""Flags of a project that takes its settings in many turns."""


async def filled(node: Served, flags: int) -> None:
    """Flag ``split``, and so many others that have come from elsewhere."""
    await node.flag("split", **SPLIT)
    for start in range(0, flags, 400):
        numbers = range(start, min(flags, start + 400))
        await node.arrive(await node.elsewhere(partial(_created, node, numbers)))


def _created(node: Served, numbers: range, pen: Pen) -> Change:
    writes = [write for number in numbers for write in flag_writes(f"other-{number}")]
    return pen.write(writes, hlc=node.later_hlc(), author="us")


async def bucketed(node: Served, generation: str) -> None:
    made = await node.owner.put("/api/v1/projects/shop", {"bucketing": generation})
    assert made.status == 200, made


async def served_answers(node: Served) -> list[object]:
    """What the node itself answers to everybody."""
    bodies = ({"context": {"targetingKey": who}} for who in PEOPLE)
    return [(await node.server.post(f"{EVALUATE}/split", body)).json["value"] for body in bodies]


def answers(flag_set: FlagSet) -> list[object]:
    function = flag_set.functions["split"]
    return [function({"targetingKey": who}, lambda: 0.0).value for who in PEOPLE]


def held(before: FlagSet, event: Event) -> FlagSet:
    """What a client has after an event."""
    if event.name == "put":
        return whole_set(event.data)
    assert event.data["from"] == before.version
    return Patch(event.data["from"], event.data["version"], event.data).apply(before)


def opened(node: Served, **headers: str) -> Any:
    return streaming(node.app, "/sdk/v1/stream", node.server.key, **headers)


@pytest.mark.parametrize("flags", [0, LARGE])
async def test_who_follows_by_an_sdk_evaluates_as_the_node_does(autojump_clock: object, flags: int) -> None:
    async with serving() as node:
        await filled(node, flags)
        async with opened(node) as stream:
            flag_set = held(FlagSet(), await stream.event("put"))
            found = [answers(flag_set)]
            for generation in ("v2", "v3"):
                await bucketed(node, generation)
                with trio.fail_after(AT_ONCE_S):
                    flag_set = held(flag_set, await stream.event())
                found.append(answers(flag_set))
                assert found[-1] == await served_answers(node)
            # And it goes on from there.
            await node.owner.post("/api/v1/projects/shop/flags/split/environments/prod/kill")
            patch = await stream.event()
            assert patch.name == "patch"
            assert held(flag_set, patch).flags["split"]["enabled"] is False
        assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("header", ["last_event_id", "if_none_match"])
@pytest.mark.parametrize("idle_max", [0, 64])
async def test_who_was_away_meanwhile_learns_it_when_he_comes_back(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, header: str, idle_max: int
) -> None:
    monkeypatch.setattr(feeds, "IDLE_FEEDS_MAX", idle_max)
    async with serving() as node:
        await filled(node, 0)
        async with opened(node) as stream:
            put = await stream.event("put")
        said = {"last_event_id": put.id, "if_none_match": f'"{put.data["version"]}"'}[header]
        await bucketed(node, "v2")
        async with opened(node, **{header: said}) as stream:
            flag_set = held(whole_set(put.data), await stream.event())
        assert answers(flag_set) == await served_answers(node) != answers(whole_set(put.data))


async def test_who_polls_gets_another_document(autojump_clock: object) -> None:
    async with serving() as node:
        await filled(node, 0)
        first = await node.server.get("/sdk/v1/flags")
        await bucketed(node, "v2")
        second = await node.server.get("/sdk/v1/flags", headers={"If-None-Match": first.headers["ETag"]})
        assert second.status == 200
        assert answers(whole_set(second.json)) == await served_answers(node)


async def _told(stream: Any) -> Event:
    told: Event = await stream.event("message")
    assert told.data["type"] == "refetchEvaluation"
    return told


@pytest.mark.parametrize("flags", [0, LARGE])
async def test_who_has_a_ticket_is_told_to_fetch_again(autojump_clock: object, flags: int) -> None:
    async with serving() as node:
        await filled(node, flags)
        url = await _url(node)
        async with streaming(node.app, url) as stream:
            await stream.event("message")
            await bucketed(node, "v2")
            with trio.fail_after(AT_ONCE_S):
                await _told(stream)


@pytest.mark.parametrize("idle_max", [0, 64])
async def test_who_has_a_ticket_and_was_away_is_told_when_he_comes_back(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, idle_max: int
) -> None:
    monkeypatch.setattr(feeds, "IDLE_FEEDS_MAX", idle_max)
    async with serving() as node:
        await filled(node, 0)
        url = await _url(node)
        async with streaming(node.app, url) as stream:
            await stream.event("message")
            await node.owner.post("/api/v1/projects/shop/flags/split/environments/prod/kill")
            last = await _told(stream)
        async with streaming(node.app, url, last_event_id=last.id) as stream:
            assert (await stream.event("message")).data == {"type": "open"}
        await bucketed(node, "v2")
        async with streaming(node.app, url, last_event_id=last.id) as stream:
            await _told(stream)


async def _url(node: Served) -> str:
    answer = await node.client.post(EVALUATE, {"context": {"targetingKey": "ada"}})
    url: str = answer.json["eventStreams"][0]["endpoint"]["requestUri"]
    # The answer itself is older than the stream that is opened with its ticket.
    await trio.sleep(2)
    return url


@pytest.mark.parametrize("flags", [0, LARGE])
async def test_flagd_clients_are_told_that_every_answer_may_be_another(
    autojump_clock: object, flags: int
) -> None:
    async with serving() as node:
        await filled(node, flags)
        app = port_app(node.app.services, project="shop", environment="prod")
        async with calling(app, "/flagd.evaluation.v2.Service/EventStream") as stream:
            stream.say(frame(evaluation_pb2.EventStreamRequest()))
            assert (await _event(stream))[0] == "provider_ready"
            await _event(stream)
            await bucketed(node, "v2")
            with trio.fail_after(AT_ONCE_S):
                kind, data = await _event(stream)
            assert (kind, len(data["flags"])) == ("configuration_change", flags + 1)


async def _event(stream: Call) -> tuple[str, Mapping[str, Any]]:
    while True:
        found = evaluation_pb2.EventStreamResponse.FromString(await stream.message())
        if found.type != "keep_alive":
            return found.type, to_plain(found.data)


async def test_a_flagd_document_has_no_word_for_it_and_is_not_sent_again(autojump_clock: object) -> None:
    async with serving() as node:
        await filled(node, 0)
        app = port_app(node.app.services, project="shop", environment="prod")
        first = await node.server.get("/flagd/v1/flags.json")
        async with calling(app, "/flagd.sync.v1.FlagSyncService/SyncFlags") as stream:
            stream.say(frame(sync_pb2.SyncFlagsRequest()))
            await stream.message()
            await bucketed(node, "v2")
            await trio.testing.wait_all_tasks_blocked()
            assert stream.rest == b""
            await node.flag("new")
            message = sync_pb2.SyncFlagsResponse.FromString(await stream.message())
            assert set(json.loads(message.flag_configuration)["flags"]) == {"split", "new"}
        again = await node.server.get(
            "/flagd/v1/flags.json", headers={"If-None-Match": first.headers["ETag"]}
        )
        assert again.status == 200
