"""The order of rules: one LWW list of ids beside one cell per rule, so that the two can disagree after a merge."""

from __future__ import annotations

from collections.abc import Mapping


def ordered(bodies: Mapping[str, object], order: object) -> list[str]:
    """The ids of ``bodies`` in the order that the LWW list ``order`` gives; those missing from it last, by id."""
    if len(bodies) == 1:
        return list(bodies)
    listed: dict[str, None] = {}
    if isinstance(order, list):
        listed = {rule_id: None for rule_id in order if isinstance(rule_id, str) and rule_id in bodies}
    return [*listed, *sorted(rule_id for rule_id in bodies if rule_id not in listed)]
