"""What each flag command asks of the node, and what it says."""

from __future__ import annotations

import json
import re

import pytest

from tests.unit.node.cli.fake_node import CHANGE, FakeCluster, answer, body, problem

FLAGS = "/api/v1/projects/demo/flags"
FLAG = f"{FLAGS}/banner"
CHANGES = "/api/v1/projects/demo/changes"
DOCUMENT = {
    "key": "banner",
    "type": "string",
    "description": "",
    "owner": "web",
    "tags": ["a", "b"],
    "client_visible": False,
    "archived": False,
    "variants": {"red": "#f00", "blue": "#00f"},
    "environments": {
        "prod": {
            "enabled": True,
            "kill": False,
            "default": "red",
            "off_variant": None,
            "rules": [{"id": "r1", "if": True, "serve": "blue"}],
            "targeting": None,
            "metadata": {},
        },
        "dev": {"enabled": False, "kill": True, "default": None, "rules": []},
    },
    "prerequisites": [{"flag": "checkout", "variant": "on"}],
    "needs_review": True,
    "conflicts": ["c1"],
}


@pytest.fixture
def cluster(cluster: FakeCluster) -> FakeCluster:
    node = cluster["eu-1"]
    node.on("GET", FLAG, answer(DOCUMENT, etag='"e1"', vexil_token="t1"))
    for method, path in (
        ("POST", FLAGS),
        ("PATCH", FLAG),
        ("DELETE", FLAG),
        ("POST", CHANGES),
        ("POST", f"{FLAG}/environments/prod/kill"),
        ("POST", f"{FLAG}/environments/prod/unkill"),
    ):
        node.on(method, path, answer({"change": CHANGE}))
    return cluster


def test_list_follows_every_page_and_shows_one_line_a_flag(cluster: FakeCluster) -> None:
    second = {**DOCUMENT, "key": "zebra", "needs_review": False, "conflicts": []}
    cluster["eu-1"].on(
        "GET",
        FLAGS,
        answer({"items": [DOCUMENT], "next_page_token": "more"}),
        answer({"items": [second], "next_page_token": None}),
    )
    result = cluster.run("flag", "list", "--tag", "a", "--query", "ban", "--archived")
    assert result.exit_code == 0
    first, last = cluster["eu-1"].requests
    assert dict(first.url.params) == {"tag": "a", "q": "ban", "archived": "true", "page_size": "500"}
    assert last.url.params["page_token"] == "more"
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["KEY", "TYPE", "DEV", "PROD", "TAGS", "REMARKS"]
    assert re.split(" {2,}", lines[1]) == [
        "banner", "string", "killed", "on: red 1 rule", "a b", "needs review, 1 conflict"
    ]  # fmt: skip
    assert lines[2].startswith("zebra")


def test_list_as_json_is_one_document(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", FLAGS, answer({"items": [DOCUMENT], "next_page_token": None}))
    assert json.loads(cluster.run("flag", "list", "--json").stdout) == {"items": [DOCUMENT]}


def test_an_empty_list_is_said(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("GET", FLAGS, answer({"items": [], "next_page_token": None}))
    assert cluster.run("flag", "list").stdout == "no flags\n"


def test_get_shows_the_flag(cluster: FakeCluster) -> None:
    shown = cluster.run("flag", "get", "banner").stdout
    for part in ("needs checkout", '"#f00"', "prod: on: red 1 rule", "r1", "dev: killed"):
        assert part in shown
    assert json.loads(cluster.run("flag", "get", "banner", "--json").stdout) == DOCUMENT


def test_create_sends_only_what_was_said(cluster: FakeCluster) -> None:
    result = cluster.run(
        "flag", "create", "banner", "--type", "string", "--variant", "red=#f00", "--variant", "one=1",
        "--tag", "a", "--client-visible",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "'#f00' is not JSON" in result.stderr
    result = cluster.run(
        "flag", "create", "banner", "--type", "string", "--variant", 'red="#f00"', "--variant", "blue=blue",
        "--tag", "a", "--client-visible",
    )  # fmt: skip
    assert result.exit_code == 0
    assert body(cluster["eu-1"].sent("POST")) == {
        "key": "banner",
        "type": "string",
        "variants": {"red": "#f00", "blue": "blue"},
        "tags": ["a"],
        "client_visible": True,
    }
    assert result.stdout == "flag banner is created (change 00000000000000aa:7, durable at: node)\n"


def test_a_boolean_flag_gets_its_two_variants(cluster: FakeCluster) -> None:
    cluster.run("flag", "create", "banner")
    assert body(cluster["eu-1"].sent("POST"))["variants"] == {"on": True, "off": False}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--variant", "on"),
        ("--variant", "on=yes"),
        ("--variant", "on=true", "--variant", "on=false"),
        ("--type", "number"),
    ],
)
def test_a_create_that_makes_no_sense_is_a_usage_error(
    cluster: FakeCluster, arguments: tuple[str, ...]
) -> None:
    assert cluster.run("flag", "create", "banner", *arguments).exit_code == 2
    assert cluster["eu-1"].requests == []


def test_set_is_one_patch_against_what_was_seen(cluster: FakeCluster) -> None:
    result = cluster.run(
        "flag", "set", "banner", "--env", "prod", "default=blue", "metadata.team=null", 'variants.blue="#00e"'
    )
    assert result.exit_code == 0
    sent = cluster["eu-1"].sent("PATCH")
    assert body(sent) == {
        "environments": {"prod": {"default": "blue", "metadata": {"team": None}}},
        "variants": {"blue": "#00e"},
    }
    assert sent.headers["if-match"] == '"e1"'
    assert sent.headers["vexil-token"] == "t1"
    assert sent.headers["content-type"] == "application/merge-patch+json"
    assert len(sent.headers["idempotency-key"]) == 32


def test_set_reads_json_pointers_for_names_with_dots(cluster: FakeCluster) -> None:
    cluster.run("flag", "set", "banner", "/variants/v1.2=x")
    assert body(cluster["eu-1"].sent("PATCH")) == {"variants": {"v1.2": "x"}}


def test_single_elements_are_sent_alone_and_in_one_change(cluster: FakeCluster) -> None:
    rule = {"id": "r2", "if": True, "serve": "red"}
    result = cluster.run(
        "flag", "set", "banner", "--env", "prod", "-m", "why", "owner=ops", "tags+=c", "tags-=a",
        f"rules+={json.dumps(rule)}", 'rules+={"id":"r1","if":false,"serve":"red"}', "rules-=r1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert body(cluster["eu-1"].sent("POST")) == {
        "message": "why",
        "operations": [
            {"op": "patch", "flag": "banner", "patch": {"owner": "ops"}, "if_match": '"e1"'},
            {"op": "add_tag", "flag": "banner", "tag": "c"},
            {"op": "remove_tag", "flag": "banner", "tag": "a"},
            {"op": "put_rule", "flag": "banner", "environment": "prod", "rule": rule},
            {
                "op": "put_rule",
                "flag": "banner",
                "environment": "prod",
                "rule": {"id": "r1", "if": False, "serve": "red"},
                "if_match": '"e1"',
            },
            {"op": "remove_rule", "flag": "banner", "environment": "prod", "id": "r1", "if_match": '"e1"'},
        ],
    }


def test_a_whole_set_of_tags_becomes_adds_and_removes(cluster: FakeCluster) -> None:
    cluster.run("flag", "set", "banner", 'tags=["b","c"]')
    assert body(cluster["eu-1"].sent("POST"))["operations"] == [
        {"op": "add_tag", "flag": "banner", "tag": "c"},
        {"op": "remove_tag", "flag": "banner", "tag": "a"},
    ]


def test_tags_that_are_there_already_are_no_write(cluster: FakeCluster) -> None:
    result = cluster.run("flag", "set", "banner", 'tags=["b","a"]')
    assert result.stdout == "flag banner is changed: it was so already, nothing was written\n"
    assert cluster["eu-1"].calls == [("GET", FLAG)]


def test_prerequisites_are_added_and_removed_by_flag(cluster: FakeCluster) -> None:
    cluster.run("flag", "set", "banner", 'prerequisites+={"flag":"beta","variant":"on"}')
    (operation,) = body(cluster["eu-1"].sent("POST"))["operations"]
    assert operation["patch"] == {
        "prerequisites": [{"flag": "checkout", "variant": "on"}, {"flag": "beta", "variant": "on"}]
    }
    assert operation["if_match"] == '"e1"'
    cluster["eu-1"].requests.clear()
    cluster.run("flag", "set", "banner", "prerequisites-=checkout")
    (operation,) = body(cluster["eu-1"].sent("POST"))["operations"]
    assert operation["patch"] == {"prerequisites": []}


@pytest.mark.parametrize(
    "assignment",
    [
        "owner",
        "=x",
        "owner={",
        "a..b=1",
        "owner+=x",
        "rules-=r1",
        "default=on",
        "owner=NaN",
        "prerequisites-=x",
    ],
)
def test_an_assignment_that_makes_no_sense_writes_nothing(cluster: FakeCluster, assignment: str) -> None:
    assert cluster.run("flag", "set", "banner", assignment).exit_code == 2
    assert [method for method, _ in cluster["eu-1"].calls if method != "GET"] == []


def test_assignments_in_each_others_way_are_a_usage_error(cluster: FakeCluster) -> None:
    assert cluster.run("flag", "set", "banner", "owner=a", "owner=b").exit_code == 2
    assert cluster.run("flag", "set", "banner", "variants=1", "variants.red=b").exit_code == 2


@pytest.mark.parametrize(("verb", "enabled"), [("on", True), ("off", False)])
def test_on_and_off_patch_one_field(cluster: FakeCluster, verb: str, enabled: bool) -> None:
    result = cluster.run("flag", verb, "banner", "--env", "prod")
    assert result.exit_code == 0
    sent = cluster["eu-1"].sent("PATCH")
    assert body(sent) == {"environments": {"prod": {"enabled": enabled}}}
    assert sent.headers["if-match"] == '"e1"'
    assert result.stdout.startswith(f"flag banner is {verb} in prod (change ")


def test_switching_on_what_is_killed_says_so(cluster: FakeCluster) -> None:
    result = cluster.run("flag", "on", "banner", "--env", "dev")
    assert "vexil flag unkill banner --env dev" in result.stderr


def test_a_kill_goes_out_at_once_and_unconditionally(cluster: FakeCluster) -> None:
    result = cluster.run("flag", "kill", "banner", "--env", "prod")
    assert result.exit_code == 0
    (request,) = cluster["eu-1"].requests
    assert request.url.path.endswith("/environments/prod/kill")
    assert "if-match" not in request.headers
    assert "vexil-token" not in request.headers


def test_unkill_and_delete_name_what_was_seen(cluster: FakeCluster) -> None:
    assert cluster.run("flag", "unkill", "banner", "--env", "prod").exit_code == 0
    assert cluster["eu-1"].sent("POST").headers["if-match"] == '"e1"'
    assert cluster.run("flag", "delete", "banner").exit_code == 0
    assert cluster["eu-1"].sent("DELETE").headers["if-match"] == '"e1"'


def test_a_stale_edit_shows_what_changed_since(cluster: FakeCluster) -> None:
    current = {**DOCUMENT, "owner": "ops", "tags": ["a"]}
    cluster["eu-1"].on(
        "PATCH", FLAG, problem(412, "flag.stale", current=current, title="It has changed since")
    )
    result = cluster.run("flag", "set", "banner", "owner=me")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert '/owner: "web" → "ops"' in result.stderr
    assert '/tags: ["a", "b"] → ["a"]' in result.stderr
    assert "description" not in result.stderr


def test_an_edit_of_a_flag_that_is_gone_says_so(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("DELETE", FLAG, problem(412, "flag.stale", current=None))
    result = cluster.run("flag", "delete", "banner")
    assert result.exit_code == 1
    assert "it does not exist any more" in result.stderr


def test_a_write_of_nothing_is_told_apart(cluster: FakeCluster) -> None:
    cluster["eu-1"].on("PATCH", FLAG, answer({"change": None}))
    assert "nothing was written" in cluster.run("flag", "on", "banner", "--env", "prod").stdout


def test_a_write_as_json_prints_the_nodes_answer(cluster: FakeCluster) -> None:
    result = cluster.run("--json", "flag", "off", "banner", "--env", "prod")
    assert json.loads(result.stdout) == {"change": CHANGE}


def test_a_key_with_a_slash_stays_one_part_of_the_path(cluster: FakeCluster) -> None:
    cluster.run("flag", "get", "a/b")
    assert cluster["eu-1"].requests[0].url.raw_path == b"/api/v1/projects/demo/flags/a%2Fb"
