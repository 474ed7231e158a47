"""Large answers, and everybody else's turn meanwhile."""

from __future__ import annotations

import trio
import trio.testing

from vexil.node.api.turns import SLOW_TURN_S, TURN_FLAGS, TURN_S, key_by_key


async def turns_of_others(flags: int, flag_s: float, clock: trio.testing.MockClock) -> int:
    """How often another task runs while so many flags are evaluated that take so long each."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    keys = [str(number) for number in range(flags)]
    seen = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async for key in key_by_key(keys):
            seen.append(key)
            clock.jump(flag_s)
        found = turns
        nursery.cancel_scope.cancel()
    assert seen == keys
    return found


async def test_slow_flags_are_not_evaluated_in_one_turn(mock_clock: trio.testing.MockClock) -> None:
    assert await turns_of_others(50, 2 * TURN_S, mock_clock) >= 45
    assert await turns_of_others(50, TURN_S / 10, mock_clock) <= 7


async def test_fast_flags_are_evaluated_many_in_a_turn_but_not_all(
    mock_clock: trio.testing.MockClock,
) -> None:
    assert await turns_of_others(TURN_FLAGS, 0, mock_clock) == 0
    assert 1 <= await turns_of_others(3 * TURN_FLAGS, 0, mock_clock) <= 3


async def test_an_answer_that_takes_many_turns_waits_for_one_slow_flag_and_not_for_many(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answered_after = []
    evaluated = 0

    async def answer() -> None:
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        answered_after.append(evaluated)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        async for _ in key_by_key([str(number) for number in range(50)]):
            evaluated += 1
            autojump_clock.jump(SLOW_TURN_S)
    assert evaluated == 50
    assert answered_after == [1]
