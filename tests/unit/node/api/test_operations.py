"""Health, status, numbers, links, admission and the first key."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from tests.unit.node.api.nodes import OWNER_KEY, KeptLog, make_app, make_engine, serving
from vexil.chaos.world.simulated_clock import SeededEntropy, SimulatedClock
from vexil.chaos.world.simulated_disk import SimulatedDisk
from vexil.node.api import tokens
from vexil.node.api.bootstrap import BootstrapKeyInvalid, bootstrap_owner_key
from vexil.node.api.limits import ApiLimits
from vexil.node.metrics import Metrics

FLAGS = "/api/v1/projects/shop/flags"
LINKS = "/api/v1/dev/links"


async def test_health_needs_no_key_and_says_nothing_else(autojump_clock: object) -> None:
    async with serving() as node:
        for path in ("/healthz", "/readyz", "/healthz?verbose=1"):
            assert (await node.nobody.get(path)).json == {"status": "ok"}


async def test_status_has_what_is_promised(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        status = (await node.owner.get("/api/v1/status")).json
        assert {
            "node",
            "region",
            "incarnation",
            "version",
            "ready",
            "store",
            "clock",
            "projects",
            "members",
            "lag_ms",
        } <= status.keys()
        assert status["projects"]["shop"]["flags"] == 1
        assert (await node.nobody.get("/api/v1/status")).status == 401


async def test_the_numbers_say_what_the_node_is_like(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        await node.owner.get(f"{FLAGS}/nowhere")
        await node.owner.get("/nowhere/at/all")
        node.metrics.observe_lag("us", 1_500)
        node.metrics.count_bytes("sent", "payload", 10)
        assert (await node.nobody.get("/metrics")).status == 401
        text = (await node.owner.get("/metrics")).data.decode()
        for line in (
            'vexil_requests_total{method="POST",route="/api/v1/projects/<project>/flags",status="201"} 1.0',
            'vexil_requests_total{method="GET",route="/api/v1/projects/<project>/flags/<key>",status="404"} 1.0',
            'vexil_requests_total{method="GET",route="unknown",status="404"} 1.0',
            'vexil_project_flags{project="shop"} 1.0',
            'vexil_project_conflicts{project="shop"} 0.0',
            'vexil_replication_lag_seconds_bucket{le="2.5",origin_region="us"} 1.0',
            'vexil_replication_lag_seconds_bucket{le="1.0",origin_region="us"} 0.0',
            'vexil_peer_bytes_total{direction="sent",kind="payload"} 10.0',
            "vexil_ready 1.0",
            "vexil_store_backlog 0.0",
            "vexil_store_damaged_records 0.0",
        ):
            assert line in text
        # A caller must not be able to make new series by asking for what is not there.
        assert "nowhere" not in text


def test_gauges_leave_out_what_a_status_does_not_say() -> None:
    metrics = Metrics()
    odd: dict[str, Any] = {
        "store": None,
        "projects": {"p": None, "q": {"flags": [1, 2]}},
        "members": [None, {}],
    }
    metrics.watch(lambda: odd)
    text = metrics.render()[0].decode()
    assert 'vexil_project_flags{project="q"} 2.0' in text
    assert 'project="p"' not in text


def test_damage_that_the_store_has_found_is_a_number() -> None:
    metrics = Metrics()
    metrics.watch(lambda: {"store": {"damaged_records": 3}})
    assert "vexil_store_damaged_records 3.0" in metrics.render()[0].decode()


async def test_links_are_cut_in_dev_mode_only(autojump_clock: object) -> None:
    async with serving() as node:
        answer = await node.owner.post(LINKS, {"a": "eu", "b": "us", "state": "cut"})
        assert (answer.status, answer.code) == (404, "path.not_found")
    async with serving(dev=True) as node:
        cut = {"a": "eu", "b": "eu-1", "state": "cut"}
        assert (await node.nobody.post(LINKS, cut)).status == 401
        viewer = await node.make_key(kind="admin", role="owner", project="shop")
        assert (await viewer.post(LINKS, cut)).status == 403
        assert (await node.owner.post(LINKS, cut)).json == cut
        assert node.engine.links.listed() == [["eu", "eu-1"]]
        assert (await node.owner.post(LINKS, {**cut, "state": "ok"})).status == 200
        assert node.engine.links.listed() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"a": "eu", "b": "eu-1"},
        {"a": "eu", "b": "eu-1", "state": "broken"},
        {"a": "eu", "b": "eu-1", "state": ["cut"]},
        {"a": "eu", "b": "mars", "state": "cut"},
        {"a": 1, "b": "eu", "state": "cut"},
        {"a": "eu", "b": "eu-1", "state": "cut", "for": 5},
    ],
)
async def test_a_link_that_makes_no_sense_is_invalid(autojump_clock: object, body: object) -> None:
    async with serving(dev=True) as node:
        answer = await node.owner.post(LINKS, body)
        assert (answer.status, answer.code) == (422, "link.invalid")
        assert node.engine.links.listed() == []


async def test_beyond_so_many_requests_the_rest_is_turned_away_before_any_key(autojump_clock: object) -> None:
    async with serving(limits=ApiLimits(requests_max=2, retry_after_s_min=2, retry_after_s_max=4)) as node:
        held = {"Vexil-Token": _token_ahead(), "Vexil-Wait-Ms": "5000"}
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(lambda: node.owner.get(FLAGS, headers=held))
            await trio.sleep(1)
            waits = set()
            for _ in range(30):
                # With a key that is none: whoever looked at it would have said so.
                away = await node.with_key("x").get(FLAGS)
                assert (away.status, away.code) == (429, "rate.limited")
                waits.add(int(away.headers["Retry-After"]))
            assert waits == {2, 3, 4}
            browser = await node.client.post("/ofrep/v1/evaluate/flags", {})
            assert (browser.status, browser.headers["Access-Control-Allow-Origin"]) == (429, "*")
            assert (await node.nobody.get("/healthz")).status == 200
            assert (await node.nobody.get("/readyz")).status == 200
        assert (await node.owner.get(FLAGS)).status == 200
        assert "vexil_requests_not_admitted_total 31.0" in node.metrics.render()[0].decode()


def _token_ahead() -> str:
    return tokens.encode("shop", {0x99: 1})


async def test_what_fails_inside_the_framework_is_an_answer_too(autojump_clock: object) -> None:
    async with serving() as node:

        async def broken(scope: Any, receive: Any, send: Any) -> None:
            raise ZeroDivisionError("a secret detail")

        node.app.asgi_app._other._app = broken
        answer = await node.owner.get(FLAGS)
        assert (answer.status, answer.code) == (500, "internal")
        assert "secret" not in answer.data.decode()
        assert len(node.log.failures) == 1
        node.log.lines.clear()


# -- the first key


async def fresh(given: str | None, *, generate: bool = False) -> tuple[str | None, set[str], KeptLog, Any]:
    """What a fresh node makes of a bootstrap key: the generated text, the ids of its keys, its log, its app."""
    log, metrics = KeptLog(), Metrics()
    clock, entropy = SimulatedClock(), SeededEntropy(random.Random(3))
    engine = make_engine(log, metrics, SimulatedDisk(random.Random(1)), clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        made = await bootstrap_owner_key(engine, given, entropy=entropy, generate=generate)
        again = await bootstrap_owner_key(engine, given, entropy=entropy, generate=generate)
        assert again is None
        app = make_app(engine, log, metrics, clock=clock)
        key = made or given
        sent = {"Authorization": f"Bearer {key}"}
        answer = await app.test_client().get("/api/v1/keys", headers=sent)
        ids = set(engine.directory.keys)
        nursery.cancel_scope.cancel()
    return made, ids, log, answer.status_code


async def test_a_cluster_without_keys_takes_the_one_it_is_given(autojump_clock: object) -> None:
    made, ids, log, status = await fresh(OWNER_KEY)
    assert (made, ids, status) == (None, {"root"}, 200)
    assert OWNER_KEY not in repr(log.lines)


async def test_a_key_is_generated_only_if_somebody_will_see_it(autojump_clock: object) -> None:
    made, ids, log, status = await fresh(None, generate=True)
    assert made is not None
    assert (len(ids), status) == (1, 200)
    assert made not in repr(log.lines)
    made, ids, _, status = await fresh(None)
    assert (made, ids, status) == (None, set(), 401)


@pytest.mark.parametrize(
    "given",
    [
        "x",
        "vxa_root_short",
        "vxs_root_0123456789abcdef0123456789abcdef",
        "vxa_/_0123456789abcdef0123456789abcdef",
    ],
)
async def test_a_bootstrap_key_that_cannot_be_one_is_refused_without_repeating_it(
    autojump_clock: object, given: str
) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await fresh(given)
    error = caught.value.exceptions[0]
    assert isinstance(error, BootstrapKeyInvalid)
    assert given not in str(error) or given == "x"


async def test_a_revoked_bootstrap_key_does_not_come_back(autojump_clock: object) -> None:
    async with serving() as node:
        other = await node.make_key(kind="admin", role="owner")
        assert (await other.delete("/api/v1/keys/root")).status == 200
        entropy = SeededEntropy(random.Random(3))
        assert await bootstrap_owner_key(node.engine, OWNER_KEY, entropy=entropy) is None
        assert (await node.owner.get(FLAGS)).status == 401
