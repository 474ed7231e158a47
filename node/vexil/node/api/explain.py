"""Why a flag gives what it gives, and whose writes made it so.

The answer and its way are evaluation's own (`vexil.sdk.explaining`). The one idea: each part of the flag that decided
is a cell, and a cell knows who wrote what is shown of it, where and when.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vexil.crdt import schema
from vexil.crdt.cell import live
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.conflicts import sibling
from vexil.crdt.flag_state import FlagState
from vexil.crdt.generation import Cells
from vexil.crdt.hlc import milliseconds, render_time
from vexil.crdt.policy import NOTHING, Outcome, killed, lww
from vexil.crdt.schema import FLAG, flag_object
from vexil.node.api.auth import VIEWER
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.errors import Malformed, NotFound
from vexil.sdk import explaining, ofrep
from vexil.sdk.answers import ABSENT
from vexil.sdk.errors import InvalidContext
from vexil.sdk.explaining import Explanation, Part, Step

ENVIRONMENT: Final = "environment"
_OF_ENVIRONMENT: Final = frozenset(
    {explaining.DEFAULT, explaining.OFF_VARIANT, explaining.ORDER, explaining.TARGETING}
)


async def explain(call: Call) -> Answer:
    """The value for a context, the steps that led there, and the writes that decided; body as in OFREP."""
    key = call.arguments["key"]
    environment = call.environment(call.query.needed(ENVIRONMENT))
    state = call.project.flag(key)
    if state is None:
        raise NotFound(FLAG, key)
    try:
        context = ofrep.read_context(call.body)
    except InvalidContext as error:
        raise Malformed(str(error)) from None
    now_s = call.services.clock.wall_ms() / 1000
    told = explaining.explain(call.project.flag_set(environment), key, context, now_s=now_s)
    found = told.evaluation
    body: dict[str, Any] = {
        "key": key,
        ENVIRONMENT: environment,
        "variant": found.variant,
        "reason": found.reason,
        "trace": _trace(state, environment, told),
        "decided_by": _decided_by(call, state, environment, told),
    }
    if found.value is not ABSENT:
        body["value"] = found.value
    if found.error_code is not None:
        body["error"] = {"code": found.error_code, "details": found.error_details}
    return Answer(body)


# -- the way, with what only the admin interface shows


def _trace(state: FlagState, environment: str, told: Explanation) -> list[Step]:
    """The steps, with the switches apart, the rules' descriptions, and the rules that are passed over as unusable."""
    part = state.environments[environment]
    bodies = {rule.id: rule.body for rule in part.rules}
    passed = iter(part.rules)
    steps: list[Step] = []
    for step in told.trace:
        if step["step"] == explaining.ENABLED:
            steps.append({**step, "enabled": part.enabled, "kill": part.kill})
        elif step["step"] == explaining.RULE:
            for rule in passed:
                if rule.id == step["id"]:
                    break
                if rule.defect is not None:
                    steps.append({**_rule(rule.id, rule.body), "held": None, "defect": rule.defect})
            steps.append({**_rule(step["id"], bodies.get(step["id"])), **step})
        else:
            steps.append(step)
    return steps


def _rule(rule_id: str, body: Any) -> Step:
    description = body.get("description") if isinstance(body, dict) else None
    return {"step": explaining.RULE, "id": rule_id, "description": description or ""}


# -- the writes


def _decided_by(call: Call, state: FlagState, environment: str, told: Explanation) -> list[dict[str, Any]]:
    cells = call.project.replica.cells(flag_object(state.key))
    addresses = [address for part in told.decided for address in _addresses(state, environment, part)]
    unordered = (state.generation, schema.environment_field(environment, schema.ORDER))
    return [
        _write(call, cells, generation, field)
        for generation, field in dict.fromkeys(addresses)
        # Where nobody has ever written an order, none decides.
        if (generation, field) != unordered or field in cells.get(generation, {})
    ]


def _addresses(state: FlagState, environment: str, decided: Part) -> Iterator[tuple[Dot, str]]:
    """The cells behind one part of the flag."""
    part, name = decided
    shown = state.environments[environment]
    if part == explaining.ENABLED:
        if shown.kill:
            yield NO_GENERATION, schema.kill_field(environment)
        if not (shown.kill and shown.enabled):
            yield state.generation, schema.environment_field(environment, schema.ENABLED)
    elif part in _OF_ENVIRONMENT:
        yield state.generation, schema.environment_field(environment, part)
        if part == explaining.DEFAULT and shown.default is not None and shown.default not in state.variants:
            yield state.generation, schema.environment_field(environment, schema.OFF_VARIANT)
    elif part == explaining.RULE:
        yield state.generation, schema.rule_field(name, environment=environment)
    elif part == explaining.PREREQUISITE:
        yield state.generation, schema.prerequisite_field(name)
    elif part == explaining.VARIANT:
        yield state.generation, schema.variant_field(name)


def _write(call: Call, cells: Cells, generation: Dot, field: str) -> dict[str, Any]:
    """What a cell shows, and who wrote it; nobody if it was never written."""
    outcome = _outcome(cells, generation, field)
    parsed = schema.parse_field(FLAG, generation, field)
    shown: dict[str, Any] = {
        "field": field,
        "environment": parsed.environment,
        "value": None,
        "change": None,
        "author": None,
        "region": None,
        "node": None,
        "time": None,
    }
    if outcome.winner is None:
        return shown
    written = sibling(outcome.winner)
    place = call.node.directory.place_of(written.incarnation)
    shown |= {
        "value": written.value,
        "change": written.change,
        "author": written.author,
        "region": place[1] if place else None,
        "node": place[0] if place else None,
        "time": render_time(milliseconds(written.hlc)),
    }
    if outcome.siblings:
        shown["contested"] = True
    return shown


def _outcome(cells: Cells, generation: Dot, field: str) -> Outcome:
    packed = cells.get(generation, {}).get(field)
    if packed is None:
        return NOTHING
    return killed(live(packed)) if generation == NO_GENERATION else lww(live(packed))


ROUTES: Final = (
    Route(
        method="POST",
        path="/api/v1/projects/<project>/flags/<key>/explain",
        handler=explain,
        access=Access(role=VIEWER),
        query=frozenset({ENVIRONMENT}),
    ),
)
