"""The stream of the SDK: the whole set once, then what changes; and every way in which a stream goes on or ends."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from tests.unit.node.api.nodes import Served, lines_of, serving
from tests.unit.node.api.streams import Event, Stream, streaming
from tests.unit.node.engine.world import flag_writes
from vexil.node.api import tokens
from vexil.node.api.limits import ApiLimits
from vexil.node.feed import STEPS_MAX

FLAGS = "/api/v1/projects/shop/flags"
SEGMENTS = "/api/v1/projects/shop/segments"
STREAM = "/sdk/v1/stream"
ON: dict[str, Any] = {"environments": {"prod": {"enabled": True, "default": "on"}}}


def opened(node: Served, **headers: str) -> Any:
    return streaming(node.app, STREAM, node.server.key, **headers)


async def turned(node: Served, key: str, *, on: bool, environment: str = "prod") -> None:
    made = await node.owner.patch(f"{FLAGS}/{key}", {"environments": {environment: {"enabled": on}}})
    assert made.status == 200, made


async def served(node: Served) -> Any:
    """What polling gives at this moment."""
    return (await node.server.get("/sdk/v1/flags")).json


def patched(document: Any, patch: Any) -> Any:
    """What a follower makes of a patch, by the letter of the interface."""
    assert patch["from"] == document["version"]
    flags = {**document["flags"], **patch["set"]}
    segments = patch.get("segments", {})
    kept = {**document["segments"], **segments.get("set", {})}
    for key, change in segments.get("members", {}).items():
        members = set(kept[key]["members"]) - set(change["remove"]) | set(change["add"])
        kept[key] = {**kept[key], "members": sorted(members)}
    return {
        **document,
        **{name: patch[name] for name in ("evaluators", "metadata", "bucketing") if name in patch},
        "version": patch["version"],
        "flags": {key: flag for key, flag in flags.items() if key not in patch["delete"]},
        "segments": {k: v for k, v in kept.items() if k not in segments.get("delete", [])},
    }


async def test_a_stream_begins_with_everything_and_goes_on_with_what_changes(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", **ON)
        await node.flag("b", **ON)
        async with opened(node) as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            put = await stream.event()
            assert (put.name, put.data) == ("put", await served(node))
            assert put.id == (await node.server.get("/sdk/v1/flags")).headers["Vexil-Token"]
            await turned(node, "a", on=False)
            patch = await stream.event()
            assert (patch.name, set(patch.data["set"]), patch.data["delete"]) == ("patch", {"a"}, [])
            assert patch.data["set"]["a"]["enabled"] is False
            assert not patch.data.keys() & {"segments", "evaluators", "metadata", "bucketing"}
            await node.owner.delete(f"{FLAGS}/b")
            gone = await stream.event()
            assert (gone.data["set"], gone.data["delete"]) == ({}, ["b"])
            assert patched(patched(put.data, patch.data), gone.data) == await served(node)


async def test_a_stream_says_how_fresh_its_node_is(autojump_clock: object) -> None:
    async with serving(limits=ApiLimits(stream_heartbeat_s=15)) as node, opened(node) as stream:
        status = (await stream.event("status")).data
        assert (status["node"], status["region"], status["stale"]) == ("eu-1", "eu", [])
        assert status["as_of"]["eu"].endswith("Z")
        begun_s = trio.current_time()
        assert (await stream.event("")).name == ""
        assert trio.current_time() - begun_s <= 15
        again = (await stream.event("status")).data
        assert again["as_of"]["eu"] > status["as_of"]["eu"]


async def test_one_change_set_is_one_patch(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", **ON)
        await node.flag("b", **ON)
        async with opened(node) as stream:
            await stream.event("put")
            kills = [{"op": "kill", "flag": key, "environment": "prod"} for key in "ab"]
            made = await node.owner.post(
                "/api/v1/projects/shop/changes", {"message": "", "operations": kills}
            )
            assert made.status in (200, 201), made
            patch = await stream.event()
            assert {key: flag["enabled"] for key, flag in patch.data["set"].items()} == {
                "a": False,
                "b": False,
            }


async def test_who_does_not_read_is_told_the_newest_state_and_not_its_past(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", **ON)
        async with opened(node) as stream:
            put = await stream.event("put")
            for number in range(20):
                await turned(node, "a", on=bool(number % 2))
                await node.flag(f"more-{number}", **ON)
            document = put.data
            patches = 0
            while document["version"] != (await served(node))["version"]:
                document = patched(document, (await stream.event("patch")).data)
                patches += 1
            assert document == await served(node)
            assert patches <= 2


async def test_what_happens_in_another_environment_can_wait_for_a_heartbeat(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", **ON)
        async with opened(node) as stream:
            put = await stream.event("put")
            await turned(node, "a", on=True, environment="dev")
            assert (await stream.next()).name == "status"
            assert (await stream.next()).name == ""
            assert (await stream.next()).data == {
                "from": put.data["version"],
                "version": (await served(node))["version"],
                "set": {},
                "delete": [],
            }


async def test_segments_and_settings_are_patched_in_parts(autojump_clock: object) -> None:
    async with serving() as node:
        everybody = [f"u{i}" for i in range(50)]
        for key in ("beta", "gone"):
            made = await node.owner.put(f"{SEGMENTS}/{key}", {"members": everybody, "rules": []})
            assert made.status in (200, 201), made
        async with opened(node) as stream:
            document = (await stream.event("put")).data
            await node.owner.post(f"{SEGMENTS}/beta/members", {"add": ["new", "u1"], "remove": ["u7"]})
            patch = (await stream.event("patch")).data
            assert patch["segments"] == {
                "set": {},
                "delete": [],
                "members": {"beta": {"add": ["new"], "remove": ["u7"]}},
            }
            document = patched(document, patch)
            await node.owner.delete(f"{SEGMENTS}/gone")
            document = patched(document, (await stream.event("patch")).data)
            rule = {"id": "r", "if": {"==": [{"var": "a"}, 1]}}
            await node.owner.patch(f"{SEGMENTS}/beta", {"rules": [rule]})
            patch = (await stream.event("patch")).data
            assert patch["segments"]["set"]["beta"]["rules"] == [rule]
            document = patched(document, patch)
            flagd = {"evaluators": {"e": {"==": [1, 1]}}, "metadata": {"team": "x"}}
            made = await node.owner.put("/api/v1/projects/shop/environments/prod/flagd", flagd)
            assert made.status == 200, made
            patch = (await stream.event("patch")).data
            assert (patch["evaluators"], patch["metadata"]) == (flagd["evaluators"], flagd["metadata"])
            assert patched(document, patch) == await served(node)


async def test_a_number_and_a_truth_value_are_not_the_same(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", type="object", variants={"v": {"n": 1}}, environments={})
        async with opened(node) as stream:
            await stream.event("put")
            for value in (True, 1):
                await node.owner.patch(f"{FLAGS}/a", {"variants": {"v": {"n": value}}})
                patch = (await stream.event("patch")).data
                assert repr(patch["set"]["a"]["variants"]["v"]["n"]) == repr(value)


async def test_a_stream_goes_on_where_it_was(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", **ON)
        async with opened(node) as stream:
            put = await stream.event("put")
        async with opened(node, last_event_id=put.id) as stream:
            assert (await stream.event("status", "put", "patch")).name == "status"
        await turned(node, "a", on=False)
        await node.flag("b", **ON)
        async with opened(node, last_event_id=put.id) as stream:
            patch = await stream.event()
            assert patch.name == "patch"
            assert patched(put.data, patch.data) == await served(node)
        async with opened(node, if_none_match=f'"{put.data["version"]}"') as stream:
            assert (await stream.event()).data == patch.data


async def test_who_was_away_for_too_long_takes_everything(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", **ON)
        async with opened(node) as stream:
            put = await stream.event("put")
        for number in range(STEPS_MAX + 1):
            await turned(node, "a", on=bool(number % 2))
        async with opened(node, last_event_id=put.id) as stream:
            again = await stream.event()
            assert (again.name, again.data) == ("put", await served(node))


@pytest.mark.parametrize("said", ["", "no token", "x" * 5000, "17"])
async def test_an_id_that_is_no_token_is_no_reason_to_refuse(autojump_clock: object, said: str) -> None:
    async with serving() as node, opened(node, last_event_id=said) as stream:
        assert (stream.status, (await stream.event()).name) == (200, "put")


async def test_who_knows_more_than_the_node_is_not_taken_back(autojump_clock: object) -> None:
    async with serving(limits=ApiLimits(stream_heartbeat_s=5)) as node:
        await node.flag("a", **ON)
        change = await node.elsewhere(lambda pen: _renamed(pen, node))
        async with opened(node) as stream:
            put = await stream.event("put")
        ahead = _ahead(put.id, change.incarnation, change.seq)
        async with opened(node, last_event_id=ahead, vexil_wait_ms="100") as stream:
            assert stream.headers["vexil-behind"] == "true"
            for _ in range(3):
                found = await stream.event("status", "put", "patch")
                assert (found.name, found.data["behind"]) == ("status", True)
            await node.arrive(change)
            caught_up = await stream.event()
            assert (caught_up.name, caught_up.data) == ("put", await served(node))
            assert (await stream.event("status")).data["behind"] is False


async def test_a_revoked_key_ends_its_streams_and_no_others(autojump_clock: object) -> None:
    async with serving() as node:
        other = await node.make_key(kind="server", project="shop", environment="prod")
        async with opened(node) as ended, streaming(node.app, STREAM, other.key) as going_on:
            for stream in (ended, going_on):
                await stream.event("put")
            key_id = str(node.server.key).split("_")[1]
            assert (await node.owner.delete(f"/api/v1/keys/{key_id}")).status == 200
            assert (await ended.rest())[-1] == Event("end", {"reason": "key.invalid"})
            await node.flag("a", **ON)
            assert (await going_on.event()).name == "patch"


async def test_a_removed_environment_ends_its_streams(autojump_clock: object) -> None:
    async with serving() as node, opened(node) as stream:
        await stream.event("put")
        made = await node.owner.put("/api/v1/projects/shop", {"environments": ["dev"]})
        assert made.status == 200, made
        assert (await stream.rest())[-1] == Event("end", {"reason": "environment.not_found"})


async def test_a_node_that_stops_spreads_its_followers_out(autojump_clock: object) -> None:
    async with serving() as node:
        waits = set()
        async with opened(node) as one, opened(node) as two, opened(node) as three:
            for stream in (one, two, three):
                await stream.event("put")
            node.engine.feeds.close()
            for stream in (one, two, three):
                said = await stream.rest()
                assert said[-1] == Event("end", {"reason": "shutdown"})
                waits.add(said[-2].data)
            refused = await node.server.get(STREAM)
            assert (refused.status, refused.code) == (503, "node.not_ready")
        assert len(waits) == 3
        assert all(1_000 <= wait_ms <= 15_000 for wait_ms in waits)


async def test_there_is_a_bound_on_streams_of_all_kinds(autojump_clock: object) -> None:
    async with serving() as node:
        feeds = node.engine.feeds
        feeds.streams_max = 2
        async with opened(node) as stream, feeds.follow("shop", "prod"):
            await stream.event("put")
            refused = await node.server.get(STREAM)
            assert (refused.status, refused.code) == (503, "limit.streams")
            assert 1 <= int(refused.headers["Retry-After"]) <= 5
            assert feeds.open == {"sdk": 1, "flagd": 1}
            assert 'vexil_streams_open{kind="sdk"} 1.0' in lines_of(node.metrics, "vexil_streams_open")
        async with opened(node) as stream:
            assert (await stream.event()).name == "put"


async def test_streams_are_not_among_the_requests_that_are_handled(autojump_clock: object) -> None:
    async with serving(limits=ApiLimits(requests_max=2)) as node, opened(node) as one, opened(node) as two:
        for stream in (one, two):
            await stream.event("put")
        assert (await node.server.get("/sdk/v1/flags")).status == 200


async def test_a_reader_who_takes_nothing_is_left(autojump_clock: object) -> None:
    async with serving(limits=ApiLimits(stream_piece_timeout_s=30)) as node:
        await node.flag("a", **ON)
        async with opened(node) as stream:
            begun_s = trio.current_time()
            await stream.done.wait()
            assert trio.current_time() - begun_s == pytest.approx(30)
            assert node.engine.feeds.open == {"sdk": 0}


async def test_who_goes_away_leaves_nothing_behind(autojump_clock: object) -> None:
    async with serving() as node:
        for _ in range(3):
            async with opened(node) as stream:
                await stream.event("put")
                assert node.engine.feeds.open == {"sdk": 1}
            assert node.engine.feeds.open == {"sdk": 0}


async def test_only_server_keys_follow_and_headers_can_be_asked_for(autojump_clock: object) -> None:
    async with serving() as node:
        for client, status in ((node.client, 403), (node.owner, 403), (node.nobody, 401)):
            assert (await client.get(STREAM)).status == status
        head = await node.server.ask("HEAD", STREAM)
        assert (head.status, head.data, head.headers["Content-Type"]) == (200, b"", "text/event-stream")
        assert node.engine.feeds.open.get("sdk", 0) == 0


@pytest.mark.parametrize("seed", range(3))
async def test_followers_with_patches_have_what_pollers_have(autojump_clock: object, seed: int) -> None:
    rng = random.Random(seed)
    async with serving() as node:
        async with opened(node) as stream:
            event = await stream.event("put")
            document, token = event.data, event.id
        for _ in range(8):
            for _ in range(rng.randrange(4)):
                await _edit(node, rng)
            async with opened(node, last_event_id=token) as stream:
                document, token = await _follow(node, stream, rng, document, token)
            assert _unordered(document) == _unordered(await served(node))


async def _follow(
    node: Served, stream: Stream, rng: random.Random, document: Any, token: str
) -> tuple[Any, str]:
    for _ in range(rng.randrange(3)):
        await _edit(node, rng)
    while document["version"] != (await served(node))["version"]:
        event = await stream.event("patch", "put")
        document = event.data if event.name == "put" else patched(document, event.data)
        token = event.id
    return document, token


async def _edit(node: Served, rng: random.Random) -> None:
    key, segment = f"f{rng.randrange(4)}", f"s{rng.randrange(2)}"
    person = f"u{rng.randrange(5)}"
    match rng.randrange(6):
        case 0:
            await node.owner.post(FLAGS, {"key": key, "type": "boolean", "variants": {"on": True}})
        case 1:
            await node.owner.delete(f"{FLAGS}/{key}")
        case 2:
            await node.owner.patch(
                f"{FLAGS}/{key}", {"environments": {"prod": {"enabled": rng.random() < 0.5}}}
            )
        case 3:
            await node.owner.put(f"{SEGMENTS}/{segment}", {"members": [person], "rules": []})
        case 4:
            change = {"add": [person], "remove": [f"u{rng.randrange(5)}"]}
            change["remove"] = [name for name in change["remove"] if name != person]
            await node.owner.post(f"{SEGMENTS}/{segment}/members", change)
        case _:
            await node.owner.delete(f"{SEGMENTS}/{segment}")


def _unordered(document: Any) -> Any:
    segments = {k: {**s, "members": sorted(s["members"])} for k, s in document["segments"].items()}
    return {**document, "segments": segments}


def _renamed(pen: Any, node: Served) -> Any:
    """A change of flag ``a`` at another node."""
    return pen.write(flag_writes("late"), hlc=node.later_hlc(), author="us")


def _ahead(token: str, incarnation: int, seq: int) -> str:
    """``token`` of somebody who has seen one change more."""
    seen = tokens.decode_all(token, "shop")
    return tokens.encode("shop", {**seen.vv, incarnation: seq}, system=seen.system)
