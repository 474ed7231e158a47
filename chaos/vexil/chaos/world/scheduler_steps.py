"""A process is killed at one certain step of the scheduler: so every await of its code may be its last.

What takes no virtual time cannot be hit by a moment of virtual time. Steps can: they are counted while somebody waits
for one, and not else.
"""

from __future__ import annotations

from collections.abc import Callable

import trio
from trio.abc import Instrument


async def at_step(root: trio.lowlevel.Task, count: int, happen: Callable[[], object]) -> None:
    """Call ``happen`` as soon as ``root`` and the tasks below it have made ``count`` steps, and return.

    It is called between two steps; cancelled before, it is not called at all.
    """
    counter = _Counter(root, count, happen)
    trio.lowlevel.add_instrument(counter)
    try:
        await counter.done.wait()
    finally:
        trio.lowlevel.remove_instrument(counter)


class _Counter(Instrument):
    def __init__(self, root: trio.lowlevel.Task, count: int, happen: Callable[[], object]) -> None:
        self.done = trio.Event()
        self._root = root
        self._left = count
        self._happen = happen

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        above: trio.lowlevel.Task | None = task
        while above is not None and above is not self._root:
            nursery = above.parent_nursery
            above = None if nursery is None else nursery.parent_task
        if above is None or self._left <= 0:
            return
        self._left -= 1
        if not self._left:
            self._happen()
            self.done.set()
