"""Streams: documents and events, now and after every change, and what ends them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import trio
import trio.testing

from tests.unit.node.api.nodes import Served, lines_of, serving
from tests.unit.node.grpc.caller import Stream, call, calling, frame
from tests.unit.sdk.documents import flag
from vexil.node.api.documents import Compiled, Documents
from vexil.node.api.limits import ApiLimits
from vexil.node.grpc.app import GrpcApp
from vexil.node.grpc.events import FLAGS_PER_EVENT, everything
from vexil.node.grpc.proto import evaluation_pb2, sync_pb2
from vexil.node.grpc.services import port_app
from vexil.node.grpc.statuses import Code
from vexil.node.grpc.structs import to_plain
from vexil.node.project import Project
from vexil.sdk.model import FlagSet

SYNC = "/flagd.sync.v1.FlagSyncService/SyncFlags"
FETCH = "/flagd.sync.v1.FlagSyncService/FetchAllFlags"
METADATA = "/flagd.sync.v1.FlagSyncService/GetMetadata"
EVENTS = "/flagd.evaluation.v2.Service/EventStream"
ASK = frame(sync_pb2.SyncFlagsRequest())
ON = {"prod": {"enabled": True, "default": "on"}}


def app_of(served: Served) -> GrpcApp:
    return port_app(served.app.services, project="shop", environment="prod")


async def document(stream: Stream) -> dict[str, Any]:
    return json.loads(sync_pb2.SyncFlagsResponse.FromString(await stream.message()).flag_configuration)


async def event(stream: Stream) -> tuple[str, dict[str, Any]]:
    found = evaluation_pb2.EventStreamResponse.FromString(await stream.message())
    return found.type, to_plain(found.data)


async def put_flagd_part(served: Served, **part: object) -> None:
    body = {"evaluators": {}, "metadata": {}, **part}
    assert (await served.owner.put("/api/v1/projects/shop/environments/prod/flagd", body)).status == 200


async def test_the_document_comes_at_once_and_after_each_change_of_it(autojump_clock: Any) -> None:
    async with serving() as served:
        await served.flag("f", environments=ON)
        async with calling(app_of(served), SYNC) as stream:
            stream.say(ASK)
            assert (await document(stream))["flags"]["f"]["defaultVariant"] == "on"
            await served.flag("elsewhere", environments={"dev": {"enabled": True, "default": "on"}})
            assert set((await document(stream))["flags"]) == {"f", "elsewhere"}
            # A change of another environment alone is none of this one's document.
            path = "/api/v1/projects/shop/flags/elsewhere"
            await served.owner.patch(path, {"environments": {"dev": {"enabled": False}}})
            await trio.testing.wait_all_tasks_blocked()
            assert stream.rest == b""
            # Nor is what flagd has no word for.
            assert (await served.owner.patch(path, {"client_visible": True})).status == 200
            await trio.testing.wait_all_tasks_blocked()
            assert stream.rest == b""
            await served.owner.delete(path)
            assert set((await document(stream))["flags"]) == {"f"}


async def test_a_caller_that_does_not_read_gets_the_newest_document_and_none_between(
    autojump_clock: Any,
) -> None:
    async with serving() as served:
        await served.flag("f", environments=ON)
        async with calling(app_of(served), SYNC) as stream:
            stream.say(ASK)
            await document(stream)
            stream.gate = trio.Event()
            for number in range(20):
                await served.flag(f"g{number}")
            stream.gate.set()
            # One that was begun before he stopped reading, and the newest.
            counts = [len((await document(stream))["flags"]) for _ in range(2)]
            assert counts[-1] == 21
            await trio.testing.wait_all_tasks_blocked()
            assert stream.rest == b""


async def test_a_caller_that_never_reads_is_told_so_and_let_go(autojump_clock: Any) -> None:
    async with serving(limits=ApiLimits(answer_timeout_s=60)) as served:
        async with calling(app_of(served), SYNC) as stream:
            stream.gate = trio.Event()
            stream.say(ASK)
            await trio.sleep(61)
            assert served.engine.feeds.open == {"flagd": 0}
            stream.gate.set()
            with trio.fail_after(600):
                await stream.ended.wait()
        assert stream.code == Code.UNAVAILABLE


async def test_where_changes_never_stop_large_documents_are_made_for_a_part_of_the_time(
    autojump_clock: Any,
) -> None:
    made_at = []

    class Slow(Documents):
        async def of(self, project: Project, environment: str) -> Compiled:
            made_at.append(trio.current_time())
            await trio.sleep(0.1)
            return await super().of(project, environment)

    async with serving() as served:
        services = replace(served.app.services, documents=Slow(kept_max=2))
        app = port_app(services, project="shop", environment="prod")
        async with calling(app, SYNC) as first, calling(app, SYNC) as second:
            for stream in (first, second):
                stream.say(ASK)
                await document(stream)
            begun = trio.current_time()
            made_at.clear()
            for number in range(100):
                await served.flag(f"f{number}")
                await trio.sleep(0.05)
            took = trio.current_time() - begun
            moments = {round(at, 3) for at in made_at}
            assert took / 0.5 / 2 <= len(moments) <= took / 0.5 + 1
            for stream in (first, second):
                while len((await document(stream))["flags"]) < 100:
                    pass


async def test_one_fetch_gives_what_a_stream_begins_with(autojump_clock: Any) -> None:
    async with serving() as served:
        await served.flag("f", type="string", variants={"on": 'für 雪 "x"'}, environments=ON)
        found = await call(app_of(served), FETCH, sync_pb2.FetchAllFlagsRequest())
        text = sync_pb2.FetchAllFlagsResponse.FromString(found.rest[5:]).flag_configuration
        assert text.encode() == (await served.server.get("/flagd/v1/flags.json")).data
        async with calling(app_of(served), SYNC) as stream:
            stream.say(ASK)
            assert await document(stream) == json.loads(text)


async def test_metadata_is_there_and_empty(autojump_clock: Any) -> None:
    async with serving() as served:
        found = await call(app_of(served), METADATA, sync_pb2.GetMetadataRequest())
        response = sync_pb2.GetMetadataResponse.FromString(found.rest[5:])
        assert (response.HasField("metadata"), to_plain(response.metadata)) == (True, {})


async def test_events_name_what_has_changed_and_all_that_asks_for_it(autojump_clock: Any) -> None:
    async with serving() as served:
        await served.flag("base", environments=ON)
        await served.flag("above", environments=ON, prerequisites=[{"flag": "base", "variant": "on"}])
        rule = [{"id": "r", "if": {"segment": "s"}, "serve": "on"}]
        await served.owner.put("/api/v1/projects/shop/segments/s", {"members": ["u1"]})
        await served.flag("ruled", environments={"prod": {"enabled": True, "default": "off", "rules": rule}})
        await served.flag("plain", environments=ON)
        async with calling(app_of(served), EVENTS) as stream:
            stream.say(frame(evaluation_pb2.EventStreamRequest()))
            assert await event(stream) == ("provider_ready", {})
            # Whoever was away keeps answers of which nothing was told him.
            every = {key: {"type": "update"} for key in ("above", "base", "plain", "ruled")}
            assert await event(stream) == ("configuration_change", {"flags": every})
            await served.owner.patch(
                "/api/v1/projects/shop/flags/base", {"environments": {"prod": {"enabled": False}}}
            )
            changed = {"above": {"type": "update"}, "base": {"type": "update"}}
            assert await event(stream) == ("configuration_change", {"flags": changed})
            await served.owner.post("/api/v1/projects/shop/segments/s/members", {"add": ["u2"]})
            assert await event(stream) == ("configuration_change", {"flags": {"ruled": {"type": "update"}}})
            await served.owner.delete("/api/v1/projects/shop/flags/plain")
            assert await event(stream) == ("configuration_change", {"flags": {"plain": {"type": "delete"}}})
            await put_flagd_part(served, metadata={"team": "a"})
            kind, data = await event(stream)
            assert (kind, set(data["flags"])) == ("configuration_change", {"base", "above", "ruled"})


def test_a_stream_begins_with_every_flag_so_many_at_a_time() -> None:
    flag_set = FlagSet(flags={f"f{n:04}": flag() for n in range(FLAGS_PER_EVENT + 1)})
    pages = [evaluation_pb2.EventStreamResponse.FromString(page[5:]) for page in everything(flag_set)]
    assert [len(to_plain(page.data)["flags"]) for page in pages] == [FLAGS_PER_EVENT, 1]
    assert not [*everything(FlagSet())]


async def test_a_quiet_stream_of_events_says_that_it_is_alive(autojump_clock: Any) -> None:
    async with serving() as served, calling(app_of(served), EVENTS) as stream:
        stream.say(frame(evaluation_pb2.EventStreamRequest()))
        await event(stream)
        begun = trio.current_time()
        assert [await event(stream) for _ in range(3)] == [("keep_alive", {})] * 3
        assert trio.current_time() - begun < 61


async def test_a_revoked_key_ends_its_streams(autojump_clock: Any) -> None:
    async with serving() as served:
        headers = {"authorization": f"Bearer {served.server.key}"}
        for path in (SYNC, EVENTS):
            made = await served.make_key(kind="server", project="shop", environment="prod")
            headers = {"authorization": f"Bearer {made.key}"}
            async with calling(served.app, path, headers=headers) as stream:
                stream.say(b"\0" * 5)
                await stream.message()
                assert made.key is not None
                gone = await served.owner.delete(f"/api/v1/keys/{made.key.split('_')[1]}")
                assert gone.status in {200, 204}, gone
                with trio.fail_after(5):
                    await stream.ended.wait()
            assert stream.code == Code.UNAUTHENTICATED
        ends = set(lines_of(served.metrics, "vexil_stream_ends_total{"))
        assert ends == {'vexil_stream_ends_total{kind="flagd",reason="key.invalid"} 2.0'}


async def test_a_selector_that_fits_no_longer_ends_the_stream(autojump_clock: Any) -> None:
    async with serving() as served:
        await put_flagd_part(served, metadata={"flagSetId": "a"})
        headers = {"flagd-selector": "flagSetId=a"}
        async with calling(app_of(served), SYNC, headers=headers) as stream:
            stream.say(ASK)
            assert (await document(stream))["metadata"] == {"flagSetId": "a"}
            await put_flagd_part(served, metadata={"flagSetId": "b"})
            await stream.ended.wait()
        assert stream.code == Code.INVALID_ARGUMENT
        old_style = frame(sync_pb2.SyncFlagsRequest(selector="flagSetId=a"))
        assert (await call(app_of(served), SYNC, old_style)).code == Code.INVALID_ARGUMENT


async def test_streams_end_when_the_node_stops_and_no_more_are_let_in(autojump_clock: Any) -> None:
    async with serving() as served, calling(app_of(served), SYNC) as stream:
        stream.say(ASK)
        await document(stream)
        served.engine.feeds.close()
        await stream.ended.wait()
        assert stream.code == Code.UNAVAILABLE
        assert (await call(app_of(served), EVENTS, b"\0" * 5)).code == Code.UNAVAILABLE


async def test_streams_count_against_the_bound_of_the_node_and_not_against_that_of_requests(
    autojump_clock: Any,
) -> None:
    async with serving(limits=ApiLimits(requests_max=1)) as served:
        app = app_of(served)
        served.engine.feeds.streams_max = 2
        async with calling(app, SYNC) as first:
            first.say(ASK)
            await first.message()
            async with calling(app, EVENTS) as second:
                second.say(b"\0" * 5)
                await second.message()
                assert (await call(app, METADATA, b"\0" * 5)).code == Code.OK
                assert (await call(app, SYNC, ASK)).code == Code.UNAVAILABLE
        async with calling(app, SYNC) as stream:
            stream.say(ASK)
            await document(stream)
