"""Who may do what: keys, roles, and that a revocation counts at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.node.api.nodes import BOOLEAN, OWNER_KEY, Served, serving

SHOP = "/api/v1/projects/shop"
FLAGS = f"{SHOP}/flags"
EVALUATE = "/ofrep/v1/evaluate/flags"


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "x",
        "vxa_",
        "vxa_root",
        "vxa_root_",
        "vxa_root_wrong",
        "vxa_nobody_0123456789abcdef0123456789abcdef",
        OWNER_KEY[:-1],
        OWNER_KEY + "0",
        OWNER_KEY.replace("vxa_", "vxs_"),
        OWNER_KEY.replace("vxa_", "vxb_"),
        OWNER_KEY.upper(),
        "vxa_../x_0123456789abcdef0123456789abcdef",
        "vxa_root_" + "0" * 10_000,
        "vxa_root_\xff\xfe",
    ],
)
async def test_what_is_no_valid_key_is_refused_alike(autojump_clock: object, key: str | None) -> None:
    async with serving() as node:
        answer = await node.with_key(key).get(FLAGS)
        assert (answer.status, answer.code) == (401, "key.invalid")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "root" not in answer.json["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {OWNER_KEY}"},
        {"Authorization": f"bearer   {OWNER_KEY}"},
        {"X-API-Key": OWNER_KEY},
        {"Authorization": "Basic eDp5", "X-API-Key": OWNER_KEY},
    ],
)
async def test_a_key_comes_in_either_header(autojump_clock: object, headers: dict[str, str]) -> None:
    async with serving() as node:
        assert (await node.nobody.get(FLAGS, headers=headers)).status == 200


async def test_only_a_hash_of_a_key_is_stored(autojump_clock: object) -> None:
    async with serving() as node:
        stored = repr(node.engine.projects["_system"].replica.objects)
        for key in (OWNER_KEY, node.server.key, node.client.key):
            assert key is not None
            secret = key.rpartition("_")[2]
            assert secret not in stored
            assert secret not in repr((await node.owner.get("/api/v1/keys")).json)


async def test_roles_are_ranked(autojump_clock: object) -> None:
    async with serving() as node:
        viewer = await node.make_key(kind="admin", role="viewer", project="shop")
        editor = await node.make_key(kind="admin", role="editor", project="shop")
        owner = await node.make_key(kind="admin", role="owner", project="shop")
        await node.flag("a")
        for client, may_write, may_own in ((viewer, 0, 0), (editor, 1, 0), (owner, 1, 1)):
            assert (await client.get(f"{FLAGS}/a")).status == 200
            edit = await client.patch(f"{FLAGS}/a", {"owner": "x"})
            assert edit.status == (200 if may_write else 403)
            environments = await client.put(SHOP, {"environments": ["dev", "prod"]})
            assert environments.status == (200 if may_own else 403)
            assert (await client.get("/api/v1/keys")).status == (200 if may_own else 403)
            if not may_own:
                assert environments.code == "key.forbidden"


async def test_a_key_of_one_project_is_a_stranger_in_others(autojump_clock: object) -> None:
    async with serving() as node:
        await node.owner.put("/api/v1/projects/bank", {"environments": ["prod"]})
        shop_owner = await node.make_key(kind="admin", role="owner", project="shop")
        for answer in (
            await shop_owner.get("/api/v1/projects/bank/flags"),
            await shop_owner.get("/api/v1/projects/nowhere/flags"),
            await shop_owner.put("/api/v1/projects/new", {"environments": []}),
            await shop_owner.get("/api/v1/projects/_system/history"),
            await shop_owner.post("/api/v1/keys", {"kind": "admin", "role": "viewer"}),
            await shop_owner.post("/api/v1/keys", {"kind": "admin", "role": "viewer", "project": "bank"}),
        ):
            # What is there and what is not looks the same.
            assert (answer.status, answer.code) == (403, "key.forbidden"), answer
        assert (await shop_owner.delete("/api/v1/keys/root")).code == "key.not_found"
        listed = (await shop_owner.get("/api/v1/projects")).json["items"]
        assert [item["name"] for item in listed] == ["shop"]
        assert {item["project"] for item in (await shop_owner.get("/api/v1/keys")).json["items"]} == {"shop"}
        assert set((await shop_owner.get("/api/v1/status")).json["projects"]) == {"shop"}
        assert (await node.owner.get("/api/v1/projects/_system/history")).status == 200


async def test_the_system_project_is_read_by_owners_of_everything_only(autojump_clock: object) -> None:
    async with serving() as node:
        editor = await node.make_key(kind="admin", role="editor")
        assert (await editor.get("/api/v1/projects/_system/history")).status == 403
        history = await node.owner.get("/api/v1/projects/_system/history")
        assert history.status == 200
        assert "hash" not in history.data.decode()
        assert (await node.owner.put("/api/v1/projects/_system", {"environments": ["x"]})).status == 403
        made = await node.owner.post("/api/v1/projects/_system/flags", {"key": "a", **BOOLEAN})
        assert made.status == 403


async def test_keys_for_reading_read_and_nothing_else(autojump_clock: object) -> None:
    async with serving() as node:
        for client in (node.server, node.client):
            for path in (FLAGS, "/api/v1/status", "/api/v1/keys", "/api/v1/projects", "/metrics"):
                assert (await client.get(path)).code == "key.forbidden"
            assert (await client.post(FLAGS, {"key": "a", **BOOLEAN})).code == "key.forbidden"
            assert (await client.post(EVALUATE, {})).status == 200
        assert (await node.owner.post(EVALUATE, {})).code == "key.forbidden"
        assert (await node.server.get("/flagd/v1/flags.json")).status == 200
        assert (await node.client.get("/flagd/v1/flags.json")).code == "key.forbidden"


async def test_a_revoked_key_is_refused_from_then_on(autojump_clock: object) -> None:
    async with serving() as node:
        assert (await node.server.post(EVALUATE, {})).status == 200
        assert node.server.key is not None
        key_id = node.server.key.split("_")[1]
        gone = await node.owner.delete(f"/api/v1/keys/{key_id}")
        assert gone.status == 200
        assert gone.json["revoked"] is True
        assert (await node.server.post(EVALUATE, {})).code == "key.invalid"
        again = await node.owner.delete(f"/api/v1/keys/{key_id}")
        assert (again.status, again.json["change"]) == (200, None)
        listed = {item["id"]: item for item in (await node.owner.get("/api/v1/keys")).json["items"]}
        assert listed[key_id]["revoked"] is True
        assert listed["root"]["revoked"] is False


async def test_a_key_for_reading_ends_with_its_environment(autojump_clock: object) -> None:
    async with serving() as node:
        await node.owner.put(SHOP, {"environments": ["dev"]})
        assert (await node.server.post(EVALUATE, {})).code == "environment.not_found"
        assert (await node.server.get("/flagd/v1/flags.json")).code == "environment.not_found"


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        [],
        "x",
        {},
        {"kind": "root"},
        {"kind": ["admin"]},
        {"kind": "admin"},
        {"kind": "admin", "role": "king"},
        {"kind": "admin", "role": ["owner"]},
        {"kind": "admin", "role": "owner", "environment": "prod", "project": "shop"},
        {"kind": "admin", "role": "owner", "project": "nowhere"},
        {"kind": "admin", "role": "owner", "project": 1},
        {"kind": "admin", "role": "owner", "project": "_system"},
        {"kind": "admin", "role": "owner", "surprise": 1},
        {"kind": "admin", "role": "owner", "hash": "0" * 64},
        {"kind": "admin", "role": "owner", "name": 1},
        {"kind": "admin", "role": "owner", "name": "x" * 201},
        {"kind": "server", "project": "shop"},
        {"kind": "server", "environment": "prod"},
        {"kind": "server", "project": "shop", "environment": "nowhere"},
        {"kind": "server", "project": "shop", "environment": ["prod"]},
        {"kind": "server", "project": "shop", "environment": {}},
        {"kind": "server", "project": "shop", "environment": "prod", "role": "owner"},
        {"kind": "client", "project": {}, "environment": "prod"},
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(autojump_clock: object, wanted: Any) -> None:
    async with serving() as node:
        before = node.root_hashes()
        answer = await node.owner.post("/api/v1/keys", raw=b"null" if wanted is None else None, body=wanted)
        assert (answer.status, answer.code) == (422, "key.invalid"), answer
        assert answer.json["errors"]
        assert node.root_hashes() == before


async def test_a_repeated_request_for_a_key_names_it_and_cannot_show_it(autojump_clock: object) -> None:
    async with serving() as node:
        wanted = {"kind": "admin", "role": "viewer", "name": "ci"}
        sent = {"Idempotency-Key": "k1"}
        first = await node.owner.post("/api/v1/keys", wanted, headers=sent)
        second = await node.owner.post("/api/v1/keys", wanted, headers=sent)
        assert second.status == 201
        assert second.json["id"] == first.json["id"]
        assert second.json["change"] == first.json["change"]
        assert second.json["key"] is None
        assert await _keys_named(node, "ci") == 1


async def _keys_named(node: Served, name: str) -> int:
    return [item["name"] for item in (await node.owner.get("/api/v1/keys")).json["items"]].count(name)


async def test_the_author_of_a_change_is_the_key(autojump_clock: object) -> None:
    async with serving() as node:
        made = await node.owner.post("/api/v1/keys", {"kind": "admin", "role": "editor", "name": "ann"})
        await node.with_key(made.json["key"]).post(FLAGS, {"key": "a", **BOOLEAN})
        items = (await node.owner.get(f"{SHOP}/history")).json["items"]
        assert items[0]["author"] == f"ann ({made.json['id']})"
