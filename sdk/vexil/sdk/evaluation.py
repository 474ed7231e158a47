"""What a flag gives for a context, and why.

``evaluate`` is total: whatever the documents and the context hold, the answer is an ``Evaluation``, if need be one
with an error code. One bad flag never harms another.

A flag answers in this order: it is not there; it is on the *off path* (disabled, killed, broken, on a prerequisite
cycle, a prerequisite does not give its variant); its targeting or its rules choose a variant; its default; no value,
so that the caller's own default applies. A prerequisite that ends in an error is not met.

Evaluating writes no log. What is wrong with a context or a rule is in the answer, and goes to whoever asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vexil.sdk.answers import (
    ABSENT,
    NOT_FOUND,
    Absent,
    Evaluation,
    failed,
    is_of_type,
    merged_metadata,
)
from vexil.sdk.codes import FLAG_NOT_FOUND, GENERAL, INVALID_CONTEXT
from vexil.sdk.model import FlagSet

__all__ = ["ABSENT", "Absent", "Evaluation", "evaluate", "is_of_type", "merged_metadata"]


def evaluate(flag_set: FlagSet, key: str, context: Mapping[str, Any] | None, *, now_s: float) -> Evaluation:
    """The answer of flag ``key`` for ``context``; never raises.

    ``context`` has decoded JSON, ``targetingKey`` among it; None is an empty one. ``now_s`` is the Unix time that
    rules see as ``$flagd.timestamp``, cut to whole seconds. Equal flag sets, contexts and seconds give equal answers
    everywhere.
    """
    try:
        if context is not None and not isinstance(context, Mapping):
            return failed(key, INVALID_CONTEXT, "the context is not an object", {})
        asked = context if type(context) is dict else dict(context or {})
        answer = flag_set.functions[key](asked, lambda: now_s)
        if answer is NOT_FOUND:
            return failed(key, FLAG_NOT_FOUND, f"there is no flag {key!r}", {})
    except Exception as error:  # noqa: BLE001 - total: what no check foresaw is an answer too, and not one to every flag
        return failed(key, GENERAL, f"the evaluation failed: {type(error).__name__}", {})
    return answer
