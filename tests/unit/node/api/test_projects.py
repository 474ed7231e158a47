"""Projects and flagd parts over HTTP."""

from __future__ import annotations

import pytest

from tests.unit.node.api.nodes import serving

PROJECTS = "/api/v1/projects"
FLAGD = f"{PROJECTS}/shop/environments/prod/flagd"


async def test_a_project_is_made_changed_and_listed(autojump_clock: object) -> None:
    async with serving() as node:
        made = await node.owner.put(f"{PROJECTS}/bank", {"environments": ["prod"], "bucketing": "v3"})
        assert made.status == 201
        assert made.json["environments"] == ["prod"]
        assert made.json["change"]["id"]
        found = await node.owner.get(f"{PROJECTS}/bank")
        assert found.json == {"name": "bank", "environments": ["prod"], "bucketing": "v3"}
        changed = await node.owner.put(
            f"{PROJECTS}/bank", {"environments": ["prod", "dev"]}, headers={"If-Match": found.headers["ETag"]}
        )
        assert (changed.status, changed.json["environments"]) == (200, ["dev", "prod"])
        stale = await node.owner.put(
            f"{PROJECTS}/bank", {"environments": []}, headers={"If-Match": '"kwAAkMQA"'}
        )
        assert stale.status in {400, 412}
        listed = (await node.owner.get(f"{PROJECTS}?page_size=1")).json
        assert [item["name"] for item in listed["items"]] == ["bank"]
        rest = (await node.owner.get(f"{PROJECTS}?page_token={listed['next_page_token']}")).json
        assert [item["name"] for item in rest["items"]] == ["shop"]
        assert (await node.owner.get(f"{PROJECTS}/_system")).code == "project.not_found"


async def test_a_new_environment_is_served_at_once(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        await node.owner.put(f"{PROJECTS}/shop", {"environments": ["dev", "prod", "qa"]})
        found = (await node.owner.get(f"{PROJECTS}/shop/flags/a")).json
        assert set(found["environments"]) == {"dev", "prod", "qa"}
        key = await node.make_key(kind="server", project="shop", environment="qa")
        assert (await key.post("/ofrep/v1/evaluate/flags/a", {})).json["reason"] == "DISABLED"


@pytest.mark.parametrize(
    "body",
    [
        {"environments": "prod"},
        {"environments": [1]},
        {"environments": ["a/b"]},
        {"environments": [""]},
        {"environments": ["x" * 65]},
        {"environments": {"prod": True}},
        {"bucketing": "v1"},
        {"bucketing": 3},
        {"bucketing": ["v3"]},
        {"bucketing": {}},
        {"name": "other"},
    ],
)
async def test_a_project_that_makes_no_sense_is_invalid(autojump_clock: object, body: object) -> None:
    async with serving() as node:
        before = node.root_hashes()
        answer = await node.owner.put(f"{PROJECTS}/shop", body)
        assert (answer.status, answer.code) == (422, "project.invalid"), answer
        assert node.root_hashes() == before


async def test_the_flagd_part_is_replaced_as_a_whole(autojump_clock: object) -> None:
    async with serving() as node:
        empty = await node.owner.get(FLAGD)
        assert (empty.json["evaluators"], empty.json["metadata"]) == ({}, {})
        body = {"evaluators": {"staff": {"==": [1, 1]}}, "metadata": {"team": "x"}}
        done = await node.owner.put(FLAGD, body, headers={"If-Match": empty.headers["ETag"]})
        assert (done.status, done.json["metadata"]) == (200, {"team": "x"})
        stale = await node.owner.put(
            FLAGD, {"metadata": {"team": "y"}}, headers={"If-Match": empty.headers["ETag"]}
        )
        assert stale.status == 412
        document = (await node.server.get("/flagd/v1/flags.json")).json
        assert document["metadata"] == {"team": "x"}
        assert document["$evaluators"] == {"staff": {"==": [1, 1]}}
        await node.owner.put(FLAGD, {})
        assert (await node.owner.get(FLAGD)).json["metadata"] == {}
        missing = await node.owner.get(FLAGD.replace("prod", "nowhere"))
        assert (missing.status, missing.code) == (404, "environment.not_found")
        assert (await node.owner.put(FLAGD.replace("prod", "nowhere"), {})).code == "environment.not_found"
