"""Bounds of the interface that no other test is about: caches, pages, queries, keys, what an answer may hold."""

from __future__ import annotations

from random import Random

import pytest
import trio

from tests.unit.node.api.nodes import KeptLog, make_engine, serving
from vexil.chaos.world.simulated_clock import SeededEntropy, SimulatedClock
from vexil.chaos.world.simulated_disk import SimulatedDisk
from vexil.node.api import access_keys, json_body, query, segments
from vexil.node.api.access_keys import SECRET_CHARACTERS_MIN
from vexil.node.api.auth import Authenticator
from vexil.node.api.bootstrap import BootstrapKeyInvalid, bootstrap_owner_key
from vexil.node.api.documents import Documents
from vexil.node.api.json_body import OUTPUT_DEPTH_MAX
from vexil.node.api.limits import KEY_CHARACTERS_MAX, KEY_NAME_BYTES_MAX, PAGE_SIZE_MAX, QUERY_FIELDS_MAX
from vexil.node.errors import Malformed
from vexil.node.metrics import Metrics

SHOP = "/api/v1/projects/shop"


async def test_more_keys_than_are_remembered_are_all_still_let_in(autojump_clock: object) -> None:
    async with serving() as node:
        wanted = {"kind": "server", "project": "shop", "environment": "prod"}
        keys = [(await node.make_key(**wanted)).key for _ in range(3)]
        authenticator = Authenticator(lambda: node.engine.directory.keys, cached_max=2)
        first, second, third = (authenticator.caller(f"Bearer {key}", None) for key in keys)
        assert authenticator.caller(None, keys[1]) is second
        assert authenticator.caller(None, keys[2]) is third
        again = authenticator.caller(None, keys[0])
        assert again == first
        assert again is not first, "it was forgotten, and its record read again"


async def test_more_documents_than_are_remembered_are_made_again_and_are_the_same(
    autojump_clock: object,
) -> None:
    async with serving() as node:
        assert (await node.owner.put(SHOP, {"environments": ["dev", "prod", "qa"]})).status == 200
        await node.flag("a")
        project = node.engine.projects["shop"]
        documents = Documents(kept_max=2)
        first, second, third = [await documents.of(project, name) for name in ("dev", "prod", "qa")]
        assert await documents.of(project, "prod") is second
        assert await documents.of(project, "qa") is third
        again = await documents.of(project, "dev")
        assert (again.body, again.etag) == (first.body, first.etag)
        assert again is not first, "it was forgotten, and compiled again"
        # The one that was asked for longest ago went.
        assert await documents.of(project, "qa") is third
        assert await documents.of(project, "prod") is not second


async def test_a_page_is_as_long_as_the_limit_and_not_longer(autojump_clock: object) -> None:
    async with serving() as node:
        assert (await node.owner.get(f"{SHOP}/flags?page_size={PAGE_SIZE_MAX}")).status == 200
        longer = await node.owner.get(f"{SHOP}/flags?page_size={PAGE_SIZE_MAX + 1}")
        assert (longer.status, longer.code) == (400, "request.malformed")


async def test_an_edit_of_a_large_segment_is_answered_without_an_etag_and_a_get_gives_it(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "ETAG_MEMBERS_MAX", 3)
    async with serving() as node:
        small = await node.owner.put(f"{SHOP}/segments/s", {"members": ["a", "b", "c"]})
        assert "ETag" in small.headers
        large = await node.owner.post(f"{SHOP}/segments/s/members", {"add": ["d"]})
        assert large.json["members_count"] == 4
        assert "ETag" not in large.headers
        etag = (await node.owner.get(f"{SHOP}/segments/s")).headers["ETag"]
        edit = await node.owner.patch(f"{SHOP}/segments/s", {"description": "x"}, headers={"If-Match": etag})
        assert edit.status == 200


@pytest.mark.parametrize("depth", [OUTPUT_DEPTH_MAX - 1, OUTPUT_DEPTH_MAX, 100_000])
def test_an_answer_that_is_not_json_is_told_down_to_a_depth(depth: int) -> None:
    value: object = float("nan")
    for _ in range(depth):
        value = [value]
    told = json_body.encode(value).decode()
    levels = min(depth, OUTPUT_DEPTH_MAX)
    assert told.count("[") == levels
    assert told.strip("[]") == ('"nan"' if depth <= OUTPUT_DEPTH_MAX else "null")


def test_a_query_has_as_many_fields_as_the_limit_and_not_more() -> None:
    names = [f"f{n}" for n in range(QUERY_FIELDS_MAX + 1)]
    most = query.parse("&".join(f"{name}=true" for name in names[:-1]).encode(), known=frozenset(names))
    assert all(most.boolean(name) for name in names[:-1])
    with pytest.raises(Malformed):
        query.parse("&".join(f"{name}=true" for name in names).encode(), known=frozenset(names))


def test_a_longer_text_than_the_limit_is_no_key() -> None:
    key = "vxa_root_".ljust(KEY_CHARACTERS_MAX, "a")
    assert access_keys.parse(key) is not None
    assert access_keys.parse(f"{key}a") is None


async def test_the_name_of_a_key_has_so_many_bytes(autojump_clock: object) -> None:
    async with serving() as node:
        wanted = {"kind": "server", "project": "shop", "environment": "prod"}
        most = "é" * (KEY_NAME_BYTES_MAX // 2)
        assert (await node.owner.post("/api/v1/keys", {**wanted, "name": most})).status == 201
        longer = await node.owner.post("/api/v1/keys", {**wanted, "name": f"{most}x"})
        assert (longer.status, longer.code) == (422, "key.invalid")


@pytest.mark.parametrize("characters", [SECRET_CHARACTERS_MIN - 1, SECRET_CHARACTERS_MIN])
async def test_a_first_owner_s_key_has_a_secret_of_so_many_characters(
    autojump_clock: object, characters: int
) -> None:
    engine = make_engine(KeptLog(), Metrics(), SimulatedDisk(Random(1)), SimulatedClock())
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        entropy, key = SeededEntropy(Random(3)), "vxa_root_" + "a" * characters
        if characters < SECRET_CHARACTERS_MIN:
            with pytest.raises(BootstrapKeyInvalid):
                await bootstrap_owner_key(engine, key, entropy=entropy)
        else:
            await bootstrap_owner_key(engine, key, entropy=entropy)
        assert ("root" in engine.directory.keys) is (characters == SECRET_CHARACTERS_MIN)
        nursery.cancel_scope.cancel()
