"""Iterating over what a seam gives in batches, so that nothing stays open when the loop is cut off."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def closing(batches: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Give ``batches``, and close them however the block is left.

    ``async with closing(store.read_fold(…)) as batches: async for batch in batches: …``. A generator that is only
    dropped is closed by the garbage collector: at some other time, in some other task.
    """
    try:
        yield batches
    finally:
        if isinstance(batches, AsyncGenerator):
            await batches.aclose()
