"""Projects, keys, and what a flagd document has beside its flags."""

from __future__ import annotations

import pytest

from tests.unit.node.authoring.nodes import Node
from vexil.crdt.flagd_state import read_flagd
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.system_state import read_key, read_project
from vexil.node.authoring import Intent, create_key, etag_of, put_flagd_part, put_project, revoke_key
from vexil.node.errors import Exists, Invalid, LimitExceeded, NotFound, Stale


def put(node: Node, body: object, *, name: str = "shop", if_match: str | None = None) -> Intent:
    intent = put_project(node, name, body, if_match=if_match)
    node.take(intent)
    return intent


def test_a_project_is_created_and_changed() -> None:
    node = Node()
    body = {"environments": ["dev", "prod"], "bucketing": "v3"}
    assert put(node, body).created == {"project/shop"}
    assert put(node, body).writes == []
    assert put(node, {}).writes == []
    changed = put(node, {"environments": ["prod", "qa"]})
    assert {w.field: w.value for w in changed.writes} == {
        "environment/dev": TOMBSTONE,
        "environment/qa": True,
    }
    state = read_project(node.replica.cells("project/shop"))
    assert (state.exists, state.environments, state.bucketing) == (True, ("prod", "qa"), "v3")


def test_a_project_that_has_changed_since_is_stale() -> None:
    node = Node()
    with pytest.raises(Stale):
        put(node, {}, if_match="*")
    put(node, {"environments": ["dev"]})
    etag = etag_of(node.replica.cells("project/shop"))
    put(node, {"bucketing": "v2"})
    put(node, {"environments": ["dev", "prod"]}, if_match=etag)
    with pytest.raises(Stale) as caught:
        put(node, {"bucketing": "v3"}, if_match=etag)
    assert caught.value.members["current"] == {
        "name": "shop",
        "environments": ["dev", "prod"],
        "bucketing": "v2",
    }


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("_system", {}),
        ("a/b", {}),
        ("x" * 65, {}),
        ("shop", []),
        ("shop", {"environments": "dev"}),
        ("shop", {"environments": ["de/v"]}),
        ("shop", {"environments": ["_dev"]}),
        ("shop", {"environments": [1]}),
        ("shop", {"environments": ["x" * 65]}),
        ("shop", {"bucketing": "v9"}),
        ("shop", {"bucketing": ["v3"]}),
        ("shop", {"name": "other"}),
        ("shop", {"colour": "red"}),
    ],
)
def test_a_project_that_makes_no_sense_is_refused(name: str, body: object) -> None:
    with pytest.raises(Invalid) as caught:
        put(Node(), body, name=name)
    assert caught.value.code == "project.invalid"


def test_a_project_has_not_too_many_environments() -> None:
    with pytest.raises(LimitExceeded):
        put(Node(), {"environments": [f"e{i}" for i in range(101)]})


def test_a_key_is_created_once_and_revoked_for_good() -> None:
    node = Node()
    record = {"kind": "server", "project": "shop", "environment": "prod", "hash": "00"}
    node.take(create_key(node, "k1", record))
    with pytest.raises(Exists):
        create_key(node, "k1", record)
    node.take(revoke_key(node, "k1"))
    state = read_key(node.replica.cells("key/k1"))
    assert (state.record, state.revoked) == (record, True)
    assert not revoke_key(node, "k1").writes
    with pytest.raises(NotFound) as caught:
        revoke_key(node, "k2")
    assert caught.value.code == "key.not_found"


@pytest.mark.parametrize(
    ("key_id", "record"), [("_k", {"a": 1}), ("k", {}), ("k", {"a": [[[[[[[[[[1]]]]]]]]]]})]
)
def test_a_key_that_makes_no_sense_is_refused(key_id: str, record: dict) -> None:
    with pytest.raises(Invalid):
        create_key(Node(), key_id, record)


def put_part(node: Node, body: object, if_match: str | None = None) -> Intent:
    intent = put_flagd_part(node, "prod", body, if_match=if_match)
    node.take(intent)
    return intent


def test_the_flagd_part_is_put_as_a_whole() -> None:
    node = Node()
    body = {"evaluators": {"staff": {"in": ["@x", {"var": "email"}]}}, "metadata": {"team": "a"}}
    put_part(node, body)
    assert put_part(node, body).writes == []
    etag = etag_of(node.replica.cells("flagd/prod"))
    assert [w.field for w in put_part(node, {**body, "metadata": {"n": 1}}).writes] == [
        "metadata/n",
        "metadata/team",
    ]
    with pytest.raises(Stale) as caught:
        put_part(node, body, if_match=etag)
    assert caught.value.members["current"] == {**body, "metadata": {"n": 1}}
    put_part(node, {})
    state = read_flagd("prod", node.replica.cells("flagd/prod"))
    assert (state.evaluators, state.metadata) == ({}, {})


@pytest.mark.parametrize(
    "body",
    [[], {"flags": {}}, {"evaluators": []}, {"metadata": {"a": {}}}, {"metadata": {"": 1}}, {"metadata": 1}],
)
def test_a_flagd_part_that_makes_no_sense_is_refused(body: object) -> None:
    with pytest.raises(Invalid) as caught:
        put_part(Node(), body)
    assert caught.value.code == "flagd.invalid"


def test_the_flagd_part_of_an_unknown_environment_is_not_found() -> None:
    with pytest.raises(NotFound):
        put_flagd_part(Node(), "qa", {})


def test_an_evaluator_may_not_be_nested_too_deep() -> None:
    logic: object = 1
    for _ in range(40):
        logic = {"!": [logic]}
    with pytest.raises(LimitExceeded) as caught:
        put_part(Node(), {"evaluators": {"deep": logic}})
    assert caught.value.code == "limit.logic_depth"
