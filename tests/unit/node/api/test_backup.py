"""Backup and restore over HTTP: what comes back is what went out, and what is refused has changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.unit.node.api.nodes import Client, Served, serving
from vexil.node.api.limits import ApiLimits
from vexil.node.backup_reading import Backup, read_backup
from vexil.node.errors import DurabilityUnavailable
from vexil.node.seams import StoreUnavailable

SHOP = "/api/v1/projects/shop"
COPY = "/api/v1/projects/copy"
SYSTEM = "/api/v1/projects/_system"


async def fill(node: Served) -> None:
    """Flags, one of them with a rule, a segment, a delete, and an edit with an idempotency key."""
    rule = {"id": "r", "if": {"segment": "beta"}, "serve": "on"}
    await node.flag("a", environments={"prod": {"enabled": True, "default": "off", "rules": [rule]}})
    await node.flag("b", description="é" * 100)
    await node.flag("gone")
    assert (await node.owner.delete(f"{SHOP}/flags/gone")).status == 200
    assert (await node.owner.put(f"{SHOP}/segments/beta", {"members": ["u1", "u2"]})).status in (200, 201)
    headers = {"Idempotency-Key": "kept"}
    edited = await node.owner.patch(f"{SHOP}/flags/b", {"owner": "web"}, headers=headers)
    assert edited.status == 200, edited


async def backup_of(node: Served, path: str = SHOP) -> bytes:
    made = await node.owner.get(f"{path}/backup")
    assert made.status == 200, made
    assert made.headers["Content-Type"] == "application/octet-stream"
    return made.data


async def whole(data: bytes) -> Backup:
    return await read_backup([data])


async def test_a_file_says_what_it_is(autojump_clock: object) -> None:
    async with serving() as node:
        await fill(node)
        replica = node.engine.projects["shop"].replica
        backup = await whole(await backup_of(node))
        assert (backup.manifest.project, backup.manifest.node) == ("shop", "eu-1")
        assert backup.manifest.environments == ("dev", "prod")
        assert list(backup.state.canonical()) == list(replica.canonical())
        assert (backup.state.vv, backup.state.root) == (replica.vv, replica.root)
        assert [key for key, _ in backup.keys] == ["kept"]
        assert [row.seq for row in backup.rows] == list(range(replica.vv[node.engine.incarnation], 0, -1))


async def test_a_backup_is_of_one_instant(autojump_clock: object) -> None:
    async with serving() as node:
        await fill(node)
        before = list(node.engine.projects["shop"].replica.canonical())
        stream = await node.engine.backups.begin(node.engine.projects["shop"])
        pieces = [await anext(stream)]
        await node.flag("later")
        pieces += [piece async for piece in stream]
        backup = await whole(b"".join(pieces))
        assert list(backup.state.canonical()) == before


async def test_a_copy_lives_beside_the_project_that_it_was_made_from(autojump_clock: object) -> None:
    async with serving() as node:
        await fill(node)
        data = await backup_of(node)
        done = await node.owner.post(f"{COPY}/restore", raw=data)
        assert done.status == 201, done
        assert done.json["copy"]
        flags = (await node.owner.get(f"{SHOP}/flags")).json["items"]
        assert (await node.owner.get(f"{COPY}/flags")).json["items"] == flags
        replicas = [node.engine.projects[name].replica for name in ("shop", "copy")]
        assert not replicas[0].vv.keys() & replicas[1].vv.keys()
        assert replicas[1].root == replicas[1].recomputed_root()
        edited = await node.owner.patch(f"{COPY}/flags/a", {"description": "only here"})
        assert edited.status == 200, edited
        assert (await node.owner.get(f"{SHOP}/flags")).json["items"] == flags
        # A copy of a copy, and the first file once more: none is like another.
        again = await node.owner.post("/api/v1/projects/third/restore", raw=await backup_of(node, COPY))
        assert again.status == 201, again
        assert node.engine.forks.incarnations == set()


async def test_a_living_project_is_never_restored_over(autojump_clock: object) -> None:
    async with serving() as node:
        await fill(node)
        data = await backup_of(node)
        await node.flag("later")
        before = node.root_hashes()
        refused = await node.owner.post(f"{SHOP}/restore", raw=data)
        assert (refused.status, refused.code) == (409, "project.exists")
        assert node.root_hashes() == before


async def test_a_project_that_is_defined_and_empty_is_restored_into(autojump_clock: object) -> None:
    async with serving() as node:
        await fill(node)
        data = await backup_of(node)
        await node.owner.put(COPY, {"environments": ["prod", "stage"], "bucketing": "v2"})
        assert (await node.owner.post(f"{COPY}/restore", raw=data)).status == 201
        described = (await node.owner.get(COPY)).json
        assert (described["environments"], described["bucketing"]) == (["dev", "prod", "stage"], "v3")
        state = await node.owner.get(f"{COPY}/flags/a")
        assert set(state.json["environments"]) == {"dev", "prod", "stage"}


async def test_a_file_that_is_sent_twice_is_restored_once(autojump_clock: object) -> None:
    async with serving() as node:
        await fill(node)
        data = await backup_of(node)
        first = await node.owner.post(f"{COPY}/restore", raw=data)
        before = node.root_hashes()
        second = await node.owner.post(f"{COPY}/restore", raw=data)
        assert (second.status, second.json) == (201, first.json)
        assert node.root_hashes() == before


async def test_a_dry_run_tells_and_writes_nothing(autojump_clock: object) -> None:
    async with serving() as node:
        await fill(node)
        data = await backup_of(node)
        before = node.root_hashes()
        told = await node.owner.post(f"{COPY}/restore?dry_run=true", raw=data)
        assert told.status == 200, told
        assert (told.json["flags"], told.json["dry_run"]) == (3, True)
        assert node.root_hashes() == before
        assert (await node.owner.get(COPY)).status == 404
        refused = await node.owner.post(f"{SHOP}/restore?dry_run=true", raw=data[:-1])
        assert refused.code == "backup.invalid"


Broken = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "broken",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: data + data,
        lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
        lambda data: b'{"flags": {}}',
        lambda data: b"\0" * 100_000,
        lambda data: data.replace(b"vexil-backup 1", b"vexil-backup 2", 1),
    ],
)
async def test_what_is_no_whole_backup_is_refused_and_changes_nothing(
    autojump_clock: object, broken: Broken
) -> None:
    async with serving() as node:
        await fill(node)
        data = await backup_of(node)
        before = node.root_hashes()
        refused = await node.owner.post(f"{COPY}/restore", raw=broken(data))
        assert (refused.status, refused.code) == (422, "backup.invalid")
        assert refused.json["definite"]
        assert node.root_hashes() == before
        assert (await node.owner.get(COPY)).status == 404


async def test_an_endless_file_is_refused_at_its_limit(autojump_clock: object) -> None:
    async with serving(limits=ApiLimits(restore_body_bytes_max=10_000)) as node:
        refused = await node.owner.post(f"{COPY}/restore", raw=b"vexil-backup 1\n" * 10_000)
        assert (refused.status, refused.code) == (413, "limit.request_body_bytes")


async def test_a_full_disk_in_the_middle_leaves_the_old_state_untouched(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as node:
        await fill(node)
        data = await backup_of(node)
        before = node.root_hashes()
        store = node.engine.seams.store
        write_fold = store.write_fold
        room = 1

        async def full(project: str, entries: Any, *, checkpoint: int = 0) -> None:
            nonlocal room
            if checkpoint:
                room -= 1
                if room < 0:
                    raise StoreUnavailable("no space left on the disk")
            await write_fold(project, entries, checkpoint=checkpoint)

        monkeypatch.setattr("vexil.node.snapshots.STAGE_CELLS", 5)
        monkeypatch.setattr(store, "write_fold", full)
        refused = await node.owner.post(f"{COPY}/restore", raw=data)
        assert (refused.status, refused.code) == (503, "durability.unavailable")
        assert refused.json["definite"]
        assert "no space left" in refused.json["detail"]
        assert {name: root for name, root in node.root_hashes().items() if name != "copy"} == before
        assert not node.engine.projects["copy"].replica.vv
        assert (await node.owner.get(COPY)).status == 404
        assert not (await store.fold_checkpoints()).get("copy")
        room = 1_000
        assert (await node.owner.post(f"{COPY}/restore", raw=data)).status == 201


async def test_a_write_that_comes_in_between_wins_over_the_restore(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as node:
        await fill(node)
        data = await backup_of(node)
        await node.owner.put(COPY, {"environments": ["prod"]})
        store = node.engine.seams.store
        write_fold = store.write_fold

        async def meddle(project: str, entries: Any, *, checkpoint: int = 0) -> None:
            await write_fold(project, entries, checkpoint=checkpoint)
            if checkpoint and not node.engine.projects["copy"].replica.vv:
                body = {"key": "mine", "type": "boolean", "variants": {"on": True}}
                assert (await node.owner.post(f"{COPY}/flags", body)).status == 201

        monkeypatch.setattr(store, "write_fold", meddle)
        refused = await node.owner.post(f"{COPY}/restore", raw=data)
        assert (refused.status, refused.code) == (409, "project.exists")
        assert [flag["key"] for flag in (await node.owner.get(f"{COPY}/flags")).json["items"]] == ["mine"]


async def test_what_a_failure_has_left_undone_is_done_by_the_same_file(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as node:
        await fill(node)
        data = await backup_of(node)
        write = node.engine.write

        async def failing(*arguments: Any, **options: Any) -> Any:
            await trio.lowlevel.checkpoint()
            raise DurabilityUnavailable("not now")

        monkeypatch.setattr(node.engine, "write", failing)
        refused = await node.owner.post(f"{COPY}/restore", raw=data)
        assert (refused.status, refused.json["definite"]) == (503, False)
        assert "send the same file again" in refused.json["detail"]
        monkeypatch.setattr(node.engine, "write", write)
        assert (await node.owner.post(f"{COPY}/restore", raw=data)).status == 201
        assert (await node.owner.get(f"{COPY}/flags/a")).status == 200


async def test_only_owners_may_do_either(autojump_clock: object) -> None:
    async with serving() as node:
        data = await backup_of(node)
        editor = await node.make_key(kind="admin", role="editor", project="shop")
        owner = await node.make_key(kind="admin", role="owner", project="shop")

        async def statuses(who: Client, path: str) -> list[int]:
            return [
                (await who.get(f"{path}/backup")).status,
                (await who.post(f"{path}/restore", raw=data)).status,
            ]

        assert await statuses(editor, SHOP) == [403, 403]
        assert await statuses(node.nobody, SHOP) == [401, 401]
        assert await statuses(node.server, SHOP) == [403, 403]
        assert await statuses(owner, SYSTEM) == [403, 403]
        assert await statuses(owner, COPY) == [403, 403]
        assert (await owner.get(f"{SHOP}/backup")).status == 200
        assert (await node.owner.get(f"{COPY}/backup")).code == "project.not_found"


async def test_the_clusters_own_file_brings_projects_and_keys_and_never_members(
    autojump_clock: object,
) -> None:
    async with serving() as node:
        viewer = await node.make_key(kind="admin", role="viewer", project="shop")
        revoked = await node.make_key(kind="admin", role="viewer", project="shop")
        key_id = str(revoked.key).split("_")[1]
        assert (await node.owner.delete(f"/api/v1/keys/{key_id}")).status == 200
        await node.owner.put("/api/v1/projects/second", {"environments": ["x"], "bucketing": "v2"})
        data = await backup_of(node, SYSTEM)
    async with serving() as node:
        before = node.engine.members()
        assert (await node.with_key(viewer.key).get(SHOP)).status == 401
        told = await node.owner.post(f"{SYSTEM}/restore", raw=data)
        assert told.status == 201, told
        assert told.json["projects"] == ["second"]
        second = (await node.owner.get("/api/v1/projects/second")).json
        assert (second["environments"], second["bucketing"]) == (["x"], "v2")
        assert (await node.with_key(viewer.key).get(SHOP)).status == 200
        assert (await node.with_key(revoked.key).get(SHOP)).status == 401
        assert [member["node"] for member in node.engine.members()] == [m["node"] for m in before]
        roots = node.root_hashes()
        again = await node.owner.post(f"{SYSTEM}/restore", raw=data)
        assert (again.json["projects"], again.json["keys"]) == ([], 0)
        assert node.root_hashes() == roots
        for path in (COPY, SHOP):
            assert (await node.owner.post(f"{path}/restore", raw=data)).code == "backup.invalid"
        other = await backup_of(node, SHOP)
        assert (await node.owner.post(f"{SYSTEM}/restore", raw=other)).code == "backup.invalid"


async def test_one_backup_is_made_at_a_time_and_one_that_is_left_is_let_go(autojump_clock: object) -> None:
    async with serving() as node:
        await fill(node)
        project = node.engine.projects["shop"]
        stream = await node.engine.backups.begin(project)
        refused = await node.owner.get(f"{SHOP}/backup")
        assert (refused.status, refused.code) == (429, "rate.limited")
        await stream.aclose()
        assert (await node.owner.get(f"{SHOP}/backup")).status == 200
        for _ in range(10):  # no cut stays open
            assert (await node.owner.get(f"{SHOP}/backup")).status == 200


async def test_a_log_that_cannot_be_read_makes_no_whole_file(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as node:
        await fill(node)

        async def failing(*arguments: Any, **options: Any) -> Any:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("away")

        monkeypatch.setattr(node.engine.seams.store, "read_history", failing)
        with pytest.raises(ValueError, match="cut off"):
            await whole(await backup_of(node))
