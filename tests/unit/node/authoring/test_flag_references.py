"""What refers to what in flags: variants that are in use, prerequisites, and what merging has broken of them."""

from __future__ import annotations

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, fields, node_with, pair, paths
from vexil.node.errors import InUse, Invalid, VariantInUse


@pytest.mark.parametrize(
    "use",
    [
        {"environments": {"dev": {"default": "x"}}},
        {"environments": {"dev": {"off_variant": "x"}}},
        {"environments": {"dev": {"rules": [{"if": True, "serve": "x"}]}}},
        {"environments": {"dev": {"rules": [{"if": True, "split": [["on", 1], ["x", 0]]}]}}},
    ],
)
def test_a_variant_that_is_in_use_cannot_go(use: dict) -> None:
    node = node_with({**BOOLEAN, "variants": {"on": True, "off": False, "x": True}, **use})
    with pytest.raises(VariantInUse) as caught:
        node.patch({"variants": {"x": None}})
    assert (caught.value.status, caught.value.code) == (409, "variant.in_use")
    with pytest.raises(VariantInUse):
        node.patch({"variants": None})
    assert fields(node.patch({"variants": {"x": None}, "environments": {"dev": None}}))
    assert "x" not in node.flag()["variants"]


def test_a_variant_that_another_flag_requires_cannot_go() -> None:
    node = node_with(
        {**BOOLEAN, "key": "base"}, {**BOOLEAN, "prerequisites": [{"flag": "base", "variant": "on"}]}
    )
    with pytest.raises(VariantInUse):
        node.patch({"variants": {"on": None}}, key="base")
    node.patch({"variants": {"off": None}}, key="base")
    node.patch({"prerequisites": []})
    node.patch({"variants": {"on": None}}, key="base")


def test_a_flag_that_others_require_cannot_be_deleted_until_they_let_go() -> None:
    requires = {"prerequisites": [{"flag": "base", "variant": "on"}]}
    node = node_with(
        {**BOOLEAN, "key": "base"}, {**BOOLEAN, **requires, "archived": True}, {**BOOLEAN, "key": "g"}
    )
    node.patch(requires, key="g")
    with pytest.raises(InUse) as caught:
        node.delete("base")
    assert (caught.value.status, caught.value.code) == (409, "flag.in_use")
    assert caught.value.members["used_by"] == ["f", "g"]
    node.patch({"prerequisites": []})
    with pytest.raises(InUse):
        node.delete("base")
    node.delete("g")
    node.delete("base")
    assert node.flag_keys() == ["f"]


def test_a_flag_whose_required_variant_merging_has_taken_is_in_use_all_the_same() -> None:
    near, far = pair({**BOOLEAN, "key": "base"}, BOOLEAN)
    near.patch({"variants": {"on": None}}, key="base")
    far.patch({"prerequisites": [{"flag": "base", "variant": "on"}]})
    near.pull(far)
    with pytest.raises(InUse):
        near.delete("base")
    near.patch({"prerequisites": []})
    near.delete("base")


def test_a_prerequisite_must_be_there_and_must_not_lead_back() -> None:
    def requires(flag: str, variant: str = "on") -> dict:
        return {"prerequisites": [{"flag": flag, "variant": variant}]}

    node = node_with({**BOOLEAN, "key": "a"}, {**BOOLEAN, "key": "b"}, {**BOOLEAN, "key": "c"})
    node.patch(requires("b"), key="a")
    node.patch(requires("c"), key="b")
    for flag, variant in (("a", "on"), ("c", "on"), ("nowhere", "on"), ("a", "nothing")):
        with pytest.raises(Invalid) as caught:
            node.patch(requires(flag, variant), key="c")
        assert paths(caught.value) == [f"/prerequisites/{flag}"]
    assert fields(node.patch(requires("c", "off"), key="a")) == ["prerequisite/b", "prerequisite/c"]
    assert fields(node.patch(requires("c", "on"), key="a")) == ["prerequisite/c"]


def test_what_merging_has_broken_does_not_stop_another_edit() -> None:
    near, far = pair({**BOOLEAN, "variants": {"on": True, "off": False, "x": True}})
    near.patch({"variants": {"x": None}})
    far.patch({"environments": {"prod": {"default": "x", "rules": [{"id": "r", "if": True, "serve": "x"}]}}})
    far.patch({"environments": {"dev": {"targeting": {"var": "a"}}}})
    near.patch({"environments": {"dev": {"rules": [{"id": "d", "if": True, "serve": "on"}]}}})
    near.pull(far)
    assert near.flag()["conflicts"]
    assert fields(near.patch({"description": "fine"})) == ["description"]
    assert near.patch(near.flag(), if_match="*").writes == []
    assert fields(near.patch({"environments": {"prod": {"default": "on"}}})) == ["env/prod/default"]
    with pytest.raises(Invalid):
        near.patch({"environments": {"prod": {"off_variant": "x"}}})
