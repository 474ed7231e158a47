"""Old changes against the state of today: which are issued again, which are parked, and what is done all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, Node
from tests.unit.node.authoring.returners import Returner
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.crdt.schema import RETIRED_OBJECT, retired_field
from vexil.node.authoring import (
    change_set,
    create_key,
    kill_flag,
    put_flagd_part,
    put_project,
    revoke_key,
    unkill_flag,
)
from vexil.node.authoring.reissue import Park, Reissue, judge, parking, regardless, relevant
from vexil.node.authoring.single import change_members, delete_segment

FLAG = {
    **BOOLEAN,
    "variants": {"on": True, "off": False, "x": True},
    "tags": ["web"],
    "environments": {"prod": {"enabled": True, "rules": [{"id": "r", "if": True, "serve": "on"}]}},
}
SEGMENT = {"description": "them", "members": ["ann"], "rules": []}

Do = Callable[[Node], object]


def patches(patch: dict) -> Do:
    return lambda node: node.patch(patch)


def kills(node: Node) -> None:
    node.take(kill_flag(node, "f", "prod"))


def unkills(node: Node) -> None:
    node.take(unkill_flag(node, "f", "prod", if_match=node.etag()))


def deletes(node: Node) -> None:
    node.delete()


def recreates(node: Node) -> None:
    node.delete()
    node.create({**FLAG, "description": "another"})


def creates_g(node: Node) -> None:
    node.create({"key": "g", "type": "boolean", "description": node.incarnation * "!"})


def adds(member: str) -> Do:
    return lambda node: node.take(change_members(node, "s", {"add": [member]}))


def removes(member: str) -> Do:
    return lambda node: node.take(change_members(node, "s", {"remove": [member]}))


def segments(node: Node) -> None:
    node.put_segment(SEGMENT)


def of_the_cluster(shared: Do | None, away: Do, here: Do | None) -> Returner:
    returner = Returner(FLAG)
    if shared is not None:
        shared(returner.here)
        returner = _split(returner.here)
    away(returner.away)
    if here is not None:
        here(returner.here)
    return returner


def _split(here: Node) -> Returner:
    returner = Returner()
    returner.here = here
    returner.away.pull(here)
    returner.away.hlc = here.hlc
    returner._kept = len(returner.away.log)
    return returner


ISSUED = [
    ("an edit", None, patches({"description": "mine"}), None),
    ("an edit beside another field's", None, patches({"description": "mine"}), patches({"owner": "theirs"})),
    ("an edit that says what others said", None, patches({"owner": "a"}), patches({"owner": "a"})),
    (
        "a rule",
        None,
        patches({"environments": {"prod": {"rules": [{"id": "r", "if": False, "serve": "on"}]}}}),
        None,
    ),
    ("a tag", None, patches({"tags": ["web", "new"]}), patches({"tags": ["web", "theirs"]})),
    ("a tag taken away", None, patches({"tags": []}), patches({"owner": "theirs"})),
    ("a create", None, creates_g, patches({"owner": "theirs"})),
    ("a delete", None, deletes, None),
    ("a delete of what is deleted", None, deletes, deletes),
    ("a delete of what was made anew", None, deletes, recreates),
    ("a kill", None, kills, patches({"owner": "theirs"})),
    ("a kill that others have taken back", kills, kills, unkills),
    ("a kill of a flag that was made anew", None, kills, recreates),
    ("an un-kill", kills, unkills, None),
    ("a member", segments, adds("bob"), adds("cid")),
    ("a member taken away", segments, removes("ann"), adds("cid")),
]
PARKED = [
    ("an edit of the same field", "changed", None, patches({"owner": "mine"}), patches({"owner": "theirs"})),
    ("an edit of a deleted flag", "gone", None, patches({"owner": "mine"}), deletes),
    ("an edit of a flag made anew", "gone", None, patches({"owner": "mine"}), recreates),
    ("a create of what is there", "exists", None, creates_g, creates_g),
    ("a delete of what was edited", "changed", None, deletes, patches({"owner": "theirs"})),
    ("an un-kill of another kill", "changed", kills, unkills, kills),
    (
        "a rule of the same id",
        "changed",
        None,
        patches({"environments": {"prod": {"rules": [{"id": "r", "if": False, "serve": "on"}]}}}),
        patches({"environments": {"prod": {"rules": [{"id": "r", "if": 1, "serve": "on"}]}}}),
    ),
    ("a kill of a deleted flag", "flag.not_found", None, kills, deletes),
    (
        "a default whose variant is gone",
        "flag.invalid",
        None,
        patches({"environments": {"prod": {"default": "x"}}}),
        patches({"variants": {"x": None}}),
    ),
    (
        "a member of a deleted segment",
        "gone",
        segments,
        adds("bob"),
        lambda n: n.take(delete_segment(n, "s")),
    ),
]


@pytest.mark.parametrize(
    ("shared", "away", "here"), [case[1:] for case in ISSUED], ids=[c[0] for c in ISSUED]
)
def test_what_nobody_has_touched_since_is_issued_again(shared: Do | None, away: Do, here: Do | None) -> None:
    verdict = of_the_cluster(shared, away, here).judged()
    assert isinstance(verdict, Reissue), verdict


@pytest.mark.parametrize(
    ("reason", "shared", "away", "here"), [case[1:] for case in PARKED], ids=[c[0] for c in PARKED]
)
def test_what_somebody_has_touched_since_is_parked(
    reason: str, shared: Do | None, away: Do, here: Do | None
) -> None:
    assert of_the_cluster(shared, away, here).judged() == Park(reason)


def test_a_tag_that_was_taken_away_meanwhile_is_not_added_again() -> None:
    returner = of_the_cluster(patches({"tags": []}), patches({"tags": ["web"]}), None)
    generation = returner.here.replica.cells("flag/f")
    [at] = [g for g in generation if g != NO_GENERATION]
    returner.here.write(CellWrite("flag/f", at, "tag/web", TOMBSTONE))
    assert returner.judged() == Park("changed")


def test_an_edit_is_made_on_top_of_what_is_there() -> None:
    returner = of_the_cluster(None, patches({"description": "mine"}), patches({"owner": "theirs"})).back()
    flag = returner.here.flag()
    assert (flag["description"], flag["owner"], returner.here.conflicts()) == ("mine", "theirs", [])


def test_edits_follow_the_create_that_they_were_made_on() -> None:
    returner = Returner()
    away = returner.away
    away.create({**FLAG, "key": "g"})
    away.patch({"description": "better"}, key="g")
    away.take(kill_flag(away, "g", "prod"))
    away.patch({"description": "best", "variants": {"x": None}}, key="g")
    flag = returner.back().here.flag("g")
    assert returner.reasons == []
    assert (flag["description"], flag["environments"]["prod"]["kill"], "x" in flag["variants"]) == (
        "best",
        True,
        False,
    )


def test_a_flag_that_was_made_and_deleted_stays_deleted() -> None:
    returner = Returner()
    returner.away.create({**FLAG, "key": "g"})
    returner.away.delete("g")
    returner.back()
    assert (returner.here.has("g"), returner.reasons) == (False, [])


def test_a_delete_of_a_flag_whose_create_is_parked_is_parked_too() -> None:
    returner = of_the_cluster(None, creates_g, creates_g)
    returner.away.delete("g")
    returner.back()
    assert returner.here.has("g")
    assert returner.reasons == ["exists", "gone"]


def test_a_flag_that_was_deleted_and_made_anew_is_made_anew() -> None:
    returner = Returner(FLAG)
    returner.away.delete()
    returner.away.create({**FLAG, "description": "second"})
    returner.back()
    assert (returner.here.flag()["description"], returner.reasons) == ("second", [])


def test_a_flag_made_anew_is_newer_than_all_that_were_deleted_meanwhile() -> None:
    returner = Returner(FLAG)
    returner.away.delete()
    returner.away.create({**FLAG, "description": "second"})
    recreates(returner.here)
    deletes(returner.here)
    returner.back()
    assert returner.here.flag()["description"] == "second"


def test_a_write_of_somebody_else_on_top_of_ours_parks_what_came_after() -> None:
    returner = Returner(FLAG)
    returner.away.patch({"owner": "a"})
    returner.away.patch({"owner": "b"})
    first, second = returner.old
    verdict = judge(returner.here, returner.as_old(first))
    assert isinstance(verdict, Reissue)
    made = returner.here.take(verdict.intent)
    assert made is not None
    returner.issued.note(first.dot, made.dot)
    assert isinstance(judge(returner.here, returner.as_old(second)), Reissue)
    other = Node(3)
    other.pull(returner.here)
    other.patch({"owner": "theirs"})
    returner.here.pull(other)
    assert judge(returner.here, returner.as_old(second)) == Park("changed")


def test_one_stale_cell_parks_the_whole_change_object_by_object() -> None:
    returner = Returner(FLAG, {"key": "g", "type": "boolean"})
    operations = [
        {"op": "patch", "flag": "f", "patch": {"owner": "mine"}},
        {"op": "patch", "flag": "g", "patch": {"owner": "mine"}},
    ]
    away, here = returner.away, returner.here
    away.take(change_set(away, {"operations": operations}, new_id=away.new_id).intent)
    here.patch({"owner": "theirs"}, key="g")
    returner.back()
    assert returner.reasons == ["changed"]
    assert [(r.kind, r.object, r.field) for r in here.conflicts()] == [
        ("returned", "flag/f", "owner"),
        ("returned", "flag/g", "owner"),
    ]
    assert (here.flag("f")["owner"], here.flag("g")["owner"]) == ("", "theirs")


def test_a_kill_in_a_parked_change_is_done_all_the_same() -> None:
    returner = Returner(FLAG, {"key": "g", "type": "boolean"})
    operations = [
        {"op": "kill", "flag": "f", "environment": "prod"},
        {"op": "patch", "flag": "g", "patch": {"owner": "mine"}},
    ]
    away, here = returner.away, returner.here
    away.take(change_set(away, {"operations": operations}, new_id=away.new_id).intent)
    here.patch({"owner": "theirs"}, key="g")
    returner.back()
    assert returner.reasons == ["changed"]
    assert here.flag()["environments"]["prod"]["kill"] is True


def test_a_kill_stays_when_its_own_un_kill_is_parked() -> None:
    returner = Returner(FLAG)
    kills(returner.away)
    kills(returner.here)
    unkills(returner.away)
    returner.back()
    assert returner.reasons == ["changed"]
    assert returner.here.flag()["environments"]["prod"]["kill"] is True


def test_a_delete_is_parked_when_somebody_had_edited_what_our_own_edit_is_on_top_of() -> None:
    returner = Returner(FLAG)
    returner.away.patch({"owner": "mine"})
    returner.away.delete()
    returner.here.patch({"description": "theirs"})
    returner.back()
    assert (returner.reasons, returner.here.flag()["description"]) == (["changed"], "theirs")


def test_a_kill_of_another_origin_is_left_to_a_person() -> None:
    returner = Returner(FLAG)
    kills(returner.away)
    [change] = returner.old
    assert regardless(returner.here, returner.as_old(change, own=False)) == []


def test_what_was_made_of_the_flagd_part_is_judged_entry_by_entry() -> None:
    returner = Returner()
    away, here = returner.away, returner.here
    away.take(put_flagd_part(away, "prod", {"metadata": {"a": 1}}))
    away.take(put_flagd_part(away, "prod", {"metadata": {"a": 1, "b": 2}}))
    here.take(put_flagd_part(here, "prod", {"metadata": {"b": 3}}))
    returner.back()
    assert returner.reasons == ["changed"]
    [record] = here.conflicts()
    assert (record.object, record.field) == ("flagd/prod", "metadata/b")


def test_projects_and_keys_are_made_again() -> None:
    returner = Returner()
    away, here = returner.away, returner.here
    away.take(put_project(away, "shop", {"environments": ["dev"]}))
    away.take(create_key(away, "k1", {"role": "owner"}))
    here.take(put_project(here, "shop", {"environments": ["prod"]}))
    returner.back()
    assert returner.reasons == []
    assert set(here.replica.cells("project/shop")[NO_GENERATION]) == {
        "exists",
        "bucketing",
        "environment/dev",
        "environment/prod",
    } - {"bucketing"}
    assert "record" in here.replica.cells("key/k1")[NO_GENERATION]


@pytest.mark.parametrize("own", [True, False])
def test_a_revocation_is_for_good_whoever_has_written_it(own: bool) -> None:
    returner = Returner()
    returner.here.take(create_key(returner.here, "k1", {"role": "owner"}))
    returner = _split(returner.here)
    returner.away.take(revoke_key(returner.away, "k1"))
    [change] = returner.old
    [write] = regardless(returner.here, returner.as_old(change, own=own))
    assert (write.object, write.field) == ("key/k1", "revoked")


def test_a_revocation_of_a_key_that_is_not_known_here_is_made_all_the_same() -> None:
    returner = Returner()
    returner.away.write(CellWrite("key/k1", NO_GENERATION, "revoked", True))
    verdict = returner.judged()
    assert isinstance(verdict, Reissue)
    assert [write.field for write in verdict.intent.writes] == ["revoked"]


def test_what_the_node_said_of_its_own_membership_is_over() -> None:
    returner = Returner()
    returner.away.write(
        CellWrite("member/us-1", NO_GENERATION, "record", {"region": "us"}),
        CellWrite("member/us-1", NO_GENERATION, "current", 7),
        CellWrite("retired/incarnation", NO_GENERATION, retired_field(7), 3),
        CellWrite("member/us-2", NO_GENERATION, "record", {"region": "us"}),
    )
    [change] = returner.old
    change.operations = tuple(
        o._replace(object=RETIRED_OBJECT) if o.object.startswith("retired/") else o for o in change.operations
    )
    verdict = returner.judged()
    assert isinstance(verdict, Reissue)
    assert list(verdict.intent.writes) == []


def test_an_eviction_of_another_member_is_left_to_a_person() -> None:
    returner = Returner()
    returner.away.write(CellWrite("member/eu-1", NO_GENERATION, "evicted/00000000000000aa", {"by": "ada"}))
    assert returner.judged() == Park("membership")
    [change] = returner.old
    assert relevant(returner.as_old(change, own=False)) == {}


def test_an_object_of_a_newer_version_is_parked() -> None:
    returner = Returner()
    returner.away.write(CellWrite("schedule/x", (9, 9), "when", 3))
    assert returner.judged() == Park("unknown")


def test_a_value_that_cannot_be_read_is_parked() -> None:
    returner = Returner(FLAG)
    returner.away.patch({"owner": "mine"})
    [change] = returner.old
    junk = [o._replace(payload=b"\xc1") if o.field == "owner" else o for o in change.operations]
    change.operations = tuple(junk)
    assert judge(returner.here, returner.as_old(change)) == Park("unreadable")


def test_what_is_too_much_for_one_change_is_parked_in_several() -> None:
    returner = Returner()
    for number in range(3):
        returner.away.create({"key": f"g{number}", "type": "string", "variants": {"big": 60_000 * "x"}})
    first, second, third = returner.old
    # An old change of another version may be larger than any of ours: as if it had been twenty of these.
    first.operations = tuple(
        o._replace(object=f"flag/h{n}") for n in range(20) for o in (*first.operations, *second.operations)
    )[:80]
    first.operations = tuple({(o.object, o.generation, o.field): o for o in first.operations}.values())
    pages = parking(returner.as_old(first), reason="changed", place=None)
    assert len(pages) > 1
    assert pages == parking(returner.as_old(first), reason="changed", place=None)
    written = [write.field for page in pages for write in page]
    assert sorted(written) == sorted({f"change/{o.object}" for o in first.operations})
    assert third.seq == 3
