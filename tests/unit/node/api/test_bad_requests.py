"""What cannot be read is refused with a reason, changes nothing, and is never a failure of the node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.node.api.nodes import BOOLEAN, serving
from vexil.node.api import flags
from vexil.node.api.app import ROUTES
from vexil.node.api.limits import ApiLimits

SHOP = "/api/v1/projects/shop"
FLAGS = f"{SHOP}/flags"

NOT_JSON = {
    "empty": b"",
    "blank": b" ",
    "cut off": b'{"key": ',
    "two": b"{}{}",
    "member twice": b'{"key": "a", "key": "b"}',
    "member twice below": b'{"environments": {"prod": {"enabled": true, "enabled": false}}}',
    "not a number": b'{"key": NaN}',
    "infinity": b'{"key": -Infinity}',
    "beyond a float": b'{"key": 1e999}',
    "too many digits": b'{"key": ' + b"9" * 5000 + b"}",
    "no UTF-8": b'{"key": "\xff"}',
    "UTF-16": '{"key": "a"}'.encode("utf-16"),
    "half a surrogate pair": b'{"key": "\\ud800"}',
    "half a pair in a name": b'{"\\udfff": 1}',
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "python": b"{'key': 'a'}",
    "control character": b'{"key": "\x00"}',
}
WITH_BODY = [
    ("POST", FLAGS),
    ("PATCH", f"{FLAGS}/a"),
    ("PUT", f"{SHOP}/segments/s"),
    ("PATCH", f"{SHOP}/segments/s"),
    ("POST", f"{SHOP}/segments/s/members"),
    ("POST", f"{SHOP}/changes"),
    ("POST", f"{SHOP}/conflicts/0123456789abcdef/resolve"),
    ("POST", f"{SHOP}/import?environment=prod"),
    ("PUT", f"{SHOP}/environments/prod/flagd"),
    ("PUT", "/api/v1/projects/bank"),
    ("POST", "/api/v1/keys"),
    ("POST", "/api/v1/dev/links"),
]


@pytest.mark.parametrize("name", NOT_JSON)
async def test_what_is_no_json_is_malformed_everywhere(autojump_clock: object, name: str) -> None:
    async with serving(dev=True) as node:
        before = node.root_hashes()
        for method, path in WITH_BODY:
            answer = await node.owner.ask(method, path, raw=NOT_JSON[name])
            assert (answer.status, answer.code) == (400, "request.malformed"), (method, path, answer)
            assert answer.json["definite"] is True
        assert node.root_hashes() == before


@pytest.mark.parametrize("body", [None, True, 1, 1.5, "x", [], [[]], [{}]])
async def test_json_that_is_no_object_is_invalid_everywhere(autojump_clock: object, body: Any) -> None:
    async with serving(dev=True) as node:
        await node.flag("a")
        await node.owner.put(f"{SHOP}/segments/s", {"members": []})
        before = node.root_hashes()
        for method, path in WITH_BODY:
            answer = await node.owner.ask(method, path, raw=json.dumps(body).encode())
            # Before a merge patch is looked at, a conflict that is not there is.
            assert answer.status in {409, 422}, (method, path, answer)
            assert answer.code.endswith((".invalid", ".changed"))
        assert node.root_hashes() == before


async def test_unknown_members_are_refused(autojump_clock: object) -> None:
    async with serving(dev=True) as node:
        await node.flag("a")
        await node.owner.put(f"{SHOP}/segments/s", {"members": []})
        before = node.root_hashes()
        for method, path in WITH_BODY:
            if "import" in path:
                continue  # flagd's own readers pass over what they do not know, and so does an import
            body = {"key": "new", **BOOLEAN} if path == FLAGS else {}
            answer = await node.owner.ask(method, path, {**body, "surprise": 1})
            assert answer.status == 422, (method, path, answer)
            assert "/surprise" in {error["path"] for error in answer.json["errors"]}
        assert node.root_hashes() == before


@pytest.mark.parametrize("encoding", ["gzip", "br", "nonsense"])
async def test_a_compressed_body_is_malformed(autojump_clock: object, encoding: str) -> None:
    async with serving() as node:
        answer = await node.owner.post(FLAGS, {}, headers={"Content-Encoding": encoding})
        assert (answer.status, answer.code) == (400, "request.malformed")


async def test_a_body_over_its_limit_is_refused_by_name(autojump_clock: object) -> None:
    limits = ApiLimits(request_body_bytes_max=1_000, import_body_bytes_max=3_000)
    async with serving(limits=limits) as node:

        def body(size: int) -> bytes:
            return b"{" + b" " * (size - 2) + b"}"

        for method, path in [*WITH_BODY, ("POST", "/ofrep/v1/evaluate/flags"), ("GET", FLAGS)]:
            client = node.server if "ofrep" in path else node.owner
            limit = 3_000 if "import" in path else 1_000
            if "dev/links" in path:
                continue
            over = await client.ask(method, path, raw=body(limit + 1))
            assert (over.status, over.code) == (413, "limit.request_body_bytes"), (method, path, over)
            fits = await client.ask(method, path, raw=body(limit))
            assert fits.status != 413, (method, path, fits)


async def test_a_stranger_is_refused_before_his_body_is_looked_at(autojump_clock: object) -> None:
    async with serving() as node:
        for raw in (b"{", b"x" * (3 << 20)):
            assert (await node.nobody.post(FLAGS, raw=raw)).status == 401


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/projects/",
        "/api/v1/projects/shop/",
        "/api/v1/projects//flags",
        "/api//v1/projects",
        f"{FLAGS}/a/b",
        f"{FLAGS}/",
        "/api/v1/projects/%2e%2e/flags/x/y/z",
        "/ofrep/v1/configuration",
        "/peer/v1/pull",
        "/static/x",
        "/%ff",
        "/\u00e9",
    ],
)
async def test_an_unknown_path_is_not_found(autojump_clock: object, path: str) -> None:
    async with serving() as node:
        answer = await node.owner.get(path)
        assert (answer.status, answer.code) == (404, "path.not_found")


async def test_another_method_is_told_which_there_are(autojump_clock: object) -> None:
    async with serving() as node:
        for method in ("PUT", "TRACE", "OPTIONS", "BREW"):
            answer = await node.owner.ask(method, FLAGS)
            assert (answer.status, answer.code) == (405, "method.not_allowed")
            assert answer.headers["Allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("name", ["nowhere", "sh op", "_x", "x" * 300, "shop%2Fx", "\u00e9", "%00"])
async def test_an_unknown_project_is_not_found(autojump_clock: object, name: str) -> None:
    async with serving() as node:
        answer = await node.owner.get(f"/api/v1/projects/{name}/flags")
        assert answer.status == 404, answer


@pytest.mark.parametrize("name", ["_x", "-x", "a b", "x" * 65, "\u00e9", "%00", ".", "a%0Ab"])
async def test_a_name_that_cannot_be_a_projects_is_invalid(autojump_clock: object, name: str) -> None:
    async with serving() as node:
        before = node.root_hashes()
        answer = await node.owner.put(f"/api/v1/projects/{name}", {"environments": ["prod"]})
        assert (answer.status, answer.code) == (422, "project.invalid"), answer
        assert node.root_hashes() == before


@pytest.mark.parametrize("key", ["_x", "-x", "a b", "\u00e9", "a/b", "a\nb", ""])
async def test_a_name_that_cannot_be_a_flags_is_invalid(autojump_clock: object, key: str) -> None:
    async with serving() as node:
        before = node.root_hashes()
        answer = await node.owner.post(FLAGS, {"key": key, **BOOLEAN})
        assert (answer.status, answer.code) == (422, "flag.invalid"), answer
        assert "/key" in {error["path"] for error in answer.json["errors"]}
        assert node.root_hashes() == before


OVER_A_LIMIT: dict[str, Any] = {
    "variants": {"variants": {f"v{i}": True for i in range(101)}},
    "rules": {
        "environments": {"prod": {"rules": [{"if": True, "serve": "on"}] * 201}},
    },
    "flag_bytes": {"environments": {"prod": {"metadata": {f"m{i}": "x" * 2_000 for i in range(40)}}}},
}


def deep(levels: int) -> Any:
    logic: Any = True
    for _ in range(levels):
        logic = {"!": [logic]}
    return logic


OVER_A_LIMIT["logic_depth"] = {"environments": {"prod": {"targeting": deep(33)}}}


@pytest.mark.parametrize("name", OVER_A_LIMIT)
async def test_a_flag_over_a_limit_is_refused_by_name(autojump_clock: object, name: str) -> None:
    async with serving() as node:
        await node.flag("a")
        before = node.root_hashes()
        for answer in (
            await node.owner.patch(f"{FLAGS}/a", OVER_A_LIMIT[name]),
            await node.owner.post(FLAGS, {"key": "b", **BOOLEAN, **OVER_A_LIMIT[name]}),
        ):
            assert (answer.status, answer.code) == (413, f"limit.{name}"), answer
        assert node.root_hashes() == before


async def test_a_key_over_its_limit_is_refused_by_name(autojump_clock: object) -> None:
    async with serving() as node:
        over = await node.owner.post(FLAGS, {"key": "x" * 201, **BOOLEAN})
        assert (over.status, over.code) == (413, "limit.flag_key_bytes")
        assert (await node.owner.post(FLAGS, {"key": "x" * 200, **BOOLEAN})).status == 201


async def test_a_change_set_over_a_limit_is_refused_by_name(autojump_clock: object) -> None:
    async with serving() as node:
        await node.flag("a")
        many = [{"op": "add_tag", "flag": "a", "tag": f"t{i}"} for i in range(501)]
        over = await node.owner.post(f"{SHOP}/changes", {"operations": many})
        assert (over.status, over.code) == (413, "limit.operations")
        members = {"add": [f"{i}-{'x' * 500}" for i in range(3_000)]}
        await node.owner.put(f"{SHOP}/segments/s", {})
        large = await node.owner.post(f"{SHOP}/segments/s/members", members)
        assert (large.status, large.code) == (413, "limit.change_bytes")


async def test_a_bug_of_ours_is_logged_once_and_told_without_details(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a secret detail")

    async with serving() as node:
        await node.flag("a")
        monkeypatch.setattr(flags, "_etag", broken)
        for answer, definite in (
            (await node.owner.get(f"{FLAGS}/a"), True),
            (await node.owner.patch(f"{FLAGS}/a", {"owner": "x"}), False),
        ):
            assert (answer.status, answer.code) == (500, "internal")
            assert "secret" not in answer.data.decode()
            assert answer.json["definite"] is definite
            told = [
                facts for _, facts in node.log.failures if facts["request_id"] == answer.json["request_id"]
            ]
            assert len(told) == 1
        node.log.lines.clear()


async def test_nothing_is_served_before_the_state_is_loaded(autojump_clock: object) -> None:
    async with serving() as node:
        node.engine.ready = False
        for answer in (
            await node.owner.get(FLAGS),
            await node.owner.post(FLAGS, {"key": "a", **BOOLEAN}),
            await node.server.post("/ofrep/v1/evaluate/flags", {}),
            await node.nobody.get("/readyz"),
        ):
            assert (answer.status, answer.code) == (503, "node.not_ready")
            assert int(answer.headers["Retry-After"]) >= 1
        assert (await node.nobody.get("/healthz")).status == 200
        assert (await node.owner.get("/api/v1/status")).json["ready"] is False


def test_every_write_route_is_in_the_tables_above() -> None:
    with_body = {
        (route.method, route.path)
        for route in ROUTES
        if route.method in {"POST", "PUT", "PATCH"} and route.path.startswith("/api/v1")
    }
    # kill, unkill, evict and return take no body, restore no JSON, and explain writes nothing
    assert len(with_body) == len(WITH_BODY) + 6


def test_routes_differ() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


async def test_a_head_has_no_body(autojump_clock: object) -> None:
    async with serving() as node:
        answer = await node.owner.ask("HEAD", FLAGS)
        assert answer.status == 200
