"""Smaller plans made of a plan: without a region, without a node, ending sooner, with everything earlier.

What names something that is gone goes with it. Nothing here runs a plan; most of these violate nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from vexil.chaos.run.plan import Client, Fault, Operation, Plan

AFTER_S: Final = (0.1, 1.0, 3.0)
"""How long the work goes on after the last thing that happens."""
LASTS_S_MIN: Final = 0.1
HALVINGS_MAX: Final = 6
GAP_S: Final = 0.05
"""What is left between two things that are moved together."""
DECIMALS: Final = (1, 2, 3)
P = TypeVar("P", Fault, Operation)


# -- clients


def with_clients(plan: Plan, clients: Sequence[Client]) -> Plan:
    """With these clients only; what others ask for goes with them."""
    names = {client.name for client in clients}
    left = tuple(operation for operation in plan.operations if operation.client in names)
    return replace(plan, clients=tuple(clients), operations=left)


def with_client(plan: Plan, client: Client) -> Plan:
    """With ``client`` in the place of the one of its name."""
    return replace(plan, clients=tuple(client if old.name == client.name else old for old in plan.clients))


# -- places


def without_region(plan: Plan, region: str) -> Iterator[Plan]:
    """Without ``region`` and those who live there; then, they have moved to the first of the others."""
    layout = {name: count for name, count in plan.layout.items() if name != region}
    if not layout:
        return
    places = {place for fault in plan.faults for place in fault.places}
    gone = {place for place in {*places, *plan.nodes, region} if region in {place, place.rpartition("-")[0]}}
    left = replace(_moved(plan, gone, {}), layout=layout)
    services = tuple(service for service in left.services if service.region != region)
    staying = [client for client in left.clients if client.region != region]
    yield replace(with_clients(left, staying), services=services)
    home = next(iter(layout))
    yield replace(
        left,
        clients=tuple(replace(c, region=home) if c.region == region else c for c in left.clients),
        services=tuple(replace(s, region=home) if s.region == region else s for s in left.services),
    )


def without_node(plan: Plan, node: str) -> Plan:
    """Without ``node``; the last one of its region takes its name. The last one of all, or of a region, stays."""
    region = node.rpartition("-")[0]
    count = plan.layout.get(region, 0)
    if count < 2 or node not in plan.nodes:
        return plan
    last = f"{region}-{count}"
    return replace(_moved(plan, {node}, {last: node}), layout={**plan.layout, region: count - 1})


def _moved(plan: Plan, gone: set[str], names: dict[str, str]) -> Plan:
    faults = tuple(
        replace(fault, places=tuple(names.get(place, place) for place in fault.places))
        for fault in plan.faults
        if not gone & set(fault.places)
    )
    clocks = {names.get(n, n): clock for n, clock in plan.world.clocks.items() if n not in gone}
    services = tuple(
        replace(service, urls=urls)
        for service in plan.services
        if (urls := tuple(dict.fromkeys(names.get(url, url) for url in service.urls if url not in gone)))
    )
    return replace(plan, faults=faults, world=replace(plan.world, clocks=clocks), services=services)


# -- time


def moments(plan: Plan) -> list[float]:
    """When anything of the plan happens, in order."""
    return sorted([*(fault.at_s for fault in plan.faults), *(done.at_s for done in plan.operations)])


def until(plan: Plan, happened: Sequence[float]) -> Plan:
    """Only what happens at these moments, the first ones of the plan; the work ends soon after."""
    last = happened[-1] if happened else -1.0
    faults = tuple(fault for fault in plan.faults if fault.at_s <= last)
    operations = tuple(operation for operation in plan.operations if operation.at_s <= last)
    return replace(
        plan, faults=faults, operations=operations, work_s=min(plan.work_s, max(last, 0.0) + AFTER_S[-1])
    )


def sooner_over(plan: Plan) -> Iterator[Plan]:
    """The work ends soon after the last thing that happens, or after the last fault is over; soonest first."""
    ends = [fault.at_s + fault.lasts_s for fault in plan.faults]
    last, last_end = max(moments(plan), default=0.0), max([*moments(plan), *ends], default=0.0)
    for work_s in sorted({base + after for base in (last, last_end) for after in AFTER_S}):
        if work_s < plan.work_s:
            yield replace(plan, work_s=work_s)


def shorter(plan: Plan, number: int) -> Iterator[Plan]:
    """The fault of that number lasts less; shortest first."""
    fault = next((fault for fault in plan.faults if fault.number == number), None)
    if fault is None or fault.lasts_s <= LASTS_S_MIN:
        return
    tried = {LASTS_S_MIN, *(fault.lasts_s / 2**n for n in range(1, HALVINGS_MAX))}
    for lasts_s in sorted(lasts_s for lasts_s in tried if lasts_s >= LASTS_S_MIN):
        changed = replace(fault, lasts_s=lasts_s)
        yield replace(plan, faults=tuple(changed if old is fault else old for old in plan.faults))


def gentler(plan: Plan, number: int) -> Iterator[Plan]:
    """There is less of the fault of that number; least first."""
    fault = next((fault for fault in plan.faults if fault.number == number), None)
    if fault is None or abs(fault.amount) <= 1:
        return
    tried = {float(int(fault.amount / 2**n)) for n in range(1, HALVINGS_MAX)} - {0.0}
    for amount in sorted(tried, key=abs):
        changed = replace(fault, amount=amount)
        yield replace(plan, faults=tuple(changed if old is fault else old for old in plan.faults))


def earlier_from(plan: Plan, index: int) -> Iterator[Plan]:
    """What happens from the ``index``-th moment on happens earlier, all by as much; the most first."""
    all_of_them = moments(plan)
    if index >= len(all_of_them):
        return
    at_s = all_of_them[index]
    gap_s = at_s - (all_of_them[index - 1] if index else 0.0)
    if gap_s <= GAP_S:
        return
    for less_s in (gap_s - GAP_S, gap_s / 2):

        def moved(part_s: float, less_s: float = less_s) -> float:
            return part_s - less_s if part_s >= at_s else part_s

        yield _at(plan, moved, plan.work_s - less_s)


def rounded(plan: Plan) -> Iterator[Plan]:
    """All times in round numbers; roundest first."""
    for decimals in DECIMALS:

        def round_s(part_s: float, decimals: int = decimals) -> float:
            return round(part_s, decimals)

        found = _at(plan, round_s, max(round(plan.work_s, decimals), 0.1))
        yield replace(
            found, faults=tuple(replace(f, lasts_s=_short(f.lasts_s, decimals)) for f in found.faults)
        )


def _short(lasts_s: float, decimals: int) -> float:
    return max(round(lasts_s, decimals), LASTS_S_MIN) if lasts_s else 0.0


def _at(plan: Plan, moved: Callable[[float], float], work_s: float) -> Plan:
    def put(part: P) -> P:
        return replace(part, at_s=moved(part.at_s))

    return replace(
        plan, faults=tuple(map(put, plan.faults)), operations=tuple(map(put, plan.operations)), work_s=work_s
    )
