"""What is loaded is never looked at again by the collector; garbage is collected; a sudden large state is let be."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from weakref import ref

import pytest
import trio
import trio.testing

from vexil.node.adapters import python_memory


class Loop:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.enable()


async def test_what_is_loaded_is_taken_out_of_sight_and_garbage_is_collected_later(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    python_memory.hold_off()
    loaded = trio.Event()
    nursery.start_soon(python_memory.run, loaded.wait)
    await trio.testing.wait_all_tasks_blocked()
    assert not gc.isenabled()
    state: list[list[int]] = [[]]
    loaded.set()
    await trio.testing.wait_all_tasks_blocked()
    assert gc.isenabled()
    assert not any(found is state for found in gc.get_objects())
    garbage = ref(Loop())
    assert garbage() is not None
    await trio.sleep(python_memory.LOOK_S * 1.5)
    assert garbage() is None


async def test_a_state_that_came_as_a_whole_is_not_looked_through(
    autojump_clock: object, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(python_memory, "OBJECTS_MAX", 1_000)
    loaded = trio.Event()
    loaded.set()
    nursery.start_soon(python_memory.run, loaded.wait)
    await trio.testing.wait_all_tasks_blocked()
    came = [[n] for n in range(2_000)]
    gc.collect(1)
    found: list[int] = []
    gc.callbacks.append(lambda phase, info: found.append(info["generation"]))
    await trio.sleep(python_memory.LOOK_S * 1.5)
    gc.callbacks.pop()
    assert 2 not in found
    assert not any(seen is came for seen in gc.get_objects())
