"""Running a JsonLogic rule by itself, beside any flag: for whoever shows how a rule came out, and for tests."""

from __future__ import annotations

from typing import Any

from vexil.sdk.budget import Budget
from vexil.sdk.compiler.compiler import KNOWN_OPERATORS
from vexil.sdk.model import FlagSet
from vexil.sdk.rules import IN_SEGMENT, SEGMENT

__all__ = ["IN_SEGMENT", "KNOWN_OPERATORS", "SEGMENT", "run"]


def run(flag_set: FlagSet, rule: object, flag_key: str, context: dict[str, Any], *, now_s: float) -> Any:
    """What ``rule``, as written, gives for ``context`` as a rule of flag ``flag_key``.

    Raises ``RuleError``, and whatever an operator raises: division by zero, numbers out of range.
    """
    function = flag_set.compiler.condition(flag_set.references.expand(rule))
    return function(flag_set, context, lambda: now_s, Budget(), flag_key, None)
