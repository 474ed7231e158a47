"""Following nodes: the way to a set, to every change of it, and around everything that nodes and networks do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from tests.unit.sdk.client.nodes import Node, event, on, service, token
from vexil.sdk.client.options import Options


async def test_the_set_comes_with_the_first_event_and_is_confirmed(autojump_clock: Any) -> None:
    async with service(Node()) as it:
        await it.until(lambda: it.status.ready)
        assert it.value("a") is True
        assert (it.status.connection, it.status.source, it.status.stale_since) == ("stream", "node", None)
        assert (it.status.node, it.status.region, it.status.token) == ("eu-1", "eu", token(1))
        assert it.status.as_of == {"eu": pytest.approx(1_795_251_600.0)}


async def test_a_patch_changes_what_it_names_and_nothing_else(autojump_clock: Any) -> None:
    node = Node(flags={"a": on(), "b": on(), "c": on()})
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        before = it.flag_set
        kept = before.kept["b"]
        node.change("a", on(False))
        await it.until(lambda: it.value("a") is False)
        assert it.flag_set is not before
        assert before.flags["a"]["default"] == "on", "whoever evaluates on the old set goes on with it"
        assert it.flag_set.kept["b"] is kept
        assert it.held.token == token(2)
        data = {"from": "v2", "version": "v3", "set": {}, "delete": ["b"]}
        node.seq = 3
        node.send(event("patch", data, token(3)))
        await it.until(lambda: set(it.flag_set.flags) == {"a", "c"})


async def test_segments_come_whole_and_then_by_their_members(autojump_clock: Any) -> None:
    node = Node(segments={"beta": {"members": ["u1"], "rules": []}, "old": {"members": [], "rules": []}})
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        assert it.flag_set.segment_members("beta") == {"u1"}
        data = {
            "from": "v1",
            "version": "v2",
            "set": {},
            "delete": [],
            "segments": {
                "set": {"new": {"members": ["n"], "rules": []}},
                "delete": ["old"],
                "members": {"beta": {"add": ["u2"], "remove": ["u1"]}},
            },
        }
        node.send(event("patch", data, token(2)))
        await it.until(lambda: it.flag_set.version == "v2")
        assert it.flag_set.segment_members("beta") == {"u2"}
        assert set(it.flag_set.segments) == {"beta", "new"}


async def test_a_stream_that_ends_is_resumed_with_what_is_here(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        await trio.sleep(40)
        node.end_streams()
        node.seq, node.flags = 2, {"a": on(False)}
        await it.until(lambda: it.value("a") is False, within_s=2)
        headers = node.opened[1][1]
        assert headers["Last-Event-ID"] == headers["Vexil-Token"] == token(1)
        assert headers["If-None-Match"] == '"v1"'
        assert not node.polls


async def test_a_resumed_stream_that_has_nothing_new_keeps_the_very_set(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        await trio.sleep(40)
        before = it.flag_set
        node.end_streams()
        await it.until(lambda: len(node.opened) == 2 and it.status.connection == "stream")
        assert it.flag_set is before


async def test_a_whole_set_of_the_version_that_is_here_keeps_what_is_compiled(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        before = it.flag_set
        node.send(event("put", node.document, token(3)))
        await it.until(lambda: it.held.token == token(3))
        assert it.flag_set is before


async def test_it_is_settled_once_every_node_was_tried(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1", refuses=True), Node("ap-1", mute=True)
    async with service(eu, ap) as it:
        await it.until(lambda: len(ap.opened) == 1)
        assert it.status.error is not None
        assert not it.published[-1].settled
        await it.until(lambda: it.published[-1].settled)


async def test_the_second_node_takes_over_when_the_first_dies(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1"), Node("ap-1")
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        await trio.sleep(60)
        assert not ap.tries, "one node is enough"
        eu.die()
        ap.seq, ap.flags = 2, {"a": on(False)}
        await it.until(lambda: it.value("a") is False, within_s=5)
        assert it.status.url == "http://ap-1"
        assert it.status.stale_since is None
        assert ap.opened[0][1]["Vexil-Token"] == token(1)


async def test_a_node_that_is_behind_is_not_accepted_while_another_can_be_reached(
    autojump_clock: Any,
) -> None:
    eu, us, ap = Node("eu-1", seq=5), Node("us-1", seq=4, flags={"a": on(False)}), Node("ap-1", seq=5)
    async with service(eu, us, ap) as it:
        await it.until(lambda: it.status.ready)
        await trio.sleep(60)
        eu.die()
        await it.until(lambda: it.status.url == "http://ap-1", within_s=10)
        assert us.opened
        assert it.value("a") is True
        assert all(published.held.token != token(4) for published in it.published)


async def test_with_only_a_node_behind_the_newer_set_stays_and_is_stale(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1", seq=5), Node("ap-1", seq=4, flags={"a": on(False)})
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        await trio.sleep(52)
        confirmed_at_s = it.held.confirmed_at_s
        eu.die()
        await it.until(lambda: ap.tries > 3)
        assert it.value("a") is True
        assert it.status.stale_since == confirmed_at_s
        ap.seq, ap.flags = 6, {"a": on(False)}
        await it.until(lambda: it.value("a") is False, within_s=10)
        assert it.status.stale_since is None


async def test_a_stream_that_says_it_is_behind_is_left(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1"), Node("ap-1")
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        eu.send(event("status", {"as_of": {}, "stale": [], "behind": True, "node": "eu-1", "region": "eu"}))
        await it.until(lambda: it.status.url == "http://ap-1", within_s=10)


@pytest.mark.parametrize("kind", ["put", "patch"])
async def test_an_event_that_leads_back_in_time_is_not_taken(autojump_clock: Any, kind: str) -> None:
    eu, ap = Node("eu-1", seq=5), Node("ap-1", seq=5)
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        old: dict[str, Any] = {"version": "v3", "flags": {"a": on(False)}, "segments": {}}
        if kind == "patch":
            old = {"from": "v5", "version": "v3", "set": {"a": on(False)}, "delete": []}
        eu.send(event(kind, old, token(3)))
        await it.until(lambda: it.status.url == "http://ap-1", within_s=10)
        assert it.value("a") is True
        assert it.held.token == token(5)


async def test_an_event_without_an_id_is_taken_and_the_token_stays(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        data = {"from": "v1", "version": "v2", "set": {"a": on(False)}, "delete": []}
        node.send(event("patch", data))
        await it.until(lambda: it.value("a") is False)
        assert it.held.token == token(1)


async def test_a_patch_that_does_not_fit_makes_the_whole_set_be_asked_for(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        node.seq, node.flags = 9, {"a": on(False), "b": on()}
        data = {"from": "v8", "version": "v9", "set": {"b": on()}, "delete": []}
        node.send(event("patch", data, token(9)))
        await it.until(lambda: it.flag_set.version == "v9")
        assert (it.value("a"), it.value("b")) == (False, True)
        assert len(node.polls) == 1
        node.change("a", on())
        await it.until(lambda: it.value("a") is True)
        assert len(node.polls) == 1, "and the stream goes on from there"


async def test_patches_that_never_fit_do_not_make_it_ask_for_ever(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        for number in range(50):
            data = {"from": f"x{number}", "version": "y", "set": {}, "delete": []}
            node.send(event("patch", data, token(1000 + number)))
        await trio.sleep(5)
        assert len(node.polls) < 8


@pytest.mark.parametrize(
    "junk",
    [
        b"event: put\ndata: {not json\n\n",
        b"event: put\ndata: []\n\n",
        b'event: put\ndata: {"version": "v2"}\n\n',
        b'event: put\ndata: {"version": "v2", "flags": 3}\n\n',
        b'event: patch\ndata: {"from": "v1"}\n\n',
        b'event: patch\ndata: {"from": "v1", "version": "v2", "set": [1]}\n\n',
        b'event: patch\ndata: {"from": "v1", "version": "v2", "delete": [1]}\n\n',
        b"event: status\ndata: \xff\xfe\n\n",
        b"event: put\ndata: " + b"[" * 100_000 + b"\n\n",
    ],
    ids=range(9),
)
async def test_nonsense_is_not_taken_and_the_node_is_polled_instead(autojump_clock: Any, junk: bytes) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        node.send(junk)
        await it.until(lambda: it.status.connection == "poll", within_s=5)
        assert it.value("a") is True
        assert it.flag_set.version == "v1"


@pytest.mark.parametrize("name", ["\u00fc", "a" * 100_000, "a\tb"], ids=["unicode", "huge", "control"])
async def test_a_token_that_no_header_can_hold_is_not_kept(autojump_clock: Any, name: str) -> None:
    node = Node(says_put_first=False)
    async with service(node) as it:
        node.send(event("put", node.document, name))
        await it.until(lambda: it.value("a") is True)
        assert it.held.token is None
        node.end_streams()
        await it.until(lambda: len(node.polls) == 1)
        assert "Vexil-Token" not in node.polls[0][1]
    node = Node(flags_answer=(200, {"vexil-token": name}, json.dumps(Node().document).encode()))
    async with service(node, options=Options(stream=False)) as it:
        await it.until(lambda: it.value("a") is True)
        assert it.held.token is None


async def test_a_version_that_no_header_can_hold_is_not_sent(autojump_clock: Any) -> None:
    node = Node(says_put_first=False)
    async with service(node) as it:
        node.send(event("put", {**node.document, "version": "a\nb\u00fc"}, token(1)))
        await it.until(lambda: it.held.token == token(1))
        node.end_streams()
        await it.until(lambda: len(node.polls) == 1)
        assert "If-None-Match" not in node.polls[0][1]
        assert node.polls[0][1]["Vexil-Token"] == token(1)


async def test_what_is_not_known_is_passed_over(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        node.send(event("weather", {"rain": True}) + b"colour: red\n\nretry: 5\n\n:\n\n")
        node.change("a", on(False))
        await it.until(lambda: it.value("a") is False)
        assert len(node.opened) == 1


async def test_a_stream_cut_within_an_event_gives_nothing_of_it(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        await trio.sleep(40)
        whole = event("put", {"version": "v2", "flags": {"a": on(False)}}, token(2))
        node.send(whole[:-1])
        node.end_streams()
        await it.until(lambda: len(node.opened) == 2)
        assert it.value("a") is True


async def test_a_huge_event_is_not_read_to_its_end(autojump_clock: Any) -> None:
    node = Node()
    async with service(node, options=Options(set_bytes_max=10_000)) as it:
        await it.until(lambda: it.status.ready)
        for _ in range(200):
            node.send(b"x" * 100)
        await it.until(lambda: not it.status.healthy, within_s=5)
        assert it.status.error is not None
        assert "more than 10000 bytes" in it.status.error
        assert it.value("a") is True


async def test_a_huge_answer_is_not_taken(autojump_clock: Any) -> None:
    node = Node(flags={f"f{number}": on() for number in range(1000)}, stream_answer=(404, {}, b""))
    async with service(node, options=Options(set_bytes_max=10_000)) as it:
        await trio.sleep(30)
        assert not it.status.ready
        assert "too large" in str(it.status.error)


async def test_polls_take_over_where_streams_cannot_be_had(autojump_clock: Any) -> None:
    node = Node(stream_answer=(503, {"retry-after": "5"}, b""))
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        assert (it.status.connection, it.status.stale_since) == ("poll", None)
        assert it.status.as_of["ap"] is None
        node.seq, node.flags = 2, {"a": on(False)}
        await it.until(lambda: it.value("a") is False, within_s=40)
        assert node.polls[-1][1]["If-None-Match"] == '"v1"'
        assert node.polls[-1][1]["Vexil-Token"] == token(1)
        assert len(node.opened) == 1
        node.stream_answer = None
        await it.until(lambda: it.status.connection == "stream", within_s=500)


async def test_a_proxy_that_holds_the_stream_back_is_noticed(autojump_clock: Any) -> None:
    node = Node(silent=True)
    async with service(node) as it:
        await it.until(lambda: it.status.connection == "poll", within_s=35)
        assert it.value("a") is True


async def test_a_stream_that_falls_silent_is_opened_anew(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        await trio.sleep(100)
        node.silent = True
        await it.until(lambda: not it.status.healthy, within_s=46)
        assert it.status.stale_since is not None
        node.silent = False
        await it.until(lambda: it.status.connection == "stream", within_s=5)
        assert len(node.opened) == 2


async def test_bytes_that_never_become_an_event_are_no_sign_of_life(autojump_clock: Any) -> None:
    node = Node(silent=True)
    async with service(node) as it, trio.open_nursery() as nursery:

        async def drip() -> None:
            while True:
                node.send(b"x")
                await trio.sleep(10)

        nursery.start_soon(drip)
        await it.until(lambda: it.status.connection == "poll", within_s=150)
        nursery.cancel_scope.cancel()


async def test_a_node_that_never_answers_costs_no_more_than_its_time(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1", mute=True), Node("ap-1")
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready, within_s=25)
        assert it.status.url == "http://ap-1"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503, 302, 204])
async def test_every_refusal_is_said_and_another_node_asked(autojump_clock: Any, status: int) -> None:
    refusal: tuple[int, dict[str, str], bytes] = (status, {}, json.dumps({"code": "some.code"}).encode())
    eu, ap = Node("eu-1", stream_answer=refusal, flags_answer=refusal), Node("ap-1")
    async with service(eu) as it:
        await trio.sleep(2)
        assert not it.status.ready
        assert str(status) in str(it.status.error)
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready, within_s=5)
        assert it.status.url == "http://ap-1"


async def test_a_node_that_asks_for_time_gets_it(autojump_clock: Any) -> None:
    node = Node(stream_answer=(429, {"retry-after": "100"}, b""))
    async with service(node):
        await trio.sleep(99)
        assert node.tries == 1


@pytest.mark.parametrize("asked", ["99999999", "soon", "-5", "1e9", "9" * 400])
async def test_nobody_is_sent_away_for_ever(autojump_clock: Any, asked: str) -> None:
    node = Node(stream_answer=(429, {"retry-after": asked}, b""))
    async with service(node) as it:
        await trio.sleep(1)
        node.stream_answer = None
        await it.until(lambda: it.status.ready, within_s=400)


async def test_an_ended_stream_says_when_to_come_back(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1"), Node("ap-1")
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        eu.send(b"retry: 50000\n\n" + event("end", {"reason": "shutdown"}))
        await it.until(lambda: it.status.url == "http://ap-1", within_s=2)
        await trio.sleep(45)
        assert eu.tries == 1


async def test_dead_nodes_are_tried_for_ever_and_ever_more_seldom(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1", refuses=True), Node("ap-1", refuses=True)
    async with service(eu, ap) as it:
        await trio.sleep(3600)
        assert 60 < eu.tries < 400
        gaps = [later[0] - earlier[0] for earlier, later in zip(eu.opened, eu.opened[1:], strict=False)]
        assert min(gaps) >= 0.05
        assert max(gaps) <= 61
        assert it.published[-1].settled
        assert not it.status.ready
        ap.refuses = False
        await it.until(lambda: it.status.ready, within_s=65)


async def test_a_stream_that_ends_at_once_again_and_again_is_no_busy_loop(autojump_clock: Any) -> None:
    put = event("put", Node().document, token(1))
    node = Node(stream_answer=(200, {"content-type": "text/event-stream"}, put), flags_answer=(500, {}, b""))
    async with service(node):
        await trio.sleep(600)
        assert len(node.opened) < 100


async def test_clients_that_lose_a_node_together_do_not_come_back_together(autojump_clock: Any) -> None:
    async def comes_back_after_s(seed: int) -> float:
        node = Node()
        async with service(node, seed=seed) as it:
            await it.until(lambda: it.status.ready)
            await trio.sleep(100)
            lost_at = trio.current_time()
            node.end_streams()
            await it.until(lambda: len(node.opened) == 2)
            return node.opened[1][0] - lost_at

    moments = [await comes_back_after_s(seed) for seed in range(40)]
    assert len({round(moment, 3) for moment in moments}) > 30
    assert max(moments) - min(moments) > 0.5


async def test_nor_do_they_come_to_the_next_node_together_when_their_streams_were_young(
    autojump_clock: Any,
) -> None:
    async def goes_on_after_s(seed: int) -> float:
        eu, ap = Node("eu-1"), Node("ap-1")
        async with service(eu, ap, seed=seed) as it:
            await it.until(lambda: it.status.ready)
            await trio.sleep(1)
            lost_at = trio.current_time()
            eu.die()
            await it.until(lambda: it.status.stale_since is not None)
            assert not ap.opened, "that it is stale is said before it waits"
            await it.until(lambda: bool(ap.opened))
            return ap.opened[0][0] - lost_at

    moments = [await goes_on_after_s(seed) for seed in range(40)]
    assert len({round(moment, 3) for moment in moments}) > 30
    assert max(moments) - min(moments) > 0.5


async def test_a_better_node_is_gone_back_to(autojump_clock: Any) -> None:
    eu, ap = Node("eu-1", refuses=True), Node("ap-1")
    async with service(eu, ap) as it:
        await it.until(lambda: it.status.ready)
        await trio.sleep(1000)
        assert len(ap.opened) == 1, "nobody leaves a good stream for a dead node"
        eu.refuses = False
        await it.until(lambda: it.status.url == "http://eu-1", within_s=400)
        await it.until(lambda: it.status.connection == "stream")


async def test_regions_that_are_stale_make_the_set_stale(autojump_clock: Any) -> None:
    node = Node(stale=["ap"])
    async with service(node) as it:
        await it.until(lambda: it.status.ready and bool(it.status.node))
        assert it.status.stale_regions == ("ap",)
        assert it.status.stale_since == it.clock.began_s
        assert not it.status.healthy
        node.stale = []
        await it.until(lambda: it.status.healthy, within_s=16)


async def test_steps_of_the_wall_clock_move_nothing_but_what_is_shown(autojump_clock: Any) -> None:
    node = Node()
    async with service(node) as it:
        await it.until(lambda: it.status.ready)
        for step_s in (1e9, -2e9, 5e8):
            it.clock.began_s += step_s
            await trio.sleep(100)
            assert it.status.healthy
        assert len(node.opened) == 1


async def test_without_a_wish_for_streams_none_is_opened(autojump_clock: Any) -> None:
    node = Node()
    async with service(node, options=Options(stream=False)) as it:
        await it.until(lambda: it.status.connection == "poll")
        await trio.sleep(600)
        assert not node.opened
        assert 15 < len(node.polls) < 30
