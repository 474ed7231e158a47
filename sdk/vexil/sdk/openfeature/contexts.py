"""From OpenFeature's evaluation context to ours.

Attributes keep their names, ``targeting_key`` becomes ``targetingKey``, and what is no JSON but has a meaning there
gets it: moments become RFC 3339 texts, sequences arrays. The one idea: most contexts hold nothing but plain values,
and one look at the types of those is all that they cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

from openfeature.evaluation_context import EvaluationContext

from vexil.sdk.limits import NESTING_MAX

TARGETING_KEY: Final = "targetingKey"

_holds_only_plain = frozenset({str, int, float, bool, type(None)}).issuperset


def context_of(asked: EvaluationContext | None) -> Mapping[str, Any] | None:
    """The context that a client takes. It may share what ``asked`` holds, which is never changed.

    A targeting key of its own wins over an attribute of that name. Moments are told in UTC, with a ``Z``; one without a
    zone is taken for UTC, so that the answer does not depend on where the service runs. What has no meaning in JSON
    stays as it is, and is for the rules to find wrong.
    """
    if asked is None:
        return None
    attributes: Mapping[str, Any] = asked.attributes
    if not _holds_only_plain(map(type, attributes.values())):
        attributes = {name: _plain(value, 1) for name, value in attributes.items()}
    if asked.targeting_key is None:
        return attributes
    return {**attributes, TARGETING_KEY: asked.targeting_key}


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC; the fraction only if there is one."""
    try:
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:  # in UTC it is before the first year or after the last
        return moment.isoformat()
    return aware.isoformat().removesuffix("+00:00") + "Z"


def _plain(value: object, level: int) -> object:
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if level == NESTING_MAX:
        return value
    if isinstance(value, Mapping):
        return {name: _plain(item, level + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, level + 1) for item in value]
    return value
