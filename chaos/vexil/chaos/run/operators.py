"""What an operator does about members: evicts one at another node, and returns it with `vexil member return`."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

import trio

from vexil.chaos.world.simulated_cluster import NoAnswer, SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.engine import Engine
from vexil.node.engine_types import Written
from vexil.node.enrolment import EVICTED, MEMBER
from vexil.node.errors import ApiError
from vexil.node.membership import eviction

NAME: Final = "operator"
TIMEOUT_MS: Final = 5_000
LOOK_S: Final = 0.25
"""Between two looks at what has become of it."""
SURE_LOOKS: Final = 4
"""So often in turn everybody is found to be a member again."""


async def evict(
    cluster: SimulatedCluster, slot: Slot, rng: Random, *, asks: Callable[[], None] = lambda: None
) -> bool:
    """End the registration of ``slot`` at any other node that serves. Whether that node said that it is done.

    ``asks`` is called when that node is asked: from then on it may be done, whatever is heard of it.

    One at a time: who has been evicted comes back first. Two nodes that evict each other while they are cut off are two
    clusters for good.
    """
    others = [other for other in cluster.live() if other.member != slot.member]
    if not others or any(is_over(cluster, each) for each in cluster.slots.values()):
        return False
    at = rng.choice(others)

    async def handle(engine: Engine) -> Written:
        return await engine.write(
            SYSTEM_PROJECT,
            lambda _: eviction(engine.directory, slot.member, own=at.member, by=NAME),
            author=NAME,
        )

    asks()
    try:
        written = await cluster.request(at, handle, timeout_ms=TIMEOUT_MS, abandon=True)
    except (ApiError, NoAnswer):
        return False
    return written.dot is not None


async def bring_back(cluster: SimulatedCluster, slot: Slot) -> None:
    """Return ``slot`` as often as that is needed, until it is a member again."""
    while slot.name in cluster.slots:
        _return(slot)
        engine = slot.engine
        member = engine is not None and engine.ready and engine.enrolment.standing == MEMBER
        if member and not is_over(cluster, slot):
            return
        await trio.sleep(LOOK_S)


async def bring_all_back(cluster: SimulatedCluster, *, in_all_eyes: bool) -> None:
    """Return whoever has been evicted, until everybody is a member again and has got back what it had alone.

    ``in_all_eyes``: every node knows everybody as a member, too. Who had joined through one that was evicted is known
    to nobody else, and finds out after a while.
    """
    looks = 0
    while looks < (SURE_LOOKS if in_all_eyes else 1):
        # What an operator has asked for, and not heard of, may still be done.
        looks = looks + 1 if all_back(cluster) and (not in_all_eyes or _all_known(cluster)) else 0
        for slot in cluster.slots.values():
            _return(slot)
        await _as_the_doctor_says(cluster)
        await trio.sleep(LOOK_S)


async def _as_the_doctor_says(cluster: SimulatedCluster) -> None:
    """What `vexil doctor` advises where a return is held up.

    Who is waited for because another process ran as it is started anew; who brings back old writes and has a clock
    that is not to be believed gets a right one.
    """
    returning = [
        (slot, slot.engine, slot.engine.coming_back.status())
        for slot in cluster.slots.values()
        if slot.engine is not None and slot.engine.ready and slot.engine.coming_back is not None
    ]
    for slot, engine, status in returning:
        if not status["finished"] and engine.clock_guard.suspect:
            slot.clock.set_right()
    waited_for = {name for _, _, status in returning for name in status["waits_for"]}
    for slot in list(cluster.slots.values()):
        if slot.member in waited_for and slot.engine is not None and slot.ready and _is_disputed(slot.engine):
            await cluster.stop(slot)
            cluster.launch(slot)


def _is_disputed(engine: Engine) -> bool:
    announcements = engine.caretaker.announcements
    told = None if announcements.own is None else announcements.of(announcements.own)
    return told is not None and bool(told.twins)


def all_back(cluster: SimulatedCluster) -> bool:
    """Whether every slot is ready, a member as far as anybody knows, and has all of its earlier states back."""
    return all(
        slot.engine is not None
        and slot.engine.ready
        and slot.engine.enrolment.standing == MEMBER
        and not slot.archives
        and not is_over(cluster, slot)
        for slot in cluster.slots.values()
    )


def _all_known(cluster: SimulatedCluster) -> bool:
    engines = [(slot.member, slot.engine) for slot in cluster.slots.values() if slot.engine is not None]
    return all(one.is_member(name, other.registration) for _, one in engines for name, other in engines)


def is_over(cluster: SimulatedCluster, slot: Slot) -> bool:
    """Whether any live node knows that the registration under which ``slot`` runs has ended."""
    own = slot.engine
    if own is None:
        return False
    for other in cluster.slots.values():
        engine = other.engine
        member = None if engine is None else engine.directory.members.get(slot.member)
        if member is not None and own.registration in {*member.evicted, *member.superseded}:
            return True
    return False


def _return(slot: Slot) -> None:
    engine = slot.engine
    if engine is not None and engine.ready and engine.enrolment.standing == EVICTED:
        engine.return_now()
