"""Reading flagd documents, flag by flag."""

from __future__ import annotations

from typing import Any

import pytest

from vexil.sdk import from_flagd
from vexil.sdk.limits import FLAG_BYTES_MAX, FLAG_KEY_BYTES_MAX

SOUND: dict[str, Any] = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}


def read(**changes: Any) -> Any:
    body = {name: value for name, value in {**SOUND, **changes}.items() if value is not ...}
    return from_flagd({"flags": {"f": body, "sound": SOUND}})


@pytest.mark.parametrize(
    ("variants", "flag_type"),
    [
        ({"a": True}, "boolean"),
        ({"a": "x", "b": ""}, "string"),
        ({"a": 1, "b": -1}, "integer"),
        ({"a": 1.0}, "float"),
        ({"a": 1, "b": 0.5}, "float"),
        ({"a": {}, "b": {"x": [1]}}, "object"),
    ],
    ids=str,
)
def test_the_type_is_that_of_the_variants(variants: Any, flag_type: str) -> None:
    imported = read(variants=variants, defaultVariant=None)
    flag = imported.flags[0]
    assert (imported.errors, flag.type, flag.variants) == ((), flag_type, variants)
    if flag_type == "float":
        assert all(type(value) is float for value in flag.variants.values())


def test_what_flagd_takes_for_no_targeting_and_no_default() -> None:
    all_changes: list[dict[str, Any]] = [
        {"targeting": {}, "defaultVariant": None},
        {"targeting": None, "defaultVariant": ...},
        {"defaultVariant": ""},
    ]
    for changes in all_changes:
        flag = read(**changes).flags[0]
        assert (flag.targeting, flag.default) == (None, None)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"state": ...}, "/flags/f/state"),
        ({"state": "enabled"}, "/flags/f/state"),
        ({"state": []}, "/flags/f/state"),
        ({"variants": ..., "defaultVariant": None}, "/flags/f/variants"),
        ({"variants": {}, "defaultVariant": None}, "/flags/f/variants"),
        ({"variants": []}, "/flags/f/variants"),
        ({"variants": {"on": True, "off": 1}}, "/flags/f/variants"),
        ({"variants": {"on": True, "a/b": [1]}}, "/flags/f/variants/a~1b"),
        ({"variants": {"on": None}}, "/flags/f/variants/on"),
        ({"variants": {"on": True, "": False}}, "/flags/f/variants"),
        ({"defaultVariant": "gone"}, "/flags/f/defaultVariant"),
        ({"defaultVariant": True}, "/flags/f/defaultVariant"),
        ({"targeting": "on"}, "/flags/f/targeting"),
        ({"targeting": []}, "/flags/f/targeting"),
        ({"metadata": []}, "/flags/f/metadata"),
        ({"metadata": {"a": None}}, "/flags/f/metadata/a"),
        ({"metadata": {"a": {}}}, "/flags/f/metadata/a"),
        ({"metadata": {"a": float("nan")}}, "/flags/f"),
        ({"variants": {"on": {"x": "y" * FLAG_BYTES_MAX}}}, "/flags/f"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_bad_flag_is_told_and_the_others_are_taken(changes: Any, path: str) -> None:
    imported = read(**changes)
    assert path in [error.path for error in imported.errors]
    assert [flag.key for flag in imported.flags] == ["sound"]


@pytest.mark.parametrize("key", ["", "_f", ".f", "a/b", "a b", "ü", "f\n", "f" * (FLAG_KEY_BYTES_MAX + 1)])
def test_a_key_that_cannot_be_one_here_is_an_error(key: str) -> None:
    imported = from_flagd({"flags": {key: SOUND}})
    assert (imported.flags, len(imported.errors)) == ((), 1)


def test_a_key_may_have_all_that_is_allowed() -> None:
    for key in ("a", "0", "A.b_c-d.9", "f" * FLAG_KEY_BYTES_MAX):
        assert [flag.key for flag in from_flagd({"flags": {key: SOUND}}).flags] == [key]


def test_flags_may_be_an_array() -> None:
    imported = from_flagd(
        {"flags": [{**SOUND, "key": "a"}, SOUND, 7, {**SOUND, "key": "a"}, {**SOUND, "key": "b"}]}
    )
    assert [flag.key for flag in imported.flags] == ["a", "b"]
    assert [error.path for error in imported.errors] == ["/flags/1", "/flags/2", "/flags/3"]
    assert imported.warnings == ()


def test_what_flagd_ignores_or_fails_on_later_is_a_warning() -> None:
    for changes, path in (
        ({"description": "x"}, "/flags/f/description"),
        ({"targeting": {"if": [{"$ref": "gone"}, "on"]}}, "/flags/f/targeting"),
        ({"targeting": {"if": [{"no_such": 1}, "on"]}}, "/flags/f/targeting"),
    ):
        imported = read(**changes)
        assert ([warning.path for warning in imported.warnings], imported.errors) == ([path], ())
        assert len(imported.flags) == 2


def test_evaluators_and_metadata_are_read_beside_the_flags() -> None:
    deep: Any = True
    for _ in range(40):
        deep = {"!": [deep]}
    imported = from_flagd(
        {
            "flags": {},
            "$evaluators": {"a": {"var": "x"}, "b": "text", "deep": deep},
            "metadata": {"flagSetId": "shop", "nested": {}},
            "$schema": "s",
            "else": 1,
        }
    )
    assert imported.evaluators == {"a": {"var": "x"}}
    assert imported.metadata == {"flagSetId": "shop"}
    assert [error.path for error in imported.errors] == [
        "/$evaluators/b",
        "/$evaluators/deep",
        "/metadata/nested",
    ]
    assert [warning.path for warning in imported.warnings] == ["/else"]


@pytest.mark.parametrize(
    "document", [None, [], 1, {}, {"flags": 1}, {"flags": None}, {"flags": {}, "metadata": 1}]
)
def test_a_document_that_is_none_is_an_error(document: Any) -> None:
    assert from_flagd(document).errors


def test_a_flag_is_evaluated_as_it_was_read() -> None:
    document = from_flagd({"flags": {"f": {**SOUND, "state": "DISABLED"}}}).flags[0].document()
    assert (document["enabled"], document["default"], document["off_variant"]) == (False, "on", None)
