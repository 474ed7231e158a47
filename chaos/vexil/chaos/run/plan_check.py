"""What a plan must be so that it can be run at all: complete, finite, of a bearable size, and about places that exist.

A plan that is drawn is always sound. One that comes from a file, or out of a reduction, is looked at first: what is
wrong with it is said in one sentence, and no run of it begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from random import Random
from typing import Any, Final

from vexil.chaos.clients import operations
from vexil.chaos.faults.fault import KINDS, Ground
from vexil.chaos.run.plan import Plan
from vexil.node.engine_types import CLOCK_SKEW_LIMIT_MS

REGIONS_MAX: Final = 16
NODES_MAX: Final = 64
CLIENTS_MAX: Final = 1_000
FAULTS_MAX: Final = 10_000
OPERATIONS_MAX: Final = 100_000
RESTARTS_MAX: Final = 100
"""Of one service."""
WORK_S_MAX: Final = 86_400.0
SEED_MAX: Final = 2**63 - 1
NAME_CHARACTERS_MAX: Final = 64
NUMBER_MAX: Final = 1e12
"""Of any other number: thirty years in milliseconds."""
_SIGNED: Final = re.compile(r"plan\.world\.clocks\.|plan\.faults\[\d+\]\.amount$")
"""A clock may be behind, and slow, and be set back."""
_NEWCOMERS: Final = frozenset(("clone", "copied_machine", "join"))
"""Kinds of faults whose place may be one that they bring."""


def flaw_of(plan: Plan) -> str:
    """What is wrong with ``plan``, and where; "" if nothing is."""
    return next(_flaws(plan), "")


def _flaws(plan: Plan) -> Iterator[str]:
    yield from _sizes(plan)
    # What is said of single parts supposes that there are not too many of them.
    people = (*(client.name for client in plan.clients), *(service.name for service in plan.services))
    for name in (*plan.layout, *people):
        if not name or len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
            yield f"{name!r} is no name: it has 1 to {NAME_CHARACTERS_MAX} printable characters"
    yield from _numbers(plan, "plan")
    yield from _places(plan)
    yield from _schedules(plan)
    yield from _services(plan)


def _sizes(plan: Plan) -> Iterator[str]:
    if not 0 <= plan.seed <= SEED_MAX:
        yield f"the seed is {plan.seed}: it goes from 0 to {SEED_MAX}"
    if not plan.layout or min(plan.layout.values()) < 1:
        yield "the layout needs a region, and each region a node"
    counts = {
        "regions": (len(plan.layout), REGIONS_MAX),
        "nodes": (sum(plan.layout.values()), NODES_MAX),
        "clients": (len(plan.clients), CLIENTS_MAX),
        "services": (len(plan.services), CLIENTS_MAX),
        "faults": (len(plan.faults), FAULTS_MAX),
        "operations": (len(plan.operations), OPERATIONS_MAX),
    }
    for what, (count, most) in counts.items():
        if count > most:
            yield f"{count} {what} are too many: at most {most}"
    if not 0 < plan.work_s <= WORK_S_MAX:
        yield f"the work takes {plan.work_s:g} s: it takes more than 0, and at most {WORK_S_MAX:g}"


def _numbers(value: Any, where: str) -> Iterator[str]:
    """Every number in it is bearable; probabilities and times are no less than 0."""
    if is_dataclass(value):
        for field in fields(value):
            yield from _numbers(getattr(value, field.name), f"{where}.{field.name}")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{where}.{key}")
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _numbers(inner, f"{where}[{index}]")
    elif isinstance(value, int | float) and not abs(value) <= NUMBER_MAX and where != "plan.seed":
        yield f"{where} is {value:g}"
    elif isinstance(value, int | float) and value < 0 and _SIGNED.match(where) is None:
        yield f"{where} is negative: {value:g}"


def _places(plan: Plan) -> Iterator[str]:
    known = {*plan.layout, *plan.nodes}
    for fault in plan.faults:
        if fault.kind in _NEWCOMERS:
            known |= {place for place in fault.places if place.rpartition("-")[0] in plan.layout}
    for fault in plan.faults:
        for place in fault.places:
            if place not in known:
                yield f"fault {fault.number} names {place!r}, and no such place is in the layout"
    for name in plan.world.clocks:
        if name not in plan.nodes:
            yield f"the clock of {name!r} is none of the layout's"
    for client in plan.clients:
        if client.region not in plan.layout:
            yield f"client {client.name!r} lives in {client.region!r}, and no such region is in the layout"
    if not any(_keeps_time(plan, name) for name in plan.nodes):
        yield f"every clock is off by more than {CLOCK_SKEW_LIMIT_MS} ms: no node would take the first write"


def _keeps_time(plan: Plan, name: str) -> bool:
    clock = plan.world.clocks.get(name)
    return clock is None or abs(clock.offset_ms) <= CLOCK_SKEW_LIMIT_MS


def _schedules(plan: Plan) -> Iterator[str]:
    for fault in plan.faults:
        if fault.kind not in KINDS:
            yield f"fault {fault.number} is of the kind {fault.kind!r}, which is unknown"
        elif len(fault.places) != (wanted := _places_of(fault.kind)):
            yield f"fault {fault.number} names {len(fault.places)} places: a {fault.kind} has {wanted}"
    roles, clients = set(operations.ROLES), {client.name for client in plan.clients}
    for client in plan.clients:
        if client.role not in roles:
            yield f"client {client.name!r} has the role {client.role!r}, which is unknown"
    for operation in plan.operations:
        if operation.kind not in operations.KINDS:
            yield f"operation {operation.number} is of the kind {operation.kind!r}, which is unknown"
        if operation.client not in clients:
            yield f"operation {operation.number} is of {operation.client!r}, and there is no such client"
    yield from _twice(
        "client", [*(c.name for c in plan.clients), *(service.name for service in plan.services)]
    )
    yield from _twice("fault", (fault.number for fault in plan.faults))
    yield from _twice("operation", (operation.number for operation in plan.operations))
    for what, moments in (
        ("faults", [fault.at_s for fault in plan.faults]),
        ("operations", [operation.at_s for operation in plan.operations]),
    ):
        if moments != sorted(moments):
            yield f"the {what} are not in the order of their moments"


def _services(plan: Plan) -> Iterator[str]:
    for service in plan.services:
        if service.region not in plan.layout:
            yield f"service {service.name!r} runs in {service.region!r}, and no such region is in the layout"
        if service.environment not in operations.ENVIRONMENTS:
            yield f"service {service.name!r} follows {service.environment!r}, and there is no such environment"
        if not 0 < len(service.urls) <= NODES_MAX:
            yield f"service {service.name!r} has {len(service.urls)} nodes: it needs 1 to {NODES_MAX}"
        for url in service.urls:
            if url not in plan.nodes:
                yield f"service {service.name!r} prefers {url!r}, and no such node is in the layout"
        if len(service.restarts) > RESTARTS_MAX or list(service.restarts) != sorted(service.restarts):
            yield f"the restarts of service {service.name!r} are not in order, or more than {RESTARTS_MAX}"


@cache
def _places_of(kind: str) -> int:
    """How many places a fault of that kind names: as many as whenever one is drawn."""
    drawn = (KINDS[kind].draw(Random(seed), _GROUND) for seed in range(_DRAWS_MAX))
    return next(len(each.places) for each in drawn if each is not None)


_DRAWS_MAX: Final = 1_000
_GROUND: Final = Ground({"eu": 2, "us": 2}, ("eu-1", "eu-2", "us-1", "us-2"), embedded=True, work_s=10.0)


def _twice(what: str, names: Iterable[object]) -> Iterator[str]:
    seen: set[object] = set()
    for name in names:
        if name in seen:
            yield f"{what} {name} is there twice"
        seen.add(name)
