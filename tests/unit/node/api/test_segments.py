"""Segments over HTTP."""

from __future__ import annotations

from tests.unit.node.api.nodes import serving

SHOP = "/api/v1/projects/shop"
SEGMENTS = f"{SHOP}/segments"


async def test_a_segment_is_made_replaced_edited_and_deleted(autojump_clock: object) -> None:
    async with serving() as node:
        body = {"description": "d", "members": ["u2", "u1"], "rules": [{"id": "r", "if": True}]}
        sent = {"Idempotency-Key": "k"}
        made = await node.owner.put(f"{SEGMENTS}/s", body, headers=sent)
        assert (made.status, made.json["members_count"]) == (201, 2)
        assert (await node.owner.put(f"{SEGMENTS}/s", body, headers=sent)).status == 201
        found = await node.owner.get(f"{SEGMENTS}/s")
        assert found.json["members"] == ["u1", "u2"]
        assert found.json["rules"] == [{"id": "r", "if": True}]
        assert found.headers["ETag"] == made.headers["ETag"]
        replaced = await node.owner.put(f"{SEGMENTS}/s", {"members": ["u3"]})
        assert (replaced.status, replaced.json["members_count"]) == (200, 1)
        stale = await node.owner.patch(
            f"{SEGMENTS}/s", {"description": "x"}, headers={"If-Match": made.headers["ETag"]}
        )
        assert (stale.status, stale.code) == (412, "segment.stale")
        assert (await node.owner.patch(f"{SEGMENTS}/s", {"description": "x"})).json["description"] == "x"
        moved = await node.owner.post(f"{SEGMENTS}/s/members", {"add": ["u4", "u5"], "remove": ["u3"]})
        assert moved.json["members_count"] == 2
        assert (await node.owner.get(f"{SEGMENTS}/s")).json["members"] == ["u4", "u5"]
        assert (await node.owner.delete(f"{SEGMENTS}/s")).status == 200
        for answer in (
            await node.owner.get(f"{SEGMENTS}/s"),
            await node.owner.patch(f"{SEGMENTS}/s", {"description": "x"}),
            await node.owner.post(f"{SEGMENTS}/s/members", {"add": ["u1"]}),
            await node.owner.delete(f"{SEGMENTS}/s"),
        ):
            assert (answer.status, answer.code) == (404, "segment.not_found")


async def test_segments_are_listed_without_their_members(autojump_clock: object) -> None:
    async with serving() as node:
        for key in ("b", "a", "c"):
            await node.owner.put(f"{SEGMENTS}/{key}", {"members": ["u1"]})
        page = (await node.owner.get(f"{SEGMENTS}?page_size=2")).json
        assert [(s["key"], s["members_count"], "members" in s) for s in page["items"]] == [
            ("a", 1, False),
            ("b", 1, False),
        ]
        rest = (await node.owner.get(f"{SEGMENTS}?page_token={page['next_page_token']}")).json
        assert ([s["key"] for s in rest["items"]], rest["next_page_token"]) == (["c"], None)


async def test_a_segment_decides_what_is_served(autojump_clock: object) -> None:
    async with serving() as node:
        await node.owner.put(f"{SEGMENTS}/beta", {"members": ["u1"]})
        rule = {"if": {"segment": "beta"}, "serve": "on"}
        await node.flag("a", environments={"prod": {"enabled": True, "default": "off", "rules": [rule]}})

        async def value(user: str) -> object:
            asked = {"context": {"targetingKey": user}}
            return (await node.server.post("/ofrep/v1/evaluate/flags/a", asked)).json["value"]

        assert [await value("u1"), await value("u2")] == [True, False]
        await node.owner.post(f"{SEGMENTS}/beta/members", {"add": ["u2"], "remove": ["u1"]})
        assert [await value("u1"), await value("u2")] == [False, True]
