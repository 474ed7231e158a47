"""OFREP's change events: tickets, what they open and for how long, and what holders of client keys get to know."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.unit.node.api.nodes import Client, Served, serving
from tests.unit.node.api.streams import Event, streaming
from tests.unit.node.engine.world import flag_writes
from vexil.crdt.pen import Pen
from vexil.node.api import tokens
from vexil.node.api.limits import ApiLimits
from vexil.node.api.ofrep_stream import EXPIRED, RENEWAL_RETRIES
from vexil.node.api.tickets import RENEWAL_S, TICKET_S, WINDOW_S

FLAGS = "/api/v1/projects/shop/flags"
EVALUATE = "/ofrep/v1/evaluate/flags"
ON: dict[str, Any] = {"environments": {"prod": {"enabled": True, "default": "on"}}}
ADA = {"context": {"targetingKey": "ada"}}


async def url_for(client: Client, body: Any = None) -> str:
    """Where a bulk answer says that changes are told."""
    answer = await client.post(EVALUATE, body or ADA)
    assert answer.status == 200, answer
    (stream,) = answer.json["eventStreams"]
    assert (stream["type"], stream["inactivityDelaySec"], set(stream["endpoint"])) == (
        "sse",
        120,
        {"requestUri"},
    )
    uri: str = stream["endpoint"]["requestUri"]
    assert uri.startswith("/ofrep/v1/sse?ticket=")
    return uri


def opened(node: Served, url: str, **headers: str) -> Any:
    return streaming(node.app, url, **headers)


async def later(node: Served, seconds: float) -> None:
    """The simulated wall clock goes with virtual time."""
    await trio.sleep(seconds)


async def test_a_change_makes_holders_of_a_ticket_fetch_again(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("open", client_visible=True, **ON)
        url = await url_for(node.client)
        async with opened(node, url) as stream:
            assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
            assert stream.headers["access-control-allow-origin"] == "*"
            await stream.event("message")
            before = await node.client.post(EVALUATE, ADA)
            await node.owner.post(f"{FLAGS}/open/environments/prod/kill")
            told = await stream.event("message")
            assert (told.data["type"], told.data["etag"]) == ("refetchEvaluation", told.id)
            assert told.data["lastModified"] == node.clock.wall_ms() // 1000
            after = await node.client.post(
                f"{EVALUATE}?flagConfigEtag={told.data['etag']}&flagConfigLastModified=1",
                ADA,
                headers={"If-None-Match": before.headers["ETag"]},
            )
            assert (after.status, after.json["flags"][0]["reason"]) == (200, "DISABLED")


async def test_the_tag_of_an_answer_does_not_depend_on_its_ticket(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("open", client_visible=True, **ON)
        first = await node.client.post(EVALUATE, ADA)
        await later(node, TICKET_S)
        second = await node.client.post(EVALUATE, ADA)
        assert first.json["eventStreams"] != second.json["eventStreams"]
        assert first.headers["ETag"] == second.headers["ETag"]
        same = await node.client.post(EVALUATE, ADA, headers={"If-None-Match": first.headers["ETag"]})
        assert (same.status, same.data) == (304, b"")


async def test_a_client_keeps_its_url_for_a_while_and_not_all_change_it_at_once(
    autojump_clock: object,
) -> None:
    async with serving() as node:
        people = [{"context": {"targetingKey": f"user-{number}"}} for number in range(20)]
        first = [await url_for(node.client, who) for who in people]
        assert first == [await url_for(node.client, who) for who in people]
        changed = []
        for _ in range(WINDOW_S // 30):
            await later(node, 30)
            now = [await url_for(node.client, who) for who in people]
            changed.append(sum(url != before for url, before in zip(now, first, strict=True)))
        assert changed[-1] == len(people)
        assert len(set(changed)) > 3


async def test_who_holds_a_client_key_learns_only_of_what_he_can_see(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("seen", client_visible=True, **ON)
        await node.flag("hidden", **ON)
        await node.flag("asked", **ON)
        needs = [{"flag": "asked", "variant": "on"}]
        await node.flag("needs", client_visible=True, prerequisites=needs, **ON)
        by_client, by_server = await url_for(node.client), await url_for(node.server)
        async with opened(node, by_client) as client, opened(node, by_server) as server:
            for stream in (client, server):
                await stream.event("message")
            for key, switch, seen in (
                ("hidden", "kill", False),
                ("seen", "kill", True),
                ("hidden", "unkill", False),
                ("asked", "kill", True),
            ):
                etag = (await node.owner.get(f"{FLAGS}/{key}")).headers["ETag"]
                made = await node.owner.post(
                    f"{FLAGS}/{key}/environments/prod/{switch}", headers={"If-Match": etag}
                )
                assert made.status == 200, made
                assert (await server.event("message")).data["type"] == "refetchEvaluation"
                with trio.move_on_after(5) as waiting:
                    assert (await client.event("message")).data["type"] == "refetchEvaluation"
                assert waiting.cancelled_caught is not seen
            await node.owner.patch(f"{FLAGS}/hidden", {"client_visible": True})
            assert (await client.event("message")).data["type"] == "refetchEvaluation"


async def test_a_stream_that_comes_back_is_told_only_if_it_has_missed_something(
    autojump_clock: object,
) -> None:
    async with serving() as node:
        await node.flag("open", client_visible=True, **ON)
        await later(node, 2 * TICKET_S)
        async with opened(node, await url_for(node.client)) as stream:
            # The node does not know what was before the first one came.
            await stream.event("message")
        await later(node, 2 * TICKET_S)
        url = await url_for(node.client)
        async with opened(node, url) as stream:
            assert (await stream.event("message")).data == {"type": "open"}
            await node.owner.post(f"{FLAGS}/open/environments/prod/kill")
            told = await stream.event("message")
        async with opened(node, url, last_event_id=told.id) as stream:
            assert (await stream.event("message")).data == {"type": "open"}
        await node.flag("other", client_visible=True)
        for last in (told.id, "nonsense"):
            async with opened(node, url, last_event_id=last) as stream:
                assert (await stream.event("message")).data["type"] == "refetchEvaluation"
        async with opened(node, url) as stream:
            assert (await stream.event("message")).data["type"] == "refetchEvaluation"


async def test_an_expired_ticket_only_says_that_another_one_is_needed(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("open", client_visible=True, **ON)
        url = await url_for(node.client)
        tag = (await node.client.post(EVALUATE, ADA)).headers["ETag"]
        await later(node, TICKET_S)
        said = []
        for _ in range(2):
            async with opened(node, url) as stream:
                found = await stream.rest()
                said.append([event for event in found if event.name != "retry"])
                (retry_ms,) = [int(event.data) for event in found if event.name == "retry"]
            assert retry_ms >= RENEWAL_RETRIES * node.app.services.limits.stream_retry_ms_min
            assert node.engine.feeds.open.get("ofrep", 0) == 0
            await node.flag(f"more-{len(said)}", client_visible=True)
            tag = (await node.client.post(EVALUATE, ADA)).headers["ETag"]
        # Nothing of what has happened is in it.
        assert said[0] == said[1] == [Event("message", {"type": "refetchEvaluation", "etag": EXPIRED})]
        fresh = await node.client.post(
            f"{EVALUATE}?flagConfigEtag={EXPIRED}", ADA, headers={"If-None-Match": tag}
        )
        assert fresh.status == 200
        async with opened(node, fresh.json["eventStreams"][0]["endpoint"]["requestUri"]) as stream:
            assert (await stream.event("message")).data["type"] == "refetchEvaluation"
            assert node.engine.feeds.open == {"ofrep": 1}
        services = node.app.services
        caller = services.authenticator.known(str(node.client.key).split("_")[1])
        days_ago_ms = node.clock.wall_ms() - (RENEWAL_S + TICKET_S) * 1000
        old = services.tickets.issue(caller, wall_ms=days_ago_ms, who="ada")
        refused = await node.nobody.get(f"/ofrep/v1/sse?ticket={old}")
        assert (refused.status, refused.code) == (401, "ticket.invalid")


async def test_a_ticket_that_is_not_ours_opens_nothing(autojump_clock: object) -> None:
    async with serving() as node:
        url = await url_for(node.client)
        path, _, ticket = url.partition("=")
        payload, _, mac = ticket.partition(".")
        other = await node.make_key(kind="client", project="shop", environment="dev")
        swapped = (await url_for(other)).partition("=")[2].partition(".")[0]
        for forged in (
            "",
            ".",
            "x",
            payload,
            f"{payload}.",
            f".{mac}",
            f"{swapped}.{mac}",
            f"{ticket}A",
            "x" * 5000,
        ):
            for query in (f"?ticket={forged}", ""):
                refused = await node.nobody.get(f"{path.partition('?')[0]}{query}")
                assert (refused.status, refused.code) == (401, "ticket.invalid")
                assert refused.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_ticket_is_of_its_environment(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", client_visible=True, **ON)
        other = await node.make_key(kind="client", project="shop", environment="dev")
        async with opened(node, await url_for(other)) as stream:
            await stream.event("message")
            await node.owner.post(f"{FLAGS}/a/environments/prod/kill")
            with trio.move_on_after(20) as waiting:
                await stream.event("message")
            assert waiting.cancelled_caught
            await node.owner.patch(f"{FLAGS}/a", {"environments": {"dev": {"enabled": True}}})
            assert (await stream.event("message")).data["type"] == "refetchEvaluation"


async def test_the_tickets_of_a_revoked_key_open_nothing_and_its_streams_end(autojump_clock: object) -> None:
    async with serving() as node:
        url = await url_for(node.client)
        async with opened(node, url) as stream:
            await stream.event("message")
            key_id = str(node.client.key).split("_")[1]
            assert (await node.owner.delete(f"/api/v1/keys/{key_id}")).status == 200
            assert (await stream.rest())[-1] == Event("end", {"reason": "key.invalid"})
        refused = await node.nobody.get(url)
        assert (refused.status, refused.code) == (401, "key.invalid")


async def test_a_node_that_is_behind_an_announced_configuration_waits_for_it(autojump_clock: object) -> None:
    def edit(pen: Pen) -> Any:
        return pen.write(flag_writes("late", client_visible=True), hlc=node.later_hlc(), author="us")

    async with serving(limits=ApiLimits(config_wait_ms=1_000)) as node:
        await node.flag("open", client_visible=True, **ON)
        change = await node.elsewhere(edit)
        token = (await node.client.post(EVALUATE, ADA)).headers["Vexil-Token"]
        tag = (await node.client.post(EVALUATE, ADA)).headers["ETag"]
        seen = tokens.decode_all(token, "shop")
        ahead = tokens.encode("shop", {**seen.vv, change.incarnation: change.seq}, system=seen.system)
        url, sent = f"{EVALUATE}?flagConfigEtag={ahead}", {"If-None-Match": tag}
        begun_s = trio.current_time()
        behind = await node.client.post(url, ADA, headers=sent)
        assert trio.current_time() - begun_s == pytest.approx(1)
        # It says what it has, and that this is not what was announced; never "nothing has changed".
        assert (behind.status, behind.headers["Vexil-Behind"]) == (200, "true")
        answers = []

        async def ask() -> None:
            answers.append(await node.client.post(url, ADA, headers=sent))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.3)
            await node.arrive(change)
        (answer,) = answers
        assert (answer.status, "Vexil-Behind" in answer.headers) == (200, False)
        assert [flag["key"] for flag in answer.json["flags"]] == ["late", "open"]


@pytest.mark.parametrize("announced", ["x", "0" * 3000, EXPIRED, "", "%00"])
async def test_a_tag_that_is_not_ours_never_gives_304(autojump_clock: object, announced: str) -> None:
    async with serving() as node:
        tag = (await node.client.post(EVALUATE, ADA)).headers["ETag"]
        url = f"{EVALUATE}?flagConfigEtag={announced}"
        begun_s = trio.current_time()
        answer = await node.client.post(url, ADA, headers={"If-None-Match": tag})
        assert (answer.status, trio.current_time()) == (200, begun_s)


async def test_the_announced_tag_alone_gives_no_304(autojump_clock: object) -> None:
    async with serving() as node:
        first = await node.client.post(EVALUATE, ADA)
        url = f"{EVALUATE}?flagConfigEtag={first.headers['Vexil-Token']}"
        assert (await node.client.post(url, ADA)).status == 200
        same = await node.client.post(url, ADA, headers={"If-None-Match": first.headers["ETag"]})
        assert same.status == 304


async def test_no_line_and_no_number_has_a_ticket_in_it(autojump_clock: object) -> None:
    async with serving() as node:
        url = await url_for(node.client)
        ticket = url.partition("=")[2]
        async with opened(node, url) as stream:
            await stream.event("message")
        await node.nobody.get(f"{url}x")
        text = repr(node.log.lines) + node.metrics.render()[0].decode()
        assert ticket not in text
        assert "/ofrep/v1/sse" in text


async def test_a_client_key_gets_no_rule_and_no_segment(autojump_clock: object) -> None:
    async with serving() as node:
        made = await node.owner.put(
            "/api/v1/projects/shop/segments/insiders", {"members": ["ada"], "rules": []}
        )
        assert made.status in (200, 201), made
        rules = [{"id": "secret-rule", "if": {"segment": "insiders"}, "serve": "off"}]
        environments = {"prod": {"enabled": True, "default": "on", "rules": rules}}
        await node.flag("open", client_visible=True, environments=environments)
        answer = await node.client.post(EVALUATE, ADA)
        (flag,) = answer.json["flags"]
        assert flag == {"key": "open", "value": False, "variant": "off", "reason": "TARGETING_MATCH"}
        for word in (b"secret-rule", b"insiders", b"segment", b"rules"):
            assert word not in answer.data
        for path in ("/sdk/v1/flags", "/sdk/v1/stream", "/flagd/v1/flags.json"):
            assert (await node.client.get(path)).status == 403


async def test_a_browser_may_open_a_stream(autojump_clock: object) -> None:
    async with serving() as node:
        asked = await node.nobody.ask(
            "OPTIONS", "/ofrep/v1/sse", headers={"Access-Control-Request-Method": "GET"}
        )
        assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (204, "*")
        assert "GET" in asked.headers["Access-Control-Allow-Methods"]
        assert "last-event-id" in asked.headers["Access-Control-Allow-Headers"].lower()
        # A page that has got hold of a server key's ticket does not get to read what it opens.
        async with opened(node, await url_for(node.server)) as stream:
            assert "access-control-allow-origin" not in stream.headers
