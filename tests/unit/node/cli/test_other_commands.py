"""Segments, transfer, history, conflicts, keys and projects: what is asked of the node, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.unit.node.cli.fake_node import CHANGE, FakeCluster, answer, body, problem

PROJECT = "/api/v1/projects/demo"
SEGMENT = f"{PROJECT}/segments/beta"
DONE = answer({"change": CHANGE})


def page(*items: object) -> httpx.Response:
    return answer({"items": list(items), "next_page_token": None})


def test_segment_list_and_get(cluster: FakeCluster) -> None:
    members = [f"u{i}" for i in range(25)]
    segment = {"key": "beta", "description": "d", "members": members, "rules": [{"id": "r", "if": True}]}
    cluster["eu-1"].on("GET", f"{PROJECT}/segments", page(segment)).on("GET", SEGMENT, answer(segment))
    assert cluster.run("segment", "list").stdout.splitlines()[1].split() == ["beta", "25", "1", "d"]
    shown = cluster.run("segment", "get", "beta").stdout
    assert "u19" in shown
    assert "u20" not in shown
    assert "5 more members" in shown
    assert json.loads(cluster.run("segment", "get", "beta", "--json").stdout) == segment


def test_members_are_added_and_removed_without_reading_the_others(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", f"{SEGMENT}/members", DONE)
    assert cluster.run("segment", "add", "beta", "u1", "u2", "u1").exit_code == 0
    assert cluster.run("segment", "remove", "beta", "u3").exit_code == 0
    added, removed = cluster["eu-1"].requests
    assert body(added) == {"add": ["u1", "u2"], "remove": []}
    assert body(removed) == {"add": [], "remove": ["u3"]}


def test_put_of_a_new_segment_is_unconditional(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("PUT", SEGMENT, DONE)
    result = cluster.run(
        "segment", "put", "beta", "--description", "d", "--member", "u1", "--rule", '{"if":true}'
    )
    assert result.exit_code == 0
    assert "is created" in result.stdout
    sent = cluster["eu-1"].sent("PUT")
    assert body(sent) == {"description": "d", "members": ["u1"], "rules": [{"if": True}]}
    assert "if-match" not in sent.headers


def test_put_over_a_segment_and_delete_name_what_was_seen(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", SEGMENT, answer({"key": "beta", "members": ["x"]}, etag='"s"'))
    cluster["eu-1"].on(
        "PUT", SEGMENT, problem(412, "segment.stale", current={"key": "beta", "members": ["y"]})
    )
    cluster["eu-1"].on("DELETE", SEGMENT, DONE)
    result = cluster.run("segment", "put", "beta", "--file", "-", input_bytes=b'{"members":["z"]}')
    assert result.exit_code == 1
    assert '/members: ["x"] → ["y"]' in result.stderr
    assert body(cluster["eu-1"].sent("PUT")) == {"members": ["z"]}
    assert cluster["eu-1"].sent("PUT").headers["if-match"] == '"s"'
    assert cluster.run("segment", "delete", "beta").exit_code == 0
    assert cluster["eu-1"].sent("DELETE").headers["if-match"] == '"s"'


def test_a_segment_file_that_is_no_object_fails(cluster: FakeCluster) -> None:
    assert cluster.run("segment", "put", "beta", "--file", "-", input_bytes=b"[1]").exit_code == 1


IMPORTED = {
    "changes": 2,
    "created": 3,
    "updated": 0,
    "deleted": 0,
    "unchanged": 1,
    "warnings": [],
    "errors": [],
}


def test_import_sends_the_file_as_it_is(cluster: FakeCluster, tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_bytes(b'{ "flags": {} }\n')
    cluster["eu-1"].on("POST", f"{PROJECT}/import", answer(IMPORTED))
    result = cluster.run("import", str(file), "--env", "prod", "--mode", "replace", "--dry-run")
    assert result.exit_code == 0
    sent = cluster["eu-1"].sent("POST")
    assert sent.content == b'{ "flags": {} }\n'
    assert dict(sent.url.params) == {"environment": "prod", "mode": "replace", "dry_run": "true"}
    assert sent.headers["content-length"] == "16"
    assert result.stdout == "prod: would be 3 created, 0 updated, 0 deleted, 1 unchanged, in 2 changes\n"


def test_an_import_with_errors_names_them_and_fails(cluster: FakeCluster) -> None:
    reply = {**IMPORTED, "warnings": ["odd"], "errors": [{"path": "/flags/x", "detail": "no variants"}]}
    cluster["eu-1"].on("POST", f"{PROJECT}/import", answer(reply))
    result = cluster.run("import", "-", "--env", "prod", input_bytes=b"{}")
    assert result.exit_code == 1
    assert "error: /flags/x: no variants" in result.stderr
    assert "warning: odd" in result.stderr
    as_json = cluster.run("import", "-", "--env", "prod", "--json", input_bytes=b"{}")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout) == reply


def test_an_import_of_unknown_outcome_can_be_gone_on_with(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", f"{PROJECT}/import", httpx.ReadTimeout("timed out"))
    result = cluster.run("import", "-", "--env", "prod", input_bytes=b"{}")
    assert result.exit_code == 3
    key = cluster["eu-1"].requests[0].headers["idempotency-key"]
    assert f"--resume {key}" in result.stderr
    assert [request.content for request in cluster["eu-1"].requests] == [b"{}", b"{}"]
    cluster["eu-1"].requests.clear()
    cluster["eu-1"].on("POST", f"{PROJECT}/import", answer(IMPORTED))
    assert cluster.run("import", "-", "--env", "prod", "--resume", key, input_bytes=b"{}").exit_code == 0
    assert cluster["eu-1"].sent("POST").headers["idempotency-key"] == key


def test_an_import_over_the_limit_is_not_sent(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vexil.node.cli.transfer.IMPORT_BYTES_MAX", 4)
    assert cluster.run("import", "-", "--env", "prod", input_bytes=b"12345").exit_code == 1
    assert cluster["eu-1"].requests == []


def test_progress_is_shown_on_a_terminal_only(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster["eu-1"].on("POST", f"{PROJECT}/import", answer(IMPORTED))
    assert cluster.run("import", "-", "--env", "prod", input_bytes=b"{}").stderr == ""
    monkeypatch.setattr("vexil.node.cli.transfer.is_terminal", lambda: True)
    result = cluster.run("import", "-", "--env", "prod", input_bytes=b"{}" * 70_000)
    assert "the node is working on it" in result.stderr
    assert "working" not in result.stdout
    assert cluster["eu-1"].requests[-1].headers["content-length"] == "140000"


def test_export_prints_the_document(cluster: FakeCluster) -> None:
    document = {"flags": {"ä": {"variants": {"one": 1.0}}}}
    cluster["eu-1"].on("GET", f"{PROJECT}/export", answer(document))
    result = cluster.run("export", "--env", "prod")
    assert json.loads(result.stdout) == document
    assert '"ä"' in result.stdout
    assert "1.0" in result.stdout
    assert cluster["eu-1"].requests[0].url.params["environment"] == "prod"


def test_an_export_that_cannot_be_names_the_flags(cluster: FakeCluster) -> None:
    errors = [{"path": "/flags/x", "detail": "not sayable"}]
    cluster["eu-1"].on("GET", f"{PROJECT}/export", problem(422, "export.invalid", errors=errors))
    result = cluster.run("export", "--env", "prod")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "/flags/x: not sayable" in result.stderr


ENTRY = {
    "id": "00000000000000aa:7",
    "hlc": "2026-01-01T00:00:00.000Z+3",
    "time": "2026-01-01T00:00:00.000Z",
    "region": "eu",
    "node": "eu-1",
    "author": "ann",
    "message": "launch",
    "fields": [
        {"kind": "flag", "name": "banner", "field": "exists", "before": {"epoch": 1}, "after": {"epoch": 1},
         "removed": False, "lost": False},
        {"kind": "flag", "name": "old", "field": "exists", "before": {"epoch": 1}, "after": None,
         "removed": True, "lost": False},
        {"kind": "flag", "name": "old", "field": "epoch", "before": None, "after": 1, "removed": False, "lost": False},
        {"kind": "flag", "name": "new", "field": "exists", "before": None, "after": {"epoch": 2, "type": "string"},
         "removed": False, "lost": False},
        {"kind": "flag", "name": "banner", "field": "env/prod/enabled", "before": False, "after": True,
         "removed": False, "lost": True},
        {"kind": "flag", "name": "banner", "field": "tag/a", "before": True, "after": None, "removed": True,
         "lost": False},
    ],
}  # fmt: skip


def test_history_shows_who_what_and_what_lost(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", f"{PROJECT}/history", page(ENTRY))
    result = cluster.run("history", "banner", "--author", "ann", "--limit", "5")
    assert dict(cluster["eu-1"].requests[0].url.params) == {
        "flag": "banner",
        "author": "ann",
        "page_size": "5",
    }
    assert result.stdout.splitlines() == [
        "2026-01-01T00:00:00.000Z  ann  eu/eu-1  00000000000000aa:7",
        "    “launch”",
        "    flag old is deleted",
        "    flag new is created",
        "    flag banner env/prod/enabled: false → true   ← lost",
        "    flag banner tag/a: true → (removed)",
    ]
    assert json.loads(cluster.run("--json", "history").stdout) == {"items": [ENTRY]}


def test_history_stops_at_its_limit(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", f"{PROJECT}/history", answer({"items": [ENTRY] * 3, "next_page_token": "more"}))
    assert len(json.loads(cluster.run("--json", "history", "--limit", "4").stdout)["items"]) == 4


CONFLICT = {
    "id": "c1",
    "kind": "lww",
    "flag": "banner",
    "environment": "prod",
    "field": "enabled",
    "winner": "b:1",
    "siblings": [
        {"change": "a:1", "value": True, "author": "ann", "region": "eu", "node": "eu-1", "time": "T1"},
        {"change": "b:1", "value": False, "author": "bob", "region": "us", "node": "us-1", "time": "T2"},
        {"change": "c:1", "value": None, "removed": True, "author": "cy", "region": "ap", "time": "T3"},
    ],
}


def test_conflicts_show_every_live_value_and_mark_the_winner(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", f"{PROJECT}/conflicts", page(CONFLICT))
    lines = cluster.run("conflicts").stdout.splitlines()
    assert lines[0] == "c1  lww  banner prod enabled"
    assert lines[2].split() == ["-", "a:1", "true", "ann", "eu/eu-1", "T1"]
    assert lines[3].split() == ["winner", "b:1", "false", "bob", "us/us-1", "T2"]
    assert lines[4].split() == ["-", "c:1", "(removed)", "cy", "ap", "T3"]
    assert lines[5] == "1 conflict"
    assert json.loads(cluster.run("conflicts", "--json").stdout) == {"items": [CONFLICT]}


def test_an_edit_against_a_delete_is_told_in_words(cluster: FakeCluster) -> None:
    edit = {
        "change": "a:1",
        "value": {"epoch": 1, "type": "boolean", "created": 7},
        "author": "ann",
        "time": "T1",
    }
    delete = {"change": "b:1", "value": None, "removed": True, "author": "bob", "time": "T2"}
    review = {"id": "c1", "kind": "needs-review", "flag": "banner", "field": "exists", "winner": "a:1"}
    cluster["eu-1"].on("GET", f"{PROJECT}/conflicts", page({**review, "siblings": [delete, edit]}))
    lines = cluster.run("conflicts").stdout.splitlines()
    assert lines[2].split() == ["-", "b:1", "(deleted)", "bob", "-", "T2"]
    assert lines[3].split() == ["winner", "a:1", "(edited)", "ann", "-", "T1"]


@pytest.mark.parametrize(
    ("arguments", "document"),
    [
        (("--choose", "a:1"), {"choose": "a:1"}),
        (("--value", "[1]"), {"value": [1]}),
        (("--value", "null"), {"value": None}),
    ],
)
def test_a_conflict_is_settled_by_choice_or_value(
    cluster: FakeCluster, arguments: tuple[str, str], document: object
) -> None:
    cluster["eu-1"].on("POST", f"{PROJECT}/conflicts/c1/resolve", DONE)
    assert cluster.run("conflicts", "resolve", "c1", *arguments).exit_code == 0
    assert body(cluster["eu-1"].sent("POST")) == document


@pytest.mark.parametrize("arguments", [(), ("--choose", "a:1", "--value", "1")])
def test_a_conflict_is_settled_by_one_of_the_two(cluster: FakeCluster, arguments: tuple[str, ...]) -> None:
    assert cluster.run("conflicts", "resolve", "c1", *arguments).exit_code == 2


def test_a_conflict_that_has_changed_says_to_look_again(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", f"{PROJECT}/conflicts/c1/resolve", problem(409, "conflict.changed"))
    result = cluster.run("conflicts", "resolve", "c1", "--choose", "a:1")
    assert result.exit_code == 1
    assert "vexil conflicts" in result.stderr


def test_a_new_key_is_alone_on_standard_output(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", "/api/v1/keys", answer({"id": "k1", "key": "vxs_secret"}, status=201))
    result = cluster.run("key", "create", "--kind", "server", "--env", "prod", "--name", "backend")
    assert result.stdout == "vxs_secret\n"
    assert "k1" in result.stderr
    assert body(cluster["eu-1"].sent("POST")) == {
        "kind": "server",
        "environment": "prod",
        "project": "demo",
        "name": "backend",
    }


def test_a_key_whose_text_was_lost_is_not_passed_off_as_made(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", "/api/v1/keys", httpx.ReadError("reset"), answer({"id": "k1", "key": None}))
    result = cluster.run("key", "create", "--kind", "server", "--env", "prod")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "vexil key revoke k1" in result.stderr


def test_an_admin_key_is_for_one_project_or_for_all(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("POST", "/api/v1/keys", answer({"id": "k1", "key": "vxa_x"}))
    cluster.run("key", "create", "--kind", "admin", "--role", "editor")
    cluster.run("key", "create", "--kind", "admin", "--role", "viewer", "--all-projects")
    one, every = (body(request) for request in cluster["eu-1"].requests)
    assert one == {"kind": "admin", "role": "editor", "project": "demo"}
    assert every == {"kind": "admin", "role": "viewer"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--kind", "server"),
        ("--kind", "admin"),
        ("--kind", "admin", "--role", "owner", "--env", "prod"),
        ("--kind", "client", "--env", "prod", "--role", "owner"),
        ("--kind", "client", "--env", "prod", "--all-projects"),
    ],
)
def test_a_key_that_makes_no_sense_is_a_usage_error(cluster: FakeCluster, arguments: tuple[str, ...]) -> None:
    assert cluster.run("key", "create", *arguments).exit_code == 2
    assert cluster["eu-1"].requests == []


def test_keys_are_listed_and_revoked(cluster: FakeCluster) -> None:
    keys = [
        {"id": "k1", "kind": "admin", "role": "owner", "project": None, "revoked": False},
        {"id": "k2", "kind": "server", "project": "demo", "environment": "prod", "revoked": True},
    ]
    cluster["eu-1"].on("GET", "/api/v1/keys", page(*keys)).on("DELETE", "/api/v1/keys/k2", DONE)
    lines = cluster.run("key", "list").stdout.splitlines()
    assert lines[1].split() == ["k1", "admin", "owner", "(all)", "-", "-", "valid"]
    assert lines[2].split() == ["k2", "server", "-", "demo", "prod", "-", "revoked"]
    assert cluster.run("key", "revoke", "k2").exit_code == 0
    assert cluster["eu-1"].sent("DELETE").headers["idempotency-key"]


def test_projects_are_listed_created_and_extended(cluster: FakeCluster) -> None:
    demo = {"name": "demo", "environments": ["dev", "prod"], "bucketing": "v3"}
    cluster["eu-1"].on("GET", "/api/v1/projects", page(demo)).on("PUT", "/api/v1/projects/shop", DONE)
    assert cluster.run("project", "list").stdout.splitlines()[1].split() == ["demo", "dev", "prod", "v3"]
    assert cluster.run("project", "create", "shop", "--env", "dev", "--env", "prod").exit_code == 0
    assert body(cluster["eu-1"].sent("PUT")) == {"environments": ["dev", "prod"]}
    cluster["eu-1"].requests.clear()
    cluster["eu-1"].on(
        "GET", "/api/v1/projects/shop", answer({"name": "shop", "environments": ["dev"]}, etag='"p"')
    )
    cluster.run("project", "create", "shop", "--env", "qa", "--bucketing", "v2")
    assert body(cluster["eu-1"].sent("PUT")) == {"environments": ["dev", "qa"], "bucketing": "v2"}
    assert cluster["eu-1"].sent("PUT").headers["if-match"] == '"p"'
