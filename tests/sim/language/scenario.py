"""A scenario while it runs: its cluster, what its statements keep, and the table of statements.

A statement is a function that is marked with the pattern of its line; the other files of this folder are full of them.
Every line means one statement, and they are done in order.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import trio

from vexil.chaos.checkers.catalogue import all_checkers
from vexil.chaos.checkers.checker import Checkers
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.run.chronicler import Chronicler
from vexil.chaos.run.history import History
from vexil.chaos.run.plan import Plan
from vexil.chaos.world.determinism import Streams
from vexil.chaos.world.simulated_clock import ClockFaults
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_network import NetworkFaults
from vexil.chaos.world.simulated_slot import Slot
from vexil.chaos.world.trace import Trace
from vexil.crdt.change import Change
from vexil.node.authoring import change_set
from vexil.node.engine import Engine
from vexil.node.project import Project

SETUP_LIMIT_S = 20
PATIENCE_S = 0.02
"""Between two looks at what is waited for."""
Statement = Callable[..., Awaitable[None]]
STATEMENTS: list[tuple[re.Pattern[str], Statement]] = []


def statement(pattern: str) -> Callable[[Statement], Statement]:
    """Mark a function as what a line that looks like ``pattern`` does; groups are its arguments, after the scenario."""

    def mark(function: Statement) -> Statement:
        STATEMENTS.append((re.compile(pattern), function))
        return function

    return mark


class Unmet(AssertionError):
    """A line that begins with expect or converge did not hold."""


class Scenario:
    """A scenario while it runs. Everything is fixed by its seed."""

    def __init__(self, nursery: trio.Nursery, patches: ExitStack, *, seed: int = 1) -> None:
        self.nursery = nursery
        self.patches = patches
        """Undone when the scenario ends."""
        self.history = History(trio.current_time, expected_alarms={"aside"})
        self.trace = Trace()
        self.streams = Streams(seed)
        plan = Plan(seed, layout={}, profile="scenario")
        self.checkers = Checkers(all_checkers(self.history, plan, self.streams))
        self.watcher = Chronicler(self.history, self.checkers, self.trace)
        self.clocks: dict[str, ClockFaults] = {}
        self.coarse_ms = 1
        self.network = NetworkFaults()
        self.last: dict[str, Change] = {}
        """The last change of each author."""
        self.incarnations: dict[str, int] = {}
        """Of each node, as it was when it first became ready."""
        self.registrations: dict[str, str] = {}
        self.kept: dict[tuple[str, str], Any] = {}
        """What statements keep for later ones, by kind and name."""
        self.made: SimulatedCluster | None = None

    async def run(self, text: str) -> None:
        """Do every line. Raises Unmet, naming the line; ValueError if one is not of the language."""
        for number, line in enumerate(text.splitlines(), 1):
            said = line.partition("#")[0].strip()
            if not said:
                continue
            meant = [(match, does) for pattern, does in STATEMENTS if (match := pattern.fullmatch(said))]
            if len(meant) != 1:
                raise ValueError(f"line {number} is not of the language, or means two things: {said}")
            ((match, does),) = meant
            try:
                await does(self, *match.groups())
            except Unmet as error:
                raise Unmet(f"line {number}: {said}\n{error}") from None
        if self.history.violations:
            raise Unmet("\n".join(map(str, self.history.violations)))

    # -- the cluster

    @property
    def cluster(self) -> SimulatedCluster:
        """The cluster, which the statement ``nodes`` makes."""
        assert self.made is not None, "a scenario begins with its nodes"
        return self.made

    def slot(self, name: str) -> Slot:
        """A place, whether a process runs there or not."""
        return self.cluster.slots[name]

    def engine(self, name: str) -> Engine:
        """What runs there."""
        engine = self.slot(name).engine
        assert engine is not None, f"{name} does not run"
        return engine

    def project(self, name: str) -> Project:
        """The project that all statements are about, as a node has it."""
        return self.engine(name).projects[PROJECT]

    def places(self, where: str) -> list[str]:
        """One node, or every one that is ready for ``everywhere``."""
        return [slot.name for slot in self.cluster.live()] if where == "everywhere" else [where]

    # -- writing and waiting

    async def write(self, node: str, *operations: dict[str, Any]) -> None:
        """One change set, as durable as its node alone can make it."""
        await self.author(
            node, lambda view: change_set(view, {"operations": list(operations)}, new_id=lambda: "r").intent
        )

    async def author(self, node: str, decide: Callable[..., Any]) -> None:
        """One change, which is the last one of its author from now on."""
        # The durability is the node's own: a scenario says itself who is in reach.
        written = await self.engine(node).write(PROJECT, decide, author=node, durability="node")
        assert written.dot is not None, "nothing was written"
        self.last[node] = self.history.changes[PROJECT][written.dot]

    async def until(self, seconds: float, holds: Callable[[], bool], told: Callable[[], object]) -> None:
        """Return as soon as ``holds``. Raises Unmet with what is ``told`` if it does not in time."""
        with trio.move_on_after(seconds):
            while not holds():  # noqa: ASYNC110 - it looks at a whole cluster from outside
                await trio.sleep(PATIENCE_S)
        if not holds():
            raise Unmet(f"it is {told()}")
