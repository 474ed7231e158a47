"""Creating, patching and deleting one flag: what is written, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, Node, fields, node_with, pair
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.replica import NEW_GENERATION, CellWrite
from vexil.node.authoring import Intent, kill_flag, unkill_flag
from vexil.node.authoring.single import create_flag
from vexil.node.errors import (
    ApiError,
    Exists,
    InUse,
    Invalid,
    LimitExceeded,
    NotFound,
    PreconditionRequired,
    VariantInUse,
)

STAFF = {"if": {"ends_with": [{"var": "email"}, "@example.com"]}, "serve": "on"}
FULL = {
    "key": "f",
    "type": "boolean",
    "description": "the new one",
    "owner": "payments",
    "tags": ["web", "ios"],
    "client_visible": True,
    "archived": False,
    "variants": {"on": True, "off": False},
    "environments": {
        "prod": {
            "enabled": True,
            "kill": False,
            "default": "off",
            "off_variant": "off",
            "rules": [
                {"id": "r2", "description": "staff", **STAFF},
                {"id": "r1", "if": True, "split": [["on", 10], ["off", 90]], "by": {"var": "company"}},
            ],
            "targeting": None,
            "metadata": {"team": "a", "n": 1},
        }
    },
    "prerequisites": [],
}


def paths(error: ApiError) -> list[str]:
    return sorted(e["path"] for e in error.members["errors"])  # type: ignore[attr-defined]


# -- create


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


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (None, [""]),
        ([], [""]),
        ("f", [""]),
        ({}, ["/key", "/type"]),
        ({"key": 7, "type": "boolean"}, ["/key"]),
        ({"key": "", "type": "boolean"}, ["/key"]),
        ({"key": "_f", "type": "boolean"}, ["/key"]),
        ({"key": "a/b", "type": "boolean"}, ["/key"]),
        ({"key": "f", "type": "bool"}, ["/type"]),
        ({"key": "f", "type": ["boolean"]}, ["/type"]),
        ({**BOOLEAN, "sparkles": 1}, ["/sparkles"]),
        ({**BOOLEAN, "a/b~c": 1}, ["/a~1b~0c"]),
        ({**BOOLEAN, "description": 1}, ["/description"]),
        ({**BOOLEAN, "owner": []}, ["/owner"]),
        ({**BOOLEAN, "owner": "x" * 5000}, ["/owner"]),
        ({**BOOLEAN, "archived": 0}, ["/archived"]),
        ({**BOOLEAN, "client_visible": "yes"}, ["/client_visible"]),
        ({**BOOLEAN, "tags": "web"}, ["/tags"]),
        ({**BOOLEAN, "tags": ["web", 1, ""]}, ["/tags/1", "/tags/2"]),
        ({**BOOLEAN, "variants": []}, ["/variants"]),
        ({**BOOLEAN, "variants": {"on": "true"}}, ["/variants/on"]),
        ({**BOOLEAN, "variants": {"on": 1}}, ["/variants/on"]),
        ({**BOOLEAN, "variants": {"": True}}, ["/variants/"]),
        ({"key": "f", "type": "integer", "variants": {"a": 1.5, "b": True}}, ["/variants/a", "/variants/b"]),
        ({"key": "f", "type": "integer", "variants": {"a": 1 << 64}}, ["/variants/a"]),
        ({"key": "f", "type": "float", "variants": {"a": float("nan")}}, ["/variants/a"]),
        ({"key": "f", "type": "string", "variants": {"a": "\ud800"}}, ["/variants/a"]),
        ({"key": "f", "type": "string", "variants": {"\ud800": "a"}}, ["/variants"]),
        ({"key": "f", "type": "object", "variants": {"a": [1]}}, ["/variants/a"]),
        ({**BOOLEAN, "prerequisites": {}}, ["/prerequisites"]),
        (
            {**BOOLEAN, "prerequisites": ["x"]},
            ["/prerequisites/0"],
        ),
        ({**BOOLEAN, "prerequisites": [{"flag": "gone", "variant": "on"}]}, ["/prerequisites/gone"]),
        ({**BOOLEAN, "prerequisites": [{"flag": "f", "variant": "on"}]}, ["/prerequisites/f"]),
        ({**BOOLEAN, "environments": []}, ["/environments"]),
        ({**BOOLEAN, "environments": {"qa": {}}}, ["/environments/qa"]),
        ({**BOOLEAN, "environments": {"qa": None}}, ["/environments/qa"]),
        ({**BOOLEAN, "environments": {"prod": []}}, ["/environments/prod"]),
        ({**BOOLEAN, "environments": {"prod": {"on": True}}}, ["/environments/prod/on"]),
        ({**BOOLEAN, "environments": {"prod": {"enabled": 1}}}, ["/environments/prod/enabled"]),
        ({**BOOLEAN, "environments": {"prod": {"kill": "no"}}}, ["/environments/prod/kill"]),
        ({**BOOLEAN, "environments": {"prod": {"default": "gone"}}}, ["/environments/prod/default"]),
        ({**BOOLEAN, "environments": {"prod": {"default": 1}}}, ["/environments/prod/default"]),
        ({**BOOLEAN, "environments": {"prod": {"default": ["on"]}}}, ["/environments/prod/default"]),
        ({**BOOLEAN, "environments": {"prod": {"off_variant": "x"}}}, ["/environments/prod/off_variant"]),
        ({**BOOLEAN, "environments": {"prod": {"rules": {}}}}, ["/environments/prod/rules"]),
        (
            {**BOOLEAN, "environments": {"prod": {"rules": [1]}}},
            ["/environments/prod/rules/0"],
        ),
        ({**BOOLEAN, "environments": {"prod": {"targeting": "on"}}}, ["/environments/prod/targeting"]),
        ({**BOOLEAN, "environments": {"prod": {"metadata": {"a": []}}}}, ["/environments/prod/metadata/a"]),
        (
            {
                **BOOLEAN,
                "environments": {"prod": {"targeting": {"var": "x"}, "rules": [{"id": "r", **STAFF}]}},
            },
            ["/environments/prod/rules/r", "/environments/prod/targeting"],
        ),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_with_the_places(body: object, where: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        Node().create(body)
    assert (caught.value.status, caught.value.code) == (422, "flag.invalid")
    assert paths(caught.value) == where


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ({"serve": "on"}, ["/if"]),
        ({"if": True}, [""]),
        ({"if": True, "serve": "on", "split": [["on", 1]]}, [""]),
        ({"if": True, "serve": 1}, ["/serve"]),
        ({"if": True, "serve": "on", "by": {"var": "x"}}, ["/by"]),
        ({"if": True, "serve": "on", "weight": 1}, ["/weight"]),
        ({"if": True, "serve": "on", "id": "a b"}, ["/id"]),
        ({"if": True, "serve": "on", "id": "x" * 201}, ["/id"]),
        ({"if": True, "serve": "on", "id": 3}, ["/id"]),
        ({"if": True, "serve": "on", "description": 3}, ["/description"]),
        ({"if": True, "split": []}, ["/split"]),
        ({"if": True, "split": {"on": 1}}, ["/split"]),
        ({"if": True, "split": [["on"]]}, ["/split/0"]),
        ({"if": True, "split": [["on", 1, 2]]}, ["/split/0"]),
        ({"if": True, "split": [["on", -1]]}, ["/split/0/1"]),
        ({"if": True, "split": [["on", 1.5]]}, ["/split/0/1"]),
        ({"if": True, "split": [["on", True]]}, ["/split/0/1"]),
        ({"if": True, "split": [[1, 1]]}, ["/split/0/0"]),
        ({"if": True, "split": [["on", 0], ["off", 0]]}, ["/split"]),
        ({"if": True, "split": [["on", 2147483647], ["off", 1]]}, ["/split"]),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_the_places(rule: dict, where: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        Node().create({**BOOLEAN, "environments": {"prod": {"rules": [rule]}}})
    assert paths(caught.value) == [f"/environments/prod/rules/0{path}" for path in where]


def test_a_rule_that_serves_no_variant_is_refused() -> None:
    for rule in (
        {"id": "r", "if": True, "serve": "x"},
        {"id": "r", "if": True, "split": [["on", 1], ["x", 1]]},
    ):
        with pytest.raises(Invalid) as caught:
            Node().create({**BOOLEAN, "environments": {"prod": {"rules": [rule]}}})
        assert paths(caught.value) == ["/environments/prod/rules/r"]


def nested(levels: int) -> object:
    value: object = {"var": "x"}
    for _ in range(levels - 1):
        value = {"!": [value]}
    return value


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({**BOOLEAN, "key": "x" * 201}, "limit.flag_key_bytes"),
        ({**BOOLEAN, "variants": {f"v{i}": True for i in range(101)}}, "limit.variants"),
        (
            {**BOOLEAN, "environments": {"prod": {"rules": [{"if": True, "serve": "on"}] * 201}}},
            "limit.rules",
        ),
        (
            {**BOOLEAN, "environments": {"prod": {"rules": [{"if": nested(33), "serve": "on"}]}}},
            "limit.logic_depth",
        ),
        (
            {
                **BOOLEAN,
                "environments": {"prod": {"rules": [{"if": True, "split": [["on", 1]], "by": nested(33)}]}},
            },
            "limit.logic_depth",
        ),
        ({**BOOLEAN, "environments": {"prod": {"targeting": nested(33)}}}, "limit.logic_depth"),
        ({**BOOLEAN, "environments": {"prod": {"targeting": nested(500)}}}, "limit.body_depth"),
        ({"key": "f", "type": "object", "variants": {"a": nested(33)}}, "limit.value_depth"),
        ({"key": "f", "type": "string", "variants": {"a": "x" * (64 << 10)}}, "limit.flag_bytes"),
    ],
)
def test_every_limit_has_a_name(body: object, code: str) -> None:
    with pytest.raises(LimitExceeded) as caught:
        Node().create(body)
    assert (caught.value.status, caught.value.code) == (413, code)


def test_what_is_at_its_limit_is_taken_and_sound() -> None:
    node = node_with(
        {
            "key": "f" * 200,
            "type": "boolean",
            "variants": {f"v{i}": True for i in range(100)},
            "environments": {
                "dev": {"targeting": nested(32)},
                "prod": {
                    "rules": [
                        {"id": f"r{i}", "if": nested(32) if i == 0 else True, "serve": "v1"}
                        for i in range(200)
                    ]
                },
            },
        }
    )
    shown = node.flag("f" * 200)
    assert len(shown["environments"]["prod"]["rules"]) == 200
    assert shown["conflicts"] == []


def test_there_are_not_more_flags_than_the_limit() -> None:
    node = node_with({**BOOLEAN, "key": "a"}, {**BOOLEAN, "key": "b"})
    assert create_flag(node, BOOLEAN, new_id=node.new_id, flags_max=3).writes
    with pytest.raises(LimitExceeded) as caught:
        create_flag(node, BOOLEAN, new_id=node.new_id, flags_max=2)
    assert caught.value.code == "limit.flags"


# -- patch


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


# -- rules


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


# -- kill


def test_a_kill_is_written_even_if_it_is_killed() -> None:
    node = node_with(BOOLEAN)
    for _ in range(2):
        intent = kill_flag(node, "f", "prod")
        node.take(intent)
        assert [(w.generation, w.field, w.value) for w in intent.writes if w.field != "exists"] == [
            (NO_GENERATION, "kill/prod", True)
        ]
        assert [w.field for w in intent.writes if w.field == "exists"] == ["exists"]
    assert fields(node.patch({"environments": {"prod": {"kill": True}}})) == ["kill/prod"]


def test_nobody_takes_a_kill_back_that_he_has_not_seen() -> None:
    node = node_with(BOOLEAN)
    node.take(kill_flag(node, "f", "prod"))
    edits: tuple[Callable[[], object], ...] = (
        lambda: unkill_flag(node, "f", "prod", if_match=None),
        lambda: node.patch({"environments": {"prod": {"kill": False}}}),
        lambda: node.patch({"environments": {"prod": {"kill": None}}}),
        lambda: node.patch({"environments": {"prod": None}}),
        lambda: node.patch({"environments": None}),
    )
    for edit in edits:
        with pytest.raises(PreconditionRequired) as caught:
            edit()
        assert (caught.value.status, caught.value.code) == (428, "precondition.required")
    node.take(unkill_flag(node, "f", "prod", if_match=node.etag()))
    assert node.flag()["environments"]["prod"]["kill"] is False


def test_clearing_what_is_not_killed_needs_the_condition_and_writes_nothing() -> None:
    node = node_with(BOOLEAN)
    with pytest.raises(PreconditionRequired):
        node.patch({"environments": {"prod": {"kill": False}}})
    assert node.patch({"environments": {"prod": {"kill": False}}}, if_match=node.etag()).writes == []
    assert unkill_flag(node, "f", "prod", if_match="*").writes == []


def test_killing_in_an_unknown_environment_is_refused() -> None:
    node = node_with(BOOLEAN)
    for edit in (kill_flag, unkill_flag):
        with pytest.raises(Invalid) as caught:
            edit(node, "f", "qa", if_match=node.etag())
        assert caught.value.code == "flag.invalid"


# -- delete


def test_a_delete_removes_every_generation_that_is_here() -> None:
    near, far = Node(1), Node(2)
    near.create(BOOLEAN)
    far.create({**BOOLEAN, "description": "other"})
    near.pull(far)
    intent = near.delete()
    removed = {w.generation for w in intent.writes if w.value is TOMBSTONE}
    assert removed == {(1, 1), (2, 1)}
    assert not near.has()


def test_an_edit_that_has_not_seen_the_delete_brings_the_whole_flag_back() -> None:
    near, far = pair(FULL)
    near.delete()
    far.patch({"description": "still here"})
    near.pull(far)
    shown = near.flag()
    assert shown["needs_review"] is True
    assert shown["description"] == "still here"
    assert shown["owner"] == "payments"


# -- variants and prerequisites


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
