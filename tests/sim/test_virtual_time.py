"""Virtual time: who is called when, who sleeps and who is woken, on the clock of a simulation and on a test's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from vexil.chaos.world.determinism import run_deterministically
from vexil.chaos.world.process_life import ProcessLife
from vexil.chaos.world.virtual_time import Sleepers, Stuck, VirtualClock, call_later

Run = Callable[[Callable[[], Awaitable[Any]]], Any]


def on_a_tests_clock(main: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def in_a_simulation(main: Callable[[], Awaitable[Any]]) -> Any:
    return run_deterministically(0, main)


@pytest.fixture(params=[in_a_simulation, on_a_tests_clock])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


def test_calls_come_at_their_moments_among_the_deadlines_of_tasks(run: Run) -> None:
    async def main() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []

        def see(name: str) -> None:
            seen.append((name, trio.current_time() - began_s))

        began_s = trio.current_time()
        call_later(3, lambda: see("third"))
        call_later(1, lambda: see("first"))
        await trio.sleep(2)
        see("second")
        await trio.sleep(2)
        return seen

    assert run(main) == [("first", 1), ("second", 2), ("third", 3)]


def test_calls_of_one_moment_come_in_the_order_in_which_they_were_agreed() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        for number in range(50):
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, VirtualClock)
            clock.appoint(1.0, lambda n=number: seen.append(n))  # type: ignore[misc]  # the default binds it
        await trio.sleep(1)
        return seen

    assert in_a_simulation(main) == list(range(50))


def test_time_stands_still_while_anything_can_run() -> None:
    async def main() -> list[float]:
        seen: list[float] = []
        call_later(0, lambda: seen.append(-1.0))
        for _ in range(20):
            seen.append(trio.current_time())
            await trio.lowlevel.checkpoint()
        await trio.sleep(1)
        return seen

    assert in_a_simulation(main) == [0.0] * 20 + [-1.0]


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_sleeping_backwards_is_an_error(run: Run, seconds: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="must"):
            await trio.sleep(seconds)

    run(main)


def test_a_task_that_sleeps_can_be_cancelled_and_all_wake_in_time(run: Run) -> None:
    async def main() -> list[tuple[int, float]]:
        woken: list[tuple[int, float]] = []

        async def sleep(number: int) -> None:
            await trio.sleep(number)
            woken.append((number, trio.current_time() - began_s))

        began_s = trio.current_time()
        with trio.move_on_after(3.5):
            async with trio.open_nursery() as nursery:
                for number in range(5, -1, -1):
                    nursery.start_soon(sleep, number)
        await trio.sleep(10)
        return woken

    assert run(main) == [(number, number) for number in range(4)]


def test_what_is_cancelled_does_not_come(run: Run) -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        call_later(1, lambda: seen.append("kept"))
        call_later(1, lambda: seen.append("cancelled")).cancel()
        await trio.sleep(2)
        return seen

    assert run(main) == ["kept"]


def test_a_sleeper_wakes_at_its_time_or_with_all_others(run: Run) -> None:
    async def main() -> dict[str, float]:
        sleepers = Sleepers()
        woken: dict[str, float] = {}

        async def sleep(name: str, seconds: float) -> None:
            await sleepers.sleep(seconds)
            woken[name] = trio.current_time() - began_s

        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            for name, seconds in (("short", 1), ("long", 100), ("longer", 200), ("none", 0)):
                nursery.start_soon(sleep, name, seconds)
            await trio.sleep(5)
            sleepers.wake_all()
            sleepers.wake_all()
        return woken

    assert run(main) == {"none": 0, "short": 1, "long": 5, "longer": 5}


def test_a_cancelled_sleeper_is_gone(run: Run) -> None:
    async def main() -> float:
        sleepers = Sleepers()
        with trio.move_on_after(1):
            await sleepers.sleep(50)
        sleepers.wake_all()
        slept_s = trio.current_time()
        await trio.sleep(60)
        return slept_s

    assert run(main) == 1


def test_a_pause_ends_with_the_life_of_its_process(run: Run) -> None:
    async def main() -> tuple[bool, bool, float]:
        life = ProcessLife()
        first = await life.pause(2_000)
        call_later(3, life.kill)
        second = await life.pause(60_000)
        await life.pause(60_000)
        return first, second, trio.current_time()

    assert run(main) == (True, False, 5)


def test_whoever_waits_for_idleness_comes_before_time_goes_on() -> None:
    async def main() -> float:
        call_later(1, lambda: None)
        await trio.testing.wait_all_tasks_blocked()
        return trio.current_time()

    assert in_a_simulation(main) == 0


async def waits_for_its_child() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)


@pytest.mark.parametrize("main", [trio.sleep_forever, waits_for_its_child])
def test_a_run_in_which_nothing_can_happen_any_more_ends_with_an_error(
    main: Callable[[], Awaitable[None]],
) -> None:
    with pytest.RaisesExc(Stuck) if main is trio.sleep_forever else pytest.RaisesGroup(Stuck):
        in_a_simulation(main)
