"""Patching one flag, its rules included: what differs is written, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, FULL, STAFF, Node, fields, node_with, paths
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.node.authoring import Intent, kill_flag, unkill_flag
from vexil.node.errors import Invalid, NotFound


def test_a_patch_with_what_is_there_writes_nothing() -> None:
    node = node_with(FULL)
    shown = node.flag()
    assert node.patch(shown, if_match=node.etag()).writes == []


def test_a_patch_writes_what_differs_and_touches_existence() -> None:
    node = node_with(FULL)
    generation = node.log[0].dot
    intent = node.patch({"description": "changed", "owner": "payments"})
    assert intent.writes == [
        CellWrite(
            "flag/f", generation, "exists", {"epoch": 1, "type": "boolean", "created": node.log[0].hlc}
        ),
        CellWrite("flag/f", generation, "description", "changed"),
    ]
    again = node.patch({"description": "once more"})
    assert again.writes[0] == intent.writes[0]


@pytest.mark.parametrize(
    ("patch", "written"),
    [
        ({"tags": ["web", "new"]}, ["tag/ios", "tag/new"]),
        ({"tags": None}, ["tag/ios", "tag/web"]),
        ({"tags": ["ios", "web", "web"]}, []),
        ({"variants": {"maybe": True}}, ["variant/maybe"]),
        ({"variants": {"on": False}}, ["variant/on"]),
        ({"variants": {"gone": None}}, []),
        ({"description": None, "owner": None}, ["description", "owner"]),
        ({"client_visible": None}, ["client_visible"]),
        ({"archived": None}, []),
        ({"environments": {"prod": {"enabled": None}}}, ["env/prod/enabled"]),
        ({"environments": {"dev": {"enabled": True}}}, ["env/dev/enabled"]),
        ({"environments": {"dev": {"enabled": False, "default": None, "rules": []}}}, []),
        ({"environments": {"dev": None}}, []),
        ({"environments": {"prod": {"metadata": {"team": None, "n": 1.0}}}}, ["env/prod/metadata/team"]),
        ({"environments": {"prod": {"metadata": {"n": True}}}}, ["env/prod/metadata/n"]),
        ({"environments": {"prod": {"metadata": None}}}, ["env/prod/metadata/n", "env/prod/metadata/team"]),
        ({"environments": {"prod": {"targeting": {}}}}, []),
        ({"needs_review": True, "conflicts": ["x"]}, []),
        (
            {"environments": {"prod": {"rules": [], "targeting": {"var": "x"}}}},
            ["env/prod/rule/r1", "env/prod/rule/r2", "env/prod/targeting"],
        ),
        (
            {"environments": {"prod": None}},
            [
                "env/prod/default",
                "env/prod/enabled",
                "env/prod/metadata/n",
                "env/prod/metadata/team",
                "env/prod/off_variant",
                "env/prod/rule/r1",
                "env/prod/rule/r2",
            ],
        ),
    ],
)
def test_a_patch_writes_the_cells_that_differ(patch: object, written: list[str]) -> None:
    assert fields(node_with(FULL).patch(patch)) == written


def test_null_puts_a_plain_field_back_and_removes_an_element() -> None:
    intent = node_with(FULL).patch({"description": None, "tags": ["web"]})
    assert {w.field: w.value for w in intent.writes if w.field != "exists"} == {
        "description": "",
        "tag/ios": TOMBSTONE,
    }


def test_variants_that_are_objects_merge_by_member() -> None:
    node = node_with({"key": "f", "type": "object", "variants": {"a": {"x": 1, "y": {"z": 2}}}})
    node.patch({"variants": {"a": {"x": None, "y": {"w": 3}}}})
    assert node.flag()["variants"] == {"a": {"y": {"z": 2, "w": 3}}}


def test_targeting_is_one_value() -> None:
    node = node_with({**BOOLEAN, "environments": {"prod": {"targeting": {"==": [{"var": "a"}, None]}}}})
    node.patch({"environments": {"prod": {"targeting": {"if": [True, "on"]}}}})
    assert node.flag()["environments"]["prod"]["targeting"] == {"if": [True, "on"]}


@pytest.mark.parametrize("patch", [{"type": "string"}, {"key": "g"}, {"type": None}])
def test_type_and_key_cannot_change(patch: object) -> None:
    with pytest.raises(Invalid):
        node_with(BOOLEAN).patch(patch)


def test_a_flag_that_is_not_there_cannot_be_edited() -> None:
    edits: tuple[Callable[[], object], ...] = (
        lambda: Node().patch({}),
        lambda: Node().delete(),
        lambda: kill_flag(Node(), "f", "prod"),
        lambda: unkill_flag(Node(), "f", "prod", if_match=None),
    )
    for edit in edits:
        with pytest.raises(NotFound) as caught:
            edit()
        assert caught.value.code == "flag.not_found"


def rules_of(node: Node) -> list[str]:
    return [rule["id"] for rule in node.flag()["environments"]["prod"]["rules"]]


def patch_rules(node: Node, rules: list[object]) -> Intent:
    return node.patch({"environments": {"prod": {"rules": rules}}})


def test_another_order_is_a_write_of_the_order() -> None:
    node = node_with(FULL)
    rules = node.flag()["environments"]["prod"]["rules"]
    intent = patch_rules(node, rules[::-1])
    assert fields(intent) == ["env/prod/order"]
    assert rules_of(node) == ["r1", "r2"]


def test_another_body_is_a_write_of_that_rule() -> None:
    node = node_with(FULL)
    rules = node.flag()["environments"]["prod"]["rules"]
    intent = patch_rules(node, [{**rules[0], "serve": "off"}, rules[1]])
    assert fields(intent) == ["env/prod/rule/r2"]


def test_a_rule_at_the_end_needs_no_write_of_the_order() -> None:
    node = node_with(FULL)
    rules = node.flag()["environments"]["prod"]["rules"]
    assert fields(patch_rules(node, [*rules, {"id": "z", **STAFF}])) == ["env/prod/rule/z"]
    assert fields(patch_rules(node, [*rules, {"id": "z", **STAFF}, {"id": "y", **STAFF}])) == [
        "env/prod/order",
        "env/prod/rule/y",
    ]
    assert rules_of(node) == ["r2", "r1", "z", "y"]


def test_a_rule_that_is_gone_is_removed() -> None:
    node = node_with(FULL)
    intent = patch_rules(node, node.flag()["environments"]["prod"]["rules"][1:])
    assert [(w.field, w.value) for w in intent.writes[1:]] == [("env/prod/rule/r2", TOMBSTONE)]
    assert rules_of(node) == ["r1"]


def test_two_rules_with_one_id_are_refused() -> None:
    with pytest.raises(Invalid) as caught:
        patch_rules(node_with(FULL), [{"id": "r", **STAFF}, {"id": "r", **STAFF}])
    assert paths(caught.value) == ["/environments/prod/rules/1/id"]


def test_an_edit_of_a_rule_keeps_what_a_newer_version_has_put_there() -> None:
    node = node_with(FULL)
    generation = node.log[0].dot
    node.write(
        CellWrite("flag/f", generation, "env/prod/rule/r1", {"if": True, "serve": "on", "schedule": 7})
    )
    assert node.patch({"environments": node.flag()["environments"]}, if_match="*").writes == []
    [rule, other] = node.flag()["environments"]["prod"]["rules"]
    intent = patch_rules(node, [rule, {**other, "serve": "off"}])
    assert intent.writes[1].value == {"if": True, "serve": "off", "schedule": 7}


def test_a_stored_rule_that_is_none_survives_the_edit_of_others() -> None:
    node = node_with(FULL)
    node.write(CellWrite("flag/f", node.log[0].dot, "env/prod/rule/odd", {"when": "later"}))
    intent = patch_rules(node, node.flag()["environments"]["prod"]["rules"][:1])
    assert fields(intent) == ["env/prod/rule/r1"]
