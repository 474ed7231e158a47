"""Virtual time: it stands still while anything can run, and jumps to what comes next when nothing can.

What comes next is a task's deadline or an *appointment*, a call at a moment. The simulated world (messages on their
way, disks and stores that take their time) makes appointments: a task that sleeps would do the same, for many times
the cost. Tasks that sleep by ``trio.sleep`` are woken by appointments as well; all their other time limits are trio's.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any, Final, NoReturn

import trio
import trio._core._run as trio_run

_FOR_EVER_S: Final = 999_999_999.0


class Stuck(Exception):
    """Every task waits, and nothing is to come."""


class Appointment:
    """A call at a moment, made by `call_later`."""

    __slots__ = ("what",)

    def __init__(self, what: Callable[[], object]) -> None:
        """To call ``what``, once."""
        self.what: Callable[[], object] | None = what
        """None: it was cancelled, or has taken place."""

    def cancel(self) -> None:
        """It does not take place; nothing if it has."""
        self.what = None

    def keep(self) -> None:
        """The moment has come."""
        what, self.what = self.what, None
        if what is not None:
            what()


class VirtualClock(trio.abc.Clock):
    """The time of one run, from zero. Appointments of one moment take place in the order in which they were made.

    A run in which nothing can happen any more ends with `Stuck`, raised in its main task.
    """

    def __init__(self) -> None:
        """A clock that shows zero."""
        self._now_s = 0.0
        self._appointments: list[tuple[float, int, Appointment]] = []
        self._numbers = count()
        self._sleepers = Sleepers()
        self._is_stuck = False

    def start_clock(self) -> None:
        """``Clock.start_clock``: nothing goes by itself."""

    def current_time(self) -> float:
        """``Clock.current_time``."""
        return self._now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """``Clock.deadline_to_sleep_time``: trio asks when no task can run, so now is when time passes."""
        runner: Any = trio_run.GLOBAL_RUN_CONTEXT.runner
        if runner.waiting_for_idle:
            # As with trio's own mock clock, `wait_all_tasks_blocked` comes before any jump.
            return _FOR_EVER_S
        appointments = self._appointments
        while appointments and appointments[0][2].what is None:
            heappop(appointments)
        next_s = min(deadline, appointments[0][0]) if appointments else deadline
        if next_s == inf:
            if runner.main_task_outcome is None and not self._is_stuck:
                self._is_stuck = True
                runner.main_task._attempt_abort(_raise_stuck)  # noqa: SLF001 - as a Ctrl-C is delivered
                return 0.0
            # At its end trio wakes itself by a word over a socket.
            return _FOR_EVER_S
        now_s = self._now_s = max(self._now_s, next_s)
        while appointments and appointments[0][0] <= now_s:
            heappop(appointments)[2].keep()
        return 0.0

    def appoint(self, at_s: float, what: Callable[[], object]) -> Appointment:
        """Call ``what`` at ``at_s``, or as soon as nothing can run if that is over."""
        appointment = Appointment(what)
        heappush(self._appointments, (at_s, next(self._numbers), appointment))
        return appointment

    async def sleep(self, seconds: float) -> None:
        """``trio.sleep``, without a scope and an exception for each time."""
        if not seconds >= 0:
            raise ValueError(f"seconds must not be {seconds}")
        await self._sleepers.sleep(seconds)


def call_later(seconds: float, what: Callable[[], object]) -> Appointment:
    """Call ``what`` in so many seconds, outside of all tasks. It may start and wake tasks, and must not raise."""
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, VirtualClock):
        return clock.appoint(clock.current_time() + seconds, what)
    # A test with a clock of its own: a task that sleeps.
    appointment = Appointment(what)
    trio.lowlevel.spawn_system_task(_sleep_and_keep, seconds, appointment)
    return appointment


async def _sleep_and_keep(seconds: float, appointment: Appointment) -> None:
    await trio.sleep(seconds)
    appointment.keep()


def _raise_stuck() -> NoReturn:
    raise Stuck


class Sleepers:
    """Tasks that sleep, each for its own time, unless all of them are woken before."""

    __slots__ = ("_asleep",)

    def __init__(self) -> None:
        """Nobody sleeps."""
        self._asleep: dict[trio.lowlevel.Task, Appointment] = {}

    async def sleep(self, seconds: float) -> None:
        """Sleep, at least for one checkpoint."""
        if seconds <= 0:
            await trio.lowlevel.checkpoint()
            return
        task = trio.lowlevel.current_task()

        def wake() -> None:
            del self._asleep[task]
            trio.lowlevel.reschedule(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._asleep.pop(task).cancel()
            return trio.lowlevel.Abort.SUCCEEDED

        self._asleep[task] = call_later(seconds, wake)
        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake_all(self) -> None:
        """Wake everybody who sleeps now."""
        asleep, self._asleep = self._asleep, {}
        for task, appointment in asleep.items():
            appointment.cancel()
            trio.lowlevel.reschedule(task)
