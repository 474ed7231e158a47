"""What may end a process, and when: any other end is told as a defect of the engine."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from vexil.chaos.checkers.checker import Checkers
from vexil.chaos.run.chronicler import Chronicler
from vexil.chaos.run.history import History
from vexil.chaos.world.determinism import Streams, run_deterministically
from vexil.chaos.world.process_life import ProcessDead
from vexil.chaos.world.simulated_cluster import ClusterFaults, SimulatedCluster, WatchedEngine
from vexil.chaos.world.trace import Trace
from vexil.node.seams import JournalIndeterminate, StoreUnavailable


def told_of(error: Exception, *, ready: bool, killed: bool, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether it is told as a defect that a process ends by ``error``."""

    async def main() -> History:
        history = History(trio.current_time)
        trace = Trace()
        async with trio.open_nursery() as nursery:
            watcher = Chronicler(history, Checkers([]), trace)
            cluster = SimulatedCluster(Streams(1), {"eu": 1}, ClusterFaults(), nursery, watcher, trace)
            (slot,) = cluster.slots.values()

            async def run(_: WatchedEngine, *, task_status: Any) -> None:
                if ready:
                    task_status.started()
                    await trio.sleep(1)
                if killed:
                    assert slot.process is not None
                    slot.process.life.kill()
                raise error

            monkeypatch.setattr(WatchedEngine, "run", run)
            cluster.launch(slot)
            assert slot.process is not None
            await slot.process.ended.wait()
            nursery.cancel_scope.cancel()
        return history

    return any(event.kind == "error" for event in run_deterministically(1, main).events)


@pytest.mark.parametrize(
    ("error", "ready", "killed", "told"),
    [
        (StoreUnavailable("away"), False, False, False),
        (StoreUnavailable("away"), True, False, True),
        (JournalIndeterminate("no sync"), True, False, False),
        (ProcessDead("killed"), True, True, False),
        (ProcessDead("not killed"), True, False, True),
        (ValueError("a mistake"), False, False, True),
    ],
    ids=["store-away-at-the-start", "store-away", "no-sync", "killed", "not-killed", "mistake"],
)
def test_a_process_ends_by_an_error_only_where_it_may(
    error: Exception, *, ready: bool, killed: bool, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told_of(error, ready=ready, killed=killed, monkeypatch=monkeypatch) == told
