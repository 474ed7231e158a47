"""How much a command asks for and shows: what is left out is said, and ``--json`` has it."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.unit.node.cli.fake_node import FakeCluster, answer, problem
from vexil.node.cli import client, reports, transfer, written
from vexil.node.cli.output import CELL_WIDTH_MAX, table, width

STATUS = "/api/v1/status"
PROJECT = "/api/v1/projects/demo"


def test_a_list_that_never_ends_is_given_up_and_said_to_be(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGES_MAX", 3)
    entry = {"key": "s", "members_count": 1, "rules": []}
    cluster["eu-1"].on("GET", f"{PROJECT}/segments", answer({"items": [entry], "next_page_token": "more"}))
    result = cluster.run("segment", "list")
    assert len(cluster["eu-1"].requests) == 3
    assert result.stdout.count("\n") == 1 + 3
    assert "only the first 3 pages are shown" in result.stderr


def test_a_status_asks_so_many_nodes(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "NODES_ASKED_MAX", 3)
    url = cluster.urls["eu-1"]
    members = [{"node": f"eu-{n}", "region": "eu", "url": f"{url}/{n}"} for n in range(10)]
    status = {"node": "eu-1", "region": "eu", "projects": {}, "members": members}
    for prefix in ("", *(f"/{n}" for n in range(10))):
        cluster["eu-1"].on("GET", f"{prefix}{STATUS}", answer(status))
    cluster.run("status")
    assert len(cluster["eu-1"].requests) == 3


def test_of_many_mistakes_in_an_import_some_are_shown_and_the_others_counted(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "MISTAKES_SHOWN_MAX", 2)
    reply = {"warnings": ["odd"] * 2, "errors": [{"path": f"/{n}", "detail": "bad"} for n in range(5)]}
    cluster["eu-1"].on("POST", f"{PROJECT}/import", answer(reply))
    result = cluster.run("import", "-", "--env", "prod", input_bytes=b"{}")
    assert result.exit_code == 1
    assert result.stderr.count("warning: ") == 2
    assert result.stderr.count("error: /") == 2
    assert "3 more errors: --json shows all" in result.stderr
    assert "more warnings" not in result.stderr
    whole = cluster.run("import", "-", "--env", "prod", "--json", input_bytes=b"{}")
    assert json.loads(whole.stdout) == reply


def test_of_what_has_changed_meanwhile_so_many_differences_are_shown(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written, "DIFFERENCES_SHOWN_MAX", 2)
    segment = f"{PROJECT}/segments/beta"
    seen = {f"field-{n}": "old" for n in range(5)}
    current = {f"field-{n}": "new" for n in range(5)}
    cluster["eu-1"].on("GET", segment, answer(seen, etag='"s"'))
    cluster["eu-1"].on("DELETE", segment, problem(412, "segment.stale", current=current))
    result = cluster.run("segment", "delete", "beta")
    assert result.exit_code == 1
    assert result.stderr.count('"old" → "new"') == 2
    assert "look at it again" in result.stderr


def test_of_an_answer_that_no_node_gave_the_beginning_is_shown(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PROBLEM_BODY_SHOWN_MAX", 10)
    cluster["eu-1"].on("GET", f"{PROJECT}/segments", httpx.Response(418, text="0123456789abcdef"))
    result = cluster.run("segment", "list")
    assert result.exit_code == 1
    assert "0123456789" in result.stderr
    assert "a" not in result.stderr.partition("0123456789")[2].partition("\n")[0]


def test_a_table_s_cell_is_cut_with_an_ellipsis() -> None:
    most = "x" * CELL_WIDTH_MAX
    _, fits, cut = table(["name", "b"], [[most, 1], [f"{most}y", 2]]).splitlines()
    assert fits.split()[0] == most
    assert cut.split()[0] == f"{most[:-1]}…"
    assert width(cut) == width(fits)
