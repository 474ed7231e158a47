"""What an author has seen: which edits are stale, and which are not."""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgpack
import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, Node, fields, node_with, pair
from vexil.node.authoring import change_members, delete_segment, kill_flag, patch_segment, unkill_flag
from vexil.node.authoring.if_match import INCARNATIONS_MAX
from vexil.node.errors import Malformed, Stale

FLAG = {
    **BOOLEAN,
    "tags": ["web"],
    "environments": {"prod": {"rules": [{"id": "r1", "if": True, "serve": "on"}]}},
}


@pytest.mark.parametrize(
    ("theirs", "mine", "stale"),
    [
        ({"description": "theirs"}, {"description": "mine"}, True),
        ({"description": "theirs"}, {"description": "theirs"}, False),
        ({"description": "theirs"}, {"owner": "mine"}, False),
        ({"description": "theirs"}, {}, False),
        ({"tags": ["web", "new"]}, {"tags": ["web", "mine"]}, True),
        ({"tags": ["web", "new"]}, {"description": "mine"}, False),
        ({"tags": []}, {"tags": ["web"]}, True),
        ({"variants": {"x": True}}, {"variants": {"x": False}}, True),
        ({"variants": {"x": True}}, {"variants": {"y": False}}, False),
        ({"environments": {"prod": {"enabled": True}}}, {"environments": {"dev": {"enabled": True}}}, False),
        ({"environments": {"prod": {"enabled": True}}}, {"environments": {"prod": None}}, True),
        ({"environments": {"prod": {"rules": []}}}, {"environments": {"prod": {"rules": []}}}, False),
        ({"environments": {"prod": {"kill": True}}}, {"environments": {"prod": {"kill": False}}}, True),
        ({"environments": {"prod": {"kill": True}}}, {"environments": {"prod": {"kill": True}}}, True),
        ({"environments": {"prod": {"kill": True}}}, {"environments": {"prod": {"enabled": True}}}, False),
        (
            {"environments": {"prod": {"default": "on"}}},
            {"environments": {"prod": {"metadata": {"a": 1}}}},
            False,
        ),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_edit_is_stale_iff_a_cell_that_it_writes_has_changed(
    theirs: dict, mine: dict, stale: bool, elsewhere: bool
) -> None:
    node, far = pair(FLAG)
    etag = node.etag()
    if elsewhere:
        far.patch(theirs)
        node.pull(far)
    else:
        node.patch(theirs)
    before = node.flag()
    if not stale:
        node.patch(mine, if_match=etag)
        return
    with pytest.raises(Stale) as caught:
        node.patch(mine, if_match=etag)
    assert (caught.value.status, caught.value.code) == (412, "flag.stale")
    assert caught.value.to_problem()["current"] == before
    node.patch(mine, if_match=node.etag())


def test_a_write_that_this_author_has_seen_is_no_reason() -> None:
    node = node_with(FLAG)
    for text in "abc":
        node.patch({"description": text}, if_match=node.etag())
    assert node.flag()["description"] == "c"


def test_a_rule_that_came_in_between_is_not_removed_unseen() -> None:
    node = node_with(FLAG)
    etag = node.etag()
    rules = node.flag()["environments"]["prod"]["rules"]
    node.patch({"environments": {"prod": {"rules": [*rules, {"id": "r2", "if": True, "serve": "off"}]}}})
    with pytest.raises(Stale):
        node.patch(
            {"environments": {"prod": {"rules": [*rules, {"id": "r3", "if": True, "serve": "on"}]}}},
            if_match=etag,
        )


def gone(node: Node) -> None:
    node.delete()


def made_again(node: Node) -> None:
    node.delete()
    node.create(FLAG)


def made_again_twice(node: Node) -> None:
    made_again(node)
    made_again(node)


def deleted_elsewhere_and_kept_here(node: Node) -> None:
    far = Node(7)
    far.pull(node)
    far.delete()
    node.patch({"owner": "someone"})
    node.pull(far)


def created_elsewhere_too(node: Node) -> None:
    far = Node(7)
    far.create({**FLAG, "description": "theirs"})
    node.pull(far)


def created_elsewhere_too_and_not_shown(node: Node) -> None:
    far = Node(3)
    far.hlc = 0
    far.create({**FLAG, "description": "theirs"})
    node.pull(far)
    assert node.flag()["description"] == ""


@pytest.mark.parametrize(
    "event",
    [
        gone,
        made_again,
        made_again_twice,
        deleted_elsewhere_and_kept_here,
        created_elsewhere_too,
        created_elsewhere_too_and_not_shown,
    ],
)
@pytest.mark.parametrize(
    "edit",
    [
        lambda node, etag: node.patch({"description": "mine"}, if_match=etag),
        lambda node, etag: node.patch({}, if_match=etag),
        lambda node, etag: node.delete(if_match=etag),
        lambda node, etag: kill_flag(node, "f", "prod", if_match=etag),
        lambda node, etag: unkill_flag(node, "f", "prod", if_match=etag),
    ],
)
def test_nothing_that_was_seen_before_a_create_or_delete_counts(
    event: Callable[[Node], None], edit: Callable[[Node, str], object]
) -> None:
    node = node_with(FLAG, incarnation=5)
    etag = node.etag()
    event(node)
    with pytest.raises(Stale) as caught:
        edit(node, etag)
    assert (caught.value.members["current"] is None) is (event is gone)


def test_a_mere_touch_of_existence_is_no_reason() -> None:
    node, far = pair(FLAG)
    etag = node.etag()
    far.patch({"owner": "someone"})
    node.patch({"tags": []})
    node.pull(far)
    assert fields(node.patch({"description": "mine"}, if_match=etag)) == ["description"]


def test_a_conditional_delete_touches_every_field() -> None:
    node = node_with(FLAG)
    etag = node.etag()
    node.patch({"owner": "someone"})
    with pytest.raises(Stale):
        node.delete(if_match=etag)
    etag = node.etag()
    node.take(kill_flag(node, "f", "dev"))
    with pytest.raises(Stale):
        node.delete(if_match=etag)
    node.delete(if_match=node.etag())
    assert not node.has()


def test_a_removal_is_a_change_too() -> None:
    node = node_with(FLAG)
    etag = node.etag()
    node.patch({"variants": {"x": True}})
    node.patch({"variants": {"x": None}})
    with pytest.raises(Stale):
        node.patch({"variants": {"x": True}}, if_match=etag)


def test_star_is_any_flag_that_is_there() -> None:
    node = node_with(FLAG)
    node.patch({"description": "mine"}, if_match="*")
    node.delete(if_match=" * ")
    with pytest.raises(Stale):
        node.patch({"description": "mine"}, if_match="*")


def test_one_of_several_etags_is_enough_and_a_weak_one_is_taken() -> None:
    node = node_with(FLAG)
    old = node.etag()
    node.patch({"description": "theirs"})
    node.patch({"description": "mine"}, if_match=f"{old}, W/{node.etag()}")
    with pytest.raises(Stale):
        node.patch({"description": "again"}, if_match=f"{old}, {old}")


def test_an_etag_moves_with_its_flag_only_and_is_the_same_everywhere() -> None:
    node, far = pair(FLAG)
    etag = node.etag()
    assert far.etag() == etag
    node.create({**BOOLEAN, "key": "other"})
    assert node.etag() == etag
    node.patch({"description": "x"})
    assert node.etag() != etag


def test_an_etag_of_a_node_that_is_ahead_is_not_stale_here() -> None:
    node, far = pair(FLAG)
    far.patch({"description": "theirs"})
    node.patch({"description": "mine"}, if_match=far.etag())


def quoted(packed: bytes) -> str:
    return f'"{base64.urlsafe_b64encode(packed).decode().rstrip("=")}"'


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        '"',
        '""',
        '"x"',
        '"**"',
        "*, *",
        '"\u1234"',
        "W/",
        quoted(b"\xc1"),
        quoted(b"\x95\x01"),
        quoted(msgpack.packb(7)),
        quoted(msgpack.packb([2, 1, 1, [], b""])),
        quoted(msgpack.packb([1, 1, 1, {}, b""])),
        quoted(msgpack.packb([1, 1, 1, [1], b""])),
        quoted(msgpack.packb([1, 1, 1, [1, None], b""])),
        quoted(msgpack.packb([1, "1", 1, [], b""])),
        quoted(msgpack.packb([1, 1, 1, [], ""])),
        quoted(msgpack.packb([1, 1, 1, [], b"", 1])),
        quoted(b"\x91" * 5000),
        '"' + "A" * 9000 + '"',
    ],
)
def test_what_is_no_etag_is_malformed(header: str) -> None:
    node = node_with(FLAG)
    with pytest.raises(Malformed) as caught:
        node.patch({}, if_match=header)
    assert (caught.value.status, caught.value.code) == (400, "request.malformed")


def test_an_object_of_very_many_writers_is_told_apart_as_a_whole() -> None:
    node = node_with(FLAG)
    for writer in range(INCARNATIONS_MAX + 1):
        node = node.restarted(1000 + writer)
        node.patch({"tags": [*node.flag()["tags"], f"t{writer}"]})
    etag = node.etag()
    assert len(etag) < 4096
    node.patch({"description": "mine"}, if_match=etag)
    with pytest.raises(Stale):
        node.patch({"owner": "any field is stale now"}, if_match=etag)
    node.patch({"owner": "mine"}, if_match=node.etag())
    assert node.patch({}, if_match=etag).writes == []


def test_segments_have_the_same_rules() -> None:
    node = Node()
    node.put_segment({"members": ["a", "b"]})
    etag = node.segment_etag()
    node.take(change_members(node, "s", {"add": ["c"], "remove": ["a"]}))
    node.take(change_members(node, "s", {"add": ["d"]}, if_match=etag))
    edits: tuple[Callable[[], object], ...] = (
        lambda: change_members(node, "s", {"add": ["a"]}, if_match=etag),
        lambda: patch_segment(node, "s", {"members": []}, new_id=node.new_id, if_match=etag),
        lambda: node.put_segment({}, if_match=etag),
        lambda: delete_segment(node, "s", if_match=etag),
    )
    for edit in edits:
        with pytest.raises(Stale) as caught:
            edit()
        assert caught.value.code == "segment.stale"
        assert caught.value.members["current"] == node.segment()
    node.take(delete_segment(node, "s", if_match=node.segment_etag()))
    with pytest.raises(Stale):
        node.put_segment({}, if_match=node.segment_etag())
