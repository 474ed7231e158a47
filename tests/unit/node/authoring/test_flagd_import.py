"""Importing flagd documents: what each flag becomes, what is kept, and how it is cut into changes."""

from __future__ import annotations

import pytest

from tests.unit.node.authoring.nodes import BOOLEAN, Node, node_with
from vexil.crdt.flagd_state import read_flagd
from vexil.node.authoring import FlagdImport, Outcome, kill_flag
from vexil.node.authoring.limits import CHANGE_CELLS_MAX
from vexil.node.authoring.workspace import PLACE
from vexil.node.errors import Invalid, Malformed, NotFound
from vexil.sdk.flagd import from_flagd

ON_OFF = {"on": True, "off": False}


def flagd(**flags: dict) -> dict:
    return {
        "flags": {
            key: {"state": "ENABLED", "variants": ON_OFF, "defaultVariant": "on", **flag}
            for key, flag in flags.items()
        }
    }


def run(
    node: Node, document: object, *, mode: str = "merge", **options: object
) -> tuple[FlagdImport, Outcome]:
    done = FlagdImport(node, document, environment="prod", mode=mode, **options)  # type: ignore[arg-type]
    total = Outcome()
    for change in done.changes(node):
        node.take(change.decide(node))
        total.add(change.outcome)
    return done, total


def prod(node: Node, key: str = "f") -> dict:
    return node.flag(key)["environments"]["prod"]


def test_a_new_flag_is_created_in_that_environment() -> None:
    node = Node()
    done, total = run(node, flagd(f={"targeting": {"if": [{"var": "a"}, "off"]}, "metadata": {"m": 1}}))
    assert (done.errors, done.warnings) == ([], [])
    assert (total.created, total.updated) == (1, 0)
    assert node.flag()["variants"] == ON_OFF
    assert prod(node) == {
        "enabled": True,
        "kill": False,
        "default": "on",
        "off_variant": None,
        "rules": [],
        "targeting": {"if": [{"var": "a"}, "off"]},
        "metadata": {"m": 1},
    }
    assert node.flag()["environments"]["dev"]["enabled"] is False


def test_importing_again_changes_nothing() -> None:
    node = Node()
    document = {
        **flagd(f={"metadata": {"m": 1}}, g={}),
        "$evaluators": {"e": {"var": "x"}},
        "metadata": {"t": 1},
    }
    run(node, document)
    changes = len(node.log)
    done, total = run(node, document)
    assert (done.unchanged, total, len(node.log)) == (2, Outcome(), changes)


def test_a_flag_is_replaced_in_that_environment_only() -> None:
    body = {
        "enabled": True,
        "default": "on",
        "off_variant": "off",
        "metadata": {"old": 1},
        "rules": [{"id": "r", "if": True, "serve": "off"}],
    }
    node = node_with({**BOOLEAN, "tags": ["web"], "environments": {"dev": body, "prod": body}})
    dev = node.flag()["environments"]["dev"]
    node.take(kill_flag(node, "f", "prod"))
    _, total = run(node, flagd(f={"state": "DISABLED", "defaultVariant": "off", "metadata": {"new": 2}}))
    assert total.updated == 1
    assert prod(node) == {
        "enabled": False,
        "kill": True,
        "default": "off",
        "off_variant": None,
        "rules": [],
        "targeting": None,
        "metadata": {"new": 2},
    }
    assert node.flag()["environments"]["dev"] == dev
    assert node.flag()["tags"] == ["web"]


def test_variants_come_and_go_as_far_as_others_allow() -> None:
    variants = {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}
    node = node_with(
        {
            "key": "f",
            "type": "string",
            "variants": variants,
            "environments": {
                "dev": {"default": "a", "targeting": {"if": [True, "b"]}},
                "prod": {"default": "c"},
            },
        },
        {**BOOLEAN, "key": "g", "prerequisites": [{"flag": "f", "variant": "d"}]},
    )
    run(node, flagd(f={"variants": {"c": "changed", "new": "N"}, "defaultVariant": "new"}))
    assert node.flag()["variants"] == {"a": "A", "b": "B", "c": "changed", "d": "D", "new": "N"}


def test_another_value_of_a_variant_that_others_use_is_an_error() -> None:
    node = node_with({**BOOLEAN, "environments": {"dev": {"default": "on"}}})
    done, total = run(node, flagd(f={"variants": {"on": False, "off": True}}, g={}))
    assert (total.created, total.updated) == (1, 0)
    [error] = done.errors
    assert (error["path"], error["code"]) == ("/flags/f", "variant.in_use")
    assert node.flag()["variants"] == ON_OFF


def test_the_type_cannot_change_but_whole_numbers_may_be_floats() -> None:
    node = node_with(BOOLEAN, {"key": "x", "type": "float", "variants": {"a": 1.5}})
    done, total = run(node, flagd(f={"variants": {"on": "yes"}}, x={"variants": {"on": 2}}))
    assert [e["path"] for e in done.errors] == ["/flags/f"]
    assert total.updated == 1
    assert node.flag("x")["variants"] == {"on": 2.0}


def test_what_is_wrong_in_the_document_is_told_and_does_not_stop_the_rest() -> None:
    node = Node()
    done, total = run(node, flagd(f={"state": "ON"}, g={"targeting": {"nonsense": 1}}))
    assert [e["path"] for e in done.errors] == ["/flags/f/state"]
    assert [w["path"] for w in done.warnings] == ["/flags/g/targeting"]
    assert (total.created, node.has("f"), node.has("g")) == (1, False, True)


def test_replace_removes_what_is_not_named() -> None:
    node = node_with(
        {**BOOLEAN, "key": "only-here", "environments": {"prod": {"enabled": True}}},
        {
            **BOOLEAN,
            "key": "elsewhere",
            "environments": {"dev": {"enabled": True}, "prod": {"enabled": True}},
        },
        {**BOOLEAN, "key": "required", "environments": {"prod": {"enabled": True}}},
        {**BOOLEAN, "prerequisites": [{"flag": "required", "variant": "on"}]},
    )
    run(node, flagd(f={}), mode="merge")
    assert node.has("only-here")
    _, total = run(node, flagd(f={}), mode="replace")
    assert (total.deleted, total.updated) == (1, 2)
    assert node.flag_keys() == ["elsewhere", "f", "required"]
    assert (prod(node, "elsewhere")["enabled"], prod(node, "required")["enabled"]) == (False, False)
    assert node.flag("elsewhere")["environments"]["dev"]["enabled"] is True


def test_replace_keeps_what_is_not_named_if_the_document_has_errors() -> None:
    node = node_with(BOOLEAN)
    done, _ = run(node, flagd(f={"state": "ON"}), mode="replace")
    assert node.has()
    assert [w["path"] for w in done.warnings] == [""]


def test_evaluators_and_metadata_go_to_the_flagd_part() -> None:
    def part(node: Node) -> tuple[dict, dict]:
        state = read_flagd("prod", node.replica.cells("flagd/prod"))
        return dict(state.evaluators), dict(state.metadata)

    node = Node()
    run(node, {"flags": {}, "$evaluators": {"a": {"var": "x"}}, "metadata": {"t": 1}})
    run(node, {"flags": {}, "$evaluators": {"b": {"var": "y"}}, "metadata": {"u": 2}})
    assert part(node) == ({"a": {"var": "x"}, "b": {"var": "y"}}, {"t": 1, "u": 2})
    run(node, {"flags": {}, "$evaluators": {"b": {"var": "y"}}}, mode="replace")
    assert part(node) == ({"b": {"var": "y"}}, {})


def test_a_flag_that_is_exported_just_so_is_left_alone() -> None:
    rules = [{"id": "r", "if": True, "serve": "on"}]
    node = node_with({**BOOLEAN, "environments": {"prod": {"enabled": True, "rules": rules}}})
    document = flagd(f={"targeting": {"if": [True, "on"]}, "defaultVariant": None})
    done, total = run(node, document, exported=from_flagd(document).flags)
    assert (done.unchanged, total) == (1, Outcome())
    assert prod(node)["rules"] == rules


def test_a_large_document_becomes_several_changes() -> None:
    node = Node()
    document = flagd(**{f"f{i}": {} for i in range(1200)})
    _, total = run(node, document)
    assert total.created == 1200
    assert 3 <= len(node.log) <= 6
    big = flagd(**{f"b{i}": {"variants": {"on": "x" * 50_000}} for i in range(25)})
    done, total = run(node, big)
    assert (done.errors, total.created) == ([], 25)
    wide = flagd(
        **{f"w{i}": {"variants": {"on": True} | {f"v{j}": True for j in range(99)}} for i in range(50)}
    )
    done, total = run(node, wide)
    assert (done.errors, total.created) == ([], 50)
    # Room is left for what the state grows by between the cut and the write.
    assert max(len(change.operations) for change in node.log) <= CHANGE_CELLS_MAX // 2


def test_an_import_stops_creating_at_the_limit_of_flags() -> None:
    node = node_with({**BOOLEAN, "key": "z"})
    done, total = run(node, flagd(a={}, b={}, c={}), flags_max=3)
    assert (total.created, node.flag_keys()) == (2, ["a", "b", "z"])
    assert [(e["path"], e["code"]) for e in done.errors] == [("/flags/c", "limit.flags")]


@pytest.mark.parametrize("flags_max", [300, 700, 1_100, 2_000])
def test_a_dry_run_of_several_changes_stops_where_the_import_itself_stops(flags_max: int) -> None:
    document = flagd(**{f"f{i}": {} for i in range(1_200)})
    tried = FlagdImport(Node(), document, environment="prod", mode="merge", flags_max=flags_max)
    told = Outcome()
    for change in tried.changes(Node(), dry_run=True):
        told.add(change.outcome)
    done, total = run(Node(), document, flags_max=flags_max)
    assert told.created == total.created == min(flags_max, 1_200)
    assert tried.errors == done.errors


def test_each_flag_of_a_change_takes_a_place_of_its_own_among_those_that_are_left() -> None:
    done = FlagdImport(
        Node(), flagd(**{f"f{i}": {} for i in range(50)}), environment="prod", mode="merge", flags_max=60
    )
    [change] = done.changes(Node())
    places = [name for name in change.decide(Node()).reads if name.startswith(PLACE)]
    assert len(places) == 50


def test_the_limit_of_flags_is_kept_by_the_decision_too() -> None:
    node = Node()
    done = FlagdImport(node, flagd(a={}, b={}), environment="prod", mode="merge", flags_max=2)
    [change] = done.changes(node)
    node.create({**BOOLEAN, "key": "z"})
    node.take(change.decide(node))
    assert node.flag_keys() == ["a", "z"]
    assert [e["code"] for e in change.outcome.errors] == ["limit.flags"]


def test_a_change_is_decided_against_the_state_of_its_write() -> None:
    node = Node()
    done = FlagdImport(node, flagd(f={}, g={}), environment="prod", mode="merge")
    [change] = done.changes(node)
    assert (change.outcome.created, change.outcome.errors) == (2, [])
    node.create({"key": "f", "type": "string"})
    node.take(change.decide(node))
    assert (change.outcome.created, [e["path"] for e in change.outcome.errors]) == (1, ["/flags/f"])
    assert node.flag()["type"] == "string"


def test_the_same_steps_have_the_same_label() -> None:
    def labels(document: dict) -> list[str]:
        return [
            change.label
            for change in FlagdImport(Node(), document, environment="prod", mode="merge").changes(Node())
        ]

    assert labels(flagd(f={})) == labels(flagd(f={}))
    assert labels(flagd(f={})) != labels(flagd(f={"defaultVariant": "off"}))


def test_what_cannot_be_imported_at_all_is_refused() -> None:
    with pytest.raises(NotFound):
        FlagdImport(Node(), {}, environment="qa", mode="merge")
    with pytest.raises(Malformed):
        FlagdImport(Node(), {}, environment="prod", mode="both")
    with pytest.raises(Invalid):
        FlagdImport(Node(), [], environment="prod", mode="merge")
