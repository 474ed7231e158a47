"""Tokens, freshness, idempotency, durability: what the headers of requests and answers promise."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import msgpack
import pytest
import trio

from tests.unit.node.api.nodes import BOOLEAN, Served, serving
from vexil.crdt import version_vector
from vexil.crdt.change import NO_GENERATION, decode
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node.api import tokens
from vexil.node.api.limits import ApiLimits
from vexil.node.membership import registration

SHOP = "/api/v1/projects/shop"
FLAGS = f"{SHOP}/flags"
ELSEWHERE = 0x99


def token_of(*parts: object) -> str:
    return base64.urlsafe_b64encode(msgpack.packb(list(parts))).decode().rstrip("=")


async def kill_elsewhere(node: Served) -> Any:
    return await node.elsewhere(
        lambda pen: pen.write(
            [CellWrite("flag/a", NO_GENERATION, "kill/prod", value=True)], hlc=node.later_hlc(), author="bob"
        )
    )


async def test_an_answer_carries_a_token_that_covers_the_write(autojump_clock: object) -> None:
    async with serving() as node:
        made = await node.flag("a")
        text = made.headers["Vexil-Token"]
        incarnation, _, seq = made.json["change"]["id"].partition(":")
        assert tokens.decode(text, "shop")[int(incarnation, 16)] >= int(seq)
        read = await node.owner.get(f"{FLAGS}/a", headers={"Vexil-Token": text})
        assert read.status == 200
        assert "Vexil-Behind" not in read.headers
        again = await node.server.post("/ofrep/v1/evaluate/flags/a", {}, headers={"Vexil-Token": text})
        assert again.headers["Vexil-Token"] == text


async def test_a_request_waits_for_what_its_token_has(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        change = await kill_elsewhere(node)
        ahead = {"Vexil-Token": tokens.encode("shop", {ELSEWHERE: 1})}

        begun = trio.current_time()
        read = await node.owner.get(f"{FLAGS}/a", headers=ahead)
        assert trio.current_time() - begun == pytest.approx(0.5)
        assert (read.status, read.headers["Vexil-Behind"]) == (200, "true")
        write = await node.owner.patch(
            f"{FLAGS}/a", {"owner": "x"}, headers={**ahead, "Vexil-Wait-Ms": "100"}
        )
        assert (write.status, write.code) == (409, "token.behind")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.arrive, change)
            read = await node.owner.get(f"{FLAGS}/a", headers={**ahead, "Vexil-Wait-Ms": "10000"})
        assert "Vexil-Behind" not in read.headers
        assert read.json["environments"]["prod"]["kill"] is True
        assert tokens.decode(read.headers["Vexil-Token"], "shop")[ELSEWHERE] == 1
        written = await node.owner.patch(f"{FLAGS}/a", {"owner": "x"}, headers=ahead)
        assert written.status == 200


async def test_only_so_many_requests_wait_for_their_token(autojump_clock: object) -> None:
    async with serving(limits=ApiLimits(token_waits_max=1)) as node:
        ahead = {"Vexil-Token": tokens.encode("shop", {ELSEWHERE: 1}), "Vexil-Wait-Ms": "5000"}
        took: list[float] = []

        async def read() -> None:
            begun = trio.current_time()
            answer = await node.owner.get(FLAGS, headers=ahead)
            assert answer.headers["Vexil-Behind"] == "true"
            took.append(round(trio.current_time() - begun))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(read)
        assert took == [0, 5]


VV = version_vector.encode({1: 1})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "!!!!",
        "A" * 4097,
        base64.b64encode(b"\xc1").decode(),
        token_of(),
        token_of(1, "shop"),
        token_of(2, "shop", VV),
        token_of(1, "bank", VV),
        token_of(1, 5, VV),
        token_of(1, "shop", "text"),
        token_of(1, "shop", {}),
        token_of(1, "shop", b"\xff"),
        token_of(1, "shop", msgpack.packb([1])),
        token_of(1, "shop", msgpack.packb([0, 1])),
        token_of(1, "shop", msgpack.packb(["a", 1])),
        token_of(1, "shop", msgpack.packb([1, -1])),
        token_of(1, "shop", VV, 1),
        base64.urlsafe_b64encode(b"\xdf\xff\xff\xff\xff" + b"0" * 40).decode(),
    ],
)
async def test_a_token_that_is_none_is_refused(autojump_clock: object, text: str) -> None:
    async with serving() as node:
        for answer in (
            await node.owner.get(FLAGS, headers={"Vexil-Token": text}),
            await node.server.post("/ofrep/v1/evaluate/flags", {}, headers={"Vexil-Token": text}),
        ):
            assert (answer.status, answer.code) == (400, "token.invalid")


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "", "10001", "9" * 100, "\u00b2"])
async def test_a_wait_that_makes_no_sense_is_malformed(autojump_clock: object, text: str) -> None:
    async with serving() as node:
        for sent in ({"Vexil-Token": tokens.encode("shop", {})}, {}):
            answer = await node.owner.get(FLAGS, headers={**sent, "Vexil-Wait-Ms": text})
            assert (answer.status, answer.code) == (400, "request.malformed")


def test_a_token_stays_short_however_many_incarnations_there_were() -> None:
    vv = {(1 << 63) + i: (1 << 62) + i for i in range(5_000)}
    text = tokens.encode("p" * 64, vv)
    assert len(text) <= 4096
    kept = tokens.decode(text, "p" * 64)
    # A lower bound: what is in it is true, and the incarnations that were met last are in it.
    assert kept.items() <= vv.items()
    assert max(vv) in kept


async def test_an_answer_says_as_of_when_it_is(autojump_clock: object) -> None:
    async with serving() as node:
        answer = await node.owner.get(FLAGS)
        region, _, time = answer.headers["Vexil-As-Of"].partition("=")
        assert region == "eu"
        assert time.endswith("Z")
        assert "Vexil-Stale" not in answer.headers
        # A member that was never heard: what it may have written is not here.
        await node.engine.write(
            "_system",
            lambda _: registration(
                node.engine.directory, node="us-1", region="us", peer_url="p://us", http_url="h://us"
            ),
            author="test",
        )
        answer = await node.server.post("/ofrep/v1/evaluate/flags", {})
        assert "us=never" in answer.headers["Vexil-As-Of"]
        assert answer.headers["Vexil-Stale"] == "us"


async def test_one_idempotency_key_is_one_change(autojump_clock: object) -> None:
    async with serving() as node:
        sent = {"Idempotency-Key": "once"}
        body = {"key": "a", **BOOLEAN}
        first = await node.owner.post(FLAGS, body, headers=sent)
        again = await node.owner.post(FLAGS, body, headers=sent)
        assert (first.status, again.status) == (201, 201)
        assert again.json["change"] == first.json["change"]
        for other in (
            await node.owner.post(FLAGS, {**body, "owner": "x"}, headers=sent),
            await node.owner.patch(f"{FLAGS}/a", body, headers=sent),
            await node.owner.post(f"{FLAGS}/a/environments/prod/kill", body, headers=sent),
        ):
            assert (other.status, other.code) == (422, "idempotency.mismatch")
        assert (await node.owner.patch(f"{FLAGS}/a", {"owner": "x"}, headers=sent)).status == 422


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 129, "\u00e9", "a\tb", "return/0000000000000099:1"])
async def test_an_idempotency_key_that_is_none_is_malformed(autojump_clock: object, key: str) -> None:
    async with serving() as node:
        answer = await node.owner.post(FLAGS, {"key": "a", **BOOLEAN}, headers={"Idempotency-Key": key})
        assert (answer.status, answer.code) == (400, "request.malformed")
        longest = {"Idempotency-Key": "x" * 128}
        assert (await node.owner.post(FLAGS, {"key": "a", **BOOLEAN}, headers=longest)).status == 201


async def test_a_retry_that_names_its_change_waits_for_it_or_says_that_nobody_knows(
    autojump_clock: object,
) -> None:
    async with serving() as node:
        await node.flag("a")
        sent = {"Idempotency-Key": "k", "Vexil-Change": f"{ELSEWHERE:016x}:1"}
        answer = await node.owner.patch(f"{FLAGS}/a", {"owner": "x"}, headers=sent)
        assert (answer.status, answer.code) == (504, "write.indeterminate")
        assert answer.json["definite"] is False
        assert answer.json["change"] == f"{ELSEWHERE:016x}:1"


@pytest.mark.parametrize("text", ["x", "1:1", f"{1:016x}:0", f"{1:016x}:", f"{1:016X}:1x", "g" * 16 + ":1"])
async def test_a_change_that_is_none_is_malformed(autojump_clock: object, text: str) -> None:
    async with serving() as node:
        await node.flag("a")
        sent = {"Idempotency-Key": "k", "Vexil-Change": text}
        assert (await node.owner.patch(f"{FLAGS}/a", {}, headers=sent)).code == "request.malformed"
        # Without a key the write would be made a second time.
        alone = {"Vexil-Change": f"{1:016x}:1"}
        assert (await node.owner.patch(f"{FLAGS}/a", {}, headers=alone)).code == "request.malformed"


async def test_durability_is_asked_for_and_told(autojump_clock: object) -> None:
    async with serving() as node:
        body = {"key": "a", **BOOLEAN}
        before = node.root_hashes()
        odd = await node.owner.post(FLAGS, body, headers={"Vexil-Durability": "moon"})
        assert odd.code == "request.malformed"
        lonely = await node.owner.post(FLAGS, body, headers={"Vexil-Durability": "peer"})
        assert (lonely.status, lonely.code) == (503, "durability.unavailable")
        assert lonely.json["definite"] is True
        assert node.root_hashes() == before
        made = await node.owner.post(FLAGS, body, headers={"Vexil-Durability": "region"})
        assert made.json["change"]["durability"] == "region"


async def test_a_full_disk_is_a_definite_refusal(autojump_clock: object) -> None:
    async with serving() as node:
        node.disk.fill()
        answer = await node.owner.post(FLAGS, {"key": "a", **BOOLEAN})
        assert (answer.status, answer.code) == (503, "durability.unavailable")
        assert answer.json["definite"] is True
        node.disk.free()
        assert (await node.owner.post(FLAGS, {"key": "a", **BOOLEAN})).status == 201
        node.log.lines.clear()


def test_a_token_that_is_cut_keeps_the_incarnations_that_still_write() -> None:
    vv = {(1 << 63) + i: 5 + i for i in range(5_000)}
    living = [(1 << 63) + i for i in (3, 0, 77)]
    system = {(1 << 62) + i: 1 for i in range(500)}
    text = tokens.encode("p" * 64, vv, system=system, preferred=living)
    assert len(text) <= 4096
    seen = tokens.decode_all(text, "p" * 64)
    assert {*living, max(vv)} <= seen.vv.keys()
    assert seen.vv.items() <= vv.items()
    assert (len(seen.vv), len(seen.system)) == (tokens.ENTRIES_MAX, tokens.SYSTEM_ENTRIES_MAX)


async def test_in_an_old_cluster_a_token_has_the_members_and_what_was_just_written(
    autojump_clock: object,
) -> None:
    async with serving() as node:
        await node.flag("a")
        own, project = node.engine.incarnation, node.engine.projects["shop"]
        await node.name_incarnation(ELSEWHERE, node="us-1", region="us")
        node.engine.directory.members["us-1"] = replace(
            node.engine.directory.members["us-1"], registered=True
        )
        mine = project.replica.vv[own]
        # Both are met before the many that are dead by now.
        dead = [(1 << 64) - 1 - i for i in range(300)]
        for incarnation in (ELSEWHERE, *dead):
            kill = CellWrite(f"flag/x{incarnation}", NO_GENERATION, "kill/prod", value=True)
            await node.arrive(Pen(Replica(), incarnation).write([kill], hlc=node.later_hlc(), author="bob"))
        made = await node.flag("b")
        kept = tokens.decode(made.headers["Vexil-Token"], "shop")
        assert kept[own] == mine + 1
        assert kept[ELSEWHERE] == 1
        # It is there also before the members are known to have begun.
        node.engine.directory.members.clear()
        kept = tokens.decode((await node.flag("c")).headers["Vexil-Token"], "shop")
        assert kept[own] == mine + 2


async def test_a_refusal_carries_a_token_too(autojump_clock: object) -> None:
    async with serving() as node:
        held = (await node.flag("a")).headers["Vexil-Token"]
        for refused in (
            await node.owner.get(f"{FLAGS}/none"),
            await node.owner.patch(f"{FLAGS}/a", {"owner": 5}),
            await node.owner.patch(f"{FLAGS}/a", {"owner": "x"}, headers={"If-Match": '"old"'}),
            await node.server.post("/ofrep/v1/evaluate/flags/none", {}),
        ):
            assert refused.status >= 400
            assert refused.headers["Vexil-Token"] == held
            assert "Vexil-As-Of" in refused.headers
        for unknown in (await node.nobody.get(FLAGS), await node.owner.get("/api/v1/projects/none")):
            assert "Vexil-Token" not in unknown.headers


async def test_who_is_told_that_a_node_is_behind_loses_nothing_of_his_token(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        ahead = {"Vexil-Token": tokens.encode("shop", {ELSEWHERE: 4}), "Vexil-Wait-Ms": "0"}
        for answer in (
            await node.owner.get(FLAGS, headers=ahead),
            await node.owner.patch(f"{FLAGS}/a", {"owner": "x"}, headers=ahead),
        ):
            assert answer.headers["Vexil-Behind"] == "true"
            kept = tokens.decode(answer.headers["Vexil-Token"], "shop")
            assert kept == {**node.engine.projects["shop"].replica.vv, ELSEWHERE: 4}
        assert ELSEWHERE not in tokens.decode((await node.owner.get(FLAGS)).headers["Vexil-Token"], "shop")


async def test_a_token_of_a_project_that_is_not_here_yet_waits_for_it(autojump_clock: object) -> None:
    async with serving() as node:
        system = node.engine.system
        new = "/api/v1/projects/new"
        pen = await elsewhere_in_system(node)
        change = pen.write(
            [
                CellWrite("project/new", NO_GENERATION, "exists", value=True),
                CellWrite("project/new", NO_GENERATION, "environment/prod", value=True),
            ],
            hlc=node.later_hlc(),
            author="bob",
        )
        named = {"Vexil-Token": tokens.encode("new", {}, system={ELSEWHERE: 1})}
        begun = trio.current_time()
        missing = await node.owner.get(new, headers=named)
        assert trio.current_time() - begun == pytest.approx(0.5)
        assert (missing.status, missing.headers["Vexil-Behind"]) == (404, "true")
        write = await node.owner.post(f"{new}/flags", {"key": "a", **BOOLEAN}, headers=named)
        assert (write.status, write.code) == (409, "token.behind")
        begun = trio.current_time()
        assert (await node.owner.get(new)).code == "project.not_found"
        assert trio.current_time() == begun

        async def arrive() -> None:
            await trio.sleep(0.3)
            assert (await node.engine.receive(system, [change], "us-1", lambda: None)).applied == 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(arrive)
            made = await node.owner.post(f"{new}/flags", {"key": "a", **BOOLEAN}, headers=named)
        assert made.status == 201, made
        assert (await node.owner.get(new, headers=named)).json["environments"] == ["prod"]


async def test_the_answer_to_a_new_project_or_environment_names_the_change_that_made_it(
    autojump_clock: object,
) -> None:
    async with serving() as node:
        match: dict[str, str] = {}
        for environments in (["prod"], ["dev", "prod"]):
            made = await node.owner.put("/api/v1/projects/new", {"environments": environments}, headers=match)
            match = {"If-Match": made.headers["ETag"]}
            assert made.status in (200, 201), made
            incarnation, _, seq = made.json["change"]["id"].partition(":")
            seen = tokens.decode_all(made.headers["Vexil-Token"], "new")
            assert seen.system[int(incarnation, 16)] == int(seq)


async def elsewhere_in_system(node: Served) -> Pen:
    """The pen of a node that has all of `_system`."""
    replica = Replica()
    vv = node.engine.system.replica.vv
    for row in await node.engine.own_log.read("_system", after={}, through=vv, limit_bytes=1 << 30):
        replica.apply(decode(row.raw))
    return Pen(replica, ELSEWHERE)


async def test_when_to_come_back_is_drawn(autojump_clock: object) -> None:
    async with serving(limits=ApiLimits(retry_after_s_min=2, retry_after_s_max=4)) as node:
        node.engine.ready = False
        drawn = {int((await node.owner.get(FLAGS)).headers["Retry-After"]) for _ in range(40)}
        drawn |= {int((await node.nobody.get("/readyz")).headers["Retry-After"]) for _ in range(40)}
        assert drawn == {2, 3, 4}
