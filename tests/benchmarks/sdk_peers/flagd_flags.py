"""The comparison's flags as flagd's JSON."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.sdk_peers.vexil_flags import conditions_of
from tests.benchmarks.sdk_peers.workload import SHAPES, flag_keys, rules_of


def flag_of(key: str, shape: str) -> dict[str, Any]:
    """One flag of flagd."""
    targeting: dict[str, Any] = {}
    if shape == "rules":
        branches = [part for each in conditions_of(rules_of(key)) for part in (each, "on")]
        targeting = {"if": [*branches, "off"]}
    if shape == "split":
        targeting = {"fractional": [["on", 50], ["off", 50]]}
    return {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off" if shape == "rules" else "on",
        "targeting": targeting,
    }


def document_with(size: int) -> dict[str, Any]:
    """A set of ``size`` flags."""
    return {"flags": {key: flag_of(key, shape) for shape in SHAPES for key in flag_keys(shape, size)}}
