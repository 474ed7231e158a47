"""Limits of a request that no other test is about: what is at its limit is taken, one more is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, Node, fields, node_with
from vexil.crdt.system_state import read_project
from vexil.node.authoring import Intent, change_members, create_key, flag_checks, put_project, settings
from vexil.node.authoring.if_match import parse_if_match
from vexil.node.authoring.json_data import MISTAKES_MAX, Mistakes
from vexil.node.authoring.limits import (
    ENVIRONMENTS_MAX,
    IF_MATCH_BYTES_MAX,
    KEY_RECORD_BYTES_MAX,
    MEMBER_BYTES_MAX,
    NAME_BYTES_MAX,
    TEXT_BYTES_MAX,
)
from vexil.node.errors import Invalid, LimitExceeded, Malformed


def refused_by(edit: Callable[[], object]) -> str:
    with pytest.raises(LimitExceeded) as caught:
        edit()
    assert caught.value.status == 413
    return caught.value.code


# -- environments


def put_environments(node: Node, first: int, last: int) -> Intent:
    names = [f"e{n}" for n in range(first, last)]
    intent = put_project(node, "shop", {"environments": names})
    node.take(intent)
    return intent


def environments(node: Node) -> int:
    return len(read_project(node.replica.cells("project/shop")).environments)


def test_a_project_has_as_many_environments_as_the_limit_and_not_one_more() -> None:
    node = Node()
    put_environments(node, 0, ENVIRONMENTS_MAX)
    assert environments(node) == ENVIRONMENTS_MAX
    assert refused_by(lambda: put_environments(node, 0, ENVIRONMENTS_MAX + 1)) == "limit.environments"
    assert environments(node) == ENVIRONMENTS_MAX


def test_environments_that_merging_has_made_too_many_can_be_sent_back_and_made_fewer() -> None:
    near, far = Node(1), Node(2)
    put_environments(near, 0, 80)
    put_environments(far, 60, 140)
    near.pull(far)
    assert environments(near) == 140 > ENVIRONMENTS_MAX
    assert fields(put_environments(near, 0, 140)) == []
    assert refused_by(lambda: put_environments(near, 0, 141)) == "limit.environments"
    put_environments(near, 0, 120)
    assert environments(near) == 120
    assert refused_by(lambda: put_environments(near, 0, 121)) == "limit.environments"


# -- prerequisites


def test_a_search_for_a_circle_of_prerequisites_visits_so_many_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    node = node_with({**BOOLEAN, "key": "f0"})
    for n in range(1, 5):
        required = [{"flag": f"f{n - 1}", "variant": "on"}]
        node.create({**BOOLEAN, "key": f"f{n}", "prerequisites": required})
    monkeypatch.setattr(flag_checks, "PREREQUISITE_WALK_MAX", 3)
    within = [{"flag": "f2", "variant": "on"}]  # f2, f1, f0
    assert node.create({**BOOLEAN, "key": "near", "prerequisites": within}).writes
    beyond = [{"flag": "f3", "variant": "on"}]
    create = {**BOOLEAN, "key": "far", "prerequisites": beyond}
    assert refused_by(lambda: node.create(create)) == "limit.prerequisite_walk"
    assert not node.has("far")
    # What has not touched its prerequisites is not asked.
    assert node.patch({"description": "x"}, key="f4").writes


# -- bytes


def test_a_flagd_part_has_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def part(length: int) -> dict[str, object]:
        return {"evaluators": {}, "metadata": {"note": "x" * length}}

    size = len(msgpack.packb([{}, {"note": "x" * 100}]))
    monkeypatch.setattr(settings, "FLAGD_PART_BYTES_MAX", size)
    node = Node()
    node.take(settings.put_flagd_part(node, "prod", part(100)))
    over = part(101)
    assert refused_by(lambda: settings.put_flagd_part(node, "prod", over)) == "limit.flagd_part_bytes"
    assert settings.put_flagd_part(node, "prod", part(100)).writes == []


def test_a_key_record_has_so_many_bytes() -> None:
    def record(length: int) -> dict[str, object]:
        return {"name": "x" * length}

    around = len(msgpack.packb(record(1_000))) - 1_000
    assert create_key(Node(), "k", record(KEY_RECORD_BYTES_MAX - around)).writes
    over = record(KEY_RECORD_BYTES_MAX - around + 1)
    assert refused_by(lambda: create_key(Node(), "k", over)) == "limit.key_record_bytes"


def test_a_condition_has_so_many_bytes() -> None:
    etag = node_with(BOOLEAN).etag()
    count = (IF_MATCH_BYTES_MAX + 1) // (len(etag) + 1)
    header = ",".join([etag] * count)
    assert len(parse_if_match(header.ljust(IF_MATCH_BYTES_MAX))) == count
    with pytest.raises(Malformed, match="too long"):
        parse_if_match(header.ljust(IF_MATCH_BYTES_MAX + 1))


def description(text: str) -> Intent:
    return Node().create({**BOOLEAN, "description": text})


def tag(text: str) -> Intent:
    return Node().create({**BOOLEAN, "tags": [text]})


def variant(text: str) -> Intent:
    return Node().create({**BOOLEAN, "variants": {text: True}})


def member(text: str) -> Intent:
    return change_members(segment(), "s", {"add": [text]})


def segment() -> Node:
    node = Node()
    node.put_segment({"members": []})
    return node


@pytest.mark.parametrize(
    ("write", "bytes_max"),
    [
        (description, TEXT_BYTES_MAX),
        (tag, NAME_BYTES_MAX),
        (variant, NAME_BYTES_MAX),
        (member, MEMBER_BYTES_MAX),
    ],
)
def test_a_text_is_as_long_as_its_limit_in_bytes(write: Callable[[str], Intent], bytes_max: int) -> None:
    assert write("é" * (bytes_max // 2)).writes
    with pytest.raises(Invalid):
        write("é" * (bytes_max // 2) + "x")


def test_a_body_is_not_searched_for_mistakes_without_end() -> None:
    mistakes = Mistakes("flag")
    for n in range(MISTAKES_MAX - 1):
        mistakes.add(f"/{n}", "is wrong")
    with pytest.raises(Invalid):
        mistakes.add("/last", "is wrong")
