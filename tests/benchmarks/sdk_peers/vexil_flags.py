"""The comparison's flags as Vexil's documents, and contexts as its callers have them."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.sdk_peers.workload import SHAPES, Rules, User, flag_keys, rules_of
from vexil.sdk.documents import flag_set_document
from vexil.sdk.model import FlagSet
from vexil.sdk.shapes import FlagDocument, RuleDocument


def conditions_of(rules: Rules) -> list[Any]:
    """The five rules in JsonLogic, which flagd has too."""
    return [
        {"==": [{"var": "plan"}, rules.plan]},
        {"in": [{"var": "country"}, list(rules.countries)]},
        {">=": [{"var": "age"}, rules.age_min]},
        {"==": [{"var": "targetingKey"}, rules.segment]},
        {"ends_with": [{"var": "email"}, rules.domain]},
    ]


def flag_of(key: str, shape: str) -> FlagDocument:
    """One flag of Vexil."""
    rules: list[RuleDocument] = []
    if shape == "rules":
        conditions = conditions_of(rules_of(key))
        rules = [{"id": f"r{n}", "if": each, "serve": "on"} for n, each in enumerate(conditions)]
    if shape == "split":
        rules = [{"id": "half", "if": True, "split": [["on", 50], ["off", 50]]}]
    return {
        "type": "boolean",
        "enabled": True,
        "off_variant": "off",
        "default": "off" if shape == "rules" else "on",
        "variants": {"on": True, "off": False},
        "rules": rules,
        "targeting": None,
        "prerequisites": [],
        "metadata": {},
        "client_visible": False,
    }


def document_with(size: int) -> dict[str, Any]:
    """What a node would send: a set of ``size`` flags."""
    flags = {key: flag_of(key, shape) for shape in SHAPES for key in flag_keys(shape, size)}
    return flag_set_document(FlagSet(flags=flags, version="1"))


def context_of(user: User) -> dict[str, Any]:
    """A user as our callers have one."""
    return {"targetingKey": user.key, **user.attributes}


def unknown_keys(size: int) -> list[str]:
    """As many keys of no flag as there are flags of one shape."""
    return [f"{key}-gone" for key in flag_keys(SHAPES[0], size)]
