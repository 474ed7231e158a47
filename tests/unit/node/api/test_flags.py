"""Flags over HTTP: what is answered, and what refusals say."""

from __future__ import annotations

import pytest

from tests.unit.node.api.nodes import BOOLEAN, serving

FLAGS = "/api/v1/projects/shop/flags"


async def test_a_flag_is_created_read_edited_and_deleted(autojump_clock: object) -> None:
    async with serving() as node:
        made = await node.owner.post(FLAGS, {"key": "new", **BOOLEAN, "owner": "pay"})
        assert made.status == 201
        assert made.json["key"] == "new"
        assert made.json["change"]["durability"] == "region"
        incarnation, _, seq = made.json["change"]["id"].partition(":")
        assert len(incarnation) == 16
        assert int(seq) > 0

        found = await node.owner.get(f"{FLAGS}/new")
        assert found.status == 200
        assert found.json["owner"] == "pay"
        assert found.json["environments"]["prod"] == {
            "enabled": False,
            "kill": False,
            "default": None,
            "off_variant": None,
            "rules": [],
            "targeting": None,
            "metadata": {},
        }
        assert found.headers["ETag"] == made.headers["ETag"]

        edit = {"environments": {"prod": {"enabled": True, "default": "on"}}}
        edited = await node.owner.patch(f"{FLAGS}/new", edit)
        assert edited.status == 200
        assert edited.json["environments"]["prod"]["enabled"] is True
        assert edited.headers["ETag"] != made.headers["ETag"]

        again = await node.owner.patch(f"{FLAGS}/new", edit)
        assert again.status == 200
        assert again.json["change"] is None

        gone = await node.owner.delete(f"{FLAGS}/new")
        assert gone.status == 200
        assert gone.json["change"]["id"]
        assert (await node.owner.get(f"{FLAGS}/new")).code == "flag.not_found"


async def test_a_second_create_is_refused(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        again = await node.owner.post(FLAGS, {"key": "a", **BOOLEAN})
        assert (again.status, again.code) == (409, "flag.exists")


async def test_a_stale_author_gets_the_flag_as_it_is(autojump_clock: object) -> None:
    async with serving() as node:
        seen = (await node.flag("a")).headers["ETag"]
        assert (await node.owner.patch(f"{FLAGS}/a", {"owner": "x"})).status == 200
        late = await node.owner.patch(f"{FLAGS}/a", {"owner": "y"}, headers={"If-Match": seen})
        assert (late.status, late.code) == (412, "flag.stale")
        assert late.json["current"]["owner"] == "x"
        other_field = await node.owner.patch(f"{FLAGS}/a", {"description": "y"}, headers={"If-Match": seen})
        assert other_field.status == 200


@pytest.mark.parametrize("etag", ["abc", '"', '"!!"', '""', '"AAAA"', '"' + "A" * 9000 + '"', "W/x"])
async def test_an_if_match_that_is_none_is_malformed(autojump_clock: object, etag: str) -> None:
    async with serving() as node:
        await node.flag("a")
        answer = await node.owner.patch(f"{FLAGS}/a", {"owner": "y"}, headers={"If-Match": etag})
        assert (answer.status, answer.code) == (400, "request.malformed")


async def test_a_kill_is_always_written_and_cleared_only_by_who_has_seen_it(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        switch = f"{FLAGS}/a/environments/prod"
        first = await node.owner.post(f"{switch}/kill")
        second = await node.owner.post(f"{switch}/kill")
        assert first.json["change"]["id"] != second.json["change"]["id"]
        assert second.json["environments"]["prod"]["kill"] is True
        blind = await node.owner.post(f"{switch}/unkill")
        assert (blind.status, blind.code) == (428, "precondition.required")
        stale = await node.owner.post(f"{switch}/unkill", headers={"If-Match": first.headers["ETag"]})
        assert stale.status == 412
        cleared = await node.owner.post(f"{switch}/unkill", headers={"If-Match": second.headers["ETag"]})
        assert cleared.status == 200
        assert cleared.json["environments"]["prod"]["kill"] is False


async def test_lists_are_paged_by_key_and_filtered(autojump_clock: object) -> None:
    async with serving() as node:
        for i in range(7):
            await node.flag(f"f{i}", tags=["even"] if i % 2 == 0 else [], description=f"Number {i}")
        await node.owner.patch(f"{FLAGS}/f6", {"archived": True})
        page = await node.owner.get(f"{FLAGS}?page_size=3")
        assert [item["key"] for item in page.json["items"]] == ["f0", "f1", "f2"]
        # What goes and comes in between moves nothing else.
        await node.owner.delete(f"{FLAGS}/f1")
        await node.flag("f00")
        token = page.json["next_page_token"]
        second = await node.owner.get(f"{FLAGS}?page_size=3&page_token={token}")
        assert [item["key"] for item in second.json["items"]] == ["f3", "f4", "f5"]
        last = await node.owner.get(f"{FLAGS}?page_size=3&page_token={second.json['next_page_token']}")
        assert [item["key"] for item in last.json["items"]] == ["f6"]
        assert last.json["next_page_token"] is None

        async def keys(query: str) -> list[str]:
            return [item["key"] for item in (await node.owner.get(f"{FLAGS}?{query}")).json["items"]]

        assert await keys("tag=even") == ["f0", "f2", "f4", "f6"]
        assert await keys("tag=even&archived=false") == ["f0", "f2", "f4"]
        assert await keys("archived=true") == ["f6"]
        assert await keys("q=NUMBER%203") == ["f3"]
        assert await keys("q=f00") == ["f00"]
        wrong = await node.owner.get(f"{FLAGS}?page_size=3&tag=even&page_token={token}")
        assert wrong.code == "request.malformed"


@pytest.mark.parametrize(
    "query",
    [
        "page_size=0",
        "page_size=501",
        "page_size=-1",
        "page_size=1.5",
        "page_size=%C2%B2",
        "page_size=" + "9" * 5000,
        "page_token=!!",
        "page_token=AAAA",
        "page_token=" + "A" * 5000,
        "archived=maybe",
        "nonsense=1",
        "tag=a&tag=b",
        "&".join(f"x{i}=1" for i in range(100)),
    ],
)
async def test_a_query_that_makes_no_sense_is_malformed(autojump_clock: object, query: str) -> None:
    async with serving() as node:
        answer = await node.owner.get(f"{FLAGS}?{query}")
        assert (answer.status, answer.code) == (400, "request.malformed")
