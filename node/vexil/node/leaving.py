"""An engine that has to begin anew: somebody finds it out, and `run` ends with `MustReturn`.

Whoever asked for it can still be answered: it ends soon, and not in the middle of what is being done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vexil.node.engine_types import MustReturn
from vexil.node.signal import Signal


class Leaving:
    """Whether one engine has to end, and why."""

    def __init__(self, registration: Callable[[], str]) -> None:
        """It goes on. ``registration`` tells whose state it would leave."""
        self._registration = registration
        self._reason: MustReturn | None = None
        self._wanted = Signal()

    def must_return(self, reason: str, *, keep: bool = True) -> None:
        """Let `until_wanted` end with MustReturn; the first reason counts."""
        if self._reason is None:
            self._reason = MustReturn(reason, registration=self._registration(), keep=keep)
            self._wanted.notify()

    async def until_wanted(self) -> None:
        """Wait until the engine has to end. Raises MustReturn."""
        while self._reason is None:
            await self._wanted.wait()
        raise self._reason


@contextmanager
def unwrapped() -> Iterator[None]:
    """Let MustReturn out by itself, whatever else fails while the others are told to end: the state is given up."""
    try:
        yield
    except BaseExceptionGroup as group:
        returns, _ = group.split(MustReturn)
        if returns is None:
            raise
        raise _first(returns) from None


def _first(group: BaseExceptionGroup[MustReturn]) -> MustReturn:
    """One of the errors of a group of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MustReturn)
    return error
