"""flagd's own test flags, cases and schemas, against import, evaluation and export."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import referencing

from tests.conformance import DATA, load, needs_data
from tests.unit.sdk.documents import Reference, ask, meaning
from vexil.sdk import ABSENT, FlagSet, evaluate, from_flagd, to_flagd

pytestmark = needs_data

TESTBED = load("flagd-testbed", "evaluator", "flags", "testkit-flags.json") or {"flags": {}}
FULL = load("flagd-schemas", "json", "examples", "full.json") or {"flags": {}}
CASES = (load("flagd-testbed", "flagd-evaluator-cases.json") or {"cases": []})["cases"]
REFERENCE = Reference(TESTBED)
WANTED_TYPES = {
    "Boolean": {"boolean"},
    "String": {"string"},
    "Integer": {"integer"},
    "Float": {"float", "integer"},
    "Object": {"object"},
}
OTHER_BUCKETINGS = {"fractional-v1", "fractional-v2"}
"""Cases whose buckets are those of older generations; the reference implementation says today's."""
CONTEXTS: list[dict[str, Any]] = [
    {},
    {
        "targetingKey": "5c3d8535-f81a-4478-a6d3-afaa4d51199e",
        "email": "ballmer@macrosoft.com",
        "id": "abcxyz",
    },
    {
        "targetingKey": "u",
        "user": {"name": "jack"},
        "version": "2.0.0",
        "tier": "premium",
        "color": "red",
        "time": 1,
    },
    {"targetingKey": "v", "user": {"name": "ten"}, "version": "3.1.0-rc.1", "time": 4_000_000_000, "num": 5},
    {
        "email": "jobs@orange.com",
        "version": 1.2,
        "fn": "Sulisław",
        "ln": "Świętopełk",
        "age": 29,
        "customer": False,
    },
    {"version": "2.0.0.0", "color": "purple", "customer": True, "age": 2, "targetingKey": ""},
]


def test_there_is_something_to_test() -> None:
    assert len(TESTBED["flags"]) > 50
    assert len(CASES) > 100


@pytest.mark.parametrize("document", [TESTBED, FULL], ids=["testkit-flags.json", "full.json"])
def test_the_flags_are_imported_whole(document: Any) -> None:
    imported = from_flagd(document)
    assert imported.errors == ()
    assert {flag.key for flag in imported.flags} == document["flags"].keys()
    assert imported.evaluators == document.get("$evaluators", {})


@pytest.mark.parametrize("document", [TESTBED, FULL], ids=["testkit-flags.json", "full.json"])
def test_the_flags_mean_the_same_here_to_flagd_and_after_export(document: Any) -> None:
    flag_set = from_flagd(document).flag_set()
    exported, left_out = to_flagd(flag_set)
    assert left_out == []
    reference, of_exported = Reference(document), Reference(exported)
    for key in document["flags"]:
        for context in CONTEXTS:
            here = meaning(ask(flag_set, key, context))
            assert here == reference.meaning(key, context) == of_exported.meaning(key, context), (
                key,
                context,
            )


@pytest.mark.parametrize("document", [TESTBED, FULL], ids=["testkit-flags.json", "full.json"])
def test_what_is_exported_satisfies_the_schema_where_the_original_did(document: Any) -> None:
    validator = _validator()
    exported, _ = to_flagd(from_flagd(document).flag_set())
    for key, body in exported["flags"].items():
        if validator.is_valid({"flags": {key: document["flags"][key]}}):
            validator.validate({"flags": {key: body}})


def _validator() -> Any:
    schemas = {name: load("flagd-schemas", "json", name) for name in ("flags.json", "targeting.json")}
    # A reference beside it makes draft 7 ignore the schema's own address: names are found as they are written.
    resources = [
        (f"./{name}", referencing.Resource.from_contents(schema)) for name, schema in schemas.items()
    ]
    registry = referencing.Registry().with_resources(resources)
    return jsonschema.Draft7Validator(schemas["flags.json"], registry=registry)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_cases_of_the_testbed(case: dict[str, Any]) -> None:
    flag_set: FlagSet = from_flagd(TESTBED).flag_set()
    answer = evaluate(flag_set, case["flagKey"], case["context"], now_s=1_800_000_000)
    if OTHER_BUCKETINGS & set(case["tags"]):
        assert meaning(answer) == REFERENCE.meaning(case["flagKey"], case["context"])
        if "fractional-v2" not in case["tags"]:
            return
        flag_set.bucketing = "v2"
        answer = evaluate(flag_set, case["flagKey"], case["context"], now_s=1_800_000_000)
    expected = case["expect"]
    code = answer.error_code
    if code is None and flag_set.flags[case["flagKey"]]["type"] not in WANTED_TYPES[case["type"]]:
        code = "TYPE_MISMATCH"  # found out by the caller, who knows which type he wants
    if "errorCode" in expected:
        assert code == expected["errorCode"]
    if "value" in expected:
        value = case["default"] if code is not None or answer.value is ABSENT else answer.value
        assert value == expected["value"]
    if "reason" in expected:
        assert (answer.reason if code is None else "ERROR") == expected["reason"]
    if "variant" in expected:
        assert answer.variant == expected["variant"]
    for name, value in expected.get("metadata", {}).items():
        assert answer.metadata[name] == value


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (DATA / "flagd-schemas/json/test/flags/positive").glob("*.json"))
)
def test_documents_that_the_schema_accepts_are_imported(name: str) -> None:
    document = load("flagd-schemas", "json", "test", "flags", "positive", name)
    assert from_flagd(document).errors == ()


@pytest.mark.parametrize(
    "name",
    [
        "with-invalid-flag-set-metadata.json",
        "state-set-incorrectly.json",
        "missing-variants.json",
        "empty-variants.json",
        "with-invalid-flag-metadata.json",
        "mixed-variant-types.ffconfig.json",
    ],
)
def test_documents_that_the_schema_refuses_have_errors(name: str) -> None:
    assert from_flagd(load("flagd-schemas", "json", "test", "flags", "negative", name)).errors
