"""The two plain forms of a flag: what people see (``describe``) and what is evaluated (``document``).

A document is one environment's, with no trace of merging in it and nothing in it that evaluation could stumble over:
every variant that it names is there, every rule can serve. What is not usable goes by one ladder: the bad rule is
skipped; else ``off_variant``; else no variant, and the caller's code default applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vexil.crdt.conflicts import ConflictRecord
from vexil.crdt.flag_state import NO_VALUES, EnvironmentState, FlagState, RuleState
from vexil.crdt.validity import FLAG_TYPES, members_of

NO_ITEMS: Final[list[Any]] = []
"""Shared by every document that has nothing to put there: never to be changed."""
UNKNOWN_TYPE: Final = "object"
"""What a document says of a flag whose type this version cannot tell; it has no variants, so it never matters."""

_RULE_MEMBERS: Final = ("description", "if", "serve", "split", "by")
_RULE_MEMBERS_SERVED: Final = ("if", "serve", "split", "by")


def document(state: FlagState, environment: str) -> dict[str, Any]:
    """What is evaluated in ``environment``, which the state was read for.

    The document shares parts with other documents: it is never to be changed. ``broken``, if it is there, is the kind
    of the defect for which the flag is on the off path.
    """
    part = state.environments[environment]
    variants = state.variants
    off_variant = part.off_variant if part.off_variant in variants else None
    broken = state.broken or part.broken
    if broken is not None:
        return _broken(state, part, off_variant, broken)
    return {
        "type": state.type,
        "enabled": part.enabled and not part.kill,
        "off_variant": off_variant,
        "default": off_variant if part.default is not None and part.default not in variants else part.default,
        "variants": variants,
        "rules": [
            {"id": rule.id, **members_of(rule.body, _RULE_MEMBERS_SERVED)}
            for rule in part.rules
            if rule.defect is None
        ]
        if part.rules and not part.targeting_wins
        else NO_ITEMS,
        "targeting": part.targeting if part.targeting_wins else None,
        "prerequisites": [{"flag": flag, "variant": variant} for flag, variant in state.prerequisites.items()]
        if state.prerequisites
        else NO_ITEMS,
        "metadata": part.metadata,
        "client_visible": state.client_visible,
    }


def _broken(state: FlagState, part: EnvironmentState, off_variant: str | None, reason: str) -> dict[str, Any]:
    # Only what the off path needs: what is over a limit must not take memory in every reader too.
    return {
        "type": state.type if state.type in FLAG_TYPES else UNKNOWN_TYPE,
        "enabled": part.enabled and not part.kill,
        "off_variant": off_variant,
        "default": None,
        "variants": NO_VALUES if off_variant is None else {off_variant: state.variants[off_variant]},
        "rules": NO_ITEMS,
        "targeting": None,
        "prerequisites": NO_ITEMS,
        "metadata": NO_VALUES,
        "client_visible": state.client_visible,
        "broken": reason,
    }


def content(state: FlagState) -> dict[str, Any]:
    """What authors wrote into a flag, as the API shows it: `describe` without what merging found."""
    return {
        "key": state.key,
        "type": state.type,
        "description": state.description,
        "owner": state.owner,
        "tags": list(state.tags),
        "client_visible": state.client_visible,
        "archived": state.archived,
        "variants": dict(state.variants),
        "environments": {name: _environment(part) for name, part in state.environments.items()},
        "prerequisites": [
            {"flag": flag, "variant": variant} for flag, variant in state.prerequisites.items()
        ],
    }


def describe(state: FlagState) -> dict[str, Any]:
    """The flag as the admin API shows it. Values are shared with the state; the containers are the caller's own."""
    described = content(state)
    described["needs_review"] = state.needs_review
    described["conflicts"] = [summary(record) for record in (*state.conflicts, *state.problems)]
    return described


def summary(record: ConflictRecord) -> dict[str, Any]:
    """A conflict as it is named inside the object that has it."""
    return {
        "id": record.id,
        "kind": record.kind,
        "field": record.field,
        "environment": record.environment,
    }


def _environment(part: EnvironmentState) -> dict[str, Any]:
    return {
        "enabled": part.enabled,
        "kill": part.kill,
        "default": part.default,
        "off_variant": part.off_variant,
        "rules": [_rule(rule) for rule in part.rules],
        "targeting": part.targeting,
        "metadata": dict(part.metadata),
    }


def _rule(rule: RuleState) -> Mapping[str, Any]:
    return {"id": rule.id, **members_of(rule.body, _RULE_MEMBERS)}
