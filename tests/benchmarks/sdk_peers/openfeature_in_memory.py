"""OpenFeature's client over its own in-memory provider, whose rules are functions written by hand."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.openfeature_context import through_openfeature
from tests.benchmarks.sdk_peers.workload import SHAPES, flag_keys, rules_of

Evaluator = Callable[[InMemoryFlag[bool], EvaluationContext], FlagResolutionDetails[bool]]


def five_rules(key: str) -> Evaluator:
    rules = rules_of(key)
    countries = frozenset(rules.countries)

    def evaluate(flag: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
        known: Any = context.attributes
        on = (
            known.get("plan") == rules.plan
            or known.get("country") in countries
            or known.get("age") >= rules.age_min
            or context.targeting_key == rules.segment
            or known.get("email").endswith(rules.domain)
        )
        reason = Reason.TARGETING_MATCH if on else Reason.DEFAULT
        return FlagResolutionDetails(on, variant="on" if on else "off", reason=reason)

    return evaluate


def half(key: str) -> Evaluator:
    salt = zlib.crc32(key.encode())

    def evaluate(flag: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
        on = zlib.crc32((context.targeting_key or "").encode(), salt) < 1 << 31
        return FlagResolutionDetails(on, variant="on" if on else "off", reason=Reason.SPLIT)

    return evaluate


EVALUATORS: dict[str, Callable[[str], Evaluator | None]] = {
    "plain": lambda key: None,
    "rules": five_rules,
    "split": half,
}


def make(size: int) -> Measured:
    flags: dict[str, InMemoryFlag[Any]] = {
        key: InMemoryFlag("on", {"on": True, "off": False}, context_evaluator=EVALUATORS[shape](key))
        for shape in SHAPES
        for key in flag_keys(shape, size)
    }
    return through_openfeature(InMemoryProvider(flags), package="openfeature-sdk")


if __name__ == "__main__":
    serve(make)
