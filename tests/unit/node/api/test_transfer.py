"""Import and export over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.unit.node.api.nodes import serving
from vexil.crdt.change import decode
from vexil.node.api.limits import ApiLimits
from vexil.node.errors import WriteIndeterminate

SHOP = "/api/v1/projects/shop"
FLAGS = f"{SHOP}/flags"
IMPORT = f"{SHOP}/import?environment=prod"
EXPORT = f"{SHOP}/export?environment=prod"


def flag(default: str | None = "on", **members: Any) -> dict[str, Any]:
    variants = {"on": True, "off": False}
    return {"state": "ENABLED", "variants": variants, "defaultVariant": default, **members}


def document(*keys: str, **members: Any) -> dict[str, Any]:
    return {"flags": {key: flag() for key in keys}, **members}


async def test_what_is_imported_is_exported(autojump_clock: object) -> None:
    async with serving() as node:
        sent = document("a", "b", metadata={"team": "x"}, **{"$evaluators": {"e": {"==": [1, 1]}}})
        done = await node.owner.post(IMPORT, sent)
        assert done.status == 200, done
        assert {name: done.json[name] for name in ("created", "updated", "deleted", "unchanged")} == {
            "created": 2,
            "updated": 0,
            "deleted": 0,
            "unchanged": 0,
        }
        assert done.json["changes"] == len(done.json["change_ids"])
        assert done.json["errors"] == []
        back = await node.owner.get(EXPORT)
        assert back.json["flags"]["a"]["defaultVariant"] == "on"
        assert (back.json["metadata"], back.json["$evaluators"]) == (sent["metadata"], sent["$evaluators"])
        before = node.root_hashes()
        again = await node.owner.post(IMPORT, back.json)
        assert (again.json["unchanged"], again.json["changes"]) == (2, 0)
        assert node.root_hashes() == before


async def test_rules_stay_rules_when_their_export_comes_back(autojump_clock: object) -> None:
    async with serving() as node:
        rule = {"id": "r", "if": {"==": [{"var": "email"}, "a"]}, "serve": "off"}
        await node.flag("a", environments={"prod": {"enabled": True, "default": "on", "rules": [rule]}})
        exported = (await node.owner.get(EXPORT)).json
        done = await node.owner.post(IMPORT, exported)
        assert (done.json["unchanged"], done.json["changes"]) == (1, 0)
        assert (await node.owner.get(f"{FLAGS}/a")).json["environments"]["prod"]["rules"] == [rule]


async def test_a_dry_run_tells_and_writes_nothing(autojump_clock: object) -> None:
    async with serving() as node:
        before = node.root_hashes()
        told = await node.owner.post(f"{IMPORT}&dry_run=true", document("a"))
        assert (told.json["created"], told.json["change_ids"]) == (1, [])
        assert node.root_hashes() == before


async def test_replace_takes_out_what_is_not_named(autojump_clock: object) -> None:
    async with serving() as node:
        await node.owner.post(IMPORT, document("a", "b"))
        merged = await node.owner.post(f"{IMPORT}&mode=merge", document("a"))
        assert merged.json["deleted"] == 0
        replaced = await node.owner.post(f"{IMPORT}&mode=replace", document("a"))
        assert replaced.json["deleted"] == 1
        assert (await node.owner.get(f"{FLAGS}/b")).status == 404


async def test_a_large_import_is_many_changes_and_is_gone_on_with(autojump_clock: object) -> None:
    async with serving() as node:
        whole = document(*(f"f{i}" for i in range(1_200)))
        done = await node.owner.post(IMPORT, whole, headers={"Idempotency-Key": "k" * 128})
        assert done.json["created"] == 1_200
        assert done.json["changes"] >= 3
        vv = node.engine.projects["shop"].replica.vv
        rows = await node.engine.own_log.read("shop", after={}, through=vv, limit_bytes=1 << 30)
        keys = {change.idempotency[0] for row in rows if (change := decode(row.raw)).idempotency}
        # One for each change, and none is longer than what others may send.
        assert len(keys) == done.json["changes"]
        assert max(map(len, keys)) <= 128
        before = node.root_hashes()
        again = await node.owner.post(IMPORT, whole, headers={"Idempotency-Key": "k" * 128})
        assert (again.json["unchanged"], again.json["changes"]) == (1_200, 0)
        assert node.root_hashes() == before


async def test_an_import_that_breaks_off_says_that_some_of_it_has_happened(autojump_clock: object) -> None:
    async with serving() as node:
        engine, writes = node.engine, 0
        write = engine.write

        async def fails_at_third(*arguments: Any, **options: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == 3:
                node.disk.fill()
            return await write(*arguments, **options)

        engine.write = fails_at_third  # type: ignore[method-assign]
        whole = document(*(f"f{i}" for i in range(1_200)))
        broken = await node.owner.post(IMPORT, whole, headers={"Idempotency-Key": "k"})
        assert (broken.status, broken.code) == (503, "durability.unavailable")
        assert broken.json["definite"] is False
        assert broken.json["changes"] == 2
        node.disk.free()
        done = await node.owner.post(IMPORT, whole, headers={"Idempotency-Key": "k"})
        assert done.status == 200
        assert done.json["unchanged"] > 0
        assert done.json["created"] == 1_200 - done.json["unchanged"]
        node.log.lines.clear()


async def test_bad_flags_are_told_and_do_not_stop_the_others(autojump_clock: object) -> None:
    async with serving() as node:
        sent = {"flags": {"good": flag(), "bad": {"state": "MAYBE"}}}
        done = await node.owner.post(IMPORT, sent)
        assert (done.status, done.json["created"]) == (200, 1)
        assert any("bad" in error["path"] for error in done.json["errors"])
        alone = await node.owner.post(IMPORT, {"flags": {"bad": {"state": "MAYBE"}}})
        assert (alone.status, alone.code) == (422, "import.invalid")
        assert alone.json["errors"]


async def test_a_changed_value_that_another_environment_serves_is_a_refusal(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", environments={"dev": {"enabled": True, "default": "on"}})
        changed = flag(variants={"on": False, "off": True})
        before = node.root_hashes()
        answer = await node.owner.post(IMPORT, {"flags": {"a": changed}})
        assert (answer.status, answer.code) == (409, "variant.in_use")
        assert answer.json["errors"][0]["path"] == "/flags/a"
        assert node.root_hashes() == before


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("environment=", 400),
        ("environment=nowhere", 404),
        ("environment=prod&mode=wipe", 400),
        ("environment=prod&dry_run=perhaps", 400),
        ("environment=prod&dryrun=true", 400),
    ],
)
async def test_an_import_query_that_makes_no_sense_is_refused(
    autojump_clock: object, query: str, status: int
) -> None:
    async with serving() as node:
        before = node.root_hashes()
        assert (await node.owner.post(f"{SHOP}/import?{query}", document("a"))).status == status
        assert node.root_hashes() == before


async def test_an_export_names_what_cannot_be_said(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a", environments={"prod": {"enabled": True, "default": "on"}})
        await node.flag("odd", variants={})
        refused = await node.owner.get(EXPORT)
        assert (refused.status, refused.code) == (422, "export.invalid")
        assert [error["path"] for error in refused.json["errors"]] == ["/flags/odd"]
        partial = await node.owner.get(f"{EXPORT}&partial=true")
        assert list(partial.json["flags"]) == ["a"]
        assert (await node.owner.get(f"{SHOP}/export")).code == "request.malformed"
        assert (await node.owner.get(f"{SHOP}/export?environment=x")).code == "environment.not_found"


async def test_only_so_many_imports_run_at_one_time(autojump_clock: object) -> None:
    async with serving(limits=ApiLimits(imports_max=1)) as node:
        statuses: list[int] = []

        async def take_in(key: str) -> None:
            answer = await node.owner.post(IMPORT, document(key))
            statuses.append(answer.status)
            if answer.status == 429:
                assert answer.code == "rate.limited"
                assert 1 <= int(answer.headers["Retry-After"]) <= 5

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_in, "a")
            nursery.start_soon(take_in, "b")
        assert sorted(statuses) == [200, 429]
        assert (await node.owner.post(IMPORT, document("c"))).status == 200


async def test_an_import_goes_on_behind_a_change_whose_outcome_was_unknown(autojump_clock: object) -> None:
    async with serving() as node:
        engine, write, writes = node.engine, node.engine.write, 0

        async def unknown_at_second(*arguments: Any, **options: Any) -> Any:
            nonlocal writes
            writes += 1
            outcome = await write(*arguments, **options)
            if writes == 2:
                raise WriteIndeterminate(outcome.change_id)
            return outcome

        whole = document(*(f"f{i}" for i in range(1_200)))
        engine.write = unknown_at_second  # type: ignore[method-assign]
        broken = await node.owner.post(IMPORT, whole, headers={"Idempotency-Key": "k"})
        assert (broken.status, broken.code, broken.json["definite"]) == (504, "write.indeterminate", False)
        assert broken.json["change"] not in broken.json["change_ids"]

        retry = {"Idempotency-Key": "k", "Vexil-Change": broken.json["change"]}
        done = await node.owner.post(IMPORT, whole, headers=retry)
        assert done.status == 200, done
        assert (done.json["created"] + done.json["unchanged"], done.json["updated"]) == (1_200, 0)
        assert done.json["unchanged"] > 0
        project = engine.projects["shop"]
        assert len(project.flag_keys()) == 1_200
        vv = project.replica.vv
        rows = await engine.own_log.read("shop", after={}, through=vv, limit_bytes=1 << 30)
        created = [o.object for row in rows for o in decode(row.raw).operations if o.field == "exists"]
        assert sorted(created) == sorted(f"flag/f{i}" for i in range(1_200))


async def test_an_import_waits_for_the_change_of_its_earlier_try(autojump_clock: object) -> None:
    async with serving() as node:
        before = node.root_hashes()
        retry = {"Idempotency-Key": "k", "Vexil-Change": f"{0x99:016x}:1"}
        away = await node.owner.post(IMPORT, document("a"), headers=retry)
        assert (away.status, away.code) == (504, "write.indeterminate")
        assert (away.json["definite"], away.json["change"]) == (False, retry["Vexil-Change"])
        assert node.root_hashes() == before


async def test_the_key_of_an_import_stands_for_its_document(autojump_clock: object) -> None:
    async with serving() as node:
        keyed = {"Idempotency-Key": "k"}
        made = await node.owner.post(IMPORT, document("a"), headers=keyed)
        assert made.status == 200
        before = node.root_hashes()
        others: list[dict[str, Any]] = [document("b"), document("a", metadata={"team": "x"}), {"flags": {}}]
        for other in others:
            refused = await node.owner.post(IMPORT, other, headers=keyed)
            assert (refused.status, refused.code) == (422, "idempotency.mismatch")
        assert node.root_hashes() == before
        elsewhere = await node.owner.post(FLAGS, {"key": "z", "type": "boolean"}, headers=keyed)
        assert elsewhere.code in ("idempotency.mismatch", "flag.invalid")
        same = await node.owner.post(IMPORT, document("a"), headers=keyed)
        assert (same.status, same.json["unchanged"]) == (200, 1)


async def test_a_repeated_import_does_not_undo_what_came_after_it(autojump_clock: object) -> None:
    async with serving() as node:
        keyed = {"Idempotency-Key": "k"}
        made = await node.owner.post(IMPORT, document("a"), headers=keyed)
        edit = {"environments": {"prod": {"default": "off"}}}
        assert (await node.owner.patch(f"{FLAGS}/a", edit)).status == 200
        again = await node.owner.post(IMPORT, document("a"), headers=keyed)
        assert again.status == 200
        held = (await node.owner.get(f"{FLAGS}/a")).json
        assert again.json["change_ids"] == made.json["change_ids"]
        assert held["environments"]["prod"]["default"] == "off"
