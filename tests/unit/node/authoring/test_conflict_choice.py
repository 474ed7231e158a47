"""Answers to conflicts: every kind, both ways to answer, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, Node, pair
from vexil.crdt.conflicts import ConflictRecord
from vexil.node.authoring import kill_flag, patch_segment, put_flagd_part, resolve_conflict, unkill_flag
from vexil.node.errors import ConflictChanged, Invalid, VariantInUse

FLAG = {
    **BOOLEAN,
    "variants": {"on": True, "off": False, "x": True},
    "tags": ["web"],
    "environments": {"prod": {"rules": [{"id": "r", "if": True, "serve": "on"}]}},
}


def resolve(node: Node, record: ConflictRecord, **answer: object) -> None:
    node.take(resolve_conflict(node, record.id, answer))


def the_conflict(node: Node) -> ConflictRecord:
    [record] = node.conflicts()
    return record


def racing(mine: dict, theirs: dict) -> tuple[Node, Node]:
    near, far = pair(FLAG)
    near.patch(mine)
    far.patch(theirs)
    near.pull(far)
    far.pull(near)
    return near, far


def choices(record: ConflictRecord) -> dict[object, str]:
    return {("removed" if s.removed else str(s.value)): s.change for s in record.siblings}


def test_choosing_a_sibling_ends_the_race_everywhere() -> None:
    for text in ("mine", "theirs"):
        near, far = racing({"description": "mine"}, {"description": "theirs"})
        record = the_conflict(near)
        resolve(near, record, choose=choices(record)[text])
        far.pull(near)
        for node in (near, far):
            assert node.flag()["description"] == text
            assert node.conflicts() == []


def test_a_value_of_ones_own_ends_the_race() -> None:
    near, _ = racing({"description": "mine"}, {"description": "theirs"})
    resolve(near, the_conflict(near), value="both")
    assert (near.flag()["description"], near.conflicts()) == ("both", [])


@pytest.mark.parametrize(
    ("mine", "theirs", "value", "read"),
    [
        ({"owner": "a"}, {"owner": "b"}, "c", lambda f: f["owner"] == "c"),
        ({"variants": {"x": False}}, {"variants": {"x": None}}, None, lambda f: "x" not in f["variants"]),
        ({"variants": {"x": False}}, {"variants": {"x": None}}, False, lambda f: f["variants"]["x"] is False),
        (
            {"environments": {"prod": {"default": "on"}}},
            {"environments": {"prod": {"default": "off"}}},
            None,
            lambda f: f["environments"]["prod"]["default"] is None,
        ),
        (
            {"environments": {"prod": {"metadata": {"a": 1}}}},
            {"environments": {"prod": {"metadata": {"a": 2}}}},
            None,
            lambda f: f["environments"]["prod"]["metadata"] == {},
        ),
        (
            {"environments": {"prod": {"rules": [{"id": "r", "if": True, "serve": "off"}]}}},
            {"environments": {"prod": {"rules": [{"id": "r", "if": False, "serve": "on"}]}}},
            {"if": False, "serve": "off"},
            lambda f: f["environments"]["prod"]["rules"] == [{"id": "r", "if": False, "serve": "off"}],
        ),
        (
            {"environments": {"prod": {"rules": [{"id": "r", "if": True, "serve": "off"}]}}},
            {"environments": {"prod": {"rules": []}}},
            None,
            lambda f: f["environments"]["prod"]["rules"] == [],
        ),
    ],
)
def test_each_field_takes_its_kind_of_value(
    mine: dict, theirs: dict, value: object, read: Callable[[dict], bool]
) -> None:
    near, _ = racing(mine, theirs)
    resolve(near, the_conflict(near), value=value)
    assert read(near.flag())
    assert near.conflicts() == []


@pytest.mark.parametrize(("choice", "tags"), [("removed", []), ("True", ["web"])])
def test_an_element_that_one_removed_and_one_added(choice: str, tags: list[str]) -> None:
    near, far = pair(FLAG)
    near.patch({"tags": []})
    far.patch({"tags": []})
    far.patch({"tags": ["web"]})
    near.pull(far)
    record = the_conflict(near)
    assert record.kind == "edit-remove"
    resolve(near, record, choose=choices(record)[choice])
    assert (near.flag()["tags"], near.conflicts()) == (tags, [])


def test_the_order_of_rules() -> None:
    near, far = pair(FLAG)
    rules = [{"id": i, "if": True, "serve": "on"} for i in "rst"]
    near.patch({"environments": {"prod": {"rules": rules}}})
    far.pull(near)
    near.patch({"environments": {"prod": {"rules": [rules[1], rules[0], rules[2]]}}})
    far.patch({"environments": {"prod": {"rules": [rules[2], rules[0], rules[1]]}}})
    near.pull(far)
    record = the_conflict(near)
    with pytest.raises(Invalid):
        resolve(near, record, value=["s", 1])
    resolve(near, record, value=["t", "s", "r"])
    assert [rule["id"] for rule in near.flag()["environments"]["prod"]["rules"]] == ["t", "s", "r"]
    assert near.conflicts() == []


@pytest.mark.parametrize("kill", [True, False])
@pytest.mark.parametrize("how", ["choose", "value"])
def test_a_kill_against_an_unkill(kill: bool, how: str) -> None:
    near, far = pair(FLAG)
    near.take(kill_flag(near, "f", "prod"))
    far.pull(near)
    near.take(unkill_flag(near, "f", "prod", if_match=near.etag()))
    far.take(kill_flag(far, "f", "prod"))
    near.pull(far)
    record = the_conflict(near)
    assert record.kind == "off-wins"
    resolve(near, record, **({"value": kill} if how == "value" else {"choose": choices(record)[str(kill)]}))
    assert near.flag()["environments"]["prod"]["kill"] is kill
    assert near.conflicts() == []


def test_needs_review_is_answered_with_stay_or_go() -> None:
    for go in (True, False):
        near, far = pair(FLAG)
        near.delete()
        far.patch({"owner": "me"})
        near.pull(far)
        record = the_conflict(near)
        assert record.kind == "needs-review"
        with pytest.raises(Invalid):
            resolve(near, record, value=None)
        change = next(s.change for s in record.siblings if s.removed is go)
        resolve(near, record, choose=change)
        far.pull(near)
        for node in (near, far):
            assert node.has() is not go
            assert node.conflicts() == []


@pytest.mark.parametrize("keep", [0, 1])
def test_of_concurrent_creates_one_stays_alone(keep: int) -> None:
    near, far = Node(1), Node(2)
    near.create({**BOOLEAN, "description": "one"})
    far.create({**BOOLEAN, "description": "other"})
    near.pull(far)
    record = the_conflict(near)
    assert record.kind == "concurrent-create"
    with pytest.raises(Invalid):
        resolve(near, record, value="one")
    sibling = record.siblings[keep]
    resolve(near, record, choose=sibling.change)
    far.pull(near)
    for node in (near, far):
        assert node.flag()["description"] == sibling.value["description"]  # type: ignore[index]
        assert node.conflicts() == []


def test_rules_against_targeting() -> None:
    for keep in ("targeting", "rules"):
        for how in ("choose", "value"):
            near, far = pair(BOOLEAN)
            near.patch({"environments": {"prod": {"rules": [{"id": "r", "if": True, "serve": "on"}]}}})
            far.patch({"environments": {"prod": {"targeting": {"var": "a"}}}})
            near.pull(far)
            record = the_conflict(near)
            assert record.kind == "rules-and-targeting"
            if how == "choose":
                writer = (far if keep == "targeting" else near).incarnation
                answer: dict = {"choose": next(s.change for s in record.siblings if s.incarnation == writer)}
            else:
                answer = {"value": {"var": "b"} if keep == "targeting" else None}
            resolve(near, record, **answer)
            prod = near.flag()["environments"]["prod"]
            assert (prod["targeting"] is not None, bool(prod["rules"])) == (
                keep == "targeting",
                keep == "rules",
            )
            assert near.conflicts() == []


def test_an_answer_is_held_to_the_rules_of_any_edit() -> None:
    near, _ = racing({"variants": {"x": False}}, {"variants": {"x": None}})
    record = the_conflict(near)
    with pytest.raises(Invalid):
        resolve(near, record, value="no boolean")
    near.patch({"environments": {"dev": {"default": "x"}}})
    with pytest.raises(VariantInUse):
        resolve(near, record, value=None)


def test_a_defect_is_mended_with_a_value() -> None:
    near, _ = racing({"variants": {"x": None}}, {"environments": {"prod": {"default": "x"}}})
    record = the_conflict(near)
    assert record.kind == "dangling-variant"
    with pytest.raises(Invalid):
        resolve(near, record, value="y")
    resolve(near, record, value="on")
    assert near.conflicts() == []


def test_a_conflict_that_has_changed_is_not_answered() -> None:
    near, far = racing({"description": "mine"}, {"description": "theirs"})
    record = the_conflict(near)
    far.patch({"description": "theirs again"})
    near.pull(far)
    for conflict_id in (record.id, "0" * 16, ""):
        with pytest.raises(ConflictChanged) as caught:
            resolve_conflict(near, conflict_id, {"choose": record.siblings[0].change})
        assert (caught.value.status, caught.value.code) == (409, "conflict.changed")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"choose": 1},
        {"choose": "0000000000000001:99"},
        {"choose": None, "value": 1},
        {"pick": 1},
        {"value": 7},
    ],
)
def test_an_answer_that_is_none_is_refused(answer: object) -> None:
    near, _ = racing({"description": "mine"}, {"description": "theirs"})
    with pytest.raises(Invalid):
        resolve_conflict(near, the_conflict(near).id, answer)


def test_segments_and_flagd_parts_have_conflicts_too() -> None:
    near = Node()
    near.put_segment({"members": ["a"]})
    far = Node(2)
    far.pull(near)
    for node, text in ((near, "mine"), (far, "theirs")):
        node.take(patch_segment(node, "s", {"description": text}, new_id=node.new_id))
        node.take(put_flagd_part(node, "prod", {"metadata": {"team": text}}))
    near.pull(far)
    by_object = {record.object: record for record in near.conflicts()}
    with pytest.raises(Invalid):
        resolve(near, by_object["flagd/prod"], value=[])
    resolve(near, by_object["flagd/prod"], value="both")
    resolve(near, by_object["segment/s"], choose=choices(by_object["segment/s"])["mine"])
    assert near.segment()["description"] == "mine"
    assert near.conflicts() == []
