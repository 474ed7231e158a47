"""What a flag is after its authors, who had not seen each other, meet. All through the real replica."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tests.unit.crdt.authors import ENVIRONMENTS, Author, meet
from vexil.crdt.change import Dot
from vexil.crdt.materialise import describe, document, next_epoch, read_flag
from vexil.crdt.payload import TOMBSTONE


def two_authors(**values: Any) -> tuple[Author, Author, Dot]:
    """Two nodes that both have flag f; the second one's clock is far ahead."""
    left, right = Author(1, now=1000), Author(2, now=9000)
    generation = left.create(env__prod__enabled=True, env__prod__default="on", **values)
    meet(left, right)
    return left, right, generation


def kinds(author: Author) -> list[str]:
    return [found.kind for found in author.shown().conflicts]


def test_a_flag_is_described_as_the_api_shows_it() -> None:
    author = Author(1)
    author.create(
        "checkout.new-flow",
        owner="payments",
        tag__web=True,
        env__prod__enabled=True,
        env__prod__default="off",
        env__prod__rule__r2={
            "by": {"var": "targetingKey"},
            "split": [["on", 10], ["off", 90]],
            "if": True,
        },
        env__prod__rule__r1={"if": {"==": [1, 1]}, "serve": "on", "description": "staff"},
        env__prod__order=["r1", "r2"],
        prerequisite__checkout="on",
    )
    described = describe(author.shown("checkout.new-flow"))
    assert described == {
        "key": "checkout.new-flow",
        "type": "boolean",
        "description": "",
        "owner": "payments",
        "tags": ["web"],
        "client_visible": False,
        "archived": False,
        "variants": {"off": False, "on": True},
        "environments": {
            "dev": {
                "enabled": False,
                "kill": False,
                "default": None,
                "off_variant": None,
                "rules": [],
                "targeting": None,
                "metadata": {},
            },
            "prod": {
                "enabled": True,
                "kill": False,
                "default": "off",
                "off_variant": None,
                "rules": [
                    {"id": "r1", "description": "staff", "if": {"==": [1, 1]}, "serve": "on"},
                    {
                        "id": "r2",
                        "if": True,
                        "split": [["on", 10], ["off", 90]],
                        "by": {"var": "targetingKey"},
                    },
                ],
                "targeting": None,
                "metadata": {},
            },
        },
        "prerequisites": [{"flag": "checkout", "variant": "on"}],
        "needs_review": False,
        "conflicts": [],
    }
    assert list(described)[:7] == [
        "key",
        "type",
        "description",
        "owner",
        "tags",
        "client_visible",
        "archived",
    ]
    assert document(author.shown("checkout.new-flow"), "prod") == {
        "type": "boolean",
        "enabled": True,
        "off_variant": None,
        "default": "off",
        "variants": {"off": False, "on": True},
        "rules": [
            {"id": "r1", "if": {"==": [1, 1]}, "serve": "on"},
            {"id": "r2", "if": True, "split": [["on", 10], ["off", 90]], "by": {"var": "targetingKey"}},
        ],
        "targeting": None,
        "prerequisites": [{"flag": "checkout", "variant": "on"}],
        "metadata": {},
        "client_visible": False,
    }


def test_an_edit_that_had_not_seen_a_delete_brings_the_whole_flag_back_for_review() -> None:
    left, right, generation = two_authors(tag__web=True)
    right.delete()
    left.edit("f", generation, {"description": "still needed"})
    assert right.flag() is None
    meet(left, right)
    for author in (left, right):
        state = author.shown()
        assert state.needs_review
        assert state.description == "still needed"
        assert state.tags == ("web",)
        assert document(state, "prod")["default"] == "on"
        assert kinds(author) == ["needs-review"]
        assert describe(state)["conflicts"][0]["kind"] == "needs-review"
    left.edit("f", generation, {})
    assert not left.shown().needs_review
    assert kinds(left) == []


def test_a_delete_that_had_seen_everything_deletes() -> None:
    left, right, _ = two_authors()
    left.delete()
    meet(left, right)
    assert left.flag() is right.flag() is None


def test_a_re_created_flag_has_nothing_of_the_old_one() -> None:
    left, _, _ = two_authors(tag__old=True, env__prod__off_variant="off")
    left.delete()
    left.create()
    state = left.shown()
    assert state.tags == ()
    assert not state.environments["prod"].enabled
    assert state.epoch == 2


def test_a_re_create_beats_the_revived_old_flag_whatever_the_clocks_say() -> None:
    left, right, generation = two_authors()
    left.delete()
    new = left.create(description="new")
    right.edit("f", generation, {"description": "old, edited with a clock that is far ahead"})
    meet(left, right)
    for author in (left, right):
        state = author.shown()
        assert state.generation == new
        assert state.description == "new"
        assert set(state.generations) == {generation, new}
        assert kinds(author) == ["concurrent-create"]


def test_of_concurrent_creates_the_later_one_is_shown_and_the_other_reported() -> None:
    left, right = Author(1, now=1000), Author(2, now=2000)
    left.create(description="left")
    shown = right.create(description="right")
    meet(left, right)
    for author in (left, right):
        state = author.shown()
        assert state.generation == shown
        (conflict,) = state.conflicts
        assert conflict.kind == "concurrent-create"
        assert conflict.winner == f"{2:016x}:1"
        contents: list[Any] = [s.value for s in conflict.siblings]
        assert [content["description"] for content in contents] == ["right", "left"]
        assert [s.author for s in conflict.siblings] == ["author-2", "author-1"]


def test_concurrent_creates_of_the_same_flag_are_no_conflict() -> None:
    left, right = Author(1, now=1000), Author(2, now=2000)
    left.create(description="same")
    right.create(description="same")
    meet(left, right)
    assert kinds(left) == kinds(right) == []
    assert len(left.shown().generations) == 2


def test_a_concurrent_create_of_another_type_is_a_conflict() -> None:
    left, right = Author(1, now=1000), Author(2, now=2000)
    left.create(kind="integer", variant__a=1)
    right.create(kind="float", variant__a=1)
    meet(left, right)
    assert kinds(left) == kinds(right) == ["concurrent-create"]


def test_epochs_grow_although_the_author_replaced_its_own_existence_lane() -> None:
    author = Author(1)
    for expected in (1, 2, 3, 4):
        assert next_epoch(author.replica.cells("flag/f")) == expected
        author.create()
        author.delete()


def test_the_last_writer_wins_a_field_and_the_loser_can_be_seen() -> None:
    left, right, generation = two_authors()
    lost = left.edit("f", generation, {"env/prod/default": "off"})
    won = right.edit("f", generation, {"env/prod/default": "on"})
    meet(left, right)
    for author in (left, right):
        state = author.shown()
        (conflict,) = state.conflicts
        assert conflict.kind == "lww"
        assert (conflict.object, conflict.environment, conflict.field) == (
            "flag/f",
            "prod",
            "env/prod/default",
        )
        assert conflict.winner == won.id
        assert [(s.change, s.value, s.author) for s in conflict.siblings] == [
            (won.id, "on", "author-2"),
            (lost.id, "off", "author-1"),
        ]
        assert describe(state)["conflicts"] == [
            {"id": conflict.id, "kind": "lww", "field": "env/prod/default", "environment": "prod"}
        ]
    left.edit("f", generation, {"env/prod/default": "on"})
    assert kinds(left) == []


def test_a_conflict_has_one_id_whatever_the_order_of_hearing() -> None:
    ids = set()
    for order in permutations(range(3)):
        first = Author(1, now=1)
        generation = first.create()
        authors = [first, Author(2, now=2), Author(3, now=3)]
        meet(*authors)
        for author in authors:
            author.edit("f", generation, {"owner": f"owner-{author.incarnation}"})
        reader = Author(9)
        for index in order:
            reader.hear(authors[index])
        for author in authors:
            reader.hear(author)
        assert kinds(reader) == ["lww"]
        ids.add(reader.shown().conflicts[0].id)
    assert len(ids) == 1


def test_another_sibling_makes_another_conflict() -> None:
    left, right, generation = two_authors()
    left.edit("f", generation, {"owner": "a"})
    right.edit("f", generation, {"owner": "b"})
    meet(left, right)
    before = left.shown().conflicts[0].id
    third = Author(3, now=50)
    third.hear(left)
    late = Author(4, now=60)
    for change in left.log[:1]:
        late._apply(change)
    late.edit("f", generation, {"owner": "c"})
    left.hear(late)
    assert left.shown().conflicts[0].id != before


def test_the_same_race_in_two_flags_has_two_ids() -> None:
    ids = set()
    left, right = Author(1), Author(2)
    for key in ("f", "g"):
        generation = left.create(key)
        meet(left, right)
        left.edit(key, generation, {"owner": "a"})
        right.edit(key, generation, {"owner": "b"})
        meet(left, right)
        ids |= {found.id for found in left.shown(key).conflicts}
    assert len(ids) == 2


def test_one_kill_switches_off_in_every_generation_until_someone_who_saw_it_takes_it_back() -> None:
    left, right, _ = two_authors()
    left.kill("f", "prod", killed=True)
    right.kill("f", "prod", killed=False)  # later, but it had not seen the kill
    meet(left, right)
    for author in (left, right):
        state = author.shown()
        assert state.environments["prod"].kill
        assert not state.environments["dev"].kill
        assert document(state, "prod")["enabled"] is False
        assert kinds(author) == ["off-wins"]
    right.delete()
    right.create(env__prod__enabled=True)
    assert document(right.shown(), "prod")["enabled"] is False
    right.kill("f", "prod", killed=False)
    assert document(right.shown(), "prod")["enabled"] is True
    assert kinds(right) == []


def test_a_kill_alone_makes_no_flag() -> None:
    author = Author(1)
    author.kill("f", "prod", killed=True)
    assert author.flag() is None
    author.create()
    assert author.shown().environments["prod"].kill


def test_a_variant_edited_beside_its_removal_stays_and_is_reported() -> None:
    left, right, generation = two_authors()
    right.edit("f", generation, {"variant/on": TOMBSTONE})
    left.edit("f", generation, {"variant/on": True})
    meet(left, right)
    assert left.shown().variants == {"off": False, "on": True}
    assert kinds(left) == kinds(right) == ["edit-remove"]
    removal = left.shown().conflicts[0].siblings[0]
    assert removal.removed
    assert removal.value is None


def test_an_environment_that_the_project_does_not_have_is_not_shown() -> None:
    author = Author(1)
    author.create(env__qa__enabled=True)
    state = author.shown()
    assert tuple(state.environments) == ENVIRONMENTS
    again = read_flag("f", author.replica.cells("flag/f"), ("qa",))
    assert again is not None
    assert again.environments["qa"].enabled


def rule(variant: str = "on") -> dict[str, object]:
    return {"if": True, "serve": variant}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["c", "a", "b"], "cab"),
        (["c"], "cab"),
        (["gone", "b", "b", 7, None, ["a"]], "bac"),
        ([], "abc"),
        ("cab", "abc"),
        ({"c": 1}, "abc"),
        (7, "abc"),
    ],
)
def test_rules_come_in_the_listed_order_and_then_by_id(order: object, expected: str) -> None:
    author = Author(1)
    author.create(
        env__prod__order=order,
        env__prod__rule__b=rule(),
        env__prod__rule__c=rule(),
        env__prod__rule__a=rule(),
    )
    assert "".join(found["id"] for found in document(author.shown(), "prod")["rules"]) == expected


def test_of_rules_and_targeting_that_met_the_later_written_serves() -> None:
    for targeting_is_later in (False, True):
        left, right, generation = two_authors()
        early: dict[str, Any] = {"env/prod/rule/r": rule()}
        late: dict[str, Any] = {"env/prod/targeting": {"if": [True, "on", "off"]}}
        if not targeting_is_later:
            early, late = late, early
        left.edit("f", generation, early)
        winner = right.edit("f", generation, late)
        meet(left, right)
        for author in (left, right):
            served = document(author.shown(), "prod")
            assert bool(served["targeting"]) is targeting_is_later
            assert bool(served["rules"]) is not targeting_is_later
            assert kinds(author) == ["rules-and-targeting"]
            assert author.shown().conflicts[0].winner == winner.id
            described = describe(author.shown())["environments"]["prod"]
            assert described["targeting"]
            assert described["rules"]
