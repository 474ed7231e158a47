"""A region is away for a month of 10,000 changes a day: garbage waits for it and says so; it comes back and catches up.

Real engines on a simulated network and in virtual time; disks and stores are simulated too, so the numbers are the
engines' CPU. What must be so is checked: nothing is collected that the absent member has not promised, status names it,
and after its return all are level and the garbage goes.
"""

from __future__ import annotations

import sys
import time

import trio
from trio.testing import MockClock

from tests.unit.node.engine.clusters import Cluster, cluster, level, until
from tests.unit.node.engine.world import SHOP, creates, sets, shop, write
from vexil.node.engine import Engine

DAYS = 30
CHANGES_A_DAY = 10_000
WRITERS = 64
FLAGS = 1_000
AWAY = "ap-1"
PATIENCE_S = 3_600.0


async def a_day(engine: Engine, day: int) -> None:
    """`CHANGES_A_DAY` edits of a description, by `WRITERS` at once."""

    async def writer(number: int) -> None:
        for n in range(number, CHANGES_A_DAY, WRITERS):
            await write(engine, sets(f"f{n % FLAGS}", "description", f"day {day}, change {n}"))

    async with trio.open_nursery() as nursery:
        for number in range(WRITERS):
            nursery.start_soon(writer, number)


def blockers(engine: Engine) -> list[str]:
    """Who keeps garbage of the project from going, as status says."""
    return [each["node"] for each in engine.status()["garbage"][SHOP]["blocked_by"]]


async def main(days: int) -> None:
    """Print what it took."""
    async with cluster("eu-1", "us-1", AWAY) as found:
        for n in range(FLAGS):
            await write(found["eu-1"], creates(f"f{n}"))
        await until(lambda: level(list(found.engines.values())))
        found.cut(AWAY)
        near = [found["eu-1"], found["us-1"]]
        began_s = time.process_time()
        assert days > 1, "garbage is what one node wrote and another replaced"
        for day in range(days):
            # The region's two other nodes take turns: what one wrote, the other replaces.
            await a_day(near[day % 2], day)
            await until(lambda: level(near), within_s=PATIENCE_S)
        wrote_s = time.process_time() - began_s

        await until(lambda: all(blockers(engine) == [AWAY] for engine in near))
        waiting = found["eu-1"].status()["garbage"][SHOP]["candidates"]
        assert waiting, "there is garbage, and it waits"
        await come_back(found, near, days, wrote_s, waiting)


async def come_back(found: Cluster, near: list[Engine], days: int, wrote_s: float, waiting: int) -> None:
    """The link is mended: everybody gets level, and what has waited goes."""
    missing = days * CHANGES_A_DAY
    behind = sum(shop(near[0]).replica.vv.values()) - sum(shop(found[AWAY]).replica.vv.values())
    assert behind == missing, f"{behind} changes behind, not {missing}"
    found.mend(AWAY)
    began_s, began_virtual_s = time.process_time(), trio.current_time()
    await until(lambda: level(list(found.engines.values())), within_s=PATIENCE_S)
    caught_up_s, caught_up_virtual_s = time.process_time() - began_s, trio.current_time() - began_virtual_s
    await until(lambda: not any(blockers(engine) for engine in found.engines.values()), within_s=PATIENCE_S)
    print(
        f"{days} days of {CHANGES_A_DAY:,} changes  {wrote_s * 1e6 / missing:10.0f} µs of CPU a change at two nodes"
    )
    print(f"garbage that waits for {AWAY}        {waiting:10,} objects, as status says")
    print(f"caught up in                     {caught_up_s:10.1f} s of CPU at both ends")
    print(f"that is                          {missing / caught_up_s:10,.0f} changes/s")
    print(f"in virtual time                  {caught_up_virtual_s:10.1f} s")
    print(f"unblocked after                  {trio.current_time() - began_virtual_s:10.1f} s of virtual time")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else DAYS, clock=MockClock(autojump_threshold=0))
