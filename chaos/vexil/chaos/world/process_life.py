"""The life of one simulated process: what it had in hand when it was killed, it never finishes.

Everything that a process holds of the simulated world (journal, store) shares its life. A harness kills the life and
then cancels the process's tasks; whatever code of the process still runs meets ProcessDead before it can do harm. A
process may also stand still: whatever it asks of the world waits, and so does whoever asks something of it.

A life also knows which steps of the protocol the process is in the midst of (`step`), so that a fault can wait for one
(`at_point`) and a run can tell what its faults have struck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import TracebackType

import trio

from vexil.chaos.world.virtual_time import Sleepers
from vexil.node.seams import SeamError


class ProcessDead(SeamError):
    """The process that made this call is dead: nobody hears the answer, and nothing was done on its behalf."""


class ProcessLife:
    """Alive until ``kill``; never again after it."""

    def __init__(self) -> None:
        self._killed = False
        self._pauses = Sleepers()
        self._going: trio.Event | None = None
        """What a process that stands still waits for."""
        self._steps: Counter[str] = Counter()
        self._points: dict[str, Callable[[], None]] = {}

    @property
    def alive(self) -> bool:
        """Whether ``kill`` has not been called."""
        return not self._killed

    @property
    def stands_still(self) -> bool:
        """Whether it is between ``stand_still`` and ``go_on``."""
        return self._going is not None

    def kill(self) -> None:
        """End the life now; again is harmless."""
        self._killed = True
        self._pauses.wake_all()
        self.go_on()

    def stand_still(self) -> None:
        """From now on every `check` waits; its clock and its timers go on, as those of a stopped process do."""
        if self._going is None and self.alive:
            self._going = trio.Event()

    def go_on(self) -> None:
        """Undo ``stand_still``; again is harmless."""
        if self._going is not None:
            self._going.set()
            self._going = None

    async def pause(self, milliseconds: float) -> bool:
        """Sleep, at least for one checkpoint, but not beyond death. Returns whether the process is alive."""
        await self._pauses.sleep(milliseconds / 1000 if self.alive else 0)
        return self.alive

    async def check(self) -> None:
        """Wait while the process stands still, then raise ProcessDead if it is dead (trio.Cancelled goes before it).

        Not a checkpoint for a process that is alive and goes.
        """
        while self._going is not None:
            await self._going.wait()
        if self._killed:
            await trio.lowlevel.checkpoint()
            raise ProcessDead

    # -- steps

    def step(self, name: str) -> Step:
        """For ``with``: the process does ``name``, one of `vexil.chaos.world.protocol_steps.STEPS`, inside."""
        return Step(self, name)

    def steps_under_way(self) -> list[str]:
        """What it is in the midst of, sorted."""
        return sorted(name for name, count in self._steps.items() if count)

    def at_point(self, name: str, happen: Callable[[], None]) -> None:
        """Call ``happen`` once when the process passes the point: ``before <step>`` or ``after <step>``."""
        self._points[name] = happen

    def forget_point(self, name: str) -> None:
        """Undo `at_point`; nothing if it has happened."""
        self._points.pop(name, None)

    def enter(self, name: str) -> None:
        """`Step` begins."""
        if self._points:
            self._pass(f"before {name}")
        self._steps[name] += 1

    def leave(self, name: str) -> None:
        """`Step` ends."""
        self._steps[name] -= 1
        if self._points:
            self._pass(f"after {name}")

    def _pass(self, point: str) -> None:
        if self.alive and (happen := self._points.pop(point, None)) is not None:
            happen()


class Step:
    """One step of a process, see `ProcessLife.step`."""

    __slots__ = ("_life", "_name")

    def __init__(self, life: ProcessLife, name: str) -> None:
        self._life = life
        self._name = name

    def __enter__(self) -> None:
        self._life.enter(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._life.leave(self._name)
