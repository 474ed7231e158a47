"""Bodies of one flag that are refused, each with the places or the limit by name; what is at a limit is taken."""

from __future__ import annotations

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, STAFF, Node, node_with, paths
from vexil.node.authoring.single import create_flag
from vexil.node.errors import Invalid, LimitExceeded


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
