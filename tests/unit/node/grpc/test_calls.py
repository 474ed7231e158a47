"""One call from its headers to its trailers: who is let in, what is refused, deadlines, callers who go away."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing

from tests.unit.node.api.nodes import KeptLog, Served, lines_of, make_app, make_engine, serving
from tests.unit.node.grpc.caller import call, calling, frame
from vexil.chaos.world.simulated_clock import SimulatedClock
from vexil.chaos.world.simulated_disk import SimulatedDisk
from vexil.node.api.limits import ApiLimits
from vexil.node.grpc.app import GrpcApp
from vexil.node.grpc.call import Method
from vexil.node.grpc.places import by_port
from vexil.node.grpc.proto import evaluation_pb2 as pb
from vexil.node.grpc.proto import sync_pb2
from vexil.node.grpc.services import port_app
from vexil.node.grpc.statuses import Code
from vexil.node.metrics import Metrics

RESOLVE = "/flagd.evaluation.v2.Service/ResolveBoolean"
FETCH = "/flagd.sync.v1.FlagSyncService/FetchAllFlags"
SYNC = "/flagd.sync.v1.FlagSyncService/SyncFlags"
METADATA = "/flagd.sync.v1.FlagSyncService/GetMetadata"
ASK = pb.ResolveBooleanRequest(flag_key="f")


def key_of(served: Served, name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {getattr(served, name).key}"}


def app_of(served: Served, *, project: str = "shop", environment: str = "prod") -> GrpcApp:
    return port_app(served.app.services, project=project, environment=environment)


async def on_flag(served: Served) -> None:
    await served.flag("f", environments={"prod": {"enabled": True, "default": "on"}})


async def test_the_main_port_takes_a_server_key_and_no_other(autojump_clock: Any) -> None:
    async with serving() as served:
        await on_flag(served)
        found = await call(served.app, RESOLVE, ASK, headers=key_of(served, "server"))
        assert (found.status, found.code) == (200, Code.OK)
        assert found.headers["content-type"] == "application/grpc"
        by_other_header = {"x-api-key": served.server.key or ""}
        assert (await call(served.app, RESOLVE, ASK, headers=by_other_header)).code == Code.OK
        for name in ("owner", "client"):
            for path in (RESOLVE, FETCH, SYNC):
                refused = await call(served.app, path, ASK, headers=key_of(served, name))
                assert (refused.status, refused.code) == (200, Code.PERMISSION_DENIED)
        for headers in ({}, {"authorization": "Bearer vxs_no_key"}, {"authorization": "\xff"}):
            refused = await call(served.app, RESOLVE, ASK, headers=headers)
            assert (refused.status, refused.code) == (200, Code.UNAUTHENTICATED)
        # The HTTP interface is where it was.
        assert (await served.owner.get("/api/v1/projects")).status == 200


async def test_a_port_of_its_own_needs_no_key_and_serves_one_environment(autojump_clock: Any) -> None:
    async with serving() as served:
        await on_flag(served)
        async with calling(app_of(served), RESOLVE) as stream:
            stream.say(frame(ASK))
            found = pb.ResolveBooleanResponse.FromString(await stream.message())
            await stream.ended.wait()
        assert (found.value, found.variant, found.reason) == (True, "on", "STATIC")
        other = await call(app_of(served, environment="dev"), RESOLVE, ASK)
        assert (other.code, pb.ResolveBooleanResponse.FromString(other.rest[5:]).HasField("value")) == (
            0,
            False,
        )
        for missing in (app_of(served, project="none"), app_of(served, environment="none")):
            assert (await call(missing, RESOLVE, ASK)).code == Code.UNAVAILABLE


async def test_a_node_that_loads_is_unavailable(autojump_clock: Any) -> None:
    log, metrics, clock = KeptLog(), Metrics(), SimulatedClock()
    engine = make_engine(log, metrics, SimulatedDisk(random.Random(5)), clock)
    app = make_app(engine, log, metrics, clock=clock)
    for served in (app, port_app(app.services, project="shop", environment="prod")):
        assert (await call(served, FETCH, sync_pb2.FetchAllFlagsRequest())).code == Code.UNAVAILABLE


@pytest.mark.parametrize("path", ["/flagd.evaluation.v2.Service/ResolveAll", "/no.Service/Method"])
async def test_an_unknown_method_is_unimplemented(autojump_clock: Any, path: str) -> None:
    async with serving() as served:
        for app in (served.app, app_of(served)):
            found = await call(app, path, ASK)
            assert (found.status, found.code) == (200, Code.UNIMPLEMENTED)


@pytest.mark.parametrize(
    ("headers", "scope", "status"),
    [
        ({"content-type": "application/json"}, {}, 415),
        ({"content-type": "application/grpc-web"}, {}, 415),
        ({"content-type": "application/grpc+json"}, {}, 415),
        ({}, {"method": "GET"}, 405),
        ({}, {"http_version": "1.1"}, 505),
        ({"content-type": "Application/gRPC+proto; x=y"}, {}, 200),
    ],
)
async def test_what_is_no_call_is_refused_as_http(
    autojump_clock: Any, headers: dict[str, str], scope: dict[str, str], status: int
) -> None:
    async with serving() as served:
        assert (await call(app_of(served), METADATA, b"\0" * 5, headers=headers, **scope)).status == status


async def test_a_request_that_is_no_message_is_refused_and_read_to_its_end(autojump_clock: Any) -> None:
    async with serving(limits=ApiLimits(request_body_bytes_max=100)) as served:
        app = app_of(served)
        for body, code in (
            (b"", Code.INVALID_ARGUMENT),
            (frame(b"\xff\xff"), Code.INVALID_ARGUMENT),
            (frame(b"\x0a\x01\xff"), Code.INVALID_ARGUMENT),
            (frame(b"x", flags=1), Code.UNIMPLEMENTED),
            (frame(b"x" * 101), Code.RESOURCE_EXHAUSTED),
        ):
            found = await call(app, RESOLVE, body)
            assert found.code == code, body
            assert found.headers["grpc-accept-encoding"] == "identity"
        async with calling(app, RESOLVE) as stream:
            stream.say(b"x" * 200, more=True)
            await trio.testing.wait_all_tasks_blocked()
            assert stream.status is None, "its sender still writes: he would not read the answer"
            stream.say(b"x" * 10_000)
            await stream.ended.wait()
        assert stream.code == Code.RESOURCE_EXHAUSTED


async def test_the_callers_time_is_kept_to(autojump_clock: Any) -> None:
    async with serving() as served:
        app = app_of(served)
        begun = trio.current_time()
        async with calling(app, SYNC, headers={"grpc-timeout": "7S"}) as stream:
            stream.say(frame(sync_pb2.SyncFlagsRequest()))
            await stream.ended.wait()
        assert stream.code == Code.DEADLINE_EXCEEDED
        assert trio.current_time() - begun == pytest.approx(7)
        async with calling(app, RESOLVE, headers={"grpc-timeout": "250m"}) as stream:
            stream.say(b"", more=True)
            await stream.ended.wait()
        assert stream.code == Code.DEADLINE_EXCEEDED
        for text in ("", "1", "S", "1s", "123456789S", "-1S", "1.5S"):
            assert (
                await call(app, RESOLVE, ASK, headers={"grpc-timeout": text})
            ).code == Code.INVALID_ARGUMENT


async def test_a_request_that_never_arrives_does_not_keep_its_slot(autojump_clock: Any) -> None:
    async with serving(limits=ApiLimits(requests_max=1, body_timeout_s=30)) as served:
        app = app_of(served)
        async with calling(app, METADATA) as slow:
            await trio.testing.wait_all_tasks_blocked()
            assert (await call(app, METADATA, b"\0" * 5)).code == Code.RESOURCE_EXHAUSTED
            await slow.ended.wait()
        assert slow.code == Code.DEADLINE_EXCEEDED
        assert (await call(app, METADATA, b"\0" * 5)).code == Code.OK


async def test_a_caller_who_goes_away_ends_the_call(autojump_clock: Any) -> None:
    async with serving() as served:
        app = app_of(served)
        async with calling(app, SYNC) as stream:
            stream.say(frame(sync_pb2.SyncFlagsRequest()))
            await stream.message()
            assert served.engine.feeds.open == {"flagd": 1}
        assert served.engine.feeds.open == {"flagd": 0}
        assert not stream.ended.is_set()


async def test_a_failure_of_ours_is_logged_once_and_tells_the_caller_no_more_than_an_id(
    autojump_clock: Any,
) -> None:
    async def fail(call: Any, request: Any) -> None:
        raise RuntimeError("a secret")

    async with serving() as served:
        services = served.app.services
        method = Method(request=sync_pb2.GetMetadataRequest, handler=fail)
        app = GrpcApp(services, {METADATA: method}, by_port(services, "shop", "prod"))
        found = await call(app, METADATA, b"\0" * 5)
        assert found.code == Code.INTERNAL
        (failure,) = served.log.failures
        assert str(failure[1]["request_id"]) in found.text
        assert "secret" not in found.text
        served.log.lines.clear()


async def test_calls_are_counted_by_their_method_and_code(autojump_clock: Any) -> None:
    async with serving() as served:
        app = app_of(served)
        await call(app, METADATA, b"\0" * 5)
        await call(app, RESOLVE, ASK)
        await call(app, "/no.Service/Method", ASK)
        counted = set(lines_of(served.metrics, "vexil_requests_total{"))
        assert {
            f'vexil_requests_total{{method="GRPC",route="{METADATA}",status="0"}} 1.0',
            f'vexil_requests_total{{method="GRPC",route="{RESOLVE}",status="5"}} 1.0',
            'vexil_requests_total{method="GRPC",route="unknown",status="12"} 1.0',
        } <= counted
