"""A whole environment for SDKs: polled with an ETag, made once for all, and never at the cost of others."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio

from tests.unit.node.api.nodes import Served, serving
from tests.unit.node.api.streams import streaming
from tests.unit.node.engine.world import flag_writes
from vexil.crdt.change import Change
from vexil.crdt.limits import SEGMENT_MEMBERS_MAX
from vexil.crdt.pen import Pen
from vexil.node.api import flag_set_documents, json_body
from vexil.node.api.flag_set_documents import TURN_NAMES, FlagSetDocuments
from vexil.node.project import Project
from vexil.sdk.documents import flag_set_document

FLAGS = "/api/v1/projects/shop/flags"
SEGMENTS = "/api/v1/projects/shop/segments"
SDK_FLAGS = "/sdk/v1/flags"
ON: dict[str, Any] = {"environments": {"prod": {"enabled": True, "default": "on"}}}


async def many(node: Served, count: int) -> Project:
    """``count`` flags that have come from elsewhere."""
    for start in range(0, count, 400):
        keys = [f"f{number}" for number in range(start, min(count, start + 400))]
        await node.arrive(await node.elsewhere(partial(_create, node, keys)))
    return node.engine.projects["shop"]


def _create(node: Served, keys: list[str], pen: Pen) -> Change:
    writes = [write for key in keys for write in flag_writes(key)]
    return pen.write(writes, hlc=node.later_hlc(), author="x")


async def test_an_environment_is_polled_with_its_version(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", **ON)
        await node.owner.put(f"{SEGMENTS}/s", {"members": ["u2", "u1"], "rules": []})
        first = await node.server.get(SDK_FLAGS)
        flag_set = node.engine.projects["shop"].flag_set("prod")
        assert first.json == {
            "version": flag_set.version,
            "bucketing": "v3",
            "flags": {"a": flag_set.flags["a"]},
            "segments": {"s": {"members": ["u1", "u2"], "rules": []}},
            "evaluators": {},
            "metadata": {},
        }
        assert first.json == flag_set_document(flag_set)
        tag = first.headers["ETag"]
        assert tag == f'"{flag_set.version}"'
        for sent in (tag, f"W/{tag}", f'"x", {tag}'):
            same = await node.server.get(SDK_FLAGS, headers={"If-None-Match": sent})
            assert (same.status, same.data, same.headers["ETag"]) == (304, b"", tag)
        await node.owner.post(f"{FLAGS}/a/environments/prod/kill")
        changed = await node.server.get(SDK_FLAGS, headers={"If-None-Match": tag})
        assert (changed.status, changed.json["flags"]["a"]["enabled"]) == (200, False)
        assert "Vexil-Token" in changed.headers
        assert "Vexil-As-Of" in changed.headers


async def test_an_empty_environment_is_a_document_too(autojump_clock: object) -> None:
    async with serving() as node:
        assert (await node.server.get(SDK_FLAGS)).json["flags"] == {}


async def test_only_server_keys_get_it(autojump_clock: object) -> None:
    async with serving() as node:
        for client, status in ((node.client, 403), (node.owner, 403), (node.nobody, 401)):
            assert (await client.get(SDK_FLAGS)).status == status


async def test_the_token_is_that_of_the_document(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flag_set_documents, "TURN_BYTES", 1)
    async with serving() as node:
        await many(node, 300)
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await node.server.get(SDK_FLAGS))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            for number in range(5):
                await trio.lowlevel.checkpoint()
                await node.flag(f"late-{number}")
        (answer,) = answers
        token, document = answer.headers["Vexil-Token"], answer.json
        # Who goes on from this token misses nothing that the document lacks.
        async with streaming(
            node.app, "/sdk/v1/stream", node.server.key, if_none_match=answer.headers["ETag"]
        ) as stream:
            first = await stream.event()
            assert first.name in ("put", "patch")
        async with streaming(node.app, "/sdk/v1/stream", node.server.key, last_event_id=token) as stream:
            first = await stream.event()
        now = (await node.server.get(SDK_FLAGS)).json["flags"]
        assert len(document["flags"]) < len(now)
        assert first.data.get("flags", {**document["flags"], **first.data.get("set", {})}) == now


async def test_what_has_not_changed_is_not_encoded_again(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as node:
        project = await many(node, 2_000)
        documents = FlagSetDocuments(kept_max=1)
        first = await documents.of(project, "prod", lambda: "t")
        await node.owner.post(f"{FLAGS}/f7/environments/prod/kill")
        encoded = []

        def encode(value: object) -> bytes:
            if isinstance(value, dict) and "variants" in value:
                encoded.append(value)
            return json_encode(value)

        json_encode = json_body.encode
        monkeypatch.setattr(json_body, "encode", encode)
        second = await documents.of(project, "prod", lambda: "t")
        assert 0 < len(encoded) < 500
        assert first.version != second.version
        monkeypatch.undo()
        anew = await FlagSetDocuments(kept_max=1).of(project, "prod", lambda: "t")
        assert json_body.decode(b"".join(second.pieces)) == json_body.decode(b"".join(anew.pieces))


async def test_those_who_ask_together_share_one_document(autojump_clock: object) -> None:
    async with serving() as node:
        project = await many(node, 1_000)
        documents = FlagSetDocuments(kept_max=1)
        made: list[Any] = []

        async def ask() -> None:
            made.append(await documents.of(project, "prod", lambda: "t"))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert len({id(document) for document in made}) == 1


async def test_who_asks_after_a_change_gets_it_though_a_document_is_being_made(
    autojump_clock: object,
) -> None:
    async with serving() as node:
        project = await many(node, 1_000)
        documents = FlagSetDocuments(kept_max=1)
        made: dict[str, Any] = {}

        async def ask(name: str) -> None:
            made[name] = await documents.of(project, "prod", lambda: "t")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "before")
            await trio.lowlevel.checkpoint()
            await node.flag("new", **ON)
            version = project.flag_set("prod").version
            await ask("after")
        assert made["after"].version == version


async def test_others_have_turns_while_a_large_segment_is_told(autojump_clock: object) -> None:
    async with serving() as node:
        members = [f"user-{number}" for number in range(3 * TURN_NAMES)]
        assert len(members) < SEGMENT_MEMBERS_MAX
        made = await node.owner.put(f"{SEGMENTS}/s", {"members": members[:400], "rules": []})
        assert made.status in (200, 201), made
        state = node.engine.projects["shop"].segment("s")
        assert state is not None
        state.members.update(members)
        async with streaming(node.app, "/sdk/v1/stream", node.server.key) as stream:
            put = await stream.event("put")
            assert set(put.data["segments"]["s"]["members"]) == set(members)
            await node.owner.post(f"{SEGMENTS}/s/members", {"add": ["one more"]})
            patch = await stream.event("patch")
            assert patch.data["segments"]["members"] == {"s": {"add": ["one more"], "remove": []}}


async def test_another_way_of_bucketing_is_another_version(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", **ON)
        project = node.engine.projects["shop"]
        async with streaming(node.app, "/sdk/v1/stream", node.server.key) as stream:
            before = await stream.event("put")
            project.configure(project.environments, "v2")
            node.engine.feeds.advanced(node.engine.system)
            after = await stream.event()
            assert (after.name, after.data["bucketing"]) == ("put", "v2")
            assert after.data["version"] != before.data["version"]
