"""Change sets, the audit trail and conflicts over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.unit.node.api.nodes import BOOLEAN, Served, serving
from vexil.crdt.change import Change
from vexil.crdt.pen import CellWrite

SHOP = "/api/v1/projects/shop"
FLAGS = f"{SHOP}/flags"
CHANGES = f"{SHOP}/changes"
ELSEWHERE = 0x99


async def test_a_change_set_is_one_change(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        body = {
            "message": "two at once",
            "operations": [
                {"op": "create", "flag": "b", "value": BOOLEAN},
                {"op": "put_rule", "flag": "a", "environment": "prod", "rule": {"if": True, "serve": "on"}},
                {"op": "create", "segment": "s", "value": {"members": ["u1"]}},
            ],
        }
        sent = {"Idempotency-Key": "k"}
        done = await node.owner.post(CHANGES, body, headers=sent)
        assert done.status == 200
        assert [(r["op"], r.get("flag") or r.get("segment")) for r in done.json["results"]] == [
            ("create", "b"),
            ("put_rule", "a"),
            ("create", "s"),
        ]
        again = await node.owner.post(CHANGES, body, headers=sent)
        assert again.json["change"] == done.json["change"]
        assert len(again.json["results"]) == 3
        history = (await node.owner.get(f"{SHOP}/history")).json["items"]
        assert (history[0]["id"], history[0]["message"]) == (done.json["change"]["id"], "two at once")

        before = node.root_hashes()
        refused = await node.owner.post(
            CHANGES,
            {
                "operations": [
                    {"op": "delete", "flag": "a"},
                    {"op": "kill", "flag": "x", "environment": "prod"},
                ]
            },
        )
        assert (refused.status, refused.code) == (404, "flag.not_found")
        assert refused.json["errors"][0]["path"].startswith("/operations/1")
        assert node.root_hashes() == before


async def test_history_is_filtered_and_paged(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        await trio.sleep(10)
        middle = (await node.flag("b")).json["change"]["hlc"].partition("+")[0]
        await trio.sleep(10)
        await node.owner.patch(f"{FLAGS}/a", {"owner": "x"})

        async def ids(query: str) -> list[str]:
            found = await node.owner.get(f"{SHOP}/history?{query}")
            assert found.status == 200, found
            return [item["fields"][0]["name"] for item in found.json["items"]]

        assert await ids("") == ["a", "b", "a"]
        assert await ids("flag=a") == ["a", "a"]
        assert await ids(f"after={middle}") == ["a"]
        assert await ids(f"until={middle}") == ["b", "a"]
        assert await ids(f"until={middle.replace('Z', '%2B00:00')}") == ["b", "a"]
        assert await ids(f"until={middle.replace('Z', '+00:00')}") == ["b", "a"]
        assert await ids("author=nobody") == []
        page = (await node.owner.get(f"{SHOP}/history?page_size=2")).json
        rest = (await node.owner.get(f"{SHOP}/history?page_size=2&page_token={page['next_page_token']}")).json
        assert [len(page["items"]), len(rest["items"]), rest["next_page_token"]] == [2, 1, None]
        newest = page["items"][0]
        owner = next(field for field in newest["fields"] if field["field"] == "owner")
        assert (owner["before"], owner["after"], owner["lost"]) == ("", "x", False) or owner["before"] is None
        assert (newest["node"], newest["region"]) == ("eu-1", "eu")
        assert (owner["flag"], owner["environment"]) == ("a", None)
        await node.owner.post(f"{FLAGS}/a/environments/prod/kill")
        await node.owner.patch(f"{FLAGS}/a", {"environments": {"dev": {"enabled": True}}})
        two = (await node.owner.get(f"{SHOP}/history?page_size=2")).json["items"]
        places = [{f["environment"] for f in item["fields"]} for item in two]
        assert places == [{"dev"}, {"prod"}], "that an edit says again that its flag exists is nobody's news"


@pytest.mark.parametrize(
    "query",
    [
        "after=yesterday",
        "after=2026-01-01",
        "after=2026-01-01T00:00:00",
        "until=99999-01-01T00:00:00Z",
        "until=" + "1" * 5000,
        "page_token=%00",
        "page_token=nonsense",
        "page_size=0",
        "flagg=a",
    ],
)
async def test_a_history_query_that_makes_no_sense_is_malformed(autojump_clock: object, query: str) -> None:
    async with serving() as node:
        await node.flag("a")
        answer = await node.owner.get(f"{SHOP}/history?{query}")
        assert (answer.status, answer.code) == (400, "request.malformed"), answer


async def race(node: Served) -> tuple[Change, Any]:
    """Two authors set the owner of flag ``a`` without having seen each other; the other one is later."""
    await node.flag("a", owner="first")
    generation = (node.engine.projects["shop"].flag("a") or pytest.fail("it was just made")).generation
    change = await node.elsewhere(
        lambda pen: pen.write(
            [CellWrite("flag/a", generation, "owner", "theirs")], hlc=node.later_hlc(), author="bob"
        )
    )
    ours = await node.owner.patch(f"{FLAGS}/a", {"owner": "ours"})
    await node.name_incarnation(ELSEWHERE, node="us-1", region="us")
    await node.arrive(change)
    return change, ours.json["change"]["id"]


async def test_a_lost_write_is_a_conflict_until_somebody_settles_it(autojump_clock: object) -> None:
    async with serving() as node:
        change, ours = await race(node)
        listed = (await node.owner.get(f"{SHOP}/conflicts")).json
        assert listed["next_page_token"] is None
        (conflict,) = listed["items"]
        assert {name: conflict[name] for name in ("kind", "flag", "environment", "field", "winner")} == {
            "kind": "lww",
            "flag": "a",
            "environment": None,
            "field": "owner",
            "winner": change.id,
        }
        siblings = {sibling["change"]: sibling for sibling in conflict["siblings"]}
        assert siblings[change.id]["value"] == "theirs"
        assert siblings[change.id]["author"] == "bob"
        assert (siblings[change.id]["region"], siblings[change.id]["node"]) == ("us", "us-1")
        assert siblings[change.id]["time"].endswith("Z")
        assert (siblings[ours]["value"], siblings[ours]["region"]) == ("ours", "eu")
        flag = (await node.owner.get(f"{FLAGS}/a")).json
        assert flag["owner"] == "theirs"
        assert [c["id"] for c in flag["conflicts"]] == [conflict["id"]]
        history = (await node.owner.get(f"{SHOP}/history?flag=a")).json["items"]
        lost = [f["field"] for item in history if item["id"] == ours for f in item["fields"] if f["lost"]]
        assert lost == ["owner"]

        resolve = f"{SHOP}/conflicts/{conflict['id']}/resolve"
        wrong = await node.owner.post(resolve, {"choose": "0000000000000001:1"})
        assert (wrong.status, wrong.code) == (422, "conflict.invalid")
        settled = await node.owner.post(resolve, {"choose": ours})
        assert settled.status == 200
        assert settled.json["change"]["id"]
        assert (await node.owner.get(f"{FLAGS}/a")).json["owner"] == "ours"
        assert (await node.owner.get(f"{SHOP}/conflicts")).json["items"] == []
        late = await node.owner.post(resolve, {"value": "x"})
        assert (late.status, late.code) == (409, "conflict.changed")


async def test_a_value_of_ones_own_settles_a_conflict_too(autojump_clock: object) -> None:
    async with serving() as node:
        await race(node)
        (conflict,) = (await node.owner.get(f"{SHOP}/conflicts")).json["items"]
        done = await node.owner.post(f"{SHOP}/conflicts/{conflict['id']}/resolve", {"value": "both"})
        assert done.status == 200
        assert (await node.owner.get(f"{FLAGS}/a")).json["owner"] == "both"


async def test_conflicts_are_paged_by_id(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        generation = (node.engine.projects["shop"].flag("a") or pytest.fail("it was just made")).generation
        fields = {"owner": "x", "description": "y", "archived": True}
        change = await node.elsewhere(
            lambda pen: pen.write(
                [CellWrite("flag/a", generation, f, v) for f, v in fields.items()],
                hlc=node.later_hlc(),
                author="bob",
            )
        )
        await node.owner.patch(f"{FLAGS}/a", {"owner": "o", "description": "d", "client_visible": True})
        await node.owner.patch(f"{FLAGS}/a", {"archived": True})
        await node.owner.patch(f"{FLAGS}/a", {"archived": False})
        await node.arrive(change)
        seen: list[str] = []
        token = ""
        for _ in range(10):
            page = (await node.owner.get(f"{SHOP}/conflicts?page_size=1&page_token={token}")).json
            seen += [item["id"] for item in page["items"]]
            token = page["next_page_token"]
            if token is None:
                break
        assert seen == sorted(seen)
        assert len(set(seen)) == 3
        # Another list's token is not this one's.
        first = (await node.owner.get(f"{SHOP}/conflicts?page_size=1")).json["next_page_token"]
        assert (await node.owner.get(f"{FLAGS}?page_token={first}")).code == "request.malformed"


async def test_a_value_that_is_no_json_is_shown_all_the_same(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", owner="first")
        generation = (node.engine.projects["shop"].flag("a") or pytest.fail("it was just made")).generation
        junk = await node.elsewhere(
            lambda pen: pen.write(
                [CellWrite("flag/a", generation, "owner", {"a": [1, None]})],
                hlc=node.later_hlc(),
                author="bob\ud800".encode("utf-8", "replace").decode(),
            )
        )
        await node.arrive(junk)
        for path in (f"{FLAGS}/a", FLAGS, f"{SHOP}/conflicts", f"{SHOP}/history"):
            assert (await node.owner.get(path)).status == 200
        assert (await node.owner.get(f"{FLAGS}/a")).json["owner"] == ""
