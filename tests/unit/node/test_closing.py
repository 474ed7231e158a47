"""What is read in batches is closed when the loop over it is cut off, at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from vexil.node.closing import closing


async def test_a_generator_is_closed_however_its_loop_is_left() -> None:
    closed: list[str] = []

    async def batches(name: str) -> AsyncIterator[int]:
        try:
            for number in range(3):
                await trio.lowlevel.checkpoint()
                yield number
        finally:
            closed.append(name)

    async def fails() -> None:
        async with closing(batches("raised")) as found:
            async for number in found:
                assert 1 / number

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert closed == ["raised"]
    async with closing(batches("left")) as found:
        async for _ in found:
            break
    assert closed == ["raised", "left"]
    async with closing(batches("read")) as found:
        assert [number async for number in found] == [0, 1, 2]
    assert closed == ["raised", "left", "read"]
