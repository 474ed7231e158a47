"""Flag documents for tests, and the reference implementation's answer to the same question."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode, OpenFeatureError

from vexil.sdk import ABSENT, Evaluation, FlagSet, evaluate

NOW_S = 1_800_000_000.5

VARIANTS: dict[str, dict[str, Any]] = {
    "boolean": {"on": True, "off": False},
    "string": {"on": "yes", "off": ""},
    "integer": {"on": 10, "off": 0},
    "float": {"on": 10, "off": 0.5},
    "object": {"on": {"a": [1, None]}, "off": {}},
}
"""For every type a variant ``on`` and a falsy or empty one ``off``."""


def flag(flag_type: str = "boolean", **members: Any) -> Any:
    """An enabled flag without rules, default ``on``, changed by ``members``."""
    return {
        "type": flag_type,
        "enabled": True,
        "off_variant": None,
        "default": "on",
        "variants": VARIANTS[flag_type],
        "rules": [],
        "targeting": None,
        "prerequisites": [],
        "metadata": {},
        "client_visible": False,
        **members,
    }


def needs(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    """Prerequisites: flags and the variants that they must give."""
    return [{"flag": key, "variant": variant} for key, variant in pairs]


def segment(*members: str, rules: tuple[Any, ...] = ()) -> Any:
    return {
        "members": frozenset(members),
        "rules": [{"id": f"r{number}", "if": rule} for number, rule in enumerate(rules)],
    }


def ask(flag_set: FlagSet, key: str, context: Any = None) -> Evaluation:
    return evaluate(flag_set, key, context, now_s=NOW_S)


def ask_one(document: Any, context: Any = None, **parts: Any) -> Evaluation:
    """The answer of one flag, called ``f``, alone in its set."""
    return ask(FlagSet(flags={"f": document}, **parts), "f", context)


FAILED = "failed"


def meaning(evaluation: Evaluation) -> Any:
    """What a caller gets: value and variant, or the fact that it failed."""
    if evaluation.error_code is not None:
        return FAILED
    return (None, "") if evaluation.value is ABSENT else (evaluation.value, evaluation.variant)


class Reference:
    """flagd's Python implementation with one document."""

    def __init__(self, document: Any) -> None:
        self._core = FlagdCore()
        self._core.set_flags(deepcopy(document))  # it changes what it is given

    def meaning(self, key: str, context: dict[str, Any]) -> Any:
        """As `meaning`."""
        details = self.details(key, context)
        if isinstance(details, str):
            return FAILED
        return (None, "") if details[0] is ABSENT else details[:2]

    def details(self, key: str, context: dict[str, Any]) -> Any:
        """``(value, variant, reason)``, or the error code."""
        attributes = {name: value for name, value in context.items() if name != "targetingKey"}
        asked = EvaluationContext(context.get("targetingKey"), attributes)
        try:
            answer = self._core._resolve(key, ABSENT, asked)
        except OpenFeatureError as error:
            return str(error.error_code.value)
        except Exception:  # noqa: BLE001 - what the reference lets through, a client reports as a general error
            return str(ErrorCode.GENERAL.value)
        return answer.value, answer.variant or "", str(answer.reason)
