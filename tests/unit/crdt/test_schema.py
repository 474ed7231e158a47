"""Names of objects and fields."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.policy import Policy

GENERATION = (7, 1)
NONE = NO_GENERATION


@pytest.mark.parametrize("name", ["a", "A9", "checkout.new-flow_2", "0", "x" * 64])
def test_good_names(name: str) -> None:
    assert schema.is_environment_name(name)


@pytest.mark.parametrize("name", ["", "_system", ".a", "-a", "a b", "a/b", "ä", "a\n", "x" * 65, "٣"])
def test_bad_names(name: str) -> None:
    assert not schema.is_environment_name(name)


@pytest.mark.parametrize(
    ("made", "kind", "longest"),
    [
        (schema.flag_object, "flag", 200),
        (schema.segment_object, "segment", 200),
        (schema.flagd_object, "flagd", 64),
        (schema.project_object, "project", 64),
        (schema.key_object, "key", 64),
        (schema.member_object, "member", 64),
    ],
)
def test_objects_are_read_as_they_were_made(made: Callable[[str], str], kind: str, longest: int) -> None:
    assert schema.parse_object(made("x" * longest)) == (kind, "x" * longest)
    assert schema.parse_object(made("x" * (longest + 1))) is None


@pytest.mark.parametrize("text", ["", "flag", "flag/", "flag/a/b", "flag/_a", "schedule/x", "/x"])
def test_an_object_that_this_version_does_not_know_is_opaque(text: str) -> None:
    assert schema.parse_object(text) is None
    assert schema.policy_of(text, GENERATION, "exists") is Policy.OPAQUE


FIELDS = [
    ("flag/f", GENERATION, schema.EXISTS, ("exists", Policy.GENERATION, None, "")),
    ("flag/f", GENERATION, schema.DESCRIPTION, ("description", Policy.LWW, None, "")),
    ("flag/f", GENERATION, schema.tag_field("a/b"), ("tag", Policy.ELEMENT, None, "a/b")),
    ("flag/f", GENERATION, schema.variant_field("on"), ("variant", Policy.ENTRY, None, "on")),
    ("flag/f", GENERATION, schema.variant_field(""), ("variant", Policy.ENTRY, None, "")),
    ("flag/f", GENERATION, schema.prerequisite_field("g"), ("prerequisite", Policy.ENTRY, None, "g")),
    (
        "flag/f",
        GENERATION,
        schema.environment_field("prod", schema.DEFAULT),
        ("default", Policy.LWW, "prod", ""),
    ),
    (
        "flag/f",
        GENERATION,
        schema.rule_field("r/1", environment="prod"),
        ("rule", Policy.ENTRY, "prod", "r/1"),
    ),
    (
        "flag/f",
        GENERATION,
        schema.metadata_field("enabled", environment="p"),
        ("metadata", Policy.ENTRY, "p", "enabled"),
    ),
    ("flag/f", NONE, schema.kill_field("prod"), ("kill", Policy.OFF_WINS, "prod", "")),
    ("segment/s", GENERATION, schema.member_field("u/1"), ("member", Policy.ELEMENT, None, "u/1")),
    ("segment/s", GENERATION, schema.rule_field("r"), ("rule", Policy.ENTRY, None, "r")),
    ("flagd/prod", NONE, schema.evaluator_field("e"), ("evaluator", Policy.ENTRY, None, "e")),
    ("flagd/prod", NONE, schema.metadata_field("m"), ("metadata", Policy.ENTRY, None, "m")),
    ("project/p", NONE, schema.EXISTS, ("exists", Policy.ENTRY, None, "")),
    (
        "project/p",
        NONE,
        schema.project_environment_field("dev"),
        ("environment", Policy.ELEMENT, None, "dev"),
    ),
    ("key/k", NONE, schema.REVOKED, ("revoked", Policy.ONCE, None, "")),
    ("parked/p", NONE, schema.parked_field("flag/f"), ("change", Policy.ENTRY, None, "flag/f")),
    ("member/m", NONE, schema.CURRENT, ("current", Policy.LWW, None, "")),
    (
        "member/m",
        NONE,
        schema.incarnation_field(255),
        ("incarnation", Policy.ENTRY, None, "00000000000000ff"),
    ),
]


@pytest.mark.parametrize(("name", "generation", "field", "expected"), FIELDS)
def test_fields_are_read_as_they_were_made(name: str, generation: Dot, field: str, expected: tuple) -> None:
    kind = name.partition("/")[0]
    assert schema.parse_field(kind, generation, field) == expected
    assert schema.policy_of(name, generation, field) is expected[1]


@pytest.mark.parametrize(("name", "generation", "field", "expected"), FIELDS)
def test_a_field_in_the_wrong_place_is_opaque(
    name: str, generation: Dot, field: str, expected: tuple
) -> None:
    elsewhere = NONE if generation == GENERATION else GENERATION
    assert schema.policy_of(name, elsewhere, field) is Policy.OPAQUE


@pytest.mark.parametrize(
    "field",
    [
        "",
        "schedule",
        "variant",
        "env",
        "env/prod",
        "env/prod/",
        "env/prod/rollout",
        "env/prod/rule",
        "kill/prod",
    ],
)
def test_a_field_of_a_newer_version_is_opaque(field: str) -> None:
    assert schema.policy_of("flag/f", GENERATION, field) is Policy.OPAQUE
