"""Creating one flag: what is written and nothing else, and what it takes over from a flag that was there before."""

from __future__ import annotations

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, FULL, Node, fields, node_with
from vexil.crdt.pen import NEW_GENERATION
from vexil.node.authoring import kill_flag
from vexil.node.errors import Exists


def test_a_created_flag_reads_as_it_was_written() -> None:
    node = node_with(FULL)
    shown = node.flag()
    dev = shown["environments"].pop("dev")
    assert shown == {**FULL, "tags": ["ios", "web"], "needs_review": False, "conflicts": []}
    assert dev == {
        "enabled": False,
        "kill": False,
        "default": None,
        "off_variant": None,
        "rules": [],
        "targeting": None,
        "metadata": {},
    }


def test_a_create_writes_one_new_generation_and_no_defaults() -> None:
    intent = Node().create({"key": "f", "type": "string", "description": "", "variants": {"a": "A"}})
    assert {(w.generation, w.field) for w in intent.writes} == {
        (NEW_GENERATION, "exists"),
        (NEW_GENERATION, "variant/a"),
    }
    assert intent.created == {"flag/f"}
    [exists] = [w.value for w in intent.writes if w.field == "exists"]
    assert exists == {"epoch": 1, "type": "string"}


def test_a_boolean_flag_has_on_and_off_unless_it_says_otherwise() -> None:
    assert node_with(BOOLEAN).flag()["variants"] == {"on": True, "off": False}
    assert node_with({**BOOLEAN, "variants": {"yes": True}}).flag()["variants"] == {"yes": True}
    assert node_with({**BOOLEAN, "variants": {}}).flag()["variants"] == {}


def test_a_flag_is_created_once() -> None:
    node = node_with(BOOLEAN)
    with pytest.raises(Exists) as caught:
        node.create(BOOLEAN)
    assert (caught.value.status, caught.value.code) == (409, "flag.exists")


def test_a_recreated_flag_is_another_one_with_a_higher_epoch() -> None:
    node = node_with(FULL)
    node.delete()
    intent = node.create(BOOLEAN)
    assert [w.value for w in intent.writes if w.field == "exists"] == [{"epoch": 2, "type": "boolean"}]
    assert node.flag()["description"] == ""
    assert node.flag()["environments"]["prod"]["rules"] == []


def test_the_epoch_is_above_that_of_a_generation_whose_creator_deleted_it() -> None:
    node = node_with(BOOLEAN)
    for _ in range(3):
        node.delete()
        node.create(BOOLEAN)
    # Older generations are collected one day; what the youngest says must be enough.
    node.delete()
    youngest = max(node.replica.objects["flag/f"])
    node.replica.objects["flag/f"] = {youngest: node.replica.objects["flag/f"][youngest]}
    [exists] = [w.value for w in node.create(BOOLEAN).writes if w.field == "exists"]
    assert exists == {"epoch": 5, "type": "boolean"}


def test_a_create_clears_the_kill_that_it_has_seen() -> None:
    node = node_with(BOOLEAN)
    node.take(kill_flag(node, "f", "prod"))
    node.delete()
    intent = node.create(BOOLEAN)
    assert [w.value for w in intent.writes if w.field == "kill/prod"] == [False]
    assert "kill/dev" not in fields(intent)
    assert node.flag()["environments"]["prod"]["kill"] is False


def test_a_create_may_kill() -> None:
    node = node_with({**BOOLEAN, "environments": {"prod": {"kill": True}}})
    assert node.flag()["environments"]["prod"]["kill"] is True
    assert node.flag()["environments"]["dev"]["kill"] is False


def test_rules_without_an_id_get_one() -> None:
    node = node_with({**BOOLEAN, "environments": {"prod": {"rules": [{"if": True, "serve": "on"}]}}})
    assert node.flag()["environments"]["prod"]["rules"] == [{"id": "new1", "if": True, "serve": "on"}]
