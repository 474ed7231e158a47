"""Several operations in one change: they compose in order, and stand or fall together."""

from __future__ import annotations

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, Node, fields, node_with
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION
from vexil.node.authoring import ChangeSet, change_set, kill_flag
from vexil.node.errors import (
    ApiError,
    Exists,
    Invalid,
    LimitExceeded,
    NotFound,
    PreconditionRequired,
    Stale,
    VariantInUse,
)

RULE = {"if": True, "serve": "on"}


def change(node: Node, *operations: object) -> ChangeSet:
    done = change_set(node, {"message": "m", "operations": list(operations)}, new_id=node.new_id)
    cells = [(w.object, w.generation, w.field) for w in done.intent.writes]
    assert len(cells) == len(set(cells)), "at most one write per cell"
    node.take(done.intent)
    return done


def on_f(op: str, **members: object) -> dict:
    return {"op": op, "flag": "f", **members}


def in_prod(op: str, **members: object) -> dict:
    return on_f(op, environment="prod", **members)


def prod(node: Node) -> dict:
    return node.flag()["environments"]["prod"]


def test_every_operation_on_a_flag_does_what_it_says() -> None:
    node = Node()
    done = change(
        node,
        on_f("create", value={"type": "boolean"}),
        on_f("patch", patch={"environments": {"prod": {"default": "off"}}}),
        in_prod("put_rule", rule={"id": "a", **RULE}),
        in_prod("put_rule", rule={"id": "b", **RULE}),
        in_prod("put_rule", rule=RULE, before="b"),
        in_prod("put_rule", rule={"id": "c", **RULE}),
        in_prod("move_rule", id="c", before="a"),
        in_prod("remove_rule", id="b"),
        in_prod("remove_rule", id="never there"),
        on_f("add_tag", tag="web"),
        on_f("add_tag", tag="ios"),
        on_f("remove_tag", tag="web"),
        in_prod("kill"),
    )
    assert done.message == "m"
    assert done.results[0] == {"op": "create", "flag": "f"}
    assert done.results[4] == {"op": "put_rule", "flag": "f", "rule": "new1"}
    assert [rule["id"] for rule in prod(node)["rules"]] == ["c", "a", "new1"]
    assert (prod(node)["kill"], prod(node)["default"], node.flag()["tags"]) == (True, "off", ["ios"])
    assert {w.generation for w in done.intent.writes if not w.field.startswith("kill")} == {NEW_GENERATION}
    change(node, in_prod("move_rule", id="c"), in_prod("unkill", if_match=node.etag()))
    assert [rule["id"] for rule in prod(node)["rules"]] == ["a", "new1", "c"]
    assert prod(node)["kill"] is False
    change(node, on_f("delete"))
    assert not node.has()


def test_every_operation_on_a_segment_does_what_it_says() -> None:
    def on_s(op: str, **members: object) -> dict:
        return {"op": op, "segment": "s", **members}

    node = Node()
    change(
        node,
        on_s("create", value={"description": "beta", "members": ["a"]}),
        on_s("add_member", member="b"),
        on_s("remove_member", member="a"),
        on_s("remove_member", member="never there"),
        on_s("put_rule", rule={"id": "r2", "if": True}),
        on_s("put_rule", rule={"id": "r1", "if": False}, before="r2"),
        on_s("put_rule", rule={"id": "r0", "if": False}),
        on_s("move_rule", id="r0", before="r1"),
        on_s("remove_rule", id="r2"),
        on_s("patch", patch={"description": "beta users"}),
    )
    shown = node.segment()
    assert (shown["members"], shown["description"]) == (["b"], "beta users")
    assert [rule["id"] for rule in shown["rules"]] == ["r0", "r1"]
    change(node, on_s("delete"))
    with pytest.raises(NotFound):
        change(node, on_s("add_member", member="x"))


def test_the_later_operation_wins_and_each_cell_is_written_once() -> None:
    node = node_with(BOOLEAN)
    done = change(
        node,
        on_f("patch", patch={"description": "a", "owner": "o"}),
        on_f("patch", patch={"description": "b"}),
    )
    assert fields(done.intent) == ["description", "owner"]
    assert node.flag()["description"] == "b"


def test_what_is_taken_back_is_not_written() -> None:
    node = node_with(BOOLEAN)
    done = change(
        node,
        on_f("add_tag", tag="x"),
        on_f("patch", patch={"description": "a"}),
        on_f("remove_tag", tag="x"),
        on_f("patch", patch={"description": ""}),
    )
    assert done.intent.writes == []


def test_delete_and_create_make_another_flag() -> None:
    node = node_with({**BOOLEAN, "description": "old"})
    node.take(kill_flag(node, "f", "prod"))
    old = node.log[0].dot
    done = change(node, on_f("delete"), on_f("create", value={"type": "string", "variants": {"a": "A"}}))
    assert [(w.generation, w.value) for w in done.intent.writes if w.field == "exists"] == [
        (old, TOMBSTONE),
        (NEW_GENERATION, {"epoch": 2, "type": "string"}),
    ]
    shown = node.flag()
    assert (shown["type"], shown["description"], shown["variants"]) == ("string", "", {"a": "A"})
    assert shown["environments"]["prod"]["kill"] is False


def test_create_and_delete_leave_nothing() -> None:
    assert change(Node(), on_f("create", value=BOOLEAN), on_f("delete")).intent.writes == []


def test_operations_see_what_earlier_ones_did_to_other_flags() -> None:
    node = Node()
    requires = {"prerequisites": [{"flag": "base", "variant": "on"}]}
    create = {"op": "create", "flag": "base", "value": {"type": "boolean"}}
    with pytest.raises(Invalid):
        change(node, on_f("create", value={**BOOLEAN, **requires}), create)
    change(node, create, on_f("create", value={**BOOLEAN, **requires}))
    drop = {"op": "patch", "flag": "base", "patch": {"variants": {"on": None}}}
    with pytest.raises(VariantInUse):
        change(node, drop, on_f("patch", patch={"prerequisites": []}))
    with pytest.raises(Invalid):
        change(
            node,
            on_f("patch", patch={"prerequisites": []}),
            {"op": "patch", "flag": "base", "patch": {"prerequisites": [{"flag": "f", "variant": "on"}]}},
            on_f("patch", patch=requires),
        )
    change(node, on_f("patch", patch={"prerequisites": []}), drop)
    assert node.flag("base")["variants"] == {"off": False}
    back = {"op": "patch", "flag": "base", "patch": {"variants": {"on": True}}}
    with pytest.raises(VariantInUse):
        change(node, back, on_f("patch", patch=requires), drop)


def test_the_limit_of_flags_counts_what_the_change_itself_creates_and_deletes() -> None:
    def creates(*keys: str) -> list[object]:
        return [{"op": "create", "flag": key, "value": {"type": "boolean"}} for key in keys]

    def decide(*operations: object) -> ChangeSet:
        return change_set(node, {"operations": list(operations)}, new_id=node.new_id, flags_max=4)

    node = node_with(BOOLEAN, {**BOOLEAN, "key": "g"})
    assert len(decide(*creates("a", "b")).results) == 2
    with pytest.raises(LimitExceeded) as caught:
        decide(*creates("a", "b", "c"))
    assert caught.value.code == "limit.flags"
    assert caught.value.members["errors"][0]["path"] == "/operations/2"  # type: ignore[index]
    assert decide(on_f("delete"), *creates("a", "b", "c")).intent.writes
    assert decide(*creates("a", "b"), {"op": "delete", "flag": "a"}, *creates("c")).intent.writes
    assert decide(on_f("delete"), *creates("f", "a", "b")).intent.writes
    with pytest.raises(LimitExceeded):
        decide(on_f("delete"), *creates("f", "a", "b", "c"))


def test_a_flag_and_those_that_require_it_go_together_the_dependent_first() -> None:
    requires = {"prerequisites": [{"flag": "base", "variant": "on"}]}
    node = node_with({**BOOLEAN, "key": "base"}, {**BOOLEAN, **requires})
    base = {"op": "delete", "flag": "base"}
    error = refused(node, base, on_f("delete"))
    assert (error.code, error.members["used_by"]) == ("flag.in_use", ["f"])
    change(node, on_f("delete"), base)
    assert node.flag_keys() == []


def refused(node: Node, *operations: object) -> ApiError:
    before = node.replica.root
    with pytest.raises(ApiError) as caught:
        change(node, *operations)
    assert node.replica.root == before
    return caught.value


@pytest.mark.parametrize(
    ("operation", "code", "path"),
    [
        (on_f("create", value=BOOLEAN), "flag.exists", "/operations/1"),
        ({"op": "patch", "flag": "g", "patch": {}}, "flag.not_found", "/operations/1"),
        (on_f("patch", patch={"owner": 1}), "flag.invalid", "/operations/1/patch/owner"),
        (on_f("patch", patch=[]), "flag.invalid", "/operations/1/patch"),
        ({"op": "create", "flag": "g", "value": {"type": "x"}}, "flag.invalid", "/operations/1/value/type"),
        (
            {"op": "create", "flag": "g", "value": {**BOOLEAN, "key": "h"}},
            "flag.invalid",
            "/operations/1/value/key",
        ),
        (in_prod("put_rule", rule={"if": True}), "flag.invalid", "/operations/1/rule"),
        (
            in_prod("put_rule", rule={**RULE, "serve": "x"}),
            "flag.invalid",
            "/operations/1/environments/prod/rules/new1",
        ),
        (in_prod("put_rule", rule=RULE, before="gone"), "flag.invalid", "/operations/1/before"),
        (in_prod("put_rule", rule=RULE, before=1), "flag.invalid", "/operations/1/before"),
        (in_prod("move_rule", id="gone", before=None), "flag.invalid", "/operations/1/id"),
        (in_prod("remove_rule", id=7), "flag.invalid", "/operations/1/id"),
        (on_f("kill", environment="qa"), "flag.invalid", "/operations/1/environment"),
        (on_f("put_rule", environment=["prod"], rule=RULE), "flag.invalid", "/operations/1/environment"),
        (on_f("add_tag", tag=1), "flag.invalid", "/operations/1/tag"),
        (in_prod("unkill"), "precondition.required", "/operations/1"),
        (on_f("delete", if_match=7), "request.malformed", "/operations/1"),
        (on_f("delete", if_match="x"), "request.malformed", "/operations/1"),
        (on_f("patch", patch={"variants": {"on": None, "off": None}}), "variant.in_use", "/operations/1"),
    ],
)
def test_an_operation_that_cannot_be_done_refuses_all_and_is_named(
    operation: dict, code: str, path: str
) -> None:
    node = node_with({**BOOLEAN, "environments": {"dev": {"default": "on"}}})
    error = refused(node, on_f("patch", patch={"description": "never"}), operation)
    assert error.code == code
    assert [e["path"] for e in error.members["errors"]] == [path]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        (None, ""),
        ("kill", ""),
        ({}, ""),
        ({"op": "delete"}, ""),
        ({"op": "delete", "flag": "f", "segment": "s"}, ""),
        ({"op": "delete", "flag": 7}, "/flag"),
        ({"op": "delete", "flag": ""}, "/flag"),
        ({"op": "destroy", "flag": "f"}, "/op"),
        ({"op": ["delete"], "flag": "f"}, "/op"),
        ({"flag": "f"}, "/op"),
        ({"op": "add_member", "flag": "f", "member": "x"}, "/op"),
        ({"op": "kill", "segment": "s", "environment": "prod"}, "/op"),
        ({"op": "kill", "flag": "f"}, "/environment"),
        ({"op": "patch", "flag": "f"}, "/patch"),
        ({"op": "delete", "flag": "f", "really": True}, "/really"),
        ({"op": "create", "flag": "f", "value": {}, "if_match": "*"}, "/if_match"),
    ],
)
def test_an_operation_that_is_none_is_refused(operation: object, path: str) -> None:
    error = refused(node_with(BOOLEAN), operation)
    assert (error.status, error.code) == (422, "change.invalid")
    assert [e["path"] for e in error.members["errors"]] == [f"/operations/0{path}"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body", [None, [], {}, {"operations": {}}, {"operations": [], "message": 1}, {"operations": [], "x": 1}]
)
def test_a_body_that_is_no_change_is_refused(body: object) -> None:
    with pytest.raises(Invalid):
        change_set(Node(), body, new_id=lambda: "x")


def test_a_condition_is_judged_for_its_own_operation() -> None:
    node = node_with(BOOLEAN)
    etag = node.etag()
    node.patch({"owner": "theirs"})
    change(node, on_f("patch", patch={"owner": "mine"}), on_f("add_tag", tag="x", if_match=etag))
    error = refused(node, on_f("add_tag", tag="y"), on_f("patch", patch={"owner": "again"}, if_match=etag))
    assert isinstance(error, Stale)
    assert error.members["current"] == node.flag()
    assert isinstance(
        refused(
            node, on_f("delete"), on_f("create", value=BOOLEAN), on_f("patch", patch={}, if_match=node.etag())
        ),
        Stale,
    )


def test_a_kill_is_only_taken_back_by_the_operation_that_has_seen_it() -> None:
    node = node_with(BOOLEAN)
    node.take(kill_flag(node, "f", "prod"))
    patch = on_f("patch", patch={"environments": {"prod": {"kill": False}}})
    assert isinstance(
        refused(node, on_f("add_tag", tag="x", if_match=node.etag()), patch), PreconditionRequired
    )
    change(node, {**patch, "if_match": node.etag()})
    assert prod(node)["kill"] is False


def test_a_flag_is_created_once_in_a_change() -> None:
    assert isinstance(refused(Node(), on_f("create", value=BOOLEAN), on_f("create", value=BOOLEAN)), Exists)


def test_a_change_has_limits() -> None:
    node = node_with(BOOLEAN)
    tags = [on_f("add_tag", tag=f"t{i}") for i in range(501)]
    error = refused(node, *tags)
    assert (error.status, error.code) == (413, "limit.operations")
    assert len(change(node, *tags[:500]).intent.writes) == 501
    big = [
        {"op": "create", "flag": f"b{i}", "value": {"type": "string", "variants": {"a": "x" * 60_000}}}
        for i in range(20)
    ]
    assert refused(node, *big).code == "limit.change_bytes"
    wide = {"type": "boolean", "variants": {f"v{i}": True for i in range(100)}}
    many = [{"op": "create", "flag": f"w{i}", "value": wide} for i in range(50)]
    assert isinstance(refused(node, *many), LimitExceeded)
    assert refused(node, *many).code == "limit.change_cells"


def test_what_a_decision_leaned_on_is_told() -> None:
    node = node_with({**BOOLEAN, "key": "base"}, BOOLEAN)
    done = change(node, on_f("patch", patch={"prerequisites": [{"flag": "base", "variant": "on"}]}))
    assert done.intent.reads == {"flag/f", "flag/base"}
