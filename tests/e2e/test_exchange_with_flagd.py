"""flagd documents go in at one node and come out at another, meaning the same to flagd itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import load, needs_data
from tests.e2e.cluster import NODES, Cluster
from tests.unit.sdk.documents import FAILED, Reference

pytestmark = pytest.mark.xdist_group("e2e-exchange-with-flagd")

EXAMPLE = json.loads((Path(__file__).parents[2] / "deploy/examples/flags.json").read_text())
TESTBED = load("flagd-testbed", "evaluator", "flags", "testkit-flags.json")
FULL = load("flagd-schemas", "json", "examples", "full.json")
DOCUMENTS = [
    pytest.param("shop", EXAMPLE, id="deploy/examples/flags.json"),
    pytest.param("testkit", TESTBED, id="testkit-flags.json", marks=needs_data),
    pytest.param("full", FULL, id="full.json", marks=needs_data),
]
CONTEXTS: list[dict[str, Any]] = [
    {},
    {"targetingKey": ""},
    *({"targetingKey": f"user-{number}"} for number in range(20)),
    *({"targetingKey": "k", "account": {"id": f"{number}", "kind": "business"}} for number in range(10)),
    {
        "targetingKey": "5c3d8535-f81a-4478-a6d3-afaa4d51199e",
        "email": "ballmer@macrosoft.com",
        "id": "abcxyz",
    },
    {"targetingKey": "u", "email": "ann@shop.example", "country": "DE", "app": {"version": "5.2.0"}},
    {"targetingKey": "u", "email": "ann@elsewhere.example", "country": "US", "app": {"version": "5.1.9"}},
    {"targetingKey": "u", "user": {"name": "jack"}, "version": "2.0.0", "tier": "premium", "color": "red"},
    {"targetingKey": "v", "user": {"name": "ten"}, "version": "3.1.0-rc.1", "time": 4_000_000_000, "num": 5},
    {"email": "jobs@orange.com", "version": 1.2, "fn": "Sulisław", "ln": "Świętopełk", "age": 29},
    {"version": "2.0.0.0", "color": "purple", "customer": True, "age": 2, "time": 1},
]


def create_project(cluster: Cluster, name: str) -> None:
    created = cluster.vexil("project", "create", name, "--env", "live", "--env", "trial")
    assert created.returncode == 0, created.stderr
    cluster.everywhere(lambda node: cluster.ask(node, "GET", f"/api/v1/projects/{name}").is_success)


def imported(cluster: Cluster, path: Path, project: str, *more: str, node: str = "us-2") -> dict[str, Any]:
    return cluster.said("import", str(path), "--env", "live", "--project", project, "--node", node, *more)


def exported(cluster: Cluster, project: str, *, node: str) -> dict[str, Any]:
    return cluster.said("export", "--env", "live", "--project", project, "--node", node)


def structure(document: dict[str, Any]) -> dict[str, Any]:
    """What a document says, however it says it: what is absent is as what means nothing."""
    return {
        "flags": {
            key: {
                "state": flag["state"],
                "variants": flag["variants"],
                "defaultVariant": flag.get("defaultVariant"),
                "targeting": flag.get("targeting") or {},
                "metadata": flag.get("metadata") or {},
            }
            for key, flag in document["flags"].items()
        },
        "$evaluators": document.get("$evaluators") or {},
        "metadata": document.get("metadata") or {},
    }


@pytest.mark.parametrize(("project", "document"), DOCUMENTS)
def test_a_document_is_taken_in_whole_and_comes_out_meaning_the_same(
    cluster: Cluster, tmp_path: Path, project: str, document: dict[str, Any]
) -> None:
    create_project(cluster, project)
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(document))
    count = len(document["flags"])

    planned = imported(cluster, path, project, "--dry-run")
    assert (planned["created"], planned["errors"]) == (count, [])
    assert exported(cluster, project, node="us-2")["flags"] == {}, "a dry run writes nothing"

    result = imported(cluster, path, project)
    assert result["errors"] == []
    assert [result[name] for name in ("created", "updated", "deleted", "unchanged")] == [count, 0, 0, 0]
    cluster.settle()

    out = exported(cluster, project, node="ap-1")
    assert structure(out) == structure(document)
    before, after = Reference(document), Reference(out)
    table = {
        (key, i): before.meaning(key, context)
        for key in document["flags"]
        for i, context in enumerate(CONTEXTS)
    }
    assert len({json.dumps(row) for row in table.values() if row != FAILED}) > 3, (
        "a table that tells things apart"
    )
    assert {
        (key, i): after.meaning(key, context)
        for key in document["flags"]
        for i, context in enumerate(CONTEXTS)
    } == table
    texts = {json.dumps(exported(cluster, project, node=node)) for node in NODES}
    assert len(texts) == 1, "the same bytes of every node"


def test_an_import_again_writes_nothing_and_the_export_goes_in_unchanged(
    cluster: Cluster, tmp_path: Path
) -> None:
    create_project(cluster, "again")
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(EXAMPLE))
    count = len(EXAMPLE["flags"])
    imported(cluster, path, "again", node="eu-1")
    cluster.settle()
    path.write_text(json.dumps(exported(cluster, "again", node="eu-2")))
    for mode in ("merge", "replace"):
        again = imported(cluster, path, "again", "--mode", mode, node="ap-2")
        assert again["unchanged"] == count
        assert [again[name] for name in ("changes", "created", "updated", "deleted")] == [0, 0, 0, 0]
    cluster.settle()


def test_replace_takes_out_what_the_document_does_not_name(cluster: Cluster, tmp_path: Path) -> None:
    create_project(cluster, "shrinking")
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(EXAMPLE))
    imported(cluster, path, "shrinking")
    kept = {**EXAMPLE, "flags": {"support.banner": EXAMPLE["flags"]["support.banner"]}}
    path.write_text(json.dumps(kept))
    assert imported(cluster, path, "shrinking", "--mode", "replace")["errors"] == []
    cluster.settle()
    assert structure(exported(cluster, "shrinking", node="ap-2"))["flags"] == structure(kept)["flags"]


def test_one_bad_flag_is_named_and_the_others_are_taken_in(cluster: Cluster, tmp_path: Path) -> None:
    create_project(cluster, "mixed")
    path = tmp_path / "flags.json"
    bad = {"state": "ENABLED", "variants": {"a": 1, "b": "two"}, "defaultVariant": "a"}
    path.write_text(json.dumps({"flags": {"bad": bad, "good": EXAMPLE["flags"]["support.banner"]}}))
    run = cluster.vexil("import", str(path), "--env", "live", "--project", "mixed", "--json")
    assert run.returncode == 1
    result = json.loads(run.stdout)
    assert result["created"] == 1
    assert [error["path"].startswith("/flags/bad") for error in result["errors"]] == [True]
    cluster.settle()
    assert list(exported(cluster, "mixed", node="us-2")["flags"]) == ["good"]
