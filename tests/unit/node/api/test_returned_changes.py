"""Parked changes over HTTP: listed with who wanted them and where, answered once, and told in the history."""

from __future__ import annotations

from typing import Any

from tests.unit.node.api.nodes import Served, serving
from vexil.crdt.change import NO_GENERATION, Change
from vexil.crdt.pen import CellWrite
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.reissue import Issued, Old, parking

SHOP = "/api/v1/projects/shop"


async def parked(node: Served) -> Change:
    """A flag that says ``theirs``, and a parked change that wanted ``mine``."""
    await node.flag("a")
    [at] = [g for g in node.engine.projects["shop"].replica.cells("flag/a") if g != NO_GENERATION]
    old = await node.elsewhere(
        lambda pen: pen.write(
            [CellWrite("flag/a", at, "owner", "mine")], hlc=1 << 16, author="bob", message="why"
        )
    )
    await node.owner.patch(f"{SHOP}/flags/a", {"owner": "theirs"})
    [page] = parking(Old(old, {}, Issued(), "us-1"), reason="changed", place=("us-1", "us"))
    await node.engine.write("shop", lambda _: Intent(page), author="node:us-1")
    return old


async def listed(node: Served, project: str = SHOP) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await node.owner.get(f"{project}/conflicts")).json["items"]
    return items


async def test_a_parked_change_is_listed(autojump_clock: object) -> None:
    async with serving() as node:
        old = await parked(node)
        [found] = await listed(node)
        names = ("kind", "flag", "environment", "field", "reason")
        assert [found[name] for name in names] == ["returned", "a", None, "owner", "changed"]
        mine, theirs = found["siblings"]
        assert (mine["change"], mine["value"], mine["author"]) == (old.id, "mine", "bob")
        assert (mine["node"], mine["region"], mine["time"]) == ("us-1", "us", "1970-01-01T00:00:00.001Z")
        assert (theirs["change"], theirs["value"], theirs["region"]) == (found["winner"], "theirs", "eu")


async def test_it_is_answered_once(autojump_clock: object) -> None:
    async with serving() as node:
        old = await parked(node)
        [found] = await listed(node)
        resolve = f"{SHOP}/conflicts/{found['id']}/resolve"
        done = await node.owner.post(resolve, {"choose": old.id})
        assert done.status == 200
        assert (await node.owner.get(f"{SHOP}/flags/a")).json["owner"] == "mine"
        assert await listed(node) == []
        again = await node.owner.post(resolve, {"choose": old.id})
        assert (again.status, again.code) == (409, "conflict.changed")


async def test_the_present_value_can_be_kept(autojump_clock: object) -> None:
    async with serving() as node:
        await parked(node)
        [found] = await listed(node)
        done = await node.owner.post(f"{SHOP}/conflicts/{found['id']}/resolve", {"choose": found["winner"]})
        assert done.status == 200
        assert (await node.owner.get(f"{SHOP}/flags/a")).json["owner"] == "theirs"
        assert await listed(node) == []


async def test_an_answer_to_what_was_changed_meanwhile_is_refused(autojump_clock: object) -> None:
    async with serving() as node:
        old = await parked(node)
        [found] = await listed(node)
        await node.owner.patch(f"{SHOP}/flags/a", {"owner": "later"})
        late = await node.owner.post(f"{SHOP}/conflicts/{found['id']}/resolve", {"choose": old.id})
        assert (late.status, late.code) == (409, "conflict.changed")


async def test_the_history_of_its_flag_tells_of_it(autojump_clock: object) -> None:
    async with serving() as node:
        old = await parked(node)
        await node.engine.drain()
        items = (await node.owner.get(f"{SHOP}/history?flag=a")).json["items"]
        [field] = items[0]["fields"]
        assert (field["flag"], field["field"]) == ("a", f"parked/{old.id.replace(':', '.')}")
        assert field["after"]["writes"] == {"owner": "mine"}


async def test_what_was_parked_of_the_system_is_listed_and_dismissed(autojump_clock: object) -> None:
    async with serving() as node:
        old = await node.elsewhere(
            lambda pen: pen.write(
                [CellWrite("key/k1", NO_GENERATION, "record", {"role": "owner", "hash": "secret"})],
                hlc=1 << 16,
                author="bob",
            )
        )
        [page] = parking(Old(old, {}, Issued(), "us-1"), reason="changed", place=None)
        await node.engine.write("_system", lambda _: Intent(page), author="node:us-1")
        system = "/api/v1/projects/_system"
        [found] = await listed(node, system)
        assert found["object"] == "key/k1"
        assert "secret" not in str(found)
        editor = await node.make_key(kind="admin", role="editor")
        refused = await editor.post(f"{system}/conflicts/{found['id']}/resolve", {"value": None})
        assert refused.status == 403
        done = await node.owner.post(f"{system}/conflicts/{found['id']}/resolve", {"value": None})
        assert done.status == 200
        assert await listed(node, system) == []
